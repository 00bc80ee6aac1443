# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Fine-tuning with transformers' Trainer: several seeds, selection of a learning rate, and iterations of recursive
encoders. Epochs and rates are selected on the selection part of the data; scores are those of the evaluation splits.

N examples, L labels.
"""

import copy
import shutil
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
from transformers import PreTrainedModel, Trainer
from transformers.hf_argparser import HfArg

from ..checked_args import CheckedTrainingArguments
from ..evaluation.results import Result, choose_trackers
from ..utils.distributed import print_once
from ..utils.errors import TrainingDivergedError
from .classifiers import Checkpoint
from .metrics import compute_metrics
from .task import TaskData


@dataclass
class FineTuningArguments(CheckedTrainingArguments):
    """[`TrainingArguments`] with defaults for tasks, and several seeds and learning rates."""

    without_effect = {
        **CheckedTrainingArguments.without_effect,
        "resume_from_checkpoint": "a fine-tuning is not resumed but repeated in another --output_dir",
        "dataloader_drop_last": "all rows are used in training and in scores",
        "metric_for_best_model": "the first metric of a task selects",
        "label_smoothing_factor": "scores have no classes to smooth",
        "push_to_hub": "push_to_hub.py pushes the saved folder",
    }

    seeds: list[int] | None = HfArg(default=None, help="Scores are means over these seeds; --seed by default.")
    learning_rates: list[float] | None = HfArg(default=None, help="The best on the selection part is used.")
    num_iterations: list[int] | None = HfArg(default=None, help="Recursive encoders: evaluate also at these depths.")

    output_dir: str | None = HfArg(default=None, help="Folder of results; outputs/<name> by default.")
    num_train_epochs: float = HfArg(default=3.0, help="Passes over the training rows.")
    per_device_train_batch_size: int = HfArg(default=32, help="Batch size per device in training.")
    per_device_eval_batch_size: int = HfArg(default=64, help="Batch size per device in evaluation.")
    learning_rate: float = HfArg(default=3e-4, help="Peak rate; 2e-5 to 1e-4 suit encoders of BERT's size.")
    warmup_steps: float = HfArg(default=0.1, help="Warm-up steps, or their share when below 1.")
    weight_decay: float = HfArg(default=0.01, help="Weight decay on matrices.")
    eval_strategy: str = HfArg(default="epoch", help="When to score the selection part.")
    save_strategy: str = HfArg(default="epoch", help="When to keep a model; as --eval_strategy.")
    save_total_limit: int | None = HfArg(default=1, help="Checkpoints to keep beside the best.")
    save_only_model: bool = HfArg(default=True, help="Keep no optimizer.")
    logging_strategy: str = HfArg(default="epoch", help="When to log the loss.")
    load_best_model_at_end: bool = HfArg(default=True, help="Evaluate the best model, not the last.")
    remove_unused_columns: bool = HfArg(default=False, help="Texts are tokenized batch by batch.")
    report_to: list[str] = HfArg(default_factory=lambda: ["none"], help="wandb, tensorboard, trackio, all or none.")

    def __post_init__(self):
        given = self.output_dir
        super().__post_init__()
        self.output_dir = given and self.output_dir  # transformers sets "trainer_output"; the name is not known yet
        choose_trackers(self.report_to)
        for name in ("seeds", "learning_rates", "num_iterations"):
            values = getattr(self, name) or []
            if len(set(values)) < len(values):
                raise ValueError(f"--{name} needs each value once, not {values}.")


@dataclass(frozen=True)
class FineTuned:
    """
    A checkpoint on a task.

    Args:
        runs: all fine-tunings, or the one evaluation, of which each has `task`, `system`, `learning_rate` (None where
            nothing was trained), `seed`, `selection` (metric of selection on the selection part, at the best epoch),
            `evaluation` (metrics by system, with its iterations where they vary, and split) and `seconds` of training.
        best: of those with the selected learning rate, the best on the selection part.
        model: of that one.
    """

    runs: list[dict]
    best: dict
    model: PreTrainedModel

    def results(self, data: TaskData) -> list[Result]:
        """Means and standard deviations over seeds at the selected rate."""
        chosen = [run["evaluation"] for run in self.runs if run["learning_rate"] == self.best["learning_rate"]]
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


def fine_tune(checkpoint: Checkpoint, data: TaskData, args: FineTuningArguments) -> FineTuned:
    """
    Fine-tune with each learning rate and each seed, and select the rate whose mean over seeds of the task's first
    metric on the selection part is highest, without rates with which training diverges.
    Without `do_train` the checkpoint is evaluated as it is.

    Raises:
        TrainingDivergedError: training diverges with all rates.
    """
    if not args.do_train:
        run, model = run_once(checkpoint, data, args, None, args.seed)
        return FineTuned([run], run, model.cpu())
    runs, best, best_mean, diverged = [], None, None, None
    for rate in args.learning_rates or [args.learning_rate]:
        kept, scores = None, []
        try:
            for seed in args.seeds or [args.seed]:
                run, model = run_once(checkpoint, data, args, rate, seed)
                print_once(
                    f"{data.task.name}, {checkpoint.name}: learning rate {rate:g}, seed {seed}: {data.task.metrics[0]}"
                    f" {run['selection']:.4f} on {data.selection_name} ({len(data.selection):,} rows), "
                    f"{run['seconds']:.0f} s"
                )
                runs.append(run)
                scores.append(run["selection"])
                if kept is None or run["selection"] > kept[0]["selection"]:
                    kept = run, model.cpu()
        except TrainingDivergedError as error:
            diverged = TrainingDivergedError(
                f"Training of {checkpoint.name} on {data.task.name} diverged with the learning rate {rate:g}. {error} "
                "Take a lower --learning_rate or --max_grad_norm, or a longer warm-up."
            )
            print_once(str(diverged))
            continue
        if best is None or fmean(scores) > best_mean:
            best, best_mean = kept, fmean(scores)
    if best is None:
        raise diverged
    return FineTuned(runs, *best)


def run_once(
    checkpoint: Checkpoint, data: TaskData, args: FineTuningArguments, learning_rate: float | None, seed: int
) -> tuple[dict, PreTrainedModel]:
    """One fine-tuning as in [`FineTuned`], with its scores, and its model, or without a learning rate the scores of
    the checkpoint as it is. TrainingDivergedError if outputs of the model are not finite."""
    task, (model, _) = data.task, checkpoint.load(data.task, seed, trained=learning_rate is None)
    trainer = make_trainer(model, checkpoint, data, args, learning_rate, seed)

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
    remove_folder(trainer)  # the best weights are in the model
    run = {"task": task.name, "system": checkpoint.name, "learning_rate": learning_rate, "seed": seed}
    return {**run, "selection": selection, "evaluation": evaluation, "seconds": seconds}, model


def make_trainer(
    model: PreTrainedModel,
    checkpoint: Checkpoint,
    data: TaskData,
    args: FineTuningArguments,
    learning_rate: float | None,
    seed: int,
) -> Trainer:
    """transformers' Trainer with the metrics of the task, without trackers, in a folder of its own; without a learning
    rate it only evaluates."""
    task, args = data.task, copy.copy(args)
    args.output_dir, args.seed = str(Path(args.output_dir) / f"{task.name}-{learning_rate or 0:g}-{seed}"), seed
    args.report_to, args.label_names = [], ["labels"]
    args.metric_for_best_model, args.greater_is_better = task.metrics[0], True
    if learning_rate is None:
        args.eval_strategy, args.save_strategy, args.load_best_model_at_end = "no", "no", False
    else:
        args.learning_rate = learning_rate
    return Trainer(
        model,
        args,
        data_collator=checkpoint.collate,
        train_dataset=data.train,
        eval_dataset=data.selection,
        processing_class=checkpoint.tokenizer,
        preprocess_logits_for_metrics=read_predictions,
        compute_metrics=lambda output: compute_metrics(
            task.metrics, check_finite(output.predictions), output.label_ids
        ),
    )


def write_predictions(
    file: Path, model: PreTrainedModel, checkpoint: Checkpoint, data: TaskData, args: FineTuningArguments
) -> None:
    """Write the index and the class, or the score in the range of the task, of each row of the test split; of several
    splits, into files with the name of the split added to that of `file`."""
    task, trainer = data.task, make_trainer(model, checkpoint, data, args, None, args.seed)
    low, high = task.score_range or (0.0, 1.0)
    for split, rows in data.test.items():
        values = check_finite(np.asarray(trainer.predict(rows).predictions)).reshape(-1).tolist()
        shown = [f"{low + x * (high - low):.6g}" if task.is_score else task.label_names[x] for x in values]
        lines = ["index\tprediction", *(f"{index}\t{value}" for index, value in enumerate(shown)), ""]
        path = file.with_stem(f"{file.stem}_{split}") if len(data.test) > 1 else file
        if args.process_index == 0:
            path.write_text("\n".join(lines), encoding="utf-8")
        print_once(f"predictions for {len(rows):,} rows of {split}: {path}")
    remove_folder(trainer)


def remove_folder(trainer: Trainer) -> None:
    trainer.accelerator.wait_for_everyone()
    shutil.rmtree(trainer.args.output_dir, ignore_errors=True)


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
