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

from .layers_concept import make_linear, unit_length
from .positions_concept import Rotary, apply_rotary


# Chosen in the architecture ablation, rows 7 to 12.
QUERY_KEY_SCALE = 8.0
ADDRESS_BIAS = 3.0


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


def make_address_bias(config) -> nn.Parameter:
    """Learned constant part [heads, D] of queries or keys, which makes the initial attention local. Without it rotary
    encoding has nothing to turn but what all texts have in common, and token table and concepts grow a common
    direction for that."""
    return nn.Parameter(torch.empty(config.num_attention_heads, config.hidden_size // config.num_attention_heads))


def init_address_bias(bias: nn.Parameter):
    """The same for queries and keys, with equal magnitude at each rotary frequency: scores are highest where positions
    are equal."""
    channel = torch.arange(bias.shape[-1], device=bias.device)
    init.copy_(bias, ADDRESS_BIAS * (channel < bias.shape[-1] // 2).to(bias.dtype).expand_as(bias))


class KeyValueProjection(nn.Module):
    """
    The state side of attention: normalised keys, and values, both split into heads.

    Args:
        config: model configuration.
        identity: whether the projection of the values starts as the identity.
        projects_states: False where keys and values always come from outside.
    """

    def __init__(self, config, identity: bool = False, projects_states: bool = True):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // self.num_heads
        self.key_bias = None
        if projects_states:
            self.k_proj = make_linear(config.hidden_size, config.hidden_size)
            self.v_proj = make_linear(config.hidden_size, config.hidden_size, identity=identity)
            self.key_bias = make_address_bias(config)

    def init_own_parameters(self):
        if self.key_bias is not None:
            init_address_bias(self.key_bias)

    def split_heads(self, states):
        """[B, L, H] -> [B, heads, L, D]."""
        return states.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def project_states(self, states, rotary: Rotary | None):
        """Keys and values [B, heads, K, D] of `states` [B, K, H]."""
        key = self.split_heads(self.k_proj(states))
        key = unit_length(key + self.key_bias[:, None].to(key.dtype))
        return apply_rotary(key, rotary), self.split_heads(self.v_proj(states))

    def forward(self, states, rotary: Rotary | None):
        return self.project_states(states, rotary)


class ConceptAttention(KeyValueProjection):
    """
    Attention of queries to states, or to keys and values projected elsewhere. Scores are cosines times a learned scale
    per head (Henry et al. 2020).

    Where concepts read tokens and decoders read concepts (`identity`), the projections of values and output start as
    the identity, so that an untrained model passes sums of token states on. After the mimetic initialisation of
    Trockman & Kolter (2023); reconstruction is then learned in a third of the steps. Elsewhere the output starts at
    zero.

    Args:
        config: model configuration.
        identity: see above.
        projects_states: False where keys and values always come from outside.
    """

    is_causal = False

    def __init__(self, config, identity: bool = False, projects_states: bool = True):
        super().__init__(config, identity, projects_states)
        width = config.hidden_size
        self.dropout = config.hidden_dropout_prob
        self.q_proj = make_linear(width, width)
        self.o_proj = make_linear(width, width, init_scale=0.0, identity=identity)
        self.qk_scale = nn.Parameter(torch.empty(self.num_heads))
        self.query_bias = make_address_bias(config)

    def init_own_parameters(self):
        super().init_own_parameters()
        init_address_bias(self.query_bias)
        init.constant_(self.qk_scale, QUERY_KEY_SCALE)

    def project_queries(self, queries, rotary: Rotary | None):
        """`queries` [B, Q, H] -> [B, heads, Q, D]."""
        query = self.split_heads(self.q_proj(queries))
        query = unit_length(query + self.query_bias[:, None].to(query.dtype))
        return apply_rotary(query * self.qk_scale[:, None, None].to(query.dtype), rotary)

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
            scaling=1.0,
        )

    def forward(
        self,
        queries,
        states=None,
        key_mask: KeyMask | None = None,
        query_rotary: Rotary | None = None,
        key_rotary: Rotary | None = None,
        key_values=None,
    ):
        """
        Args:
            queries: [B, Q, H], normalised; None to return the keys and values of `states` alone. A call of the module,
                unlike one of `project_states`, loads offloaded weights.
            states: [B, K, H], or None when `key_values` are given.
            key_mask: see [`make_key_mask`].
            query_rotary, key_rotary: positions of both sides.
            key_values: result of `project_states`.

        Returns:
            What to add to the queries' stream [B, Q, H] (zero where there is nothing to read), and the attention
            weights [B, heads, Q, K] if the implementation returns them.
        """
        if key_values is None:
            key_values = self.project_states(states, key_rotary)
        if queries is None:
            return key_values
        key, value = key_values
        context, weights = self.attend(self.project_queries(queries, query_rotary), key, value, key_mask)
        context = self.o_proj(context.flatten(2))
        return (context if key_mask is None else context * key_mask.not_empty), weights
