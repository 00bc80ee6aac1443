# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Multi-head attention from queries to states through transformers' attention interface.

B batch, Q queries, K keys, H hidden, D head size.
"""

from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .layers_concept import make_linear
from .norms_concept import unit_length
from .positions_concept import Rotary, apply_rotary


class KeyMask(NamedTuple):
    """
    Which keys may be read. `keys`: bool [B, K], every key of a row without any visible one, so that no kernel meets an
    empty softmax; `not_empty`: [B, 1, 1], 0 for such rows, whose result is then zero; `prepared`: the mask in the
    form of the chosen attention implementation, None when nothing is hidden.
    """

    keys: torch.Tensor
    not_empty: torch.Tensor
    prepared: torch.Tensor | None


def make_key_mask(config, queries, states, visible) -> KeyMask | None:
    """Mask for attention from `queries` [B, Q, H] to `states` [B, K, H] where `visible` (bool [B, K]) holds."""
    if visible is None:
        return None
    some = visible.any(dim=-1, keepdim=True)
    keys = visible | ~some
    prepared = create_bidirectional_mask(
        config=config, inputs_embeds=queries, attention_mask=keys, encoder_hidden_states=states
    )
    return KeyMask(keys, some[:, :, None].to(queries.dtype), prepared)


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Plain attention. `query` [B, heads, Q, D] -> [B, Q, heads, D] and the weights [B, heads, Q, K]."""
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = F.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2), weights


def make_address_bias(config) -> nn.Parameter | None:
    """What queries or keys have in common, [heads, D], for rotary encoding to turn."""
    if not config.address_bias:
        return None
    return nn.Parameter(torch.empty(config.num_attention_heads, config.hidden_size // config.num_attention_heads))


def init_address_bias(bias: nn.Parameter | None, size: float):
    """The same for queries and keys, and as much of every frequency: scores are highest where addresses are equal."""
    if bias is not None:
        channel = torch.arange(bias.shape[-1], device=bias.device)
        init.copy_(bias, size * (channel < bias.shape[-1] // 2).to(bias.dtype).expand_as(bias))


class KeyValueProjection(nn.Module):
    """The state side of attention: keys, normalised with `config.qk_norm`, and values, both split into heads; the
    projection of the values starts as the identity where `identity` says so."""

    def __init__(self, config, projects_states: bool = True, identity: bool = False):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // self.num_heads
        if projects_states:
            self.k_proj = make_linear(config.hidden_size, config.hidden_size, config.use_bias)
            self.v_proj = make_linear(config.hidden_size, config.hidden_size, config.use_bias, identity=identity)
        self.key_bias = make_address_bias(config) if projects_states else None

    def init_own_parameters(self, constant_std):
        init_address_bias(self.key_bias, self.config.address_bias)

    def split_heads(self, states):
        """[B, L, H] -> [B, heads, L, D]."""
        return states.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def project_states(self, states, rotary: Rotary | None, key_offset=None):
        """Keys and values [B, heads, K, D] of `states` [B, K, H]; `key_offset` [K, H] is added for the keys only."""
        key = self.split_heads(self.k_proj(states if key_offset is None else states + key_offset))
        key = key if self.key_bias is None else key + self.key_bias[:, None].to(key.dtype)
        if self.config.qk_norm:
            key = unit_length(key)
        return apply_rotary(key, rotary), self.split_heads(self.v_proj(states))

    def forward(self, states, rotary: Rotary | None):
        return self.project_states(states, rotary)


class ConceptAttention(KeyValueProjection):
    """
    Attention of queries to states, or to keys and values projected elsewhere.

    With `config.qk_norm`, scores are cosines times a learned scale per head (Henry et al. 2020), initially
    `config.qk_norm_scale`.

    Args:
        config: model configuration.
        gain: initial gain of the output projection.
        projects_states: False where keys and values always come from outside.
        identity: whether the projections of values and of the output start as the identity.
    """

    is_causal = False

    def __init__(self, config, gain: float = 1.0, projects_states: bool = True, identity: bool = False):
        super().__init__(config, projects_states, identity)
        width = config.hidden_size
        self.scaling = 1.0 if config.qk_norm else self.head_dim**-0.5
        self.dropout = config.attention_probs_dropout_prob
        self.q_proj = make_linear(width, width, config.use_bias)
        self.o_proj = make_linear(width, width, config.use_bias, gain, identity)
        self.qk_scale = nn.Parameter(torch.empty(self.num_heads)) if config.qk_norm else None
        self.query_bias = make_address_bias(config)

    def init_own_parameters(self, constant_std):
        super().init_own_parameters(constant_std)
        init_address_bias(self.query_bias, self.config.address_bias)
        if self.qk_scale is not None:
            init.constant_(self.qk_scale, self.config.qk_norm_scale)

    def project_queries(self, queries, rotary: Rotary | None):
        """`queries` [B, Q, H] -> [B, heads, Q, D]."""
        query = self.split_heads(self.q_proj(queries))
        query = query if self.query_bias is None else query + self.query_bias[:, None].to(query.dtype)
        if self.qk_scale is not None:
            query = unit_length(query) * self.qk_scale[:, None, None].to(query.dtype)
        return apply_rotary(query, rotary)

    def attend(self, query, key, value, key_mask: KeyMask | None):
        """Weigh the values; [B, Q, heads, D] and the weights, or None where the implementation keeps none."""
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        return attention(
            self,
            query,
            key,
            value,
            None if key_mask is None else key_mask.prepared,
            dropout=self.dropout if self.training else 0.0,
            scaling=self.scaling,
        )

    def forward(
        self,
        queries,
        states=None,
        key_mask: KeyMask | None = None,
        query_rotary: Rotary | None = None,
        key_rotary: Rotary | None = None,
        key_values=None,
        key_offset=None,
    ):
        """
        Args:
            queries: [B, Q, H], normalised; None for the keys and values of `states` alone. They are asked for here,
                not by `project_states`, so that offloaded weights are loaded.
            states: [B, K, H], or None when `key_values` are given.
            key_mask: see [`make_key_mask`].
            query_rotary, key_rotary: positions of both sides.
            key_values: result of `project_states`.
            key_offset: [K, H], added to the states for the keys only.

        Returns:
            What to add to the queries' stream [B, Q, H] (zero where there is nothing to read), and the attention
            weights [B, heads, Q, K] if the implementation returns them.
        """
        if key_values is None:
            key_values = self.project_states(states, key_rotary, key_offset)
        if queries is None:
            return key_values
        key, value = key_values
        context, weights = self.attend(self.project_queries(queries, query_rotary), key, value, key_mask)
        context = self.o_proj(context.flatten(2))
        return (context if key_mask is None else context * key_mask.not_empty), weights
