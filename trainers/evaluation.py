# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What an evaluation measures of each text: losses with noise that depends on the text alone, summed over texts.

B texts of a batch, T texts in all, N tokens.
"""

import torch

from .distributed import gather_objects
from .noise import Noise, text_keys
from .objectives import Mixture
from .objectives.base import JointObjective, TokenObjective
from .step import StepPlan
from .training_model import TrainingModel
from .vocabulary import CleanBatch


# Joint losses compare so many texts with each other, in an order that depends on the texts alone.
GROUP = 256


class EvaluationSums:
    """
    Losses of all objectives over the texts of an evaluation.

    Args:
        training_model: the module in training.
        mixture: its objectives as evaluation measures them.
        seed: of the noise.
    """

    def __init__(self, training_model: TrainingModel, mixture: Mixture, seed: int):
        self.training_model, self.mixture, self.seed = training_model, mixture, seed
        self.sums = {name: [0.0, 0.0] for name in mixture.objectives}
        self.vectors = {name: [] for name in mixture.objectives}

    @torch.no_grad()
    def add(self, batch: CleanBatch) -> None:
        """Run every objective on every text of a batch."""
        noise = Noise.for_texts(batch.input_ids, batch.attention_mask, self.seed)
        self.training_model.plan = StepPlan({}, {})
        for name, inputs in self.mixture.all(batch, noise).items():
            objective = self.mixture.objectives[name]
            output = objective.run(self.training_model, self.training_model.head(name), inputs, 1.0)
            if isinstance(objective, JointObjective):
                keys = text_keys(batch.input_ids, batch.attention_mask, self.seed).tolist()
                self.vectors[name] += zip(keys, output.vectors.float().cpu(), strict=True)
            else:
                self.sums[name][0] += float(output.loss)
                self.sums[name][1] += float(objective.items(inputs))

    def results(self) -> dict[str, float]:
        """
        Of all processes: `loss`, the objectives' losses weighed as in training; with more than one objective also
        `<name>_loss`; and each objective's own numbers, under its name where there are several.
        """
        losses, found = {}, {}
        for name, objective in self.mixture.objectives.items():
            prefix = f"{name}_" if len(self.mixture.objectives) > 1 else ""
            vectors = None
            if isinstance(objective, JointObjective):
                keyed = dict(pair for process in gather_objects(self.vectors[name]) for pair in process)
                vectors = torch.stack([keyed[key] for key in sorted(keyed)])
                losses[name] = self.joint_loss(name, vectors)
            else:
                sums = torch.tensor(gather_objects(self.sums[name]), dtype=torch.float64).sum(dim=0).tolist()
                losses[name] = sums[0] / sums[1] if sums[1] else float("nan")
            found |= {f"{prefix}{key}": value for key, value in objective.metrics(losses[name], vectors).items()}
        weights = self.mixture.weights(set(losses))
        total = sum(weights[name] * loss for name, loss in losses.items())
        parts = {f"{name}_loss": loss for name, loss in losses.items()} if len(losses) > 1 else {}
        return {"loss": total, **parts, **found}

    @torch.no_grad()
    def joint_loss(self, name, vectors) -> float:
        """Mean over groups of texts, each weighed by its size; a last group of one text is left out."""
        head = self.training_model.head(name)
        device = next(self.training_model.parameters()).device
        groups = [group for group in vectors.split(GROUP) if len(group) > 1]
        losses = [self.mixture.objectives[name].joint_loss(head, group.to(device)) for group in groups]
        sizes = [len(group) for group in groups]
        return sum(float(loss) * size for loss, size in zip(losses, sizes, strict=True)) / max(sum(sizes), 1)


@torch.no_grad()
def shuffled_gain(training_model: TrainingModel, mixture: Mixture, batches, seed: int) -> dict[str, float]:
    """
    How much the loss of reading tokens rises, in nats per item, when each text's concepts are those of another text,
    half a batch away: zero for a decoder that does not use them. `suffix_gain` for objectives that continue a text,
    `concept_gain` for those that read it back; the mean over objectives where there are several of a kind.
    """
    gains = {}
    for name, objective in mixture.objectives.items():
        if not isinstance(objective, TokenObjective):
            continue
        sums = torch.zeros(3, dtype=torch.float64)
        for batch in batches():
            if len(batch.input_ids) < 2:
                continue
            noise = Noise.for_texts(batch.input_ids, batch.attention_mask, seed).salted(name)
            inputs = objective(batch, noise)
            training_model.plan = StepPlan({}, {})
            encoded = training_model.encode(inputs["input_ids"], inputs["attention_mask"])
            own = training_model.read(encoded, inputs, 1.0, objective.continuation)
            # Lengths and addresses stay the text's own, so that the concepts alone are exchanged.
            concepts = encoded.last_hidden_state
            swapped = type(encoded)(**{**encoded, "last_hidden_state": concepts.roll(len(concepts) // 2, dims=0)})
            other = training_model.read(swapped, inputs, 1.0, objective.continuation)
            sums += torch.tensor([float(own), float(other), float(objective.items(inputs))], dtype=torch.float64)
        if sums[2]:
            key = "suffix_gain" if objective.continuation else "concept_gain"
            gains.setdefault(key, []).append(float((sums[1] - sums[0]) / sums[2]))
    return {key: sum(values) / len(values) for key, values in gains.items()}
