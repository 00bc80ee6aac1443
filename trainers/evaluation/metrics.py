# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Metrics of concepts and of reconstructions.

T texts, B texts of a batch, N tokens, C concepts, H hidden.

Each concept of each text is its mean over texts plus a part that depends on the text: z[t, c] = mean[c] + r[t, c].
Concepts that ignore the input have r = 0, however diverse their means are; they can reach the best value of each of
`original_metrics`, beside which reports show the values of such concepts, made by `constants_like`.
"""

from collections.abc import Iterable
from statistics import mean

import torch
import torch.nn.functional as F


# The original measured batches of 16 texts and averaged over batches.
BATCH = 16


def effective_rank(matrix: torch.Tensor) -> torch.Tensor:
    """exp(entropy of the normalised singular values) (Roy & Vetterli 2007) of `matrix` [..., C, H] -> [...]."""
    values = torch.linalg.svdvals(matrix.double())
    shares = values / values.sum(dim=-1, keepdim=True).clamp(min=1e-30)
    return torch.special.entr(shares).sum(dim=-1).exp().float()


def concept_metrics(concepts: torch.Tensor) -> dict[str, float]:
    """
    Geometry of the concepts of several texts.

    Args:
        concepts: [T, C, H] with T >= 2, all with the same number of concepts.

    Returns:
        content_fraction: share of the energy that depends on the text, 1 - sum |mean[c]|² / E sum |z[c]|².
        content_erank: effective rank of r[t] (C x H), averaged over texts; at most min(C, H).
        pooled_erank: effective rank of the texts' mean r[t] (T x H).
        duplicate_share: share of concepts with a near-duplicate in their text: a cosine of their r above 0.95.
        ref_rank: sum of singular values over the largest of the mean over texts, the original implementation's
            rank. Concepts that ignore the text can reach the maximum.

    Raises:
        ValueError: fewer than two texts.
    """
    if concepts.dim() != 3 or len(concepts) < 2:
        raise ValueError(f"Concept metrics need concepts [T >= 2, C, H], not {list(concepts.shape)}.")
    concepts = concepts.float()
    common = concepts.mean(dim=0)
    content = concepts - common
    energy = concepts.square().sum(dim=(1, 2)).mean().clamp(min=1e-30)
    return {
        "content_fraction": float(1 - common.square().sum() / energy),
        "content_erank": float(effective_rank(content).mean()),
        "pooled_erank": float(effective_rank(content.mean(dim=1))),
        "duplicate_share": duplicate_share(content),
        "ref_rank": reference_rank(common),
    }


def duplicate_share(content: torch.Tensor) -> float:
    """Share of the rows of `content` [T, C, H] with a near-duplicate in their text: a cosine above 0.95."""
    count = 0
    for text in F.normalize(content, dim=-1):
        similarity = text @ text.T
        similarity.fill_diagonal_(-1)
        count += int((similarity.amax(dim=1) > 0.95).sum())
    return count / (content.shape[0] * content.shape[1])


def repeated_share(ids: torch.Tensor, segments: int) -> float:
    """Share of the `segments` of texts [T, N] that equal another segment of their text; N is a multiple of `segments`.
    Concepts that hold one segment each have at least as many near-duplicates."""
    parts = ids.unflatten(1, (segments, -1))
    equal = (parts[:, :, None] == parts[:, None]).all(dim=-1)
    return float((equal.sum(dim=-1) > 1).float().mean())


def reference_rank(matrix: torch.Tensor) -> float:
    """Sum over largest singular value of `matrix` [C, H]."""
    values = torch.linalg.svdvals(matrix.double())
    return float(values.sum() / values[0].clamp(min=1e-30))


def original_metrics(concepts: torch.Tensor) -> dict[str, float]:
    """
    The metrics of the original concept analysis that the experiment list reports, under their original names.

    Args:
        concepts: [T, C, H].

    Returns:
        global_effective_rank: sum over largest singular value of the uncentred mean over all texts [C, H].
        top_1_dominance: its inverse.
        effective_rank: the same of the mean over a batch.
        mean_concept_similarity: mean absolute cosine between two concepts of a text; max_concept_similarity: largest
            signed one in the batch. 0 for a single concept.

        The last three are means over batches of 16 texts; a smaller last batch is left out unless it is the only one.
    """
    concepts = concepts.double()
    rank = reference_rank(concepts.mean(dim=0))
    batches = [part for part in concepts.split(BATCH) if len(part) == BATCH] or [concepts]
    cosines = [pair_cosines(part) for part in batches]
    return {
        "global_effective_rank": rank,
        "top_1_dominance": 1 / rank,
        "effective_rank": mean(reference_rank(part.mean(dim=0)) for part in batches),
        "mean_concept_similarity": mean(float(part.abs().mean()) for part in cosines),
        "max_concept_similarity": mean(float(part.max()) for part in cosines),
    }


def pair_cosines(concepts: torch.Tensor) -> torch.Tensor:
    """Cosines between the concepts [B, C, H] of each text: [B, C (C - 1)]; one 0 for a single concept."""
    directions = F.normalize(concepts, dim=-1)
    cosines = (directions @ directions.transpose(1, 2))[:, ~torch.eye(concepts.shape[1], dtype=torch.bool)]
    return cosines if cosines.numel() else concepts.new_zeros(1, 1)


def constants_like(concepts: torch.Tensor) -> torch.Tensor:
    """Concepts [T, C, H] that are equal in all texts, mutually orthogonal if C <= H, with the mean norm of
    `concepts`."""
    texts, count, width = concepts.shape
    made = torch.randn(max(count, width), min(count, width), generator=torch.Generator().manual_seed(0))
    made = torch.linalg.qr(made).Q
    made = F.normalize(made.T if count <= width else made, dim=-1) * concepts.norm(dim=-1).mean()
    return made.expand(texts, -1, -1)


@torch.no_grad()
def reconstruction_metrics(
    model, batches: Iterable[dict], special_ids: Iterable[int], unknown_id: int | None = None, **options
) -> dict[str, float]:
    """
    Reconstruction of clean texts from their concepts.

    Args:
        model: with `reconstruct_ids`.
        batches: dicts with `input_ids` and `attention_mask` [B, N].
        special_ids: tokens that are not counted, as padding is not.
        unknown_id: token that is counted as an error even if it is predicted.
        options: of `reconstruct_ids`.

    Returns:
        reconstruction_accuracy: share of tokens.
        exact_match: share of texts without an error.
        reconstruction_tokens: number of tokens counted.
    """
    right = tokens = exact = texts = 0
    special = torch.tensor(sorted(special_ids), device=model.device)
    for batch in batches:
        ids, mask = batch["input_ids"].to(model.device), batch["attention_mask"].to(model.device)
        counted = mask.bool() & ~torch.isin(ids, special)
        hits = (model.reconstruct_ids(ids, mask, **options) == ids) & counted
        if unknown_id is not None:
            hits &= ids != unknown_id
        right, tokens = right + int(hits.sum()), tokens + int(counted.sum())
        exact, texts = exact + int((hits == counted).all(dim=1).sum()), texts + len(ids)
    return {
        "reconstruction_accuracy": right / max(tokens, 1),
        "exact_match": exact / max(texts, 1),
        "reconstruction_tokens": tokens,
    }
