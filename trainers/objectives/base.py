# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What an objective is: from a batch of clean texts and a source of noise to the model's inputs.

B batch, N tokens.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch


class CleanBatch(NamedTuple):
    """
    Args:
        input_ids: [B, N].
        attention_mask: [B, N], 0 at padding.
        special: bool [B, N], True at special tokens (and padding).
        mask_token_id: id of the mask token.
        vocab_size: number of tokens of the tokenizer.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    special: torch.Tensor
    mask_token_id: int
    vocab_size: int


class Noise(ABC):
    """Source of uniform numbers in [0, 1)."""

    @abstractmethod
    def per_text(self) -> torch.Tensor:
        """[B, 1]."""

    @abstractmethod
    def per_token(self) -> torch.Tensor:
        """[B, N]."""

    @abstractmethod
    def spread(self) -> torch.Tensor:
        """[B, 1], evenly spread over a training batch (antithetic); as `per_text` where texts must not depend on each
        other."""


@dataclass
class Objective(ABC):
    """
    What is hidden from the model and what it must predict. A subclass is a dataclass whose fields are its options.

    `labels` name every position that counts in the mean loss (-100 elsewhere), `loss_weights` what each weighs.
    """

    def for_evaluation(self) -> "Objective":
        """The objective as the evaluation loss measures it."""
        return self

    @abstractmethod
    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        """Keyword arguments of the model's `forward`."""


def check_share(name: str, value: float) -> None:
    """ValueError unless `value` lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is a share between 0 and 1, not {value}.")
