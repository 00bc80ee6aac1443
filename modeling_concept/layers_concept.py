# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Norms, linear layers with an initial gain, and feed-forward blocks. B batch, L any length, H hidden, I inner."""

import torch.nn as nn
from transformers.activations import ACT2FN

from .norms_concept import RMSNorm
from .positions_concept import Segments


def make_linear(
    in_features: int, out_features: int, bias: bool, gain: float = 1.0, identity: bool = False
) -> nn.Linear:
    """A linear layer that remembers how it starts, for `_init_weights`: at standard deviation gain/sqrt(in_features),
    exactly zero where the gain is 0, or as the identity."""
    layer = nn.Linear(in_features, out_features, bias=bias)
    layer.init_gain, layer.init_identity = gain, identity
    return layer


def make_norm(config, eps: float | None = None) -> nn.Module:
    """The configured norm over the last axis, of width `hidden_size`."""
    norm_class = RMSNorm if config.norm_type == "rmsnorm" else nn.LayerNorm
    return norm_class(config.hidden_size, eps=config.norm_eps if eps is None else eps)


class PhaseEmbedding(nn.Module):
    """
    Tells of each position where it stands within its concept's segment. Anchors and keys alone tell a concept which
    tokens lie in its segment; with this the order in which they lie is learned in a few hundred steps.
    """

    def __init__(self, config):
        super().__init__()
        self.harmonics = config.phase_harmonics
        self.projection = make_linear(2 * config.phase_harmonics, config.hidden_size, bias=False)

    def forward(self, positions, segments: Segments, dtype):
        """`positions` [B or 1, L] -> what is added to states [B or 1, L, H] of type `dtype`."""
        return self.projection(segments.phase_features(positions, self.harmonics).to(dtype))


class FeedForward(nn.Module):
    """H -> I -> H, gated (`act(a) * b`: GEGLU or SwiGLU, Shazeer 2020) or plain."""

    def __init__(self, config, gated: bool = True, gain: float = 1.0):
        super().__init__()
        self.gated = gated
        inner = config.intermediate_size
        self.up_proj = make_linear(config.hidden_size, inner * (2 if gated else 1), config.use_bias)
        self.down_proj = make_linear(inner, config.hidden_size, config.use_bias, gain)
        self.activation = ACT2FN[config.hidden_act]
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, states):
        """`states` [B, L, H] -> [B, L, H]."""
        states = self.up_proj(states)
        if self.gated:
            gate, states = states.chunk(2, dim=-1)
            states = self.activation(gate) * states
        else:
            states = self.activation(states)
        return self.down_proj(self.dropout(states))
