# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Variance and covariance (Bardes, Ponce & LeCun 2022, VICReg, arXiv 2105.04906). G groups of S vectors, H hidden."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .base import ConceptLoss, off_diagonal
from .uniformity import Uniformity


VARIANCE_EPSILON = 1e-4


@dataclass
class Variance(ConceptLoss):
    """
    Mean over dimensions of what the standard deviation, sqrt(variance + 1e-4), lacks to 1.

    It is at most 0.99, where all vectors are equal.
    """

    scope = "flat"

    def vectors_loss(self, vectors: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        return F.relu(1 - torch.sqrt(vectors.var(dim=1) + VARIANCE_EPSILON)).mean()

    def worst(self, width: int) -> float:
        return 1 - VARIANCE_EPSILON**0.5


@dataclass
class Covariance(ConceptLoss):
    """
    Sum of the squared covariances between different dimensions, divided by H.

    It is at most 4 (H - 1). The squares of all entries sum to at most the squared trace, which for norms up to sqrt(H)
    is at most (H S / (S - 1))² <= (2 H)²; the diagonal takes at least trace² / H of it. Two opposite vectors with all
    entries 1 in absolute value reach the bound; many vectors on their line have a quarter of it.
    """

    scope = "flat"

    def vectors_loss(self, vectors: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        centred = vectors - vectors.mean(dim=1, keepdim=True)
        covariance = centred.mT @ centred / (vectors.shape[1] - 1)
        return off_diagonal(covariance).square().sum() / (len(vectors) * vectors.shape[2])

    def worst(self, width: int) -> float:
        return 4.0 * (width - 1)


@dataclass
class VICReg(ConceptLoss):
    """
    Variance plus covariance, weighted 1 to 1.

    The paper's weights, 25 for variance and 1 for covariance, are to stand against 25 for the invariance between two
    views of an input, a term that a single view lacks.

    The sum is at most that of the covariance alone, 4 (H - 1). With v the variances of the dimensions, m <= 2 their
    mean, it is at most the mean of H m² - v² + relu(1 - sqrt(v)), and since the last is at most (v - 2)², at most
    H m² + 4 - 4 m: largest at m = 2, if H >= 2. A single dimension has no covariance.
    """

    scope = "flat"

    def vectors_loss(self, vectors: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        return Variance().vectors_loss(vectors, generator) + Covariance().vectors_loss(vectors, generator)

    def worst(self, width: int) -> float:
        return max(Variance().worst(width), Covariance().worst(width))


@dataclass
class Combined(ConceptLoss):
    """
    Variance plus uniformity, weighted 1 to 1, each in its own scope unless one is asked for.

    It is at least exp(-4 T) and at most 1.99, where all vectors are equal.

    Args:
        uniformity_temperature: T of the uniformity term.
    """

    uniformity_temperature: float = 2.0

    scope = None
    positive = True

    def __post_init__(self):
        self.terms = (Variance(), Uniformity(self.uniformity_temperature))

    def vectors_loss(self, vectors: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        return sum(term.vectors_loss(vectors, generator) for term in self.terms)

    def worst(self, width: int) -> float:
        return sum(term.worst(width) for term in self.terms)

    def __call__(
        self,
        concepts: torch.Tensor,
        scope: str | None = None,
        part: str = "raw",
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        return sum(term(concepts, scope, part, generator) for term in self.terms)
