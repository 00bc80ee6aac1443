# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Pieces of running text in tokens."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby

from transformers import PreTrainedTokenizerFast

from .rare_text import rare_text
from .texts import as_texts


# Share of training pieces of random shorter length.
SHORT_PIECE_PROBABILITY = 0.1

# Share of training pieces of rare text in pretraining. Of 96 texts each, the main job then reconstructs 93 instead of
# 12 % of the tokens of Chinese and all instead of half of the long numbers. The loss on books is 1 % higher at equal
# steps; the share of texts reconstructed without an error differs less than between seeds (model_cards/README.md).
RARE_TEXT_SHARE = 0.05

# Characters that are tokenized at a time.
TOGETHER = 1_000_000


def special_ends(tokenizer) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts before and after a text; ValueError if it has no others."""
    special = set(tokenizer.all_special_ids)
    for token in ("a", *tokenizer.get_vocab()):
        text = tokenizer.convert_tokens_to_string([token])
        bare = tokenizer(text, add_special_tokens=False)["input_ids"]
        if bare and special.isdisjoint(bare):
            full = tokenizer(text)["input_ids"]
            start = next(i for i in range(len(full) - len(bare) + 1) if full[i : i + len(bare)] == bare)
            return full[:start], full[start + len(bare) :]
    raise ValueError("The tokenizer has no token beside the special ones.")


def token_rows(tokenizer, texts: list[str]) -> list[list[int]]:
    """Token ids of texts without special tokens. About `TOGETHER` characters are tokenized at a time, even of one long
    text, because a tokenizer needs some 160 bytes of memory for each."""
    rows = [[] for _ in texts]
    parts = [(row, part) for row, text in zip(rows, texts, strict=True) for part in stretches(text)]
    ends = accumulate(len(part) for _, part in parts)
    for _, group in groupby(zip(parts, ends, strict=True), key=lambda item: item[1] // TOGETHER):
        owners, batch = zip(*(part for part, _ in group), strict=True)
        found = tokenizer(list(batch), add_special_tokens=False, return_attention_mask=False, verbose=False)
        for row, ids in zip(owners, found["input_ids"], strict=True):
            row += ids
    return rows


def stretches(text: str) -> Iterator[str]:
    """A text in parts of at most `TOGETHER` characters, split before a space where there is one."""
    start = 0
    while len(text) - start > TOGETHER:
        space = text.rfind(" ", start + 1, start + TOGETHER)
        end = space if space > 0 else start + TOGETHER
        yield text[start:end]
        start = end
    yield text[start:]


@dataclass
class PieceMaker:
    """
    Cuts text into pieces of tokens; used with `Dataset.map(batched=True)`.

    The rows of a batch are joined, with the separator token between them, and cut every `max_length` tokens, so that
    nothing is lost and nothing is padded.

    Args:
        tokenizer: a fast tokenizer.
        max_length: longest piece with its special tokens.
        short_piece_probability: share of pieces that are shorter, down to 4 tokens, so that the model learns texts of
            every length, as in the pretraining of BERT.
        line_by_line: whether rows are cut separately instead.
        seed: of the lengths and of rare texts.
        rare_text_share: share of pieces that are made of [`rare_text`], at random places among the others.

    Raises:
        ValueError: a length without room for text, or a share outside its range.
    """

    tokenizer: PreTrainedTokenizerFast
    max_length: int
    short_piece_probability: float
    line_by_line: bool
    seed: int
    rare_text_share: float = 0.0

    def __post_init__(self):
        if not 0 <= self.rare_text_share < 1:
            raise ValueError(f"rare_text_share is a share from 0 to less than 1, not {self.rare_text_share}.")
        self.before, self.after = special_ends(self.tokenizer)
        self.length = self.max_length - len(self.before) - len(self.after)
        if self.length < 4:
            raise ValueError(f"max_seq_length {self.max_length} leaves no room for text beside the special tokens.")

    def __call__(self, texts: list[str], indices: list[int]) -> dict[str, list[list[int]]]:
        rows = token_rows(self.tokenizer, texts)
        draw = random.Random(self.seed * 1_000_003 + indices[0])
        if not self.line_by_line:
            separator = [] if self.tokenizer.sep_token_id is None else [self.tokenizer.sep_token_id]
            rows = [[token for row in rows if row for token in [*row, *separator]]]
        pieces = []
        for row in rows:
            start = 0
            while start < len(row):
                short = draw.random() < self.short_piece_probability
                length = draw.randint(4, self.length) if short else self.length
                pieces.append([*self.before, *row[start : start + length], *self.after])
                start += length
        if self.rare_text_share and pieces:
            draw = random.Random(f"{self.seed} {indices[0]}")
            for piece in self.rare_pieces(draw, texts, len(pieces)):
                pieces.insert(draw.randrange(len(pieces) + 1), piece)
        return {"input_ids": pieces}

    def rare_pieces(self, draw: random.Random, texts: list[str], beside: int) -> list[list[int]]:
        """Pieces of rare texts, as many as make them `rare_text_share` of all pieces with the `beside` other ones,
        without tokens for unknown characters."""
        count = int(beside * self.rare_text_share / (1 - self.rare_text_share) + draw.random())
        pieces = []
        for _ in range(100):  # texts in which every character is unknown to the tokenizer are drawn again
            lengths = [draw.randint(4, self.length) for _ in range(count - len(pieces))]
            if not lengths:
                break
            written = [rare_text(draw, texts, 4 * length) for length in lengths]
            for row, length in zip(token_rows(self.tokenizer, written), lengths, strict=True):
                known = [token for token in row if token != self.tokenizer.unk_token_id]
                pieces += [[*self.before, *known[:length], *self.after]] if known else []
        return pieces


def make_pieces(dataset, column: str, maker: PieceMaker):
    """Apply a [`PieceMaker`] to a data set or a stream; the result has the column `input_ids`."""
    return as_texts(dataset, [column]).map(
        maker, with_indices=True, input_columns=[column], batched=True, remove_columns=[column]
    )
