# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Masked language modelling (Devlin et al. 2019). B batch, N tokens."""

from dataclasses import dataclass

import torch

from .base import CleanBatch, Noise, Objective, check_share


@dataclass
class MaskedLM(Objective):
    """
    Predict a random share of the tokens.

    Args:
        mlm_probability: that share; at least one token of each text that has any.
        mask_replace_prob: share of the predicted tokens that become the mask token.
        random_replace_prob: share that become a random token; the rest stay.
    """

    mlm_probability: float = 0.15
    mask_replace_prob: float = 0.8
    random_replace_prob: float = 0.1

    def __post_init__(self):
        for name in ("mlm_probability", "mask_replace_prob", "random_replace_prob"):
            check_share(name, getattr(self, name))
        check_share("mask_replace_prob + random_replace_prob", self.mask_replace_prob + self.random_replace_prob)

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        order = noise.per_token().masked_fill(batch.special, 2.0)
        chosen = (order < self.mlm_probability) | (order == order.amin(dim=1, keepdim=True))
        chosen &= ~batch.special
        fate = noise.per_token()
        random_ids = (noise.per_token() * batch.vocab_size).long()
        masked = fate < self.mask_replace_prob
        replaced = ~masked & (fate < self.mask_replace_prob + self.random_replace_prob)
        ids = torch.where(chosen & masked, batch.mask_token_id, batch.input_ids)
        ids = torch.where(chosen & replaced, random_ids, ids)
        return {
            "input_ids": ids,
            "attention_mask": batch.attention_mask,
            "labels": torch.where(chosen, batch.input_ids, -100),
        }
