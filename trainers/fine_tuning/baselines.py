# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Trivial baselines of tasks: the most frequent class, and tf-idf with a linear model."""

from collections import Counter
from statistics import fmean

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge

from ..evaluation.bag_of_words import fit_bag_of_words, pair_features
from ..evaluation.results import BAG_OF_WORDS, MAJORITY, Result
from ..utils.distributed import print_once
from ..utils.errors import first_line
from .metrics import compute_metrics
from .task import TaskData


def predict_majority(data: TaskData) -> dict[str, np.ndarray]:
    """The most frequent class, or the mean score, of the training rows for each row of each evaluation split."""
    labels = data.train["label"][:]
    value = fmean(labels) if data.task.is_score else Counter(labels).most_common(1)[0][0]
    return {split: np.full(len(rows), value) for split, rows in data.evaluation.items()}


def predict_bag_of_words(data: TaskData) -> dict[str, np.ndarray]:
    """Classes by logistic regression, or scores by ridge regression, of tf-idf features fitted on the training rows,
    for each row of each evaluation split."""
    columns = [column for column in ("text_a", "text_b") if column in data.train.column_names]
    words = fit_bag_of_words(text for column in columns for text in data.train[column][:])

    def features(rows):
        texts = [words.transform(rows[column][:]) for column in columns]
        return texts[0] if len(texts) == 1 else pair_features(*texts)

    model = Ridge() if data.task.is_score else LogisticRegression(max_iter=1000)
    model.fit(features(data.train), data.train["label"][:])
    return {split: model.predict(features(rows)) for split, rows in data.evaluation.items()}


# Names in tables, and functions of the data of a task.
BASELINES = {"majority": (MAJORITY, predict_majority), "tfidf": (BAG_OF_WORDS, predict_bag_of_words)}


def run_baseline(name: str, data: TaskData) -> list[Result]:
    """The metrics of a baseline of `BASELINES` on each evaluation split; none where the baseline is not defined, for
    instance for training rows of one class, which is printed."""
    system, predict = BASELINES[name]
    task, results = data.task, []
    try:
        if data.train is None:
            raise ValueError("there are no training rows")
        predictions = predict(data)
    except ValueError as error:  # of scikit-learn, or texts without words
        print_once(f"{system}: not defined on {task.name} ({first_line(error)}).")
        return []
    for split, rows in data.evaluation.items():
        values = compute_metrics(task.metrics, predictions[split], rows["label"][:])
        results += [
            Result(task.name, split, metric, system, value, count=len(rows), primary=metric == task.metrics[0])
            for metric, value in values.items()
        ]
    return results
