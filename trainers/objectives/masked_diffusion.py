# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Masked (absorbing-state) diffusion with its evidence bound (Sahoo et al. 2024, MDLM). B batch, N tokens."""

from dataclasses import dataclass

import torch

from .base import CleanBatch, Noise, Objective, check_share


@dataclass
class MaskedDiffusion(Objective):
    """
    t ~ U(t_min, 1); each token is masked with probability t; loss 1/t at masked tokens, divided by all tokens: for
    t_min -> 0 the mean over real tokens bounds -log p(text) per token from above, in nats.

    Times are antithetic within a training batch: one draw, then evenly spaced. Special tokens are never masked, and
    never counted.

    Args:
        t_min: smallest noise level.
        clean_encoder: whether the encoder sees the clean text (the original's form) or only the unmasked tokens.
        elbo_weight: weigh by 1/t; otherwise every masked token weighs 1 and the mean is over masked tokens.
    """

    t_min: float = 1e-3
    clean_encoder: bool = False
    elbo_weight: bool = True

    def __post_init__(self):
        check_share("t_min", self.t_min)
        if self.t_min in (0, 1):
            raise ValueError("t_min must lie between 0 and 1, both excluded.")

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        timesteps = self.t_min + (1 - self.t_min) * noise.spread()
        masked = (noise.per_token() < timesteps) & ~batch.special
        noised = torch.where(masked, batch.mask_token_id, batch.input_ids)
        counted = ~batch.special if self.elbo_weight else masked
        weights = 1 / timesteps if self.elbo_weight else torch.ones_like(timesteps)
        return {
            "input_ids": batch.input_ids if self.clean_encoder else noised,
            "attention_mask": batch.attention_mask,
            "decoder_input_ids": noised,
            "timesteps": timesteps[:, 0],
            "labels": torch.where(counted, batch.input_ids, -100),
            "loss_weights": masked * weights,
        }
