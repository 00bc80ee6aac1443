# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Turn a checkpoint of the original implementation into one of this package, with equal outputs.

    python examples/convert_original_checkpoint.py \
        --model_name_or_path ksopyla/concept-encoder-perceiver_mlm_H512L6C128_20260208_211633 --output_dir converted

The class is told from the configuration's `architectures`, or from the names of the weights.
"""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from transformers.utils import cached_file

import modeling_concept
from modeling_concept.loading_concept import load_state_dict
from modeling_concept.positions_concept import sinusoid
from trainers.data import first_line
from trainers.runs import check_output_dir
from trainers.script import parse_arguments, read_arguments, run_script


TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt",
    "added_tokens.json", "spiece.model",
)  # fmt: skip

# What the original's network is in this package's configuration.
ORIGINAL_OPTIONS = {
    "norm_type": "layernorm",
    "norm_eps": 1e-5,
    "output_norm_eps": 1e-12,
    "use_bias": True,
    "token_position_type": "learned",
    "phase_harmonics": 0,
    "address_bias": 0,
    "concept_anchors": False,
    "concept_mean": "free",
    "query_only_concepts": False,
    "qk_norm": False,
    "identity_init": False,
    "kv_norm": False,
    "embedding_norm": False,
    "hide_mask_tokens": False,
    "token_mixer_type": None,
    "num_token_mixers": 0,
    "num_decoder_layers": 1,
    "decoder_feed_forward": "plain",
    "decoder_output_norm": False,
    "decoder_mixer_type": "none",
    "concept_pooling": "weighted",
}
BIXT_OPTIONS = {"shared_similarity": False, "token_feed_forward": False, "reverse_norm": False}
KEPT_OPTIONS = (
    "vocab_size", "hidden_size", "token_embedding_dim", "num_hidden_layers", "num_attention_heads",
    "intermediate_size", "concept_num", "max_sequence_length", "hidden_act", "hidden_dropout_prob",
    "attention_probs_dropout_prob", "initializer_range", "concept_position_type", "tie_word_embeddings",
    "pad_token_id", "mask_token_id", "cls_token_id", "sep_token_id", "unk_token_id", "bos_token_id", "eos_token_id",
    "id2label", "label2id", "problem_type", "num_iterations",
)  # fmt: skip

ENCODER_LAYER = {
    "concept_token_attn": "cross_attn",
    "concept_self_attn": "self_attn",
    "token_concept_attn": "reverse_attn",
    "pre_cross_attn_norm": "cross_norm",
    "pre_self_attn_norm": "self_norm",
    "pre_reverse_cross_norm": "reverse_norm",
    "pre_ff_norm": "feed_forward_norm",
    "Wi": "feed_forward.up_proj",
    "Wo": "feed_forward.down_proj",
}
DIFFUSION_LAYER = {
    "cross_attn": "cross_attn",
    "norm_cross": "cross_norm",
    "norm_ff": "feed_forward_norm",
    "ff_in": "feed_forward.up_proj",
    "ff_out": "feed_forward.down_proj",
    "adaLN": "modulation.linear",
}
# Prefix in the original to prefix here; the first that fits is taken.
PREFIXES = {
    "encoder.token_embeddings": "encoder.embeddings.token_embeddings",
    "encoder.token_position_embeddings": "encoder.embeddings.position_embeddings",
    "encoder.token_projection": "encoder.embeddings.projection",
    "encoder.concept_embeddings.weight": "encoder.concept_queries.concept_embeddings",
    "encoder.concept_position_emb.weight": "encoder.concept_queries.position_embeddings",
    "encoder.output_layer_norm": "encoder.output_norm",
    "decoder_query_embeddings": "decoder.position_embeddings",
    "decoder_input_projection": "decoder.projection",
    "decoder_norm": "decoder.layers.0.cross_norm",
    "decoder_cross_attn": "decoder.layers.0.cross_attn",
    "post_cross_norm": "decoder.layers.0.feed_forward_norm",
    "decoder_ffn.0": "decoder.layers.0.feed_forward.up_proj",
    "decoder_ffn.2": "decoder.layers.0.feed_forward.down_proj",
    "concept_weights": "decoder.layers.0.concept_weights",
    "pre_lm_projection.0": "decoder.projection_norm",
    "pre_lm_projection.1": "decoder.projection",
    "decoder.token_embed": "decoder.token_embeddings",
    "decoder.pos_embed": "decoder.position_embeddings",
    "decoder.token_proj": "decoder.projection",
    "decoder.t_embed.proj.0": "decoder.timestep_embedding.in_proj",
    "decoder.t_embed.proj.2": "decoder.timestep_embedding.out_proj",
    "decoder.out_norm": "decoder.output_norm",
    "lm_head": "lm_head",
    "classifier": "classifier",
    "concept_scorer": "concept_scorer",
    "pool_norm": "pool_norm",
    "pre_pool_norm": "pre_pool_norm",
}


def class_name(config: dict, keys) -> str:
    """The original's class: what the configuration names, else what the weights show; ValueError if neither tells."""
    for name in config.get("architectures") or []:
        if hasattr(modeling_concept, name):
            return name
    keys = set(keys)
    recursive = any(key.startswith("encoder.shared_layer.") for key in keys)
    if recursive and "lm_head.weight" in keys:
        return "RecursiveConceptEncoderForMaskedLM"
    if "decoder.out_norm.weight" in keys:
        return "ConceptEncoderForMaskedDiffusion"
    if "concept_weights" in keys and "lm_head.weight" in keys:
        return "ConceptEncoderForMaskedLMWeighted"
    if "pre_pool_norm.weight" in keys:
        return "ConceptEncoderForSequenceClassificationViaDecoder"
    if "decoder_query_embeddings.weight" in keys:
        posonly = config.get("decoder_posonly")
        return "ConceptEncoderForMaskedLMPerceiver" + ("PosOnly" if posonly else "")
    if "concept_scorer.weight" in keys:
        return "ConceptEncoderForSequenceClassificationPerceiver"
    raise ValueError("This is no checkpoint of a known class of the original implementation.")


def convert_config(config: dict, name: str, keys) -> modeling_concept.ConceptEncoderConfig:
    """The original's configuration in this package's words; what the original kept outside is read off the weights."""
    options = {**ORIGINAL_OPTIONS, **{key: config[key] for key in KEPT_OPTIONS if config.get(key) is not None}}
    if config.get("use_bixt"):
        options |= {"encoder_type": "bixt", "encoder_options": BIXT_OPTIONS}
    if name == "ConceptEncoderForMaskedDiffusion":
        layers = {key.split(".")[2] for key in keys if key.startswith("decoder.layers.")}
        options |= {
            "num_decoder_layers": len(layers),
            "decoder_feed_forward": "gated",
            "decoder_output_norm": True,
            "share_decoder_embeddings": False,
            "timestep_scale": 1.0,
            "hidden_act": "gelu",
        }
    if name == "ConceptEncoderForSequenceClassificationViaDecoder":
        options["decoder_type"] = "position" if config.get("decoder_posonly") else "token_position"
        options["classifier_reads_tokens"] = True
    if name.startswith("Recursive"):
        options.update(input_injection=False, state_norm=False, average_iterations=False)
        return modeling_concept.RecursiveConceptEncoderConfig(**options)
    options.pop("num_iterations", None)
    return modeling_concept.ConceptEncoderConfig(**options)


def convert_key(key: str) -> str:
    """A weight's name here, but for the packed attention projections; ValueError for an unknown name."""
    for pattern, names, target in (
        (r"encoder\.layers\.(\d+)\.(\w+)(.*)", ENCODER_LAYER, "encoder.layers.{}."),
        (r"encoder\.(shared_layer)\.(\w+)(.*)", ENCODER_LAYER, "encoder.{}."),
        (r"decoder\.layers\.(\d+)\.(\w+)(.*)", DIFFUSION_LAYER, "decoder.layers.{}."),
    ):
        match = re.fullmatch(pattern, key)
        if match and match[2] in names:
            return target.format(match[1]) + names[match[2]] + match[3]
    for prefix, target in PREFIXES.items():
        if key == prefix or key.startswith(prefix + "."):
            return target + key.removeprefix(prefix)
    raise ValueError(f"The weight {key} is not known from the original implementation.")


def convert_weights(weights: dict[str, torch.Tensor], config) -> dict[str, torch.Tensor]:
    """
    The original's weights under this package's names, packed q, k, v projections apart.

    Raises:
        ValueError: a weight is unknown, or stored sinusoids are not those computed here.
    """
    converted = {}
    for key, tensor in weights.items():
        key = key.replace("_orig_mod.", "")
        if key.startswith("loss_manager."):
            continue
        if key == "encoder.concept_position_emb":  # a buffer there, computed here
            expected = sinusoid(torch.arange(config.concept_num), config.hidden_size)
            if not torch.allclose(tensor, expected, atol=1e-5):
                raise ValueError("The stored sinusoidal concept positions are not the usual ones.")
            continue
        name = convert_key(key)
        last = f"layers.{config.num_hidden_layers - 1}."
        if name.startswith(f"encoder.{last}reverse_"):
            continue  # token updates of the last layer, which nothing reads
        if ".in_proj_" in name:
            stem, kind = name.split(".in_proj_")
            for projection, part in zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3), strict=True):
                converted[f"{stem}.{projection}.{kind}"] = part.contiguous()
        else:
            converted[name.replace(".out_proj.", ".o_proj.") if "attn" in name else name] = tensor
    return converted


def convert(source: str, output: str) -> modeling_concept.ConceptEncoder:
    """
    Convert the checkpoint `source` (folder or Hub id) into the folder `output`; returns the model.

    Raises:
        ValueError: there is no such checkpoint, it cannot be read, it is not the original's, or weights are missing,
            unknown or of another shape; the output folder is not empty.
    """
    try:
        model = convert_model(source)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"The checkpoint {source!r} cannot be converted: {first_line(error)}") from error
    check_output_dir(output, ("*",))
    model.eval().save_pretrained(output)
    for file in TOKENIZER_FILES:
        if path := cached_file(source, file, _raise_exceptions_for_missing_entries=False):
            shutil.copyfile(path, Path(output) / file)
    return model


def convert_model(source: str) -> modeling_concept.ConceptEncoder:
    """The checkpoint `source` as a model of this package; errors as they come."""
    path = cached_file(source, "config.json", _raise_exceptions_for_missing_entries=False)
    if path is None:
        raise ValueError("there is no config.json")
    config = read_arguments(path)
    if "auto_map" in config:
        raise ValueError("it is a checkpoint of this package already")
    try:
        weights = load_state_dict(source)
    except (EOFError, RuntimeError, SafetensorError, UnpicklingError) as error:
        raise ValueError(f"its weights cannot be read: {first_line(error)}") from error
    name = class_name(config, weights)
    model_class = getattr(modeling_concept, name)
    model = model_class(convert_config(config, name, weights))
    converted = convert_weights(weights, model.config)
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    problems = sorted(set(shapes) ^ set(converted))
    problems += [key for key in converted if key in shapes and converted[key].shape != shapes[key]]
    if problems:
        raise ValueError(f"it does not fit {name}; missing, unknown or of another shape: {problems[:6]}")
    model.load_state_dict(converted)
    return model


@dataclass
class ConversionArguments:
    """What is converted, and where it goes."""

    model_name_or_path: str = field(metadata={"help": "Folder or Hub id of the original's checkpoint."})
    output_dir: str = field(metadata={"help": "Folder for the converted one; must be new or empty."})


def main():
    (args,) = parse_arguments(ConversionArguments)
    model = convert(args.model_name_or_path, args.output_dir)
    print(f"{type(model).__name__}, {model.num_parameters():,} parameters, saved in {args.output_dir}")


if __name__ == "__main__":
    run_script(main)
