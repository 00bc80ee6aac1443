# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What every encoder x decoder x head must do."""

import pytest
import torch
import torch.nn.functional as F

import modeling_concept as models

from .test_text import token_ids
from .zoo import (
    CLASSIFIERS,
    DECODER_NAMES,
    ENCODERS,
    MASK,
    OPTIONS,
    PAD,
    VOCAB,
    class_of,
    classifier,
    language_model,
    make_config,
    pair_inputs,
    random_batch,
    stir,
)


LANGUAGE_MODELS = [(encoder, decoder) for encoder in ENCODERS for decoder in DECODER_NAMES]
every_language_model = pytest.mark.parametrize(("encoder", "decoder"), LANGUAGE_MODELS)
every_classifier = pytest.mark.parametrize(("encoder", "kind"), [(e, k) for e in ENCODERS for k in CLASSIFIERS])
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))


def labels_of(batch, every=2):
    labels = batch["input_ids"].clone()
    labels[:, ::every] = -100
    return labels.masked_fill(batch["attention_mask"] == 0, -100)


def pad_right(batch, count, token=PAD):
    return {
        "input_ids": F.pad(batch["input_ids"], (0, count), value=token),
        "attention_mask": F.pad(batch["attention_mask"], (0, count)),
    }


def pad_left(batch, count):
    return {
        "input_ids": F.pad(batch["input_ids"], (count, 0), value=PAD),
        "attention_mask": F.pad(batch["attention_mask"], (count, 0)),
    }


def class_inputs(kind, batch):
    return pair_inputs(batch) if kind == "Pair" else batch


def assert_padding_changes_nothing(model, batch):
    """Padding on either side, whatever it holds, also up to a length that equals the number of concepts."""
    reference = model(**batch)
    length = batch["input_ids"].shape[1]
    counts = {3, model.config.concept_num - length} - {0}
    for count in (c for c in counts if c > 0):
        for token in (PAD, 17, MASK):
            wider = model(**pad_right(batch, count, token))
            torch.testing.assert_close(wider.concepts, reference.concepts, atol=2e-5, rtol=1e-4)
            torch.testing.assert_close(wider.pooler_output, reference.pooler_output, atol=2e-5, rtol=1e-4)
            real = batch["attention_mask"].bool()
            torch.testing.assert_close(wider.logits[:, :length][real], reference.logits[real], atol=1e-4, rtol=1e-4)
        wider = model(**pad_left(batch, count))
        torch.testing.assert_close(wider.concepts, reference.concepts, atol=2e-5, rtol=1e-4)


@every_language_model
def test_padding_changes_nothing(encoder, decoder):
    model = stir(language_model(encoder, decoder))
    assert_padding_changes_nothing(model, random_batch())
    short = random_batch(rows=2, length=4, padding=(0, 1))  # padded to 6, the number of concepts
    assert_padding_changes_nothing(model, short)


@every_option
@pytest.mark.parametrize("decoder", DECODER_NAMES)
def test_padding_changes_nothing_with_options(options, decoder):
    assert_padding_changes_nothing(stir(language_model(decoder=decoder, **options)), random_batch())


@every_classifier
def test_classifiers_ignore_padding(encoder, kind):
    model, batch = stir(classifier(kind, encoder)), random_batch()
    reference = model(**class_inputs(kind, batch)).logits
    for wider in (pad_right(batch, 3, 17), pad_left(batch, 2)):
        torch.testing.assert_close(model(**class_inputs(kind, wider)).logits, reference, atol=2e-5, rtol=1e-4)


@every_language_model
def test_texts_of_a_batch_do_not_see_each_other(encoder, decoder):
    model, batch = stir(language_model(encoder, decoder)), random_batch()
    together = model(**batch)
    for row in range(3):
        alone = model(**{name: value[row : row + 1] for name, value in batch.items()})
        torch.testing.assert_close(alone.concepts[0], together.concepts[row], atol=2e-5, rtol=1e-4)
        real = batch["attention_mask"][row].bool()
        torch.testing.assert_close(alone.logits[0][real], together.logits[row][real], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("encoder", "options"),
    [(encoder, {}) for encoder in ENCODERS] + [("perceiver0-stack", options) for options in OPTIONS.values()],
    ids=[*ENCODERS, *OPTIONS],
)
def test_a_text_of_no_tokens_is_one_hidden_position(encoder, options):
    """Of width 0, as tokenizers give them in a batch of empty texts, with a mask or without, as ids or embeddings."""
    encoder = stir(language_model(encoder, **options)).encoder
    empty = torch.empty((2, 0), dtype=torch.long)
    expected = encoder(torch.full((2, 1), PAD), torch.zeros((2, 1), dtype=torch.long))
    given = [{"input_ids": empty}, {"input_ids": empty.float(), "attention_mask": empty, "token_type_ids": empty}]
    for inputs in (*given, {"inputs_embeds": torch.empty((2, 0, encoder.config.token_embedding_dim))}):
        torch.testing.assert_close(encoder(**inputs).last_hidden_state, expected.last_hidden_state)


@every_language_model
def test_an_empty_text_is_read_back_as_nothing(encoder, decoder):
    model, empty = language_model(encoder, decoder), torch.empty((2, 0), dtype=torch.long)
    for inputs in ({"input_ids": empty}, {"input_ids": empty, "attention_mask": empty}):
        assert model(**inputs).logits.shape == (2, 0, VOCAB)
        assert model(**inputs, labels=empty).loss == 0
    assert model.reconstruct_ids(empty, empty).shape == (2, 0)


@every_classifier
def test_an_empty_text_has_a_class(encoder, kind):
    model, empty = classifier(kind, encoder), torch.empty((2, 0), dtype=torch.long)
    inputs = {"input_ids": empty, "attention_mask": empty}
    assert model(**(pair_inputs(inputs) if kind == "Pair" else inputs)).logits.isfinite().all()


@every_language_model
def test_sparse_loss_equals_full_loss(encoder, decoder):
    model, batch = stir(language_model(encoder, decoder)), random_batch()
    labels = labels_of(batch)
    sparse = model(**batch, labels=labels, return_logits=False)
    assert sparse.logits is None and model.train()(**batch, labels=labels).logits is None
    full = model.eval()(**batch, labels=labels)
    torch.testing.assert_close(full.logits, model(**batch).logits, atol=0, rtol=0)
    expected = F.cross_entropy(full.logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
    torch.testing.assert_close(sparse.loss, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(full.loss, expected, atol=1e-5, rtol=1e-5)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    pairs = zip(
        torch.autograd.grad(sparse.loss, parameters, allow_unused=True),
        torch.autograd.grad(expected, parameters, allow_unused=True),
        strict=True,
    )
    for ours, theirs in pairs:
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_loss_weights_and_normaliser():
    model, batch = language_model(), random_batch()
    labels = labels_of(batch)
    weights = torch.rand(labels.shape) * (torch.rand(labels.shape) < 0.7)
    logits = model(**batch).logits
    nll = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none", ignore_index=-100)
    expected = (nll * weights.flatten()).sum()
    count = (labels != -100).sum()
    found = model(**batch, labels=labels, loss_weights=weights).loss
    torch.testing.assert_close(found, expected / count, atol=1e-5, rtol=1e-5)
    found = model(**batch, labels=labels, loss_weights=weights, num_items_in_batch=torch.tensor(100)).loss
    torch.testing.assert_close(found, expected / 100, atol=1e-5, rtol=1e-5)


def assert_every_parameter_learns(model, forward, steps=4):
    """Each parameter gets a finite gradient, not all zero, within the first steps, and has moved after them."""
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    reached = set()
    for _ in range(steps):
        optimizer.zero_grad()
        forward().backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                assert parameter.grad.isfinite().all(), name
                if parameter.grad.abs().sum() > 0:
                    reached.add(name)
        optimizer.step()
    named = dict(model.named_parameters())
    assert set(named) - reached == set()
    assert [name for name, parameter in named.items() if torch.equal(parameter, before[name])] == []


@every_language_model
def test_every_parameter_learns(encoder, decoder):
    model, batch = language_model(encoder, decoder), random_batch()
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    assert_every_parameter_learns(model, lambda: model(**batch, labels=labels).loss)


@every_option
@pytest.mark.parametrize("decoder", DECODER_NAMES)
def test_every_parameter_learns_with_options(options, decoder):
    # Weights of the weighted decoder for positions that no text reaches cannot learn.
    limit = {"max_sequence_length": 13} if decoder == "weighted" else {}
    model, batch = language_model(decoder=decoder, **options, **limit), random_batch()
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    assert_every_parameter_learns(model, lambda: model(**batch, labels=labels).loss)


@every_classifier
def test_every_parameter_of_classifiers_learns(encoder, kind):
    # A mean of the concepts that is that of the token embeddings does not depend on the layers.
    model, batch = classifier(kind, encoder, concept_mean="free"), class_inputs(kind, random_batch())
    labels = torch.tensor([0, 1, 2])
    assert_every_parameter_learns(model, lambda: model(**batch, labels=labels).loss)


def assert_round_trip_is_exact(model, inputs, folder):
    stir(model)
    model.save_pretrained(folder)
    again = type(model).from_pretrained(folder).eval()
    for (name, ours), (other, theirs) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(ours, theirs), name
    for key, value in model(**inputs).items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, again(**inputs)[key], atol=1e-6, rtol=1e-6, msg=key)
    return again


@every_option
@pytest.mark.parametrize("decoder", DECODER_NAMES)
def test_saving_and_loading_is_exact(options, decoder, tmp_path):
    model = language_model(decoder=decoder, num_decoder_layers=3, **options)
    again = assert_round_trip_is_exact(model, random_batch(), tmp_path)
    assert again.config.to_diff_dict().keys() == model.config.to_diff_dict().keys()
    tied = model.config.tie_word_embeddings
    assert (again.lm_head.weight is again.get_input_embeddings().weight) == tied
    assert tied == ("token_embedding_dim" not in options and options.get("tie_word_embeddings", True))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_encoders_and_classifiers_are_saved_exactly(encoder, tmp_path):
    for number, kind in enumerate(CLASSIFIERS):
        model = classifier(kind, encoder)
        assert_round_trip_is_exact(model, class_inputs(kind, random_batch()), tmp_path / str(number))
    family, options = ENCODERS[encoder]
    base = class_of(family, "")(make_config(family, **options)).eval()
    assert_round_trip_is_exact(base, random_batch(), tmp_path / "base")


@every_language_model
def test_bf16_and_gradient_checkpointing(encoder, decoder):
    model, batch = language_model(encoder, decoder), random_batch()
    labels = labels_of(batch)
    exact = model(**batch, labels=labels).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(**batch, labels=labels).loss
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, atol=0.1, rtol=0.05)
    model.train()
    model(**batch, labels=labels).loss.backward()
    plain = {name: parameter.grad for name, parameter in model.named_parameters()}
    for reentrant in (False, True):
        model.zero_grad()
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        model(**batch, labels=labels).loss.backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.grad, plain[name], atol=1e-6, rtol=1e-4, msg=name)
    low = model.to(torch.bfloat16)
    low.gradient_checkpointing_disable()
    assert low(**batch, labels=labels).loss.isfinite()


# Each kind stacked and recursive, and each of its options in one of the two.
COMPILED = [encoder for encoder in ENCODERS if encoder.endswith(("0-stack", "1-recursive"))]


@pytest.mark.parametrize(("encoder", "padded"), [(e, True) for e in COMPILED] + [("perceiver0-stack", False)])
def test_encoder_compiles_without_graph_breaks(encoder, padded):
    """One layer with gradients, or two steps of a recursion without."""
    family, options = ENCODERS[encoder]
    recursive = "Recursive" in family
    model = class_of(family, "")(make_config(family, **options, num_hidden_layers=1 + recursive)).eval()
    batch = random_batch()
    inputs = batch if padded else {"input_ids": batch["input_ids"]}
    expected = model(**inputs).last_hidden_state
    torch._dynamo.reset()
    compiled = torch.compile(model.forward, fullgraph=True, backend="aot_eager")
    with torch.set_grad_enabled(not recursive):
        torch.testing.assert_close(compiled(**inputs).last_hidden_state, expected, atol=1e-5, rtol=1e-4)


@every_language_model
def test_extreme_texts(encoder, decoder):
    model = language_model(encoder, decoder)
    one = torch.tensor([[7]])
    for ids, mask in (
        (one, None),  # a text of one token
        (torch.full((1, 5), MASK), None),  # nothing to read
        (torch.full((2, 3), PAD), torch.zeros(2, 3, dtype=torch.long)),  # empty texts
        (torch.tensor([[PAD, 7], [PAD, PAD]]), torch.tensor([[0, 1], [0, 0]])),
    ):
        output = model(ids, mask)
        assert output.concepts.isfinite().all()
        assert output.logits.isfinite().all()
    # An empty text is the same however it is padded, and beside whatever else.
    empty = torch.zeros(1, 3, dtype=torch.long)
    alone = model(empty, empty).concepts[0]
    beside = model(torch.tensor([[7, 8, 9, 10], [9, 9, 9, 9]]), torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]])).concepts[1]
    torch.testing.assert_close(alone, beside, atol=1e-5, rtol=1e-4)
    # The only real token survives anything around it. Concepts of one token differ little, and their norm enlarges
    # what rounding adds.
    around = model(torch.tensor([[PAD, PAD, 7, PAD]]), torch.tensor([[0, 0, 1, 0]])).concepts
    torch.testing.assert_close(around, model(one).concepts, atol=2e-4, rtol=1e-3)
    with pytest.raises(ValueError, match="longer than max_sequence_length 48"):
        model(torch.full((1, 49), 7))


@every_language_model
def test_no_supervised_position_is_zero_loss(encoder, decoder):
    model, batch = language_model(encoder, decoder).train(), random_batch()
    loss = model(**batch, labels=torch.full_like(batch["input_ids"], -100)).loss
    assert loss == 0
    loss.backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in model.parameters())


@pytest.mark.parametrize("encoder", ENCODERS)
def test_eager_and_sdpa_agree(encoder):
    batch = random_batch()
    eager = stir(language_model(encoder))
    eager.set_attn_implementation("eager")
    expected = eager(**batch)
    eager.set_attn_implementation("sdpa")
    torch.testing.assert_close(eager(**batch).concepts, expected.concepts, atol=1e-5, rtol=1e-4)


@every_classifier
def test_classifiers_agree_on_eager_and_sdpa(encoder, kind):
    model, inputs = stir(classifier(kind, encoder)), class_inputs(kind, random_batch())
    model.set_attn_implementation("eager")
    expected = model(**inputs).logits
    model.set_attn_implementation("sdpa")
    torch.testing.assert_close(model(**inputs).logits, expected, atol=1e-5, rtol=1e-4)


def test_outputs_tell_states_and_attention():
    model = models.ConceptEncoder(make_config()).eval()
    model.set_attn_implementation("eager")
    batch = random_batch()
    output = model(**batch, output_hidden_states=True, output_attentions=True)
    assert len(output.hidden_states) == 3
    assert all(state.shape == (3, 6, 32) for state in output.hidden_states)
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    assert [weights.shape for weights in output.attentions] == [(3, 4, 6, 6)] * 2
    assert [weights.shape for weights in output.cross_attentions] == [(3, 4, 6, 13)] * 2
    hidden = (batch["attention_mask"] == 0) | (batch["input_ids"] == MASK)
    for weights in output.cross_attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, 6))
        assert (weights.permute(0, 3, 1, 2)[hidden] == 0).all()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_concept_number_may_be_cut(encoder):
    model, batch = language_model(encoder), random_batch()
    for count in (1, 3, 6):
        output = model(**batch, concept_num=count)
        assert output.concepts.shape == (3, count, 32)
        assert output.logits.shape == (3, 13, VOCAB)
    for count in (0, 7):
        with pytest.raises(ValueError, match="between 1 and the trained 6"):
            model(**batch, concept_num=count)


@pytest.mark.parametrize("decoder", DECODER_NAMES)
def test_hidden_tokens_are_unreadable(decoder):
    """What stands at a masked position before it was masked cannot reach the concepts, nor can masks be read."""
    model, batch = language_model(decoder=decoder), random_batch()
    visible = batch["attention_mask"] * (batch["input_ids"] != MASK)
    by_mask = model.encoder(batch["input_ids"].masked_fill(visible == 0, 9), visible).last_hidden_state
    # The attention mask hides just as well, wherever the text ends the same.
    rows = visible[:, -1] == batch["attention_mask"][:, -1]
    torch.testing.assert_close(by_mask[rows], model(**batch).concepts[rows], atol=1e-5, rtol=1e-4)


def test_recursive_iterations_from_config_or_call():
    model, batch = language_model("perceiver0-recursive"), random_batch()
    by_call = {count: model(**batch, num_iterations=count).concepts for count in (1, 2, 5)}
    for count, concepts in by_call.items():
        model.config.num_iterations = count
        assert torch.equal(model(**batch).concepts, concepts)
    assert not torch.allclose(by_call[2], by_call[5])
    with pytest.raises(ValueError, match="at least 1"):
        model(**batch, num_iterations=0)
    with pytest.raises(TypeError, match="num_iterations"):
        language_model()(**batch, num_iterations=3)


def test_recursive_state_is_the_mean_of_the_iterations():
    torch.manual_seed(0)
    encoder = stir(models.RecursiveConceptEncoder(make_config(True))).eval()
    given = []
    encoder.shared_layer.register_forward_hook(lambda module, inputs, output: given.append(output[0]))
    output = encoder(**random_batch(), num_iterations=4, output_hidden_states=True)
    states = [torch.stack(given[: k + 1]).mean(0) for k in range(4)]
    assert len(output.hidden_states) == 5
    for seen, state in zip(output.hidden_states[1:-1], states):
        torch.testing.assert_close(seen, state)
    torch.testing.assert_close(output.last_hidden_state, encoder.finish(states[-1], output.pooler_output[:, None]))


def test_recursive_encoder_starts_from_a_standard_one(tmp_path):
    standard = stir(language_model())
    standard.save_pretrained(tmp_path / "standard")
    encoder = models.RecursiveConceptEncoder(make_config(True)).eval()
    report = encoder.load_from_standard_checkpoint(str(tmp_path / "standard"))
    assert report["new"] == ["state_norm.weight"]
    encoder.state_norm = torch.nn.Identity()
    assert any(name.startswith("encoder.layers.1.") for name in report["skipped"])
    assert any(name.startswith("decoder.") for name in report["skipped"])
    one_layer = models.ConceptEncoder(make_config(num_hidden_layers=1)).eval()
    one_layer.load_state_dict(
        {k: v for k, v in standard.encoder.state_dict().items() if not k.startswith("layers.1.")}
    )
    batch = random_batch()
    expected = one_layer(**batch).last_hidden_state
    torch.testing.assert_close(encoder(**batch, num_iterations=1).last_hidden_state, expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(RuntimeError, match="size mismatch"):
        models.RecursiveConceptEncoder(make_config(True, intermediate_size=8)).load_from_standard_checkpoint(
            str(tmp_path / "standard")
        )


@pytest.mark.parametrize("problem", ["regression", "single", "multi"])
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_classifier_losses(kind, problem):
    labels = {"regression": torch.rand(3), "single": torch.tensor([0, 2, 1]), "multi": torch.rand(3, 3).round()}[
        problem
    ]
    model = classifier(kind, num_labels=1 if problem == "regression" else 3)
    output = model(**class_inputs(kind, random_batch()), labels=labels)
    logits = output.logits
    expected = {
        "regression": lambda: F.mse_loss(logits.squeeze(), labels),
        "single": lambda: F.cross_entropy(logits, labels),
        "multi": lambda: F.binary_cross_entropy_with_logits(logits, labels),
    }[problem]()
    torch.testing.assert_close(output.loss, expected)


@pytest.mark.parametrize("kind", ["pair", "language model", "weighted tokens"])
def test_resizing_the_vocabulary(kind):
    if kind == "pair":
        model = classifier("Pair")
    elif kind == "weighted tokens":
        model = language_model(decoder="diffusion")
        model.encoder.token_weights.weights.uniform_()
    else:
        model = language_model(decoder="diffusion")
    stir(model)
    batch = random_batch()
    pair = model.main_input_name == "input_ids_a"
    before = model(**(pair_inputs(batch) if pair else batch)).logits
    model.resize_token_embeddings(VOCAB + 9)
    after = model(**(pair_inputs(batch) if pair else batch)).logits
    torch.testing.assert_close(after if pair else after[..., :VOCAB], before)
    batch["input_ids"][0, 0] = VOCAB + 8
    assert model(**(pair_inputs(batch) if pair else batch)).logits.isfinite().all()


def test_tokens_weigh_what_they_are_given():
    model = language_model()
    encoder, batch = model.encoder, random_batch()
    plain = language_model(concept_mean="uniform")
    plain.load_state_dict(model.state_dict(), strict=False)
    torch.testing.assert_close(plain.encoder(**batch).pooler_output, encoder(**batch).pooler_output)
    encoder.token_weights.weights.fill_(0.5)
    torch.testing.assert_close(encoder(**batch).pooler_output, plain.encoder(**batch).pooler_output / 2)
    encoder.token_weights.weights.zero_()
    torch.testing.assert_close(encoder(**batch).pooler_output, torch.zeros(3, 32))
    embeddings = torch.randn(1, 4, encoder.config.token_embedding_dim)
    with pytest.raises(ValueError, match="needs input_ids instead of inputs_embeds"):
        encoder(inputs_embeds=embeddings)
    assert plain.encoder(inputs_embeds=embeddings).last_hidden_state.isfinite().all()


def test_pair_cosine():
    model = classifier("Pair", pair_similarity="cosine", num_labels=1)
    inputs = pair_inputs(random_batch())
    output = model(**inputs, labels=torch.tensor([0.5, 1.0, -1.0]))
    assert output.logits.shape == (3, 1)
    same = model(inputs["input_ids_a"], inputs["attention_mask_a"], inputs["input_ids_a"], inputs["attention_mask_a"])
    torch.testing.assert_close(same.logits, torch.ones(3, 1))
    torch.testing.assert_close(output.loss, F.mse_loss(output.logits[:, 0], torch.tensor([0.5, 1.0, -1.0])))
    for labels, message in (
        ([0.0, 5.0, 2.0], "between -1 and 1, but these reach from 0 to 5"),
        ([0.0, float("nan"), 1.0], "between -1 and 1"),
        ([[0.0, 1.0]] * 3, "is invalid for input of size 6"),
    ):
        with pytest.raises((ValueError, RuntimeError), match=message):
            model(**inputs, labels=torch.tensor(labels))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"input_ids": [5, 6]}, r"input_ids must be a tensor \[texts, tokens\], not of shape \[2\]"),
        ({"input_ids": [[5.0, 6.0]]}, "dtype torch.long, not torch.float32"),
        ({"inputs_embeds": [[0.5, 1.0]]}, r"\[texts, tokens, width\], not of shape \[1, 2\]"),
        ({"attention_mask": [[1, 1]]}, r"attention_mask must be of shape \[2, 3\]"),
        ({"attention_mask": [[[1, 1, 1]] * 3] * 2}, r"attention_mask must be of shape \[2, 3\]"),
        ({"token_type_ids": [[0, 1, 1]] * 3}, r"token_type_ids must be of shape \[2, 3\]"),
        ({"labels": [[5, 6]] * 2}, r"labels must be of shape \[2, 3\]"),
        ({"labels": [[5, 6, 7, 8]] * 2}, r"labels must be of shape \[2, 3\]"),
        ({"labels": [[5, 6, 7]]}, r"labels must be of shape \[2, 3\]"),
        ({"decoder_attention_mask": [[1] * 7] * 2}, r"decoder_attention_mask must be of shape \[2, 3\]"),
        ({"decoder_input_ids": [[5, 6, 7]] * 3}, "3 rows to decode are no multiple of the 2 encoded texts"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_inputs_that_do_not_fit_each_other_are_told(inputs, message, training):
    given = {name: torch.tensor(value) for name, value in inputs.items()}
    if not {"input_ids", "inputs_embeds"} & set(given):
        given["input_ids"] = torch.full((2, 3), 7)
    with pytest.raises(ValueError, match=message):
        language_model().train(training)(**given)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_a_label_that_is_no_token_is_no_other(training):
    with pytest.raises(RuntimeError, match="index -5 is out of bounds"):
        language_model().train(training)(torch.tensor([[5, 6]]), labels=torch.tensor([[-5, 6]]))


@pytest.mark.parametrize("kind", ["encoder", "language model", *CLASSIFIERS])
def test_tuples_by_configuration_are_those_of_the_call(kind, tokenizer):
    model = classifier(kind) if kind in CLASSIFIERS else language_model(**token_ids(tokenizer))
    model = model.encoder if kind == "encoder" else model
    batch = pair_inputs(random_batch()) if kind == "Pair" else random_batch()
    expected = model(**batch, return_dict=False)
    model.config.return_dict = False
    found = model(**batch)
    assert type(found) is tuple and len(found) == len(expected)
    torch.testing.assert_close(found[0], expected[0])
    if kind == "language model":
        model.tokenizer = tokenizer
        text = f"The {tokenizer.mask_token} fox"
        assert model.encode(text).concepts.shape == (1, 6, 32)
        assert len(model.reconstruct(text)) == len(model.infill(text)) == 1


def test_one_mask_serves_all_texts():
    model, ids = stir(language_model()), random_batch(padding=())["input_ids"]
    mask = torch.ones_like(ids)
    mask[:, 9:] = 0
    torch.testing.assert_close(model(ids, mask[:1]).concepts, model(ids, mask).concepts)


def test_inputs_embeds_equal_input_ids():
    batch = random_batch()
    batch["input_ids"] = batch["input_ids"].clamp(min=5)  # embeddings do not tell masks
    for decoder in DECODER_NAMES:
        model = language_model(decoder=decoder)
        embeds = model.get_input_embeddings()(batch["input_ids"])
        found = model(inputs_embeds=embeds, attention_mask=batch["attention_mask"]).logits
        torch.testing.assert_close(found, model(**batch).logits)
    model = language_model("original0-stack", decoder="diffusion")
    with pytest.raises(ValueError, match="decoder_input_ids"):
        model(inputs_embeds=embeds)
    with pytest.raises(ValueError, match="exactly one"):
        model(**batch, inputs_embeds=embeds)


def test_one_model_reads_a_text_and_what_follows_it():
    """With decoder_target "both", a call says which; masks are filled in the text, new tokens written after it."""
    torch.manual_seed(0)
    model = stir(language_model(decoder="diffusion", decoder_target="both"))
    batch = random_batch(padding=(0, 0, 0))
    read = {**batch, "decoder_input_ids": batch["input_ids"]}
    outputs = [model(**read, continuation=continuation).logits for continuation in (None, False, True)]
    assert torch.equal(outputs[0], outputs[1]) and not torch.allclose(outputs[1], outputs[2])
    text, rest = (language_model(decoder="diffusion", decoder_target=target) for target in ("text", "continuation"))
    for other, expected in ((text, outputs[1]), (rest, outputs[2])):
        other.load_state_dict(model.state_dict())
        assert torch.equal(other(**read).logits, expected)
    clean = torch.randint(5, VOCAB, (2, 7))
    assert torch.equal(model.generate(clean, max_new_tokens=4), rest.generate(clean, max_new_tokens=4))
    clean[:, 2] = MASK
    assert torch.equal(model.generate(clean), text.generate(clean))
    written = model.generate(clean, max_new_tokens=4)
    assert written.shape == (2, 11) and not (written == MASK).any()
