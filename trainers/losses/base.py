# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What a concept loss is: a number that is small where the concepts of a batch are spread out.

B texts, C concepts, H hidden; G groups of S vectors each.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F


# Concepts have norms near sqrt(H). The direction of a shorter vector than this is noise, and its gradient huge.
SHORTEST = 1e-3


class ConceptLoss(ABC):
    """
    A loss on concepts.

    Attributes:
        across_texts: whether all vectors of the batch form one group; otherwise the concepts of each text are one.
        positive: whether it has a lower bound above zero, without which learned weights of the form
            exp(-s) * loss + s (Kendall, Gal & Cipolla 2018) grow without limit.
    """

    across_texts: ClassVar[bool] = False
    positive: ClassVar[bool] = False

    @abstractmethod
    def vectors_loss(self, vectors: torch.Tensor) -> torch.Tensor:
        """Mean over groups of the loss of the vectors of each; `vectors` float32 [G, S >= 2, H] -> scalar."""

    @abstractmethod
    def upper_bound(self, width: int) -> float:
        """The largest value of any vectors of `width` numbers and norms up to sqrt(width)."""

    def __call__(self, concepts: torch.Tensor, content: bool = False) -> torch.Tensor:
        """
        The loss of a batch, float32 whatever the concepts' type or autocast.

        Diverse constants satisfy most losses. The content form prevents that: with r the concepts minus each one's
        mean over texts and f the share of energy in r, it is f * loss(r) + (1 - f) * upper_bound. Concepts that ignore
        the text have exactly the upper bound, concepts whose means are zero loss(r), and none exceed the upper bound
        where the norms of r do not exceed sqrt(H).

        Args:
            concepts: [B, C, H].
            content: whether only the text-dependent part of the concepts counts.

        Raises:
            ValueError: a group of one vector, or one text where the text-dependent part is needed.
        """
        with torch.autocast(concepts.device.type, enabled=False):
            concepts = concepts.float()
            if not content:
                return self.vectors_loss(self.groups(concepts))
            part, fraction = split_content(concepts)
            return fraction * self.vectors_loss(self.groups(part)) + (1 - fraction) * self.upper_bound(part.shape[-1])

    def groups(self, concepts: torch.Tensor) -> torch.Tensor:
        """Concepts [B, C, H] as groups [G, S, H] of vectors that are compared with each other."""
        vectors = concepts.flatten(0, 1)[None] if self.across_texts else concepts
        if vectors.shape[1] < 2:
            raise ValueError(f"A concept loss compares vectors, and concepts {list(concepts.shape)} give one.")
        return vectors


def split_content(concepts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The text-dependent part of concepts [B, C, H], r [B, C, H], and its share of their energy, a scalar in [0, 1].

    The mean of B texts takes 1/B of the energy of r with it, which the factor B / (B - 1) gives back.
    """
    batch = len(concepts)
    if batch < 2:
        raise ValueError(f"The text-dependent part of concepts needs two texts or more, not a batch of {batch}.")
    content = concepts - concepts.mean(dim=0)
    energy = concepts.square().sum().clamp(min=1e-30)
    return content, (content.square().sum() / energy * batch / (batch - 1)).clamp(max=1)


def unit_vectors(vectors: torch.Tensor) -> torch.Tensor:
    """Directions of `vectors` [..., H]; those shorter than `SHORTEST` come out shorter than 1."""
    return F.normalize(vectors, dim=-1, eps=SHORTEST)


def cosines(vectors: torch.Tensor) -> torch.Tensor:
    """Cosines [G, S, S] between the `vectors` [G, S, H] of each group."""
    units = unit_vectors(vectors)
    return units @ units.mT


def off_diagonal(matrices: torch.Tensor) -> torch.Tensor:
    """`matrices` [..., n, n] with zeros on their diagonals."""
    diagonal = torch.eye(matrices.shape[-1], dtype=torch.bool, device=matrices.device)
    return matrices.masked_fill(diagonal, 0)


def pair_mean(values: torch.Tensor) -> torch.Tensor:
    """Mean of `values` [G, S, S] over the pairs of different vectors, a scalar."""
    groups, size, _ = values.shape
    return off_diagonal(values).sum() / (groups * size * (size - 1))
