# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Tasks of one's own: which columns hold texts and labels is told or found, and the classes are those of the data."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from datasets import ClassLabel, Dataset, DatasetDict

from ..data import text_columns
from ..runs import folder_name
from .task import Task, are_hidden, class_name, hold_out
from .task_metrics.task_metrics import CLASS_METRICS, SCORE_METRICS


# Taken for the text where no column is named.
TEXT_COLUMNS = ("text", "sentence")

# A number as it stands in a file.
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)

# The part of the training rows that is reported where the data have nothing to report on.
CUT_SPLIT = "validation (a tenth of train)"


def own_task(
    source: str,
    text_columns: Sequence[str] = (),
    label_column: str = "label",
    do_regression: bool | None = None,
    metrics: Sequence[str] = (),
    label_names: Sequence[str] | None = None,
    config: str | None = None,
    seed: int = 42,
) -> Task:
    """
    A task whose texts and labels are columns of any data.

    Args:
        source: Hub id, folder or file, for the name of the task.
        text_columns: one, or two for pairs; by default `text`, `sentence`, or the only column of texts.
        label_column: names or numbers of classes, or scores.
        do_regression: whether labels are scores; by default they are if they are numbers, not all of them whole.
        metrics: names in `task_metrics`, of which the first ranks; by default accuracy, or correlations of scores.
        label_names: of a classifier that exists; by default those that the data hold.
        config: configuration of the data set.
        seed: of the rows that are held out where the data have no split to report on.

    Raises:
        ValueError: more than two text columns, or the labels among them; metrics that do not exist.
    """
    if len(text_columns) > 2 or len(set(text_columns)) < len(text_columns):
        raise ValueError(f"A text is one column or a pair of two, not {list(text_columns)}.")
    if label_column in text_columns:
        raise ValueError(f"The column {label_column!r} holds the labels, and cannot be the text, too.")
    if unknown := [name for name in metrics if name not in {**CLASS_METRICS, **SCORE_METRICS}]:
        raise ValueError(f"Unknown metric {unknown[0]!r}; choose of {[*CLASS_METRICS, *SCORE_METRICS]}.")
    path = Path(source).resolve() if Path(source).exists() else Path(source)
    stem = path.parent.name if path.stem.lower() in ("train", "training", "data") else path.stem
    name = folder_name(stem).replace(".", "_")[:80]  # a folder, beside results.json and other files
    return Task(
        name or "own", source, tuple(text_columns), tuple(metrics), tuple(label_names) if label_names else None,
        score_range=None, config=config, label_column=label_column,
        complete=partial(complete_task, do_regression, seed),
    )  # fmt: skip


def complete_task(do_regression: bool | None, seed: int, task: Task, raw: DatasetDict, parts) -> Task:
    """
    The task with columns, classes and metrics that suit its data, which get a split to report on if they have none.

    Raises:
        ValueError: columns that are missing, hold no texts or no labels, or fit no metric asked for.
    """
    some = raw["train"] if "train" in raw else next(iter(raw.values()))
    task = replace(task, text_columns=task.text_columns or (find_text_column(some, task.label_column),))
    splits = tuple(split for split in ("validation", "test") if split in raw)
    evaluation = splits[:1] if "validation" in splits or has_labels(raw.get("test"), task.label_column) else ()
    labelled = {split: raw[split] for split in ("train", *evaluation) if split in raw}
    if labelled and (parts.train or parts.evaluate):
        task = read_classes(task, labelled, do_regression)
    if parts.evaluate and not evaluation and "train" in raw:
        kept, held_out = hold_out(task.read_labels(raw["train"], "train"), seed)
        raw["train"], raw[CUT_SPLIT], evaluation = (
            raw["train"].select(kept),
            raw["train"].select(held_out),
            (CUT_SPLIT,),
        )
    metrics = task.metrics or (("pearson", "spearman") if task.is_score else ("accuracy",))
    suitable = SCORE_METRICS if task.is_score else CLASS_METRICS
    if wrong := [name for name in metrics if name not in suitable]:
        kind = "scores" if task.is_score else "classes"
        raise ValueError(f"The labels of {task.name} are {kind}, which {wrong[0]} does not measure: {list(suitable)}.")
    if "f1" in metrics and len(task.label_names) != 2:
        raise ValueError(f"f1 is for two classes, but {task.name} has {len(task.label_names)}; take macro_f1.")
    return replace(task, metrics=metrics, evaluation_splits=evaluation or task.evaluation_splits)


def find_text_column(rows: Dataset, label_column: str) -> str:
    """The column that must be the text; ValueError where several may be."""
    for name in TEXT_COLUMNS:
        if name in rows.column_names and name != label_column:
            return name
    # Cells of csv files are texts, and numbers may be.
    others = [name for name in text_columns(rows) if name != label_column]
    strings = [name for name in others if len(others) == 1 or not read_numbers(rows[name][:])]
    if len(strings) != 1:
        raise ValueError(f"Which columns hold the text? Give --text_column_names, one or two of {rows.column_names}.")
    return strings[0]


def has_labels(rows: Dataset | None, column: str) -> bool:
    """Whether a split can be reported on: it has labels, and they are not hidden."""
    return rows is not None and column in rows.column_names and not are_hidden(rows[column][:])


def read_numbers(values: list) -> list[float] | None:
    """Values that are numbers, also as texts, without those that are missing; None if one is no number."""
    texts = [str(value) for value in values if value is not None and value == value]
    return [float(text) for text in texts] if all(map(NUMBER.fullmatch, texts)) else None


def read_classes(task: Task, splits: dict[str, Dataset], do_regression: bool | None) -> Task:
    """The task with the classes that its labels are, or with none for scores."""
    column, values = task.label_column, []
    for split, rows in splits.items():
        if column not in rows.column_names:
            raise ValueError(
                f"There is no column {column!r} of labels in the split {split!r}; give --label_column_name, of "
                f"{rows.column_names}."
            )
        labels = [value for value in rows[column][:] if value is not None]
        if len(splits) > 1 and labels and are_hidden(labels):
            raise ValueError(f"The labels in the column {column!r} of the split {split!r} are hidden (all -1).")
        values += labels
    if not values:
        raise ValueError(f"The column {column!r} holds no labels.")
    if wrong := [value for value in values if isinstance(value, list | dict)]:
        raise ValueError(f"A text has one label, but the column {column!r} holds {wrong[0]!r:.60}.")
    # Whole numbers are classes even as floats, which a missing one makes of them all.
    decimals = not all(number.is_integer() for number in read_numbers(values) or [])
    if do_regression or (do_regression is None and decimals and task.label_names is None):
        return replace(task, label_names=None)
    if task.label_names is not None:
        return task
    feature = next(iter(splits.values())).features[column]
    names = feature.names if isinstance(feature, ClassLabel) else sorted_names(values)
    if len(names) < 2:
        raise ValueError(f"All rows have the label {names[0]!r} in {column!r}: there is nothing to tell apart.")
    if len(names) > max(10, len(values) / 2):
        raise ValueError(
            f"The column {column!r} holds {len(names):,} different values in {len(values):,} rows, which are no "
            "classes: give another --label_column_name, or --do_regression for scores."
        )
    return replace(task, label_names=tuple(names))


def sorted_names(values: list) -> list[str]:
    """Names of the classes: whole numbers in their order, then other names."""
    names = {class_name(value) for value in values}
    numbers = {name for name in names if name.removeprefix("-").isdecimal()}
    return [*sorted(numbers, key=lambda name: (int(name), name)), *sorted(names - numbers)]
