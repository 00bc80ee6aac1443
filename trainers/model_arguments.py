# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Options of the model that a pretraining run trains, and values of its configuration."""

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from huggingface_hub.errors import StrictDataclassError, StrictDataclassFieldValidationError
from transformers import PreTrainedConfig

from .model_types import MODEL_TYPES


# Options of a new model where none is given; a checkpoint has its own.
SIZES = {
    "encoder_type": "perceiver", "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 384, "concept_num": 16, "num_decoder_layers": 2,
}  # fmt: skip
USUAL = {
    **SIZES, "backbone_layers": 0, "backbone_training": "full", "lora_r": 8, "sif_smoothing": 0.003,
    "vocab_size": 4096,
}  # fmt: skip
MAX_SEQ_LENGTH = 64

# Options that a file of options may give and the command line unset.
UNSET_BY_NONE = ("model_type", "model_name_or_path", "init_encoder_from", "tokenizer_name", "backbone",
                 "config_overrides")  # fmt: skip


@dataclass
class ModelArguments:
    """Model, tokenizer and sizes of a new model."""

    model_type: str | None = field(
        default=None,
        metadata={
            "help": f"One of {sorted(MODEL_TYPES)}; the checkpoint's own, or the one that suits the objective, by "
            "default. recursive_mlm also starts from a checkpoint of a standard encoder, whose first layer it repeats."
        },
    )
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint to start from: its weights, sizes and tokenizer."}
    )
    init_encoder_from: str | None = field(
        default=None,
        metadata={
            "help": "Checkpoint whose encoder alone (with token table, token weights, sizes and tokenizer) the model "
            "starts from; decoder and head are new, and may be of another type."
        },
    )
    tokenizer_name: str | None = field(
        default=None, metadata={"help": "Tokenizer; the checkpoint's, or one trained from the data, by default."}
    )
    vocab_size: int | None = field(
        default=None,
        metadata={"help": f"Vocabulary of a tokenizer trained from the data; {USUAL['vocab_size']} by default."},
    )
    lower_case: bool = field(
        default=False, metadata={"help": "Whether a tokenizer trained from the data reads capitals as small letters."}
    )
    special_ends: bool = field(
        default=False,
        metadata={"help": "Whether a tokenizer trained from the data puts [CLS] before and [SEP] after each text."},
    )
    encoder_type: str | None = field(
        default=None, metadata={"help": "Kind of concept layer: perceiver (by default), bixt, slot."}
    )
    hidden_size: int | None = field(
        default=None, metadata={"help": f"Width of concepts; {SIZES['hidden_size']} by default."}
    )
    token_embedding_dim: int | None = field(default=None, metadata={"help": "Width of the token table, if another."})
    num_hidden_layers: int | None = field(
        default=None,
        metadata={"help": f"Concept layers (iterations of recursive_mlm); {SIZES['num_hidden_layers']} by default."},
    )
    num_attention_heads: int | None = field(
        default=None, metadata={"help": f"Attention heads; {SIZES['num_attention_heads']} by default."}
    )
    intermediate_size: int | None = field(
        default=None,
        metadata={"help": f"Inner width of feed-forward blocks; {SIZES['intermediate_size']} by default."},
    )
    concept_num: int | None = field(
        default=None, metadata={"help": f"Number of concepts; {SIZES['concept_num']} by default."}
    )
    num_decoder_layers: int | None = field(
        default=None, metadata={"help": f"Decoder layers; {SIZES['num_decoder_layers']} by default."}
    )
    backbone: str | None = field(
        default=None,
        metadata={
            "help": "Llama-like or BERT-like model (Hub id or folder) whose token table, and first --backbone_layers "
            "layers, lie below the concepts: HuggingFaceTB/SmolLM2-135M. Its tokenizer is the default one."
        },
    )
    backbone_layers: int | None = field(
        default=None, metadata={"help": "Layers taken from the backbone, beside its table; none by default."}
    )
    backbone_training: str | None = field(
        default=None,
        metadata={
            "help": "How the backbone is trained: full (by default), frozen, lora (needs peft); or random: the "
            "control, with the backbone's architecture and random weights, all trained."
        },
    )
    lora_r: int | None = field(
        default=None, metadata={"help": f"Rank of LoRA updates of the backbone; {USUAL['lora_r']} by default."}
    )
    sif_smoothing: float | None = field(
        default=None,
        metadata={
            "help": "In the mean of the concepts, that of the token embeddings, tokens weigh a / (a + p), p being the "
            f"token's share of the training text and a this number ({USUAL['sif_smoothing']} by default); special "
            "tokens weigh nothing. 0: all weigh the same, as they do above layers of a backbone. Not used with "
            "concept_mean=free."
        },
    )
    config_overrides: str | None = field(
        default=None,
        metadata={
            "help": "Further configuration values: name=value,name=value or a JSON object. With a checkpoint those "
            "that leave the shapes of its weights as they are."
        },
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code of the tokenizer's repository."})

    def __post_init__(self):
        for name in UNSET_BY_NONE:
            if getattr(self, name) == "none":
                setattr(self, name, None)
        if self.model_name_or_path is not None and self.init_encoder_from is not None:
            raise ValueError(
                "Give --model_name_or_path (all weights of a checkpoint) or --init_encoder_from (its encoder alone), "
                "not both."
            )
        if self.backbone_training not in (None, "full", "frozen", "lora", "random"):
            raise ValueError(
                f"backbone_training must be full, frozen, lora or random, not {self.backbone_training!r}."
            )
        if self.lora_r is not None and self.lora_r < 1:
            raise ValueError(f"lora_r is a rank of at least 1, not {self.lora_r}.")
        if self.sif_smoothing is not None and not self.sif_smoothing >= 0:
            raise ValueError(
                f"sif_smoothing must be positive, or 0 for tokens that all weigh the same, not {self.sif_smoothing}."
            )

    def given(self, name: str) -> bool:
        """Whether an option has another value than its default."""
        return getattr(self, name) not in (None, False)

    @property
    def base(self) -> str | None:
        """The checkpoint that the model starts from, whole or in part."""
        return self.model_name_or_path or self.init_encoder_from


def split_overrides(text: str) -> dict[str, Any]:
    """`name=value,name=value`, whose values may hold commas, or a JSON object, as a dict; the values of the first form
    are words."""
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise ValueError(f"config_overrides is no JSON object: {error}") from error
    found = {}
    for item in filter(None, map(str.strip, re.split(r",(?=\s*\w+\s*=)", text))):
        name, equals, value = (part.strip() for part in item.partition("="))
        found[name] = value if equals else ""
    return found


def words_of(kind) -> set[str]:
    """The words that a type allows by name."""
    if get_origin(kind) is Literal:
        return {word for word in get_args(kind) if isinstance(word, str)}
    return set().union(*map(words_of, get_args(kind)))


def read_overrides(text: str | None, config_class: type[PreTrainedConfig]) -> dict[str, Any]:
    """
    Values of a configuration from `name=value,name=value` or a JSON object. `none` is the word where a value of that
    name exists, and None elsewhere; `null` is always None.

    Raises:
        ValueError: a name that the configuration does not have, the id of a token, or a value of another type.
    """
    found, options = {}, {option.name: option.type for option in fields(config_class)}
    for name, value in split_overrides(text or "").items():
        if name not in options or value == "":
            raise ValueError(
                f"config_overrides: {name!r} is no name=value of the configuration; near it are "
                f"{get_close_matches(name, options, 3)}."
            )
        if name.endswith("_token_id"):
            raise ValueError(f"config_overrides: {name} is what the tokenizer says; give another --tokenizer_name.")
        candidates = [value]
        if isinstance(value, str):
            low = value.lower()
            plain = {"none": "null", "true": "true", "false": "false"}.get(low, value)
            with suppress(ValueError):
                candidates = [json.loads(plain), value]
            if low in words_of(options[name]):
                candidates = [low]
        for candidate in candidates:
            try:
                config_class(**{name: candidate})
            except StrictDataclassFieldValidationError:
                continue
            except (StrictDataclassError, ValueError, TypeError):
                pass  # does not fit the default configuration, which is not the one that is made
            found[name] = candidate
            break
        else:
            kind = options[name].__name__ if isinstance(options[name], type) else str(options[name])
            kind = kind.replace("typing.", "")
            raise ValueError(f"config_overrides: {name} takes {kind}, not {value!r}.")
    return found
