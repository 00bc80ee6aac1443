# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Decoder of masked diffusion: noised tokens and positions as queries, the noise level through AdaLN-Zero.

B batch, H hidden.
"""

import math

import torch
import torch.nn as nn

from .decoder_layers_concept import Targets
from .decoder_perceiver_concept import TokenPositionDecoder
from .layers_concept import make_linear


class TimestepEmbedding(nn.Module):
    """
    Sinusoid of scale·t, then H -> 2H -> H.

    At scale 1 the sinusoids of all t in [0, 1] are nearly one vector (cosine 0.99 between t = 0.3 and 1); at 1000 they
    are apart (0.18).
    """

    def __init__(self, config):
        super().__init__()
        self.width, self.scale = config.hidden_size, config.timestep_scale
        self.in_proj = make_linear(self.width, 2 * self.width, bias=True)
        self.out_proj = make_linear(2 * self.width, self.width, bias=True)

    def sinusoid(self, timesteps):
        """[B] in [0, 1] -> [B, H]."""
        half = self.width // 2
        index = torch.arange(half, device=timesteps.device, dtype=torch.float32)
        angles = timesteps.float()[:, None] * self.scale * torch.exp(-math.log(10000.0) * index / half)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def forward(self, timesteps, dtype):
        """`timesteps` [B] -> [B, H]."""
        return self.out_proj(nn.functional.silu(self.in_proj(self.sinusoid(timesteps).to(dtype))))


class DiffusionDecoder(TokenPositionDecoder):
    """
    Token and position queries under a noise level t, the share of masked tokens (Sahoo et al. 2024, MDLM).

    Without `timestep_scale` there is no t: masked diffusion does not need it (Nie et al. 2025, LLaDA).
    """

    def __init__(self, config):
        self.conditioned = config.timestep_scale is not None
        super().__init__(config)
        self.timestep_embedding = TimestepEmbedding(config) if self.conditioned else None

    def make_condition(self, targets: Targets, dtype):
        return self.timestep_embedding(targets.timesteps, dtype) if self.conditioned else None
