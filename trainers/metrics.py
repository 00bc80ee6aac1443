# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Honest numbers about concepts and their reconstructions.

T texts, C concepts, H hidden, V vocabulary.

Each concept of each text is split into what does not depend on the text and what does: z[t, c] = mean[c] + r[t, c],
where mean[c] is the average over texts. A code that ignores its input has r = 0, however diverse its means.
"""

from collections.abc import Iterable

import torch


def effective_rank(matrix: torch.Tensor) -> torch.Tensor:
    """exp(entropy of the normalised singular values) (Roy & Vetterli 2007) of `matrix` [..., C, H] -> [...]."""
    values = torch.linalg.svdvals(matrix.double())
    shares = values / values.sum(dim=-1, keepdim=True).clamp(min=1e-30)
    return torch.special.entr(shares).sum(dim=-1).exp().float()


def concept_metrics(concepts: torch.Tensor, duplicate_cosine: float = 0.95) -> dict[str, float]:
    """
    Geometry of the concepts of several texts.

    Args:
        concepts: [T, C, H] with T >= 2, all with the same number of concepts.
        duplicate_cosine: cosine above which two concepts of a text count as duplicates.

    Returns:
        content_fraction: share of the energy that depends on the text, 1 - sum |mean[c]|² / E sum |z[c]|².
        content_erank: effective rank of r[t] (C x H), averaged over texts; at most min(C, H).
        pooled_erank: effective rank of the texts' mean r[t] (T x H).
        duplicate_share: share of concepts whose r has a cosine above `duplicate_cosine` to another's in its text.
        ref_rank: sum of singular values over the largest of the uncentred mean matrix. It is high for constants that
            ignore the text; only for comparison with older reports.

    Raises:
        ValueError: fewer than two texts, from which nothing can be said about what depends on the text.
    """
    if concepts.dim() != 3 or len(concepts) < 2:
        raise ValueError(f"Concept metrics need concepts [T >= 2, C, H], not {list(concepts.shape)}.")
    concepts = concepts.float()
    mean = concepts.mean(dim=0)
    content = concepts - mean
    energy = concepts.square().sum(dim=(1, 2)).mean().clamp(min=1e-30)
    return {
        "content_fraction": float(1 - mean.square().sum() / energy),
        "content_erank": float(effective_rank(content).mean()),
        "pooled_erank": float(effective_rank(content.mean(dim=1))),
        "duplicate_share": duplicate_share(content, duplicate_cosine),
        "ref_rank": reference_rank(mean),
    }


def duplicate_share(content: torch.Tensor, cosine: float) -> float:
    """Share of the rows of `content` [T, C, H] that have a near-duplicate in their text; 0 for a single concept."""
    if content.shape[1] < 2:
        return 0.0
    directions = torch.nn.functional.normalize(content, dim=-1)
    count = 0
    for text in directions:
        similarity = text @ text.T
        similarity.fill_diagonal_(-1)
        count += int((similarity.amax(dim=1) > cosine).sum())
    return count / (content.shape[0] * content.shape[1])


def repeated_share(ids: torch.Tensor, segments: int) -> float:
    """Share of the `segments` of texts [T, N], N a multiple of their number, whose tokens stand in another segment of
    the text, too: concepts that hold a segment each have as many near-duplicates for a reason."""
    parts = ids.unflatten(1, (segments, -1))
    equal = (parts[:, :, None] == parts[:, None]).all(dim=-1)
    return float((equal.sum(dim=-1) > 1).float().mean())


def reference_rank(matrix: torch.Tensor) -> float:
    """Sum over largest singular value of `matrix` [C, H]."""
    values = torch.linalg.svdvals(matrix.double())
    return float(values.sum() / values[0].clamp(min=1e-30))


def singular_spectrum(concepts: torch.Tensor) -> torch.Tensor:
    """Singular values [min(C, H)] of r[t], each text's divided by its largest, averaged over texts."""
    values = torch.linalg.svdvals((concepts - concepts.mean(dim=0)).double())
    return (values / values[:, :1].clamp(min=1e-30)).mean(dim=0).float()


@torch.no_grad()
def reconstruction_metrics(model, batches: Iterable[dict], special_ids: Iterable[int]) -> dict[str, float]:
    """
    How much of clean texts comes back from their concepts.

    Args:
        model: with `reconstruct_ids`.
        batches: dicts with `input_ids` and `attention_mask` [B, N].
        special_ids: tokens that are not counted; padding neither.

    Returns:
        reconstruction_accuracy: share of tokens.
        exact_match: share of texts all of whose tokens are right.
        reconstruction_tokens: number of tokens counted.
    """
    right = tokens = exact = texts = 0
    special = torch.tensor(sorted(special_ids), device=model.device)
    for batch in batches:
        ids, mask = batch["input_ids"].to(model.device), batch["attention_mask"].to(model.device)
        counted = mask.bool() & ~torch.isin(ids, special)
        hits = (model.reconstruct_ids(ids, mask) == ids) & counted
        right, tokens = right + int(hits.sum()), tokens + int(counted.sum())
        exact, texts = exact + int((hits == counted).all(dim=1).sum()), texts + len(ids)
    return {
        "reconstruction_accuracy": right / max(tokens, 1),
        "exact_match": exact / max(texts, 1),
        "reconstruction_tokens": tokens,
    }
