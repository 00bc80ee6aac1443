# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What a score must beat before it says anything: the most frequent class, and a bag of words.

N rows, V words.
"""

from collections import Counter
from collections.abc import Callable
from statistics import fmean

import numpy as np
from datasets import Dataset
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

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
        self.words = TfidfVectorizer(sublinear_tf=True).fit(texts)

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


def run_baseline(name: str, data: TaskData) -> list[Result]:
    """The metrics of a baseline of `BASELINES` on each evaluation split."""
    system, predict = BASELINES[name]
    metric, task = data.task.load_metric(), data.task
    found = []
    for split, predictions in predict(data).items():
        rows = data.evaluation[split]
        values = metric.compute(predictions=predictions, references=rows["label"][:])
        found += [
            Result(task.name, split, name, system, values[name], count=len(rows), primary=name == task.metrics[0])
            for name in task.metrics
        ]
    return found
