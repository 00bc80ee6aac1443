# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Denoising auto-encoding (TSDAE, Wang et al. 2021). B batch, N tokens."""

from dataclasses import dataclass, replace

import torch

from .base import TokenObjective, option, share_range
from .noise import Noise
from .vocabulary import CleanBatch, compact


@dataclass
class Denoising(TokenObjective):
    """
    Hide tokens from the encoder and reconstruct the whole text from positions alone: a decoder whose queries hold
    tokens gets mask tokens.

    A hidden token becomes the mask token, which the encoder does not read; the others keep their positions. At least
    one token stays, special tokens always do. Every real token is a label, or a random share of them. TSDAE deletes
    0.6.
    """

    deletion_rate: list[float] = option(
        (0.0, 0.2), "Share of hidden tokens, or the two ends of the range from which that of each text is drawn."
    )
    true_deletion: bool = option(
        False, "Take hidden tokens out and move the rest together, as TSDAE does; their places are then unknown."
    )
    supervised_share: float = option(
        0.5, "Share of the positions that are labels in training (all in evaluation); a smaller one is cheaper."
    )

    def __post_init__(self):
        self.deletion_rate = share_range("deletion_rate", self.deletion_rate)
        share_range("supervised_share", self.supervised_share)

    def for_evaluation(self):
        return replace(self, supervised_share=1.0)

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        special, real, vocabulary = batch.special, batch.real, batch.vocabulary
        low, high = self.deletion_rate[0], self.deletion_rate[-1]
        rate = low + (high - low) * noise.per_text()
        order = noise.per_token().masked_fill(special, -1.0)
        hidden = (order < rate) & (order < order.amax(dim=1, keepdim=True)) & ~special
        # Equally many in texts of one length: a batch is as wide as its longest row of labels.
        count = (self.supervised_share * real.sum(dim=1, keepdim=True) + noise.per_text()).floor()
        counted = real & (noise.per_token().masked_fill(~real, 2).argsort(dim=1).argsort(dim=1) < count)
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
        }
