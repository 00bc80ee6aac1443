# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Concept losses as a run uses them: which, on what part of the concepts, over which set, at which layers, how much.

B texts, C concepts, H hidden.
"""

import math
from dataclasses import dataclass

import torch

from .concept_losses import CONCEPT_LOSSES, PARTS, SCOPES, ConceptLoss
from .weighting import WEIGHTINGS, LossWeighting


LAYERS = ("last", "all_layers")


@dataclass
class LossTerm:
    """
    Args:
        name: as the user wrote it, `vicreg` or `t_regs_mst/content/pooled`.
        loss: the loss.
        weight: None where none was given.
        part: "raw" concepts or their input-dependent "content".
        scope: set of vectors that is compared; None is the loss's own.
        all_layers: average over the concepts after every layer instead of the last alone.
    """

    name: str
    loss: ConceptLoss
    weight: float | None = None
    part: str = "raw"
    scope: str | None = None
    all_layers: bool = False

    @property
    def is_mean_over_texts(self) -> bool:
        """Whether the loss of a step is the mean of its batches' losses."""
        return self.part == "raw" and (self.scope or self.loss.scope) == "sample"

    def __call__(self, layers: list[torch.Tensor], seed: int) -> torch.Tensor:
        """Scalar, from the concepts [B, C, H] after each layer, the last one last."""
        chosen = layers if self.all_layers else layers[-1:]
        generator = torch.Generator().manual_seed(seed)
        return sum(self.loss(concepts, self.scope, self.part, generator) for concepts in chosen) / len(chosen)


def parse_terms(text: str | None, loss_weight: float | None, options: dict[str, object]) -> list[LossTerm]:
    """
    Terms from `vicreg:0.01,t_regs_mst/content/pooled:0.01`, or from names alone with one weight that is divided
    among them (the original's form). Commas and spaces separate; "none" is no term.

    Args:
        text: see above. After a name, separated by slashes and in any order, may stand "content", a scope ("sample",
            "batch", "flat", "pooled") and "all_layers".
        loss_weight: for names without a weight.
        options: of all losses, by field name.

    Raises:
        ValueError: an unknown name or modifier; a weight that is no positive number; a term that comes twice.
    """
    terms = []
    for item in (text or "").replace(",", " ").split():
        if item == "none":
            continue
        spec, colon, number = item.partition(":")
        name, *modifiers = spec.split("/")
        if name not in CONCEPT_LOSSES:
            raise ValueError(f"Unknown concept loss {name!r}; choose one of {sorted(CONCEPT_LOSSES)}.")
        known = {*PARTS, *SCOPES, *LAYERS}
        if unknown := sorted(set(modifiers) - known):
            raise ValueError(f"{spec!r}: unknown {unknown}; after a loss may stand {sorted(known)}.")
        try:
            weight = float(number) if colon else None
        except ValueError:
            weight = -1.0
        if weight is not None and not 0 < weight < math.inf:
            raise ValueError(f"{item!r}: the weight must be a positive number, as in vicreg:0.01.")
        if spec in [term.name for term in terms]:
            raise ValueError(f"The concept loss {spec!r} is given twice.")
        loss_class = CONCEPT_LOSSES[name]
        own = {field: value for field, value in options.items() if field in loss_class.__dataclass_fields__}
        chosen = [next((m for m in modifiers if m in group), None) for group in (PARTS, SCOPES, LAYERS)]
        terms.append(
            LossTerm(spec, loss_class(**own), weight, chosen[0] or "raw", chosen[1], chosen[2] == "all_layers")
        )
    bare = [term for term in terms if term.weight is None]
    if bare and loss_weight is not None:
        for term in bare:
            term.weight = loss_weight / len(bare)
    return terms


def make_weighting(kind: str, terms: list[LossTerm]) -> LossWeighting:
    """
    Raises:
        ValueError: an unknown kind; weights missing, or given to one that learns them; Kendall-Gal for a loss that
            can reach zero or below.
    """
    if kind not in WEIGHTINGS:
        raise ValueError(f"Unknown loss weighting {kind!r}; choose one of {sorted(WEIGHTINGS)}.")
    weighting_class = WEIGHTINGS[kind]
    for term in terms:
        if weighting_class.learns_weights:
            if not term.loss.positive or term.part == "content":
                raise ValueError(
                    f"Loss weighting {kind!r} gives a loss L the weight 1/(2L), which is unbounded for {term.name!r}: "
                    "that loss can reach zero or below. Use fixed, learnable or gradient_balanced."
                )
            if term.weight is not None:
                raise ValueError(f"Loss weighting {kind!r} learns the weights: give {term.name!r} without one.")
        elif term.weight is None:
            raise ValueError(
                f"The concept loss {term.name!r} needs a weight: {term.name}:0.01, or --loss_weight 0.01."
            )
    return weighting_class({term.name: term.weight if term.weight is not None else 1.0 for term in terms})
