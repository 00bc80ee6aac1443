# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints, each a folder or a Hub id: configuration, weights, tokenizer and the record of the run that made it."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import cached_file

from modeling_concept import AUTO_MODELS

from ..utils.errors import UNREADABLE, first_line
from ..utils.script import CONCEPT_MODEL_TYPES


# Beside weights and configuration in a checkpoint: objectives, concept losses and optimizer of its run.
RUN_RECORD = "training_run.json"


def read_config(path: str, concepts: bool = True) -> PreTrainedConfig:
    """
    The configuration of a checkpoint, without code of its repository.

    Args:
        path: folder or Hub id.
        concepts: whether it must be that of a concept model.

    Raises:
        ValueError: it cannot be read, or is no concept model although it must be one.
    """
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    except UNREADABLE as error:
        raise ValueError(f"The checkpoint {str(path)!r} cannot be read: {first_line(error)}") from error
    if concepts and config.model_type not in CONCEPT_MODEL_TYPES:
        raise ValueError(
            f"The checkpoint {str(path)!r} holds a model of the type {config.model_type!r}, not a concept encoder."
        )
    return config


def load_weights(
    model_class: type, path: str, dtype: torch.dtype = torch.float32, **options
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """
    The model of a checkpoint, and transformers' loading info ("missing_keys", "unexpected_keys", …).

    Args:
        model_class: class, or Auto class, that reads the weights.
        path: folder or Hub id.
        dtype: of the weights in memory.
        options: of `from_pretrained`.

    Raises:
        ValueError: the weights cannot be read, or do not fit the class.
    """
    always = {"output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        model, info = model_class.from_pretrained(path, dtype=dtype, **{**options, **always})
        if info["mismatched_keys"] and not options.get("ignore_mismatched_sizes"):
            name, saved, own = min(info["mismatched_keys"])
            raise ValueError(f"{name} is {list(saved)} there, not {list(own)}")
    except UNREADABLE as error:
        name = model_class.__name__
        raise ValueError(f"The checkpoint {str(path)!r} cannot be read as {name}: {first_line(error)}") from error
    return model, info


def load_model(path: str, encoder_only: bool = False) -> PreTrainedModel:
    """
    A concept model in evaluation mode, with its tokenizer: a language model with its decoder and head or its reader,
    of any other checkpoint the encoder.

    Args:
        path: folder or Hub id.
        encoder_only: whether decoder, head and reader are left out.

    Raises:
        ValueError: configuration, weights or tokenizer cannot be read, or it is no concept model.
    """
    config = read_config(path)
    auto_class = AutoModel
    for choice in () if encoder_only else (AutoModelForMaskedLM, AutoModelForSeq2SeqLM):
        names = {kind.__name__ for models in AUTO_MODELS.values() for kind in models.get(choice, ())}
        auto_class = choice if names & set(config.architectures or ()) else auto_class
    model, _ = load_weights(auto_class, path, "auto", config=config)
    try:
        # Read, and checked, before anything is computed.
        model.tokenizer, _ = model.tokenizer, getattr(model, "reader_tokenizer", None)
    except UNREADABLE as error:
        raise ValueError(f"The checkpoint {str(path)!r} cannot be read: {first_line(error)}") from error
    return model.eval()


def read_record(path: str) -> dict[str, Any]:
    """The record of the run that made a checkpoint; empty where there is none."""
    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    try:
        file = cached_file(path, RUN_RECORD, **quiet)
        return {} if file is None else json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{RUN_RECORD} of {path!r} cannot be read: {first_line(error)}") from error
