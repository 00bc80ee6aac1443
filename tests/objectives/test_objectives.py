# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Objectives: what is hidden, what is predicted, and that evaluation always asks the same."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_concept import ConceptEncoderForMaskedDiffusion
from trainers.objectives import (
    OBJECTIVES,
    Contrastive,
    Denoising,
    Distillation,
    MaskedDiffusion,
    MaskedLM,
    Mixture,
    PrefixDiffusion,
    parse_mixture,
)
from trainers.objectives.base import TokenObjective
from trainers.objectives.contrastive import TEMPERATURE, two_crops
from trainers.objectives.noise import Noise
from trainers.objectives.vocabulary import CleanBatch, Vocabulary

from ..conftest import TEXTS
from ..modeling.zoo import make_config, stir
from ..trainers.kit import clean_batch, make_model, make_objective, step_noise, text_noise


TOKEN_OBJECTIVES = [name for name, kind in OBJECTIVES.items() if issubclass(kind, TokenObjective)]
VARIANTS = {
    "masked_lm": [{}, {"masking": "span", "mlm_probability": 0.3}],
    "denoising": [{}, {"deletion_rate": [0.4, 0.9]}, {"true_deletion": True, "deletion_rate": 0.6}],
    "masked_diffusion": [{}, {"clean_encoder": True}, {"elbo_weighting": "self_normalised"}],
    "prefix_diffusion": [{}, {"elbo_weighting": "none"}],
    "contrastive": [{}, {"views": "dropout"}],
}
CASES = [(name, options) for name in OBJECTIVES for options in VARIANTS.get(name, [{}])]
TOKEN_CASES = [(name, options) for name, options in CASES if name in TOKEN_OBJECTIVES]


@pytest.fixture
def rows(tokenizer):
    return tokenizer([*TEXTS, "dog"])["input_ids"]


@pytest.fixture
def batch(tokenizer, rows):
    return clean_batch(tokenizer, rows)


@pytest.mark.parametrize(("name", "options"), TOKEN_CASES)
def test_labels_are_clean_tokens_and_padding_is_never_predicted(name, options, batch):
    inputs = make_objective(name, None, **options)(batch, step_noise(batch))
    labelled = inputs["labels"] != -100
    assert labelled.any()
    if not OBJECTIVES[name].by_reader:  # whose targets are no positions of the encoded text
        target_mask = inputs.get("decoder_attention_mask", inputs["attention_mask"])
        assert target_mask[labelled].all()
    weights = inputs.get("loss_weights", torch.ones_like(labelled, dtype=torch.float32))
    assert (weights[~labelled] == 0).all() or "loss_weights" not in inputs
    # Every text's labels are tokens of that text, in its order.
    for row, labels in enumerate(inputs["labels"]):
        clean = iter(batch.input_ids[row].tolist())
        assert all(label in clean for label in labels[labels != -100].tolist())


@pytest.mark.parametrize(("name", "options"), CASES)
def test_special_tokens_are_never_hidden(name, options, batch, teacher):
    inputs = make_objective(name, teacher, **options)(batch, step_noise(batch))
    vocabulary = batch.vocabulary
    for row, ids in enumerate(inputs["input_ids"]):
        clean = batch.input_ids[row % len(batch.input_ids)]
        assert ids[0] == clean[0] and vocabulary.special[ids[0]]
    padding = inputs["attention_mask"] == 0
    assert (inputs["input_ids"][padding] == vocabulary.pad_token_id).all()


@pytest.mark.parametrize(("name", "options"), CASES)
def test_evaluation_noise_depends_on_the_text_alone(name, options, rows, batch, tokenizer, teacher):
    objective = make_objective(name, teacher, **options).for_evaluation()
    together = objective(batch, text_noise(batch, 5))
    for row, ids in enumerate(rows):
        alone_batch = clean_batch(tokenizer, [ids])
        alone = objective(alone_batch, text_noise(alone_batch, 5))
        for key, value in alone.items():
            places = range(row, len(together[key]), len(rows))
            if len(together[key]) != len(value) * len(rows):
                places = range(row * len(value), (row + 1) * len(value))
            for one, place in zip(value, places, strict=True):
                other = together[key][place]
                other = other[: len(one)] if one.dim() else other
                torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_each_step_hides_something_else(name, options, batch, teacher):
    if name in ("distillation", "autoencoding") or "views" in options:
        return  # nothing is hidden
    objective = make_objective(name, teacher, **options)
    first, again = objective(batch, step_noise(batch)), objective(batch, step_noise(batch))
    other = objective(batch, step_noise(batch, step=1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(first[key].shape != other[key].shape or not torch.equal(first[key], other[key]) for key in first)


def long_batch(tokenizer, count=4, length=500):
    ids = torch.randint(10, 300, (count, length))
    ids[:, 0] = tokenizer.all_special_ids[0]
    return CleanBatch(ids, torch.ones_like(ids), Vocabulary.of(tokenizer))


@given(probability=st.floats(0.0, 1.0), seed=st.integers(0, 9), masking=st.sampled_from(["token", "span"]))
@settings(max_examples=40, deadline=None)
def test_masked_lm_rates(probability, seed, masking, tokenizer):
    torch.manual_seed(seed)
    batch = long_batch(tokenizer)
    out = MaskedLM(mlm_probability=probability, masking=masking)(batch, step_noise(batch, seed))
    chosen = out["labels"] != -100
    assert chosen.any(dim=1).all()
    assert abs(chosen.float().mean() - probability) < (0.06 if masking == "token" else 0.09)
    masked = (out["input_ids"] == tokenizer.mask_token_id) & chosen
    if probability > 0.2:
        assert abs(masked.sum() / chosen.sum() - 0.8) < 0.15
    assert torch.equal(out["input_ids"][~chosen], batch.input_ids[~chosen])


def test_spans_are_contiguous_and_as_long_as_asked(tokenizer):
    batch = long_batch(tokenizer, 20)
    chosen = MaskedLM(0.1, "span")(batch, step_noise(batch))["labels"] != -100
    lengths = []
    for row in chosen.tolist():
        runs = [(value, len(list(run))) for value, run in itertools.groupby(row)]
        lengths += [length for value, length in runs[:-1] if value]  # the text may end within a span
    assert min(lengths) >= 3 and 4 < sum(lengths) / len(lengths) < 11


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("true_deletion", [False, True])
def test_denoising_guarantees(rate, true_deletion, batch, tokenizer):
    """Nothing at rate 0, about the rate, never a special token, at least one survivor, labels at every real token,
    positions and ids of survivors unchanged, or moved together in their order."""
    objective = Denoising(deletion_rate=rate, supervised_share=1.0, true_deletion=true_deletion)
    inputs = objective(batch, step_noise(batch))
    real, special = batch.real, batch.special
    assert torch.equal(inputs["labels"], torch.where(real, batch.input_ids, -100))
    assert (inputs["decoder_input_ids"][real] == tokenizer.mask_token_id).all()
    seen = inputs["input_ids"][inputs["attention_mask"].bool()]
    assert (seen != tokenizer.pad_token_id).all()
    inner = int((real & ~special).sum())
    if true_deletion:
        masks = inputs["attention_mask"].bool()
        kept = [ids[mask].tolist() for ids, mask in zip(inputs["input_ids"], masks, strict=True)]
        for ids, clean in zip(kept, batch.input_ids.tolist(), strict=True):
            clean = iter(clean)
            assert all(token in clean for token in ids)  # the same tokens in the same order
        survivors = sum(len(ids) for ids in kept) - int((special & real).sum())
        assert all(len(ids) >= 3 for ids in kept)
    else:
        hidden = inputs["input_ids"] == tokenizer.mask_token_id
        assert not (hidden & special).any()
        assert torch.equal(inputs["input_ids"][~hidden], batch.input_ids[~hidden])
        assert torch.equal(inputs["attention_mask"], batch.attention_mask)
        survivors = int((real & ~special & ~hidden).sum())
        assert ((real & ~special & ~hidden).sum(dim=1) >= 1).all()
    if rate == 0:
        assert survivors == inner
    elif rate == 0.5:
        assert 0.35 < survivors / inner < 0.65
    else:
        assert survivors <= 2 * len(batch.input_ids) + 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_denoising_labels_a_share(share, tokenizer):
    """Of every text, up to one token, and on average exactly; places differ."""
    many = long_batch(tokenizer)
    labels = Denoising(supervised_share=share)(many, step_noise(many))["labels"] != -100
    expected = share * many.attention_mask.sum(dim=1)
    assert ((labels.sum(dim=1) - expected).abs() < 1).all() and not labels[many.attention_mask == 0].any()
    if share in (0.3, 0.5):
        assert len(labels.unique(dim=0)) == len(labels)


def test_the_share_of_labels_holds_on_average(tokenizer):
    """Also where it is no whole number of tokens."""
    many = long_batch(tokenizer, count=400, length=5)
    labels = Denoising(supervised_share=0.3)(many, step_noise(many))["labels"] != -100
    assert set(labels.sum(dim=1).tolist()) == {1, 2}
    assert float(labels.float().mean()) == pytest.approx(0.3, abs=0.015)
    assert (labels.float().mean(dim=0) - 0.3).abs().max() < 0.08


# Masked diffusion and its bound.


class Fixed(Noise):
    """Noise whose level and masks are given."""

    def __init__(self, level, masks):
        self.level, self.masks = level, masks

    def per_text(self):
        return torch.full((len(self.masks), 1), 0.5)

    def antithetic(self):
        return torch.full((len(self.masks), 1), self.level)

    def per_token(self):
        return torch.where(self.masks, 0.0, 1.0 - 1e-6)


def tiny_diffusion(length, vocabulary_size, uniform=False):
    """A model of `vocabulary_size` tokens and the mask, with stirred weights but those that depend on the noise
    level."""
    torch.manual_seed(0)
    config = make_config(
        vocab_size=vocabulary_size + 1, mask_token_id=vocabulary_size, pad_token_id=None, max_sequence_length=length,
        concept_num=2, tie_word_embeddings=False,
    )  # fmt: skip
    model = stir(ConceptEncoderForMaskedDiffusion(config), 0.3).eval().double()
    for layer in model.decoder.layers:
        torch.nn.init.zeros_(layer.modulation.linear.weight)
    if uniform:
        torch.nn.init.zeros_(model.lm_head.weight)
    return model


def all_patterns(length):
    return torch.tensor(list(itertools.product([False, True], repeat=length)))


def pattern_nll(model, text, mask_id):
    """-log p of each token given the rest of each pattern [2^L, L], renormalised over real tokens."""
    patterns = all_patterns(len(text))
    noised = torch.where(patterns, mask_id, torch.tensor(text))
    with torch.no_grad():
        logits = model(input_ids=noised, attention_mask=torch.ones_like(noised)).logits
    return patterns, F.cross_entropy(
        logits.transpose(1, 2), torch.tensor(text).expand(len(patterns), -1), reduction="none"
    )


@pytest.mark.parametrize("uniform", [False, True])
def test_nelbo_equals_exact_enumeration(uniform):
    """
    L = 3, V = 3. The objective's loss, integrated over t by Gauss-Legendre quadrature and over all 8 masks with their
    probabilities, equals the average over all orders of unmasking of the exact autoregressive likelihood (Uria et al.
    2014): two different sums. A uniform model's is L·ln V.
    """
    text, size = [0, 2, 1], 3
    model = tiny_diffusion(3, size, uniform)
    patterns, nll = pattern_nll(model, text, size)
    if uniform:  # over V tokens: the mask itself is the (V + 1)-th and never drawn
        nll = nll * math.log(size) / math.log(size + 1)

    index = {tuple(pattern.tolist()): row for row, pattern in enumerate(patterns)}
    orders = list(itertools.permutations(range(3)))
    expected = 0.0
    for order in orders:
        masked = [True] * 3
        for place in order:
            expected += float(nll[index[tuple(masked)], place]) / len(orders)
            masked[place] = False

    vocabulary = Vocabulary(size, size, 99, torch.zeros(size + 1, dtype=torch.bool))
    ids = torch.tensor([text]).expand(len(patterns), -1)
    batch = CleanBatch(ids, torch.ones_like(ids), vocabulary)
    objective = MaskedDiffusion(t_min=1e-9)
    nodes, gauss = torch.tensor([0.1127016654, 0.5, 0.8872983346]), torch.tensor([5, 8, 5]) / 18
    found = 0.0
    for t, weight in zip(nodes.double().tolist(), gauss.double().tolist(), strict=True):
        inputs = objective(batch, Fixed(t, patterns))
        assert torch.equal(inputs["input_ids"] == size, patterns)
        assert int(objective.items(inputs)) == ids.numel()
        masked = patterns.sum(dim=1).double()
        probability = t**masked * (1 - t) ** (3 - masked)
        losses = (inputs["loss_weights"].double() * nll).sum(dim=1)
        found += weight * float((probability * losses).sum())
    assert found == pytest.approx(expected, rel=1e-5)
    if uniform:
        assert found == pytest.approx(3 * math.log(3), rel=1e-5)


@pytest.mark.parametrize("weighting", ["elbo", "self_normalised", "none"])
@pytest.mark.parametrize("clean", [False, True])
def test_the_loss_with_fixed_masks_equals_a_hand_computation(weighting, clean, batch, tokenizer):
    model = make_model("diffusion_mlm", tokenizer).eval()
    objective = MaskedDiffusion(elbo_weighting=weighting, clean_encoder=clean, t_min=0.1)
    inputs = objective(batch, step_noise(batch))
    with torch.no_grad():
        loss = model(**inputs, num_items_in_batch=objective.items(inputs)).loss
        logits = model(**{k: v for k, v in inputs.items() if k not in ("labels", "loss_weights")}).logits
    masked = inputs["decoder_input_ids"] == tokenizer.mask_token_id
    nll = F.cross_entropy(logits.transpose(1, 2), batch.input_ids, reduction="none")
    inverse = (1 / inputs["timesteps"])[:, None].expand_as(nll)
    real = batch.real & ~batch.special
    expected = {
        "elbo": (nll * inverse)[masked].sum() / real.sum(),
        "self_normalised": (nll * inverse)[masked].sum() / inverse[masked].sum(),
        "none": nll[masked].mean(),
    }[weighting]
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    assert torch.equal(inputs["input_ids"], batch.input_ids) == clean
    assert (inputs["timesteps"] >= 0.1).all()


def test_prefix_and_suffix_are_the_text(batch, tokenizer):
    inputs = PrefixDiffusion(prefix_share=[0.3, 0.5])(batch, step_noise(batch))
    for row, clean in enumerate(batch.input_ids):
        length = int(batch.attention_mask[row].sum())
        prefix = inputs["input_ids"][row][inputs["attention_mask"][row].bool()].tolist()
        suffix_mask = inputs["decoder_attention_mask"][row].bool()
        noised, labels = inputs["decoder_input_ids"][row][suffix_mask], inputs["labels"][row][suffix_mask]
        suffix = torch.where(noised == tokenizer.mask_token_id, labels, noised).tolist()
        assert prefix + suffix == clean[:length].tolist()
        assert round(0.3 * length) - 1 <= len(prefix) <= round(0.5 * length) + 1


@given(seed=st.integers(0, 1000), shortest=st.floats(0.05, 0.95))
def test_crops_are_parts_of_either_half(tokenizer, seed, shortest):
    rows = tokenizer([text * (1 + number) for number, text in enumerate(TEXTS)], truncation=True)["input_ids"]
    batch = clean_batch(tokenizer, rows)
    ids, mask = two_crops(batch, step_noise(batch, seed), shortest)
    for row, clean in enumerate(rows):
        inner = clean[1:-1]
        halves = inner[: len(inner) // 2], inner[len(inner) // 2 :]
        for crop, half in zip((row, row + len(rows)), halves, strict=True):
            found = ids[crop][mask[crop].bool()].tolist()
            assert (found[0], found[-1]) == (clean[0], clean[-1])
            part = found[1:-1]
            assert any(half[place : place + len(part)] == part for place in range(len(half)))
            assert round(shortest * len(half)) <= len(part) <= len(half)


def test_the_length_of_a_crop_says_nothing_of_the_other(tokenizer):
    """Else texts are found by their lengths, and nothing else is learned."""
    rows = [[tokenizer.cls_token_id, *[5 + place % 200 for place in range(62)], tokenizer.sep_token_id]] * 2000
    batch = clean_batch(tokenizer, rows)
    _, mask = two_crops(batch, step_noise(batch), 0.4)
    first, second = mask.sum(dim=1).double().chunk(2)
    assert len(first.unique()) > 10
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.07  # 3 standard errors


def test_info_nce_equals_its_formula():
    torch.manual_seed(0)
    given = torch.randn(4, 2, 6)
    mean = sum(given[row, view] for row in range(4) for view in range(2)) / 8
    vectors = given - mean
    vectors = vectors / vectors.square().sum(dim=-1, keepdim=True).sqrt()
    expected = 0.0
    for one, other in ((0, 1), (1, 0)):
        for row in range(4):
            exponents = [math.exp(float(vectors[row, one] @ vectors[k, other]) / TEMPERATURE) for k in range(4)]
            expected -= math.log(exponents[row] / sum(exponents)) / 8
    assert float(Contrastive().joint_loss(given)) == pytest.approx(expected, rel=1e-5)
    assert Contrastive().metrics(0.0, torch.eye(4)[:, None].expand(-1, 2, -1))["retrieval_accuracy"] == 1.0


def test_a_common_part_of_all_vectors_does_not_change_the_loss():
    torch.manual_seed(0)
    vectors, common = torch.randn(8, 2, 6), 100 * torch.randn(6)
    loss = float(Contrastive().joint_loss(vectors + common))
    assert loss == pytest.approx(float(Contrastive().joint_loss(vectors)), rel=1e-3)


# Mixtures.


def test_texts_are_divided_by_share(batch, tokenizer):
    many = long_batch(tokenizer, 100, 20)
    mixture = Mixture(
        {"masked_lm": MaskedLM(), "denoising": Denoising(), "contrastive": Contrastive()},
        {"masked_lm": 0.3, "denoising": 0.7},
        {"contrastive": 0.1},
    )
    inputs = mixture.assign(many, step_noise(many))
    counts = {name: len(value["input_ids"]) for name, value in inputs.items()}
    assert abs(counts["masked_lm"] - 30) <= 1 and counts["masked_lm"] + counts["denoising"] == 100
    assert counts["contrastive"] == 200
    assert mixture.weights({"masked_lm", "contrastive"}) == {"masked_lm": 1.0, "contrastive": 0.1}
    assert mixture.weights({"masked_lm", "denoising"}) == pytest.approx({"masked_lm": 0.3, "denoising": 0.7})
    assert mixture.describe() == "masked_lm:0.3,denoising:0.7,+contrastive:0.1"


def test_what_the_decoder_must_read():
    text, rest = {"d": Denoising()}, {"p": PrefixDiffusion()}
    assert Mixture(text, {"d": 1.0}).decoder_target == "text"
    assert Mixture(rest, {"p": 1.0}).decoder_target == "continuation"
    assert Mixture({**text, **rest}, {"d": 0.5, "p": 0.5}).decoder_target == "both"
    assert Mixture({"c": Contrastive()}, {"c": 1.0}).decoder_target == "text"


def test_objectives_that_see_the_mean_alone_train_no_layer_below_a_given_one(teacher):
    contrastive, distillation, denoising = Contrastive(), Distillation(teacher=str(teacher)), Denoising()
    given, free = make_config(), make_config(concept_mean="free")
    for mixture in (
        Mixture({"c": contrastive}, {"c": 1.0}),
        Mixture({"a": contrastive, "b": distillation}, {"a": 1.0}, {"b": 1.0}),
    ):
        mixture.check(free)
        with pytest.raises(ValueError, match="would train no layer: the loss depends on the mean of the concepts"):
            mixture.check(given)
    mixed = Mixture({"denoising": denoising, "contrastive": contrastive}, {"denoising": 1.0}, {"contrastive": 0.1})
    mixed.check(make_config(decoder_type="position", decoder_target="text"))


def test_mixtures_are_read_from_text():
    assert parse_mixture("denoising") == ({"denoising": 1.0}, {})
    assert parse_mixture(" a:0.4, b:0.6 ,+c:0.1") == ({"a": 0.4, "b": 0.6}, {"c": 0.1})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaskedLM(mlm_probability=1.5), "between 0 and 1"),
        (lambda: MaskedLM(masking="letters"), "Unknown masking 'letters'; choose one of"),
        (lambda: Denoising(deletion_rate=-0.1), "between 0 and 1"),
        (lambda: Denoising(deletion_rate=[0.3, 0.2]), "or the two ends of a range, not"),
        (lambda: MaskedDiffusion(t_min=0), "both excluded"),
        (lambda: MaskedDiffusion(elbo_weighting="x"), "Unknown elbo_weighting"),
        (lambda: PrefixDiffusion(prefix_share=[0.6, 0.5]), "or the two ends of a range"),
        (lambda: PrefixDiffusion(prefix_share=1.0), "must leave both prefix and suffix"),
        (lambda: Contrastive(views="x"), "Unknown views"),
        (lambda: parse_mixture("a:b"), "could not convert string to float: 'b'"),
        (lambda: parse_mixture("a:0.5,+a:0.5"), "given twice"),
        (lambda: Mixture({"a": Denoising()}, {"a": 0.5}), "sum to 1"),
        (lambda: Mixture({"a": Denoising()}, {}, {"a": 0.5}), "sum to 1"),
        (lambda: Mixture({"a": Denoising(), "b": Denoising()}, {"a": 1.0}, {"b": 0.0}), "must be positive"),
        (lambda: Mixture({"a": Denoising(), "b": Denoising()}, {"a": 1.0}, {"b": float("nan")}), "must be positive"),
        (lambda: Mixture({"a": Denoising()}, {"a": float("nan")}), "must be positive"),
    ],
)
def test_impossible_options_are_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("width", [7, 0])
@pytest.mark.parametrize("model_type", ["diffusion_mlm", "prefix_diffusion"])
def test_a_masked_token_sees_a_revealed_neighbour_through_mixing_alone(model_type, width, batch, tokenizer):
    """Concepts and noise level fixed: the clean text, or the prefix, is encoded."""
    clean = MaskedDiffusion(clean_encoder=True)
    objective = clean if model_type == "diffusion_mlm" else PrefixDiffusion()
    model = stir(make_model(model_type, tokenizer, decoder_conv_width=width)).eval()
    inputs = objective(batch, Fixed(0.5, torch.arange(batch.input_ids.shape[1]).expand_as(batch.input_ids) % 2 == 0))
    inputs = {name: value for name, value in inputs.items() if name not in ("labels", "loss_weights")}
    noised = inputs["decoder_input_ids"]
    masked = noised == tokenizer.mask_token_id
    revealed = ~masked & ~batch.vocabulary.special[noised]
    row, place = (revealed[:, 1:-1] & masked[:, :-2] & masked[:, 2:]).nonzero()[0].tolist()
    place += 1
    changed = noised.clone()
    changed[row, place] = (noised[row, place] + 1 - 10) % 200 + 10
    with torch.no_grad():
        before = model(**inputs).logits
        after = model(**{**inputs, "decoder_input_ids": changed}).logits
    moved = (before - after).abs().amax(dim=-1)[row] > 1e-6
    assert moved[place]
    assert bool(moved[[place - 1, place + 1]].all()) == (width > 0)
    if width == 0:
        assert int(moved.sum()) == 1


def test_true_deletion_is_read_at_the_places_of_the_whole_text(batch, tokenizer):
    """The text that is read is divided into segments."""
    model = make_model("perceiver_posonly_mlm", tokenizer).eval()
    inputs = Denoising(0.6, true_deletion=True)(batch, step_noise(batch))
    with torch.no_grad():
        encoded = model.encoder(inputs["input_ids"], inputs["attention_mask"])
        memory = model.prepare_memory(encoded, False, inputs["decoder_attention_mask"])
    lengths = batch.attention_mask.sum(dim=1)
    assert (encoded.lengths < lengths).any()
    assert torch.equal(memory.segments.lengths, lengths)
    same = model.prepare_memory(encoded, False, inputs["attention_mask"])
    assert torch.equal(same.segments.lengths, encoded.lengths)
