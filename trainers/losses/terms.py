# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Concept losses as a run uses them. B texts, C concepts, H hidden."""

import math
from dataclasses import dataclass

import torch

from . import CONCEPT_LOSSES, ConceptLoss
from .weighting import WEIGHTINGS, FixedWeighting


@dataclass
class LossTerm:
    """
    Args:
        name: as the user wrote it, `vicreg` or `t_regs_mst/content`.
        loss: the loss.
        weight: None where none was given.
        content: whether it takes only the text-dependent part of the concepts.
    """

    name: str
    loss: ConceptLoss
    weight: float | None = None
    content: bool = False

    def __call__(self, concepts: torch.Tensor) -> torch.Tensor:
        """Scalar, from concepts [B, C, H]; 0 where there is no other text to compare a text with."""
        if self.content and len(concepts) < 2:
            return concepts.sum() * 0
        return self.loss(concepts, self.content)


def parse_terms(text: str | None) -> list[LossTerm]:
    """
    Terms from `vicreg:0.01,t_regs_mst/content:0.01`. Commas and spaces separate.

    Raises:
        ValueError: an unknown name; a weight that is no positive number; a term that comes twice.
    """
    terms = []
    for item in (text or "").replace(",", " ").split():
        spec, colon, number = item.partition(":")
        name, slash, part = spec.partition("/")
        if name not in CONCEPT_LOSSES:
            raise ValueError(f"Unknown concept loss {name!r}; choose one of {sorted(CONCEPT_LOSSES)}.")
        if slash and part != "content":
            raise ValueError(f"{spec!r}: only /content may follow the name of a loss.")
        weight = float(number) if colon else None
        if weight is not None and not 0 < weight < math.inf:
            raise ValueError(f"{item!r}: the weight must be a positive number, as in vicreg:0.01.")
        if spec in [term.name for term in terms]:
            raise ValueError(f"The concept loss {spec!r} is given twice.")
        terms.append(LossTerm(spec, CONCEPT_LOSSES[name](), weight, bool(slash)))
    return terms


def make_weighting(kind: str, terms: list[LossTerm]) -> FixedWeighting:
    """
    Raises:
        ValueError: an unknown kind; weights missing, or given to one that learns them; Kendall-Gal without a loss, or
            for one that can reach zero or below.
    """
    if kind not in WEIGHTINGS:
        raise ValueError(f"Unknown loss weighting {kind!r}; choose one of {sorted(WEIGHTINGS)}.")
    learns_weights = WEIGHTINGS[kind].learns_weights
    if learns_weights and not terms:
        raise ValueError(f"Loss weighting {kind!r} weights concept losses: give --concept_losses.")
    for term in terms:
        if learns_weights and (term.content or not term.loss.positive):
            raise ValueError(
                f"Loss weighting {kind!r} gives a loss L the weight 1/(2L), which is unbounded for {term.name!r}: "
                "that loss can reach zero or below. Use fixed."
            )
        if learns_weights and term.weight is not None:
            raise ValueError(f"Loss weighting {kind!r} learns the weights: give {term.name!r} without one.")
        if not learns_weights and term.weight is None:
            raise ValueError(f"The concept loss {term.name!r} needs a weight: {term.name}:0.01.")
    return WEIGHTINGS[kind]({term.name: 1.0 if term.weight is None else term.weight for term in terms})
