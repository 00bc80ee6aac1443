# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What enters the encoder: token states and concept queries.

B batch, N tokens, C concepts, H hidden, E token embedding width.
"""

import torch
import torch.nn as nn
from transformers import initialization as init

from .layers_concept import make_linear, make_norm
from .positions_concept import Segments, TextLayout, segment_means, sinusoid
from .pretrained_concept import PretrainedTokens


class ConceptTokenEmbeddings(nn.Module):
    """Token table [V, E], layers of a pretrained model, learned positions and token types where configured,
    projection to H, norm, dropout."""

    def __init__(self, config):
        super().__init__()
        width = config.token_embedding_dim
        self.token_embeddings = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        self.backbone = None
        if config.backbone_config is not None:
            self.backbone = PretrainedTokens(
                config.backbone_config, config._attn_implementation, config.max_sequence_length
            )
        self.position_embeddings = (
            nn.Embedding(config.max_sequence_length, width) if config.token_position_type == "learned" else None
        )
        self.token_type_embeddings = (
            nn.Embedding(config.type_vocab_size, width) if config.type_vocab_size > 0 else None
        )
        self.projection = (
            make_linear(width, config.hidden_size, config.use_bias) if width != config.hidden_size else None
        )
        self.norm = make_norm(config) if config.embedding_norm else None
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids, inputs_embeds, token_type_ids, layout: TextLayout):
        """Token states [B, N, H] of `input_ids` [B, N], or of `inputs_embeds` [B, N, E]."""
        states = self.token_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if self.backbone is not None:
            states = self.backbone(states, layout)
        if self.position_embeddings is not None:
            states = states + self.position_embeddings(layout.positions)
        if self.token_type_embeddings is not None:
            if token_type_ids is None:
                token_type_ids = layout.positions.new_zeros(states.shape[:2])
            states = states + self.token_type_embeddings(token_type_ids)
        if self.projection is not None:
            states = self.projection(states)
        if self.norm is not None:
            states = self.norm(states)
        return self.dropout(states)


class TokenWeights(nn.Module):
    """What tokens weigh in the mean of a text: a statistic, [V], 1 until it is set; not trained."""

    def __init__(self, config):
        super().__init__()
        self.register_buffer("weights", torch.ones(config.vocab_size))

    def init_own_parameters(self, constant_std):
        init.ones_(self.weights)

    def resize(self, vocab_size: int):
        """Keep the first `vocab_size` weights; tokens that are new weigh 1."""
        kept = self.weights[:vocab_size]
        self.weights = torch.cat([kept, kept.new_ones(vocab_size - len(kept))])

    def forward(self, states, input_ids):
        """`states` [B, N, H] of `input_ids` [B, N] -> [B, N, H]; ValueError without ids."""
        if input_ids is None:
            raise ValueError("token_weighting needs input_ids: inputs_embeds do not tell which token weighs what.")
        return states * self.weights[input_ids][:, :, None].to(states.dtype)


class ConceptQueries(nn.Module):
    """
    The C learned concept vectors, orthogonal at the start, with their positions.

    Query-only (`config.query_only_concepts`), they enter attention queries, and the residual stream starts at the mean
    of what a concept stands for: its segment with `config.concept_anchors`, else the text. A stream that started at
    zero would stay there where there is but one token to read, and norms would multiply rounding errors. Otherwise the
    stream starts at them, as in the original.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.concept_embeddings = nn.Parameter(torch.empty(config.concept_num, config.hidden_size))
        learned = config.concept_position_type == "learned"
        self.position_embeddings = (
            nn.Parameter(torch.empty(config.concept_num, config.hidden_size)) if learned else None
        )

    def init_own_parameters(self, constant_std):
        if constant_std is None:
            # Rows of norm sqrt(H), mutually orthogonal where C <= H: queries differ from the first step on.
            init.orthogonal_(self.concept_embeddings, gain=self.config.hidden_size**0.5)
        else:
            init.normal_(self.concept_embeddings, std=constant_std)
        if self.position_embeddings is not None:
            init.normal_(self.position_embeddings, std=constant_std or self.config.hidden_size**-0.5)

    def forward(self, token_states, layout: TextLayout, count: int, segments: Segments | None, text_mean):
        """
        Args:
            token_states: [B, N, H], whose means over segments are anchors.
            layout: which of them are visible.
            count: how many concepts to make.
            segments: of addressed concepts, else None.
            text_mean: [B, 1, H], of the token embeddings.

        Returns:
            Initial concepts [B, C, H], and query vectors [C, H] or None. With `segments`, those of addressed concepts.
        """
        config = self.config
        queries = self.concept_embeddings[:count]
        if self.position_embeddings is not None:
            queries = queries + self.position_embeddings[:count]
        elif config.concept_position_type == "sinusoidal":
            index = torch.arange(count, device=queries.device)
            queries = queries + sinusoid(index, config.hidden_size).to(queries.dtype)
        start = text_mean if config.query_only_concepts else torch.zeros_like(text_mean)
        concepts = start.expand(-1, count, -1)
        if config.concept_anchors and segments.count:
            anchors = segment_means(token_states, layout, segments)
            concepts = torch.cat([concepts[:, : segments.global_num], anchors], dim=1)
        if not config.query_only_concepts:
            return concepts + queries, None
        return concepts, queries
