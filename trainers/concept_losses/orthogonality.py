# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Concepts at right angles. G groups of S vectors, H hidden."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .base import ConceptLoss, cosines, pair_mean


@dataclass
class Orthogonality(ConceptLoss):
    """
    Mean squared cosine between different vectors.

    Zero needs S <= H. It is at most 1, where all vectors lie on one line.
    """

    scope = "sample"

    def vectors_loss(self, vectors: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        return pair_mean(cosines(vectors).square())

    def worst(self, width: int) -> float:
        return 1.0


@dataclass
class SoftOrthogonality(ConceptLoss):
    """
    Mean square of what the absolute cosine between different vectors exceeds a threshold by.

    It is at most (1 - threshold)², where all vectors lie on one line.

    Args:
        soft_ortho_threshold: absolute cosine that costs nothing, in [0, 1).
    """

    soft_ortho_threshold: float = 0.1

    scope = "sample"

    def __post_init__(self):
        if not 0 <= self.soft_ortho_threshold < 1:
            raise ValueError(f"soft_ortho_threshold must lie in [0, 1), not be {self.soft_ortho_threshold}.")

    def vectors_loss(self, vectors: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        return pair_mean(F.relu(cosines(vectors).abs() - self.soft_ortho_threshold).square())

    def worst(self, width: int) -> float:
        return (1 - self.soft_ortho_threshold) ** 2
