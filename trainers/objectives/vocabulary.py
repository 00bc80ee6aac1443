# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Clean texts, and what objectives need to know of their tokenizer.

B texts, N tokens, V vocabulary.
"""

from dataclasses import dataclass, field, replace
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
    tokenizer: PreTrainedTokenizerBase | None = field(default=None, repr=False)

    @classmethod
    def of(cls, tokenizer) -> "Vocabulary":
        """ValueError if the tokenizer has no padding or no mask token."""
        for name in ("pad_token", "mask_token"):
            if getattr(tokenizer, name) is None:
                raise ValueError(f"The tokenizer has no {name}; add one with tokenizer.add_special_tokens.")
        special = torch.zeros(len(tokenizer), dtype=torch.bool)
        special[tokenizer.all_special_ids] = True
        return cls(len(tokenizer), tokenizer.mask_token_id, tokenizer.pad_token_id, special, tokenizer)

    def to(self, device) -> "Vocabulary":
        return replace(self, special=self.special.to(device))


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
