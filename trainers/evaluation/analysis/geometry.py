# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Geometry of concepts as the original implementation measured it.

Concepts that ignore the text can reach the best value of every one of these metrics. Reports show the values of such
concepts, made by `constants_like`, beside them; `trainers/evaluation/metrics.py` has metrics that they cannot pass.

T texts, B texts of a batch, C concepts, H hidden.
"""

import torch
import torch.nn.functional as F

from ..metrics import reference_rank


# The original measured batches of 16 texts and averaged over batches.
BATCH = 16


@torch.no_grad()
def original_metrics(concepts: torch.Tensor) -> dict[str, float]:
    """
    The metrics of the original concept analysis, under their original names.

    Args:
        concepts: [T, C, H].

    Returns:
        global_effective_rank: sum over largest singular value of the uncentred mean over all texts [C, H];
            `_normalized` by min(C, H). top_1_dominance: its inverse.
        effective_rank, dimensions_for_95_variance, top_1_variance_ratio, top_5_variance_ratio: of the mean over a
            batch.
        mean_concept_similarity: mean absolute cosine between two concepts of a text; max_concept_similarity: largest
            signed one in the batch. 0 for a single concept.
        uniformity_loss: mean of exp(-2 d²) over pairs of concepts of a text on the unit sphere.
        isotropy: smallest over largest eigenvalue of the covariance of a batch's concepts [B·C, H].
        participation_ratio: (sum of these eigenvalues)² over the sum of their squares.
        collapsed_dimensions: number of the H dimensions whose standard deviation over these concepts is below 1e-4.

        All but the first three are means over batches of 16 texts; a smaller last batch is left out unless it is the
        only one.
    """
    concepts = concepts.double()
    rank = reference_rank(concepts.mean(dim=0))
    limit = min(concepts.shape[1:])
    parts = [part for part in concepts.split(BATCH) if len(part) == BATCH] or [concepts]
    found = [batch_metrics(part) for part in parts]
    return {
        "global_effective_rank": rank,
        "global_effective_rank_normalized": rank / limit,
        "top_1_dominance": 1 / rank,
        **{name: sum(values[name] for values in found) / len(found) for name in found[0]},
    }


def batch_metrics(concepts: torch.Tensor) -> dict[str, float]:
    """The part of [`original_metrics`] that is measured in one batch [B, C, H]."""
    count, width = concepts.shape[1:]
    mean = concepts.mean(dim=0)
    energy = torch.linalg.svdvals(mean).square()
    shares = energy / energy.sum().clamp(min=1e-30)

    directions = F.normalize(concepts, dim=-1)
    cosines = (directions @ directions.transpose(1, 2))[:, ~torch.eye(count, dtype=torch.bool, device=mean.device)]
    if not cosines.numel():  # a single concept has no pair
        cosines = concepts.new_zeros(1, 1)

    rows = concepts.flatten(0, 1)
    spectrum = torch.linalg.eigvalsh(torch.cov(rows.T).reshape(width, width)).clamp(min=0)
    return {
        "effective_rank": reference_rank(mean),
        "dimensions_for_95_variance": 1.0 + int((shares.cumsum(0) < 0.95).sum()),
        "top_1_variance_ratio": float(shares[0]),
        "top_5_variance_ratio": float(shares[:5].sum()),
        "mean_concept_similarity": float(cosines.abs().mean()),
        "max_concept_similarity": float(cosines.max()),
        "uniformity_loss": float((-2 * (2 - 2 * cosines)).exp().mean()),
        "isotropy": float(spectrum[0] / spectrum[-1].clamp(min=1e-30)),
        "participation_ratio": float(spectrum.sum().square() / spectrum.square().sum().clamp(min=1e-30)),
        "collapsed_dimensions": float((rows.std(dim=0) < 1e-4).sum()),
    }


def constants_like(concepts: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Concepts [T, C, H] that are equal in all texts, mutually orthogonal if C <= H, with the mean norm of
    `concepts`."""
    texts, count, width = concepts.shape
    made = torch.randn(max(count, width), min(count, width), generator=torch.Generator().manual_seed(seed))
    made = torch.linalg.qr(made).Q
    made = F.normalize(made.T if count <= width else made, dim=-1) * concepts.norm(dim=-1).mean()
    return made.expand(texts, -1, -1)


@torch.no_grad()
def concept_similarity(concepts: torch.Tensor) -> torch.Tensor:
    """Mean over texts of the cosines between the concepts of a text: [T, C, H] -> [C, C]."""
    directions = F.normalize(concepts.float(), dim=-1)
    return sum(text @ text.T for text in directions) / len(directions)
