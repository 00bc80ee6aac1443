# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The nine tasks of GLUE (Wang et al. 2019), with its own metrics; labels of its test splits are hidden."""

from dataclasses import replace

from .task import Task


def glue_task(name: str, text_columns: tuple[str, ...], metrics: tuple[str, ...], **options) -> Task:
    return Task(name, "nyu-mll/glue", text_columns, metrics, config=name, **options)


SENTENCES = ("sentence1", "sentence2")

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

# Each half of MNLI's validation alone.
MNLI_TASKS = [
    replace(
        task, name=f"mnli-{half}", evaluation_splits=(f"validation_{half}",), test_splits=(f"test_{half}",)
    )
    for task in GLUE_TASKS if task.name == "mnli"
    for half in ("matched", "mismatched")
]  # fmt: skip
