# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Downstream tasks and their data: rows of `text_a`, `text_b` (for pairs) and `label`, the same for all tasks."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict

from ..data.texts import as_texts, load_files, load_named


# Share and largest number of training rows held out for selection where there is no selection split.
SELECTION_SHARE, SELECTION_ROWS = 0.1, 1000


@dataclass(frozen=True)
class Task:
    """
    Texts or pairs of texts with a class or a score. Models are trained on the split `train`.

    Args:
        name: such as `mrpc`.
        dataset: Hub id of its data.
        text_columns: column of the text, or the two columns of a pair.
        metrics: such as `f1`; the first ranks systems.
        label_names: names of the classes 0, 1, …; None for a score.
        score_range: lowest and highest score, which become 0 and 1; None for scores that are not scaled.
        config: configuration of the data set.
        revision: of the data set at the Hub.
        label_column: class indices or names, or scores.
        selection_split: split on which epochs and learning rates are selected; None: a part of `train`.
        evaluation_splits: splits for reported scores.
        test_splits: splits that get predictions; their labels are not used.
        prepare: maps the task and the splits of the data set to the task and the splits that are used.
        whole_texts: whether truncated texts are refused.
    """

    name: str
    dataset: str
    text_columns: tuple[str, ...]
    metrics: tuple[str, ...] = ()
    label_names: tuple[str, ...] | None = None
    score_range: tuple[float, float] | None = None
    config: str | None = None
    revision: str | None = None
    label_column: str = "label"
    selection_split: str | None = None
    evaluation_splits: tuple[str, ...] = ("validation",)
    test_splits: tuple[str, ...] = ("test",)
    prepare: Callable[["Task", DatasetDict], tuple["Task", DatasetDict]] | None = None
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
        columns = list(dict.fromkeys(self.text_columns))
        rows = rows.select_columns([*columns, *([self.label_column] if labels else [])])
        texts = as_texts(rows, columns, name=f"split {split!r} of {self.name}")
        found = {name: texts[column][:] for name, column in zip(("text_a", "text_b"), self.text_columns)}
        return Dataset.from_dict(found | ({"label": self.read_labels(rows, split)} if labels else {}))

    def read_labels(self, rows: Dataset, split: str) -> list[int] | list[float]:
        """
        Scores scaled from `score_range` to 0..1, or indices of classes, which are given by name or, unless names are
        numbers, by index; numbers may be text.

        Raises:
            ValueError: a label is no class or score of this task, such as the -1 of hidden labels.
        """
        values, feature = rows[self.label_column][:], rows.features[self.label_column]
        if self.is_score:
            scores = np.array(values, dtype=float)
            low, high = self.score_range or (0.0, 1.0)
            right = np.isfinite(scores)
            if self.score_range is not None:
                right &= (low <= scores) & (scores <= high)
            labels = ((scores - low) / (high - low)).tolist()
        else:
            if isinstance(feature, ClassLabel) and set(feature.names) <= set(self.label_names):
                values = [value if value in (None, -1) else feature.names[value] for value in values]
            numbered = any(name.removeprefix("-").isdecimal() for name in self.label_names)
            places = {} if numbered else {str(place): place for place in range(len(self.label_names))}
            places |= {name: place for place, name in enumerate(self.label_names)}
            labels = [places.get(class_name(value), -1) for value in values]
            right = np.array(labels) >= 0
        if not right.all():
            row = int(right.argmin())
            expected = f"scores in {self.score_range or 'any range'}" if self.is_score else list(self.label_names)
            raise ValueError(
                f"The labels of {self.name} are {expected}, but row {row + 1} of the split {split!r} has "
                f"{values[row]!r}."
            )
        return labels


def class_name(value) -> str:
    """A label as text: whole numbers without a decimal point, whatever type a file gave them."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(value))


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
    def parts(self) -> dict[str, Dataset]:
        """All rows by the name of their part."""
        learned = {} if self.train is None else {"train": self.train, "selection": self.selection}
        return {**learned, **self.evaluation, **self.test}

    @property
    def described(self) -> tuple[str, str, str | None]:
        """Source, name and configuration, for cards."""
        official = self.source == self.task.dataset and not Path(self.source).exists()
        name, config = (self.task.name, self.task.config) if official else (f"{self.task.name}, own data", None)
        return self.source, name, config

    def facts(self) -> dict:
        """Source and numbers of rows, for `results.json`."""
        facts = {"task": self.task.name, "source": self.source}
        if self.train is not None:
            facts |= {"train": len(self.train), "selection": len(self.selection)}
            facts["selection_from"] = self.selection_name
        return facts | {"evaluation": {split: len(rows) for split, rows in self.evaluation.items()}}


def load_task(
    task: Task,
    dataset_name: str | None = None,
    files: dict[str, str] | None = None,
    train: bool = True,
    evaluate: bool = True,
    predict: bool = False,
    max_train_samples: int | None = None,
    max_eval_samples: int | None = None,
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
        train, evaluate, predict: the parts that are read: training and selection rows, which baselines need for
            evaluation, too; splits for reported scores; splits that get predictions.
        max_train_samples, max_eval_samples: rows of train, of selection and each evaluation split, at most, drawn at
            random.
        seed: of random draws.

    Raises:
        ValueError: data that cannot be read, or a split, file or column that is missing, with those that exist; labels
            as in `Task.read_labels`.
    """
    if files:
        if dataset_name is not None:
            raise ValueError("Give --dataset_name or files (--train_file, --validation_file, --test_file), not both.")
        source, raw = ", ".join(dict.fromkeys(files.values())), load_files(files, {}, written=True)
        task = replace(task, selection_split=None, evaluation_splits=("validation",), test_splits=("test",))
    else:
        source, revision = dataset_name or task.dataset, task.revision if dataset_name is None else None
        raw = load_named(source, task.config, {}, revision)
    if task.prepare is not None:
        task, raw = task.prepare(task, raw)
    if task.selection_split in raw and not set(task.evaluation_splits) <= set(raw):
        task = replace(task, evaluation_splits=(task.selection_split,), selection_split=None)
    train = train or (evaluate and "train" in raw)
    learned = ["train", task.selection_split or "train"] if train else []
    evaluation, test = task.evaluation_splits if evaluate else (), task.test_splits if predict else ()
    if missing := [split for split in (*learned, *evaluation, *test) if split not in raw]:
        raise ValueError(f"The data of {task.name} have no split {missing[0]!r}; their splits are {list(raw)}.")

    def draw(rows, count):
        return rows if count is None or len(rows) <= count else rows.shuffle(seed=seed).select(range(count))

    def read(split, labels=True):
        return task.read_rows(raw[split], split, labels)

    rows = selection = None
    if train and task.selection_split is not None:
        rows, selection = map(read, learned)
    elif train:
        rows = read("train")
        kept, held_out = hold_out(rows["label"][:], seed)
        rows, selection = rows.select(kept), rows.select(held_out)
    if train:
        rows, selection = draw(rows, max_train_samples), draw(selection, max_eval_samples)
    return TaskData(
        task, source, rows, selection, task.selection_split or "a part of train",
        {split: draw(read(split), max_eval_samples) for split in evaluation},
        {split: read(split, labels=False) for split in test},
    )  # fmt: skip


def hold_out(labels: list, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """
    Indices [N - M] to keep and [M] to hold out, both ascending, where M is a tenth of N, at most 1,000.

    The held-out rows have equal distances in the rows sorted by label, in random order within a label, so that the
    share of each class, and of each range of scores, is exact to within one row. ValueError for fewer than two rows.
    """
    if (count := len(labels)) < 2:
        raise ValueError(f"Two training rows or more are needed, not {count}.")
    size = max(1, min(int(count * SELECTION_SHARE), SELECTION_ROWS))
    order = np.random.default_rng(seed).permutation(count)
    order = order[np.argsort(np.asarray(labels)[order], kind="stable")]
    places = ((np.arange(size) + 0.5) * count / size).astype(int)
    held_out = np.sort(order[places])
    return np.setdiff1d(np.arange(count), held_out), held_out
