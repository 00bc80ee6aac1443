# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""From texts to pieces of tokens, and from these to a padded batch. B texts, N tokens."""

import torch
from datasets import Dataset, IterableDataset

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

    def __call__(self, examples) -> dict[str, torch.Tensor]:
        """`examples`: dicts with lists of token ids `input_ids`, and `pair_input_ids` where there are pairs ->
        `input_ids`, `attention_mask` [B, N], and both with `pair_`. Tokens whose `attention_mask` is 0 are left out:
        rows may be padded already. ValueError for rows without."""
        if "input_ids" not in examples[0]:
            raise ValueError(f"Rows need input_ids, a list of token ids, but have {sorted(examples[0])}.")
        batch = self.pad([attended(example) for example in examples])
        if "pair_input_ids" in examples[0]:
            pairs = self.pad([attended(example, "pair_") for example in examples])
            batch |= {f"pair_{name}": value for name, value in pairs.items()}
        return batch

    def pad(self, rows) -> dict[str, torch.Tensor]:
        padded = self.tokenizer.pad(
            {"input_ids": [list(row) for row in rows]}, return_tensors="pt", padding_side="right",
            pad_to_multiple_of=self.pad_to_multiple_of,
        )  # fmt: skip
        return {name: padded[name] for name in ("input_ids", "attention_mask")}


def attended(example: dict, prefix: str = "") -> list[int]:
    """The token ids of a row, without those that its `attention_mask`, if it has one, hides."""
    ids, mask = example[f"{prefix}input_ids"], example.get(f"{prefix}attention_mask")
    return list(ids) if mask is None else [token for token, real in zip(ids, mask, strict=True) if real]


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
        """ValueError for data with neither column."""
        if isinstance(data, dict):
            raise ValueError(f"train_dataset is a dict of data sets; give one of {list(data)}.")
        if isinstance(data, list) and data and isinstance(data[0], dict) and "input_ids" not in data[0]:
            data = Dataset.from_list(data)
        if not isinstance(data, (Dataset, IterableDataset)):
            return data
        columns = column_names(data)
        if "input_ids" not in columns:
            data = self.pieces_of_text(data, columns, short_piece_probability)
        if isinstance(data, Dataset) and len(data) == 0:
            raise ValueError("The data have no row, or no token of text.")
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
