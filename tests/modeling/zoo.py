# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Small models of every kind, made from the registries, so that a new variant is under all tests at once."""

import torch

import modeling_concept as models
from modeling_concept import DECODERS, ENCODER_LAYERS


MASK, PAD, VOCAB = 3, 0, 61

SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "concept_num": 6,
    "max_sequence_length": 48,
    "pad_token_id": PAD,
    "mask_token_id": MASK,
}

# Layers of pretrained models: of the width of the concepts, and of another one.
BACKBONES = {
    "llama": {
        "model_type": "llama", "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "use_cache": False,
    },
    "bert": {
        "model_type": "bert", "vocab_size": VOCAB, "hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 64, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
}  # fmt: skip

UNADDRESSED = {"phase_harmonics": 0, "address_bias": 0}

# The original's network, and options one by one or in plausible company.
OPTIONS = {
    "default": {},
    "original": {
        "norm_type": "layernorm", "use_bias": True, "initializer_range": 0.1, "token_position_type": "learned",
        "concept_position_type": "none", **UNADDRESSED, "query_only_concepts": False,
        "qk_norm": False, "kv_norm": False, "embedding_norm": False, "hide_mask_tokens": False,
        "concept_mean": "free", "identity_init": False, "token_mixer_type": None,
        "hidden_act": "gelu", "decoder_feed_forward": "plain", "decoder_output_norm": False,
        "tie_word_embeddings": False,
    },
    "sinusoidal_concepts": {"concept_position_type": "sinusoidal", **UNADDRESSED},
    "learned_concepts": {
        "concept_position_type": "learned", **UNADDRESSED,
        "token_position_type": "learned", "query_only_concepts": False,
    },
    "no_positions": {
        "token_position_type": "none", "concept_position_type": "none", **UNADDRESSED,
    },
    "dimension_inversion": {"token_embedding_dim": 8},
    "globals": {"global_concept_num": 2},
    "only_globals": {"global_concept_num": 6},
    "centred": {"output_centring": True},
    "free_mean": {"concept_mean": "free"},
    "no_address_bias": {"address_bias": 0},
    "no_phases": {"phase_harmonics": 0},
    "weighted_mean": {"token_weighting": True},
    "random_values": {"identity_init": False},
    "anchors": {"concept_anchors": True},
    "mixer_and_anchors": {"num_token_mixers": 1, "concept_anchors": True},
    "two_conv_mixers": {"num_token_mixers": 2, "token_mixer_width": 3, "identity_init": False},
    "window_mixer": {"num_token_mixers": 1, "token_mixer_type": "window", "token_mixer_width": 3},
    "token_types": {"type_vocab_size": 2},
    "key_embeddings": {"decoder_key_embeddings": True},
    "decoder_window": {"decoder_mixer_type": "window", "decoder_mixer_width": 2},
    "decoder_conv_plain": {"decoder_mixer_type": "conv", "decoder_feed_forward": "plain"},
    "own_decoder_table": {"share_decoder_embeddings": False},
    "no_timestep": {"timestep_scale": None},
    "backbone_llama": {"backbone_config": BACKBONES["llama"]},
    "backbone_bert": {"backbone_config": BACKBONES["bert"], "token_embedding_dim": 16},
}  # fmt: skip

ENCODER_OPTIONS = {
    "perceiver": [{}, {"share_key_values": True}],
    "bixt": [{}, {"encoder_options": {"shared_similarity": False, "token_feed_forward": False}}],
    "slot": [{}, {"encoder_options": {"competing_heads": 0.5}, "share_key_values": True}],
}

# Every encoder (each kind of layer, stacked and recursive, with its options, and the original's): what the name of its
# classes begins with, and its options.
ENCODERS = {
    f"{kind}{number}-{'recursive' if family else 'stack'}": (family, {"encoder_type": kind, **options})
    for kind in ENCODER_LAYERS
    for number, options in enumerate(ENCODER_OPTIONS.get(kind, [{}]))
    for family in ("", "Recursive")
} | {
    "original0-stack": ("Original", {}),
    "original1-stack": ("Original", {"encoder_type": "bixt", "concept_position_type": "learned"}),
    "original1-recursive": ("RecursiveOriginal", {"concept_position_type": "sinusoidal"}),
}
# What holds of the default network alone is tested with these.
OWN_ENCODERS = [name for name, (family, _) in ENCODERS.items() if "Original" not in family]


def class_of(family: str, name: str):
    """A class of the package, such as family "Recursive" and name "ConfigForMaskedLM"."""
    return getattr(models, f"{family}ConceptEncoder{name}")


def make_config(family="", **options):
    """A small configuration of a family, such as "Original", or of a class; True is the recursive one."""
    family = {False: "", True: "Recursive"}.get(family, family)
    config_class = family if isinstance(family, type) else class_of(family, "Config")
    if issubclass(config_class, models.OriginalConceptEncoderConfig):
        options = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, **options}
    return config_class(**{**SIZES, **options})


def language_model(encoder="perceiver0-stack", decoder="position", **options):
    """A masked LM of any encoder and decoder, in eval mode."""
    family, encoder_options = ENCODERS[encoder]
    mixing = {"decoder_mixer_type": "conv"} if decoder == "diffusion" and "Original" not in family else {}
    config = make_config(family, **{"decoder_type": decoder, **mixing, **encoder_options, **options})
    return class_of(family, "ForMaskedLM")(config).eval()


def classifier(kind, encoder="perceiver0-stack", **options):
    """A classification model of any encoder: kind is "Perceiver", "ViaDecoder" or "Pair"."""
    family, encoder_options = ENCODERS[encoder]
    name = {"Pair": "SentencePairClassification"}.get(kind, f"SequenceClassification{kind}")
    model_class = class_of(family, f"For{name}")
    return model_class(make_config(family, **{"num_labels": 3, **encoder_options, **options})).eval()


def random_batch(rows=3, length=13, padding=(0, 4, 2)):
    """Token ids with some masks, and right padding of each row."""
    ids = torch.randint(5, VOCAB, (rows, length))
    ids[:, 2::5] = MASK
    mask = torch.ones_like(ids)
    for row, count in enumerate(padding[:rows]):
        if count:
            ids[row, -count:], mask[row, -count:] = PAD, 0
    return {"input_ids": ids, "attention_mask": mask}


def stir(model, scale=0.05):
    """Move every parameter off its initial value, so that zero parts matter too."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * scale)
    return model


def pair_inputs(batch):
    """The inputs of a sentence-pair model from those of another."""
    return {
        "input_ids_a": batch["input_ids"],
        "attention_mask_a": batch["attention_mask"],
        "input_ids_b": batch["input_ids"].flip(0),
        "attention_mask_b": batch["attention_mask"].flip(0),
    }


DECODER_NAMES = list(DECODERS)
CLASSIFIERS = ["Perceiver", "ViaDecoder", "Pair"]
