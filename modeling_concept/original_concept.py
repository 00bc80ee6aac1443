# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The network of the original implementation: encoder, decoders and heads, under the original's own names.

B batch, N tokens, S target positions, C concepts, E token embedding width, H hidden, I inner, K iterations.
"""

import math

import torch
import torch.nn as nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils.output_capturing import OutputRecorder

from .base_concept import RecursiveStartMixin
from .decoder_concept import Targets, timestep_features
from .encoder_concept import ConceptEncoder
from .heads_classification_concept import (
    ConceptEncoderForSentencePairClassification,
    ConceptEncoderForSequenceClassificationPerceiver,
    ConceptEncoderForSequenceClassificationViaDecoder,
    WeightedPoolingMixin,
)
from .heads_lm_concept import ConceptEncoderForMaskedLM
from .layers_concept import make_linear
from .original_configuration_concept import OriginalConceptEncoderConfig, RecursiveOriginalConceptEncoderConfig
from .outputs_concept import ConceptEncoderOutput


def sinusoid(positions: torch.Tensor, width: int) -> torch.Tensor:
    """Interleaved sinusoidal encoding (Vaswani et al. 2017) of `positions` [L] -> [L, width]."""
    half = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32)
    angles = positions.float()[:, None] * torch.exp(-half * math.log(10000.0) / width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]


class OriginalAttention(nn.MultiheadAttention):
    """Attention of PyTorch, with packed projections and biases; weights are made for attn_implementation "eager"."""

    def __init__(self, config):
        super().__init__(
            config.hidden_size, config.num_attention_heads, dropout=config.attention_probs_dropout_prob,
            batch_first=True,
        )  # fmt: skip
        self.config = config

    def init_own_parameters(self):
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
    """The learned concept vectors [C, H], initialised at twice the standard deviation of other weights."""

    def __init__(self, config):
        super().__init__(config.concept_num, config.hidden_size)
        self.initial_std = min(2 * config.initializer_range, 1.0)

    def init_own_parameters(self):
        init.normal_(self.weight, std=self.initial_std)


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

    def initial_std(self, fan_in: int) -> float:
        return self.config.initializer_range


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
        self.concept_embeddings = OriginalConceptTable(config)
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

    def init_own_parameters(self):
        if self.config.concept_position_type == "sinusoidal":
            buffer = self.concept_position_emb
            init.copy_(buffer, sinusoid(torch.arange(buffer.shape[0], device=buffer.device), buffer.shape[1]))

    def make_concepts(self, input_ids, inputs_embeds, layout, count: int, num_iterations: int | None):
        """As in [`ConceptEncoder`]."""
        tokens = self.token_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        tokens = tokens + self.token_position_embeddings(layout.positions)
        tokens = self.dropout(tokens if self.token_projection is None else self.token_projection(tokens))
        concepts = self.concept_embeddings.weight[:count]
        if self.config.concept_position_type != "none":
            places = self.concept_position_emb
            concepts = concepts + (places if isinstance(places, torch.Tensor) else places.weight)[:count]
        concepts = concepts.expand(tokens.shape[0], -1, -1)
        hidden = None if layout.visible is None else (~layout.visible).expand(tokens.shape[0], -1)
        concepts = self.output_layer_norm(self.run_layers(concepts, tokens, hidden, num_iterations))
        return ConceptEncoderOutput(concepts, concepts.mean(dim=1), lengths=layout.lengths)

    def run_layers(self, concepts, tokens, hidden, num_iterations: int | None):
        for layer in self.layers:
            concepts, tokens = layer(concepts, tokens, hidden)
        return concepts


class RecursiveOriginalConceptEncoder(RecursiveStartMixin, OriginalConceptEncoder):
    """One layer applied K times: the iterations are indistinguishable, and nothing is injected, normalised or averaged
    between them. K is `config.num_iterations`, or `num_iterations` of the call."""

    config: RecursiveOriginalConceptEncoderConfig
    config_class = RecursiveOriginalConceptEncoderConfig

    def make_layers(self, config):
        self.shared_layer = OriginalConceptEncoderLayer(config, updates_tokens=False)

    def run_layers(self, concepts, tokens, hidden, num_iterations: int):
        for _ in range(num_iterations):
            concepts, _ = self.shared_layer(concepts, tokens, hidden)
        return concepts


class OriginalDecoder(nn.Module):
    """Base of the decoders. `forward` takes the same arguments as that of [`ConceptDecoder`]. No target position sees
    another, and keys and values, the concepts, are normalised by the encoder's last norm alone."""

    reads_tokens = False
    pointwise = True

    def __init__(self, config):
        super().__init__()
        self.config = config

    def project_concepts(self, concepts, segments):
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
        rows = targets.inputs_embeds if targets.input_ids is None else token_table(targets.input_ids)
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

    def init_own_parameters(self):
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
        return self.proj(timestep_features(timesteps, self.width, scale=1.0).to(dtype))


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
        self.adaLN = make_linear(width, 6 * width, bias=True, init_scale=0.0)

    def forward(self, states, concepts, condition):
        """`states` [B, S, H], `concepts` [B, C, H], `condition` [B, H] -> [B, S, H]."""
        scale, shift, gate, ff_scale, ff_shift, ff_gate = self.adaLN(condition)[:, None].chunk(6, dim=-1)
        states = states + gate * self.cross_attn(self.norm_cross(states) * (1 + scale) + shift, concepts)[0]
        active, gated = self.ff_in(self.norm_ff(states) * (1 + ff_scale) + ff_shift).chunk(2, dim=-1)
        return states + ff_gate * self.ff_out(self.dropout(self.activation(active) * gated))


class OriginalDiffusionDecoder(OriginalDecoder):
    """Layers over token + position, from a token table of its own, under a noise level t; a norm at the end. Positions
    are not mixed: the prediction at a masked one depends on its position, t and the concepts alone."""

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


class OriginalHeadMixin(OriginalModelMixin):
    """Before a class with a head: encoder, decoder and norms of the original."""

    config: OriginalConceptEncoderConfig
    encoder_class = OriginalConceptEncoder
    decoders = ORIGINAL_DECODERS

    def make_norm(self, config):
        return nn.LayerNorm(config.hidden_size)


class RecursiveOriginalHeadMixin(RecursiveStartMixin, OriginalHeadMixin):
    """Before a class with a head: the recursive encoder."""

    config: RecursiveOriginalConceptEncoderConfig
    config_class = RecursiveOriginalConceptEncoderConfig
    encoder_class = RecursiveOriginalConceptEncoder


class OriginalConceptEncoderForMaskedLM(OriginalHeadMixin, ConceptEncoderForMaskedLM):
    """All language models of the original; `config.decoder_type` chooses which."""

    part_defaults = {"decoder_type": "token_position"}
    _tied_weights_keys = {"lm_head.weight": "encoder.token_embeddings.weight"}


class OriginalConceptEncoderForSequenceClassificationPerceiver(
    OriginalHeadMixin, ConceptEncoderForSequenceClassificationPerceiver
):
    """Concepts are pooled and classified."""


class OriginalConceptEncoderForSequenceClassificationViaDecoder(
    OriginalHeadMixin, ConceptEncoderForSequenceClassificationViaDecoder
):
    """The decoder's states at the text's positions are normalised, averaged and classified."""


class OriginalConceptEncoderForSentencePairClassification(
    WeightedPoolingMixin, OriginalHeadMixin, ConceptEncoderForSentencePairClassification
):
    """Two texts are encoded and pooled apart, and compared."""


class RecursiveOriginalConceptEncoderForMaskedLM(RecursiveOriginalHeadMixin, OriginalConceptEncoderForMaskedLM):
    """`OriginalConceptEncoderForMaskedLM` on the recursive encoder."""


class RecursiveOriginalConceptEncoderForSequenceClassificationPerceiver(
    RecursiveOriginalHeadMixin, OriginalConceptEncoderForSequenceClassificationPerceiver
):
    """`OriginalConceptEncoderForSequenceClassificationPerceiver` on the recursive encoder."""


class RecursiveOriginalConceptEncoderForSequenceClassificationViaDecoder(
    RecursiveOriginalHeadMixin, OriginalConceptEncoderForSequenceClassificationViaDecoder
):
    """`OriginalConceptEncoderForSequenceClassificationViaDecoder` on the recursive encoder."""


class RecursiveOriginalConceptEncoderForSentencePairClassification(
    RecursiveOriginalHeadMixin, OriginalConceptEncoderForSentencePairClassification
):
    """`OriginalConceptEncoderForSentencePairClassification` on the recursive encoder."""


__all__ = [
    "ORIGINAL_DECODERS",
    "OriginalConceptEncoder",
    "OriginalConceptEncoderForMaskedLM",
    "OriginalConceptEncoderForSentencePairClassification",
    "OriginalConceptEncoderForSequenceClassificationPerceiver",
    "OriginalConceptEncoderForSequenceClassificationViaDecoder",
    "RecursiveOriginalConceptEncoder",
    "RecursiveOriginalConceptEncoderForMaskedLM",
    "RecursiveOriginalConceptEncoderForSentencePairClassification",
    "RecursiveOriginalConceptEncoderForSequenceClassificationPerceiver",
    "RecursiveOriginalConceptEncoderForSequenceClassificationViaDecoder",
]
