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

import torch
from datasets import Dataset
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainingArguments
from transformers.utils import is_peft_available

from ..results import Result
from .classifiers import Checkpoint, TextCollator, TextEncoder, head_modules
from .task import Task, TaskData


@dataclass
class FineTuningArguments(TrainingArguments):
    """[`TrainingArguments`] with defaults for tasks, several seeds and learning rates, and LoRA."""

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
    hub_private_repo: bool | None = field(default=True, metadata={"help": "Whether a pushed model is private."})

    def __post_init__(self):
        unnamed = self.output_dir is None
        super().__post_init__()
        if unnamed:
            self.output_dir = None  # transformers would say "trainer_output"; the name is not known yet
        for name in ("seeds", "learning_rates", "num_iterations"):
            values = getattr(self, name)
            if values is not None and len(set(values)) < max(len(values), 1):
                raise ValueError(f"--{name} needs one or more values, each once, not {values}.")
        if self.lora_r is not None and (self.lora_r < 1 or not is_peft_available()):
            raise ValueError(f"--lora_r is a rank of at least 1, not {self.lora_r}, and needs peft: pip install peft.")
        if self.num_iterations is not None and min(self.num_iterations) < 1:
            raise ValueError(f"--num_iterations must be at least 1, not {min(self.num_iterations)}.")
        if self.device.type == "cpu":
            self.dataloader_pin_memory = False  # nothing to pin for; torch would warn

    def for_cell(self, folder: Path, task: Task, learning_rate: float, seed: int) -> "FineTuningArguments":
        """The arguments of one fine-tuning: trackers and Hub get the results of all together."""
        cell = copy.copy(self)
        cell.output_dir, cell.learning_rate, cell.seed, cell.data_seed = str(folder), learning_rate, seed, None
        cell.report_to, cell.push_to_hub, cell.hub_token, cell.label_names = [], False, None, ["labels"]
        cell.metric_for_best_model, cell.greater_is_better = task.metrics[0], True
        return cell


@dataclass(frozen=True)
class System:
    """
    Something that is fine-tuned.

    Args:
        name: in tables.
        checkpoint: what it starts from.
        untrained: whether all its weights are made anew.
        num_iterations: numbers of iterations at which it is evaluated beside its own.
    """

    name: str
    checkpoint: Checkpoint
    untrained: bool = False
    num_iterations: tuple[int, ...] = ()

    def load(self, task: Task, seed: int) -> tuple[PreTrainedModel, list[str]]:
        """The model and the names of its new weights."""
        make = self.checkpoint.make_untrained if self.untrained else self.checkpoint.load
        return make(task, seed)


@dataclass(frozen=True)
class EncodedData:
    """Token ids of the parts of [`TaskData`], as one system reads them, and the share of all rows that were cut."""

    train: Dataset
    selection: Dataset
    evaluation: dict[str, Dataset]
    max_length: int
    cut_share: float


def encode_data(checkpoint: Checkpoint, data: TaskData, max_length: int) -> EncodedData:
    """Tokens of all parts, at most `max_length` a text, or fewer where the model allows fewer."""
    length = checkpoint.max_length(max_length)
    encoder = TextEncoder(checkpoint.tokenizer, length, checkpoint.separate, checkpoint.takes_token_types)
    parts = {"train": data.train, "selection": data.selection, **data.evaluation}
    found = {name: encoder.encode(rows, f"{data.task.name} {name}") for name, rows in parts.items()}
    cut = sum(share * len(rows) for rows, share in found.values()) / sum(len(rows) for rows, _ in found.values())
    evaluation = {split: found[split][0] for split in data.evaluation}
    return EncodedData(found["train"][0], found["selection"][0], evaluation, length, cut)


@dataclass(frozen=True)
class Cell:
    """
    One fine-tuning.

    Args:
        task, system, learning_rate, seed: which.
        selection: the task's first metric on the selection part, at the best epoch.
        evaluation: metrics by name of the system (with its iterations, where they vary) and split.
        seconds: training time.
    """

    task: str
    system: str
    learning_rate: float
    seed: int
    selection: float
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
    metric on the selection part is highest.

    Args:
        tell: gets a line for each cell.
    """
    cells, best, best_mean = [], None, None
    for rate in learning_rates:
        kept, group = None, []
        for seed in args.seeds or [args.seed]:
            cell, model = run_cell(system, data.task, encoded, args, rate, seed)
            tell(
                f"{data.task.name}, {system.name}: learning rate {rate:g}, seed {seed}: {data.task.metrics[0]} "
                f"{cell.selection:.4f} on {data.selection_name} ({len(data.selection):,} rows), {cell.seconds:.0f} s"
            )
            group.append(cell)
            if kept is None or cell.selection > kept[0].selection:
                kept = cell, model.cpu()
        cells += group
        mean = fmean(cell.selection for cell in group)
        if best is None or mean > best_mean:
            best, best_mean = kept, mean
    return FineTuned(cells, *best)


def run_cell(system, task, encoded, args, learning_rate, seed) -> tuple[Cell, PreTrainedModel]:
    """One fine-tuning and its scores. The model is returned with low-rank updates merged."""
    metric = task.load_metric()
    model, _ = system.load(task, seed)
    folder = Path(args.output_dir) / f"{task.name}-{learning_rate:g}-{seed}"
    if args.lora_r is not None:
        model = add_lora(model, args.lora_r, seed)
    patience = args.early_stopping_patience
    trainer = Trainer(
        model,
        args.for_cell(folder, task, learning_rate, seed),
        data_collator=TextCollator(system.checkpoint.tokenizer),
        train_dataset=encoded.train,
        eval_dataset=encoded.selection,
        processing_class=system.checkpoint.tokenizer,
        callbacks=[] if patience is None else [EarlyStoppingCallback(patience)],
        preprocess_logits_for_metrics=read_predictions,
        compute_metrics=lambda found: metric.compute(predictions=found.predictions, references=found.label_ids),
    )
    trained = trainer.train()

    def scores(parts):
        found = {}
        for split, rows in parts.items():
            metrics = trainer.predict(rows, metric_key_prefix=split).metrics
            found[split] = {name: metrics[f"{split}_{name}"] for name in task.metrics}
        return found

    model = trainer.model
    selection = scores({"selection": encoded.selection})["selection"][task.metrics[0]]
    evaluation = {system.name: scores(encoded.evaluation)}
    base = model if args.lora_r is None else model.get_base_model()
    for count in system.num_iterations:
        own, base.encoder.config.num_iterations = base.encoder.config.num_iterations, count
        evaluation[f"{system.name}, K={count}"] = scores(encoded.evaluation)
        base.encoder.config.num_iterations = own
    trainer.accelerator.wait_for_everyone()
    shutil.rmtree(folder, ignore_errors=True)  # the best weights are in the model
    seconds = round(trained.metrics["train_runtime"], 1)
    cell = Cell(task.name, system.name, learning_rate, seed, selection, evaluation, seconds)
    return cell, model if args.lora_r is None else model.merge_and_unload()


def read_predictions(logits, labels) -> torch.Tensor:
    """Classes [N] of logits [N, L], or scores [N, 1]; concepts and whatever else a model returns are left."""
    logits = logits[0] if isinstance(logits, tuple) else logits
    return logits.argmax(dim=-1) if logits.shape[-1] > 1 else logits


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
