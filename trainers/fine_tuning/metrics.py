# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Metrics of classification and regression tasks.

N examples.
"""

from collections.abc import Iterable

import numpy as np
from scipy import stats
from sklearn import metrics


def correlation(function, predictions: np.ndarray, references: np.ndarray) -> float:
    """A correlation of [N] with [N]; 0 where it is undefined, for constants."""
    if np.ptp(predictions) == 0 or np.ptp(references) == 0:
        return 0.0
    return function(predictions.astype(float), references.astype(float))


# Functions of predictions and references. `f1` is that of class 1, `macro_f1` the mean over classes.
CLASS_METRICS = {
    "accuracy": metrics.accuracy_score,
    "f1": lambda predictions, references: metrics.f1_score(references, predictions, zero_division=0),
    "macro_f1": lambda predictions, references: metrics.f1_score(
        references, predictions, average="macro", zero_division=0
    ),
    "matthews_correlation": lambda *pair: correlation(metrics.matthews_corrcoef, *pair),
}
SCORE_METRICS = {
    "pearson": lambda *pair: correlation(lambda a, b: stats.pearsonr(a, b).statistic, *pair),
    "spearman": lambda *pair: correlation(lambda a, b: stats.spearmanr(a, b).statistic, *pair),
}
METRICS = {**CLASS_METRICS, **SCORE_METRICS}


def compute_metrics(names: Iterable[str], predictions, references) -> dict[str, float]:
    """
    Args:
        names: in `METRICS`.
        predictions: classes or scores, [N] or [N, 1].
        references: [N].
    """
    predictions, references = np.asarray(predictions).reshape(-1), np.asarray(references)
    return {name: float(METRICS[name](predictions, references)) for name in names}
