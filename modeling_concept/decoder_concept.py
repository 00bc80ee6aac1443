# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Decoders, which compute states at token positions from the concepts, registered by name in `DECODERS`; and the mixin by
which a model uses one.

B batch, S target positions, P chosen ones of them, C concepts, E token embedding width, H hidden, D head size.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn as nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention_concept import ConceptAttention
from .layers_concept import ConvolutionMixer, FeedForward, make_linear, make_norm
from .outputs_concept import ConceptEncoderOutput
from .positions_concept import SegmentOffsetEmbedding, Segments, make_rotary, text_layout


# Sinusoids of t in [0, 1] itself are nearly one vector (cosine 0.99 between t = 0.3 and 1); scaled they differ (0.18).
TIMESTEP_SCALE = 1000.0


class Targets(NamedTuple):
    """
    The positions to decode, and the tokens that a decoder with token queries is shown there.

    Args:
        positions: [B or 1, S] token positions.
        input_ids: [B, S] tokens at these positions, masked ones as `mask_token_id`.
        inputs_embeds: [B, S, E] rows of the encoder's token table instead.
        attention_mask: bool [B, S], False at padding; None when there is none.
        timesteps: [B], share of masked tokens; None for decoders without one.
    """

    positions: torch.Tensor
    input_ids: torch.Tensor | None = None
    inputs_embeds: torch.Tensor | None = None
    attention_mask: torch.Tensor | None = None
    timesteps: torch.Tensor | None = None


class Memory(NamedTuple):
    """
    What a decoder computes from the concepts once, for any number of targets.

    Args:
        states: keys and values [B, heads, C, D] for every layer, or the concepts themselves [B, C, H].
        start: position [B or 1] in the encoded text of target position 0, or None for 0.
        segments: of the encoded text.
    """

    states: object
    start: torch.Tensor | None
    segments: Segments


def timestep_features(timesteps: torch.Tensor, width: int, scale: float) -> torch.Tensor:
    """Sinusoid [B, width] of `scale` · `timesteps` [B]."""
    half = width // 2
    index = torch.arange(half, device=timesteps.device, dtype=torch.float32)
    angles = timesteps.float()[:, None] * scale * torch.exp(-math.log(10000.0) * index / half)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class TimestepEmbedding(nn.Module):
    """Sinusoid of 1000·t, then H -> 2H -> H."""

    def __init__(self, config):
        super().__init__()
        self.width = config.hidden_size
        self.in_proj = make_linear(self.width, 2 * self.width, bias=True)
        self.out_proj = make_linear(2 * self.width, self.width, bias=True)

    def forward(self, timesteps, dtype):
        """`timesteps` [B] in [0, 1] -> [B, H]."""
        features = timestep_features(timesteps, self.width, TIMESTEP_SCALE).to(dtype)
        return self.out_proj(nn.functional.silu(self.in_proj(features)))


class Modulation(nn.Module):
    """AdaLN-Zero (Peebles & Xie 2023): scale, shift and gate for each of two sub-layers, all zero at the start."""

    def __init__(self, config):
        super().__init__()
        self.linear = make_linear(config.hidden_size, 6 * config.hidden_size, bias=True, init_scale=0.0)

    def forward(self, condition):
        """[B, H] -> six of [B, 1, H]: scale, shift, gate of attention; scale, shift, gate of feed-forward."""
        return self.linear(condition)[:, None].chunk(6, dim=-1)


def make_mixer(config) -> ConvolutionMixer | None:
    """The convolution over target positions, or None where `config.decoder_conv_width` is 0 or open."""
    scale = (2 * config.num_decoder_layers) ** -0.5
    return ConvolutionMixer(config, config.decoder_conv_width, scale) if config.decoder_conv_width else None


class ConceptDecoderLayer(GradientCheckpointingLayer):
    """x += cross(x, concepts); x = mix(x) where configured; x += feed_forward(x); modulated by a condition."""

    def __init__(self, config, conditioned: bool = False):
        super().__init__()
        self.cross_norm = make_norm(config)
        self.cross_attn = ConceptAttention(config, identity=True)
        self.mixer = make_mixer(config)
        self.feed_forward_norm = make_norm(config)
        self.feed_forward = FeedForward(config, init_scale=(2 * config.num_decoder_layers) ** -0.5)
        self.modulation = Modulation(config) if conditioned else None
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, states, key, value, condition, target_mask, rotary):
        """`states` [B, S, H], `key` and `value` of the concepts [B, heads, C, D], `condition` [B, H] or None, and
        `rotary` of the target positions -> [B, S, H]."""
        normed = self.cross_norm(states)
        if self.modulation is not None:
            cross_scale, cross_shift, cross_gate, scale, shift, gate = self.modulation(condition)
            normed = normed * (1 + cross_scale) + cross_shift
        update, *_ = self.cross_attn(normed, query_rotary=rotary, key_values=(key, value))
        states = states + self.dropout(update if self.modulation is None else cross_gate * update)
        if self.mixer is not None:
            states = self.mixer(states, target_mask)
        normed = self.feed_forward_norm(states)
        if self.modulation is not None:
            normed = normed * (1 + scale) + shift
        update = self.feed_forward(normed)
        return states + self.dropout(update if self.modulation is None else gate * update)


class ConceptDecoder(nn.Module, ABC):
    """Base of the decoders that attend to concepts. A subclass makes the queries (`make_queries`) and, where its
    layers are conditioned, the condition (`make_condition`)."""

    reads_tokens = False
    conditioned = False

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.pointwise = not config.decoder_conv_width  # a position's result depends on no other position
        self.offset_embedding = SegmentOffsetEmbedding(config)
        self.layers = nn.ModuleList(
            ConceptDecoderLayer(config, self.conditioned) for _ in range(config.num_decoder_layers)
        )
        self.output_norm = make_norm(config)

    def rotary(self, positions, dtype):
        config = self.config
        return make_rotary(positions, config.hidden_size // config.num_attention_heads, config.rope_theta, dtype)

    def project_concepts(self, concepts, segments: Segments):
        """`concepts` [B, C, H] -> keys and values [B, heads, C, D] for every layer."""
        rotary = self.rotary(segments.concept_places(), concepts.dtype)
        return [layer.cross_attn(None, concepts, key_rotary=rotary)[2] for layer in self.layers]

    @abstractmethod
    def make_queries(self, batch: int, targets: Targets, token_table: Callable):
        """Query states [B, S, H]; embeddings of segment offsets are added to them afterwards."""

    def make_condition(self, targets: Targets, dtype):
        """Condition [B, H] of the layers' modulation, or None."""
        return None

    def forward(self, memory: Memory, targets: Targets, token_table: Callable):
        """
        Args:
            memory: result of [`ConceptDecodingMixin.prepare_memory`].
            targets: what to decode.
            token_table: function from token ids [B, S] to rows [B, S, E] of the encoder's table.

        Returns:
            States [B, S, H] for the language-model head.
        """
        batch, dtype = memory.states[0][0].shape[0], memory.states[0][0].dtype
        states = self.make_queries(batch, targets, token_table)
        positions = targets.positions if memory.start is None else targets.positions + memory.start[:, None]
        rotary = self.rotary(memory.segments.token_places(positions), dtype)
        states = states + self.offset_embedding(positions, memory.segments, states.dtype)
        condition = self.make_condition(targets, states.dtype)
        for layer, (key, value) in zip(self.layers, memory.states, strict=True):
            states = layer(states, key, value, condition, targets.attention_mask, rotary)
        return self.output_norm(states)


class PositionDecoder(ConceptDecoder):
    """Perceiver IO decoder (Jaegle et al. 2021) with position-only queries: all information about the text comes from
    the concepts."""

    def __init__(self, config):
        super().__init__(config)
        self.query_embedding = nn.Parameter(torch.empty(config.hidden_size))

    def init_own_parameters(self):
        init.normal_(self.query_embedding, std=self.config.hidden_size**-0.5)

    def make_queries(self, batch, targets: Targets, token_table):
        return self.query_embedding.expand(batch, targets.positions.shape[1], -1)


class TokenPositionDecoder(ConceptDecoder):
    """Perceiver IO decoder with token and position queries. A visible token's query is the token itself, so only
    masked positions measure what the concepts hold."""

    reads_tokens = True

    def __init__(self, config):
        super().__init__(config)
        width = config.token_embedding_dim
        self.projection = make_linear(width, config.hidden_size) if width != config.hidden_size else None
        self.query_norm = make_norm(config)  # token embeddings are small next to positional terms

    def make_queries(self, batch, targets: Targets, token_table):
        states = targets.inputs_embeds if targets.input_ids is None else token_table(targets.input_ids)
        return self.query_norm(states if self.projection is None else self.projection(states))


class DiffusionDecoder(TokenPositionDecoder):
    """Token and position queries under a noise level t, the share of masked tokens (Sahoo et al. 2024, MDLM)."""

    conditioned = True

    def __init__(self, config):
        super().__init__(config)
        self.timestep_embedding = TimestepEmbedding(config)

    def make_condition(self, targets: Targets, dtype):
        return self.timestep_embedding(targets.timesteps, dtype)


class StaticMixtureLayer(GradientCheckpointingLayer):
    """x += softmax(W[position])·concepts, then mixing where configured, then feed-forward (not in the last layer)."""

    def __init__(self, config, last: bool):
        super().__init__()
        self.concept_weights = nn.Parameter(torch.empty(config.max_sequence_length, config.concept_num))
        self.mixer = make_mixer(config)
        self.feed_forward_norm = None if last else make_norm(config)
        self.feed_forward = None if last else FeedForward(config, init_scale=(2 * config.num_decoder_layers) ** -0.5)

    def init_own_parameters(self):
        init.normal_(self.concept_weights, std=self.concept_weights.shape[1] ** -0.5)

    def forward(self, states, concepts, positions, target_mask):
        """`states` [B, S, H] or None at the first layer, `concepts` [B, C, H], `positions` [B or 1, S]."""
        weights = self.concept_weights[:, : concepts.shape[1]][positions].softmax(dim=-1).to(concepts.dtype)
        update = weights.expand(concepts.shape[0], -1, -1) @ concepts
        states = update if states is None else states + update
        if self.mixer is not None:
            states = self.mixer(states, target_mask)
        if self.feed_forward is not None:
            states = states + self.feed_forward(self.feed_forward_norm(states))
        return states


class WeightedDecoder(nn.Module):
    """One or more [`StaticMixtureLayer`], then norm, linear, activation. The mixture of concepts at a position is
    learned, and the same for every text."""

    reads_tokens = False

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.pointwise = not config.decoder_conv_width
        last = config.num_decoder_layers - 1
        self.layers = nn.ModuleList(
            StaticMixtureLayer(config, last=index == last) for index in range(config.num_decoder_layers)
        )
        self.projection_norm = make_norm(config)
        self.projection = make_linear(config.hidden_size, config.hidden_size)
        self.activation = ACT2FN[config.hidden_act]
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.output_norm = make_norm(config)

    def project_concepts(self, concepts, segments):
        """The concepts themselves [B, C, H]: there are no keys."""
        return concepts

    def forward(self, memory: Memory, targets: Targets, token_table: Callable):
        """As in [`ConceptDecoder`]."""
        states = None
        for layer in self.layers:
            states = layer(states, memory.states, targets.positions, targets.attention_mask)
        states = self.dropout(self.activation(self.projection(self.projection_norm(states))))
        return self.output_norm(states)


DECODERS = {
    "token_position": TokenPositionDecoder,
    "position": PositionDecoder,
    "weighted": WeightedDecoder,
    "diffusion": DiffusionDecoder,
}


def make_decoder(config, decoders: dict):
    """The decoder named by `config.decoder_type`; ValueError with the list of names if there is none."""
    if config.decoder_type == "causal":
        raise ValueError("This configuration is of a model with a reader: load it with AutoModelForSeq2SeqLM.")
    if config.decoder_type not in decoders:
        raise ValueError(f"Unknown decoder_type {config.decoder_type!r}; choose one of {sorted(decoders)}.")
    return decoders[config.decoder_type](config)


class ConceptDecodingMixin:
    """For models with `encoder`, `decoder` and `config`; `decoders` are the decoders to choose from."""

    decoders = DECODERS

    def make_targets(self, input_ids, attention_mask, timesteps=None, inputs_embeds=None) -> Targets:
        """
        Targets at tokens `input_ids` [B, S], or at tokens known only by their embeddings [B, S, E]. Positions count
        from the first attended one, in a continuation from the first token after the encoded text. The noise level
        of a diffusion decoder is the share of masked tokens unless given.
        """
        attended = None if attention_mask is None else attention_mask.bool()
        given = inputs_embeds if input_ids is None else input_ids
        positions = text_layout(attention_mask, given.shape[1], None, given.device).positions
        if timesteps is None and self.config.decoder_type == "diffusion":
            # Without a mask token, and in embeddings, no token counts as masked.
            unknown = input_ids is None or self.config.mask_token_id is None
            masked = torch.zeros(given.shape[:2], device=given.device)
            masked = masked if unknown else (input_ids == self.config.mask_token_id).float()
            real = torch.ones_like(masked) if attended is None else attended.float()
            timesteps = (masked * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)
        return Targets(positions, input_ids, None if input_ids is not None else inputs_embeds, attended, timesteps)

    def make_blank_targets(self, given, attention_mask) -> Targets:
        """
        Targets at the positions of `given`, [B, S] or [B, S, E], all of them mask tokens: the decoder then knows the
        text through the concepts alone.

        Raises:
            ValueError: the decoder reads tokens, and the configuration names no mask token.
        """
        mask_id = self.config.mask_token_id
        if self.decoder.reads_tokens and mask_id is None:
            raise ValueError(
                f"The decoder of {type(self).__name__} has token queries, here mask tokens: set config.mask_token_id."
            )
        blank = torch.full(given.shape[:2], mask_id or 0, device=given.device, dtype=torch.long)
        targets = self.make_targets(blank, attention_mask)
        if targets.timesteps is not None:
            targets = targets._replace(timesteps=torch.ones_like(targets.timesteps))
        return targets

    def prepare_memory(self, encoded: ConceptEncoderOutput, continues: bool = False, target_mask=None) -> Memory:
        """
        What the decoder computes from the concepts alone, valid for as long as the concepts do not change.

        Args:
            encoded: output of the encoder for B texts.
            continues: whether the targets follow the encoded text; otherwise they are the text itself.
            target_mask: attention mask of the target text, one or more rows for each encoded text. That text is
                divided into segments, since tokens may have been deleted from the one that was encoded.
        """
        concepts, lengths, start = encoded.last_hidden_state, encoded.lengths, None
        if continues:
            start = lengths
        elif target_mask is not None:
            target_mask = target_mask[:: target_mask.shape[0] // concepts.shape[0] or 1]  # one row may serve all texts
            lengths = text_layout(target_mask, target_mask.shape[1], None, target_mask.device).lengths
        segments = Segments(lengths, concepts.shape[1])
        return Memory(self.decoder.project_concepts(concepts, segments), start, segments)

    def decode(self, memory: Memory, targets: Targets, index=None):
        """
        States [B, S, H] of the decoder, or [B, P, H] at the places `index` [B, P] of the targets. A pointwise decoder
        computes only those.
        """
        table = self.get_input_embeddings()
        if targets.positions.shape[1] == 0:  # attention kernels refuse an empty set of queries
            given = targets.inputs_embeds if targets.input_ids is None else targets.input_ids
            return table.weight.new_zeros(given.shape[0], 0, self.config.hidden_size)
        table = partial(table)  # accelerate would move a module among the arguments of an offloaded decoder
        if index is None:
            return self.decoder(memory, targets, table)
        if not self.decoder.pointwise:
            return take_rows(self.decoder(memory, targets, table), index)
        targets = targets._replace(
            positions=targets.positions.expand(index.shape[0], -1).gather(1, index),
            input_ids=None if targets.input_ids is None else targets.input_ids.gather(1, index),
            inputs_embeds=None if targets.inputs_embeds is None else take_rows(targets.inputs_embeds, index),
            attention_mask=None,  # nothing is mixed
        )
        return self.decoder(memory, targets, table)


def repeat_memory(memory: Memory, texts: int, targets: Targets) -> Memory:
    """The memory of `texts` texts, each row repeated for its rows of targets; ValueError if they are no multiple."""
    rows = (targets.inputs_embeds if targets.input_ids is None else targets.input_ids).shape[0]
    if rows % texts:
        raise ValueError(f"{rows} rows to decode are no multiple of the {texts} encoded texts.")
    times = rows // texts

    def repeat(value):
        if isinstance(value, torch.Tensor):
            return value.repeat_interleave(times, dim=0)
        if isinstance(value, Segments):
            return value._replace(lengths=repeat(value.lengths))
        return value if value is None else [repeat(part) for part in value]

    return memory if times == 1 else Memory(*(repeat(part) for part in memory))


def take_rows(states, index):
    """Rows `index` [B, P] of `states` [B, S, H] -> [B, P, H]."""
    return states.gather(1, index[:, :, None].expand(-1, -1, states.shape[-1]))


__all__ = ["DECODERS"]
