# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Tasks of one's own: which columns hold texts and labels is told or found, and the classes are those of the data."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from datasets import ClassLabel, Dataset, DatasetDict

from ..data import text_columns
from ..runs import folder_name
from .task import Task, class_name, hold_out
from .task_metrics.task_metrics import CLASS_METRICS, SCORE_METRICS


# Taken for the text where no column is named.
TEXT_COLUMNS = ("text", "sentence")

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
        do_regression: whether labels are scores; by default they are if they have decimals.
        metrics: names in `task_metrics`, of which the first ranks; by default accuracy, or correlations of scores.
        label_names: of a classifier that exists; by default those that the data hold.
        config: configuration of the data set.
        seed: of the rows that are held out where the data have no split to report on.

    Raises:
        ValueError: more than two text columns, or metrics that do not exist.
    """
    if len(text_columns) > 2 or len(set(text_columns)) < len(text_columns):
        raise ValueError(f"A text is one column or a pair of two, not {list(text_columns)}.")
    if unknown := [name for name in metrics if name not in {**CLASS_METRICS, **SCORE_METRICS}]:
        raise ValueError(f"Unknown metric {unknown[0]!r}; choose of {[*CLASS_METRICS, *SCORE_METRICS]}.")
    path = Path(source).resolve() if Path(source).exists() else Path(source)
    name = folder_name(path.parent.name if path.stem.lower() in ("train", "training", "data") else path.stem)
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
    labelled = [raw[split] for split in ("train", *evaluation) if split in raw and (parts.train or parts.evaluate)]
    if labelled:
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
    strings = [name for name in text_columns(rows) if name != label_column]
    for name in TEXT_COLUMNS:
        if name in strings:
            return name
    if len(strings) != 1:
        raise ValueError(f"Which columns hold the text? Give --text_column_names, one or two of {rows.column_names}.")
    return strings[0]


def has_labels(rows: Dataset | None, column: str) -> bool:
    """Whether a split can be reported on: it has labels, and they are not hidden."""
    return rows is not None and column in rows.column_names and set(rows[column][:]) - {-1, None} != set()


def read_classes(task: Task, splits: list[Dataset], do_regression: bool | None) -> Task:
    """The task with the classes that its labels are, or with none for scores."""
    column, values = task.label_column, []
    for rows in splits:
        if column not in rows.column_names:
            raise ValueError(
                f"There is no column {column!r} of labels; give --label_column_name, of {rows.column_names}."
            )
        labels = [value for value in rows[column][:] if value is not None]
        if len(splits) > 1 and labels and all(str(value) in ("-1", "-1.0") for value in labels):
            raise ValueError(f"The labels in the column {column!r} of one of the files are hidden (all -1).")
        values += labels
    if not values:
        raise ValueError(f"The column {column!r} holds no labels.")
    if wrong := [value for value in values if isinstance(value, list | dict)]:
        raise ValueError(f"A text has one label, but the column {column!r} holds {wrong[0]!r:.60}.")
    decimals = all(isinstance(value, int | float) for value in values) and any(
        isinstance(value, float) for value in values
    )
    if do_regression or (do_regression is None and decimals and task.label_names is None):
        return replace(task, label_names=None)
    if task.label_names is not None:
        return task
    feature = splits[0].features[column]
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
    return [*sorted(numbers, key=int), *sorted(names - numbers)]
