# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The kinds of concept layer, all pre-norm: cross-attention to the tokens, concept self-attention, gated feed-forward.

B batch, N tokens, C concepts, H hidden, D head size.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention_concept import ConceptAttention, KeyMask
from .layers_concept import FeedForward, make_linear, make_norm
from .positions_concept import Rotary


class LayerContext(NamedTuple):
    """Mask and positions, which all layers of a forward pass share and no gradient flows into."""

    token_mask: KeyMask | None
    concept_rotary: Rotary
    token_rotary: Rotary


class ConceptEncoderLayer(GradientCheckpointingLayer):
    """
    c += cross(c, tokens); c += self(c); c += feed_forward(c).

    Args:
        config: model configuration.
        projects_tokens: whether it makes the keys and values of the tokens; otherwise each call is given those of an
            earlier layer.
        updates_tokens: whether token states are read again after this layer; a layer that never updates them
            ignores it.
    """

    shares_key_values = True  # whether the first layer of a stack makes the keys and values of the tokens for all
    has_queries = True  # whether learned vectors tell concepts apart, beside their places

    def __init__(self, config, projects_tokens: bool = True, updates_tokens: bool = False):
        super().__init__()
        self.keeps_mean = config.concept_mean != "free"
        self.cross_norm = make_norm(config)
        self.token_norm = make_norm(config) if projects_tokens else None
        self.cross_attn = self.make_cross_attention(config, projects_tokens, updates_tokens)
        self.self_norm = make_norm(config)
        self.self_attn = self.make_self_attention(config)
        self.feed_forward_norm = make_norm(config)
        self.feed_forward = FeedForward(config, init_scale=0.0)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def make_cross_attention(self, config, projects_tokens: bool, updates_tokens: bool):
        return ConceptAttention(config, identity=True, projects_states=projects_tokens)

    def make_self_attention(self, config):
        return ConceptAttention(config)

    def add(self, concepts, update):
        """Concepts [B, C, H] with the update of a sub-layer, without its mean over the concepts where the encoder
        replaces their mean: subtracted here, it cannot grow."""
        if self.keeps_mean:
            update = update - update.mean(dim=1, keepdim=True)
        return concepts + self.dropout(update)

    def cross(self, concepts, token_states, queries, key_values, context: LayerContext, update_tokens: bool):
        """First sub-layer: returns updated concepts and token states, and the keys and values of the tokens."""
        states = self.token_norm(token_states) if key_values is None else None
        update, _, key_values = self.cross_attn(
            self.cross_norm(concepts + queries), states, context.token_mask, context.concept_rotary,
            context.token_rotary, key_values,
        )  # fmt: skip
        return self.add(concepts, update), token_states, key_values

    def mix(self, concepts, queries, context: LayerContext):
        """Second sub-layer: what each concept reads from the others, [B, C, H]."""
        states, rotary = self.self_norm(concepts), context.concept_rotary
        return self.self_attn(self.self_norm(concepts + queries), states, None, rotary, rotary)[0]

    def forward(self, concepts, token_states, queries, key, value, context: LayerContext, update_tokens: bool = False):
        """
        Args:
            concepts: [B, C, H].
            token_states: [B, N, H].
            queries: learned concept vectors [C, H], added in attention queries; None where a layer has none.
            key, value: those that an earlier call for the same token states returned, or None.
            context: masks and positions.
            update_tokens: whether a later layer reads the returned token states.

        Returns:
            Concepts [B, C, H], token states [B, N, H], and keys and values of the tokens [B, heads, N, D], None where
            token states change.
        """
        key_values = None if key is None else (key, value)
        concepts, token_states, (key, value) = self.cross(
            concepts, token_states, queries, key_values, context, update_tokens
        )
        concepts = self.add(concepts, self.mix(concepts, queries, context))
        concepts = self.add(concepts, self.feed_forward(self.feed_forward_norm(concepts)))
        return concepts, token_states, key, value


class BidirectionalAttention(ConceptAttention):
    """
    S = q(concepts)·k(tokens); concepts get softmax over tokens of S times v(tokens), tokens get softmax over concepts
    of S times v'(concepts). Holds [B, heads, C, N] in memory, as both softmaxes need it.
    """

    def __init__(self, config, updates_tokens: bool):
        super().__init__(config, identity=True)
        self.updates_tokens = updates_tokens
        self.drop = nn.Dropout(config.hidden_dropout_prob)
        if updates_tokens:
            self.reverse_v_proj = make_linear(config.hidden_size, config.hidden_size)
            self.reverse_o_proj = make_linear(config.hidden_size, config.hidden_size)

    def forward(self, queries, concepts, token_states, token_mask, concept_rotary, token_rotary):
        """
        `queries` and `concepts` [B, C, H] differ by the learned concept vectors. Returns updates of concepts
        [B, C, H], the weights [B, heads, C, N], and updates of tokens [B, N, H] or None.
        """
        query = self.project_queries(queries, concept_rotary)
        key, value = self.project_states(token_states, token_rotary)
        scores = (query @ key.transpose(-1, -2)).float()
        forward_scores = scores
        if token_mask is not None:
            forward_scores = scores.masked_fill(~token_mask.keys[:, None, None, :], torch.finfo(scores.dtype).min)
        weights = self.drop(forward_scores.softmax(dim=-1).to(value.dtype))
        update = self.o_proj((weights @ value).transpose(1, 2).flatten(2))
        if token_mask is not None:
            update = update * token_mask.not_empty
        if not self.updates_tokens:
            return update, weights, None
        reverse = self.drop(scores.softmax(dim=-2).to(value.dtype)).transpose(-1, -2) @ self.split_heads(
            self.reverse_v_proj(concepts)
        )
        return update, weights, self.reverse_o_proj(reverse.transpose(1, 2).flatten(2))


class BiXTEncoderLayer(ConceptEncoderLayer):
    """[`ConceptEncoderLayer`] in which concepts read tokens and tokens read concepts, but for the last layer's (BiXT,
    Hiller, Ehinger & Drummond, NeurIPS 2024)."""

    shares_key_values = False

    def __init__(self, config, projects_tokens: bool = True, updates_tokens: bool = False):
        super().__init__(config, projects_tokens, updates_tokens)
        if updates_tokens:
            self.token_feed_forward_norm = make_norm(config)
            self.token_feed_forward = FeedForward(config, init_scale=(2 * config.num_hidden_layers) ** -0.5)

    def make_cross_attention(self, config, projects_tokens: bool, updates_tokens: bool):
        return BidirectionalAttention(config, updates_tokens)

    def cross(self, concepts, token_states, queries, key_values, context: LayerContext, update_tokens: bool):
        normed = self.cross_norm(concepts)
        update, _, token_update = self.cross_attn(
            self.cross_norm(concepts + queries), normed, self.token_norm(token_states),
            context.token_mask, context.concept_rotary, context.token_rotary,
        )  # fmt: skip
        concepts = self.add(concepts, update)
        if not update_tokens:
            return concepts, token_states, (None, None)
        token_states = token_states + self.dropout(token_update)
        update = self.token_feed_forward(self.token_feed_forward_norm(token_states))
        return concepts, token_states + self.dropout(update), (None, None)


class SlotAttention(ConceptAttention):
    """Softmax over concepts, then each concept's weights are renormalised over the tokens that it may read (Locatello
    et al. 2020)."""

    epsilon = 1e-8  # added to the weights before they are renormalised

    def attend(self, query, key, value, key_mask):
        weights = (query @ key.transpose(-1, -2)).float().softmax(dim=-2) + self.epsilon
        if key_mask is not None:
            weights = weights * key_mask.keys[:, None, None, :]
        weights = (weights / weights.sum(dim=-1, keepdim=True)).to(value.dtype)
        dropped = F.dropout(weights, self.dropout, self.training)
        return (dropped @ value).transpose(1, 2), weights


class SlotEncoderLayer(ConceptEncoderLayer):
    """[`ConceptEncoderLayer`] whose concepts compete for tokens, in every layer again."""

    def make_cross_attention(self, config, projects_tokens: bool, updates_tokens: bool):
        return SlotAttention(config, identity=True, projects_states=projects_tokens)


class ContentAttention(ConceptAttention):
    """Attention between concepts that passes on what it reads, as values and output start as the identity, and starts
    without address biases, as places tell nothing."""

    def __init__(self, config):
        super().__init__(config, identity=True)

    def init_own_parameters(self):
        super().init_own_parameters()
        init.zeros_(self.query_bias)
        init.zeros_(self.key_bias)


class ContentEncoderLayer(ConceptEncoderLayer):
    """[`ConceptEncoderLayer`] in whose self-attention concepts find each other by what they hold alone, not by where
    their segments lie: for facts in any order, of which one leads to another. Each reads the tokens from its place,
    without a learned vector of its own, so that any number of facts may be read."""

    has_queries = False

    def cross(self, concepts, token_states, queries, key_values, context: LayerContext, update_tokens: bool):
        return super().cross(concepts, token_states, 0, key_values, context, update_tokens)

    def make_self_attention(self, config):
        return ContentAttention(config)

    def mix(self, concepts, queries, context: LayerContext):
        states = self.self_norm(concepts)
        return self.self_attn(states, states)[0]


ENCODER_LAYERS = {
    "perceiver": ConceptEncoderLayer,
    "bixt": BiXTEncoderLayer,
    "slot": SlotEncoderLayer,
    "content": ContentEncoderLayer,
}


def find_encoder_layer(config) -> type[ConceptEncoderLayer]:
    """The configured kind of layer; ValueError with the list of kinds if there is none of that name."""
    if config.encoder_type not in ENCODER_LAYERS:
        raise ValueError(f"Unknown encoder_type {config.encoder_type!r}; choose one of {sorted(ENCODER_LAYERS)}.")
    return ENCODER_LAYERS[config.encoder_type]


__all__ = ["ENCODER_LAYERS"]
