# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""How often tokens occur, and token tables that start with it. V vocabulary, E token embedding width."""

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


@torch.no_grad()
def weigh_rows(model, counts: torch.Tensor, smoothing: float) -> None:
    """
    Multiply each row of the token table [V, E] by smooth inverse frequency a / (a + p) (Arora, Liang & Ma 2017, A
    simple but tough-to-beat baseline for sentence embeddings), so that the mean of a text's tokens is, before any
    training, about its rare words.

    Args:
        model: with concepts that read the table without a norm that takes the lengths of rows away.
        counts: of tokens [V]; p is their share.
        smoothing: a, positive.

    Raises:
        ValueError: a norm of each token, or of each concept, would undo it.
    """
    config = model.config
    if smoothing <= 0:
        raise ValueError(f"sif_smoothing must be positive, not {smoothing}.")
    if config.embedding_norm or config.output_norm_scope != "text":
        raise ValueError(
            "sif_smoothing gives rare tokens longer vectors, and norms make all equally long: it needs "
            "embedding_norm=false,output_norm_scope=text in --config_overrides."
        )
    table = model.get_input_embeddings().weight
    share = counts / counts.sum().clamp(min=1)
    table.mul_((smoothing / (smoothing + share)).to(table)[:, None])
