# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The objectives, by their names in `--objective`."""

from .autoencoding import Autoencoding
from .base import Mixture, Objective, parse_mixture
from .context_distillation import ContextDistillation
from .continuation import Continuation
from .contrastive import Contrastive
from .denoising import Denoising
from .distillation import Distillation
from .masked_diffusion import MaskedDiffusion
from .masked_lm import MaskedLM
from .prefix_diffusion import PrefixDiffusion


OBJECTIVES: dict[str, type[Objective]] = {
    "masked_lm": MaskedLM,
    "denoising": Denoising,
    "masked_diffusion": MaskedDiffusion,
    "prefix_diffusion": PrefixDiffusion,
    "continuation": Continuation,
    "autoencoding": Autoencoding,
    "context_distillation": ContextDistillation,
    "contrastive": Contrastive,
    "distillation": Distillation,
}

__all__ = ["OBJECTIVES", "Mixture", "Objective", "parse_mixture"]
__all__ += [objective.__name__ for objective in OBJECTIVES.values()]
