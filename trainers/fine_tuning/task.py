# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Downstream tasks and their data: rows of `text_a`, `text_b` (for pairs) and `label`, the same for all tasks."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import datasets
import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict

from ..data.texts import as_texts, check_fields, load_files, text_cells
from ..utils.errors import first_line
from ..utils.limits import check_at_least


# Share and largest number of training rows held out for selection where there is no selection split.
SELECTION_SHARE, SELECTION_ROWS = 0.1, 1000


@dataclass(frozen=True)
class Task:
    """
    Texts or pairs of texts with a class or a score.

    Args:
        name: such as `mrpc`.
        dataset: Hub id of its data.
        text_columns: column of the text, or the two columns of a pair.
        metrics: names in `METRICS`; the first ranks systems.
        label_names: names of the classes 0, 1, …; None for a score.
        score_range: lowest and highest score, which become 0 and 1; None for scores that are not scaled.
        config: configuration of the data set.
        revision: of the data set at the Hub.
        label_column: class indices or names, or scores.
        train_split, evaluation_splits: splits for training and for reported scores.
        selection_split: split on which epochs and learning rates are selected; None: a part of the training split.
        test_splits: splits that get predictions; their labels are not used.
        divide: maps the splits of the data set to those of the task.
        complete: fills in the open fields of the task from its data and the parts of them that are used.
        convert: maps a row of the data set to a row with the columns of the task.
        whole_texts: whether truncated texts are refused.
    """

    name: str
    dataset: str
    text_columns: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    label_names: tuple[str, ...] | None = None
    score_range: tuple[float, float] | None = (0.0, 1.0)
    config: str | None = None
    revision: str | None = None
    label_column: str = "label"
    train_split: str = "train"
    selection_split: str | None = None
    evaluation_splits: tuple[str, ...] = ("validation",)
    test_splits: tuple[str, ...] = ("test",)
    divide: Callable[[DatasetDict], DatasetDict] | None = None
    complete: Callable[["Task", DatasetDict, "Parts"], "Task"] | None = None
    convert: Callable[[dict], dict] | None = None
    whole_texts: bool = False

    @property
    def is_pair(self) -> bool:
        return len(self.text_columns) == 2

    @property
    def is_score(self) -> bool:
        return self.label_names is None

    def read_rows(self, rows: Dataset, split: str, labels: bool = True) -> Dataset:
        """
        Columns `text_a`, `text_b` (for pairs) and, unless `labels` is false, `label` of any split.

        Raises:
            ValueError: a column is missing or holds no texts; others as in `read_labels`.
        """
        if self.convert is not None:
            rows = rows.map(self.convert, remove_columns=rows.column_names)
        self.check_columns(rows, split, [*self.text_columns, *([self.label_column] if labels else [])])
        texts = as_texts(rows, list(dict.fromkeys(self.text_columns)), name=f"split {split!r} of {self.name}")
        names = zip(("text_a", "text_b"), self.text_columns)
        columns = {name: texts[column][:] for name, column in names}
        return Dataset.from_dict(columns | ({"label": self.read_labels(rows, split)} if labels else {}))

    def check_columns(self, rows: Dataset, split: str, columns: Iterable[str]) -> None:
        """ValueError if a split lacks one of the columns."""
        for column in columns:
            if column not in rows.column_names:
                hint = "" if self.complete else " Other columns and classes: run_classification.py."
                raise ValueError(
                    f"The split {split!r} of {self.name} has no column {column!r}; its columns are "
                    f"{rows.column_names}.{hint}"
                )

    def read_labels(self, rows: Dataset, split: str) -> list[int] | list[float]:
        """
        Class indices, or scores scaled from `score_range` to 0..1.

        Raises:
            ValueError: labels that are hidden, or no class or score of this task.
        """
        values, feature = rows[self.label_column][:], rows.features[self.label_column]
        if isinstance(feature, ClassLabel) and not self.is_score and None not in map(self.read_class, feature.names):
            values = [value if value in (None, -1) else feature.names[value] for value in values]
        if values and are_hidden(values) and "-1" not in (self.label_names or ()):
            raise ValueError(f"The labels of the split {split!r} of {self.name} are hidden (all -1).")
        labels = [self.read_score(value) if self.is_score else self.read_class(value) for value in values]
        if None in labels:
            row = labels.index(None)
            expected = f"scores in {self.score_range or 'any range'}" if self.is_score else list(self.label_names)
            raise ValueError(
                f"The labels of {self.name} are {expected}, but row {row + 1} of the split {split!r} has "
                f"{values[row]!r}."
            )
        return labels

    def read_class(self, value) -> int | None:
        """The index of a class given by its name or, unless names are numbers, its index, also as text; None for any
        other value."""
        names, text = list(self.label_names), class_name(value)
        if text in names:
            return names.index(text)
        numbered = any(name.removeprefix("-").isdecimal() for name in names)
        return int(text) if not numbered and text.isdecimal() and int(text) < len(names) else None

    def read_score(self, value) -> float | None:
        """A score, also as text, scaled from `score_range` to 0..1; None for any other value."""
        try:
            number = float(value)
        except (TypeError, ValueError):
            return None
        low, high = self.score_range or (0.0, 1.0)
        inside = math.isfinite(number) and (self.score_range is None or low <= number <= high)
        return (number - low) / (high - low) if inside else None


def class_name(value) -> str:
    """A label as text: whole numbers without a decimal point, whatever type a file gave them."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(value))


def are_hidden(labels: Iterable) -> bool:
    """Whether all labels are -1, as in the test splits of GLUE, or missing."""
    return all(class_name(label) == "-1" for label in labels if label is not None)


@dataclass(frozen=True)
class TaskData:
    """
    The data of a task; no row is in two parts.

    Args:
        task: the task.
        source: Hub id, folder or files.
        train: training rows; None where they are not used.
        selection: rows on which epochs and learning rates are selected.
        selection_name: description of these rows.
        evaluation: rows of the reported scores, by split.
        test: texts without labels that get predictions, by split.
    """

    task: Task
    source: str
    train: Dataset | None
    selection: Dataset | None
    selection_name: str
    evaluation: dict[str, Dataset]
    test: dict[str, Dataset] = field(default_factory=dict)

    @property
    def official(self) -> bool:
        """Whether these are the rows of the task's own data set at the Hub."""
        return self.source == self.task.dataset and not Path(self.source).exists()

    def facts(self) -> dict:
        """Source and numbers of rows, for `results.json`."""
        facts = {"task": self.task.name, "source": self.source, "official": self.official}
        if self.train is not None:
            facts |= {"train": len(self.train), "selection": len(self.selection)}
            facts["selection_from"] = self.selection_name
        return facts | {"evaluation": {split: len(rows) for split, rows in self.evaluation.items()}}


@dataclass(frozen=True)
class Parts:
    """
    The parts of a task's data that are used, and their largest numbers of rows, drawn at random.

    Args:
        train: training and selection rows.
        evaluate, predict: the splits with reported scores, and those with predictions.
        max_train_samples, max_eval_samples: rows of train, of selection and each evaluation split.
    """

    train: bool = True
    evaluate: bool = True
    predict: bool = False
    max_train_samples: int | None = None
    max_eval_samples: int | None = None

    def __post_init__(self):
        check_at_least(self, max_train_samples=2, max_eval_samples=2)


def load_task(
    task: Task,
    dataset_name: str | None = None,
    files: dict[str, str] | None = None,
    parts: Parts = Parts(),
    seed: int = 42,
) -> TaskData:
    """
    The data of a task.

    Without a selection split, a tenth of the training rows, at most 1,000, is held out for selection, with equal
    shares of each class or score. Where the data lack the split for reported scores but have the selection split, that
    one is reported, and selection uses a part of train.

    Args:
        dataset_name: Hub id or local folder used instead of `task.dataset`.
        files: with the task's columns, by split (`train`, `validation`, `test`), used instead.
        parts: the parts to read.
        seed: of random draws.

    Raises:
        ValueError: data that cannot be read, or a configuration, split, file or column that is missing, with those
            that exist; labels as in `Task.read_labels`.
    """
    if files:
        if dataset_name is not None:
            raise ValueError("Give --dataset_name or files (--train_file, --validation_file, --test_file), not both.")
        source, raw = ", ".join(dict.fromkeys(files.values())), load_files(files, {}, written=True)
        splits = {"train_split": "train", "selection_split": None, "evaluation_splits": ("validation",)}
        task = replace(task, **splits, test_splits=("test",), divide=None)
    else:
        source, raw = dataset_name or task.dataset, load_splits(task, dataset_name)
    if task.divide is not None:
        raw = task.divide(raw)
    if task.complete is not None:
        task = task.complete(task, raw, parts)
    task = choose_splits(task, raw, parts)

    def draw(rows, count):
        return rows if count is None or len(rows) <= count else rows.shuffle(seed=seed).select(range(count))

    train = selection = None
    if parts.train or (parts.evaluate and task.train_split in raw):  # baselines are trained on it, too
        train = task.read_rows(raw[task.train_split], task.train_split)
        if task.selection_split is None:
            kept, held_out = hold_out(train["label"][:], seed)
            train, selection = train.select(kept), train.select(held_out)
        else:
            selection = task.read_rows(raw[task.selection_split], task.selection_split)
        train, selection = draw(train, parts.max_train_samples), draw(selection, parts.max_eval_samples)
    evaluation = {
        split: draw(task.read_rows(raw[split], split), parts.max_eval_samples)
        for split in (task.evaluation_splits if parts.evaluate else ())
    }
    test = {
        split: task.read_rows(raw[split], split, labels=False) for split in (task.test_splits if parts.predict else ())
    }
    selection_name = task.selection_split or f"a part of {task.train_split}"
    return TaskData(task, source, train, selection, selection_name, evaluation, test)


def load_splits(task: Task, dataset_name: str | None) -> DatasetDict:
    """All splits of the data set; ValueError if it cannot be read."""
    name, config = dataset_name or task.dataset, task.config
    revision = task.revision if dataset_name is None else None
    try:
        if task.complete is None and holds_one_task(name):
            config = None
        load = partial(datasets.load_dataset, name, config, revision=revision)
        raw = load()
        some = next(iter(raw.values()))
        if some.info.builder_name == "csv":
            check_fields(some, name)
            raw = load(**text_cells(some))
        return raw
    except Exception as error:
        raise ValueError(f"The data set {name!r} of {task.name} cannot be read: {first_line(error)}") from error


def holds_one_task(name: str) -> bool:
    """Whether a data set is a local folder without configurations."""
    return Path(name).is_dir() and datasets.get_dataset_config_names(name) == ["default"]


def choose_splits(task: Task, raw: DatasetDict, parts: Parts) -> Task:
    """The task with splits that the data have; ValueError if one that is used is missing."""
    missing = [split for split in task.evaluation_splits if split not in raw]
    if missing and task.selection_split in raw:
        task = replace(task, evaluation_splits=(task.selection_split,), selection_split=None)
    needed = [task.train_split, task.selection_split] if parts.train else []
    needed += [*(task.evaluation_splits if parts.evaluate else ()), *(task.test_splits if parts.predict else ())]
    for split in needed:
        if split is not None and split not in raw:
            raise ValueError(f"The data of {task.name} have no split {split!r}; their splits are {list(raw)}.")
    return task


def hold_out(labels: list, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """
    Indices [N - M] to keep and [M] to hold out, both ascending, where M is a tenth of N, at most 1,000.

    The held-out rows have equal distances in the rows sorted by label, in random order within a label, so that the
    share of each class, and of each range of scores, is exact to within one row.

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
