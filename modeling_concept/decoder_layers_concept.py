# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What the decoders that attend to concepts share: their layer, and the body that keeps keys and values of the concepts.

B batch, S target positions, C concepts, E token embedding width, H hidden, D head size.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn as nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention_concept import ConceptAttention
from .layers_concept import FeedForward, PhaseEmbedding, make_linear, make_norm
from .mixers_concept import TOKEN_MIXERS
from .positions_concept import Segments, make_rotary


class Targets(NamedTuple):
    """
    What a decoder is asked for.

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
    What a decoder keeps of the concepts, for as long as they do not change.

    Args:
        states: keys and values [B, heads, C, D] for every layer, or whatever the decoder reads.
        start: position [B or 1] in the encoded text of target position 0, or None for 0.
        segments: of the encoded text, where concepts are addressed.
    """

    states: object
    start: torch.Tensor | None
    segments: Segments | None


class Modulation(nn.Module):
    """AdaLN-Zero (Peebles & Xie 2023): scale, shift and gate for each of two sub-layers, all zero at the start."""

    def __init__(self, config):
        super().__init__()
        self.linear = make_linear(config.hidden_size, 6 * config.hidden_size, bias=True, gain=0.0)

    def forward(self, condition):
        """[B, H] -> six of [B, 1, H]: scale, shift, gate of attention; scale, shift, gate of feed-forward."""
        return self.linear(condition)[:, None].chunk(6, dim=-1)


class ConceptDecoderLayer(GradientCheckpointingLayer):
    """x += cross(x, concepts); x = mix(x) where configured; x += feed_forward(x); modulated by a condition."""

    def __init__(self, config, conditioned: bool = False):
        super().__init__()
        gain = (2 * config.num_decoder_layers) ** -0.5
        self.cross_norm = make_norm(config)
        self.cross_attn = ConceptAttention(config, identity=config.identity_init)
        kind = config.decoder_mixer_type or "none"
        self.mixer = None if kind == "none" else TOKEN_MIXERS[kind](config, config.decoder_mixer_width, gain)
        self.feed_forward_norm = make_norm(config)
        self.feed_forward = FeedForward(config, gated=config.decoder_feed_forward == "gated", gain=gain)
        self.modulation = Modulation(config) if conditioned else None
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, states, key, value, condition, target_mask, cross_rotary, rotary):
        """`states` [B, S, H], `key` and `value` of the concepts [B, heads, C, D], `condition` [B, H] or None ->
        [B, S, H]. Places of the targets are those of segments in `cross_rotary`, of tokens in `rotary`."""
        normed = self.cross_norm(states)
        if self.modulation is not None:
            cross_scale, cross_shift, cross_gate, scale, shift, gate = self.modulation(condition)
            normed = normed * (1 + cross_scale) + cross_shift
        update, _ = self.cross_attn(normed, key_values=(key, value), query_rotary=cross_rotary)
        states = states + self.dropout(update if self.modulation is None else cross_gate * update)
        if self.mixer is not None:
            states = self.mixer(states, target_mask, rotary)
        normed = self.feed_forward_norm(states)
        if self.modulation is not None:
            normed = normed * (1 + scale) + shift
        update = self.feed_forward(normed)
        return states + self.dropout(update if self.modulation is None else gate * update)


class ConceptDecoder(nn.Module, ABC):
    """
    Body of the decoders that attend to concepts. A kind of decoder says what its queries are (`make_queries`) and
    what conditions its layers (`make_condition`).
    """

    reads_tokens = False
    conditioned = False

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.position_embeddings = (
            nn.Embedding(config.max_sequence_length, config.hidden_size)
            if config.token_position_type == "learned"
            else None
        )
        self.phase_embedding = PhaseEmbedding(config) if config.phase_harmonics else None
        self.key_embeddings = (
            nn.Parameter(torch.empty(config.concept_num, config.hidden_size))
            if config.decoder_key_embeddings
            else None
        )
        self.layers = nn.ModuleList(
            ConceptDecoderLayer(config, self.conditioned) for _ in range(config.num_decoder_layers)
        )
        self.output_norm = make_norm(config) if config.decoder_output_norm else None

    def init_own_parameters(self, constant_std):
        if self.key_embeddings is not None:
            init.normal_(self.key_embeddings, std=constant_std or self.config.hidden_size**-0.5)

    @property
    def pointwise(self) -> bool:
        """Whether a position's result depends on no other position, so that only some need be computed."""
        return all(layer.mixer is None for layer in self.layers)

    def rotary(self, positions, dtype):
        config = self.config
        return make_rotary(positions, config.hidden_size // config.num_attention_heads, config.rope_theta, dtype)

    def read(self, concepts, segments: Segments | None):
        """`concepts` [B, C, H] -> keys and values for every layer."""
        rotary = None if segments is None else self.rotary(segments.concept_places(), concepts.dtype)
        offset = None if self.key_embeddings is None else self.key_embeddings[: concepts.shape[1]]
        return [layer.cross_attn(None, concepts, key_rotary=rotary, key_offset=offset) for layer in self.layers]

    @abstractmethod
    def make_queries(self, batch: int, targets: Targets, token_table: Callable):
        """Query states [B, S, H]; learned positions are added to them afterwards."""

    def make_condition(self, targets: Targets, dtype):
        return None

    def forward(self, memory, targets: Targets, token_table: Callable):
        """
        Args:
            memory: what [`ConceptDecodingMixin.remember`] made of `read`.
            targets: what to decode.
            token_table: what makes token ids [B, S] rows [B, S, E] of the encoder's table.

        Returns:
            States [B, S, H] for the language-model head.
        """
        batch, dtype = memory.states[0][0].shape[0], memory.states[0][0].dtype
        states = self.make_queries(batch, targets, token_table)
        if self.position_embeddings is not None:
            states = states + self.position_embeddings(targets.positions)
        rotary = self.rotary(targets.positions, dtype) if self.config.token_position_type == "rotary" else None
        cross_rotary, segments = rotary, memory.segments
        if segments is not None:
            positions = targets.positions if memory.start is None else targets.positions + memory.start[:, None]
            cross_rotary = self.rotary(segments.token_places(positions, self.phase_embedding is None), dtype)
            if self.phase_embedding is not None:
                states = states + self.phase_embedding(positions, segments, states.dtype)
        condition = self.make_condition(targets, states.dtype)
        for layer, (key, value) in zip(self.layers, memory.states, strict=True):
            states = layer(states, key, value, condition, targets.attention_mask, cross_rotary, rotary)
        return states if self.output_norm is None else self.output_norm(states)
