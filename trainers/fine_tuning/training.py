# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Fine-tuning with transformers' Trainer: several seeds, selection of a learning rate, and iterations of recursive
encoders. Epochs and rates are selected on the selection part of the data; scores are those of the evaluation splits.

N examples, L labels.
"""

import copy
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, Trainer

from ..checked_args import CheckedTrainingArguments
from ..evaluation.results import Result, choose_trackers
from ..utils.errors import TrainingDivergedError
from .classifiers import Checkpoint, TextCollator
from .metrics import compute_metrics
from .task import Task, TaskData


@dataclass
class FineTuningArguments(CheckedTrainingArguments):
    """[`TrainingArguments`] with defaults for tasks, and several seeds and learning rates."""

    without_effect = {
        **CheckedTrainingArguments.without_effect,
        "resume_from_checkpoint": "a fine-tuning is not resumed but repeated in another --output_dir",
        "dataloader_drop_last": "all rows are used in training and in scores",
        "data_seed": "the order of the rows follows from --seed or --seeds",
        **dict.fromkeys(("metric_for_best_model", "greater_is_better"), "the first metric of a task selects"),
        "label_smoothing_factor": "scores have no classes to smooth",
        **dict.fromkeys(
            (
                "push_to_hub",
                "hub_model_id",
                "hub_token",
                "hub_private_repo",
                "hub_strategy",
                "hub_always_push",
                "hub_revision",
            ),
            "push_to_hub.py pushes the saved folder",
        ),
    }
    read_by = {
        "do_train": (
            "seeds", "learning_rates", "learning_rate", "num_train_epochs", "max_steps", "warmup_steps", "weight_decay"
        ),
        "do_eval": ("num_iterations",),
    }  # fmt: skip

    seeds: list[int] | None = field(
        default=None, metadata={"help": "Seeds of fine-tuning; scores are means over them. --seed by default."}
    )
    learning_rates: list[float] | None = field(
        default=None,
        metadata={
            "help": "Learning rates, of which the best on the selection part is used; --learning_rate by default."
        },
    )
    num_iterations: list[int] | None = field(
        default=None, metadata={"help": "Recursive encoders: evaluate also at each of these numbers of iterations."}
    )

    output_dir: str | None = field(default=None, metadata={"help": "Folder of results; outputs/<name> by default."})
    num_train_epochs: float = field(default=3.0, metadata={"help": "Passes over the training rows."})
    per_device_train_batch_size: int = field(default=32, metadata={"help": "Batch size per device in training."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Batch size per device in evaluation."})
    learning_rate: float = field(
        default=3e-4,
        metadata={"help": "Peak learning rate; 3e-4 suits small encoders, 2e-5 to 1e-4 those of BERT's size."},
    )
    warmup_steps: float = field(default=0.1, metadata={"help": "Warm-up steps, or their share when below 1."})
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay on matrices."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to score the selection part."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to keep a model; as --eval_strategy."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints to keep beside the best."})
    save_only_model: bool = field(default=True, metadata={"help": "Keep no optimizer."})
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log the loss."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Evaluate the best model, not the last."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Texts are tokenized batch by batch."})
    report_to: list[str] = field(
        default_factory=lambda: ["none"], metadata={"help": "Trackers: wandb, tensorboard, trackio, all or none."}
    )

    def __post_init__(self):
        unnamed = self.output_dir is None
        super().__post_init__()
        choose_trackers(self.report_to)
        if unnamed:
            self.output_dir = None  # transformers sets "trainer_output"; the name is not known yet
        for name in ("seeds", "learning_rates", "num_iterations"):
            values = getattr(self, name)
            if values is not None and len(set(values)) < max(len(values), 1):
                raise ValueError(f"--{name} needs one or more values, each once, not {values}.")
        if self.device.type == "cpu":
            self.dataloader_pin_memory = False  # torch would warn

    def for_run(self, folder: Path, task: Task, learning_rate: float | None, seed: int) -> "FineTuningArguments":
        """The arguments of one fine-tuning, or without a learning rate of one evaluation, without trackers."""
        args = copy.copy(self)
        args.output_dir, args.seed, args.data_seed = str(folder), seed, None
        args.report_to, args.label_names = [], ["labels"]
        args.metric_for_best_model, args.greater_is_better = task.metrics[0], True
        if learning_rate is None:
            args.eval_strategy, args.save_strategy, args.load_best_model_at_end = "no", "no", False
        else:
            args.learning_rate = learning_rate
        return args


@dataclass(frozen=True)
class FineTuningRun:
    """
    One fine-tuning, or one evaluation.

    Args:
        task, system, learning_rate, seed: what was fine-tuned; no rate where nothing was trained.
        selection: metric of selection on the selection part, at the best epoch.
        evaluation: metrics by system (with its iterations, where they vary) and split.
        seconds: of training.
    """

    task: str
    system: str
    learning_rate: float | None
    seed: int
    selection: float | None
    evaluation: dict[str, dict[str, dict[str, float]]]
    seconds: float


@dataclass(frozen=True)
class FineTuned:
    """
    A checkpoint on a task.

    Args:
        runs: all fine-tunings.
        best: of those with the selected learning rate, the best on the selection part.
        model: of that one.
    """

    runs: list[FineTuningRun]
    best: FineTuningRun
    model: PreTrainedModel

    def results(self, data: TaskData) -> list[Result]:
        """Means and standard deviations over seeds at the selected rate."""
        chosen = [run.evaluation for run in self.runs if run.learning_rate == self.best.learning_rate]
        results = []
        for system, splits in chosen[0].items():
            for split, metrics in splits.items():
                for metric in metrics:
                    values = [evaluation[system][split][metric] for evaluation in chosen]
                    spread = stdev(values) if len(values) > 1 else None
                    count, primary = len(data.evaluation[split]), metric == data.task.metrics[0]
                    results.append(
                        Result(data.task.name, split, metric, system, fmean(values), spread, count, primary)
                    )
        return results


def fine_tune(
    checkpoint: Checkpoint, data: TaskData, max_length: int, args: FineTuningArguments, log: Callable[[str], None]
) -> FineTuned:
    """
    Fine-tune with each learning rate and each seed, and select the rate whose mean over seeds of the task's first
    metric on the selection part is highest, without rates with which training diverges.
    Without `do_train` the checkpoint is evaluated as it is.

    Args:
        max_length: of a text in tokens.
        log: called with a sentence for each fine-tuning.

    Raises:
        TrainingDivergedError: training diverges with all rates.
    """
    if not args.do_train:
        run, model = run_once(checkpoint, data, max_length, args, None, args.seed)
        return FineTuned([run], run, model.cpu())
    runs, best, best_mean, diverged = [], None, None, None
    for rate in args.learning_rates or [args.learning_rate]:
        kept, group = None, []
        for seed in args.seeds or [args.seed]:
            try:
                run, model = run_once(checkpoint, data, max_length, args, rate, seed)
            except TrainingDivergedError as error:
                diverged = TrainingDivergedError(
                    f"Training of {checkpoint.name} on {data.task.name} diverged with the learning rate {rate:g} and "
                    f"seed {seed}. {error} Take a lower --learning_rate or --max_grad_norm, or a longer warm-up."
                )
                log(str(diverged))
                break
            log(
                f"{data.task.name}, {checkpoint.name}: learning rate {rate:g}, seed {seed}: {data.task.metrics[0]} "
                f"{run.selection:.4f} on {data.selection_name} ({len(data.selection):,} rows), {run.seconds:.0f} s"
            )
            group.append(run)
            if kept is None or run.selection > kept[0].selection:
                kept = run, model.cpu()
        else:
            mean = fmean(run.selection for run in group)
            if best is None or mean > best_mean:
                best, best_mean = kept, mean
        runs += group
    if best is None:
        raise diverged
    return FineTuned(runs, *best)


def run_once(
    checkpoint: Checkpoint,
    data: TaskData,
    max_length: int,
    args: FineTuningArguments,
    learning_rate: float | None,
    seed: int,
) -> tuple[FineTuningRun, PreTrainedModel]:
    """One fine-tuning, its scores and its model, or without a learning rate the scores of the checkpoint as it is.
    TrainingDivergedError if outputs of the model are not finite."""
    task, (model, _) = data.task, checkpoint.load(data.task, seed)
    folder = Path(args.output_dir) / f"{task.name}-{learning_rate or 0:g}-{seed}"
    collator, run_args = checkpoint.collator(max_length), args.for_run(folder, task, learning_rate, seed)
    trainer = make_trainer(model, collator, run_args, task, data.train, data.selection)

    def scores(rows):
        metrics = trainer.predict(rows, metric_key_prefix="test").metrics
        check_finite(np.asarray(metrics["test_loss"]))
        return {name: metrics[f"test_{name}"] for name in task.metrics}

    seconds, selection = 0.0, None
    if learning_rate is not None:
        seconds = round(trainer.train().metrics["train_runtime"], 1)
        selection = scores(data.selection)[task.metrics[0]]
    model = trainer.model
    evaluation = {checkpoint.name: {split: scores(rows) for split, rows in data.evaluation.items()}}
    for count in checkpoint.num_iterations:
        own, model.encoder.config.num_iterations = model.encoder.config.num_iterations, count
        evaluation[f"{checkpoint.name}, K={count}"] = {s: scores(rows) for s, rows in data.evaluation.items()}
        model.encoder.config.num_iterations = own
    trainer.accelerator.wait_for_everyone()
    shutil.rmtree(folder, ignore_errors=True)  # the best weights are in the model
    run = FineTuningRun(task.name, checkpoint.name, learning_rate, seed, selection, evaluation, seconds)
    return run, model


def make_trainer(
    model: PreTrainedModel,
    collator: TextCollator,
    args: FineTuningArguments,
    task: Task,
    train: Dataset | None = None,
    selection: Dataset | None = None,
) -> Trainer:
    """transformers' Trainer with the metrics of the task."""
    return Trainer(
        model,
        args,
        data_collator=collator,
        train_dataset=train,
        eval_dataset=selection,
        processing_class=collator.tokenizer,
        preprocess_logits_for_metrics=read_predictions,
        compute_metrics=lambda output: compute_metrics(
            task.metrics, check_finite(output.predictions), output.label_ids
        ),
    )


def predict(
    model: PreTrainedModel, checkpoint: Checkpoint, data: TaskData, max_length: int, args: FineTuningArguments
) -> dict[str, list[str]]:
    """By test split, the class names or the scores, in the range of the task, of its rows."""
    task, predictions = data.task, {}
    folder = Path(args.output_dir) / f"{task.name}-predictions"
    run_args = args.for_run(folder, task, None, args.seed)
    trainer = make_trainer(model, checkpoint.collator(max_length), run_args, task)
    for split, rows in data.test.items():
        values = check_finite(np.asarray(trainer.predict(rows).predictions)).reshape(-1).tolist()
        low, high = task.score_range or (0.0, 1.0)
        if task.is_score:
            predictions[split] = [f"{low + value * (high - low):.6g}" for value in values]
        else:
            predictions[split] = [task.label_names[value] for value in values]
    trainer.accelerator.wait_for_everyone()
    shutil.rmtree(folder, ignore_errors=True)
    return predictions


def read_predictions(logits, labels) -> torch.Tensor:
    """Classes [N] of logits [N, L], -1 where they are not finite, or scores [N, 1]; further outputs of the model, such
    as concepts, are dropped."""
    logits = logits[0] if isinstance(logits, tuple) else logits
    return logits.argmax(-1).where(logits.isfinite().all(-1), -1) if logits.shape[-1] > 1 else logits


def check_finite(predictions: np.ndarray) -> np.ndarray:
    """Predictions of `read_predictions`, or losses, gathered from all processes; TrainingDivergedError if some are not
    finite, or come from logits that are not."""
    wrong = predictions < 0 if predictions.dtype.kind == "i" else ~np.isfinite(predictions)
    if wrong.any():
        raise TrainingDivergedError("Outputs of the model are not finite.")
    return predictions
