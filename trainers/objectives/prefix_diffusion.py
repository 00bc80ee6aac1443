# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Masked diffusion of what follows an encoded prefix (the principle of SODA, Hudson et al. 2024, for text).

B batch, N tokens, P prefix tokens, S suffix tokens.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..noise import Noise
from ..vocabulary import CleanBatch
from .base import check_share, compact
from .masked_diffusion import Diffusion


@dataclass
class PrefixDiffusion(Diffusion):
    """
    The encoder sees a clean prefix, the decoder writes the rest: the loss is on the suffix alone.

    Args:
        prefix_min: smallest share of a text that is its prefix.
        prefix_max: largest share.
    """

    continuation: ClassVar[bool] = True

    prefix_min: float = 0.3
    prefix_max: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        check_share("prefix_max", self.prefix_max)
        if not 0 < self.prefix_min <= self.prefix_max < 1:
            raise ValueError(
                f"prefix_min {self.prefix_min} and prefix_max {self.prefix_max} must lie in (0, 1), in this order."
            )

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        real, pad = batch.real, batch.vocabulary.pad_token_id
        lengths = real.sum(dim=1, keepdim=True)
        share = self.prefix_min + (self.prefix_max - self.prefix_min) * noise.per_text()
        cut = (share * lengths).round().clamp(min=1)
        before = torch.arange(real.shape[1], device=real.device) < cut
        prefix, prefix_mask = compact(batch.input_ids, real & before, pad)
        suffix, suffix_mask = compact(batch.input_ids, real & ~before, pad)
        return {
            "input_ids": prefix,
            "attention_mask": prefix_mask,
            **self.diffuse(suffix, suffix_mask, batch.vocabulary, noise),
        }
