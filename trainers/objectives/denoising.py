# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Denoising auto-encoding (TSDAE, Wang et al. 2021). B batch, N tokens."""

from dataclasses import dataclass, replace

import torch

from ..noise import Noise
from ..vocabulary import CleanBatch
from .base import TokenObjective, check_share, compact


@dataclass
class Denoising(TokenObjective):
    """
    Hide tokens from the encoder and reconstruct the whole text from positions alone: a decoder that reads tokens is
    given mask tokens.

    A hidden token becomes the mask token, which a model with `hide_mask_tokens` does not read at all; the others keep
    their positions. At least one token stays, special tokens always do. Every real token is a label, or a random
    share of them. TSDAE deletes 0.6.

    Args:
        deletion_rate: largest share of hidden tokens.
        min_deletion_rate: smallest one; each text's share is drawn between the two.
        true_deletion: take hidden tokens out and move the rest together, as TSDAE does; the model must find out where
            something is missing.
        visible_weight: weight of the loss at tokens that were not hidden, against 1 at hidden ones.
        supervised_share: share of the positions that are labels in training (all in evaluation): a step costs less.
    """

    deletion_rate: float = 0.2
    min_deletion_rate: float = 0.0
    true_deletion: bool = False
    visible_weight: float = 1.0
    supervised_share: float = 0.5

    def __post_init__(self):
        check_share("deletion_rate", self.deletion_rate)
        check_share("supervised_share", self.supervised_share)
        if not 0 <= self.min_deletion_rate <= self.deletion_rate:
            raise ValueError(
                f"min_deletion_rate {self.min_deletion_rate} must lie between 0 and deletion_rate "
                f"{self.deletion_rate}."
            )
        if self.visible_weight < 0:
            raise ValueError(f"visible_weight cannot be negative, as {self.visible_weight} is.")

    def for_evaluation(self):
        return replace(self, supervised_share=1.0)

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        special, real, vocabulary = batch.special, batch.real, batch.vocabulary
        rate = self.min_deletion_rate + (self.deletion_rate - self.min_deletion_rate) * noise.per_text()
        order = noise.per_token().masked_fill(special, -1.0)
        hidden = (order < rate) & (order < order.amax(dim=1, keepdim=True)) & ~special
        counted = real & (noise.per_token() < self.supervised_share)
        if self.true_deletion:
            ids, mask = compact(batch.input_ids, real & ~hidden, vocabulary.pad_token_id)
        else:
            ids, mask = torch.where(hidden, vocabulary.mask_token_id, batch.input_ids), batch.attention_mask
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "decoder_input_ids": torch.where(real, vocabulary.mask_token_id, batch.input_ids),
            "decoder_attention_mask": batch.attention_mask,
            "labels": torch.where(counted, batch.input_ids, -100),
            "loss_weights": torch.where(hidden, 1.0, self.visible_weight) * counted,
        }
