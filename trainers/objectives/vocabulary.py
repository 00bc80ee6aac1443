# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Clean texts, and what objectives need to know of their tokenizer.

B texts, N tokens, V vocabulary.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Vocabulary:
    """
    Args:
        size: V.
        mask_token_id, pad_token_id: ids.
        special: bool [V], special tokens.
        tokenizer: the tokenizer.
    """

    size: int
    mask_token_id: int
    pad_token_id: int
    special: torch.Tensor
    tokenizer: PreTrainedTokenizerBase | None = None

    @classmethod
    def of(cls, tokenizer, device="cpu") -> "Vocabulary":
        special = torch.zeros(len(tokenizer), dtype=torch.bool, device=device)
        special[tokenizer.all_special_ids] = True
        return cls(len(tokenizer), tokenizer.mask_token_id, tokenizer.pad_token_id, special, tokenizer)


class CleanBatch(NamedTuple):
    """
    Texts before anything is hidden.

    Args:
        input_ids: [B, N].
        attention_mask: [B, N], 0 at padding, which is at the end.
        vocabulary: of the tokenizer, on the same device.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    vocabulary: Vocabulary

    @property
    def real(self) -> torch.Tensor:
        """bool [B, N], False at padding."""
        return self.attention_mask.bool()

    @property
    def special(self) -> torch.Tensor:
        """bool [B, N], True at special tokens and padding."""
        return self.vocabulary.special[self.input_ids] | ~self.real

    def rows(self, chosen) -> "CleanBatch":
        """A part of the texts: `chosen` indexes them."""
        return CleanBatch(self.input_ids[chosen], self.attention_mask[chosen], self.vocabulary)


def compact(input_ids: torch.Tensor, keep: torch.Tensor, pad_token_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The kept tokens of `input_ids` [B, N] (bool `keep`), moved together; ids and attention mask [B, most kept]."""
    counts = keep.sum(dim=1)
    order = keep.int().argsort(dim=1, descending=True, stable=True)[:, : max(int(counts.max()), 1)]
    mask = torch.arange(order.shape[1], device=keep.device) < counts[:, None]
    return torch.where(mask, input_ids.gather(1, order), pad_token_id), mask.long()
