# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""From texts to pieces of tokens, and from these to a padded batch. B texts, N tokens."""

from collections.abc import Mapping

import numpy as np
import pyarrow.compute as pc
import torch
from datasets import Dataset, IterableDataset
from pyarrow import types

from .data import column_names
from .pieces import SHORT_PIECE_PROBABILITY, PieceMaker, make_pieces


class ConceptDataCollator:
    """
    Pads texts, and those given with them, to the longest of the batch. What is hidden from the model is drawn later,
    by the Trainer, from keys (see `noise.py`).

    Args:
        tokenizer: with a padding token.
        pad_to_multiple_of: as in transformers.
    """

    def __init__(self, tokenizer, pad_to_multiple_of: int | None = None):
        self.tokenizer, self.pad_to_multiple_of = tokenizer, pad_to_multiple_of
        self.vocabulary_size = len(tokenizer)

    def __call__(self, examples) -> dict[str, torch.Tensor]:
        """`examples`: dicts with lists of token ids `input_ids`, and `pair_input_ids` where there are pairs ->
        `input_ids`, `attention_mask` [B, N], and both with `pair_`. Tokens whose `attention_mask` is 0 are left out:
        rows may be padded already. ValueError for rows without tokens, or with ids that the tokenizer has not."""
        batch = self.pad([self.attended(example) for example in examples])
        if "pair_input_ids" in examples[0]:
            pairs = self.pad([self.attended(example, "pair_") for example in examples])
            batch |= {f"pair_{name}": value for name, value in pairs.items()}
        return batch

    def attended(self, example: Mapping, prefix: str = "") -> list[int]:
        """The token ids of a row, without those that its `attention_mask`, if it has one, hides."""
        name = f"{prefix}input_ids"
        if not isinstance(example, Mapping) or name not in example:
            held = sorted(example) if isinstance(example, Mapping) else f"the type {type(example).__name__}"
            raise ValueError(
                f"Rows need {name}, a list of token ids, but have {held}; text in a column text is read from a "
                "datasets.Dataset, its streams, and lists."
            )
        ids, mask = np.asarray(example[name]), example.get(f"{prefix}attention_mask")
        if mask is not None:
            if len(mask) != len(ids):
                raise ValueError(f"A row has {len(ids)} {name}, but {len(mask)} numbers in its attention_mask.")
            ids = ids[np.asarray(mask, dtype=bool)]
        if ids.shape == (0,):
            raise ValueError(f"A row has no token; leave it out: data.filter(lambda row: len(row[{name!r}]) > 0).")
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise ValueError(f"A row needs a list of token ids, whole numbers, as {name}, not {ids.tolist()!r:.60}.")
        for extreme in (ids.min(), ids.max()):
            if not 0 <= extreme < self.vocabulary_size:
                raise ValueError(
                    f"A row has the token id {extreme}, but those of the tokenizer go from 0 to "
                    f"{self.vocabulary_size - 1:,}; tokenize the data with the tokenizer of the model."
                )
        return ids.tolist()

    def check(self, data: Dataset) -> None:
        """ValueError for the first row that [`ConceptDataCollator`] would refuse, before anything is trained."""
        names = [f"{prefix}{name}" for prefix in ("", "pair_") for name in ("input_ids", "attention_mask")]
        data = data.select_columns([name for name in names if name in data.column_names])
        for part in data.with_format("arrow").iter(10_000):
            if any(self._is_odd(part[name]) for name in part.column_names):
                for row in part.to_pylist():
                    self([row])

    def _is_odd(self, column) -> bool:
        """Whether a column may hold what is refused; a mask is looked at row by row."""
        kind = column.type
        if not (types.is_list(kind) or types.is_large_list(kind)) or not types.is_integer(kind.value_type):
            return True
        if column.null_count or pc.min(pc.list_value_length(column)).as_py() == 0:
            return True
        found = pc.min_max(pc.list_flatten(column)).as_py()
        return found["min"] < 0 or found["max"] >= self.vocabulary_size

    def pad(self, rows) -> dict[str, torch.Tensor]:
        padded = self.tokenizer.pad(
            {"input_ids": [list(row) for row in rows]}, return_tensors="pt", padding_side="right",
            pad_to_multiple_of=self.pad_to_multiple_of,
        )  # fmt: skip
        return {name: padded[name] for name in ("input_ids", "attention_mask")}


class PieceCutter:
    """
    Texts in the column `text` of a data set as pieces of tokens, as `run_pretraining.py` makes them; data that have
    the column `input_ids` are left as they are.

    Args:
        tokenizer: of the model.
        config: of the model, whose `max_sequence_length` is the longest piece.
        args: training arguments, for the seed, and by which the first process cuts before the others.
    """

    def __init__(self, tokenizer, config, args):
        self.tokenizer, self.config, self.args = tokenizer, config, args

    def training_pieces(self, data):
        return self.cut(data, SHORT_PIECE_PROBABILITY)

    def evaluation_pieces(self, data):
        """Of one set, or of a dict of sets."""
        if isinstance(data, dict):
            return {name: self.cut(part, 0.0) for name, part in data.items()}
        return self.cut(data, 0.0)

    def cut(self, data, short_piece_probability: float):
        """ValueError for data with neither column, or with rows that the collator refuses; those of streams, and of
        data sets of other kinds, are seen when they are read."""
        if isinstance(data, dict):
            raise ValueError(f"train_dataset is a dict of data sets; give one of {list(data)}.")
        if isinstance(data, str):
            raise ValueError(f"{data!r} is a name, not a data set; load it by datasets.load_dataset.")
        data = rows_of_text(data)
        transformed = isinstance(data, Dataset) and data.format["type"] == "custom"  # rows are not what columns hold
        if not isinstance(data, (Dataset, IterableDataset)) or (transformed and "input_ids" in data[0]):
            return data
        data = data.with_format(None)
        columns = column_names(data)
        if "input_ids" not in columns:
            data = self.pieces_of_text(data, columns, short_piece_probability)
        elif isinstance(data, Dataset):
            ConceptDataCollator(self.tokenizer).check(data)
        check_rows(data)
        return data

    def pieces_of_text(self, data, columns: list[str], short_piece_probability: float):
        if "text" not in columns:
            raise ValueError(
                "ConceptTrainer needs a column input_ids of token ids, or a column text, but the data have "
                f"{columns}; give the column of text this name by dataset.rename_column(..., 'text')."
            )
        length = min(self.config.max_sequence_length, self.tokenizer.model_max_length)
        maker = PieceMaker(self.tokenizer, length, short_piece_probability, False, self.args.seed)
        with self.args.main_process_first(desc="tokenizing"):
            return make_pieces(data, "text", maker)


def rows_of_text(data):
    """Sequences of texts, or of rows with other columns than token ids, as a data set; anything else as it is."""
    if isinstance(data, (Dataset, torch.utils.data.IterableDataset)) or not hasattr(data, "__len__"):
        return data
    check_rows(data)
    first, places = data[0], range(len(data))
    if isinstance(first, str):
        return Dataset.from_dict({"text": [data[place] for place in places]})
    if isinstance(first, dict) and "input_ids" not in first:
        return Dataset.from_list([data[place] for place in places])
    return data


def check_rows(data) -> None:
    """ValueError for data of which it is known that there are none."""
    if hasattr(data, "__len__") and len(data) == 0:
        raise ValueError("The data have no row, or no token of text.")
