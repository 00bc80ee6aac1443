# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Errors, and their causes in one line."""

from datasets.exceptions import DatasetGenerationError
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError


class TrainingDivergedError(ArithmeticError):
    """The loss or the gradient is not finite."""


# What reading a checkpoint, a model or a tokenizer raises where its files are not what they should be.
UNREADABLE = (OSError, ValueError, RuntimeError, ImportError, LookupError, SafetensorError)


def first_line(error: BaseException) -> str:
    """The first two lines of an error as one; of one that only says that something failed, those of its cause."""
    while error.__cause__ is not None:
        vague = isinstance(error, StrictDataclassError) or type(error) is DatasetGenerationError
        if not vague and str(error).strip():
            break
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    hint = ["(save it as UTF-8)"] if isinstance(error, UnicodeDecodeError) else []
    return " ".join(lines[:2] + hint) or type(error).__name__
