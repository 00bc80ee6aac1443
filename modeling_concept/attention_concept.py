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


class PackedKeys(NamedTuple):
    """
    The keys that may be read, of all rows in one, for kernels of variable length. `places`: [T], where they stand in
    [B·K]; `lengths`: the kernels' arguments, as transformers names them.
    """

    places: torch.Tensor
    lengths: dict[str, torch.Tensor | int]


class KeyMask(NamedTuple):
    """
    Which keys may be read. `keys`: bool [B, K], every key of a row without any visible one, so that no kernel meets an
    empty softmax; `not_empty`: [B, 1, 1], 0 for such rows, whose result is then zero; `prepared`: the mask in the
    form of the chosen attention implementation, None when nothing is hidden; `packed`: instead of it for flash
    attention.
    """

    keys: torch.Tensor
    not_empty: torch.Tensor
    prepared: torch.Tensor | None
    packed: PackedKeys | None = None


def make_key_mask(config, queries, states, visible) -> KeyMask | None:
    """Mask for attention from `queries` [B, Q, H] to `states` [B, K, H] where `visible` (bool [B, K]) holds."""
    if visible is None:
        return None
    some = visible.any(dim=-1, keepdim=True)
    keys, not_empty = visible | ~some, some[:, :, None].to(queries.dtype)
    if "flash" in config._attn_implementation:
        # Given a mask, transformers would take the queries for the last of the keys, and leave out padded ones.
        return KeyMask(keys, not_empty, None, pack_keys(keys, queries.shape[1]))
    prepared = create_bidirectional_mask(
        config=config, inputs_embeds=queries, attention_mask=keys, encoder_hidden_states=states
    )
    return KeyMask(keys, not_empty, prepared)


def pack_keys(keys: torch.Tensor, query_length: int) -> PackedKeys:
    """The `keys` (bool [B, K]) that may be read, at least one in each row, and `query_length` queries in each."""
    counts = keys.sum(dim=1, dtype=torch.int32)
    starts = torch.arange(len(keys) + 1, dtype=torch.int32, device=keys.device) * query_length
    lengths = {
        "cu_seq_lens_q": starts,
        "cu_seq_lens_k": F.pad(counts.cumsum(dim=0, dtype=torch.int32), (1, 0)),
        "max_length_q": query_length,
        "max_length_k": int(counts.max()),
    }
    return PackedKeys(keys.flatten().nonzero().squeeze(1), lengths)


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


class ConceptAttention(nn.Module):
    """
    Attention of queries to the keys and values of states. Scores are cosines times a learned scale
    per head (Henry et al. 2020).

    Where concepts read tokens and decoders read concepts (`identity`), the projections of values and output start as
    the identity, so that an untrained model passes sums of token states on. After the mimetic initialisation of
    Trockman & Kolter (2023); reconstruction is then learned in a third of the steps. Elsewhere the output starts at
    zero.

    Args:
        config: model configuration.
        identity: see above.
        projects_states: whether it makes keys and values; otherwise each call is given those of another module.
    """

    is_causal = False

    def __init__(self, config, identity: bool = False, projects_states: bool = True):
        super().__init__()
        width = config.hidden_size
        self.config = config
        self.num_heads = config.num_attention_heads
        self.head_dim = width // self.num_heads
        self.dropout = config.hidden_dropout_prob
        self.q_proj = make_linear(width, width)
        if projects_states:
            self.k_proj = make_linear(width, width)
            self.v_proj = make_linear(width, width, identity=identity)
        self.o_proj = make_linear(width, width, init_scale=0.0, identity=identity)
        self.query_bias = make_address_bias(config)
        self.key_bias = make_address_bias(config) if projects_states else None
        self.qk_scale = nn.Parameter(torch.empty(self.num_heads))

    def init_own_parameters(self):
        init.constant_(self.qk_scale, QUERY_KEY_SCALE)
        for bias in (self.query_bias, self.key_bias):
            if bias is not None:
                init_address_bias(bias)

    def split_heads(self, states):
        """[B, L, H] -> [B, heads, L, D]."""
        return states.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def add_bias(self, states, bias):
        """`states` [B, L, H] with `bias` [heads, D] -> [B, heads, L, D]."""
        return self.split_heads(states) + bias[:, None].to(states.dtype)

    def project_states(self, states, rotary: Rotary | None):
        """Normalised keys, and values, [B, heads, K, D] of `states` [B, K, H]."""
        key = unit_length(self.add_bias(self.k_proj(states), self.key_bias))
        return apply_rotary(key, rotary), self.split_heads(self.v_proj(states))

    def project_queries(self, queries, rotary: Rotary | None):
        """`queries` [B, Q, H] -> [B, heads, Q, D]."""
        query = unit_length(self.add_bias(self.q_proj(queries), self.query_bias))
        return apply_rotary(query * self.qk_scale[:, None, None].to(query.dtype), rotary)

    def attend(self, query, key, value, key_mask: KeyMask | None):
        """Weigh the values; [B, Q, heads, D] and the weights, or None where the implementation keeps none."""
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        mask, options = None, {"dropout": self.dropout if self.training else 0.0, "scaling": 1.0}
        if key_mask is not None:
            mask = key_mask.prepared
            if key_mask.packed is not None:
                # [B, heads, K, D] -> [1, heads, T, D]
                key, value = (part.transpose(1, 2).flatten(0, 1)[key_mask.packed.places] for part in (key, value))
                key, value = key.transpose(0, 1)[None], value.transpose(0, 1)[None]
                options |= key_mask.packed.lengths
        return attention(self, query, key, value, mask, **options)

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
            queries: [B, Q, H], normalised; None to project `states` alone. A call of the module, unlike one of
                `project_states`, loads offloaded weights.
            states: [B, K, H], or None when `key_values` are given.
            key_mask: see [`make_key_mask`].
            query_rotary, key_rotary: positions of both sides.
            key_values: keys and values that an earlier call with the same states returned.

        Returns:
            What to add to the queries' stream [B, Q, H] (zero where there is nothing to read); the attention weights
            [B, heads, Q, K] if the implementation returns them; keys and values [B, heads, K, D].
        """
        if key_values is None:
            key_values = self.project_states(states, key_rotary)
        if queries is None:
            return None, None, key_values
        context, weights = self.attend(self.project_queries(queries, query_rotary), *key_values, key_mask)
        context = self.o_proj(context.flatten(2))
        return (context if key_mask is None else context * key_mask.not_empty), weights, key_values
