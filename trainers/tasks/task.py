# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What a downstream task is, and its data: rows of `text_a`, `text_b` (for pairs) and `label`, the same for all."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import datasets
import evaluate
import numpy as np
from datasets import Dataset, DatasetDict

from ..data import first_line, load_files


TASK_METRICS = Path(__file__).parent / "task_metrics"

# Of a train split without a selection split of its own, so much is held out.
SELECTION_SHARE, SELECTION_ROWS = 0.1, 1000


@dataclass(frozen=True)
class Task:
    """
    A task: texts or pairs of texts with a class or a score.

    Args:
        name: such as `mrpc`.
        dataset: Hub id of its data.
        text_columns: column of the text, or those of the two texts.
        metrics: names in `task_metrics`; the first ranks systems.
        label_names: names of the classes 0, 1, …; None for a score.
        score_range: lowest and highest score.
        config: configuration of the data set.
        revision: of the data set, at the Hub.
        label_column: class indices (or names), or scores.
        train_split, evaluation_splits: where to learn and to report.
        selection_split: where epochs and learning rates are chosen; None: on a part of train.
        divide: makes these splits of those that the data set has.
        convert: makes a row with these columns of a row of the data set.
        whole_texts: whether the task makes no sense with texts that are cut.
    """

    name: str
    dataset: str
    text_columns: tuple[str, ...]
    metrics: tuple[str, ...]
    label_names: tuple[str, ...] | None = None
    score_range: tuple[float, float] = (0.0, 1.0)
    config: str | None = None
    revision: str | None = None
    label_column: str = "label"
    train_split: str = "train"
    selection_split: str | None = None
    evaluation_splits: tuple[str, ...] = ("validation",)
    divide: Callable[[DatasetDict], DatasetDict] | None = None
    convert: Callable[[dict], dict] | None = None
    whole_texts: bool = False

    @property
    def is_pair(self) -> bool:
        return len(self.text_columns) == 2

    @property
    def is_score(self) -> bool:
        return self.label_names is None

    def load_metric(self) -> evaluate.Metric:
        """Gives `self.metrics`; one process at a time."""
        return evaluate.load(str(TASK_METRICS), "+".join(self.metrics), keep_in_memory=True)

    def read_labels(self, rows: Dataset, split: str) -> list[int] | list[float]:
        """
        Class indices, or scores brought from `score_range` to 0..1.

        Raises:
            ValueError: labels that are hidden, or are no class or score of this task.
        """
        values = rows[self.label_column][:]
        if not self.is_score:
            values = [self.label_names.index(value) if value in self.label_names else value for value in values]
        if values and all(value == -1 for value in values):
            raise ValueError(f"The labels of the split {split!r} of {self.name} are hidden (all -1).")
        low, high = self.score_range
        for value in values:
            number = isinstance(value, int | float)
            if self.is_score and not (number and low <= value <= high):
                raise ValueError(
                    f"{self.name} has scores from {low} to {high}, but the split {split!r} has {value!r}."
                )
            if not self.is_score and value not in range(len(self.label_names)):
                raise ValueError(
                    f"{self.name} has the classes {list(self.label_names)}, or their numbers from 0, but the split "
                    f"{split!r} has {value!r}."
                )
        return [(value - low) / (high - low) for value in values] if self.is_score else [int(v) for v in values]

    def read_rows(self, rows: Dataset, split: str) -> Dataset:
        """
        Columns `text_a`, `text_b` and `label` of any split.

        Raises:
            ValueError: a column is missing; others as in `read_labels`.
        """
        if self.convert is not None:
            rows = rows.map(self.convert, remove_columns=rows.column_names)
        needed = [*self.text_columns, self.label_column]
        if missing := [column for column in needed if column not in rows.column_names]:
            raise ValueError(
                f"The split {split!r} of {self.name} has no column {missing[0]!r}; its columns are "
                f"{rows.column_names}."
            )
        texts = [[text or "" for text in rows[column][:]] for column in self.text_columns]
        labels = self.read_labels(rows, split)
        return Dataset.from_dict({**dict(zip(("text_a", "text_b"), texts)), "label": labels})


@dataclass(frozen=True)
class TaskData:
    """
    The data of a task; no row is in two parts.

    Args:
        task: whose data it is.
        source: Hub id, folder or files.
        train: to learn from.
        selection: to choose epochs and learning rates on.
        selection_name: what that is.
        evaluation: what is reported, by split.
    """

    task: Task
    source: str
    train: Dataset
    selection: Dataset
    selection_name: str
    evaluation: dict[str, Dataset]

    def facts(self) -> dict:
        sizes = {split: len(rows) for split, rows in self.evaluation.items()}
        parts = {"train": len(self.train), "selection": len(self.selection), "selection_from": self.selection_name}
        return {"task": self.task.name, "source": self.source, **parts, "evaluation": sizes}


def load_task(
    task: Task,
    dataset_name: str | None = None,
    train_file: str | None = None,
    validation_file: str | None = None,
    limit: int | None = None,
    seed: int = 42,
) -> TaskData:
    """
    The data of a task.

    A train split without a selection split gives a tenth of its rows, at most 1,000, for selection: every class or
    score is held out in its share. Where the data lack the split to report on but have the selection split, that one
    is reported, and selection takes a part of train.

    Args:
        dataset_name: Hub id or local folder that stands in for `task.dataset`.
        train_file, validation_file: csv, json, jsonl or parquet files with the task's columns instead.
        limit: at most so many rows of each part, drawn at random.
        seed: of what is drawn.

    Raises:
        ValueError: data that cannot be read, or a configuration, split, file or column that is missing, with those
            that exist; labels as in `Task.read_labels`.
    """
    if train_file is not None or validation_file is not None:
        if dataset_name is not None:
            raise ValueError("Give --dataset_name or --train_file and --validation_file, not both.")
        if train_file is None or validation_file is None:
            raise ValueError("--train_file and --validation_file need each other.")
        source = f"{train_file}, {validation_file}"
        raw = load_files({"train": train_file, "validation": validation_file}, {})
        names = {"train_split": "train", "selection_split": None, "evaluation_splits": ("validation",)}
        task = replace(task, **names, divide=None)
    else:
        source = dataset_name or task.dataset
        raw = load_splits(task, dataset_name)
    if task.divide is not None:
        raw = task.divide(raw)
    task = choose_splits(task, raw)
    if limit is not None and limit < 2:
        raise ValueError(f"--limit must leave two rows or more of each part, not {limit}.")

    def part(rows):
        return rows if limit is None or len(rows) <= limit else rows.shuffle(seed=seed).select(range(limit))

    train = task.read_rows(raw[task.train_split], task.train_split)
    if task.selection_split is None:
        kept, held_out = hold_out(train["label"][:], seed)
        train, selection = train.select(kept), train.select(held_out)
        selection_name = f"a part of {task.train_split}"
    else:
        selection = task.read_rows(raw[task.selection_split], task.selection_split)
        selection_name = task.selection_split
    evaluation = {split: part(task.read_rows(raw[split], split)) for split in task.evaluation_splits}
    return TaskData(task, source, part(train), part(selection), selection_name, evaluation)


def load_splits(task: Task, dataset_name: str | None) -> DatasetDict:
    """All splits of the data set; ValueError if it cannot be read."""
    name, config = dataset_name or task.dataset, task.config
    revision = task.revision if dataset_name is None else None
    try:
        if Path(name).is_dir() and datasets.get_dataset_config_names(name) == ["default"]:
            config = None  # a folder of this one task
        return datasets.load_dataset(name, config, revision=revision)
    except Exception as error:
        raise ValueError(f"The data set {name!r} of {task.name} cannot be read: {first_line(error)}") from error


def choose_splits(task: Task, raw: DatasetDict) -> Task:
    """The task with splits that the data have; ValueError if one is missing."""
    missing = [split for split in task.evaluation_splits if split not in raw]
    if missing and task.selection_split in raw:
        task = replace(task, evaluation_splits=(task.selection_split,), selection_split=None)
    wanted = [task.train_split, *filter(None, [task.selection_split]), *task.evaluation_splits]
    if missing := [split for split in wanted if split not in raw]:
        raise ValueError(f"The data of {task.name} have no split {missing[0]!r}; their splits are {list(raw)}.")
    return task


def hold_out(labels: list, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """
    Indices [N - M] to keep and [M] to hold out, both ascending, M being a tenth of N, at most 1,000.

    The held-out rows stand at equal distances in the rows sorted by label, in random order within a label: each class,
    and each range of scores, has its share to within one row.

    Raises:
        ValueError: fewer than two rows.
    """
    count = len(labels)
    if count < 2:
        raise ValueError(f"Two training rows or more are needed, not {count}.")
    size = max(1, min(int(count * SELECTION_SHARE), SELECTION_ROWS))
    order = np.random.default_rng(seed).permutation(count)
    order = order[np.argsort(np.asarray(labels)[order], kind="stable")]
    places = ((np.arange(size) + 0.5) * count / size).astype(int)
    held_out = np.sort(order[places])
    return np.setdiff1d(np.arange(count), held_out), held_out
