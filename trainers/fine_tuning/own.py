# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Tasks with own data, whose classes are those of the data."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from datasets import ClassLabel, Dataset, DatasetDict

from ..utils.runs import folder_name
from .metrics import CLASS_METRICS, SCORE_METRICS
from .task import Parts, Task, are_hidden, class_name, hold_out


# Names of the text columns where none are given.
PAIR, SINGLE = ("sentence1", "sentence2"), ("text",)

# The part of the training rows that is reported where the data have no split for it.
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
        text_columns: one, or two for pairs; by default `sentence1` and `sentence2` where they exist, otherwise `text`.
        label_column: names or numbers of classes, or scores.
        do_regression: whether labels are scores; by default, whether they are numbers and not all whole.
        metrics: names in `METRICS`, of which the first ranks; by default accuracy, or correlations for scores.
        label_names: classes of an existing classifier; those of the data by default.
        config: configuration of the data set.
        seed: of the held-out rows where the data have no split to report.
    """
    path = Path(source).resolve() if Path(source).exists() else Path(source)
    stem = path.parent.name if path.stem.lower() in ("train", "training", "data") else path.stem
    name = folder_name(stem).replace(".", "_")[:80]  # a folder, beside results.json and other files
    return Task(
        name or "own", source, tuple(text_columns), tuple(metrics), tuple(label_names) if label_names else None,
        score_range=None, config=config, label_column=label_column,
        complete=partial(complete_task, do_regression, seed),
    )  # fmt: skip


def complete_task(do_regression: bool | None, seed: int, task: Task, raw: DatasetDict, parts: Parts) -> Task:
    """
    The task with columns, classes and metrics that suit its data. Where these have no validation split, a test split
    with labels is reported, or a tenth of the training rows, which is added as a split.

    Raises:
        ValueError: columns, labels or metrics that make no task.
    """
    columns, names = task.text_columns, next(iter(raw.values())).column_names
    columns = columns or (PAIR if set(PAIR) <= set(names) else SINGLE)
    if len(columns) > 2 or len({*columns, task.label_column}) <= len(columns):
        raise ValueError(
            f"A text is one column or a pair of two, other than that of the labels ({task.label_column!r}), not "
            f"{list(columns)}."
        )
    task = replace(task, text_columns=columns)
    evaluation = ("validation",) if "validation" in raw else ()
    if not evaluation and "test" in raw and task.label_column in raw["test"].column_names:
        evaluation = () if are_hidden(raw["test"][task.label_column][:]) else ("test",)
    if parts.train or parts.evaluate:
        task = read_classes(task, {name: raw[name] for name in ("train", *evaluation) if name in raw}, do_regression)
    if parts.evaluate and not evaluation and "train" in raw:
        rows, evaluation = raw["train"], (CUT_SPLIT,)
        kept, held_out = hold_out(task.read_labels(rows, "train"), seed)
        raw["train"], raw[CUT_SPLIT] = rows.select(kept), rows.select(held_out)
    return replace(task, metrics=choose_metrics(task), evaluation_splits=evaluation or task.evaluation_splits)


def choose_metrics(task: Task) -> tuple[str, ...]:
    """The metrics of the task; ValueError if one is unknown or does not measure its labels."""
    known = set(SCORE_METRICS if task.is_score else CLASS_METRICS)
    if not task.is_score and len(task.label_names) != 2:
        known.remove("f1")
    metrics = task.metrics or (("pearson", "spearman") if task.is_score else ("accuracy",))
    if wrong := [name for name in metrics if name not in known]:
        kind = "scores" if task.is_score else f"{len(task.label_names)} classes"
        raise ValueError(f"{task.name} has {kind}, which {wrong[0]!r} does not measure; choose of {sorted(known)}.")
    return metrics


def read_classes(task: Task, splits: dict[str, Dataset], do_regression: bool | None) -> Task:
    """The task with the classes of its labels, or without classes for scores."""
    column, values = task.label_column, []
    for split, rows in splits.items():
        task.check_columns(rows, split, [column])
        labels = [value for value in rows[column][:] if value is not None]
        values += [] if split != "train" and are_hidden(labels) else labels
    if do_regression or (do_regression is None and task.label_names is None and are_scores(values)):
        return replace(task, label_names=None)
    if task.label_names is not None:
        return task
    feature = next(iter(splits.values())).features[column]
    names = feature.names if isinstance(feature, ClassLabel) else sorted_names(values)
    if not 2 <= len(names) <= max(10, len(values) / 2):
        raise ValueError(
            f"The column {column!r} holds {len(names):,} different labels in {len(values):,} rows, which are no "
            "classes: give another --label_column_name, or --do_regression for scores."
        )
    return replace(task, label_names=tuple(names))


def are_scores(values: list) -> bool:
    """Whether labels are numbers, also as text, and not all whole; a missing label makes floats of whole numbers."""
    try:
        return not all(float(value).is_integer() for value in values)
    except (TypeError, ValueError):
        return False


def sorted_names(values: list) -> list[str]:
    """Names of the classes: whole numbers in their order, then other names."""
    names = {class_name(value) for value in values}
    numbers = {name for name in names if name.removeprefix("-").isdecimal()}
    return [*sorted(numbers, key=lambda name: (int(name), name)), *sorted(names - numbers)]
