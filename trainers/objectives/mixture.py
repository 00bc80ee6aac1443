# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Several objectives in one run.

B texts.
"""

import math
from dataclasses import asdict, dataclass, field

import torch

from ..noise import Noise
from ..vocabulary import CleanBatch
from .base import Objective, TokenObjective


@dataclass
class Mixture:
    """
    Objectives by name. Each text of a training step is given to one of `parts`, whose shares sum to 1, and to all of
    `beside`. The loss is the mean of each part's own mean weighted by its share (of the parts that have a text in
    the step), plus those beside weighted by their weight.

    Args:
        objectives: the objectives.
        parts: share of the texts, by name.
        beside: weight of the loss, by name.
    """

    objectives: dict[str, Objective]
    parts: dict[str, float]
    beside: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        if not self.parts:
            raise ValueError("At least one objective must have a share of the texts, not only a weight beside them.")
        if not (abs(sum(self.parts.values()) - 1) <= 1e-6 and min(self.parts.values()) > 0):
            raise ValueError(f"The shares of the objectives must be positive and sum to 1, unlike {self.parts}.")
        if not all(0 < weight < math.inf for weight in self.beside.values()):
            raise ValueError(f"Weights of objectives beside the others must be positive, unlike {self.beside}.")

    @classmethod
    def of(cls, objective: "Objective | Mixture", name: str | None = None) -> "Mixture":
        """A mixture of one objective; a mixture is left as it is."""
        if isinstance(objective, cls):
            return objective
        name = name or type(objective).__name__
        return cls({name: objective}, {name: 1.0})

    def for_evaluation(self) -> "Mixture":
        measured = {name: objective.for_evaluation() for name, objective in self.objectives.items()}
        return Mixture(measured, self.parts, self.beside)

    @property
    def reads_pairs(self) -> bool:
        """Whether an objective needs two texts that mean the same."""
        return any(objective.reads_pairs for objective in self.objectives.values())

    @property
    def mean_only(self) -> bool:
        """Whether nothing is seen of the concepts but their mean."""
        return all(objective.mean_only for objective in self.objectives.values())

    def check(self, config) -> None:
        """ValueError if a model of this configuration cannot be trained so."""
        if self.mean_only and config.concept_mean != "free":
            raise ValueError(
                f"{' and '.join(self.objectives)} alone would train no layer: only the mean of the concepts is seen, "
                'which is that of the token embeddings here; set concept_mean="free" (with a checkpoint by '
                "--config_overrides concept_mean=free,token_weighting=false), or add an objective that reads text "
                "back."
            )
        for objective in self.objectives.values():
            objective.check(config)

    @property
    def decoder_target(self) -> str:
        """What the decoder must be able to read: "text", "continuation" or "both"."""
        kinds = {o.continuation for o in self.objectives.values() if isinstance(o, TokenObjective)}
        return "both" if len(kinds) == 2 else "continuation" if True in kinds else "text"

    def assign(self, batch: CleanBatch, noise: Noise) -> dict[str, dict[str, torch.Tensor]]:
        """Inputs by objective for a training batch. An objective without a text is left out."""
        inputs = {}
        place = noise.salted("mixture").interleaved()
        low = 0.0
        for name, share in self.parts.items():
            rows = ((place >= low) & (place < low + share + 1e-9)).nonzero()[:, 0] if share < 1 else slice(None)
            low += share
            if share == 1 or len(rows):
                inputs[name] = self.objectives[name](batch.rows(rows), noise.rows(rows).salted(name))
        return inputs | {name: self.objectives[name](batch, noise.salted(name)) for name in self.beside}

    def all(self, batch: CleanBatch, noise: Noise) -> dict[str, dict[str, torch.Tensor]]:
        """Inputs by objective, every text for every objective: for evaluation."""
        return {name: objective(batch, noise.salted(name)) for name, objective in self.objectives.items()}

    def weights(self, present: set[str]) -> dict[str, float]:
        """Weight of each objective's mean loss in a step in which `present` objectives have texts."""
        total = sum(share for name, share in self.parts.items() if name in present)
        shares = {name: share / total for name, share in self.parts.items() if name in present}
        return shares | {name: weight for name, weight in self.beside.items() if name in present}

    def describe(self) -> str:
        """As in `--objective`."""
        parts = [name if share == 1 else f"{name}:{share:g}" for name, share in self.parts.items()]
        return ",".join(parts + [f"+{name}:{weight:g}" for name, weight in self.beside.items()])

    def options(self) -> dict[str, dict]:
        """Options of each objective."""
        return {name: asdict(objective) for name, objective in self.objectives.items()}


def parse_mixture(text: str) -> tuple[dict[str, float], dict[str, float]]:
    """
    Shares and weights from `denoising:0.6,prefix_diffusion:0.4,+contrastive:0.1`; a single name has the share 1.

    Raises:
        ValueError: something else, or a name that comes twice.
    """
    parts, beside = {}, {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        name, colon, number = item.partition(":")
        found = beside if name.startswith("+") else parts
        name = name.lstrip("+").strip()
        try:
            value = float(number) if colon else 1.0
        except ValueError:
            raise ValueError(f"{item!r} must be a name and a number, such as denoising:0.4.") from None
        if name in parts or name in beside:
            raise ValueError(f"The objective {name!r} is given twice.")
        found[name] = value
    return parts, beside
