# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What an analysis looks at: a checkpoint, the same network untrained, and texts of one length.

T texts, N tokens, C concepts, H hidden.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from modeling_concept import AUTO_MODELS

from ..collator import ConceptDataCollator
from ..data import UNREADABLE, column_names, first_line, load_files, load_text, text_column
from ..pieces import PieceMaker, make_pieces
from ..script import CONCEPT_MODEL_TYPES
from ..vocabulary import Vocabulary


# Fewer texts say little about what depends on the text, and cannot be divided for probes.
FEWEST_TEXTS = 60

# Rows of the data that are cut into pieces, for each text wanted; most rows are longer than a text.
ROWS_PER_TEXT = 10


@dataclass(frozen=True)
class Sample:
    """
    Texts of equal length.

    Args:
        ids: [T, N], special tokens at the ends, no padding.
        vocabulary: of the tokenizer.
        split: of the data, its name.
    """

    ids: torch.LongTensor
    vocabulary: Vocabulary
    split: str

    @property
    def tokenizer(self):
        return self.vocabulary.tokenizer

    def texts(self) -> list[str]:
        """The texts without special tokens."""
        return self.tokenizer.batch_decode(self.ids.tolist(), skip_special_tokens=True)

    def take(self, count: int) -> "Sample":
        """`count` of the texts, evenly spread; all where there are no more."""
        return Sample(self.ids[spread(len(self.ids), count)], self.vocabulary, self.split)


def spread(available: int, count: int) -> torch.LongTensor:
    """At most `count` indices below `available`, evenly spread."""
    count = min(available, count)
    return torch.arange(count) * available // max(count, 1)


def load_checkpoint(name: str):
    """
    A concept model in eval mode with its own tokenizer: with decoder and head where it is a language model, else the
    encoder alone.

    Raises:
        ValueError: there is no such checkpoint, it holds no concept model, or it lacks weights or tokenizer.
    """
    try:
        config = AutoConfig.from_pretrained(name)
        if config.model_type not in CONCEPT_MODEL_TYPES:
            raise ValueError(f"it holds a model of type {config.model_type!r}, no concept model")
        readers = {kind.__name__ for models in AUTO_MODELS.values() for kind in models[AutoModelForMaskedLM]}
        reads = bool(readers & set(config.architectures or ()))
        model = (AutoModelForMaskedLM if reads else AutoModel).from_pretrained(name).eval()
        model.tokenizer = model.tokenizer  # read, and checked, before anything is computed
    except UNREADABLE as error:
        raise ValueError(f"The checkpoint {name!r} cannot be analysed: {first_line(error)}") from error
    return model


def load_sample(
    tokenizer,
    length: int,
    count: int,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    column: str | None = None,
    split: str = "validation",
    streaming: bool = False,
) -> Sample:
    """
    Pieces of `length` tokens from everywhere in a text.

    Args:
        tokenizer: of the model.
        length: N, special tokens counted.
        count: of texts wanted; fewer where the data have no more.
        dataset_name: Hub id, local folder or file; the embedded corpus by default.
        dataset_config_name: configuration of the data set.
        column: that holds the text.
        split: of the data; of a file, its name in reports.
        streaming: read without downloading all.

    Raises:
        ValueError: data, split or column do not exist, or fewer than 60 such pieces.
    """
    if dataset_name is not None and Path(dataset_name).is_file():
        raw = load_files({split: dataset_name}, {"streaming": streaming})
    else:
        raw = load_text(dataset_name, dataset_config_name, streaming=streaming)
    if split not in raw:
        raise ValueError(f"The data has no split {split!r}; its splits are {sorted(raw)}.")
    rows = raw[split].take(ROWS_PER_TEXT * count)
    names, column = column_names(rows), text_column(rows, column)
    if dataset_name is not None and len(names) > 1:
        print(f"Text: column {column!r} of {', '.join(names)}.")
    maker = PieceMaker(tokenizer, length, short_piece_probability=0.0, line_by_line=False, seed=0)
    pieces = make_pieces(rows, column, maker)
    whole = [piece for piece in (row["input_ids"] for row in pieces) if len(piece) == length]
    if len(whole) < FEWEST_TEXTS:
        raise ValueError(
            f"The text gives {len(whole)} pieces of {length} tokens, and an analysis needs at least {FEWEST_TEXTS}: "
            "give more text, or a smaller --max_seq_length."
        )
    return Sample(torch.tensor(whole), Vocabulary.of(tokenizer), split).take(count)


def batches(tokenizer, rows, batch_size: int, description: str) -> Iterator[dict[str, torch.Tensor]]:
    """`rows` of token ids as padded `input_ids` and `attention_mask` [B, N], in order, behind a progress bar."""
    collator = ConceptDataCollator(tokenizer)
    for start in tqdm(range(0, len(rows), batch_size), desc=description, leave=False):
        yield collator.pad(rows[start : start + batch_size])


def encode(model, rows, batch_size: int, description: str) -> torch.Tensor:
    """Concepts [T, C, H] (float32, CPU) of `rows` of token ids."""
    encoder, found = model.base_model, []
    with encoder.reading():
        for batch in batches(model.tokenizer, rows, batch_size, description):
            output = encoder(**{name: value.to(model.device) for name, value in batch.items()})
            found.append(output.last_hidden_state.float().cpu())
    return torch.cat(found)
