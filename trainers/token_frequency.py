# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""How often tokens occur, and what they weigh for it. V vocabulary."""

import hashlib
from collections.abc import Iterable
from functools import partial

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, IterableDataset


# So many pieces are counted together; so many of a stream stand for all.
ROWS, STREAMED_ROWS = 20_000, 100_000


def token_counts(pieces: Dataset | IterableDataset, vocab_size: int) -> torch.Tensor:
    """
    How often each token occurs in the `input_ids` of a data set, float64 [V]; of a stream, in the first
    `STREAMED_ROWS` rows.

    Counts of a data set are cached like all that `Dataset.map` computes.
    """
    rows = pieces.select_columns("input_ids").with_format("arrow")
    if isinstance(pieces, Dataset):
        counter = partial(count_rows, vocab_size=vocab_size)
        options = {"batched": True, "batch_size": ROWS, "remove_columns": "input_ids", "desc": "Counting tokens"}
        parts = rows.map(counter, **options).with_format("numpy")["counts"]
    else:
        parts = [count_rows(part, vocab_size)["counts"][0] for part in rows.take(STREAMED_ROWS).iter(1000)]
    return torch.from_numpy(sum(parts, start=np.zeros(vocab_size, dtype=np.int64))).double()


def order_digest(pieces: Dataset | IterableDataset) -> str:
    """What tells the first `STREAMED_ROWS` rows of `input_ids` from others, and from themselves in another order."""
    ids, lengths = hashlib.sha256(), hashlib.sha256()
    for part in pieces.select_columns("input_ids").with_format("arrow").take(STREAMED_ROWS).iter(1000):
        for chunk in part["input_ids"].chunks:  # which differ between data that are new and those of a cache
            for digest, values in ((ids, chunk.flatten()), (lengths, chunk.value_lengths())):
                digest.update(values.to_numpy().astype(np.int64).tobytes())
    return ids.hexdigest()[:6] + lengths.hexdigest()[:6]


def count_rows(rows: pa.Table, vocab_size: int) -> dict[str, list[np.ndarray]]:
    """One row of counts [V]."""
    ids = [chunk.flatten().to_numpy() for chunk in rows["input_ids"].chunks]
    return {"counts": [np.bincount(np.concatenate(ids), minlength=vocab_size)]}


def unigram_entropy(counts: torch.Tensor, ignored: Iterable[int] = ()) -> float:
    """Entropy in nats per token of the frequencies `counts` [V], without the ids in `ignored`."""
    counts = counts.clone()
    counts[list(ignored)] = 0
    return float(torch.special.entr(counts / counts.sum().clamp(min=1)).sum())


def inverse_frequency(counts: torch.Tensor, smoothing: float, ignored: Iterable[int] = ()) -> torch.Tensor:
    """
    Smooth inverse frequency a / (a + p) (Arora, Liang & Ma 2017, A simple but tough-to-beat baseline for sentence
    embeddings): 1 for a token that never occurs, little for one that always does.

    Args:
        counts: of tokens [V]; p is their share.
        smoothing: a, positive.
        ignored: tokens that weigh nothing, such as those around every text; they do not count in p either.

    Raises:
        ValueError: `smoothing` is not positive.
    """
    if smoothing <= 0:
        raise ValueError(f"sif_smoothing must be positive, not {smoothing}.")
    ignored, counts = list(ignored), counts.clone()
    counts[ignored] = 0
    weights = smoothing / (smoothing + counts / counts.sum().clamp(min=1))
    weights[ignored] = 0
    return weights
