# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The objectives, by the name that `--objective` gives."""

from .base import CleanBatch, Noise, Objective
from .denoising import Denoising
from .masked_diffusion import MaskedDiffusion
from .masked_lm import MaskedLM


OBJECTIVES: dict[str, type[Objective]] = {
    "masked_lm": MaskedLM,
    "denoising": Denoising,
    "masked_diffusion": MaskedDiffusion,
}

__all__ = ["OBJECTIVES", "CleanBatch", "Denoising", "MaskedDiffusion", "MaskedLM", "Noise", "Objective"]
