# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""How often tokens occur, and what they weigh for it. V vocabulary."""

from collections.abc import Iterable

import torch


def token_counts(rows: Iterable[list[int]], vocab_size: int) -> torch.Tensor:
    """How often each token occurs in `rows`, float64 [V]."""
    counts = torch.zeros(vocab_size, dtype=torch.float64)
    for row in rows:
        counts += torch.bincount(torch.tensor(row, dtype=torch.long), minlength=vocab_size)
    return counts


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
