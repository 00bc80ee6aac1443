# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Static decoder: each position reads a fixed learned mixture of concepts.

B batch, S target positions, L longest text, C concepts, H hidden.
"""

import torch
import torch.nn as nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from .decoder_layers_concept import Targets
from .layers_concept import FeedForward, make_linear, make_norm
from .mixers_concept import TOKEN_MIXERS
from .positions_concept import make_rotary


class StaticMixtureLayer(GradientCheckpointingLayer):
    """x += softmax(W[position])·concepts, then mixing where configured, then feed-forward (not in the last layer)."""

    def __init__(self, config, last: bool):
        super().__init__()
        gain = (2 * config.num_decoder_layers) ** -0.5
        self.concept_weights = nn.Parameter(torch.empty(config.max_sequence_length, config.concept_num))
        kind = config.decoder_mixer_type or "none"
        self.mixer = None if kind == "none" else TOKEN_MIXERS[kind](config, config.decoder_mixer_width, gain)
        self.feed_forward_norm = None if last else make_norm(config)
        self.feed_forward = None if last else FeedForward(config, gain=gain)

    def init_own_parameters(self, constant_std):
        init.normal_(self.concept_weights, std=self.concept_weights.shape[1] ** -0.5)

    def forward(self, states, concepts, positions, target_mask, rotary):
        """`states` [B, S, H] or None at the first layer, `concepts` [B, C, H], `positions` [B or 1, S]."""
        weights = self.concept_weights[:, : concepts.shape[1]][positions].softmax(dim=-1).to(concepts.dtype)
        update = weights.expand(concepts.shape[0], -1, -1) @ concepts
        states = update if states is None else states + update
        if self.mixer is not None:
            states = self.mixer(states, target_mask, rotary)
        if self.feed_forward is not None:
            states = states + self.feed_forward(self.feed_forward_norm(states))
        return states


class WeightedDecoder(nn.Module):
    """One or more [`StaticMixtureLayer`], then norm, linear, activation. Nothing of it looks at the text."""

    reads_tokens = False

    def __init__(self, config):
        super().__init__()
        self.config = config
        last = config.num_decoder_layers - 1
        self.layers = nn.ModuleList(
            StaticMixtureLayer(config, last=index == last) for index in range(config.num_decoder_layers)
        )
        self.projection_norm = make_norm(config)
        self.projection = make_linear(config.hidden_size, config.hidden_size, config.use_bias)
        self.activation = ACT2FN[config.hidden_act]
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.output_norm = make_norm(config) if config.decoder_output_norm else None

    @property
    def pointwise(self) -> bool:
        """Whether a position's result depends on no other position."""
        return all(layer.mixer is None for layer in self.layers)

    def read(self, concepts, segments):
        """The concepts themselves [B, C, H]: there are no keys."""
        return concepts

    def forward(self, memory, targets: Targets, token_table):
        """As in [`ConceptDecoder`]."""
        config, states = self.config, None
        rotary = None
        if config.token_position_type == "rotary":
            head_size = config.hidden_size // config.num_attention_heads
            rotary = make_rotary(targets.positions, head_size, config.rope_theta, memory.states.dtype)
        for layer in self.layers:
            states = layer(states, memory.states, targets.positions, targets.attention_mask, rotary)
        states = self.dropout(self.activation(self.projection(self.projection_norm(states))))
        return states if self.output_norm is None else self.output_norm(states)
