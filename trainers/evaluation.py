# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What an evaluation measures: losses with noise that depends on the text alone, summed over texts, and metrics of
concepts and reconstructions.

B texts of a batch, T texts in all, N tokens, C concepts, H hidden.
"""

import time

import torch
from transformers.utils import logging

from .distributed import gather_objects
from .metrics import concept_metrics, reconstruction_metrics
from .noise import Noise, text_keys
from .objectives import Mixture
from .objectives.base import JointObjective, TokenObjective
from .step import StepPlan
from .training_model import TrainingModel
from .vocabulary import CleanBatch


logger = logging.get_logger(__name__)

EVALUATION_SEED = 20260208

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
        """Mean over groups of texts, each weighed by its size; a last group of one text is left out. nan for a single
        text."""
        head = self.training_model.head(name)
        device = next(self.training_model.parameters()).device
        groups = [group for group in vectors.split(GROUP) if len(group) > 1]
        losses = [self.mixture.objectives[name].joint_loss(head, group.to(device)) for group in groups]
        sizes = [len(group) for group in groups]
        if not groups:
            return float("nan")
        return sum(float(loss) * size for loss, size in zip(losses, sizes, strict=True)) / sum(sizes)


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


def without_prefix(metrics: dict[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(f"{prefix}_"): value for name, value in metrics.items()}


class EvaluationMixin:
    """For [`ConceptTrainer`]: evaluation of any data set, the metrics being those of that set."""

    _evaluation: EvaluationSums | None = None
    _untrained: dict[str, float] = {}  # metrics before the first step

    def _cut(self, data):
        """Evaluation data as pieces of tokens; a collator of the user's own reads what it likes."""
        return data

    def get_eval_dataloader(self, eval_dataset=None):
        """As in [`Trainer`]; a set that is given here may have the column `text`, too."""
        known = list(self.eval_dataset) if isinstance(self.eval_dataset, dict) else []
        if isinstance(eval_dataset, str) and eval_dataset not in known:
            raise ValueError(f"There is no evaluation set {eval_dataset!r}; those of the Trainer by name are {known}.")
        if eval_dataset is not None and not isinstance(eval_dataset, str):
            # transformers would take the loader of the first set, where its workers persist.
            return self.get_test_dataloader(eval_dataset)
        loader = super().get_eval_dataloader(eval_dataset)
        # The loader's own data may be this process's part.
        loader.texts = self.eval_dataset if eval_dataset is None else self.eval_dataset[eval_dataset]
        return loader

    def get_test_dataloader(self, test_dataset):
        """As in [`Trainer`]; the set may have the column `text`, too."""
        if test_dataset is None or isinstance(test_dataset, dict):
            raise ValueError(
                f"predict takes one data set, not {type(test_dataset).__name__}; evaluate takes several, by name."
            )
        data = self._cut(test_dataset)
        loader = super().get_test_dataloader(data)
        loader.texts = data
        return loader

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Adds to the sums of the evaluation; nothing is returned, as batches hold different numbers of items."""
        batch = self.clean(self._prepare_inputs(inputs))
        batch = batch.rows(slice(0, self._real_rows(len(batch.input_ids))))
        self.training_model.eval()
        with self.compute_loss_context_manager(), self.accelerator.autocast():
            if len(batch.input_ids):
                self._evaluation.add(batch)
        return None, None, None

    def _real_rows(self, rows: int) -> int:
        """How many of a batch's rows are not repetitions, by which the last batch is made even over processes."""
        state = self.accelerator.gradient_state
        if self.accelerator.num_processes == 1 or not state.end_of_dataloader or state.remainder <= 0:
            return rows
        return max(0, min(rows, state.remainder - self.accelerator.process_index * rows))

    def evaluation_loop(self, dataloader, *args, metric_key_prefix: str = "eval", **kwargs):
        """Losses in nats as means over items, not over batches, and metrics of concepts and reconstructions, all of
        the data of `dataloader`."""
        started = time.perf_counter()
        was_training = self.training_model.training
        self._evaluation = EvaluationSums(self.training_model, self.mixture.for_evaluation(), EVALUATION_SEED)
        output = super().evaluation_loop(dataloader, *args, metric_key_prefix=metric_key_prefix, **kwargs)
        results, self._evaluation = self._evaluation.results(), None
        results |= self.text_metrics(getattr(dataloader, "texts", dataloader.dataset))
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in results.items()})
        if self.state.global_step == 0 and metric_key_prefix.startswith("eval"):
            self._untrained = {**self._untrained, **without_prefix(output.metrics, "eval")}
        self.training_model.train(was_training)
        self._clock += time.perf_counter() - started  # no part of the training's speed
        return output

    def metric_batches(self, data, count: int | None = None):
        """Clean batches of `count` texts, `concept_metric_samples` by default, that are evenly spread over `data` (the
        first ones of a stream); so are those of each batch, in which texts are therefore no neighbours."""
        count = self.args.concept_metric_samples if count is None else count
        size = self.args.per_device_eval_batch_size
        if hasattr(data, "__len__"):
            places = sorted({round(i) for i in torch.linspace(0, len(data) - 1, min(count, len(data))).tolist()})
            rows = [data[place] for place in places]
        else:
            rows = [row for _, row in zip(range(count), data, strict=False)]
        stride = -(-len(rows) // size)
        for start in range(stride):
            yield self.clean(self._prepare_inputs(self.data_collator(rows[start::stride])))

    def concepts(self, data=None, count: int | None = None) -> torch.Tensor | None:
        """Concepts [T, C, H] of the clean texts of `data`, the (first) evaluation set by default, that metrics are
        computed on; None where there are fewer than two."""
        if data is None:
            data = self.eval_dataset
            data = next(iter(data.values())) if isinstance(data, dict) else data
        if data is None:
            raise ValueError("The Trainer has no evaluation set, and none was given.")
        encoder = self.training_model.model.base_model
        with encoder.reading(), self.accelerator.autocast():
            found = [encoder(batch.input_ids, batch.attention_mask) for batch in self.metric_batches(data, count)]
        concepts = [output.last_hidden_state.float().cpu() for output in found]
        return torch.cat(concepts) if sum(map(len, concepts)) > 1 else None

    def text_metrics(self, data, count: int | None = None) -> dict[str, float]:
        """Concept and reconstruction metrics of texts of `data`, and the gain over shuffled concepts."""
        if not self.args.concept_metric_samples:
            return {}
        model, metrics = self.training_model.model, {}
        self.training_model.eval()
        concepts = self.concepts(data, count)
        if concepts is None:
            logger.warning_once(
                "Metrics of concepts compare texts and are left out, as the evaluation set has only one."
            )
        else:
            metrics |= concept_metrics(concepts)
        with self.accelerator.autocast():
            metrics |= shuffled_gain(
                self.training_model, self.mixture.for_evaluation(), lambda: self.metric_batches(data, count),
                EVALUATION_SEED,
            )  # fmt: skip
            if getattr(model.config, "decoder_target", None) in ("text", "both"):
                batches = (batch._asdict() for batch in self.metric_batches(data, count))
                metrics |= reconstruction_metrics(model, batches, self.processing_class.all_special_ids)
        return metrics

    def check_best_metric(self) -> None:
        """ValueError unless an evaluation gives `metric_for_best_model`, found out on two texts of each set."""
        wanted, sets = self.args.metric_for_best_model, self.eval_dataset
        if wanted is None or sets is None or self.args.eval_strategy == "no":
            return
        known, times = [], ["runtime", "samples_per_second", "steps_per_second"]
        training = self.training_model.training
        with torch.random.fork_rng():
            for name, data in sets.items() if isinstance(sets, dict) else [(None, sets)]:
                sums = EvaluationSums(self.training_model.eval(), self.mixture.for_evaluation(), EVALUATION_SEED)
                for batch in self.metric_batches(data, 2):
                    sums.add(batch)
                found = [*sums.results(), *self.text_metrics(data, 2), *times]
                known += found if name is None else [f"{name}_{metric}" for metric in found]
        self.training_model.train(training)
        if wanted.removeprefix("eval_") not in known:
            raise ValueError(f"metric_for_best_model {wanted!r} is none of the evaluation's metrics: {sorted(known)}.")
