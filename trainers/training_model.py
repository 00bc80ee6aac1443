# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The module that is trained: a concept model, the heads of its objectives and the weights of its losses, with one
`forward` for a batch of an optimizer step, so that one wrapper of accelerate holds all of it.

B texts of a batch, T texts of a step, N tokens, C concepts, H hidden.
"""

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn as nn

from modeling_concept.heads_lm_concept import count_supervised

from .distributed import is_distributed
from .loss_terms import LossTerm
from .objectives import Mixture
from .objectives.base import JointObjective, ObjectiveOutput, TokenObjective
from .step import StepBatch, StepPlan
from .weighting import LossWeighting


@dataclass
class TrainingForms:
    """
    How the encoder is used in training, beside what objectives do.

    Args:
        concept_noise: standard deviation of the noise on the concepts that a decoder reads.
        backprop_iterations: of a recursive encoder, through how many of the last ones gradients flow; None for all.
        step_supervision: weight of the mean loss of reading the concepts after each earlier iteration or layer.
    """

    concept_noise: float = 0.0
    backprop_iterations: int | None = None
    step_supervision: float = 0.0


class TrainingModel(nn.Module):
    """
    Args:
        model: a concept model.
        mixture: objectives of the run.
        terms: concept losses.
        weighting: of the task and the concept losses.
        forms: see [`TrainingForms`].
    """

    def __init__(self, model, mixture: Mixture, terms: list[LossTerm], weighting: LossWeighting, forms: TrainingForms):
        super().__init__()
        mixture.check(model.config)
        self.model, self.mixture, self.terms, self.forms = model, mixture, terms, forms
        heads = {name: objective.make_head(model.config) for name, objective in mixture.objectives.items()}
        self.heads = nn.ModuleDict({name: head for name, head in heads.items() if head is not None})
        self.weighting = weighting
        self.compiled = False
        self.plan: StepPlan | None = None
        self.seen_concepts: torch.Tensor | None = None
        self.gradient_norms: dict[str, float] = {}

    @property
    def _no_split_modules(self):  # what FSDP wraps
        return self.model._no_split_modules

    def head(self, name: str) -> nn.Module | None:
        return self.heads[name] if name in self.heads else None  # noqa: SIM401 (no dict)

    def own_state(self) -> dict[str, torch.Tensor]:
        """State of everything but the model."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("model.")}

    def load_own_state(self, state: dict[str, torch.Tensor]) -> None:
        """ValueError if `state` is that of another run's heads and weights."""
        own = self.own_state()
        if set(state) != set(own):
            different = sorted(set(state) ^ set(own))[:3]
            raise ValueError(f"The checkpoint was trained with other objectives or weightings: {different} differ.")
        self.load_state_dict(state, strict=False)

    def compile_parts(self, **options) -> None:
        """Compile the encoder, and reading from its concepts, each as a whole; `options` of `torch.compile`."""
        # Gradients at the concepts are measured before the backward pass, through the same graph.
        if hasattr(torch._functorch.config, "donated_buffer"):
            torch._functorch.config.donated_buffer = False
        self.model.base_model.compile(**options)
        self.model.compile(**options)
        self.compiled = True

    # What objectives see of the model (`objectives.base.Reader`).

    def encode(self, input_ids, attention_mask):
        forms, options = self.forms, dict(self.plan.encoder_options) if self.plan is not None else {}
        if self.training and forms.backprop_iterations is not None:
            options["backprop_iterations"] = forms.backprop_iterations
        keeps = any(term.all_layers for term in self.terms) or (self.training and forms.step_supervision > 0)
        return self.model.base_model(input_ids, attention_mask, output_hidden_states=keeps, **options)

    def read(self, encoded, inputs, items, continuation: bool):
        loss = self._read(encoded, encoded.last_hidden_state, inputs, items, continuation)
        if self.training and self.forms.step_supervision:
            earlier = self.layers(encoded, every=True)[:-1]
            steps = [self._read(encoded, concepts, inputs, items, continuation) for concepts in earlier]
            if steps:
                loss = loss + self.forms.step_supervision * sum(steps) / len(steps)
        return loss

    def _read(self, encoded, concepts, inputs, items, continuation):
        if self.training and self.forms.concept_noise:
            concepts = concepts + self.forms.concept_noise * torch.randn_like(concepts)
        # Copied by key: ModelOutput's constructor takes them as they are.
        encoded = type(encoded)(**{**encoded, "last_hidden_state": concepts})
        if self.compiled:
            inputs = inputs | {"supervised_num": self._supervised_num(inputs)}
        return self.model(
            **inputs,
            encoder_outputs=encoded,
            continuation=continuation,
            num_items_in_batch=items,
            return_logits=False,  # also in evaluation only supervised positions are computed
        ).loss

    def _supervised_num(self, inputs) -> int:
        """Rounded up to a multiple of an eighth of the length, so that few shapes are compiled."""
        length = inputs["labels"].shape[1]
        step = -(-length // 8)
        return min(-(-count_supervised(inputs["labels"], inputs.get("loss_weights")) // step) * step, length)

    def layers(self, encoded, every: bool = False):
        if not every and not any(term.all_layers for term in self.terms):
            return ()
        # The first of the hidden states are the concepts before any layer, the last ones are normalised already.
        finish, mean = self.model.base_model.finish, encoded.given_mean
        inner = [finish(concepts, mean) for concepts in encoded.hidden_states[1:-1]]
        return (*inner, encoded.last_hidden_state)

    # One batch of a step.

    def forward(self, batch: StepBatch, plan: StepPlan, represents: bool = False):
        """
        Args:
            batch: one of the step's batches.
            plan: of the step.
            represents: give only what joint losses are computed from, without gradients.

        Returns:
            The batch's part of the step's loss and of each of its terms, as a dict with "loss" and "terms"; or with
            `represents` a dict of lists of tensors by name of a joint loss.
        """
        self.plan = plan
        if represents:
            return self._represent(batch)
        outputs = {name: self._run(name, inputs, batch) for name, inputs in batch.inputs.items()}
        terms = {}
        for name, output in outputs.items():
            terms[name] = output.loss if output.loss is not None else self._joint(name, outputs, batch, plan)
        task = sum(plan.weights.get(name, 0.0) * loss for name, loss in terms.items())
        layers = self.shown_concepts(outputs) if self.terms else []
        losses = {term.name: self._concept_loss(term, layers, batch, plan) for term in self.terms}
        if batch.measures:
            self._measure(terms, task, losses, outputs, plan)
        loss = self.weighting(task, losses, plan.warmup, 1 / plan.splits)
        terms = {"task": task, **terms, **losses} if losses else terms
        return {"loss": loss, "terms": {name: value.detach() for name, value in terms.items()}}

    def _run(self, name, inputs, batch: StepBatch, encodes_only: bool = False) -> ObjectiveOutput:
        # In two passes both must draw the same dropout.
        with seeded(batch.seed) if self.plan.splits > 1 and self.training else nullcontext():
            objective = self.mixture.objectives[name]
            if encodes_only and isinstance(objective, TokenObjective):
                encoded = self.encode(inputs["input_ids"], inputs["attention_mask"])
                return ObjectiveOutput(encoded.last_hidden_state, self.layers(encoded))
            return objective.run(self, self.head(name), inputs, self.plan.items[name])

    def _represent(self, batch: StepBatch) -> dict[str, list[torch.Tensor]]:
        """What the joint losses of a step are computed from, by objective, and under "concepts" for concept losses."""
        shows = not all(term.is_mean_over_texts for term in self.terms)
        outputs = {
            name: self._run(name, inputs, batch, encodes_only=True)
            for name, inputs in batch.inputs.items()
            if isinstance(self.mixture.objectives[name], JointObjective) or (shows and name in self.mixture.parts)
        }
        found = {name: [output.vectors] for name, output in outputs.items() if output.vectors is not None}
        return found | ({"concepts": self.shown_concepts(outputs)} if shows else {})

    def shown_concepts(self, outputs) -> list[torch.Tensor]:
        """Concepts that concept losses see, [T, C, H] after each layer: those of the objectives that share the
        texts."""
        parts = [outputs[name] for name in self.mixture.parts if name in outputs]
        stacks = zip(*(output.layers or (output.concepts,) for output in parts), strict=True)
        return [torch.cat(stack).float() for stack in stacks]

    @property
    def needs_whole_step(self) -> bool:
        """Whether a loss is not a sum over the batches of a step."""
        joint = any(isinstance(objective, JointObjective) for objective in self.mixture.objectives.values())
        return joint or not all(term.is_mean_over_texts for term in self.terms)

    def joint_losses(self, representations, plan: StepPlan) -> dict[str, tuple[str, torch.Tensor]]:
        """All joint losses by name, each with the name of the representation that it is a function of."""
        found = {}
        for name, tensors in representations.items():
            if name != "concepts":
                found[name] = (name, self.mixture.objectives[name].joint_loss(self.head(name), tensors[0]))
                continue
            for term in self.terms:
                if not term.is_mean_over_texts:
                    found[term.name] = (name, term(tensors, plan.seed))
        return found

    def _joint(self, name, outputs, batch, plan):
        objective, vectors = self.mixture.objectives[name], outputs[name].vectors
        if name in plan.joint:
            return self._part(name, [vectors], batch, plan)
        with torch.autocast(vectors.device.type, enabled=False):
            loss = objective.joint_loss(self.head(name), vectors)
        if self.training:
            objective.after_step(self.head(name), vectors.detach())
        return loss

    def _concept_loss(self, term: LossTerm, layers, batch, plan):
        if term.name in plan.joint:
            return self._part(term.name, layers, batch, plan)
        loss = term(layers, plan.seed)
        return loss * len(layers[-1]) / plan.texts if plan.splits > 1 else loss

    def _part(self, name, tensors, batch: StepBatch, plan: StepPlan):
        """A number with the value of this batch's share of a joint loss, and that loss's gradient at `tensors`."""
        pairs = zip(tensors, batch.gradients[name], strict=True)
        slope = sum((tensor * gradient).sum() for tensor, gradient in pairs)
        return slope - slope.detach() + plan.joint[name] / plan.holders[name]

    def _measure(self, terms, task, losses, outputs, plan):
        """Norms of gradients at the concepts: of each objective at its own, of concept losses at all."""

        zero = task.new_zeros((), dtype=torch.float32)

        def square(loss, concepts):
            if loss is None or not loss.requires_grad:
                return zero
            found = torch.autograd.grad(loss, concepts, retain_graph=True, allow_unused=True)
            return sum((gradient.float().square().sum() for gradient in found if gradient is not None), zero)

        shown = [outputs[name].concepts for name in self.mixture.parts if name in outputs]
        squares = {"task": square(task, shown)}
        for name in self.mixture.objectives:  # every process must have the same names
            squares[name] = square(terms.get(name), [outputs[name].concepts] if name in outputs else [])
        squares |= {name: square(loss, shown) for name, loss in losses.items()}
        values = torch.stack(list(squares.values()))
        if is_distributed():
            torch.distributed.all_reduce(values)
        norms = dict(zip(squares, values.sqrt(), strict=True))
        if self.weighting.measures_gradients:
            self.weighting.observe(norms["task"], torch.stack([norms[name] for name in losses]))
        self.gradient_norms = {name: float(value) for name, value in norms.items() if losses or name != "task"}
        self.seen_concepts = torch.cat(shown).detach()[:64].float().cpu()


@contextmanager
def seeded(seed: int):
    """Random numbers of torch from `seed`; afterwards as if nothing had been drawn."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
