# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Vectors distributed as a standard normal (Balestriero & LeCun 2025, LeJEPA, arXiv 2511.08544).

G groups of S vectors, H hidden, D directions, P points of the integral.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from .base import ConceptLoss


# exp(-t²/2) is below 4e-6 beyond the range, and with this step the rule errs by less for projections between -7 and 7.
LARGEST_POINT = 5.0
POINTS = 17

# Numbers in an intermediate tensor, beyond which directions are taken in turn.
CHUNK_NUMBERS = 2**24


@dataclass
class SIGReg(ConceptLoss):
    """
    How far random one-dimensional projections of the vectors are from N(0, 1): the statistic of Epps & Pulley (1983),
    the integral of |mean exp(i t p) - exp(-t²/2)|² exp(-t²/2) over t, as a mean over directions.

    Unlike the test, and the paper, it is not multiplied by the number of vectors, so it does not grow with the batch.
    A standard normal in H dimensions has norms near sqrt(H). Equal vectors have equal gradients, so they stay equal:
    against collapse it needs a variance term beside it.

    Of one direction, the statistic is convex in the distribution of the projections p, so it is largest where all are
    equal; there it is sqrt(2 pi) + sqrt(2 pi / 3) - 2 sqrt(pi) exp(-p²/4). With |p| <= sqrt(H), the largest value is
    that of p² = H, which equal vectors have if all directions point to them.

    Args:
        sigreg_directions: number of random directions, drawn anew at every call.
    """

    sigreg_directions: int = 256

    scope = "batch"

    def __post_init__(self):
        if self.sigreg_directions < 1:
            raise ValueError(f"sigreg_directions must be at least 1, not {self.sigreg_directions}.")

    def vectors_loss(self, vectors: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        groups, size, width = vectors.shape
        directions = F.normalize(torch.randn(width, self.sigreg_directions, generator=generator), dim=0)
        projections = vectors @ directions.to(vectors.device)
        chunks = projections.split(max(1, CHUNK_NUMBERS // (groups * size * POINTS)), dim=-1)
        if len(chunks) == 1:
            return epps_pulley(projections).mean()
        # Recomputed in the backward pass: kept, the chunks would take as much memory as the whole.
        parts = [checkpoint(epps_pulley, chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]
        return torch.cat(parts, dim=-1).mean()

    def worst(self, width: int) -> float:
        return math.sqrt(2 * math.pi) + math.sqrt(2 * math.pi / 3) - 2 * math.sqrt(math.pi) * math.exp(-width / 4)


def epps_pulley(projections: torch.Tensor) -> torch.Tensor:
    """The statistic [G, D] of `projections` [G, S, D], by the trapezoid rule."""
    points = torch.linspace(0, LARGEST_POINT, POINTS, device=projections.device)
    normal = torch.exp(-points.square() / 2)
    # The integrand is even: twice the integral over t >= 0, whose first and last point count half.
    weights = 2 * LARGEST_POINT / (POINTS - 1) * normal
    weights[0] /= 2
    weights[-1] /= 2
    angles = projections[..., None] * points  # [G, S, D, P]
    real, imaginary = angles.cos().mean(dim=1), angles.sin().mean(dim=1)
    return ((real - normal).square() + imaginary.square()) @ weights
