# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Denoising auto-encoding (TSDAE, Wang et al. 2021). B batch, N tokens."""

from dataclasses import dataclass

import torch

from .base import CleanBatch, Noise, Objective, check_share


@dataclass
class Denoising(Objective):
    """
    Hide tokens from the encoder and reconstruct the whole text.

    A hidden token becomes the mask token, which a model with `hide_mask_tokens` does not read at all; the others keep
    their positions. At least one token stays, special tokens always do. Every real token is a label.

    Args:
        deletion_rate: share of hidden tokens; with `min_deletion_rate` the largest share.
        min_deletion_rate: when given, each text's share is drawn between the two.
        visible_weight: weight of the loss at tokens that were not hidden, against 1 at hidden ones.
    """

    deletion_rate: float = 0.6
    min_deletion_rate: float | None = None
    visible_weight: float = 1.0

    def __post_init__(self):
        check_share("deletion_rate", self.deletion_rate)
        if self.min_deletion_rate is not None and not 0 <= self.min_deletion_rate <= self.deletion_rate:
            raise ValueError(f"min_deletion_rate must lie between 0 and deletion_rate {self.deletion_rate}.")
        if self.visible_weight < 0:
            raise ValueError(f"visible_weight cannot be negative, as {self.visible_weight} is.")

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        low = self.deletion_rate if self.min_deletion_rate is None else self.min_deletion_rate
        rate = low + (self.deletion_rate - low) * noise.per_text()
        order = noise.per_token().masked_fill(batch.special, -1.0)
        hidden = (order < rate) & (order < order.amax(dim=1, keepdim=True)) & ~batch.special
        real = batch.attention_mask.bool()
        return {
            "input_ids": torch.where(hidden, batch.mask_token_id, batch.input_ids),
            "attention_mask": batch.attention_mask,
            "labels": torch.where(real, batch.input_ids, -100),
            "loss_weights": torch.where(hidden, 1.0, self.visible_weight) * real,
        }
