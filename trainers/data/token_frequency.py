# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Frequencies of tokens, and weights by inverse frequency. V vocabulary."""

import hashlib
from collections.abc import Callable, Iterable
from itertools import islice

import numpy as np
import torch
from datasets import Dataset, IterableDataset
from torch.utils.data import DataLoader


# The number of pieces that are counted together, and of those of a stream that are counted at all.
ROWS, STREAMED_ROWS = 20_000, 100_000

SIF_SMOOTHING = 0.003


def token_counts(pieces, vocab_size: int, collator: Callable | None = None) -> torch.Tensor:
    """
    The number of occurrences of each token in the training data, float64 [V].

    Args:
        pieces: a data set with the column `input_ids`; of a stream, and of any other kind of data, the first
            `STREAMED_ROWS` rows are counted.
        collator: makes a batch of rows of these others.
    """
    if isinstance(pieces, Dataset) and "input_ids" in pieces.column_names:
        total = np.zeros(vocab_size, dtype=np.int64)
        for part in pieces.select_columns("input_ids").with_format("arrow").iter(ROWS):
            for chunk in part["input_ids"].chunks:
                total += np.bincount(chunk.flatten().to_numpy(), minlength=vocab_size)
        return torch.from_numpy(total).double()
    counts, size = torch.zeros(vocab_size, dtype=torch.float64), min(1000, STREAMED_ROWS)
    generator = torch.Generator()  # a loader draws a seed, here not from the global generator
    loader = DataLoader(pieces, batch_size=size, collate_fn=collator, generator=generator)
    for batch in islice(loader, STREAMED_ROWS // size):
        counts += torch.bincount(batch["input_ids"][batch["attention_mask"].bool()], minlength=vocab_size)
    return counts


def order_digest(pieces: Dataset | IterableDataset) -> str:
    """A digest of the first `STREAMED_ROWS` rows of `input_ids` and their order."""
    ids, lengths = hashlib.sha256(), hashlib.sha256()
    for part in pieces.select_columns("input_ids").with_format("arrow").take(STREAMED_ROWS).iter(1000):
        for chunk in part["input_ids"].chunks:  # chunks differ between new data and those of a cache
            for digest, values in ((ids, chunk.flatten()), (lengths, chunk.value_lengths())):
                digest.update(values.to_numpy().astype(np.int64).tobytes())
    return ids.hexdigest()[:6] + lengths.hexdigest()[:6]


def unigram_entropy(counts: torch.Tensor, ignored: Iterable[int] = ()) -> float:
    """Entropy in nats per token of the frequencies `counts` [V], without the ids in `ignored`."""
    counts = counts.clone()
    counts[list(ignored)] = 0
    return float(torch.special.entr(counts / counts.sum().clamp(min=1)).sum())


def inverse_frequency(
    counts: torch.Tensor, ignored: Iterable[int] = (), smoothing: float = SIF_SMOOTHING
) -> torch.Tensor:
    """
    Smooth inverse frequency a / (a + p) (Arora, Liang & Ma 2017, A simple but tough-to-beat baseline for sentence
    embeddings): 1 for a token that never occurs, little for one that always does.

    Args:
        counts: of tokens [V]; p is their share.
        ignored: tokens that weigh nothing, such as those around every text; they do not count in p either.
        smoothing: a, positive.
    """
    ignored, counts = list(ignored), counts.clone()
    counts[ignored] = 0
    weights = smoothing / (smoothing + counts / counts.sum().clamp(min=1))
    weights[ignored] = 0
    return weights


def lacks_token_weights(model) -> bool:
    """Whether the tokens of a model with `concept_mean="weighted"` still weigh 1 each. Above layers of a backbone,
    whose states are not those of single tokens, they always do, and need no weights."""
    weights = getattr(model.base_model, "token_weights", None)
    return weights is not None and model.config.backbone_config is None and bool((weights.weights == 1).all())
