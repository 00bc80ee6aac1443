# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What a score must beat before it says anything: the most frequent class, and a bag of words.

N rows, V words.
"""

import math
from collections import Counter
from collections.abc import Callable
from statistics import fmean

import numpy as np
from datasets import Dataset
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge

from ..bag_of_words import fit_bag_of_words
from ..data import first_line
from ..results import BAG_OF_WORDS, MAJORITY, Result
from .task import TaskData


def predict_majority(data: TaskData) -> dict[str, np.ndarray]:
    """The most frequent class of train, or its mean score, for each row of each evaluation split."""
    labels = data.train["label"][:]
    value = fmean(labels) if data.task.is_score else Counter(labels).most_common(1)[0][0]
    return {split: np.full(len(rows), value) for split, rows in data.evaluation.items()}


class BagOfWords:
    """
    Words weighed by tf-idf (sublinear; weights learned on `rows`), for pairs [a; b; |a - b|; a * b] and their cosine.

    Args:
        rows: with `text_a` and, for pairs, `text_b`.
    """

    def __init__(self, rows: Dataset):
        self.columns = [column for column in ("text_a", "text_b") if column in rows.column_names]
        texts = [text for column in self.columns for text in rows[column][:]]
        self.words = fit_bag_of_words(texts)

    def __call__(self, rows: Dataset) -> sparse.csr_matrix:
        """Features [N, V], or [N, 4·V + 1]."""
        texts = [self.words.transform(rows[column][:]) for column in self.columns]
        if len(texts) == 1:
            return texts[0]
        first, second = texts
        product = first.multiply(second)
        return sparse.hstack([first, second, abs(first - second), product, product.sum(axis=1)], format="csr")


def predict_bag_of_words(data: TaskData) -> dict[str, np.ndarray]:
    """Classes by logistic regression, or scores by ridge regression, for each row of each evaluation split."""
    features = BagOfWords(data.train)
    model = Ridge() if data.task.is_score else LogisticRegression(max_iter=1000)
    model.fit(features(data.train), data.train["label"][:])
    return {split: model.predict(features(rows)) for split, rows in data.evaluation.items()}


BASELINES: dict[str, tuple[str, Callable[[TaskData], dict[str, np.ndarray]]]] = {
    "majority": (MAJORITY, predict_majority),
    "tfidf": (BAG_OF_WORDS, predict_bag_of_words),
}


def run_baseline(name: str, data: TaskData, tell: Callable[[str], None] = print) -> list[Result]:
    """The metrics of a baseline of `BASELINES` on each evaluation split. `tell` gets a line where the baseline is not
    defined on these data; its metrics are then nan."""
    system, predict = BASELINES[name]
    metric, task = data.task.load_metric(), data.task
    try:
        if data.train is None:
            raise ValueError("there are no training rows")
        predicted = predict(data)
    except ValueError as error:  # of scikit-learn, or texts without words: a baseline never ends a run
        tell(f"{system}: not defined on {task.name} ({first_line(error)}).")
        return undefined_results(system, data)
    found = []
    for split, predictions in predicted.items():
        rows = data.evaluation[split]
        values = metric.compute(predictions=predictions, references=rows["label"][:])
        found += [
            Result(task.name, split, name, system, values[name], count=len(rows), primary=name == task.metrics[0])
            for name in task.metrics
        ]
    return found


def undefined_results(system: str, data: TaskData) -> list[Result]:
    """An empty column: nan for each metric on each evaluation split."""
    task = data.task
    return [
        Result(task.name, split, metric, system, math.nan, count=len(rows), primary=metric == task.metrics[0])
        for split, rows in data.evaluation.items()
        for metric in task.metrics
    ]
