# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Cut the texts of a data set into pieces of tokens, and pad pieces to a batch. B texts, N tokens."""

from collections.abc import Mapping

import numpy as np
import torch
from datasets import Dataset, IterableDataset

from .pieces import PieceMaker, make_pieces
from .texts import column_names


class ConceptDataCollator:
    """
    Pads token ids to the longest text of the batch. The Trainer hides tokens later, with noise that depends on keys
    (`objectives/noise.py`). `tokenizer` needs a padding token.
    """

    def __init__(self, tokenizer):
        self.tokenizer, self.vocabulary_size = tokenizer, len(tokenizer)

    def __call__(self, examples) -> dict[str, torch.Tensor]:
        """`examples`: dicts with a list of token ids `input_ids` -> `input_ids`, `attention_mask` [B, N]. Rows may be
        padded already: tokens whose `attention_mask` is 0 are left out. ValueError for rows without tokens, or with
        ids outside the vocabulary."""
        rows = [self.attended(example) for example in examples]
        padded = self.tokenizer.pad({"input_ids": rows}, return_tensors="pt", padding_side="right")
        return {name: padded[name] for name in ("input_ids", "attention_mask")}

    def attended(self, example: Mapping) -> list[int]:
        """The token ids of a row, without those that its `attention_mask`, if it has one, hides."""
        ids, mask = np.asarray(example["input_ids"]), example.get("attention_mask")
        if mask is not None:
            ids = ids[np.asarray(mask, dtype=bool)]
        if ids.size == 0:
            raise ValueError("A row has no token; leave it out: data.filter(lambda row: len(row['input_ids']) > 0).")
        if ids.min() < 0 or ids.max() >= self.vocabulary_size:
            raise ValueError(
                f"A row has the token ids {ids.min()} to {ids.max()}, but those of the tokenizer go from 0 to "
                f"{self.vocabulary_size - 1:,}; tokenize the data with the tokenizer of the model."
            )
        return ids.tolist()


def cut_data(data, tokenizer, config, args, short_piece_probability: float = 0.0):
    """
    Pieces of tokens of the texts in the column `text` of a data set or stream, or of a dict of these, as
    `run_pretraining.py` cuts them. Data with token ids, or of another kind, stay unchanged.

    Args:
        tokenizer: of the model.
        config: of the model; its `max_sequence_length` is the longest piece.
        args: training arguments, for the seed and the order of processes.
        short_piece_probability: as in [`PieceMaker`].

    Raises:
        ValueError: the data have neither token ids nor a column `text`, or no row.
    """
    if isinstance(data, dict):
        return {name: cut_data(part, tokenizer, config, args, short_piece_probability) for name, part in data.items()}
    transformed = isinstance(data, Dataset) and data.format["type"] == "custom"  # rows differ from the columns
    if not isinstance(data, (Dataset, IterableDataset)) or transformed:
        return data
    data = data.with_format(None)
    columns = column_names(data)
    if "input_ids" not in columns:
        if "text" not in columns:
            raise ValueError(
                "ConceptTrainer needs a column input_ids of token ids, or a column text, but the data have "
                f"{columns}; give the column of text this name by dataset.rename_column(..., 'text')."
            )
        length = min(config.max_sequence_length, tokenizer.model_max_length)
        maker = PieceMaker(tokenizer, length, short_piece_probability, False, args.seed)
        with args.main_process_first(desc="tokenizing"):
            data = make_pieces(data, "text", maker)
    if isinstance(data, Dataset) and not len(data):
        raise ValueError("The data have no row, or no token of text.")
    return data
