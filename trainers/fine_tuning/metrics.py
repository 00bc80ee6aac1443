# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Metrics of classification and regression tasks.

N examples.
"""

from collections.abc import Iterable
from functools import partial

import numpy as np
from scipy import stats
from sklearn import metrics


def correlation(function, references: np.ndarray, predictions: np.ndarray) -> float:
    """A correlation of [N] with [N]; 0 where it is undefined, for constants."""
    if np.ptp(predictions) == 0 or np.ptp(references) == 0:
        return 0.0
    return function(predictions.astype(float), references.astype(float)).statistic


# Functions of references and predictions. `f1` is that of class 1, `macro_f1` the mean over classes.
CLASS_METRICS = {
    "accuracy": metrics.accuracy_score,
    "f1": partial(metrics.f1_score, zero_division=0),
    "macro_f1": partial(metrics.f1_score, average="macro", zero_division=0),
    "matthews_correlation": metrics.matthews_corrcoef,
}
SCORE_METRICS = {
    "pearson": partial(correlation, stats.pearsonr),
    "spearman": partial(correlation, stats.spearmanr),
}


def compute_metrics(names: Iterable[str], predictions, references) -> dict[str, float]:
    """
    Args:
        names: in `CLASS_METRICS` or `SCORE_METRICS`.
        predictions: classes or scores, [N] or [N, 1].
        references: [N].
    """
    functions = {**CLASS_METRICS, **SCORE_METRICS}
    predictions, references = np.asarray(predictions).reshape(-1), np.asarray(references)
    return {name: float(functions[name](references, predictions)) for name in names}
