# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Clean texts, and what objectives need to know of their tokenizer.

B texts, N tokens, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from .noise import Noise


logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class Vocabulary:
    """
    Args:
        size: V.
        mask_token_id, pad_token_id: ids.
        special: bool [V], special tokens.
        tokenizer: the tokenizer.
        sentence_ends: ids of the tokens after which a text may be cut: . ! ? and the separator.
        end_token_id: the token after a whole text, or None.
        encoder_tokenizer: that of the encoder, where `tokenizer` is another one, of a reader.
        encoder_length: longest text of the encoder in its tokens, at which it is cut.
    """

    size: int
    mask_token_id: int
    pad_token_id: int
    special: torch.Tensor
    tokenizer: PreTrainedTokenizerBase | None = None
    sentence_ends: frozenset[int] = frozenset()
    end_token_id: int | None = None
    encoder_tokenizer: PreTrainedTokenizerBase | None = None
    encoder_length: int | None = None

    @classmethod
    def of(cls, tokenizer, device="cpu", **options) -> "Vocabulary":
        """That of `tokenizer`; `options` are further fields."""
        special = torch.zeros(len(tokenizer), dtype=torch.bool, device=device)
        special[tokenizer.all_special_ids] = True
        ends = {number for token, number in tokenizer.get_vocab().items() if token.endswith((".", "!", "?"))}
        ends = frozenset(ends | {tokenizer.sep_token_id})
        return cls(
            len(tokenizer), tokenizer.mask_token_id, tokenizer.pad_token_id, special, tokenizer, ends, **options
        )

    def for_encoder(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """The texts `input_ids` [B, N] as the encoder reads them: `input_ids` and `attention_mask`, [B, N] or, in
        tokens of the encoder where these are others, [B, N']."""
        if self.encoder_tokenizer is None:
            return {"input_ids": input_ids, "attention_mask": attention_mask}
        rows = [ids[mask.bool()] for ids, mask in zip(input_ids, attention_mask, strict=True)]
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return retokenize(texts, self.encoder_tokenizer, self.encoder_length, input_ids.device)


def retokenize(texts: list[str], tokenizer, length: int, device) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask` of texts, cut at `length` tokens, of which a warning is logged once."""
    tokens = tokenizer(texts, truncation=True, max_length=length, padding=True, return_tensors="pt")
    if tokens["input_ids"].shape[1] >= length:
        logger.warning_once(
            f"Texts have as many tokens of the encoder as it takes, {length}, or more, and lose their ends: cut them "
            "into shorter pieces by --max_seq_length."
        )
    return {name: tokens[name].to(device=device, dtype=torch.long) for name in ("input_ids", "attention_mask")}


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

    @property
    def encoder_inputs(self) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask` for the encoder, as of `Vocabulary.for_encoder`."""
        return self.vocabulary.for_encoder(self.input_ids, self.attention_mask)

    def rows(self, chosen) -> "CleanBatch":
        """A part of the texts: `chosen` indexes them."""
        return CleanBatch(self.input_ids[chosen], self.attention_mask[chosen], self.vocabulary)


def compact(input_ids: torch.Tensor, keep: torch.Tensor, pad_token_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The kept tokens of `input_ids` [B, N] (bool `keep`), moved together; ids and attention mask [B, most kept]."""
    counts = keep.sum(dim=1)
    order = keep.int().argsort(dim=1, descending=True, stable=True)[:, : max(int(counts.max()), 1)]
    mask = torch.arange(order.shape[1], device=keep.device) < counts[:, None]
    return torch.where(mask, input_ids.gather(1, order), pad_token_id), mask.long()


def cut_texts(
    batch: CleanBatch, length: int, after: frozenset[int] = frozenset()
) -> tuple[CleanBatch, torch.Tensor, torch.Tensor]:
    """
    Cut texts into parts of at most `length` tokens, each with the special tokens that open and close the text. A part
    ends with the first token behind its first quarter that is in `after`, if there is one.

    Returns:
        The parts [R, N'], the row [R] of the text of each, and its place [R] in that text from 0 to 1.
    """
    special = batch.special
    parts, rows, places = [], [], []
    for row, (ids, mask) in enumerate(zip(batch.input_ids.tolist(), batch.real.sum(dim=1).tolist(), strict=True)):
        ids = ids[:mask]
        before = ids[:1] if ids and special[row, 0] else []
        closing = ids[-1:] if len(ids) > 1 and special[row, mask - 1] else []
        inner = ids[len(before) : len(ids) - len(closing)]
        inners = list(stretches(inner, length - len(before) - len(closing), after))
        for number, part in enumerate(inners):
            parts.append([*before, *part, *closing])
            rows.append(row)
            places.append(number / len(inners))
    device = batch.input_ids.device
    ids = pad_sequence([torch.tensor(part, device=device) for part in parts], True, batch.vocabulary.pad_token_id)
    mask = pad_sequence([torch.ones(len(part), dtype=torch.long, device=device) for part in parts], True)
    cut = CleanBatch(ids, mask, batch.vocabulary)
    return cut, torch.tensor(rows, device=device), torch.tensor(places, device=device)


def stretches(ids: list[int], length: int, after: frozenset[int]) -> Iterator[list[int]]:
    """Token ids in parts of at most `length`, as [`cut_texts`] cuts them; one empty part of none."""
    start = 0
    while start < max(len(ids), 1):
        part = ids[start : start + length]
        if start + length < len(ids):
            end = next((place for place in range(len(part) // 4, len(part)) if part[place] in after), len(part))
            part = part[: end + 1]
        yield part
        start += max(len(part), 1)


def split_texts(batch: CleanBatch, shares: list[float], noise: Noise):
    """
    Each text cut in two after a share of its tokens that is drawn between the ends of `shares`.

    Returns:
        Ids [B, P] and attention mask of the prefixes, and those [B, S] of the suffixes.
    """
    real, pad = batch.real, batch.vocabulary.pad_token_id
    low, high = shares[0], shares[-1]
    share = low + (high - low) * noise.per_text()
    cut = (share * real.sum(dim=1, keepdim=True)).round().clamp(min=1)
    before = torch.arange(real.shape[1], device=real.device) < cut
    return *compact(batch.input_ids, real & before, pad), *compact(batch.input_ids, real & ~before, pad)
