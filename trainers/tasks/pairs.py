# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""SICK (Marelli et al. 2014) and PAWS (Zhang et al. 2019): chosen on the official trial split, reported on test."""

from .task import Task


OFFICIAL_SPLITS = {"selection_split": "validation", "evaluation_splits": ("test",)}

# The repository itself holds a script, which `datasets` runs no more; the Hub keeps its output on this branch.
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

PAWS_TASKS = [
    Task(
        "paws", "google-research-datasets/paws", ("sentence1", "sentence2"), ("accuracy", "f1"),
        config="labeled_final", label_names=("not_paraphrase", "paraphrase"), **OFFICIAL_SPLITS,
    ),
]  # fmt: skip
