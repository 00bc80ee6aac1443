# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Masked diffusion of what follows an encoded prefix (the principle of SODA, Hudson et al. 2024, for text).

B batch, N tokens, P prefix tokens, S suffix tokens.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from .base import option, prefix_shares
from .masked_diffusion import Diffusion
from .noise import Noise
from .vocabulary import CleanBatch, split_texts


@dataclass
class PrefixDiffusion(Diffusion):
    """The encoder sees a clean prefix, the decoder predicts the rest: the loss is on the suffix alone."""

    continuation: ClassVar[bool] = True

    prefix_share: list[float] = option(
        (0.3, 0.5), "Share of a text that is its prefix, or the two ends of the range from which it is drawn."
    )

    def __post_init__(self):
        super().__post_init__()
        self.prefix_share = prefix_shares(self.prefix_share)

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        prefix, prefix_mask, suffix, suffix_mask = split_texts(batch, self.prefix_share, noise)
        return {
            "input_ids": prefix,
            "attention_mask": prefix_mask,
            **self.diffuse(suffix, suffix_mask, batch.vocabulary, noise),
        }
