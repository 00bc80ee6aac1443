# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What objectives need to know of a tokenizer, as tables over its tokens.

B batch, N tokens, V vocabulary.
"""

import json
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
        opens: bool [V], tokens that begin a word whatever stands before them.
        begins_inside, ends_inside: bool [V], tokens whose first, or last, character can stand inside a word. A token
            goes on with a word if it begins inside one and the token before it ends inside one.
        tokenizer: itself.
    """

    size: int
    mask_token_id: int
    pad_token_id: int
    special: torch.Tensor
    opens: torch.Tensor
    begins_inside: torch.Tensor
    ends_inside: torch.Tensor
    tokenizer: PreTrainedTokenizerBase = field(repr=False)

    @classmethod
    def of(cls, tokenizer) -> "Vocabulary":
        """
        Tables of a fast tokenizer.

        Raises:
            ValueError: it has no padding or no mask token, or is no fast tokenizer.
        """
        for name in ("pad_token", "mask_token"):
            if getattr(tokenizer, name) is None:
                raise ValueError(f"The tokenizer has no {name}; add one with tokenizer.add_special_tokens.")
        if not tokenizer.is_fast:
            raise ValueError(f"{type(tokenizer).__name__} is no fast tokenizer; load it with AutoTokenizer.")
        size = len(tokenizer)
        special = torch.zeros(size, dtype=torch.bool)
        special[tokenizer.all_special_ids] = True
        tables = word_tables(tokenizer, size, special)
        return cls(size, tokenizer.mask_token_id, tokenizer.pad_token_id, special, *tables, tokenizer)

    def to(self, device) -> "Vocabulary":
        tables = ("special", "opens", "begins_inside", "ends_inside")
        return replace(self, **{name: getattr(self, name).to(device) for name in tables})

    def word_starts(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Where words begin, bool [B, N]; special tokens are words of their own."""
        ends_before = torch.zeros_like(input_ids, dtype=torch.bool)
        ends_before[:, 1:] = self.ends_inside[input_ids[:, :-1]]
        return self.opens[input_ids] | ~(self.begins_inside[input_ids] & ends_before)


def word_tables(tokenizer, size: int, special: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    `opens`, `begins_inside` and `ends_inside` [V] for the three ways in which tokenizers mark words: WordPiece marks
    what continues one, byte-level BPE and SentencePiece mark the space before one.
    """
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    continues = backend["model"].get("continuing_subword_prefix") or ""
    opens, begins, ends = (torch.zeros(size, dtype=torch.bool) for _ in range(3))
    for index, token in enumerate(tokenizer.convert_ids_to_tokens(range(size))):
        if token is None or special[index]:
            opens[index] = True
        elif backend["model"]["type"] == "WordPiece":
            opens[index] = not token.startswith(continues)
            begins[index] = ends[index] = True
        else:
            # The bytes of space, newline and tab in byte-level BPE, and SentencePiece's space.
            bare = token.lstrip("ĠĊĉč▁")
            opens[index] = bare != token or not bare
            begins[index], ends[index] = _inside(bare[:1]), _inside(bare[-1:])
    return opens, begins, ends


def _inside(character: str) -> bool:
    # Characters beyond ASCII are letters, or bytes of one in byte-level BPE.
    return bool(character) and (character.isalnum() or not character.isascii())


class CleanBatch(NamedTuple):
    """
    Texts before anything is hidden.

    Args:
        input_ids: [B, N].
        attention_mask: [B, N], 0 at padding, which is at the end.
        vocabulary: of the tokenizer, on the same device.
        pair_input_ids, pair_attention_mask: of texts that mean the same, where the data have them.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    vocabulary: Vocabulary
    pair_input_ids: torch.Tensor | None = None
    pair_attention_mask: torch.Tensor | None = None

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
        parts = []
        for ids, mask in ((self.input_ids, self.attention_mask), (self.pair_input_ids, self.pair_attention_mask)):
            if ids is not None:
                ids, mask = ids[chosen], mask[chosen]
            parts += [ids, mask]
        return CleanBatch(parts[0], parts[1], self.vocabulary, parts[2], parts[3])


def cut_texts(batch: CleanBatch, length: int) -> tuple[CleanBatch, torch.Tensor, torch.Tensor]:
    """
    Cut texts into parts of at most `length` tokens, each with the special tokens that open and close its text.

    Returns:
        The parts [R, N'], the row [R] of the text from which each comes, and its place [R] in that text from 0 to 1.
    """
    special = batch.special
    parts, rows, places = [], [], []
    for row, (ids, mask) in enumerate(zip(batch.input_ids.tolist(), batch.real.sum(dim=1).tolist(), strict=True)):
        ids = ids[:mask]
        before = ids[:1] if ids and special[row, 0] else []
        after = ids[-1:] if len(ids) > 1 and special[row, mask - 1] else []
        inner = ids[len(before) : len(ids) - len(after)]
        width = length - len(before) - len(after)
        starts = range(0, max(len(inner), 1), width)
        for number, start in enumerate(starts):
            parts.append([*before, *inner[start : start + width], *after])
            rows.append(row)
            places.append(number / len(starts))
    most = max(map(len, parts))
    device = batch.input_ids.device
    ids = [part + [batch.vocabulary.pad_token_id] * (most - len(part)) for part in parts]
    lengths = torch.tensor([len(part) for part in parts], device=device)
    mask = (torch.arange(most, device=device) < lengths[:, None]).long()
    cut = CleanBatch(torch.tensor(ids, device=device), mask, batch.vocabulary)
    return cut, torch.tensor(rows, device=device), torch.tensor(places, device=device)
