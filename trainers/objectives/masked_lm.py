# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Masked language modelling (Devlin et al. 2019) of tokens or spans. B batch, N tokens."""

from dataclasses import dataclass
from functools import cache

import torch

from .base import TokenObjective, option, share_range
from .noise import Noise
from .vocabulary import CleanBatch


MASKINGS = ("token", "span")
SHORTEST_SPAN, LONGEST_SPAN = 3, 10

# Shares of the predicted tokens that become the mask token and a random token; the rest stay (Devlin et al. 2019).
MASK_SHARE, RANDOM_SHARE = 0.8, 0.1


@dataclass
class MaskedLM(TokenObjective):
    """
    Predict a random share of the tokens. The encoder does not read mask tokens.

    A span is 3 to 10 tokens, all masked, replaced or kept together.
    """

    mlm_probability: float = option(0.15, "Share of the tokens that are predicted; at least one unit of each text.")
    masking: str = option(
        "token", "Unit that is chosen: token, or span (Joshi et al. 2020; usual with --mlm_probability 0.3)."
    )

    def __post_init__(self):
        share_range("mlm_probability", self.mlm_probability)
        if self.masking not in MASKINGS:
            raise ValueError(f"Unknown masking {self.masking!r}; choose one of {list(MASKINGS)}.")

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        places = torch.arange(noise.width, device=batch.input_ids.device).expand_as(batch.input_ids)
        choose = self.choose_spans if self.masking == "span" else self.choose_tokens
        chosen, unit = choose(batch.special, places, noise)
        fate = noise.per_token().gather(1, unit)
        random_ids = (noise.per_token() * batch.vocabulary.size).long()
        masked = fate < MASK_SHARE
        replaced = ~masked & (fate < MASK_SHARE + RANDOM_SHARE)
        ids = torch.where(chosen & masked, batch.vocabulary.mask_token_id, batch.input_ids)
        return {
            "input_ids": torch.where(chosen & replaced, random_ids, ids),
            "attention_mask": batch.attention_mask,
            "labels": torch.where(chosen, batch.input_ids, -100),
        }

    def choose_tokens(self, special, places, noise: Noise) -> tuple[torch.Tensor, torch.Tensor]:
        """Which tokens are chosen, bool [B, N], and the place of each, [B, N]."""
        order = noise.per_token().masked_fill(special, 2.0)
        chosen = (order < self.mlm_probability) | (order == order.amin(dim=1, keepdim=True))
        return chosen & ~special, places

    def choose_spans(self, special, places, noise: Noise) -> tuple[torch.Tensor, torch.Tensor]:
        """Which tokens are chosen, bool [B, N], and the first place of the span of each, [B, N]."""
        start = noise.per_token().masked_fill(special, 2.0)
        starts = (start < span_start_rate(self.mlm_probability)) | (start == start.amin(dim=1, keepdim=True))
        lengths = SHORTEST_SPAN + (noise.per_token() * (LONGEST_SPAN - SHORTEST_SPAN + 1)).long()
        ends = torch.where(starts, places + lengths, 0).cummax(dim=1).values
        unit = torch.where(starts, places, 0).cummax(dim=1).values
        return (places < ends) & ~special, unit


@cache
def span_start_rate(share: float) -> float:
    """Probability that a span starts at a token, so that spans, which may overlap, cover `share` of all tokens:
    1 - share = product over j of (1 - rate · P(length > j)), solved by bisection."""
    if share >= 1:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(50):
        middle, uncovered = (low + high) / 2, 1.0
        for distance in range(LONGEST_SPAN):
            longer = min(1.0, (LONGEST_SPAN - distance) / (LONGEST_SPAN - SHORTEST_SPAN + 1))
            uncovered *= 1 - middle * longer
        low, high = (middle, high) if 1 - uncovered < share else (low, middle)
    return low
