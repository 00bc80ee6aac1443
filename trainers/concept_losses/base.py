# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What a concept loss is: from the concepts of a batch to one number that says how little they are spread out.

B texts, C concepts, H hidden; G groups of S vectors each.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F


# How concepts [B, C, H] form groups [G, S, H] whose vectors are compared with each other.
SCOPES = {
    "sample": lambda concepts: concepts,  # the concepts of one text
    "batch": lambda concepts: concepts.transpose(0, 1),  # one concept across texts
    "flat": lambda concepts: concepts.flatten(0, 1)[None],  # all concepts of all texts
    "pooled": lambda concepts: concepts.mean(dim=1)[None],  # the mean concept of each text
}

# "raw" takes concepts as they are, "content" the part of them that depends on the text.
PARTS = ("raw", "content")

# Concepts have norms near sqrt(H). The direction of a shorter vector than this is noise, and its gradient huge.
SHORTEST = 1e-3


@dataclass
class ConceptLoss(ABC):
    """
    A loss on concepts. A subclass is a dataclass whose fields are its options.

    Attributes:
        scope: the arrangement of `SCOPES` that it takes unless told otherwise; None if its terms have their own.
        positive: whether it has a lower bound above zero, without which learned weights of the form
            exp(-s) * loss + s (Kendall, Gal & Cipolla 2018) grow without limit.
    """

    scope: ClassVar[str | None]
    positive: ClassVar[bool] = False

    @abstractmethod
    def vectors_loss(self, vectors: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Mean over groups of the loss of the vectors of each; `vectors` float32 [G, S >= 2, H], a scalar back."""

    @abstractmethod
    def worst(self, width: int) -> float:
        """The largest value that any vectors of `width` numbers and norms up to sqrt(width) can have."""

    def __call__(
        self,
        concepts: torch.Tensor,
        scope: str | None = None,
        part: str = "raw",
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """
        The loss of a batch, float32 whatever the concepts' type or autocast.

        Diverse constants satisfy most losses in their raw form. The content form leaves them nothing to satisfy: with
        r the concepts minus each one's mean over texts and f the share of energy in r, it is
        f * loss(r) + (1 - f) * worst. Concepts that ignore the text have exactly `worst`, concepts whose means are
        zero loss(r), and none have more than `worst` where the norms of r do not exceed sqrt(H).

        Args:
            concepts: [B, C, H].
            scope: a key of `SCOPES`; None takes the loss's own.
            part: "raw" or "content".
            generator: source of random numbers, on the CPU; None takes torch's default one.

        Raises:
            ValueError: concepts of another shape, an unknown scope or part, one vector per group, or one text where
                the part that depends on the text is asked for.
        """
        if concepts.dim() != 3:
            raise ValueError(f"Concept losses need concepts [B, C, H], not {list(concepts.shape)}.")
        if part not in PARTS:
            raise ValueError(f"Unknown part {part!r} of the concepts; choose one of {list(PARTS)}.")
        scope = self.scope if scope is None else scope
        with torch.autocast(concepts.device.type, enabled=False):
            concepts = concepts.float()
            if part == "raw":
                return self.vectors_loss(arrange(concepts, scope), generator)
            content, fraction = split_content(concepts)
            loss = self.vectors_loss(arrange(content, scope), generator)
            return fraction * loss + (1 - fraction) * self.worst(concepts.shape[-1])


def arrange(concepts: torch.Tensor, scope: str) -> torch.Tensor:
    """Concepts [B, C, H] as groups [G, S, H]; ValueError for an unknown scope or a single vector per group."""
    if scope not in SCOPES:
        raise ValueError(f"Unknown scope {scope!r} of a concept loss; choose one of {sorted(SCOPES)}.")
    vectors = SCOPES[scope](concepts)
    if vectors.shape[1] < 2:
        raise ValueError(
            f"The scope {scope!r} needs at least two vectors to compare, and concepts {list(concepts.shape)} "
            f"give {vectors.shape[1]}."
        )
    return vectors


def split_content(concepts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    What of concepts [B, C, H] depends on the text, r [B, C, H], and its share of their energy, a scalar in [0, 1].

    The mean of B texts takes 1/B of the energy of r with it, which the factor B / (B - 1) gives back.
    """
    batch = len(concepts)
    if batch < 2:
        raise ValueError(f"What depends on the text shows in two texts or more, not in a batch of {batch}.")
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
