# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The module that is trained: a concept model, the heads of its objectives and the weights of its losses, with one
`forward` for a batch of an optimizer step, so that one wrapper of accelerate holds all of it.

A step may be split into batches over accumulation and processes.

C concepts, H hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn as nn

from .losses.terms import LossTerm
from .losses.weighting import FixedWeighting
from .objectives import Mixture
from .objectives.base import JointObjective


# Texts of a batch whose concepts are kept for the logs.
LOGGED_TEXTS = 64


@dataclass
class StepBatch:
    """
    One batch of an optimizer step. To transformers' Trainer, which counts tokens, it looks like the batch of the
    collator.

    Args:
        inputs: of each objective, by name.
        items: of the whole step, by objective; 1 where there is none.
        weights: of each objective's mean loss; none for those without items in the step.
        texts: number of texts in the step whose concepts enter the concept losses.
        splits: number of batches in the step, over accumulation and processes.
        warmup: factor on concept losses.
        encoder_options: arguments of the encoder, `num_iterations`.
        collated: the batch of the collator, `input_ids` and `attention_mask` [B, N].
    """

    inputs: dict[str, dict[str, torch.Tensor]]
    items: dict[str, torch.Tensor]
    weights: dict[str, float]
    texts: float
    splits: int = 1
    warmup: float = 1.0
    encoder_options: dict[str, int] = field(default_factory=dict)
    collated: dict[str, torch.Tensor] = field(default_factory=dict)

    def __len__(self):
        return len(self.collated)

    def __contains__(self, name: str):
        return name in self.collated

    def __getitem__(self, name: str):
        return self.collated[name]


class TrainingModel(nn.Module):
    """
    Args:
        model: a concept model.
        mixture: objectives of the run.
        terms: concept losses.
        weighting: of the task and the concept losses.

    Raises:
        ValueError: the model cannot be trained by the objectives.
    """

    def __init__(
        self, model, mixture: Mixture, terms: Sequence[LossTerm] = (), weighting: FixedWeighting | None = None
    ):
        super().__init__()
        mixture.check(model.config)
        if terms and not any(mixture.objectives[name].makes_concepts(model.config) for name in mixture.parts):
            raise ValueError(f"{mixture.describe()} makes no concepts that concept losses could be computed from.")
        self.model, self.mixture, self.terms = model, mixture, terms
        heads = {name: objective.make_head(model.config) for name, objective in mixture.objectives.items()}
        self.heads = nn.ModuleDict({name: head for name, head in heads.items() if head is not None})
        self.weighting = FixedWeighting({}) if weighting is None else weighting
        self.seen_concepts: torch.Tensor | None = None

    @property
    def _no_split_modules(self):  # what FSDP wraps
        return self.model._no_split_modules

    @property
    def compares_texts(self) -> bool:
        """Whether a loss is about differences between the texts of a batch."""
        joint = any(isinstance(objective, JointObjective) for objective in self.mixture.objectives.values())
        return joint or any(term.content for term in self.terms)

    def head(self, name: str) -> nn.Module | None:
        return self.heads[name] if name in self.heads else None  # noqa: SIM401 (no dict)

    def own_state(self) -> dict[str, torch.Tensor]:
        """State of everything but the model."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("model.")}

    def forward(self, batch: StepBatch):
        """
        The batch's part of the step's loss and of each of its terms, as a dict with "loss" and "terms".

        A concept loss of a step is the mean of its batches' losses by their numbers of texts, as is a loss that
        compares texts.
        """
        terms, concepts = {}, []
        for name, inputs in batch.inputs.items():
            objective = self.mixture.objectives[name]
            encoded = objective.encode(self.model, inputs, **batch.encoder_options)
            terms[name] = objective.loss(self.model, self.head(name), encoded, inputs, batch.items[name])
            if name in self.mixture.parts and objective.makes_concepts(self.model.config):
                concepts.append(encoded.last_hidden_state)
        task = sum(batch.weights.get(name, 0.0) * loss for name, loss in terms.items())
        losses, loss = {}, task
        if concepts:
            shared = torch.cat(concepts).float()  # [B, C, H] of the objectives that share the texts
            losses = {term.name: term(shared) * (len(shared) / batch.texts) for term in self.terms}
            self.seen_concepts = shared[:LOGGED_TEXTS].detach().clone()
        if losses:
            loss = self.weighting(task, losses, batch.warmup, 1 / batch.splits)
            terms = {"task": task, **terms, **losses}
        return {"loss": loss, "terms": {name: value.detach() for name, value in terms.items()}}
