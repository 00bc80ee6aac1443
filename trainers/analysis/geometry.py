# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Geometry of concepts as older reports measured it, beside the numbers of `trainers/metrics.py` that mean something.

All of `legacy_metrics` can be made good by concepts that ignore the text: `constants_like` makes such concepts, and a
report shows what they score.

T texts, B texts of a batch, C concepts, H hidden.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..metrics import reference_rank


# The original measured batches of 16 texts and averaged over batches.
BATCH = 16


@dataclass(frozen=True)
class Cut:
    """When older reports called a value good, or at least acceptable; `None` where they had no cut."""

    good: float
    ok: float
    higher_is_better: bool

    def grade(self, value: float) -> str:
        """GOOD, OK or POOR."""
        sign = 1 if self.higher_is_better else -1
        return "GOOD" if sign * value >= sign * self.good else "OK" if sign * value >= sign * self.ok else "POOR"


# Ranks were judged by their share of what 128 concepts allow; as shares they hold for any number.
LEGACY_CUTS = {
    "global_effective_rank_normalized": Cut(0.7, 0.3, True),
    "dimensions_for_95_variance_normalized": Cut(50 / 128, 10 / 128, True),
    "mean_concept_similarity": Cut(0.3, 0.5, False),
    "max_concept_similarity": Cut(0.6, 0.8, False),
    "top_1_dominance": Cut(0.3, 0.5, False),
    "uniformity_loss": Cut(0.3, 0.6, False),
    "isotropy": Cut(0.01, 0.001, True),
    "participation_ratio_normalized": Cut(0.3, 0.1, True),
    "mean_dimension_std": Cut(0.8, 0.3, True),
    "min_dimension_std": Cut(0.1, 0.01, True),
    "active_dimensions": Cut(0.99, 0.9, True),
}


@torch.no_grad()
def legacy_metrics(concepts: torch.Tensor) -> dict[str, float]:
    """
    The metrics of the original implementation's concept analysis, under its names.

    Args:
        concepts: [T, C, H].

    Returns:
        global_effective_rank: sum over largest singular value of the uncentred mean over all texts [C, H];
            `_normalized` by min(C, H). top_1_dominance: its inverse.
        effective_rank, dimensions_for_95_variance (`_normalized` by min(C, H)), top_1_variance_ratio,
        top_5_variance_ratio: of the mean over a batch.
        mean_concept_similarity: mean absolute cosine between two concepts of a text; max_concept_similarity: largest
            signed one in the batch. 0 for a single concept.
        uniformity_loss: mean of exp(-2 d²) over pairs of concepts of a text on the unit sphere.
        isotropy: smallest over largest eigenvalue of the covariance of a batch's concepts [B·C, H].
        participation_ratio: (sum of these eigenvalues)² over the sum of their squares; `_normalized` by H.
        mean_dimension_std, min_dimension_std, collapsed_dimensions (below 1e-4), active_dimensions (share of the
            others): standard deviation of each of the H dimensions over the batch's concepts.
        concept_norm_mean, _std, _min, _max.

        All but the first three are means over batches of 16 texts; a last batch that is smaller is left out unless
        it is the only one.

    Raises:
        ValueError: `concepts` has not three axes.
    """
    if concepts.dim() != 3 or not len(concepts):
        raise ValueError(f"Concept metrics need concepts [T, C, H], not {list(concepts.shape)}.")
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
    """What `legacy_metrics` measures in one batch [B, C, H]."""
    count, width = concepts.shape[1:]
    mean = concepts.mean(dim=0)
    energy = torch.linalg.svdvals(mean).square()
    shares = energy / energy.sum().clamp(min=1e-30)
    dimensions = 1 + int((shares.cumsum(0) < 0.95).sum())

    directions = F.normalize(concepts, dim=-1)
    cosines = (directions @ directions.transpose(1, 2))[:, ~torch.eye(count, dtype=torch.bool, device=mean.device)]
    if not cosines.numel():  # a single concept has no pair
        cosines = concepts.new_zeros(1, 1)

    rows = concepts.flatten(0, 1)
    spectrum = torch.linalg.eigvalsh(torch.cov(rows.T).reshape(width, width)).clamp(min=0)
    participation = float(spectrum.sum().square() / spectrum.square().sum().clamp(min=1e-30))
    deviations, norms = rows.std(dim=0), rows.norm(dim=-1)
    collapsed = int((deviations < 1e-4).sum())
    return {
        "effective_rank": reference_rank(mean),
        "dimensions_for_95_variance": float(dimensions),
        "dimensions_for_95_variance_normalized": dimensions / min(count, width),
        "top_1_variance_ratio": float(shares[0]),
        "top_5_variance_ratio": float(shares[:5].sum()),
        "mean_concept_similarity": float(cosines.abs().mean()),
        "max_concept_similarity": float(cosines.max()),
        "uniformity_loss": float((-2 * (2 - 2 * cosines)).exp().mean()),
        "isotropy": float(spectrum[0] / spectrum[-1].clamp(min=1e-30)),
        "participation_ratio": participation,
        "participation_ratio_normalized": participation / width,
        "mean_dimension_std": float(deviations.mean()),
        "min_dimension_std": float(deviations.min()),
        "collapsed_dimensions": float(collapsed),
        "active_dimensions": 1 - collapsed / width,
        "concept_norm_mean": float(norms.mean()),
        "concept_norm_std": float(norms.std()),
        "concept_norm_min": float(norms.min()),
        "concept_norm_max": float(norms.max()),
    }


def constants_like(concepts: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Concepts [T, C, H] that are the same for every text, mutually orthogonal where C <= H, and as long as
    `concepts` on average."""
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
