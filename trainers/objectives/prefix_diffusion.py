# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Masked diffusion of what follows an encoded prefix (the principle of SODA, Hudson et al. 2024, for text).

B batch, N tokens, P prefix tokens, S suffix tokens.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from .base import option, share_range
from .masked_diffusion import Diffusion
from .noise import Noise
from .vocabulary import CleanBatch, compact


@dataclass
class PrefixDiffusion(Diffusion):
    """The encoder sees a clean prefix, the decoder predicts the rest: the loss is on the suffix alone."""

    continuation: ClassVar[bool] = True

    prefix_share: list[float] = option(
        (0.3, 0.5), "Share of a text that is its prefix, or the two ends of the range from which it is drawn."
    )

    def __post_init__(self):
        super().__post_init__()
        self.prefix_share = share_range("prefix_share", self.prefix_share)
        if self.prefix_share[0] == 0 or self.prefix_share[-1] == 1:
            raise ValueError("prefix_share must leave both prefix and suffix: above 0 and below 1.")

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        real, pad = batch.real, batch.vocabulary.pad_token_id
        lengths = real.sum(dim=1, keepdim=True)
        low, high = self.prefix_share[0], self.prefix_share[-1]
        share = low + (high - low) * noise.per_text()
        cut = (share * lengths).round().clamp(min=1)
        before = torch.arange(real.shape[1], device=real.device) < cut
        prefix, prefix_mask = compact(batch.input_ids, real & before, pad)
        suffix, suffix_mask = compact(batch.input_ids, real & ~before, pad)
        return {
            "input_ids": prefix,
            "attention_mask": prefix_mask,
            **self.diffuse(suffix, suffix_mask, batch.vocabulary, noise),
        }
