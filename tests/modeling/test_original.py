# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The original's network: its checkpoints give what they gave there, and it is what its formulas say."""

import json
import sys

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import modeling_concept as models

from ..conftest import ROOT
from ..examples.kit import refusal, run_here
from .zoo import make_config


sys.path.insert(0, str(ROOT / "examples"))


ORIGINALS = [
    "diffusion_mlm", "perceiver_cls", "perceiver_decoder_cls", "perceiver_decoder_cls_posonly", "perceiver_mlm",
    "perceiver_mlm_dimension_inversion_sinusoidal", "perceiver_mlm_tied_learned_positions", "perceiver_pair_cls",
    "perceiver_posonly_mlm", "perceiver_posonly_mlm_bixt", "recursive_mlm", "weighted_mlm",
]  # fmt: skip


def original_outputs(folder, inputs, model):
    """Outputs of a converted and reloaded checkpoint, by their names in `expected.safetensors`."""
    if "input_ids_a" in inputs:
        cosine = type(model).from_pretrained(folder, pair_similarity="cosine").eval()
        return {"logits": model(**inputs).logits, "cosine_logits": cosine(**inputs).logits}
    if "noisy_ids" in inputs:
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        options = {"decoder_input_ids": inputs["noisy_ids"], "timesteps": inputs["timesteps"]}
        output = model(ids, mask, **options)
        targets = model.make_targets(inputs["noisy_ids"], mask, inputs["timesteps"])
        hidden = model.decode(model.prepare_memory(model.encoder(ids, mask)), targets)
        return {"concepts": output.concepts, "logits": output.logits, "decoder_hidden": hidden}
    if model.config.is_recursive:
        found = {}
        for count in (2, 4, 8):
            output = model(**inputs, num_iterations=count)
            found |= {f"concepts_k{count}": output.concepts, f"logits_k{count}": output.logits}
        return found
    options = {"return_logits": True} if "labels" in inputs else {}
    output = model(**inputs, **options)
    loss = {"loss": output.loss[None]} if output.loss is not None else {}
    return {"concepts": output.concepts, "logits": output.logits, **loss}


def test_every_original_checkpoint_is_listed(shared):
    assert sorted(path.name for path in (shared / "original_checkpoints").iterdir() if path.is_dir()) == ORIGINALS


@pytest.mark.parametrize("name", ORIGINALS)
def test_original_checkpoints_convert_with_equal_outputs(name, shared, tmp_path):
    from convert_original_checkpoint import convert

    source = shared / "original_checkpoints" / name
    inputs, expected = load_file(source / "inputs.safetensors"), load_file(source / "expected.safetensors")
    model = type(convert(str(source), str(tmp_path))).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        found = original_outputs(tmp_path, inputs, model)
    for key, value in expected.items():
        tolerance = 2e-5 if key.endswith("_k8") else 1e-5
        torch.testing.assert_close(
            found[key], value, atol=tolerance, rtol=0, msg=lambda text, key=key: f"{key}: {text}"
        )


def test_conversion_command(shared, tmp_path, monkeypatch, capsys):
    script, source = "convert_original_checkpoint.py", shared / "original_checkpoints" / "perceiver_mlm"

    def ways(source, output):
        return script, tmp_path, monkeypatch, "--model_name_or_path", source, "--output_dir", output

    run_here(*ways(source, "new"))
    assert "OriginalConceptEncoderForMaskedLM" in capsys.readouterr().out
    assert "The output folder new already holds" in refusal(*ways(source, "new"))
    assert "a checkpoint of this package already" in refusal(*ways("new", "twice"))


def test_a_damaged_original_is_refused(shared, tmp_path):
    from convert_original_checkpoint import convert

    source = shared / "original_checkpoints" / "perceiver_mlm"
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text((source / "config.json").read_text())
    weights = load_file(source / "model.safetensors")
    del weights["decoder_norm.weight"]
    save_file(weights, tmp_path / "damaged" / "model.safetensors")
    with pytest.raises(ValueError, match=r"decoder\.decoder_norm\.weight"):
        convert(str(tmp_path / "damaged"), str(tmp_path / "out"))
    weights = load_file(source / "model.safetensors") | {"surprise": torch.zeros(1)}
    save_file(weights, tmp_path / "damaged" / "model.safetensors")
    with pytest.raises(ValueError, match="surprise"):
        convert(str(tmp_path / "damaged"), str(tmp_path / "out"))


# -- checkpoints of other sizes and options, against the formulas written out

SIZES = {
    "vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20,
    "concept_num": 5, "max_sequence_length": 14, "concept_position_type": "none", "pad_token_id": 0,
    "mask_token_id": 3, "use_bixt": False, "tie_word_embeddings": False, "hidden_act": "relu",
    "decoder_posonly": False,
}  # fmt: skip

# Class and options; `decoder_layers` is what the original kept outside its configuration.
MADE = {
    "one head": ("ConceptEncoderForMaskedLMPerceiver", {"num_attention_heads": 1}),
    "six heads, wide": ("ConceptEncoderForMaskedLMPerceiver", {"num_attention_heads": 6, "intermediate_size": 99}),
    "bixt of one layer": ("ConceptEncoderForMaskedLMPerceiver", {"use_bixt": True, "num_hidden_layers": 1}),
    "bixt of three": ("ConceptEncoderForMaskedLMPerceiverPosOnly", {"use_bixt": True, "num_hidden_layers": 3}),
    "inversion, learned": (
        "ConceptEncoderForMaskedLMPerceiver", {"token_embedding_dim": 8, "concept_position_type": "learned"}
    ),
    "inversion, position": ("ConceptEncoderForMaskedLMPerceiverPosOnly", {"token_embedding_dim": 32}),
    "inversion, weighted": ("ConceptEncoderForMaskedLMWeighted", {"token_embedding_dim": 8, "concept_num": 9}),
    "diffusion of one layer": ("ConceptEncoderForMaskedDiffusion", {"decoder_layers": 1}),
    "diffusion of four": ("ConceptEncoderForMaskedDiffusion", {"decoder_layers": 4, "token_embedding_dim": 8}),
    "recursive, learned": (
        "RecursiveConceptEncoderForMaskedLM", {"num_iterations": 5, "concept_position_type": "learned"}
    ),
}  # fmt: skip


class MadeWeights(dict):
    """Random weights as the original names them."""

    def __init__(self, name, config):
        super().__init__()
        self.width, self.inner = config["hidden_size"], config["intermediate_size"]
        self.tokens = config.get("token_embedding_dim", self.width)
        self.add_encoder(name, config)
        if name.endswith("Weighted"):
            self.add("concept_weights", config["max_sequence_length"], config["concept_num"])
            self.norm("pre_lm_projection.0"), self.linear("pre_lm_projection.1", self.width, self.width)
        elif name.endswith("Diffusion"):
            self.add_diffusion_decoder(config)
        else:
            self.add_decoder(name, config)
        self.add("lm_head.weight", config["vocab_size"], self.width)

    def add(self, key, *shape):
        self[key] = torch.randn(shape) * (0.3 if len(shape) > 1 else 0.2)

    def linear(self, key, outputs, inputs):
        self.add(f"{key}.weight", outputs, inputs), self.add(f"{key}.bias", outputs)

    def norm(self, *keys):
        for key in keys:
            self.add(f"{key}.weight", self.width), self.add(f"{key}.bias", self.width)
            self[f"{key}.weight"] += 1

    def attention(self, key):
        self.add(f"{key}.in_proj_weight", 3 * self.width, self.width), self.add(f"{key}.in_proj_bias", 3 * self.width)
        self.linear(f"{key}.out_proj", self.width, self.width)

    def add_encoder(self, name, config):
        width = self.width
        self.add("encoder.token_embeddings.weight", config["vocab_size"], self.tokens)
        self.add("encoder.token_position_embeddings.weight", config["max_sequence_length"], self.tokens)
        self.add("encoder.concept_embeddings.weight", config["concept_num"], width)
        if self.tokens != width:
            self.linear("encoder.token_projection", width, self.tokens)
        if config["concept_position_type"] == "learned":
            self.add("encoder.concept_position_emb.weight", config["concept_num"], width)
        for layer in layer_names(name, config):
            self.attention(layer + "concept_token_attn"), self.attention(layer + "concept_self_attn")
            self.norm(layer + "pre_cross_attn_norm", layer + "pre_self_attn_norm", layer + "pre_ff_norm")
            self.linear(layer + "Wi", 2 * self.inner, width), self.linear(layer + "Wo", width, self.inner)
            if config["use_bixt"]:
                self.attention(layer + "token_concept_attn"), self.norm(layer + "pre_reverse_cross_norm")
        self.norm("encoder.output_layer_norm")

    def add_diffusion_decoder(self, config):
        width = self.width
        self.add("decoder.token_embed.weight", config["vocab_size"], self.tokens)
        self.add("decoder.pos_embed.weight", config["max_sequence_length"], width)
        if self.tokens != width:
            self.linear("decoder.token_proj", width, self.tokens)
        self.linear("decoder.t_embed.proj.0", 2 * width, width)
        self.linear("decoder.t_embed.proj.2", width, 2 * width)
        for layer in (f"decoder.layers.{layer}." for layer in range(config["decoder_layers"])):
            self.attention(layer + "cross_attn"), self.norm(layer + "norm_cross", layer + "norm_ff")
            self.linear(layer + "ff_in", 2 * self.inner, width), self.linear(layer + "ff_out", width, self.inner)
            self.linear(layer + "adaLN", 6 * width, width)
        self.norm("decoder.out_norm")

    def add_decoder(self, name, config):
        width = self.width
        self.add("decoder_query_embeddings.weight", config["max_sequence_length"], width)
        if self.tokens != width and not name.endswith("PosOnly"):
            self.linear("decoder_input_projection", width, self.tokens)
        self.norm("decoder_norm", "post_cross_norm"), self.attention("decoder_cross_attn")
        self.linear("decoder_ffn.0", self.inner, width), self.linear("decoder_ffn.2", width, self.inner)


def layer_names(name, config, iterations=1):
    """Prefixes of the encoder's layers; a recursive one has the same in each iteration."""
    if name.startswith("Recursive"):
        return ["encoder.shared_layer."] * iterations
    return [f"encoder.layers.{layer}." for layer in range(config["num_hidden_layers"])]


class Formula:
    """The original's formulas, written out on its weights."""

    def __init__(self, weights, name, config):
        self.weights, self.name, self.config = weights, name, config

    def linear(self, key, states):
        return states @ self.weights[f"{key}.weight"].T + self.weights[f"{key}.bias"]

    def norm(self, key, states, eps=1e-5):
        states = states - states.mean(-1, keepdim=True)
        states = states / (states.square().mean(-1, keepdim=True) + eps).sqrt()
        return states * self.weights[f"{key}.weight"] + self.weights[f"{key}.bias"]

    def attention(self, key, queries, states, visible=None):
        weights, biases = self.weights[f"{key}.in_proj_weight"].chunk(3), self.weights[f"{key}.in_proj_bias"].chunk(3)
        given = zip((queries, states, states), weights, biases, strict=True)
        split = ((states @ weight.T + bias).unflatten(-1, (self.heads, -1)) for states, weight, bias in given)
        query, key_states, value = split
        scores = torch.einsum("bqhd,bkhd->bhqk", query, key_states) / query.shape[-1] ** 0.5
        if visible is not None:
            scores = scores.masked_fill(~visible[:, None, None], -torch.inf)
        return self.linear(f"{key}.out_proj", torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), value).flatten(2))

    @property
    def heads(self):
        return self.config["num_attention_heads"]

    def gated(self, key_in, key_out, states):
        active, gate = self.linear(key_in, states).chunk(2, -1)
        return self.linear(key_out, F.gelu(active) * gate)

    def table(self, key, index):
        return self.weights[f"{key}.weight"][index]

    def projected(self, key, states):
        return self.linear(key, states) if f"{key}.weight" in self.weights else states

    def concepts(self, ids, mask):
        """Concepts [B, C, H] of ids [B, N], padding on the right."""
        config, places = self.config, torch.arange(ids.shape[1])
        tokens = self.table("encoder.token_embeddings", ids) + self.table("encoder.token_position_embeddings", places)
        tokens = self.projected("encoder.token_projection", tokens)
        concepts = self.weights["encoder.concept_embeddings.weight"].expand(len(ids), -1, -1)
        if config["concept_position_type"] == "learned":
            concepts = concepts + self.weights["encoder.concept_position_emb.weight"]
        for layer in layer_names(self.name, config, config.get("num_iterations", 1)):
            normed = self.norm(layer + "pre_cross_attn_norm", concepts)
            concepts = concepts + self.attention(layer + "concept_token_attn", normed, tokens, mask.bool())
            if config["use_bixt"]:
                normed = self.norm(layer + "pre_reverse_cross_norm", tokens)
                tokens = tokens + self.attention(layer + "token_concept_attn", normed, concepts)
            normed = self.norm(layer + "pre_self_attn_norm", concepts)
            concepts = concepts + self.attention(layer + "concept_self_attn", normed, normed)
            normed = self.norm(layer + "pre_ff_norm", concepts)
            concepts = concepts + self.gated(layer + "Wi", layer + "Wo", normed)
        return self.norm("encoder.output_layer_norm", concepts, 1e-12)

    def diffusion_states(self, ids, concepts, times):
        places, half = torch.arange(ids.shape[1]), self.config["hidden_size"] // 2
        states = self.projected("decoder.token_proj", self.table("decoder.token_embed", ids))
        states = states + self.table("decoder.pos_embed", places)
        angles = times[:, None] * 10_000 ** (-torch.arange(half) / half)
        level = F.silu(self.linear("decoder.t_embed.proj.0", torch.cat([angles.sin(), angles.cos()], -1)))
        level = self.linear("decoder.t_embed.proj.2", level)
        for layer in (f"decoder.layers.{layer}." for layer in range(self.config["decoder_layers"])):
            a, b, c, d, e, f = self.linear(layer + "adaLN", level)[:, None].chunk(6, -1)
            normed = self.norm(layer + "norm_cross", states) * (1 + a) + b
            states = states + c * self.attention(layer + "cross_attn", normed, concepts)
            normed = self.norm(layer + "norm_ff", states) * (1 + d) + e
            states = states + f * self.gated(layer + "ff_in", layer + "ff_out", normed)
        return self.norm("decoder.out_norm", states)

    def decoder_states(self, ids, concepts):
        places = torch.arange(ids.shape[1])
        if self.name.endswith("Weighted"):
            states = self.weights["concept_weights"][places].softmax(-1) @ concepts
            return F.gelu(self.linear("pre_lm_projection.1", self.norm("pre_lm_projection.0", states)))
        states = self.table("decoder_query_embeddings", places).expand(len(ids), -1, -1)
        if not self.name.endswith("PosOnly"):
            states = states + self.projected("decoder_input_projection", self.table("encoder.token_embeddings", ids))
        states = states + self.attention("decoder_cross_attn", self.norm("decoder_norm", states), concepts)
        inner = F.gelu(self.linear("decoder_ffn.0", self.norm("post_cross_norm", states)))
        return states + self.linear("decoder_ffn.2", inner)

    def logits(self, ids, mask, times):
        """Logits [B, N, V] of ids [B, N], padding on the right."""
        concepts, noised = self.concepts(ids, mask), self.name.endswith("Diffusion")
        states = self.diffusion_states(ids, concepts, times) if noised else self.decoder_states(ids, concepts)
        return states @ self.weights["lm_head.weight"].T


@pytest.mark.parametrize(("name", "options"), MADE.values(), ids=list(MADE))
def test_other_sizes_and_options_convert_with_equal_outputs(name, options, tmp_path):
    """In float64: in float32 the sums of both orders differ by up to 3e-5."""
    from convert_original_checkpoint import convert

    torch.manual_seed(0)
    config = {**SIZES, **options, "architectures": [name], "model_type": "concept_encoder"}
    weights = MadeWeights(name, config)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "config.json").write_text(json.dumps(config))
    save_file(weights, tmp_path / "there" / "model.safetensors")
    model = type(convert(str(tmp_path / "there"), str(tmp_path / "here"))).from_pretrained(tmp_path / "here")
    ids, times = torch.randint(0, 50, (3, 11)), torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    mask = (torch.arange(11) < torch.tensor([[11], [7], [1]])).long()
    weights = {key: value.double() for key, value in weights.items()}
    noised = name.endswith("Diffusion")
    with torch.no_grad():
        found = model.double().eval()(ids, mask, **({"timesteps": times} if noised else {})).logits
        expected = Formula(weights, name, config).logits(ids, mask, times)
    # The model computes the sinusoids of the noise level in float32.
    torch.testing.assert_close(found, expected, atol=1e-5 if noised else 1e-10, rtol=0)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("Original", {"hide_mask_tokens": True}, "OriginalConceptEncoderConfig has hide_mask_tokens=False, not True."),
        ("Original", {"decoder_target": "both"}, "has decoder_target='text', not 'both'."),
        ("Original", {"num_decoder_layers": 2, "decoder_type": "position"}, "position decoder has one layer"),
        ("RecursiveOriginal", {"encoder_type": "bixt"}, "recursive encoder has no BiXT layer"),
        ("Original", {"use_bixt": True}, "convert it first"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_the_original_does_not_have_is_told(family, options, message):
    with pytest.raises(ValueError, match=message):
        make_config(family, **options)


def test_the_originals_first_values():
    """N(0, 0.1), the concept vectors at twice that, and AdaLN at zero."""
    config = make_config("Original", hidden_size=64, vocab_size=500, decoder_type="diffusion", concept_num=64)
    model = models.OriginalConceptEncoderForMaskedLM(config)
    for name, parameter in model.named_parameters():
        scale = 0.2 if name == "encoder.concept_embeddings.weight" else 0.0 if "adaLN" in name else 0.1
        if parameter.dim() > 1 and "in_proj" not in name:
            assert float(parameter.detach().std()) == pytest.approx(scale, rel=0.15), name
    assert not model.get_input_embeddings().weight[0].any()
