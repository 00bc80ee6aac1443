# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Masked language modelling (Devlin et al. 2019) of tokens, words or spans. B batch, N tokens."""

from dataclasses import dataclass

import torch

from ..noise import Noise
from ..vocabulary import CleanBatch
from .base import TokenObjective, check_share


@dataclass
class MaskedLM(TokenObjective):
    """
    Predict a random share of the tokens. Whether the encoder reads mask tokens is the model's `hide_mask_tokens`.

    Args:
        mlm_probability: that share; at least one token, word or span of each text.
        masking: what is chosen together: "token", "whole_word" (by the tokenizer's own word marks), or "span" of
            span_min to span_max tokens (Joshi et al. 2020; usual with mlm_probability 0.3).
        span_min: shortest span.
        span_max: longest span.
        mask_replace_prob: share of the predicted tokens that become the mask token; drawn once for all tokens of a
            word or span.
        random_replace_prob: share that become a random token; the rest stay.
    """

    mlm_probability: float = 0.15
    masking: str = "token"
    span_min: int = 3
    span_max: int = 10
    mask_replace_prob: float = 0.8
    random_replace_prob: float = 0.1

    def __post_init__(self):
        for name in ("mlm_probability", "mask_replace_prob", "random_replace_prob"):
            check_share(name, getattr(self, name))
        check_share("mask_replace_prob + random_replace_prob", self.mask_replace_prob + self.random_replace_prob)
        if self.masking not in MASKINGS:
            raise ValueError(f"Unknown masking {self.masking!r}; choose one of {sorted(MASKINGS)}.")
        if not 1 <= self.span_min <= self.span_max:
            raise ValueError(f"Spans of {self.span_min} to {self.span_max} tokens: 1 <= span_min <= span_max.")

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        chosen, unit = MASKINGS[self.masking](self, batch, noise)
        fate = noise.per_token().gather(1, unit)
        random_ids = (noise.per_token() * batch.vocabulary.size).long()
        masked = fate < self.mask_replace_prob
        replaced = ~masked & (fate < self.mask_replace_prob + self.random_replace_prob)
        ids = torch.where(chosen & masked, batch.vocabulary.mask_token_id, batch.input_ids)
        return {
            "input_ids": torch.where(chosen & replaced, random_ids, ids),
            "attention_mask": batch.attention_mask,
            "labels": torch.where(chosen, batch.input_ids, -100),
        }

    # Each way of masking returns which tokens are chosen, bool [B, N], and the place [B, N] of the first token of
    # the unit to which each belongs.

    def choose_tokens(self, batch: CleanBatch, noise: Noise):
        return self._choose(batch.special, noise.per_token()), _places(batch)

    def choose_words(self, batch: CleanBatch, noise: Noise):
        places = _places(batch)
        unit = torch.where(batch.vocabulary.word_starts(batch.input_ids), places, 0).cummax(dim=1).values
        return self._choose(batch.special, noise.per_token().gather(1, unit)), unit

    def choose_spans(self, batch: CleanBatch, noise: Noise):
        places, special = _places(batch), batch.special
        start = noise.per_token().masked_fill(special, 2.0)
        rate = _start_rate(self.mlm_probability, self.span_min, self.span_max)
        starts = (start < rate) | (start == start.amin(dim=1, keepdim=True))
        lengths = self.span_min + (noise.per_token() * (self.span_max - self.span_min + 1)).long()
        ends = torch.where(starts, places + lengths, 0).cummax(dim=1).values
        unit = torch.where(starts, places, 0).cummax(dim=1).values
        return (places < ends) & ~special, unit

    def _choose(self, special, order):
        order = order.masked_fill(special, 2.0)
        return ((order < self.mlm_probability) | (order == order.amin(dim=1, keepdim=True))) & ~special


MASKINGS = {"token": MaskedLM.choose_tokens, "whole_word": MaskedLM.choose_words, "span": MaskedLM.choose_spans}


def _places(batch: CleanBatch) -> torch.Tensor:
    return torch.arange(batch.input_ids.shape[1], device=batch.input_ids.device).expand_as(batch.input_ids)


def _start_rate(share: float, least: int, most: int) -> float:
    """Probability of a span to start at a token, for spans of `least` to `most` tokens that may overlap to cover
    `share` of all tokens: 1 - share = product over j of (1 - rate · P(length > j)), solved by bisection."""
    if share >= 1:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(50):
        middle, uncovered = (low + high) / 2, 1.0
        for distance in range(most):
            longer = min(1.0, (most - distance) / (most - least + 1))
            uncovered *= 1 - middle * longer
        low, high = (middle, high) if 1 - uncovered < share else (low, middle)
    return low
