# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Concepts at right angles. G groups of S vectors, H hidden."""

import torch
import torch.nn.functional as F

from .base import ConceptLoss, cosines, pair_mean


THRESHOLD = 0.1  # the absolute cosine below which soft orthogonality is satisfied, as in the original


class Orthogonality(ConceptLoss):
    """
    Mean squared cosine between different vectors.

    Zero needs S <= H. It is at most 1, where all vectors lie on one line.
    """

    def vectors_loss(self, vectors: torch.Tensor) -> torch.Tensor:
        return pair_mean(cosines(vectors).square())

    def upper_bound(self, width: int) -> float:
        return 1.0


class SoftOrthogonality(ConceptLoss):
    """
    Mean square of the excess of the absolute cosine between different vectors over a threshold of 0.1.

    It is at most 0.81, where all vectors lie on one line.
    """

    def vectors_loss(self, vectors: torch.Tensor) -> torch.Tensor:
        return pair_mean(F.relu(cosines(vectors).abs() - THRESHOLD).square())

    def upper_bound(self, width: int) -> float:
        return (1 - THRESHOLD) ** 2
