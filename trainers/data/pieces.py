# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Pieces of running text in tokens."""

import random
from collections.abc import Iterator

from datasets import Dataset

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


def text_room(tokenizer, max_length: int) -> tuple[list[int], list[int], int]:
    """
    The special tokens of [`special_ends`], and the number of tokens of text that fit between them.

    Raises:
        ValueError: fewer than 4.
    """
    before, after = special_ends(tokenizer)
    room = max_length - len(before) - len(after)
    if room < 4:
        raise ValueError(f"max_seq_length {max_length} leaves no room for text beside the special tokens.")
    return before, after, room


def special_ends(tokenizer) -> tuple[list[int], list[int]]:
    """
    The special tokens that the tokenizer puts before and after a text.

    Raises:
        ValueError: it has only special tokens.
    """
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
    """
    Token ids of texts without special tokens. About `TOGETHER` characters are tokenized at a time, even of one long
    text, because a tokenizer needs some 160 bytes of memory for each.
    """
    rows, numbers, parts, size = [[] for _ in texts], [], [], 0

    def read():
        found = tokenizer(parts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
        for number, ids in zip(numbers, found, strict=True):
            rows[number] += ids

    for number, text in enumerate(texts):
        for part in stretches(text):
            if parts and size + len(part) > TOGETHER:
                read()
                numbers, parts, size = [], [], 0
            numbers.append(number)
            parts.append(part)
            size += len(part)
    if parts:
        read()
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

    def __init__(
        self,
        tokenizer,
        max_length: int,
        short_piece_probability: float,
        line_by_line: bool,
        seed: int,
        rare_text_share: float = 0.0,
    ):
        if not 0 <= rare_text_share < 1:
            raise ValueError(f"rare_text_share is a share from 0 to less than 1, not {rare_text_share}.")
        self.tokenizer, self.line_by_line, self.seed = tokenizer, line_by_line, seed
        self.rare_text_share = rare_text_share
        self.before, self.after, self.length = text_room(tokenizer, max_length)
        self.short_piece_probability = short_piece_probability

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
    dataset = as_texts(dataset, [column])
    options = {"desc": "Cutting text into pieces"} if isinstance(dataset, Dataset) else {}
    return dataset.map(
        maker, with_indices=True, input_columns=[column], batched=True, remove_columns=[column], **options
    )
