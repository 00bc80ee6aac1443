# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Perceiver IO decoders (Jaegle et al. 2021): queries of position alone, or of token and position.

B batch, S target positions, E token embedding width, H hidden.
"""

import torch
import torch.nn as nn
from transformers import initialization as init

from .decoder_layers_concept import ConceptDecoder, Targets
from .layers_concept import make_linear, make_norm


class PositionDecoder(ConceptDecoder):
    """Position-only queries: all that the decoder knows of the text comes through the concepts."""

    def __init__(self, config):
        super().__init__(config)
        # With learned positions the query is the position's vector, as in the original.
        learned = config.token_position_type == "learned"
        self.query_embedding = None if learned else nn.Parameter(torch.empty(config.hidden_size))

    def init_own_parameters(self, constant_std):
        super().init_own_parameters(constant_std)
        if self.query_embedding is not None:
            init.normal_(self.query_embedding, std=constant_std or self.config.hidden_size**-0.5)

    def make_queries(self, batch, targets: Targets, token_table):
        length, width = targets.positions.shape[1], self.config.hidden_size
        if self.query_embedding is None:
            return self.position_embeddings.weight.new_zeros(batch, length, width)
        return self.query_embedding.expand(batch, length, width)


class TokenPositionDecoder(ConceptDecoder):
    """
    Token and position queries. A visible token's query names the token itself, so only masked positions measure what
    the concepts hold.
    """

    reads_tokens = True

    def __init__(self, config):
        super().__init__(config)
        width = config.token_embedding_dim
        self.token_embeddings = (
            None
            if config.share_decoder_embeddings
            else nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        )
        self.projection = (
            make_linear(width, config.hidden_size, config.use_bias) if width != config.hidden_size else None
        )
        # Rows of the table are short; beside phases and positions they would be drowned.
        self.query_norm = make_norm(config) if config.embedding_norm else None

    def make_queries(self, batch, targets: Targets, token_table):
        if targets.input_ids is None and self.token_embeddings is not None:
            raise ValueError(
                "The decoder has a token table of its own: with inputs_embeds, give decoder_input_ids too."
            )
        table = token_table if self.token_embeddings is None else self.token_embeddings
        states = targets.inputs_embeds if targets.input_ids is None else table(targets.input_ids)
        states = states if self.projection is None else self.projection(states)
        return states if self.query_norm is None else self.query_norm(states)
