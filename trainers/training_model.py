# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The module that is trained: a concept model, the heads of its objectives and the weights of its losses, with one
`forward` for a batch of an optimizer step, so that one wrapper of accelerate holds all of it.

A step may be split into batches over accumulation and processes.

B texts of a batch, N tokens, C concepts, H hidden.
"""

from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
import torch.nn as nn

from .losses.terms import LossTerm
from .losses.weighting import FixedWeighting, LossWeighting
from .objectives import Mixture
from .objectives.base import JointObjective


# Texts of a batch whose concepts are kept for the logs.
LOGGED_TEXTS = 64


@dataclass
class StepPlan:
    """
    What all batches of an optimizer step have in common.

    Args:
        items: of the whole step, by objective; 1 where there is none.
        weights: of each objective's mean loss; none for those without items.
        texts: number of texts in the step whose concepts enter the concept losses.
        splits: number of batches in the step, over accumulation and processes.
        warmup: factor on concept losses.
        encoder_options: arguments of the encoder, `num_iterations`.
        joint: by name of a joint loss, its value over the whole step; empty where the step is one batch.
        holders: by name of a joint loss, the number of batches with texts for it.
    """

    items: dict[str, torch.Tensor]
    weights: dict[str, float]
    texts: float = 1.0
    splits: int = 1
    warmup: float = 1.0
    encoder_options: dict[str, int] = field(default_factory=dict)
    joint: dict[str, torch.Tensor] = field(default_factory=dict)
    holders: dict[str, int] = field(default_factory=dict)


@dataclass
class StepBatch:
    """
    One batch of a step. To transformers' Trainer, which counts tokens, it looks like the batch of the collator.

    Args:
        plan: of the step.
        inputs: of each objective, by name.
        seed: of its dropout, where the step is computed in two passes.
        texts: the batch of the collator, `input_ids` and `attention_mask` [B, N].
        gradients: by name of a joint loss, its gradients at this batch's share of its arguments.
    """

    plan: StepPlan
    inputs: dict[str, dict[str, torch.Tensor]]
    seed: int = 0
    texts: dict[str, torch.Tensor] = field(default_factory=dict)
    gradients: dict[str, torch.Tensor] = field(default_factory=dict)

    def __len__(self):
        return len(self.texts)

    def __contains__(self, name: str):
        return name in self.texts

    def __getitem__(self, name: str):
        return self.texts[name]


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
        self, model, mixture: Mixture, terms: Sequence[LossTerm] = (), weighting: LossWeighting | None = None
    ):
        super().__init__()
        mixture.check(model.config)
        self.model, self.mixture, self.terms = model, mixture, terms
        heads = {name: objective.make_head(model.config) for name, objective in mixture.objectives.items()}
        self.heads = nn.ModuleDict({name: head for name, head in heads.items() if head is not None})
        self.weighting = FixedWeighting({}) if weighting is None else weighting
        self.seen_concepts: torch.Tensor | None = None

    @property
    def _no_split_modules(self):  # what FSDP wraps
        return self.model._no_split_modules

    def head(self, name: str) -> nn.Module | None:
        return self.heads[name] if name in self.heads else None  # noqa: SIM401 (no dict)

    def own_state(self) -> dict[str, torch.Tensor]:
        """State of everything but the model."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("model.")}

    def compile_parts(self, **options) -> None:
        """Compile the encoder, and the decoder with its loss, each as a whole; `options` of `torch.compile`."""
        self.model.base_model.compile(**options)
        self.model.compile(**options)

    def forward(self, batch: StepBatch, represents: bool = False):
        """
        Args:
            batch: one of the step's batches.
            represents: return only the arguments of joint losses.

        Returns:
            The batch's part of the step's loss and of each of its terms, as a dict with "loss" and "terms"; or with
            `represents` a dict of tensors by name of an objective, or "concepts" for concept losses.
        """
        if represents:
            return self._represent(batch)
        plan, terms, concepts = batch.plan, {}, {}
        for name, inputs in batch.inputs.items():
            objective = self.mixture.objectives[name]
            with self._dropout(batch):
                encoded = self._encode(batch, name)
                if name in plan.joint:
                    terms[name] = joint_part(name, objective.vectors(encoded), batch)
                else:
                    terms[name] = objective.loss(self.model, self.head(name), encoded, inputs, plan.items[name])
            concepts[name] = encoded.last_hidden_state
        task = sum(plan.weights.get(name, 0.0) * loss for name, loss in terms.items())
        shared = self._shared_concepts(concepts)
        losses = {term.name: self._concept_loss(term, shared, batch) for term in self.terms}
        self.seen_concepts = shared[:LOGGED_TEXTS].detach().clone()
        loss = task
        if losses:
            loss = self.weighting(task, losses, plan.warmup, 1 / plan.splits)
            terms = {"task": task, **terms, **losses}
        return {"loss": loss, "terms": {name: value.detach() for name, value in terms.items()}}

    def _dropout(self, batch: StepBatch):
        """In two passes over a batch both must draw the same dropout."""
        return seeded(batch.seed) if batch.plan.splits > 1 and self.training else nullcontext()

    def _encode(self, batch: StepBatch, name: str):
        inputs = batch.inputs[name]
        return self.model.base_model(inputs["input_ids"], inputs["attention_mask"], **batch.plan.encoder_options)

    def _shared_concepts(self, concepts: dict[str, torch.Tensor]) -> torch.Tensor:
        """The concepts that enter concept losses, [B, C, H]: those of the objectives that share the texts."""
        return torch.cat([concepts[name] for name in self.mixture.parts if name in concepts]).float()

    def _concept_loss(self, term: LossTerm, concepts: torch.Tensor, batch: StepBatch) -> torch.Tensor:
        plan = batch.plan
        if term.name in plan.joint:
            return joint_part(term.name, concepts, batch)
        loss = term(concepts)
        return loss * len(concepts) / plan.texts if plan.splits > 1 else loss

    # Losses over all texts of a step that is split, for `gradient_cache`.

    @property
    def needs_whole_step(self) -> bool:
        """Whether a loss is not a sum over the batches of a step."""
        joint = any(isinstance(objective, JointObjective) for objective in self.mixture.objectives.values())
        return joint or not all(term.is_mean_over_texts for term in self.terms)

    def _represent(self, batch: StepBatch) -> dict[str, torch.Tensor]:
        compares_concepts = not all(term.is_mean_over_texts for term in self.terms)
        arguments, concepts = {}, {}
        for name in batch.inputs:
            objective = self.mixture.objectives[name]
            joint = isinstance(objective, JointObjective)
            if joint or (compares_concepts and name in self.mixture.parts):
                with self._dropout(batch):
                    encoded = self._encode(batch, name)
                concepts[name] = encoded.last_hidden_state
                if joint:
                    arguments[name] = objective.vectors(encoded)
        return arguments | ({"concepts": self._shared_concepts(concepts)} if compares_concepts else {})

    def joint_losses(self, arguments: dict[str, torch.Tensor]) -> dict[str, tuple[str, torch.Tensor]]:
        """All joint losses by name, each with the name of its argument."""
        losses = {
            name: (name, self.mixture.objectives[name].joint_loss(vectors))
            for name, vectors in arguments.items()
            if name != "concepts"
        }
        for term in self.terms:
            if not term.is_mean_over_texts:
                losses[term.name] = ("concepts", term(arguments["concepts"]))
        return losses


def joint_part(name: str, argument: torch.Tensor, batch: StepBatch) -> torch.Tensor:
    """A number with the value of this batch's share of a joint loss, and that loss's gradient at `argument`: the sum
    with the constant gradient has that gradient, and its value is replaced by the share."""
    slope = (argument * batch.gradients[name]).sum()
    return slope - slope.detach() + batch.plan.joint[name] / batch.plan.holders[name]


@contextmanager
def seeded(seed: int):
    """Random numbers of torch from `seed`; afterwards as if nothing had been drawn."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
