# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Evaluation in training: losses with noise that depends on the text alone, summed over texts, and metrics of concepts
and reconstructions.

B texts of a batch, T texts in all, N tokens, C concepts, H hidden.
"""

import time

import torch

from .evaluation.metrics import concept_metrics, reconstruction_metrics
from .objectives import Mixture
from .objectives.base import JointObjective, TokenObjective
from .objectives.noise import Noise, text_keys
from .objectives.vocabulary import CleanBatch
from .training_model import TrainingModel
from .utils.distributed import gather_objects


EVALUATION_SEED = 20260208

# Number of texts that joint losses compare with each other, in an order that depends on the texts alone.
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
        """Add the losses of every objective on every text of a batch."""
        noise = Noise.for_texts(batch.input_ids, batch.attention_mask, self.seed)
        model = self.training_model.model
        for name, objective in self.mixture.objectives.items():
            inputs = objective(batch, noise.fold_in(name))
            encoded = objective.encode(model, inputs)
            if isinstance(objective, JointObjective):
                keys = text_keys(batch.input_ids, batch.attention_mask, self.seed).tolist()
                self.vectors[name] += zip(keys, objective.vectors(encoded).cpu(), strict=True)
            else:
                loss = objective.loss(model, self.training_model.head(name), encoded, inputs, 1.0)
                self.sums[name][0] += float(loss)
                self.sums[name][1] += float(objective.items(inputs))

    def results(self) -> dict[str, float]:
        """
        Over all processes: `loss`, the objectives' losses weighted as in training; with more than one objective also
        `<name>_loss`; and each objective's own metrics, under its name where there are several.
        """
        losses, metrics = {}, {}
        for name, objective in self.mixture.objectives.items():
            prefix = f"{name}_" if len(self.mixture.objectives) > 1 else ""
            vectors = None
            if isinstance(objective, JointObjective):
                keyed = dict(pair for process in gather_objects(self.vectors[name]) for pair in process)
                vectors = torch.stack([keyed[key] for key in sorted(keyed)])
                losses[name] = self.joint_loss(objective, vectors)
            else:
                sums = torch.tensor(gather_objects(self.sums[name]), dtype=torch.float64).sum(dim=0).tolist()
                losses[name] = sums[0] / sums[1] if sums[1] else float("nan")
            metrics |= {f"{prefix}{key}": value for key, value in objective.metrics(losses[name], vectors).items()}
        weights = self.mixture.weights(set(losses))
        total = sum(weights[name] * loss for name, loss in losses.items())
        parts = {f"{name}_loss": loss for name, loss in losses.items()} if len(losses) > 1 else {}
        return {"loss": total, **parts, **metrics}

    def joint_loss(self, objective: JointObjective, vectors: torch.Tensor) -> float:
        """Mean over groups of texts, each weighted by its size; a last group of one text is left out. nan for a single
        text."""
        groups = [group for group in vectors.split(GROUP) if len(group) > 1]
        losses = [float(objective.joint_loss(group)) * len(group) for group in groups]
        return sum(losses) / sum(map(len, groups)) if groups else float("nan")


@torch.no_grad()
def shuffled_concept_loss_gap(model, mixture: Mixture, batches: list[CleanBatch]) -> dict[str, float]:
    """
    Rise of the loss of token objectives, in nats per item, when each text gets the concepts of another text, half a
    batch away: zero for a decoder that does not use them.

    Args:
        model: a concept model with a decoder.
        mixture: its objectives as evaluation measures them.
        batches: the texts.

    Returns:
        `suffix_shuffled_loss_gap` of objectives that continue a text, `shuffled_loss_gap` of those that reconstruct
        it; the mean over objectives where there are several of a kind.
    """
    gaps = {}
    for name, objective in mixture.objectives.items():
        if not isinstance(objective, TokenObjective):
            continue
        sums = torch.zeros(3, dtype=torch.float64)
        for batch in batches:
            if len(batch.input_ids) < 2:
                continue
            noise = Noise.for_texts(batch.input_ids, batch.attention_mask, EVALUATION_SEED)
            inputs = objective(batch, noise.fold_in(name))
            encoded = model.base_model(inputs["input_ids"], inputs["attention_mask"])
            own = objective.loss(model, None, encoded, inputs, 1.0)
            # Lengths and addresses stay the text's own, so that the concepts alone are exchanged.
            concepts = encoded.last_hidden_state
            shuffled = concepts.roll(len(concepts) // 2, dims=0)
            # Copied by key: ModelOutput's constructor takes them as they are.
            encoded = type(encoded)(**{**encoded, "last_hidden_state": shuffled})
            other = objective.loss(model, None, encoded, inputs, 1.0)
            sums += torch.tensor([float(own), float(other), float(objective.items(inputs))], dtype=torch.float64)
        if sums[2]:
            key = "suffix_shuffled_loss_gap" if objective.continuation else "shuffled_loss_gap"
            gaps.setdefault(key, []).append(float((sums[1] - sums[0]) / sums[2]))
    return {key: sum(values) / len(values) for key, values in gaps.items()}


def without_prefix(metrics: dict[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(f"{prefix}_"): value for name, value in metrics.items()}


class EvaluationMixin:
    """For [`ConceptTrainer`]: evaluation of any data set, the metrics being those of that set."""

    _evaluation: EvaluationSums | None = None

    def get_eval_dataloader(self, eval_dataset=None):
        """As in [`Trainer`]; the set may have the column `text`, too."""
        data = self.eval_dataset if eval_dataset is None else eval_dataset
        return self.get_test_dataloader(self.eval_dataset[data] if isinstance(data, str) else data)

    def get_test_dataloader(self, test_dataset):
        """As in [`Trainer`]; the set may have the column `text`, too."""
        data = self._cut(test_dataset)
        loader = super().get_test_dataloader(data)
        loader.texts = data  # its `dataset` may be this process's share of a stream
        return loader

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Adds to the sums of the evaluation; returns nothing, as batches have different numbers of items."""
        batch = self.clean(self._prepare_inputs(inputs))
        batch = batch.rows(slice(0, self._real_rows(len(batch.input_ids))))
        self.training_model.eval()
        with self.compute_loss_context_manager(), self.accelerator.autocast():
            if len(batch.input_ids):
                self._evaluation.add(batch)
        return None, None, None

    def _real_rows(self, rows: int) -> int:
        """Number of a batch's rows that are no repetitions, with which accelerate fills up the last batch."""
        state = self.accelerator.gradient_state
        if self.accelerator.num_processes == 1 or not state.end_of_dataloader or state.remainder <= 0:
            return rows
        return max(0, min(rows, state.remainder - self.accelerator.process_index * rows))

    def evaluation_loop(self, dataloader, *args, metric_key_prefix: str = "eval", **kwargs):
        """Losses in nats as means over items, not over batches, and metrics of concepts and reconstructions."""
        started = time.perf_counter()
        was_training = self.training_model.training
        self._evaluation = EvaluationSums(self.training_model, self.mixture.for_evaluation(), EVALUATION_SEED)
        output = super().evaluation_loop(dataloader, *args, metric_key_prefix=metric_key_prefix, **kwargs)
        results, self._evaluation = self._evaluation.results(), None
        results |= self.text_metrics(dataloader.texts)
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in results.items()})
        self.training_model.train(was_training)
        self._clock += time.perf_counter() - started  # not counted in the training speed
        return output

    def metric_batches(self, data):
        """Clean batches of `concept_metric_samples` texts, evenly spread over `data` (the first ones of a stream). The
        texts of each batch are evenly spread, too, so that neighbours are apart."""
        count, size = self.args.concept_metric_samples, self.args.per_device_eval_batch_size
        if hasattr(data, "__len__"):
            places = sorted({round(i) for i in torch.linspace(0, len(data) - 1, min(count, len(data))).tolist()})
            rows = [data[place] for place in places]
        else:
            rows = [row for _, row in zip(range(count), data, strict=False)]
        stride = -(-len(rows) // size)
        for start in range(stride):
            yield self.clean(self._prepare_inputs(self.data_collator(rows[start::stride])))

    def text_metrics(self, data) -> dict[str, float]:
        """Concept and reconstruction metrics of texts of `data`, and the shuffled-concept loss gap."""
        if not self.args.concept_metric_samples:
            return {}
        model = self.training_model.model
        self.training_model.eval()
        batches = list(self.metric_batches(data))
        with torch.no_grad(), self.accelerator.autocast():
            texts = [batch.encoder_inputs for batch in batches]
            outputs = [model.base_model(**text) for text in texts]
            metrics = shuffled_concept_loss_gap(model, self.mixture.for_evaluation(), batches)
            if model.can_reconstruct:
                metrics |= reconstruction_metrics(model, texts, self.processing_class.all_special_ids)
        concepts = torch.cat([output.last_hidden_state.float().cpu() for output in outputs])
        return (concept_metrics(concepts) if len(concepts) > 1 else {}) | metrics
