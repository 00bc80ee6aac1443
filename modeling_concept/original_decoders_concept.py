# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The decoders of the original implementation, under the original's own names. No target position sees another, and keys
and values, the concepts, are normalised by the encoder's last norm alone.

B batch, S target positions, C concepts, E token embedding width, H hidden, I inner.
"""

import math

import torch
import torch.nn as nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from .decoder_layers_concept import Targets
from .layers_concept import make_linear
from .original_encoder_concept import OriginalAttention


def token_rows(targets: Targets, table):
    """Rows [B, S, E] of the token table at the targets."""
    return targets.inputs_embeds if targets.input_ids is None else table(targets.input_ids)


class OriginalDecoder(nn.Module):
    """What models ask of a decoder. `forward` makes states [B, S, H] of what `read` gave and targets."""

    reads_tokens = False
    pointwise = True

    def __init__(self, config):
        super().__init__()
        self.config = config

    def read(self, concepts, segments):
        """The concepts themselves [B, C, H]: their keys and values are made anew in each pass."""
        return concepts


class OriginalPositionDecoder(OriginalDecoder):
    """One layer of Perceiver IO: q = P(position); x = q + MHA(LN q, C, C); x += FFN(LN x). No norm comes after it."""

    def __init__(self, config):
        super().__init__(config)
        width, inner = config.hidden_size, config.intermediate_size
        self.decoder_query_embeddings = nn.Embedding(config.max_sequence_length, width)
        self.decoder_norm = nn.LayerNorm(width)
        self.decoder_cross_attn = OriginalAttention(config)
        self.post_cross_norm = nn.LayerNorm(width)
        self.decoder_ffn = nn.Sequential(
            nn.Linear(width, inner), ACT2FN[config.hidden_act], nn.Linear(inner, width),
            nn.Dropout(config.hidden_dropout_prob),
        )  # fmt: skip

    def make_queries(self, targets: Targets, token_table):
        return self.decoder_query_embeddings(targets.positions)

    def forward(self, memory, targets: Targets, token_table):
        """As in [`ConceptDecoder`]."""
        queries = self.make_queries(targets, token_table).expand(memory.states.shape[0], -1, -1)
        states = queries + self.decoder_cross_attn(self.decoder_norm(queries), memory.states)[0]
        return states + self.decoder_ffn(self.post_cross_norm(states))


class OriginalTokenPositionDecoder(OriginalPositionDecoder):
    """q = token + P(position), and the residual path carries q on to the head: a visible token passes around the
    concepts."""

    reads_tokens = True

    def __init__(self, config):
        super().__init__(config)
        width, token_width = config.hidden_size, config.token_embedding_dim
        self.decoder_input_projection = nn.Linear(token_width, width) if token_width != width else None

    def make_queries(self, targets: Targets, token_table):
        rows = token_rows(targets, token_table)
        rows = rows if self.decoder_input_projection is None else self.decoder_input_projection(rows)
        return rows + super().make_queries(targets, token_table)


class OriginalWeightedDecoder(OriginalDecoder):
    """softmax(W[position]) · concepts, then LN, linear, activation, dropout: the mixture is the same for all texts."""

    def __init__(self, config):
        super().__init__(config)
        width = config.hidden_size
        self.concept_weights = nn.Parameter(torch.empty(config.max_sequence_length, config.concept_num))
        self.pre_lm_projection = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), ACT2FN[config.hidden_act],
            nn.Dropout(config.hidden_dropout_prob),
        )  # fmt: skip

    def init_own_parameters(self, constant_std):
        init.normal_(self.concept_weights, std=self.concept_weights.shape[1] ** -0.5)

    def forward(self, memory, targets: Targets, token_table):
        """As in [`ConceptDecoder`]."""
        concepts = memory.states
        weights = self.concept_weights[:, : concepts.shape[1]][targets.positions].softmax(dim=-1)
        return self.pre_lm_projection(weights.to(concepts.dtype) @ concepts)


class OriginalTimestepEmbedding(nn.Module):
    """Linear, SiLU, linear of sines and cosines of t itself, in [0, 1] and not scaled by 1000: all t look alike."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.proj = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, timesteps, dtype):
        """`timesteps` [B] -> [B, H]."""
        half = self.width // 2
        index = torch.arange(half, device=timesteps.device, dtype=torch.float32)
        angles = timesteps.float()[:, None] * torch.exp(-math.log(10000.0) * index / half)
        return self.proj(torch.cat([angles.sin(), angles.cos()], dim=-1).to(dtype))


class OriginalDiffusionDecoderLayer(GradientCheckpointingLayer):
    """x += gate · MHA(LN(x)(1 + scale) + shift, C, C), and the same around a gated feed-forward block; scales, shifts
    and gates are linear in the embedding of t (AdaLN). The original means them to start at zero, as here, but draws
    them again."""

    def __init__(self, config):
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.norm_cross = nn.LayerNorm(width)
        self.cross_attn = OriginalAttention(config)
        self.norm_ff = nn.LayerNorm(width)
        self.ff_in, self.ff_out = nn.Linear(width, 2 * inner), nn.Linear(inner, width)
        self.activation = ACT2FN[config.hidden_act]
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.adaLN = make_linear(width, 6 * width, bias=True, gain=0.0)

    def forward(self, states, concepts, condition):
        """`states` [B, S, H], `concepts` [B, C, H], `condition` [B, H] -> [B, S, H]."""
        scale, shift, gate, ff_scale, ff_shift, ff_gate = self.adaLN(condition)[:, None].chunk(6, dim=-1)
        states = states + gate * self.cross_attn(self.norm_cross(states) * (1 + scale) + shift, concepts)[0]
        active, gated = self.ff_in(self.norm_ff(states) * (1 + ff_scale) + ff_shift).chunk(2, dim=-1)
        return states + ff_gate * self.ff_out(self.dropout(self.activation(active) * gated))


class OriginalDiffusionDecoder(OriginalDecoder):
    """Layers over token + position, from a token table of its own, under a noise level t; a norm at the end. Without
    mixing of positions, what is predicted at a masked one depends on its place, t and the concepts alone."""

    reads_tokens = True

    def __init__(self, config):
        super().__init__(config)
        width, token_width = config.hidden_size, config.token_embedding_dim
        self.token_embeddings = nn.Embedding(config.vocab_size, token_width)
        self.token_proj = nn.Linear(token_width, width) if token_width != width else None
        self.pos_embed = nn.Embedding(config.max_sequence_length, width)
        self.t_embed = OriginalTimestepEmbedding(width)
        self.layers = nn.ModuleList(OriginalDiffusionDecoderLayer(config) for _ in range(config.num_decoder_layers))
        self.out_norm = nn.LayerNorm(width)

    def forward(self, memory, targets: Targets, token_table):
        """As in [`ConceptDecoder`]; ValueError without ids, which the table of its own needs."""
        if targets.input_ids is None:
            raise ValueError(
                "The decoder has a token table of its own: with inputs_embeds, give decoder_input_ids too."
            )
        states = self.token_embeddings(targets.input_ids)
        states = states if self.token_proj is None else self.token_proj(states)
        states = states + self.pos_embed(targets.positions)
        condition = self.t_embed(targets.timesteps, states.dtype)
        for layer in self.layers:
            states = layer(states, memory.states, condition)
        return self.out_norm(states)


ORIGINAL_DECODERS = {
    "token_position": OriginalTokenPositionDecoder,
    "position": OriginalPositionDecoder,
    "weighted": OriginalWeightedDecoder,
    "diffusion": OriginalDiffusionDecoder,
}
