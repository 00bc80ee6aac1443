# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
BiXT concept layer (Hiller, Ehinger & Drummond, NeurIPS 2024): concepts read tokens and tokens read concepts.

B batch, N tokens, C concepts, H hidden, D head size.
"""

from dataclasses import dataclass

import torch
import torch.nn as nn

from .attention_concept import ConceptAttention
from .encoder_perceiver_concept import ConceptEncoderLayer, LayerContext
from .layers_concept import FeedForward, make_linear, make_norm


@dataclass
class BiXTOptions:
    """
    `encoder_options` of encoder type "bixt".

    Args:
        shared_similarity: one similarity matrix serves both directions; False: two attentions, tokens reading the
            concepts already updated (the original's form).
        token_feed_forward: feed-forward block on tokens as in the paper; the original has none.
        reverse_norm: norm of the concepts that tokens read, in the two-attention form; the original has none.
    """

    shared_similarity: bool = True
    token_feed_forward: bool = True
    reverse_norm: bool = True


class BidirectionalAttention(ConceptAttention):
    """
    S = q(concepts)·k(tokens); concepts get softmax over tokens of S times v(tokens), tokens get softmax over concepts
    of S times v'(concepts). Holds [B, heads, C, N] in memory, as both softmaxes need it.
    """

    def __init__(self, config, updates_tokens: bool):
        super().__init__(config, identity=config.identity_init)
        self.updates_tokens = updates_tokens
        self.drop = nn.Dropout(config.attention_probs_dropout_prob)
        if updates_tokens:
            self.reverse_v_proj = make_linear(config.hidden_size, config.hidden_size, config.use_bias)
            self.reverse_o_proj = make_linear(config.hidden_size, config.hidden_size, config.use_bias)

    def forward(self, queries, concepts, token_states, token_mask, concept_rotary, token_rotary):
        """
        `queries` and `concepts` [B, C, H] differ by query-only vectors. Returns updates of concepts [B, C, H], the
        weights [B, heads, C, N], and updates of tokens [B, N, H] or None.
        """
        query = self.project_queries(queries, concept_rotary)
        key, value = self.project_states(token_states, token_rotary)
        scores = (query @ key.transpose(-1, -2) * self.scaling).float()
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
    """[`ConceptEncoderLayer`] whose tokens are updated from the concepts, but for the last layer's."""

    options_class = BiXTOptions

    def __init__(self, config, updates_tokens: bool = False):
        self.updates_tokens = updates_tokens
        if config.share_key_values:
            raise ValueError("share_key_values=True needs static tokens, but encoder_type 'bixt' updates them.")
        super().__init__(config, updates_tokens)
        if not updates_tokens:
            return
        gain = (2 * config.num_hidden_layers) ** -0.5
        if not self.options.shared_similarity:
            self.reverse_attn = ConceptAttention(config)
            self.reverse_norm = make_norm(config)
            self.reverse_state_norm = make_norm(config) if self.options.reverse_norm else None
        if self.options.token_feed_forward:
            self.token_feed_forward_norm = make_norm(config)
            self.token_feed_forward = FeedForward(config, gain=gain)

    def make_cross_attention(self, config):
        if self.options.shared_similarity:
            return BidirectionalAttention(config, self.updates_tokens)
        return super().make_cross_attention(config)

    def cross(self, concepts, token_states, queries, key_values, context: LayerContext, update_tokens: bool):
        if self.options.shared_similarity:
            normed = self.cross_norm(concepts)
            queries = normed if queries is None else self.cross_norm(concepts + queries)
            states = token_states if self.token_norm is None else self.token_norm(token_states)
            update, _, token_update = self.cross_attn(
                queries, normed, states, context.token_mask, context.concept_rotary, context.token_rotary
            )
            concepts = self.add(concepts, update)
        else:
            concepts, _ = super().cross(concepts, token_states, queries, key_values, context, update_tokens)
            token_update = None
            if update_tokens:
                states = concepts if self.reverse_state_norm is None else self.reverse_state_norm(concepts)
                token_update, _ = self.reverse_attn(
                    self.reverse_norm(token_states), states, None, context.token_rotary, context.concept_rotary
                )
        if not update_tokens:
            return concepts, token_states
        token_states = token_states + self.dropout(token_update)
        if self.options.token_feed_forward:
            update = self.token_feed_forward(self.token_feed_forward_norm(token_states))
            token_states = token_states + self.dropout(update)
        return concepts, token_states
