# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The concept layer: cross-attention to static tokens, concept self-attention, gated feed-forward, all pre-norm.

B batch, N tokens, C concepts, H hidden.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention_concept import ConceptAttention, KeyMask
from .layers_concept import FeedForward, make_norm
from .positions_concept import Rotary


class LayerContext(NamedTuple):
    """What all layers of a forward pass share and no gradient flows into: mask and positions."""

    token_mask: KeyMask | None
    concept_rotary: Rotary | None
    token_rotary: Rotary | None


@dataclass
class PerceiverOptions:
    """`encoder_options` of encoder type "perceiver": none."""


def read_options(options_class, options: dict | None):
    """`options` as an instance of the dataclass; ValueError names an unknown key and the known ones."""
    known = [field.name for field in fields(options_class)]
    unknown = set(options or {}) - set(known)
    if unknown:
        raise ValueError(f"{options_class.__name__} has no option {sorted(unknown)}; its options are {known}.")
    return options_class(**(options or {}))


class ConceptEncoderLayer(GradientCheckpointingLayer):
    """
    c += cross(c, tokens); c += self(c); c += feed_forward(c).

    Args:
        config: model configuration.
        updates_tokens: whether token states are read again after this layer; a layer that never updates them
            ignores it.
    """

    options_class = PerceiverOptions

    def __init__(self, config, updates_tokens: bool = False):
        super().__init__()
        self.options = read_options(self.options_class, config.encoder_options)
        self.keeps_mean = config.concept_mean == "embeddings"
        depth_gain = 0.0 if config.identity_init else (2 * config.num_hidden_layers) ** -0.5
        self.cross_norm = make_norm(config)
        self.token_norm = make_norm(config) if config.kv_norm and not config.share_key_values else None
        self.cross_attn = self.make_cross_attention(config)
        self.self_norm = make_norm(config)
        self.self_attn = ConceptAttention(config, gain=depth_gain)
        self.feed_forward_norm = make_norm(config)
        self.feed_forward = FeedForward(config, gain=depth_gain)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def make_cross_attention(self, config):
        return ConceptAttention(config, projects_states=not config.share_key_values, identity=config.identity_init)

    def add(self, concepts, update):
        """Concepts [B, C, H] with a sub-layer's update, which sums to zero over them where their mean is given: nobody
        reads what all are given alike, but without bounds it would grow."""
        if self.keeps_mean:
            update = update - update.mean(dim=1, keepdim=True)
        return concepts + self.dropout(update)

    def cross(self, concepts, token_states, queries, key_values, context: LayerContext, update_tokens: bool):
        """First sub-layer: returns updated concepts and token states."""
        normed = self.cross_norm(concepts if queries is None else concepts + queries)
        states = token_states if self.token_norm is None else self.token_norm(token_states)
        update, _ = self.cross_attn(
            normed, states, context.token_mask, context.concept_rotary, context.token_rotary, key_values
        )
        return self.add(concepts, update), token_states

    def forward(self, concepts, token_states, queries, key, value, context: LayerContext, update_tokens: bool = False):
        """
        Args:
            concepts: [B, C, H].
            token_states: [B, N, H].
            queries: query-only vectors [C, H], or None.
            key, value: shared keys and values of the tokens [B, heads, N, D], or None.
            context: masks and positions.
            update_tokens: whether a later layer reads the returned token states.

        Returns:
            Concepts [B, C, H] and token states [B, N, H].
        """
        key_values = None if key is None else (key, value)
        concepts, token_states = self.cross(concepts, token_states, queries, key_values, context, update_tokens)
        states = self.self_norm(concepts)
        normed = states if queries is None else self.self_norm(concepts + queries)
        rotary = context.concept_rotary
        update, _ = self.self_attn(normed, states, None, rotary, rotary)
        concepts = self.add(concepts, update)
        concepts = self.add(concepts, self.feed_forward(self.feed_forward_norm(concepts)))
        return concepts, token_states
