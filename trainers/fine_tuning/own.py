# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Tasks with own data, whose classes are those of the data."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from datasets import ClassLabel, DatasetDict

from ..utils.runs import folder_name
from .metrics import CLASS_METRICS, SCORE_METRICS
from .task import Task, class_name, hold_out


# The part of the training rows that is reported where the data have no split for it.
CUT_SPLIT = "validation (a tenth of train)"


def own_task(
    source: str,
    text_columns: Sequence[str] = ("text",),
    label_column: str = "label",
    do_regression: bool | None = None,
    metrics: Sequence[str] = (),
    label_names: Sequence[str] | None = None,
    score_range: Sequence[float] | None = None,
    config: str | None = None,
    seed: int = 42,
) -> Task:
    """
    A task whose texts and labels are columns of any data. The validation split is reported, without one a test split
    with labels, without both a tenth of the training rows, which is added as a split.

    Args:
        source: Hub id, folder or file, for the name of the task.
        text_columns: one, or two for pairs.
        label_column: names or numbers of classes, or scores.
        do_regression: whether labels are scores; by default, whether they are numbers and not all whole.
        metrics: names of metrics, of which the first ranks; by default accuracy, or correlations for scores.
        label_names, score_range: of an existing classifier; by default classes are those of the data, and scores are
            not scaled.
        config: configuration of the data set.
        seed: of the held-out rows where the data have no split to report.

    Raises:
        ValueError: other than one or two columns; later, in `load_task`, labels or metrics that make no task.
    """
    if len(text_columns) not in (1, 2):
        raise ValueError(f"A text is one column, or a pair of two, not {list(text_columns)}.")
    name = folder_name(Path(source).resolve().stem).replace(".", "_")  # a folder, beside results.json
    return Task(
        name, source, tuple(text_columns), tuple(metrics), tuple(label_names) if label_names else None,
        tuple(score_range) if score_range else None, config, label_column=label_column,
        prepare=partial(prepare, do_regression, seed),
    )  # fmt: skip


def prepare(do_regression: bool | None, seed: int, task: Task, raw: DatasetDict) -> tuple[Task, DatasetDict]:
    """The task with classes, metrics and splits that suit its data."""
    labelled = [name for name in ("train", "validation", "test") if name in raw and has_labels(raw[name], task)]
    evaluation = ["validation"] if "validation" in raw else [name for name in labelled if name == "test"]
    if task.label_names is None and not do_regression:
        task = read_classes(task, [raw[name] for name in labelled if name in ("train", *evaluation)], do_regression)
    known = SCORE_METRICS if task.is_score else CLASS_METRICS
    metrics = task.metrics or (("pearson", "spearman") if task.is_score else ("accuracy",))
    if unknown := [name for name in metrics if name not in known]:
        raise ValueError(f"{unknown[0]!r} does not measure the labels of {task.name}; choose of {sorted(known)}.")
    if not evaluation and "train" in raw:
        rows, evaluation = raw["train"], [CUT_SPLIT]
        kept, held_out = hold_out(task.read_labels(rows, "train"), seed)
        raw["train"], raw[CUT_SPLIT] = rows.select(kept), rows.select(held_out)
    return replace(task, metrics=metrics, evaluation_splits=tuple(evaluation) or task.evaluation_splits), raw


def has_labels(rows, task: Task) -> bool:
    """Whether there are labels, which are missing, or all -1, where they are hidden."""
    labels = rows[task.label_column][:] if task.label_column in rows.column_names else []
    return not {*map(class_name, labels)} <= {"-1", "None"}


def read_classes(task: Task, splits: list, do_regression: bool | None) -> Task:
    """The task with the classes of its labels, or without classes if these are scores."""
    column = task.label_column
    labels = [label for rows in splits for label in rows[column] if label is not None]
    if do_regression is None and are_scores(labels):
        return task
    features = [rows.features[column] for rows in splits]
    known = [feature.names for feature in features if isinstance(feature, ClassLabel)]
    names = known[0] if known else sorted({*map(class_name, labels)}, key=class_order)
    if not 2 <= len(names) <= max(10, len(labels) / 2):
        raise ValueError(
            f"The column {column!r} holds {len(names):,} different labels in {len(labels):,} rows, which are no "
            "classes: give another --label_column_name, or --do_regression for scores."
        )
    return replace(task, label_names=tuple(names))


def are_scores(labels: list) -> bool:
    """Whether labels are numbers, also as text, and not all whole; a missing label makes floats of whole numbers."""
    try:
        return not all(float(label).is_integer() for label in labels)
    except (TypeError, ValueError):
        return False


def class_order(name: str) -> tuple:
    """Whole numbers in their order, then other names."""
    is_number = name.removeprefix("-").isdecimal()
    return not is_number, int(name) if is_number else 0, name
