# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Fine-tuning by transformers' own Trainer: several seeds, a learning rate that is chosen, LoRA, iterations of recursive
encoders. Epochs and rates are chosen on the selection part of the data, scores are those of the evaluation splits.

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
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer
from transformers.utils import is_peft_available

from ..checked_args import CheckedTrainingArguments
from ..checkpoints import TrainingDivergedError
from ..model_card import CardArguments
from ..results import Result, choose_trackers
from .classifiers import Checkpoint, TextCollator, TextEncoder, head_modules
from .task import Task, TaskData


@dataclass
class FineTuningArguments(CardArguments, CheckedTrainingArguments):
    """[`TrainingArguments`] with defaults for tasks, several seeds and learning rates, and LoRA."""

    without_effect = {
        **CheckedTrainingArguments.without_effect,
        **dict.fromkeys(
            ("resume_from_checkpoint", "ignore_data_skip", "restore_callback_states_from_checkpoint",
             "enable_jit_checkpoint"),
            "a fine-tuning is not gone on with, it is made again in another --output_dir",
        ),
        **dict.fromkeys(
            ("prediction_loss_only", "batch_eval_metrics", "eval_do_concat_batches", "include_for_metrics",
             "label_names"),
            "scores are those of the task, over all rows of a split",
        ),
        "dataloader_drop_last": "all rows are learned, and all are scored",
        "greater_is_better": "the metrics of all tasks are the better the greater they are",
        "data_seed": "the order of the rows follows from --seed or --seeds",
        **dict.fromkeys(
            ("hub_strategy", "hub_always_push", "hub_revision"), "the model is pushed once, when all is done"
        ),
        **dict.fromkeys(
            ("project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"),
            "trackers get the results alone, under --run_name",
        ),
    }  # fmt: skip
    read_by = {
        "do_train": (
            "seeds", "learning_rates", "learning_rate", "early_stopping_patience", "lora_r", "num_train_epochs",
            "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "auto_find_batch_size",
            "warmup_steps", "lr_scheduler_type", "lr_scheduler_kwargs", "optim", "optim_args", "optim_target_modules",
            "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "label_smoothing_factor",
            "metric_for_best_model", "neftune_noise_alpha", "gradient_checkpointing",
        ),
        "do_eval": ("num_iterations",),
    }  # fmt: skip

    seeds: list[int] | None = field(
        default=None, metadata={"help": "Seeds to fine-tune with; scores are means over them. --seed by default."}
    )
    learning_rates: list[float] | None = field(
        default=None,
        metadata={
            "help": "Learning rates of which the best on the selection part is used; --learning_rate by default."
        },
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after so many evaluations without a better score."}
    )
    lora_r: int | None = field(
        default=None, metadata={"help": "Train low-rank updates of this rank, and the head, instead of all weights."}
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
    remove_unused_columns: bool = field(default=False, metadata={"help": "The data hold what is needed."})
    report_to: list[str] = field(
        default_factory=lambda: ["none"], metadata={"help": "Trackers: wandb, tensorboard, trackio, all or none."}
    )
    hub_private_repo: bool | None = field(default=True, metadata={"help": "Whether a pushed model is private."})

    def __post_init__(self):
        unnamed, metric = self.output_dir is None, self.metric_for_best_model
        super().__post_init__()
        choose_trackers(self.report_to)
        if unnamed:
            self.output_dir = None  # transformers would say "trainer_output"; the name is not known yet
        if self.push_to_hub and not self.do_train:
            raise ValueError(
                "--push_to_hub pushes the model that is trained, but nothing is; push_to_hub.py pushes a folder."
            )
        self.metric_for_best_model = metric  # transformers would say "loss"; by default it is the task's
        for name in ("seeds", "learning_rates", "num_iterations"):
            values = getattr(self, name)
            if values is not None and len(set(values)) < max(len(values), 1):
                raise ValueError(f"--{name} needs one or more values, each once, not {values}.")
        if self.lora_r is not None and (self.lora_r < 1 or not is_peft_available()):
            raise ValueError(f"--lora_r is a rank of at least 1, not {self.lora_r}, and needs peft: pip install peft.")
        if not 0 <= self.label_smoothing_factor < 1:
            raise ValueError(
                f"--label_smoothing_factor must be at least 0 and below 1, not {self.label_smoothing_factor}."
            )
        if self.device.type == "cpu":
            self.dataloader_pin_memory = False  # nothing to pin for; torch would warn

    def check(self, task: Task) -> None:
        """ValueError for options that the task does not have."""
        if self.metric(task) not in task.metrics:
            raise ValueError(f"--metric_for_best_model {self.metric(task)} is none of {task.name}: {task.metrics}.")
        if self.label_smoothing_factor and task.is_score:
            raise ValueError(f"--label_smoothing_factor smooths classes, but {task.name} has scores.")

    def metric(self, task: Task) -> str:
        """By which epochs, rates and seeds are chosen."""
        return (self.metric_for_best_model or task.metrics[0]).removeprefix("eval_")

    def for_cell(self, folder: Path, task: Task, learning_rate: float | None, seed: int) -> "FineTuningArguments":
        """The arguments of one fine-tuning: trackers and Hub get the results of all together. Without a learning rate
        those of one that only evaluates."""
        cell = copy.copy(self)
        cell.output_dir, cell.seed, cell.data_seed = str(folder), seed, None
        cell.report_to, cell.push_to_hub, cell.hub_token, cell.label_names = [], False, None, ["labels"]
        cell.metric_for_best_model, cell.greater_is_better = self.metric(task), True
        if learning_rate is None:
            cell.eval_strategy, cell.save_strategy, cell.load_best_model_at_end = "no", "no", False
        else:
            cell.learning_rate = learning_rate
        return cell


@dataclass(frozen=True)
class System:
    """
    Something that is fine-tuned.

    Args:
        name: in tables.
        checkpoint: what it starts from.
        untrained: whether it is the network before training ([`untrained_like`]).
        num_iterations: numbers of iterations at which it is evaluated beside its own.
        missing: whether it cannot be made, so that its column is empty.
        concepts_alone: as of its models ([`concepts_alone`]).
    """

    name: str
    checkpoint: Checkpoint
    untrained: bool = False
    num_iterations: tuple[int, ...] = ()
    missing: bool = False
    concepts_alone: bool | None = None

    @property
    def described(self) -> str:
        """Its type, and whether all that it knows of a text passes through the concepts."""
        ways = {None: "", True: ", through concepts alone", False: ", with the tokens around the concepts"}
        return self.checkpoint.classifier_type + ways[self.concepts_alone]

    def load(self, task: Task, seed: int) -> PreTrainedModel:
        return self.checkpoint.make_untrained(task, seed) if self.untrained else self.checkpoint.load(task, seed)[0]


@dataclass(frozen=True)
class EncodedData:
    """Token ids of the parts of [`TaskData`], as one system reads them, and the share of all rows that were cut."""

    train: Dataset | None
    selection: Dataset | None
    evaluation: dict[str, Dataset]
    test: dict[str, Dataset]
    max_length: int
    cut_share: float


def encode_data(checkpoint: Checkpoint, data: TaskData, max_length: int) -> EncodedData:
    """Tokens of all parts, at most `max_length` a text, or fewer where the model allows fewer."""
    length = checkpoint.max_length(max_length)
    encoder = TextEncoder(checkpoint.tokenizer, length, checkpoint.separate, checkpoint.takes_token_types)
    cut = []

    def encode(rows, name):
        encoded, share = encoder.encode(rows, f"{data.task.name} {name}")
        cut.append((share, len(rows)))
        return encoded

    learnt = {name: getattr(data, name) for name in ("train", "selection")}
    learnt = {name: None if rows is None else encode(rows, name) for name, rows in learnt.items()}
    evaluation, test = (
        {split: encode(rows, split) for split, rows in part.items()} for part in (data.evaluation, data.test)
    )
    total = max(sum(count for _, count in cut), 1)
    return EncodedData(**learnt, evaluation=evaluation, test=test, max_length=length,
                       cut_share=sum(share * count for share, count in cut) / total)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """
    One fine-tuning.

    Args:
        task, system, learning_rate, seed: which; no rate where nothing was trained.
        selection: the metric by which is chosen on the selection part, at the best epoch.
        evaluation: metrics by name of the system (with its iterations, where they vary) and split.
        seconds: training time.
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
    A system on a task.

    Args:
        cells: all fine-tunings.
        cell: of those with the chosen learning rate, the one that is best on the selection part.
        model: of that one.
    """

    cells: list[Cell]
    cell: Cell
    model: PreTrainedModel

    def results(self, data: TaskData) -> list[Result]:
        """Means and standard deviations over seeds at the chosen rate."""
        chosen = [cell.evaluation for cell in self.cells if cell.learning_rate == self.cell.learning_rate]
        found = []
        for system, splits in chosen[0].items():
            for split, metrics in splits.items():
                for metric in metrics:
                    values = [evaluation[system][split][metric] for evaluation in chosen]
                    spread = stdev(values) if len(values) > 1 else None
                    count, primary = len(data.evaluation[split]), metric == data.task.metrics[0]
                    found.append(Result(data.task.name, split, metric, system, fmean(values), spread, count, primary))
        return found


def fine_tune(
    system: System,
    data: TaskData,
    encoded: EncodedData,
    args: FineTuningArguments,
    learning_rates: list[float],
    tell: Callable[[str], None],
) -> FineTuned:
    """
    Fine-tune with each learning rate and each seed, and choose the rate whose mean over seeds of the task's first
    metric (or `--metric_for_best_model`) on the selection part is highest. A rate with which training diverges is left
    out.

    Args:
        tell: gets a line for each cell.

    Raises:
        TrainingDivergedError: training diverges with all rates.
    """
    cells, best, best_mean, diverged = [], None, None, None
    for rate in learning_rates:
        kept, group = None, []
        for seed in args.seeds or [args.seed]:
            try:
                cell, model = run_cell(system, data.task, encoded, args, rate, seed)
            except TrainingDivergedError as error:
                tell(str(error))
                diverged = error
                break
            tell(
                f"{data.task.name}, {system.name}: learning rate {rate:g}, seed {seed}: {args.metric(data.task)} "
                f"{cell.selection:.4f} on {data.selection_name} ({len(data.selection):,} rows), {cell.seconds:.0f} s"
            )
            group.append(cell)
            if kept is None or cell.selection > kept[0].selection:
                kept = cell, model.cpu()
        else:
            mean = fmean(cell.selection for cell in group)
            if best is None or mean > best_mean:
                best, best_mean = kept, mean
        cells += group
    if best is None:
        raise diverged
    return FineTuned(cells, *best)


def run_cell(system, task, encoded, args, learning_rate, seed) -> tuple[Cell, PreTrainedModel]:
    """One fine-tuning and its scores; without a learning rate, those of the checkpoint as it is. The model is returned
    with low-rank updates merged. TrainingDivergedError if the model gives what is not finite."""
    model = system.load(task, seed)
    folder = Path(args.output_dir) / f"{task.name}-{learning_rate or 0:g}-{seed}"
    adapted = args.lora_r is not None and learning_rate is not None
    if adapted:
        model = add_lora(model, args.lora_r, seed)
    trainer = make_trainer(model, system, args.for_cell(folder, task, learning_rate, seed), task, encoded)

    def scores(parts):
        found = {}
        for split, rows in parts.items():
            metrics = trainer.predict(rows, metric_key_prefix=split).metrics
            check_finite(np.asarray(metrics[f"{split}_loss"]))
            found[split] = {name: metrics[f"{split}_{name}"] for name in task.metrics}
        return found

    seconds, selection = 0.0, None
    try:
        if learning_rate is not None:
            seconds = round(trainer.train().metrics["train_runtime"], 1)
            selection = scores({"selection": encoded.selection})["selection"][args.metric(task)]
        model, evaluation = trainer.model, {system.name: scores(encoded.evaluation)}
        base = model.get_base_model() if adapted else model
        for count in system.num_iterations:
            own, base.encoder.config.num_iterations = base.encoder.config.num_iterations, count
            evaluation[f"{system.name}, K={count}"] = scores(encoded.evaluation)
            base.encoder.config.num_iterations = own
    except TrainingDivergedError as error:
        if learning_rate is None:
            raise
        saved = f" What was saved before is in {folder}." if any(folder.glob("checkpoint-*")) else ""
        raise TrainingDivergedError(
            f"Training of {system.name} on {task.name} diverged within {trainer.state.global_step} steps with the "
            f"learning rate {learning_rate:g} and seed {seed}. {error} Take a lower --learning_rate or "
            f"--max_grad_norm, or a longer warm-up.{saved}"
        ) from error
    trainer.accelerator.wait_for_everyone()
    shutil.rmtree(folder, ignore_errors=True)  # the best weights are in the model
    cell = Cell(task.name, system.name, learning_rate, seed, selection, evaluation, seconds)
    return cell, model.merge_and_unload() if adapted else model


def make_trainer(model, system: System, args: FineTuningArguments, task: Task, encoded: EncodedData) -> Trainer:
    """transformers' Trainer with the metrics of the task."""
    metric, patience = task.load_metric(), args.early_stopping_patience
    return Trainer(
        model,
        args,
        data_collator=TextCollator(system.checkpoint.tokenizer),
        train_dataset=encoded.train,
        eval_dataset=encoded.selection,
        processing_class=system.checkpoint.tokenizer,
        callbacks=[] if patience is None else [EarlyStoppingCallback(patience)],
        preprocess_logits_for_metrics=read_predictions,
        compute_metrics=lambda found: metric.compute(
            predictions=check_finite(found.predictions), references=found.label_ids
        ),
    )


def evaluate_as_it_is(system: System, data: TaskData, encoded: EncodedData, args: FineTuningArguments) -> FineTuned:
    """The scores of a classifier that is trained already."""
    cell, model = run_cell(system, data.task, encoded, args, None, args.seed)
    return FineTuned([cell], cell, model.cpu())


def predict(tuned: FineTuned, system: System, data: TaskData, encoded: EncodedData, args) -> dict[str, list[str]]:
    """By test split, the class names or the scores, in the range of the task, of its rows."""
    task, found = data.task, {}
    folder = Path(args.output_dir) / f"{task.name}-predictions"
    trainer = make_trainer(tuned.model, system, args.for_cell(folder, task, None, args.seed), task, encoded)
    for split, rows in encoded.test.items():
        values = check_finite(np.asarray(trainer.predict(rows).predictions)).reshape(-1)
        low, high = task.score_range or (0.0, 1.0)
        scores = [f"{low + value * (high - low):.6g}" for value in values.tolist()] if task.is_score else []
        found[split] = scores or [task.label_names[value] for value in values]
    trainer.accelerator.wait_for_everyone()
    shutil.rmtree(folder, ignore_errors=True)
    return found


def read_predictions(logits, labels) -> torch.Tensor:
    """Classes [N] of logits [N, L], -1 for those that are not finite, or scores [N, 1]; concepts and whatever else a
    model returns are left."""
    logits = logits[0] if isinstance(logits, tuple) else logits
    return logits.argmax(-1).where(logits.isfinite().all(-1), -1) if logits.shape[-1] > 1 else logits


def check_finite(predictions: np.ndarray) -> np.ndarray:
    """Predictions of `read_predictions`, or losses, gathered from all processes, which thus end alike;
    TrainingDivergedError if some are not finite, or those of logits that are not."""
    classes = predictions.dtype.kind == "i"
    wrong = predictions < 0 if classes else ~np.isfinite(predictions)
    if wrong.any():
        raise TrainingDivergedError("What the model gives is not finite.")
    return predictions


def add_lora(model: PreTrainedModel, rank: int, seed: int):
    """
    Low-rank updates of all linear layers but the head's, which is trained itself (LoRA, Hu et al. 2021); everything
    else is frozen. Scaled by 2.
    """
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    heads = head_modules(model)
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", exclude_modules=heads, modules_to_save=heads
    )
    return get_peft_model(model, config)
