# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What a reader learns to write from concepts: the continuation of a text, or the text itself (as ICAE, Ge et al. 2024).

B texts, N tokens, S tokens to write.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from .base import TokenObjective, option, prefix_shares
from .noise import Noise
from .vocabulary import CleanBatch, Vocabulary, split_texts


class ReaderObjective(TokenObjective):
    """Common part of the objectives by which a reader learns."""

    by_reader: ClassVar[bool] = True
    reads_any_tokens: ClassVar[bool] = True

    def targets(self, ids: torch.Tensor, mask: torch.Tensor, vocabulary: Vocabulary) -> dict[str, torch.Tensor]:
        """Inputs of the reader that writes the tokens `ids` [B, S], of which `mask` [B, S] are no padding. Special
        tokens are read but not learned."""
        real = mask.bool()
        shifted = torch.zeros_like(ids)
        shifted[:, 1:] = ids[:, :-1].masked_fill(~real[:, :-1], 0)
        return {"decoder_input_ids": shifted, "labels": ids.masked_fill(~real | vocabulary.special[ids], -100)}


@dataclass
class Continuation(ReaderObjective):
    """The encoder sees a prefix, the reader predicts the tokens that follow it, one after the other."""

    continuation: ClassVar[bool] = True

    prefix_share: list[float] = option(
        (0.1, 0.7), "Share of a text that is its prefix, or the two ends of the range from which it is drawn."
    )

    def __post_init__(self):
        self.prefix_share = prefix_shares(self.prefix_share)

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        return self.make_inputs(*split_texts(batch, self.prefix_share, noise), batch.vocabulary)

    def make_inputs(self, prefix, prefix_mask, suffix, suffix_mask, vocabulary: Vocabulary) -> dict[str, torch.Tensor]:
        """Inputs for prefixes [B, P] and suffixes [B, S]."""
        return vocabulary.for_encoder(prefix, prefix_mask) | self.targets(suffix, suffix_mask, vocabulary)
