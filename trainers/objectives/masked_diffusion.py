# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Masked (absorbing-state) diffusion with its evidence bound (Sahoo et al. 2024, MDLM).

B batch, N tokens, S tokens that are diffused.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from .base import TokenObjective, option
from .noise import Noise
from .vocabulary import CleanBatch, Vocabulary


WEIGHTINGS = ("elbo", "self_normalised", "none")

SMALLEST_NOISE_LEVEL = 1e-3


@dataclass
class Diffusion(TokenObjective):
    """
    The common part of diffusion objectives. t ~ U(t_min, 1), antithetic within a step; each token is masked with
    probability t. Special tokens are never masked and never counted.

    With `elbo_weighting` "elbo" the mean loss bounds -log p(text) per token from above, in nats (MDLM);
    "self_normalised" is the original's form, no bound. The evaluation loss is always the bound, down to t = 0.001.
    """

    needs_token_queries: ClassVar[bool] = True

    t_min: float = option(SMALLEST_NOISE_LEVEL, "Smallest noise level in training.")
    elbo_weighting: str = option(
        "elbo",
        "elbo: weight 1/t at masked tokens, divided by all tokens; self_normalised: divided by the sum of weights; "
        "none: mean over masked tokens.",
    )

    def __post_init__(self):
        if not 0 < self.t_min < 1:
            raise ValueError(f"t_min must lie between 0 and 1, both excluded, unlike {self.t_min}.")
        if self.elbo_weighting not in WEIGHTINGS:
            raise ValueError(f"Unknown elbo_weighting {self.elbo_weighting!r}; choose one of {list(WEIGHTINGS)}.")

    def for_evaluation(self):
        return replace(self, t_min=SMALLEST_NOISE_LEVEL, elbo_weighting="elbo")

    def items(self, inputs):
        if self.elbo_weighting == "self_normalised":
            return inputs["loss_weights"].sum()
        return super().items(inputs)

    def metrics(self, loss, vectors):
        return {"nelbo": loss, "perplexity": math.exp(min(loss, 100.0))}

    def diffuse(self, ids, mask, vocabulary: Vocabulary, noise: Noise) -> dict[str, torch.Tensor]:
        """Noised tokens [B, S], noise levels [B], labels and weights of the tokens `ids` [B, S]."""
        fixed = vocabulary.special[ids] | ~mask.bool()
        timesteps = self.t_min + (1 - self.t_min) * noise.antithetic()
        masked = (noise.per_token()[:, : ids.shape[1]] < timesteps) & ~fixed
        weight = torch.ones_like(timesteps) if self.elbo_weighting == "none" else 1 / timesteps
        counted = ~fixed if self.elbo_weighting == "elbo" else masked
        return {
            "decoder_input_ids": torch.where(masked, vocabulary.mask_token_id, ids),
            "decoder_attention_mask": mask,
            "timesteps": timesteps[:, 0],
            "labels": torch.where(counted, ids, -100),
            "loss_weights": masked * weight,
        }


@dataclass
class MaskedDiffusion(Diffusion):
    """
    Masked diffusion of the encoded text. With `clean_encoder` (the original's form) the loss is about reconstruction,
    given the text's own concepts.
    """

    clean_encoder: bool = option(False, "Whether the encoder sees the clean text, or only the unmasked tokens.")

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        inputs = self.diffuse(batch.input_ids, batch.attention_mask, batch.vocabulary, noise)
        seen = batch.input_ids if self.clean_encoder else inputs["decoder_input_ids"]
        return {"input_ids": seen, "attention_mask": batch.attention_mask, **inputs}
