# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Masked (absorbing-state) diffusion with its evidence bound (Sahoo et al. 2024, MDLM).

B batch, N tokens, S tokens that are diffused, D draws of noise for each text.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from ..noise import Noise
from ..vocabulary import CleanBatch, Vocabulary
from .base import TokenObjective, check_share


WEIGHTINGS = ("elbo", "self_normalised", "none")


@dataclass
class Diffusion(TokenObjective):
    """
    What all diffusion objectives share. t ~ U(t_min, 1), antithetic within a step; each token is masked with
    probability t. Special tokens are never masked and never counted.

    Args:
        t_min: smallest noise level in training. The evaluation loss goes down to 0.001.
        elbo_weighting: "elbo": loss 1/t at masked tokens, divided by all tokens, so that its mean bounds -log p(text)
            per token from above, in nats (MDLM); "self_normalised": the same weights divided by their own sum (the
            original's form, no bound); "none": mean over masked tokens. The evaluation loss is always the bound.
        num_draws: noise levels and masks for each encoding, where the encoder does not see them.
    """

    needs_token_queries: ClassVar[bool] = True

    t_min: float = 1e-3
    elbo_weighting: str = "elbo"
    num_draws: int = 1

    def __post_init__(self):
        check_share("t_min", self.t_min)
        if self.t_min in (0, 1):
            raise ValueError("t_min must lie between 0 and 1, both excluded.")
        if self.elbo_weighting not in WEIGHTINGS:
            raise ValueError(f"Unknown elbo_weighting {self.elbo_weighting!r}; choose one of {list(WEIGHTINGS)}.")
        if self.num_draws < 1:
            raise ValueError(f"num_draws must be at least 1, not {self.num_draws}.")

    def for_evaluation(self):
        return replace(self, t_min=1e-3, elbo_weighting="elbo")

    def items(self, inputs):
        if self.elbo_weighting == "self_normalised":
            return inputs["loss_weights"].sum()
        return super().items(inputs)

    def metrics(self, loss, vectors):
        return {"nelbo": loss, "perplexity": math.exp(min(loss, 100.0))}

    def diffuse(self, ids, mask, vocabulary: Vocabulary, noise: Noise) -> dict[str, torch.Tensor]:
        """Noised tokens [B·D, S], noise levels [B·D], labels and weights of tokens `ids` [B, S]."""
        if self.num_draws > 1:
            ids, mask = ids.repeat_interleave(self.num_draws, 0), mask.repeat_interleave(self.num_draws, 0)
            noise = noise.repeated(self.num_draws)
        fixed = vocabulary.special[ids] | ~mask.bool()
        timesteps = self.t_min + (1 - self.t_min) * noise.spread()
        masked = (noise.per_token()[:, : ids.shape[1]] < timesteps) & ~fixed
        weighs = self.elbo_weighting != "none"
        counted = ~fixed if self.elbo_weighting == "elbo" else masked
        return {
            "decoder_input_ids": torch.where(masked, vocabulary.mask_token_id, ids),
            "decoder_attention_mask": mask,
            "timesteps": timesteps[:, 0],
            "labels": torch.where(counted, ids, -100),
            "loss_weights": masked * (1 / timesteps if weighs else torch.ones_like(timesteps)),
        }


@dataclass
class MaskedDiffusion(Diffusion):
    """
    Masked diffusion of the text that is encoded.

    Args:
        clean_encoder: whether the encoder sees the clean text (the original's form: the loss is then about
            reconstruction, given the text's own concepts) or only the unmasked tokens.
    """

    clean_encoder: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.num_draws > 1 and not self.clean_encoder:
            raise ValueError("num_draws > 1 needs clean_encoder: otherwise every draw is another text to encode.")

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        inputs = self.diffuse(batch.input_ids, batch.attention_mask, batch.vocabulary, noise)
        seen = batch.input_ids if self.clean_encoder else inputs["decoder_input_ids"]
        return {"input_ids": seen, "attention_mask": batch.attention_mask, **inputs}
