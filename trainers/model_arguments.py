# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Options of the model that a pretraining run trains, and values of its configuration."""

import json
import re
from dataclasses import dataclass, fields
from typing import Any, Literal

from transformers import PreTrainedConfig
from transformers.hf_argparser import HfArg

from .model_types import MODEL_TYPES


# Values of a new model where none is given; a checkpoint has its own.
SIZES = {
    "encoder_type": "perceiver", "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 384, "concept_num": 16, "num_decoder_layers": 2,
}  # fmt: skip
DEFAULTS = {**SIZES, "vocab_size": 4096, "backbone_layers": 0, "backbone_training": "full"}
MAX_SEQ_LENGTH = 64


@dataclass
class ModelArguments:
    """Model, tokenizer and sizes of a new model."""

    model_type: str | None = HfArg(
        default=None,
        help=f"One of {sorted(MODEL_TYPES)}; the checkpoint's own, or the one that suits the objective, by "
        "default. recursive_mlm also starts from a checkpoint of a standard encoder, whose first layer it repeats.",
    )
    model_name_or_path: str | None = HfArg(
        default=None, help="Checkpoint to start from: its weights, sizes and tokenizer."
    )
    init_encoder_from: str | None = HfArg(
        default=None,
        help="Checkpoint whose encoder alone (with token table, token weights, sizes and tokenizer) the model "
        "starts from; decoder and head are new, and may be of another type.",
    )
    tokenizer_name: str | None = HfArg(
        default=None, help="Tokenizer; the checkpoint's, or one trained from the data, by default."
    )
    vocab_size: int | None = HfArg(
        default=None, help="Vocabulary of a tokenizer trained from the data; 4096 by default."
    )
    lower_case: bool = HfArg(
        default=False, help="Whether a tokenizer trained from the data reads capitals as small letters."
    )
    encoder_type: str | None = HfArg(
        default=None, help="Kind of concept layer: perceiver (by default), bixt, slot, content."
    )
    hidden_size: int | None = HfArg(default=None, help="Width of concepts; 128 by default.")
    num_hidden_layers: int | None = HfArg(
        default=None, help="Concept layers (iterations of recursive_mlm); 2 by default."
    )
    num_attention_heads: int | None = HfArg(default=None, help="Attention heads; 4 by default.")
    intermediate_size: int | None = HfArg(default=None, help="Inner width of feed-forward blocks; 384 by default.")
    concept_num: int | None = HfArg(default=None, help="Number of concepts; 16 by default.")
    num_decoder_layers: int | None = HfArg(default=None, help="Decoder layers; 2 by default.")
    backbone: str | None = HfArg(
        default=None,
        help="Llama-like or BERT-like model (Hub id or folder) whose token table, and first --backbone_layers "
        "layers, lie below the concepts: HuggingFaceTB/SmolLM2-135M. Its tokenizer is the default one.",
    )
    backbone_layers: int | None = HfArg(
        default=None, help="Layers taken from the backbone, beside its table; none by default."
    )
    backbone_training: Literal["full", "frozen", "lora", "random"] | None = HfArg(
        default=None,
        help="How the backbone is trained: full (by default), frozen, lora (needs peft); or random: the control, with "
        "the backbone's architecture and random weights, all trained.",
    )
    reader: str | None = HfArg(
        default=None,
        help="Causal language model (Hub id or folder) that reads the concepts: HuggingFaceTB/SmolLM2-135M; for "
        "--model_type causal_lm, whose reader is otherwise new, with --num_decoder_layers layers. Without a backbone "
        "its tokenizer is the default one.",
    )
    reader_training: Literal["full", "frozen", "lora"] | None = HfArg(
        default=None,
        help="How the reader is trained, beside its adapter: frozen (by default where it is pretrained), lora (needs "
        "peft), or full.",
    )
    config_overrides: str | None = HfArg(
        default=None,
        help="Further configuration values: name=value,name=value or a JSON object. With a checkpoint those "
        "that leave the shapes of its weights as they are.",
    )
    trust_remote_code: bool = HfArg(default=False, help="Run code of the tokenizer's repository.")

    def __post_init__(self):
        if self.model_name_or_path is not None and self.init_encoder_from is not None:
            raise ValueError(
                "Give --model_name_or_path (all weights of a checkpoint) or --init_encoder_from (its encoder alone), "
                "not both."
            )

    def given(self, name: str) -> bool:
        """Whether an option has another value than its default."""
        return getattr(self, name) not in (None, False)

    @property
    def base(self) -> str | None:
        """The checkpoint that the model starts from, whole or in part."""
        return self.model_name_or_path or self.init_encoder_from


def read_value(text: str) -> Any:
    """A value written as in JSON or Python; what is neither is a string, and none is None."""
    try:
        return json.loads({"none": "null", "true": "true", "false": "false"}.get(text.lower(), text))
    except ValueError:
        return text


def read_overrides(text: str | None, config_class: type[PreTrainedConfig]) -> dict[str, Any]:
    """
    Values of a configuration from `name=value,name=value`, whose values may hold commas, or a JSON object. The word
    none, where it is a value, has quotation marks.

    Raises:
        ValueError: a name that the configuration does not have, or the id of a token.
    """
    text, names = text or "", {option.name for option in fields(config_class)}
    if text.lstrip().startswith("{"):
        values = json.loads(text)
    else:
        items = [item.partition("=") for item in re.split(r",(?=\s*\w+\s*=)", text) if item.strip()]
        values = {name.strip(): read_value(value.strip()) for name, _, value in items}
    for name, value in values.items():
        if name not in names or value == "":
            raise ValueError(f"config_overrides: {name!r} is no name=value of the configuration.")
        if name.endswith("_token_id"):
            raise ValueError(f"config_overrides: {name} is that of the tokenizer; give another --tokenizer_name.")
    return values
