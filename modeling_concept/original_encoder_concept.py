# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The encoder of the original implementation, under the original's own names.

B batch, N tokens, C concepts, E token embedding width, H hidden, I inner, K iterations.
"""

import torch
import torch.nn as nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils.output_capturing import OutputRecorder

from .encoder_concept import ConceptEncoder
from .loading_concept import RecursiveStartMixin
from .original_configuration_concept import OriginalConceptEncoderConfig, RecursiveOriginalConceptEncoderConfig
from .outputs_concept import ConceptEncoderOutput
from .positions_concept import sinusoid
from .text_concept import check_number


class OriginalAttention(nn.MultiheadAttention):
    """Attention of PyTorch, with packed projections and biases; weights are made for attn_implementation "eager"."""

    def __init__(self, config):
        super().__init__(
            config.hidden_size, config.num_attention_heads, dropout=config.attention_probs_dropout_prob,
            batch_first=True,
        )  # fmt: skip
        self.config = config

    def init_own_parameters(self, constant_std):
        init.xavier_uniform_(self.in_proj_weight)
        init.zeros_(self.in_proj_bias)

    def forward(self, queries, states, hidden=None):
        """
        Args:
            queries: [B, Q, H].
            states: [B, N, H], keys and values alike.
            hidden: bool [B, N], which of them must not be read.

        Returns:
            [B, Q, H], zero where nothing may be read, and the weights [B, heads, Q, N] or None.
        """
        options = {"need_weights": self.config._attn_implementation == "eager", "average_attn_weights": False}
        if hidden is None:
            return super().forward(queries, states, states, **options)
        empty = hidden.all(dim=1, keepdim=True)
        update, weights = super().forward(queries, states, states, key_padding_mask=hidden & ~empty, **options)
        return update.masked_fill(empty[:, :, None], 0), weights


class OriginalConceptTable(nn.Embedding):
    """The learned concept vectors [C, H], which are drawn twice as large as other weights."""

    def init_own_parameters(self, constant_std):
        init.normal_(self.weight, std=min(2 * (constant_std or self.embedding_dim**-0.5), 1.0))


class OriginalConceptEncoderLayer(GradientCheckpointingLayer):
    """
    c += MHA(LN c, E, E); c += MHA(LN c, LN c, LN c); c += Wo(drop(act(a) · b)) with [a, b] = Wi LN c.

    Keys and values, the tokens E, are not normalised. With BiXT, E += MHA(LN E, c, c) comes second, where c is not
    normalised either: two attentions, where the paper's share their scores, and no feed-forward block on tokens.
    """

    def __init__(self, config, updates_tokens: bool):
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.pre_cross_attn_norm = nn.LayerNorm(width)
        self.concept_token_attn = OriginalAttention(config)
        self.updates_tokens = updates_tokens
        if updates_tokens:
            self.pre_reverse_cross_norm = nn.LayerNorm(width)
            self.token_concept_attn = OriginalAttention(config)
        self.pre_self_attn_norm = nn.LayerNorm(width)
        self.concept_self_attn = OriginalAttention(config)
        self.pre_ff_norm = nn.LayerNorm(width)
        self.Wi, self.Wo = nn.Linear(width, 2 * inner), nn.Linear(inner, width)
        self.activation = ACT2FN[config.hidden_act]
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, concepts, tokens, hidden):
        """Concepts [B, C, H], tokens [B, N, H] and which of them are hidden (bool [B, N], or None) -> concepts and
        tokens."""
        concepts = concepts + self.concept_token_attn(self.pre_cross_attn_norm(concepts), tokens, hidden)[0]
        if self.updates_tokens:
            tokens = tokens + self.token_concept_attn(self.pre_reverse_cross_norm(tokens), concepts)[0]
        normed = self.pre_self_attn_norm(concepts)
        concepts = concepts + self.concept_self_attn(normed, normed)[0]
        active, gate = self.Wi(self.pre_ff_norm(concepts)).chunk(2, dim=-1)
        return concepts + self.Wo(self.dropout(self.activation(active) * gate)), tokens


class OriginalModelMixin:
    """
    Before a class of the default network, for the same with the original's.

    `nn.MultiheadAttention` chooses its kernel itself: attn_implementation is "sdpa", or "eager" for weights, through
    which no gradient flows. It reads weights of its parts past their modules, so they cannot be offloaded to disk.
    """

    config_class = OriginalConceptEncoderConfig
    _supports_flash_attn = _supports_flex_attn = _supports_attention_backend = False
    _no_split_modules = ["OriginalConceptEncoderLayer", "OriginalAttention"]


class OriginalConceptEncoder(OriginalModelMixin, ConceptEncoder):
    """The learned concept vectors, the same for every text, read the text in each layer; a norm at the end."""

    config: OriginalConceptEncoderConfig
    _can_record_outputs = {
        "hidden_states": OutputRecorder(OriginalConceptEncoderLayer, index=0),
        "attentions": OutputRecorder(OriginalAttention, index=1, layer_name="concept_self_attn"),
        "cross_attentions": OutputRecorder(OriginalAttention, index=1, layer_name="concept_token_attn"),
    }

    def make_parts(self, config):
        width, token_width = config.hidden_size, config.token_embedding_dim
        self.token_embeddings = nn.Embedding(config.vocab_size, token_width, padding_idx=config.pad_token_id)
        self.token_position_embeddings = nn.Embedding(config.max_sequence_length, token_width)
        self.token_projection = nn.Linear(token_width, width) if token_width != width else None
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.concept_embeddings = OriginalConceptTable(config.concept_num, width)
        if config.concept_position_type == "learned":
            self.concept_position_emb = nn.Embedding(config.concept_num, width)
        elif config.concept_position_type == "sinusoidal":
            self.register_buffer("concept_position_emb", sinusoid(torch.arange(config.concept_num), width))
        self.make_layers(config)
        self.output_layer_norm = nn.LayerNorm(width, eps=1e-12)

    def make_layers(self, config):
        last = config.num_hidden_layers - 1
        # In the original the last BiXT layer updates the tokens too, which nothing reads.
        self.layers = nn.ModuleList(
            OriginalConceptEncoderLayer(config, config.encoder_type == "bixt" and index < last)
            for index in range(config.num_hidden_layers)
        )

    def init_own_parameters(self, constant_std):
        if self.config.concept_position_type == "sinusoidal":
            buffer = self.concept_position_emb
            init.copy_(buffer, sinusoid(torch.arange(buffer.shape[0], device=buffer.device), buffer.shape[1]))

    def get_input_embeddings(self):
        return self.token_embeddings

    def set_input_embeddings(self, value):
        self.token_embeddings = value

    def make_concepts(self, input_ids, inputs_embeds, token_type_ids, layout, count: int, **options):
        """As in [`ConceptEncoder`]; there are no token types."""
        tokens = self.token_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        tokens = tokens + self.token_position_embeddings(layout.positions)
        tokens = self.dropout(tokens if self.token_projection is None else self.token_projection(tokens))
        concepts = self.concept_embeddings.weight[:count]
        if self.config.concept_position_type != "none":
            places = self.concept_position_emb
            concepts = concepts + (places if isinstance(places, torch.Tensor) else places.weight)[:count]
        concepts = concepts.expand(tokens.shape[0], -1, -1)
        hidden = None if layout.visible is None else (~layout.visible).expand(tokens.shape[0], -1)
        concepts = self.output_layer_norm(self.run_layers(concepts, tokens, hidden, **options))
        return ConceptEncoderOutput(concepts, concepts.mean(dim=1), lengths=layout.lengths)

    def run_layers(self, concepts, tokens, hidden):
        for layer in self.layers:
            concepts, tokens = layer(concepts, tokens, hidden)
        return concepts


class RecursiveOriginalConceptEncoder(RecursiveStartMixin, OriginalConceptEncoder):
    """One layer applied K times: no step is told from another, and nothing is injected, normalised or averaged between
    them. K is `config.num_iterations`, or `num_iterations` of the call."""

    config: RecursiveOriginalConceptEncoderConfig
    config_class = RecursiveOriginalConceptEncoderConfig

    def make_layers(self, config):
        self.shared_layer = OriginalConceptEncoderLayer(config, updates_tokens=False)

    def run_layers(self, concepts, tokens, hidden, num_iterations: int | None = None):
        iterations = self.config.num_iterations if num_iterations is None else num_iterations
        check_number("num_iterations", iterations, 1)
        for _ in range(iterations):
            concepts, _ = self.shared_layer(concepts, tokens, hidden)
        return concepts
