# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Directions spread evenly over the sphere (Wang & Isola 2020, arXiv 2005.10242). G groups of S vectors, H hidden."""

import torch

from .base import ConceptLoss, cosines, pair_mean


TEMPERATURE = 2.0  # the larger, the more the nearest pairs count


class Uniformity(ConceptLoss):
    """
    Mean of exp(-2 d²) over different vectors, d the distance between their directions. The paper takes its logarithm.

    It is at least exp(-8), at opposite directions, and at most 1, where all vectors have the same direction.
    """

    positive = True

    def vectors_loss(self, vectors: torch.Tensor) -> torch.Tensor:
        return pair_mean(torch.exp(-TEMPERATURE * (2 - 2 * cosines(vectors))))

    def upper_bound(self, width: int) -> float:
        return 1.0
