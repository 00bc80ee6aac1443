# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Directions spread evenly over the sphere (Wang & Isola 2020, arXiv 2005.10242). G groups of S vectors, H hidden."""

from dataclasses import dataclass

import torch

from .base import ConceptLoss, cosines, pair_mean


@dataclass
class Uniformity(ConceptLoss):
    """
    Mean of exp(-T d²) over different vectors, d the distance between their directions. The paper takes its logarithm.

    It is at least exp(-4 T), at opposite directions, and at most 1, where all vectors have the same direction.

    Args:
        uniformity_temperature: T; the larger, the more the nearest pairs count.
    """

    uniformity_temperature: float = 2.0

    scope = "sample"
    positive = True

    def __post_init__(self):
        if self.uniformity_temperature <= 0:
            raise ValueError(f"uniformity_temperature must be positive, not {self.uniformity_temperature}.")

    def vectors_loss(self, vectors: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        return pair_mean(torch.exp(-self.uniformity_temperature * (2 - 2 * cosines(vectors))))

    def worst(self, width: int) -> float:
        return 1.0
