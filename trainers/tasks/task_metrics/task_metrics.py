# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Metrics of classification and regression tasks as a module of `evaluate`, loaded from this folder without a hub:

    evaluate.load(".../trainers/tasks/task_metrics", "f1+accuracy")

N examples.
"""

import datasets
import evaluate
import numpy as np
from scipy import stats
from sklearn import metrics


def correlation(function, predictions, references) -> float:
    """
    A correlation of [N] with [N]. It is 0 where it is not defined, for constants: they say nothing about the
    references.
    """
    if np.ptp(predictions) == 0 or np.ptp(references) == 0:
        return 0.0
    return float(function(predictions, references))


# Each takes predictions and references.
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


class TaskMetrics(evaluate.Metric):
    """The configuration names the metrics: one, or several with plus signs between. `f1` is that of class 1,
    `macro_f1` the mean over classes."""

    def _info(self):
        names = self.config_name.split("+")
        if unknown := [name for name in names if name not in {**CLASS_METRICS, **SCORE_METRICS}]:
            raise ValueError(f"Unknown metric {unknown[0]!r}; choose of {[*CLASS_METRICS, *SCORE_METRICS]}.")
        if len({name in SCORE_METRICS for name in names}) > 1:
            raise ValueError(f"{self.config_name} mixes metrics of classes and of scores.")
        value = datasets.Value("float64" if names[0] in SCORE_METRICS else "int64")
        return evaluate.MetricInfo(
            description="Metrics of classes or scores.",
            citation="",
            inputs_description="predictions: [N] or [N, 1]; references: [N]; class indices, or scores.",
            # A regression head gives [N, 1].
            features=[
                datasets.Features({"predictions": datasets.Sequence(value), "references": value}),
                datasets.Features({"predictions": value, "references": value}),
            ],
        )

    def _compute(self, predictions, references):
        """Dict of floats. ValueError unless there is one prediction, a finite number, for each reference."""
        predictions, references = np.asarray(predictions), np.asarray(references)
        if not np.isfinite(predictions).all():
            raise ValueError("Predictions must be finite numbers.")
        if predictions.size != references.size:
            raise ValueError(
                f"Predictions must be [N] or [N, 1] for {references.size} references, not {list(predictions.shape)}."
            )
        found = {**CLASS_METRICS, **SCORE_METRICS}
        return {name: float(found[name](predictions.reshape(-1), references)) for name in self.config_name.split("+")}
