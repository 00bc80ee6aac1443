# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What a downstream task is, and its data: rows of `text_a`, `text_b` (for pairs) and `label`, the same for all."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import datasets
import evaluate
import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict

from ..data import as_texts, check_fields, first_line, load_files, text_cells


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
        score_range: lowest and highest score, which become 0 and 1; None for scores that stay as they are.
        config: configuration of the data set.
        revision: of the data set, at the Hub.
        label_column: class indices or names, or scores.
        train_split, evaluation_splits: where to learn and to report.
        selection_split: where epochs and learning rates are chosen; None: on a part of train.
        test_splits: for whose texts predictions are written; labels are not read.
        divide: makes these splits of those that the data set has.
        complete: fills in what the task leaves open, from its data and the parts of them that are read.
        convert: makes a row with these columns of a row of the data set.
        whole_texts: whether the task makes no sense with texts that are cut.
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

    def load_metric(self) -> evaluate.Metric:
        """Gives `self.metrics`; one process at a time."""
        return evaluate.load(str(TASK_METRICS), "+".join(self.metrics), keep_in_memory=True)

    def read_labels(self, rows: Dataset, split: str) -> list[int] | list[float]:
        """
        Class indices, or scores brought from `score_range` to 0..1.

        Raises:
            ValueError: labels that are hidden, or are no class or score of this task.
        """
        values, feature = rows[self.label_column][:], rows.features[self.label_column]
        if isinstance(feature, ClassLabel) and not self.is_score and None not in map(self.read_class, feature.names):
            values = [value if value in (None, -1) else feature.names[value] for value in values]
        if values and are_hidden(values) and "-1" not in (self.label_names or ()):
            raise ValueError(f"The labels of the split {split!r} of {self.name} are hidden (all -1).")
        read = self.read_score if self.is_score else self.read_class
        found = []
        for number, value in enumerate(values, 1):
            label = read(value)
            if label is None:
                given = "has no label" if value is None else f"has the label {value!r}"
                raise ValueError(f"{self.expected()}, but row {number} of the split {split!r} {given}.{self.hint}")
            found.append(label)
        return found

    @property
    def hint(self) -> str:
        """What ends a message about data that do not fit."""
        return "" if self.complete else " For columns and classes of your own there is examples/run_classification.py."

    def expected(self) -> str:
        """What a label may be, as the beginning of a sentence."""
        if not self.is_score:
            numbers = "" if self.complete else ", or their numbers from 0"
            return f"{self.name} has the classes {list(self.label_names)}{numbers}"
        if self.score_range is None:
            return f"{self.name} has numbers as labels"
        return f"{self.name} has scores from {self.score_range[0]} to {self.score_range[1]}"

    def read_class(self, value) -> int | None:
        """The index of a class given by its name (in any case, if no other name differs by case alone) or its number,
        also as text; None for what is none of them."""
        names = [name.lower() for name in self.label_names]
        text = class_name(value)
        for found, known in ((text, list(self.label_names)), (text.lower(), names)):
            if known.count(found) == 1:
                return known.index(found)
        text = {"true": "1", "false": "0"}.get(text.lower(), text)
        numbered = any(name.removeprefix("-").isdecimal() for name in names)  # a number is then a name
        return int(text) if not numbered and text.isdecimal() and int(text) < len(names) else None

    def read_score(self, value) -> float | None:
        """A score, also as text, brought from `score_range` to 0..1; None for what is none."""
        try:
            number = float(value)
        except (TypeError, ValueError):
            return None
        low, high = self.score_range or (0.0, 1.0)
        inside = math.isfinite(number) and (self.score_range is None or low <= number <= high)
        return (number - low) / (high - low) if inside else None

    def read_texts(self, rows: Dataset, split: str) -> Dataset:
        """
        Columns `text_a` and, for pairs, `text_b` of any split.

        Raises:
            ValueError: a column is missing, or holds no texts.
        """
        if self.convert is not None:
            rows = rows.map(self.convert, remove_columns=rows.column_names)
        for column in self.text_columns:
            self.check_column(rows, column, split)
        texts = as_texts(rows, list(dict.fromkeys(self.text_columns)), name=f"split {split!r} of {self.name}")
        columns = zip(("text_a", "text_b"), self.text_columns)
        return Dataset.from_dict({name: texts[column][:] for name, column in columns})

    def read_rows(self, rows: Dataset, split: str) -> Dataset:
        """
        Columns `text_a`, `text_b` and `label` of any split.

        Raises:
            ValueError: a column is missing; others as in `read_labels`.
        """
        if self.convert is not None:
            rows = rows.map(self.convert, remove_columns=rows.column_names)
        texts = replace(self, convert=None).read_texts(rows, split)
        self.check_column(rows, self.label_column, split)
        labels = self.read_labels(rows, split)
        return Dataset.from_dict({**{name: texts[name][:] for name in texts.column_names}, "label": labels})

    def check_column(self, rows: Dataset, name: str, split: str) -> None:
        """ValueError unless the rows have this column."""
        if name not in rows.column_names:
            raise ValueError(
                f"The split {split!r} of {self.name} has no column {name!r}; its columns are {rows.column_names}."
                f"{self.hint}"
            )


def class_name(value) -> str:
    """A label as text: whole numbers without a decimal point, whatever type a file gave them."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(value))


def are_hidden(labels: Iterable) -> bool:
    """Whether all labels are -1, as in the test splits of GLUE; None is no label."""
    return all(class_name(label) == "-1" for label in labels if label is not None)


@dataclass(frozen=True)
class TaskData:
    """
    The data of a task; no row is in two parts.

    Args:
        task: whose data it is.
        source: Hub id, folder or files.
        train: to learn from; None where nothing is trained.
        selection: to choose epochs and learning rates on.
        selection_name: what that is.
        evaluation: what is reported, by split.
        test: texts alone, for which predictions are written, by split.
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
        def sizes(parts):
            return {split: len(rows) for split, rows in parts.items()}

        facts = {"task": self.task.name, "source": self.source, "official": self.official}
        if self.train is not None:
            selection = {"selection": len(self.selection), "selection_from": self.selection_name}
            facts |= {"train": len(self.train), **selection}
        facts["evaluation"] = sizes(self.evaluation)
        return facts | ({"test": sizes(self.test)} if self.test else {})


@dataclass(frozen=True)
class Parts:
    """
    Which parts of a task's data are read, and at most how many rows of each, drawn at random.

    Args:
        train: with the rows that epochs and rates are chosen on.
        evaluate, predict: the splits that are reported, and those that get predictions.
        max_train_samples, max_eval_samples, max_predict_samples: of train, of selection and each evaluation split, of
            each test split.
    """

    train: bool = True
    evaluate: bool = True
    predict: bool = False
    max_train_samples: int | None = None
    max_eval_samples: int | None = None
    max_predict_samples: int | None = None

    def __post_init__(self):
        for name, least in (("max_train_samples", 2), ("max_eval_samples", 2), ("max_predict_samples", 1)):
            count = getattr(self, name)
            if count is not None and count < least:
                raise ValueError(f"--{name} must be at least {least}, not {count}.")


def load_task(
    task: Task,
    dataset_name: str | None = None,
    files: dict[str, str] | None = None,
    parts: Parts = Parts(),
    seed: int = 42,
) -> TaskData:
    """
    The data of a task.

    A train split without a selection split gives a tenth of its rows, at most 1,000, for selection: every class or
    score is held out in its share. Where the data lack the split to report on but have the selection split, that one
    is reported, and selection takes a part of train.

    Args:
        dataset_name: Hub id or local folder that stands in for `task.dataset`.
        files: with the task's columns instead, by split: `train`, `validation`, `test`.
        parts: what of it is read.
        seed: of what is drawn.

    Raises:
        ValueError: data that cannot be read, or a configuration, split, file or column that is missing, with those
            that exist; labels as in `Task.read_labels`.
    """
    if files:
        if dataset_name is not None:
            raise ValueError("Give --dataset_name or files (--train_file, --validation_file, --test_file), not both.")
        source, raw = ", ".join(dict.fromkeys(files.values())), load_files(files, {}, written=True)
        own = {"train_split": "train", "selection_split": None, "evaluation_splits": ("validation",)}
        task = replace(task, **own, test_splits=("test",), divide=None)
    else:
        source = dataset_name or task.dataset
        raw = load_splits(task, dataset_name)
    if task.divide is not None:
        raw = task.divide(raw)
    if task.complete is not None:
        task = task.complete(task, raw, parts)
    task = choose_splits(task, raw, parts)

    def drawn(rows, count):
        return rows if count is None or len(rows) <= count else rows.shuffle(seed=seed).select(range(count))

    train = selection = None
    selection_name = task.selection_split or f"a part of {task.train_split}"
    if parts.train or (parts.evaluate and task.train_split in raw):  # baselines learn from it, too
        train = task.read_rows(raw[task.train_split], task.train_split)
        if task.selection_split is None:
            kept, held_out = hold_out(train["label"][:], seed)
            train, selection = train.select(kept), train.select(held_out)
        else:
            selection = task.read_rows(raw[task.selection_split], task.selection_split)
        train, selection = drawn(train, parts.max_train_samples), drawn(selection, parts.max_eval_samples)
    evaluation = {
        split: drawn(task.read_rows(raw[split], split), parts.max_eval_samples)
        for split in (task.evaluation_splits if parts.evaluate else ())
    }
    test = {
        split: task.read_texts(raw[split].take(parts.max_predict_samples or len(raw[split])), split)
        for split in (task.test_splits if parts.predict else ())
    }
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
        hint = "--dataset_name takes a local folder instead."
        if task.complete is not None and "onfig" in str(error):
            hint = "--dataset_config_name names one."
        raise ValueError(
            f"The data set {name!r} of {task.name} cannot be read: {first_line(error)} ({hint})"
        ) from error


def holds_one_task(name: str) -> bool:
    """Whether a data set is a local folder without configurations."""
    return Path(name).is_dir() and datasets.get_dataset_config_names(name) == ["default"]


def choose_splits(task: Task, raw: DatasetDict, parts: Parts) -> Task:
    """The task with splits that the data have; ValueError if one is missing that is read."""
    missing = [split for split in task.evaluation_splits if split not in raw]
    if missing and task.selection_split in raw:
        task = replace(task, evaluation_splits=(task.selection_split,), selection_split=None)
    wanted: list[tuple[str, Iterable[str | None], str]] = [
        (parts.train, (task.train_split, task.selection_split), "--train_file"),
        (parts.evaluate, task.evaluation_splits, "--validation_file"),
        (parts.predict, task.test_splits, "--test_file"),
    ]
    for read, splits, option in wanted:
        for split in splits:
            if read and split is not None and split not in raw:
                raise ValueError(
                    f"The data of {task.name} have no split {split!r}; their splits are {list(raw)}. Files are given "
                    f"by {option}."
                )
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
