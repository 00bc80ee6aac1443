# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Tasks of public benchmarks: GLUE (Wang et al. 2019), whose test labels are hidden; SICK (Marelli et al. 2014) and PAWS
(Zhang et al. 2019), with selection on the official trial split and scores on the test split.
"""

from collections.abc import Iterable
from dataclasses import replace

from .task import Task


SENTENCES = ("sentence1", "sentence2")


def glue_task(name: str, text_columns: tuple[str, ...], metrics: tuple[str, ...], **options) -> Task:
    return Task(name, "nyu-mll/glue", text_columns, metrics, config=name, **options)


GLUE_TASKS = [
    glue_task("cola", ("sentence",), ("matthews_correlation",), label_names=("unacceptable", "acceptable")),
    glue_task("sst2", ("sentence",), ("accuracy",), label_names=("negative", "positive")),
    glue_task("mrpc", SENTENCES, ("f1", "accuracy"), label_names=("not_equivalent", "equivalent")),
    glue_task("stsb", SENTENCES, ("pearson", "spearman"), score_range=(0.0, 5.0)),
    glue_task(
        "qqp", ("question1", "question2"), ("f1", "accuracy"), label_names=("not_duplicate", "duplicate")
    ),
    glue_task(
        "mnli", ("premise", "hypothesis"), ("accuracy",), label_names=("entailment", "neutral", "contradiction"),
        evaluation_splits=("validation_matched", "validation_mismatched"),
        test_splits=("test_matched", "test_mismatched"),
    ),
    glue_task("qnli", ("question", "sentence"), ("accuracy",), label_names=("entailment", "not_entailment")),
    glue_task("rte", SENTENCES, ("accuracy",), label_names=("entailment", "not_entailment")),
    glue_task("wnli", SENTENCES, ("accuracy",), label_names=("not_entailment", "entailment")),
]  # fmt: skip

OFFICIAL_SPLITS = {"selection_split": "validation", "evaluation_splits": ("test",)}

# The repository holds a script, which `datasets` no longer runs; the Hub keeps the data on this branch.
SICK = {"dataset": "sick", "revision": "refs/convert/parquet", "text_columns": ("sentence_A", "sentence_B")}

SICK_TASKS = [
    Task(
        "sick_relatedness", metrics=("pearson", "spearman"), score_range=(1.0, 5.0), label_column="relatedness_score",
        **SICK, **OFFICIAL_SPLITS,
    ),
    Task(
        "sick_entailment", metrics=("accuracy",), label_names=("entailment", "neutral", "contradiction"),
        **SICK, **OFFICIAL_SPLITS,
    ),
]  # fmt: skip

PAWS = Task(
    "paws", "google-research-datasets/paws", SENTENCES, ("accuracy", "f1"), config="labeled_final",
    label_names=("not_paraphrase", "paraphrase"), **OFFICIAL_SPLITS,
)  # fmt: skip

TASKS: dict[str, Task] = {task.name: task for task in [*GLUE_TASKS, *SICK_TASKS, PAWS]}
for half in ("matched", "mismatched"):
    splits = {"evaluation_splits": (f"validation_{half}",), "test_splits": (f"test_{half}",)}
    TASKS[f"mnli-{half}"] = replace(TASKS["mnli"], name=f"mnli-{half}", **splits)

TASK_GROUPS: dict[str, tuple[str, ...]] = {
    "all": ("mrpc", "stsb", "qqp", "mnli"),
    "all-glue": tuple(task.name for task in GLUE_TASKS),
    "sick": tuple(task.name for task in SICK_TASKS),
}


def select_tasks(names: Iterable[str], tasks: dict[str, Task] = TASKS) -> list[Task]:
    """The tasks of these names and groups, each once; ValueError for an unknown name."""
    members = dict.fromkeys(member for name in names for member in TASK_GROUPS.get(name, (name,)))
    if unknown := [name for name in members if name not in tasks]:
        raise ValueError(f"Unknown task {unknown[0]!r}; choose of {[*tasks, *TASK_GROUPS]}.")
    return [tasks[name] for name in members]
