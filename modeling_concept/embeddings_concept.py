# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Inputs of the encoder: token states, weights of tokens in the mean of a text, and concept queries.

B batch, N tokens, C concepts, H hidden, E token embedding width, V vocabulary.
"""

import torch
import torch.nn as nn
from transformers import initialization as init

from .backbone_concept import PretrainedTokens
from .layers_concept import make_linear, make_norm
from .positions_concept import TextLayout


class ConceptTokenEmbeddings(nn.Module):
    """Token table [V, E], layers of a pretrained model where configured, projection to H, norm, dropout."""

    def __init__(self, config):
        super().__init__()
        width = config.token_embedding_dim
        self.token_embeddings = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        self.backbone = None
        if config.backbone_config is not None:
            self.backbone = PretrainedTokens(
                config.backbone_config, config._attn_implementation, config.max_sequence_length,
                config.hidden_dropout_prob,
            )  # fmt: skip
        self.projection = make_linear(width, config.hidden_size) if width != config.hidden_size else None
        self.norm = make_norm(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids, inputs_embeds, layout: TextLayout):
        """Token states [B, N, H] of `input_ids` [B, N], or of `inputs_embeds` [B, N, E]."""
        states = self.token_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if self.backbone is not None:
            states = self.backbone(states, layout)
        if self.projection is not None:
            states = self.projection(states)
        return self.dropout(self.norm(states))


class TokenWeights(nn.Module):
    """Weight of each token [V] in the mean of a text: a statistic of the training text, not trained; initially 1."""

    def __init__(self, config):
        super().__init__()
        self.register_buffer("weights", torch.ones(config.vocab_size))

    def init_own_parameters(self):
        init.ones_(self.weights)

    def resize(self, vocab_size: int):
        """Keep the first `vocab_size` weights; new tokens have weight 1."""
        kept = self.weights[:vocab_size]
        self.weights = torch.cat([kept, kept.new_ones(vocab_size - len(kept))])

    def forward(self, input_ids):
        """
        Weights [B, N], float32, of the tokens `input_ids` [B, N]; None, that is 1, without ids.

        Raises:
            ValueError: there are no ids, and tokens have different weights; compiled code does not check it.
        """
        if input_ids is not None:
            return self.weights[input_ids]
        if not torch.compiler.is_compiling() and not bool((self.weights == 1).all()):
            raise ValueError(
                "The tokens of this model have different weights in the mean, which needs input_ids instead of "
                'inputs_embeds; config.concept_mean="uniform" gives all tokens the same weight.'
            )
        return None


class ConceptQueries(nn.Module):
    """The C learned concept vectors [C, H], orthogonal at the start. They enter attention queries only: concepts in
    the residual stream start at the mean of the text."""

    def __init__(self, config):
        super().__init__()
        self.concept_embeddings = nn.Parameter(torch.empty(config.concept_num, config.hidden_size))

    def init_own_parameters(self):
        # Rows of norm sqrt(H), mutually orthogonal where C <= H: queries differ from the first step on.
        init.orthogonal_(self.concept_embeddings, gain=self.concept_embeddings.shape[1] ** 0.5)

    def forward(self, count: int):
        return self.concept_embeddings[:count]
