# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Errors, and their causes in one line."""

import re

from datasets.exceptions import DatasetGenerationCastError, DatasetGenerationError
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError


class TrainingDivergedError(ArithmeticError):
    """The loss or the gradient is not finite."""


def cause_of(error: BaseException) -> BaseException:
    """The error itself, or the one below errors that only say that something failed."""
    while error.__cause__ is not None:
        vague = isinstance(error, DatasetGenerationError | StrictDataclassError)
        if str(error).strip() and (not vague or isinstance(error, DatasetGenerationCastError)):
            break
        error = error.__cause__
    return error


# What reading a checkpoint, a model or a tokenizer raises where its files are not what they should be.
UNREADABLE = (OSError, ValueError, RuntimeError, ImportError, LookupError, SafetensorError)


def first_line(error: BaseException) -> str:
    """The cause of an error in one line; a line that does not end a sentence, or is very short, is joined to the next
    one."""
    cause = cause_of(error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    if isinstance(cause, DatasetGenerationCastError):
        lines = lines[1:]
    last = next((number for number, line in enumerate(lines) if not re.search(r"([:,]| or)$", line)), 0)
    line = " ".join(lines[: max(last, len(lines[0]) < 40) + 1]) if lines else ""
    if line and isinstance(cause, KeyError):
        line = f"the entry {line} is missing"
    if isinstance(cause, UnicodeDecodeError):
        line += " (save it as UTF-8)"
    return line or type(cause).__name__
