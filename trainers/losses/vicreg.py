# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Variance and covariance (Bardes, Ponce & LeCun 2022, VICReg, arXiv 2105.04906). G groups of S vectors, H hidden."""

import torch
import torch.nn.functional as F

from .base import ConceptLoss, off_diagonal
from .directions import Uniformity


VARIANCE_EPSILON = 1e-4


class Variance(ConceptLoss):
    """
    Mean over dimensions of the amount by which the standard deviation, sqrt(variance + 1e-4), falls short of 1.

    It is at most 0.99, where all vectors are equal.
    """

    across_texts = True

    def vectors_loss(self, vectors: torch.Tensor) -> torch.Tensor:
        return F.relu(1 - torch.sqrt(vectors.var(dim=1) + VARIANCE_EPSILON)).mean()

    def upper_bound(self, width: int) -> float:
        return 1 - VARIANCE_EPSILON**0.5


class Covariance(ConceptLoss):
    """
    Sum of the squared covariances between different dimensions, divided by H.

    It is at most 4 (H - 1). The squares of all entries sum to at most the squared trace, which for norms up to sqrt(H)
    is at most (H S / (S - 1))² <= (2 H)²; the diagonal takes at least trace² / H of it. Two opposite vectors with all
    entries 1 in absolute value reach the bound; many vectors on their line have a quarter of it.
    """

    across_texts = True

    def vectors_loss(self, vectors: torch.Tensor) -> torch.Tensor:
        centred = vectors - vectors.mean(dim=1, keepdim=True)
        covariance = centred.mT @ centred / (vectors.shape[1] - 1)
        return off_diagonal(covariance).square().sum() / (len(vectors) * vectors.shape[2])

    def upper_bound(self, width: int) -> float:
        return 4.0 * (width - 1)


class VICReg(ConceptLoss):
    """
    Variance plus covariance, weighted 1 to 1.

    The paper's weights, 25 for variance and 1 for covariance, balance 25 for the invariance between two views of an
    input, a term that a single view does not have.

    The sum is at most that of the covariance alone, 4 (H - 1). With v the variances of the dimensions, m <= 2 their
    mean, it is at most the mean of H m² - v² + relu(1 - sqrt(v)), and since the last is at most (v - 2)², at most
    H m² + 4 - 4 m: largest at m = 2, if H >= 2. A single dimension has no covariance.
    """

    across_texts = True

    def vectors_loss(self, vectors: torch.Tensor) -> torch.Tensor:
        return Variance().vectors_loss(vectors) + Covariance().vectors_loss(vectors)

    def upper_bound(self, width: int) -> float:
        return max(Variance().upper_bound(width), Covariance().upper_bound(width))


class Combined(ConceptLoss):
    """
    Variance, of all vectors of the batch, plus uniformity, of the concepts of each text, weighted 1 to 1.

    It is at least exp(-8) and at most 1.99, where all vectors are equal.
    """

    across_texts = True
    positive = True
    terms = (Variance(), Uniformity())

    def vectors_loss(self, vectors: torch.Tensor) -> torch.Tensor:
        return sum(term.vectors_loss(vectors) for term in self.terms)

    def upper_bound(self, width: int) -> float:
        return sum(term.upper_bound(width) for term in self.terms)

    def __call__(self, concepts: torch.Tensor, content: bool = False) -> torch.Tensor:
        return sum(term(concepts, content) for term in self.terms)
