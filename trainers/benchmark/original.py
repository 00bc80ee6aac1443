# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Concept models written as the original implementation writes them, to be compared with in speed and memory and for
nothing else: `nn.MultiheadAttention` with a boolean key mask, keys and values projected in each layer, learned
positions, dropout 0.1, and logits of all tokens where the original computes all.

What costs next to nothing is left out: concept losses, dimension inversion, BiXT.

B texts, N tokens, C concepts, H hidden, V vocabulary, M masked tokens.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from .shapes import MASK, PAD, Shape


DROPOUT = 0.1


def attention(shape: Shape) -> nn.MultiheadAttention:
    return nn.MultiheadAttention(shape.hidden_size, shape.heads, dropout=DROPOUT, batch_first=True)


def attend(module: nn.MultiheadAttention, queries, states, key_padding_mask=None):
    return module(queries, states, states, key_padding_mask=key_padding_mask, need_weights=False)[0]


class GatedFeedForward(nn.Module):
    """H -> 2·4H -> H with GELU on the one half."""

    def __init__(self, width: int):
        super().__init__()
        self.inner, self.outer = nn.Linear(width, 8 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, states):
        active, gate = self.inner(states).chunk(2, dim=-1)
        return self.outer(self.dropout(F.gelu(active) * gate))


class EncoderLayer(nn.Module):
    """Pre-norm cross-attention to tokens that are not normalised, self-attention, gated feed-forward."""

    def __init__(self, shape: Shape):
        super().__init__()
        width = shape.hidden_size
        self.cross_norm, self.self_norm, self.feed_forward_norm = (nn.LayerNorm(width) for _ in range(3))
        self.cross_attention, self.self_attention = attention(shape), attention(shape)
        self.feed_forward = GatedFeedForward(width)

    def forward(self, concepts, tokens, key_padding_mask):
        concepts = concepts + attend(self.cross_attention, self.cross_norm(concepts), tokens, key_padding_mask)
        normed = self.self_norm(concepts)
        concepts = concepts + attend(self.self_attention, normed, normed)
        return concepts + self.feed_forward(self.feed_forward_norm(concepts))


class OriginalEncoder(nn.Module):
    """Tokens [B, N] -> concepts [B, C, H]."""

    def __init__(self, shape: Shape):
        super().__init__()
        width = shape.hidden_size
        self.tokens = nn.Embedding(shape.vocab_size, width, padding_idx=PAD)
        self.positions = nn.Embedding(shape.length, width)
        self.concepts = nn.Embedding(shape.concept_num, width)
        self.dropout = nn.Dropout(DROPOUT)
        self.layers = nn.ModuleList(EncoderLayer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, input_ids, attention_mask):
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        tokens = self.dropout(self.tokens(input_ids) + self.positions(places))
        concepts = self.concepts.weight.expand(input_ids.shape[0], -1, -1)
        for layer in self.layers:
            concepts = layer(concepts, tokens, attention_mask == 0)
        return self.norm(concepts)


class PerceiverDecoder(nn.Module):
    """One layer: queries [B, N, H] read concepts [B, C, H]."""

    def __init__(self, shape: Shape):
        super().__init__()
        width = shape.hidden_size
        self.positions = nn.Embedding(shape.length, width)
        self.query_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = attention(shape)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(DROPOUT)
        )

    def forward(self, queries, concepts):
        states = queries + attend(self.attention, self.query_norm(queries), concepts)
        return states + self.feed_forward(self.feed_forward_norm(states))


class OriginalModel(nn.Module):
    """Encoder and head, which shares the token table; a subclass decodes. `forward` gives the loss of an objective's
    inputs."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.encoder = OriginalEncoder(shape)
        self.head = nn.Linear(shape.hidden_size, shape.vocab_size, bias=False)
        self.head.weight = self.encoder.tokens.weight
        self.make_decoder(shape)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.1)

    def make_decoder(self, shape: Shape):
        self.decoder = PerceiverDecoder(shape)

    def places(self, ids):
        return torch.arange(ids.shape[1], device=ids.device).expand_as(ids)


class OriginalForMaskedLM(OriginalModel):
    """Queries are tokens and positions; the head sees masked tokens only."""

    def forward(self, inputs):
        ids, labels = inputs["input_ids"], inputs["labels"]
        concepts = self.encoder(ids, inputs["attention_mask"])
        states = self.decoder(self.encoder.tokens(ids) + self.decoder.positions(self.places(ids)), concepts)
        chosen = labels != -100
        return F.cross_entropy(self.head(states[chosen]), labels[chosen])


class OriginalForDenoising(OriginalModel):
    """TSDAE: deleted tokens are masked keys, queries are positions, logits [B, N, V] of all tokens."""

    def forward(self, inputs):
        ids, labels = inputs["input_ids"], inputs["labels"]
        concepts = self.encoder(ids, inputs["attention_mask"] * (ids != MASK))
        logits = self.head(self.decoder(self.decoder.positions(self.places(ids)), concepts))
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)


class DiffusionLayer(nn.Module):
    """Cross-attention to concepts and gated feed-forward, scaled, shifted and gated by the noise level (AdaLN)."""

    def __init__(self, shape: Shape):
        super().__init__()
        width = shape.hidden_size
        self.modulation = nn.Linear(width, 6 * width)
        self.query_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.feed_forward = attention(shape), GatedFeedForward(width)

    def forward(self, states, concepts, level):
        scale, shift, gate, inner_scale, inner_shift, inner_gate = self.modulation(level)[:, None].chunk(6, dim=-1)
        normed = self.query_norm(states) * (1 + scale) + shift
        states = states + gate * attend(self.attention, normed, concepts)
        normed = self.feed_forward_norm(states) * (1 + inner_scale) + inner_shift
        return states + inner_gate * self.feed_forward(normed)


class OriginalForDiffusion(OriginalModel):
    """Two layers over the noised tokens, with a token table and a head of their own; the head sees masked tokens
    only. Label smoothing 0.1, weights 1/t that are divided by their own sum."""

    def make_decoder(self, shape: Shape):
        width = shape.hidden_size
        self.head.weight = nn.Parameter(torch.empty(shape.vocab_size, width))
        self.tokens, self.positions = nn.Embedding(shape.vocab_size, width), nn.Embedding(shape.length, width)
        self.level = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        self.layers = nn.ModuleList(DiffusionLayer(shape) for _ in range(2))
        self.norm = nn.LayerNorm(width)

    def forward(self, inputs):
        ids, labels, times = inputs["decoder_input_ids"], inputs["labels"], inputs["timesteps"]
        concepts = self.encoder(inputs["input_ids"], inputs["attention_mask"])
        half = self.norm.normalized_shape[0] // 2
        angles = times[:, None] * 10_000 ** (-torch.arange(half, device=times.device) / half)
        level = self.level(torch.cat([angles.sin(), angles.cos()], dim=-1))
        states = self.tokens(ids) + self.positions(self.places(ids))
        for layer in self.layers:
            states = layer(states, concepts, level)
        chosen = labels != -100
        losses = F.cross_entropy(
            self.head(self.norm(states[chosen])), labels[chosen], reduction="none", label_smoothing=0.1
        )
        weights = (1 / times.clamp(min=0.1))[:, None].expand_as(labels)[chosen]
        return (losses * weights).sum() / weights.sum()


ORIGINALS = {
    "masked_lm": OriginalForMaskedLM,
    "denoising": OriginalForDenoising,
    "denoising_share": OriginalForDenoising,
    "diffusion": OriginalForDiffusion,
}
