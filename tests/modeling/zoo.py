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

# A causal language model that reads concepts.
READER = {
    "model_type": "llama", "vocab_size": VOCAB, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 160, "pad_token_id": PAD,
    "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.2,
}  # fmt: skip

# Options one by one or in plausible company.
OPTIONS = {
    "default": {},
    "dimension_inversion": {"token_embedding_dim": 8},
    "uniform_mean": {"concept_mean": "uniform"},
    "free_mean": {"concept_mean": "free"},
    "segment_start": {"concept_start": "segment"},
    "few_harmonics": {"offset_harmonics": 1},
    "decoder_convolution": {"decoder_conv_width": 3},
    "backbone_llama": {"backbone_config": BACKBONES["llama"]},
    "backbone_bert": {"backbone_config": BACKBONES["bert"], "token_embedding_dim": 16},
}  # fmt: skip

ENCODER_OPTIONS = {}

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


# Every model class of the package.
MODEL_CLASSES = [
    model_class
    for of_config in models.AUTO_MODELS.values()
    for model_classes in of_config.values()
    for model_class in model_classes
]


def class_of(family: str, name: str):
    """A class of the package, such as family "Recursive" and name "ConfigForMaskedLM"."""
    return getattr(models, f"{family}ConceptEncoder{name}")


def make_config(family="", **options):
    """A small configuration of a family, such as "Original", of its class, or for a model class; True is the recursive
    one."""
    family = {False: "", True: "Recursive"}.get(family, family)
    if has_reader(family):
        vocab_size = options.get("vocab_size", VOCAB)
        options = {"reader_config": {**READER, "vocab_size": vocab_size}, **options}
    config_class = family if isinstance(family, type) else class_of(family, "Config")
    config_class = getattr(config_class, "config_class", config_class)
    if issubclass(config_class, models.OriginalConceptEncoderConfig):
        options = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, **options}
    return config_class(**{**SIZES, **options})


def has_reader(model_class) -> bool:
    """Whether `model_class` is the class of a model with a reader."""
    return isinstance(model_class, type) and issubclass(model_class, models.ConceptEncoderForConditionalGeneration)


def language_model(encoder="perceiver0-stack", decoder="position", **options):
    """A masked LM of any encoder and decoder, in eval mode."""
    family, encoder_options = ENCODERS[encoder]
    mixing = {"decoder_conv_width": 7} if decoder == "diffusion" and "Original" not in family else {}
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
