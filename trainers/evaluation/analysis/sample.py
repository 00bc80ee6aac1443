# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The texts of an analysis, all of one length.

T texts, N tokens.
"""

from pathlib import Path
from typing import NamedTuple

import torch

from ...data.pieces import PieceMaker, make_pieces
from ...data.texts import load_files, load_text, text_column
from ...objectives.vocabulary import Vocabulary


# Cross-validation of the probes needs at least so many texts.
FEWEST_TEXTS = 60

# Rows of the data that are cut into pieces, for each text wanted; most rows are longer than a text.
ROWS_PER_TEXT = 10


class Sample(NamedTuple):
    """
    Texts of equal length.

    Args:
        ids: [T, N], special tokens at the ends, no padding.
        vocabulary: of the tokenizer.
    """

    ids: torch.LongTensor
    vocabulary: Vocabulary

    def take(self, count: int) -> "Sample":
        """`count` of the texts, evenly spaced; all if there are no more."""
        return Sample(self.ids[evenly_spaced(len(self.ids), count)], self.vocabulary)


def evenly_spaced(available: int, count: int) -> torch.LongTensor:
    """At most `count` indices below `available`, evenly spaced."""
    count = min(available, count)
    return torch.arange(count) * available // max(count, 1)


def load_sample(
    tokenizer,
    length: int,
    count: int,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    column: str | None = None,
    split: str = "validation",
) -> Sample:
    """
    At most `count` pieces of `length` tokens, with special tokens, from anywhere in a text.

    Args:
        tokenizer: of the model.
        dataset_name: Hub id, local folder or file; the embedded corpus by default.
        dataset_config_name, column, split: of the data set; a file is one split.

    Raises:
        ValueError: data, split or column do not exist, or fewer than 60 such pieces.
    """
    if dataset_name is not None and Path(dataset_name).is_file():
        raw = load_files({split: dataset_name}, {})
    else:
        raw = load_text(dataset_name, dataset_config_name)
    if split not in raw:
        raise ValueError(f"The data has no split {split!r}; its splits are {sorted(raw)}.")
    rows = raw[split].take(ROWS_PER_TEXT * count)
    maker = PieceMaker(tokenizer, length, short_piece_probability=0.0, line_by_line=False, seed=0)
    pieces = make_pieces(rows, text_column(rows, column), maker)
    whole = [row["input_ids"] for row in pieces if len(row["input_ids"]) == length]
    if len(whole) < FEWEST_TEXTS:
        raise ValueError(
            f"The text gives {len(whole)} pieces of {length} tokens, and an analysis needs at least {FEWEST_TEXTS}: "
            "give more text, or a smaller --max_seq_length."
        )
    return Sample(torch.tensor(whole), Vocabulary.of(tokenizer)).take(count)
