# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Losses on directions: at right angles, or spread evenly over the sphere. G groups of S vectors, H hidden."""

from typing import ClassVar

import torch
import torch.nn.functional as F

from .base import ConceptLoss, cosines, pair_mean


TEMPERATURE = 2.0  # of uniformity: the larger, the more the nearest pairs count


class Orthogonality(ConceptLoss):
    """
    Mean squared cosine between different vectors.

    Zero needs S <= H. It is at most 1, where all vectors lie on one line.
    """

    threshold: ClassVar[float] = 0.0

    def vectors_loss(self, vectors: torch.Tensor) -> torch.Tensor:
        return pair_mean(F.relu(cosines(vectors).abs() - self.threshold).square())

    def upper_bound(self, width: int) -> float:
        return (1 - self.threshold) ** 2


class SoftOrthogonality(Orthogonality):
    """
    Mean square of the excess of the absolute cosine between different vectors over 0.1, as in the original.

    It is at most 0.81, where all vectors lie on one line.
    """

    threshold: ClassVar[float] = 0.1


class Uniformity(ConceptLoss):
    """
    Mean of exp(-2 d²) over different vectors, d the distance between their directions (Wang & Isola 2020, arXiv
    2005.10242). The paper takes its logarithm.

    It is at least exp(-8), at opposite directions, and at most 1, where all vectors have the same direction.
    """

    positive = True

    def vectors_loss(self, vectors: torch.Tensor) -> torch.Tensor:
        return pair_mean(torch.exp(-TEMPERATURE * (2 - 2 * cosines(vectors))))

    def upper_bound(self, width: int) -> float:
        return 1.0
