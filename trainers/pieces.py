# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Texts as tokens for pretraining: pieces of running text, and pairs."""

import logging
import random
from collections.abc import Iterator

from datasets import Dataset

from .data import as_texts, check_text_column
from .distributed import process_index
from .rare_text import rare_text


logger = logging.getLogger(__name__)

# Share of training pieces of random shorter length, where nothing else is asked for.
SHORT_PIECE_PROBABILITY = 0.1

# Share of training pieces of rare text in pretraining. Of 96 texts each, the main job then reads 93 instead of 12 % of
# the tokens of Chinese and all instead of half of the long numbers; the loss on books is 1 % higher at equal steps,
# and as many come back whole within seeds (model_cards/README.md).
RARE_TEXT_SHARE = 0.05


TOGETHER = 1_000_000


def text_room(tokenizer, max_length: int) -> tuple[list[int], list[int], int]:
    """
    As [`special_ends`], and how many tokens of text fit between them.

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
        ValueError: it has no token that stands for itself.
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
    Token ids of texts without special tokens. About `TOGETHER` characters are tokenized at a time, also of one text: a
    tokenizer takes some 160 bytes for each.
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
    """A text in parts of at most `TOGETHER` characters, which begin at a space where there is one."""
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

    The rows of a batch are joined (with the separator token between) and cut every `max_length` tokens, so that
    nothing is lost and nothing padded; a share `short_piece_probability` of the pieces is shorter, down to 4 tokens,
    so that the model knows texts of every length (as in BERT's pretraining). With `line_by_line` rows are not
    joined.

    Args:
        tokenizer: a fast tokenizer.
        max_length: longest piece with its special tokens.
        short_piece_probability: see above.
        line_by_line: see above.
        seed: of the lengths and of rare texts.
        rare_text_share: share of pieces that are made of [`rare_text`], at random places among the others.

    Raises:
        ValueError: a length without room for text, or something that is no share.
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
        if not 0 <= short_piece_probability <= 1:
            raise ValueError(f"short_piece_probability is a share between 0 and 1, not {short_piece_probability}.")
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
        """So many pieces of rare texts that they are `rare_text_share` of all with the `beside` other ones, without
        tokens that stand for unknown characters."""
        count = int(beside * self.rare_text_share / (1 - self.rare_text_share) + draw.random())
        pieces = []
        for _ in range(100):  # characters that the tokenizer does not know leave nothing of some texts
            lengths = [draw.randint(4, self.length) for _ in range(count - len(pieces))]
            if not lengths:
                break
            written = [rare_text(draw, texts, 4 * length) for length in lengths]
            for row, length in zip(token_rows(self.tokenizer, written), lengths, strict=True):
                known = [token for token in row if token != self.tokenizer.unk_token_id]
                pieces += [[*self.before, *known[:length], *self.after]] if known else []
        return pieces


class PairMaker:
    """
    Tokens of texts and of those that mean the same; used with `Dataset.map(batched=True)`.

    Args:
        tokenizer: a fast tokenizer.
        max_length: longest text with its special tokens; longer ones are cut, and `cut_tokens` tells by how much.

    Raises:
        ValueError: a length without room for text.
    """

    def __init__(self, tokenizer, max_length: int):
        self.tokenizer = tokenizer
        self.before, self.after, self.length = text_room(tokenizer, max_length)

    def __call__(self, texts: list[str], others: list[str]) -> dict[str, list]:
        columns = {"input_ids": [], "pair_input_ids": [], "cut_tokens": []}
        for pair in zip(texts, others, strict=True):
            rows = self.tokenizer(list(pair), add_special_tokens=False, return_attention_mask=False, verbose=False)
            ids = [[*self.before, *row[: self.length], *self.after] for row in rows["input_ids"]]
            columns["input_ids"].append(ids[0])
            columns["pair_input_ids"].append(ids[1])
            columns["cut_tokens"].append(sum(max(0, len(row) - self.length) for row in rows["input_ids"]))
        return columns


def is_pair(text, other) -> bool:
    """Whether both texts are there."""
    return all(cell is not None and str(cell).strip() for cell in (text, other))


def whole_pairs(dataset, column: str, other: str, name: str):
    """
    The rows of a data set or stream in which both texts are there; a warning counts the others.

    Raises:
        ValueError: there is no such column, or no such row.
    """
    for text in (column, other):
        check_text_column(dataset, text, f"{name} text")
    kept = dataset.filter(is_pair, input_columns=[column, other])
    if isinstance(dataset, Dataset) and (lost := len(dataset) - len(kept)):
        if not len(kept):
            raise ValueError(f"No {name} pair has both its texts, in the columns {column!r} and {other!r}.")
        if process_index() == 0:
            logger.warning("%s of %s %s pairs lack a text and are left out.", f"{lost:,}", f"{len(dataset):,}", name)
    return kept


def make_pairs(dataset, column: str, other: str, maker: PairMaker, num_proc: int | None = None):
    """Apply a [`PairMaker`]; the result has the columns `input_ids`, `pair_input_ids` and `cut_tokens`."""
    dataset = as_texts(dataset, [column, other])
    options = {} if not isinstance(dataset, Dataset) else {"num_proc": num_proc, "desc": "Tokenizing pairs of texts"}
    return dataset.map(maker, input_columns=[column, other], batched=True, remove_columns=[column, other], **options)


def make_pieces(dataset, column: str, maker: PieceMaker, num_proc: int | None = None):
    """Apply a [`PieceMaker`] to a data set or a stream; the result has the column `input_ids`."""
    dataset = as_texts(dataset, [column])
    options = {} if not isinstance(dataset, Dataset) else {"num_proc": num_proc, "desc": "Cutting text into pieces"}
    return dataset.map(
        maker, with_indices=True, input_columns=[column], batched=True, remove_columns=[column], **options
    )
