# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Majority class and bag of words."""

import numpy as np
import pytest
from datasets import Dataset
from scipy import stats
from sklearn.feature_extraction.text import TfidfVectorizer

from trainers.evaluation.bag_of_words import fit_bag_of_words, pair_features
from trainers.evaluation.results import BAG_OF_WORDS, MAJORITY
from trainers.fine_tuning import TASKS, TaskData
from trainers.fine_tuning.baselines import predict_bag_of_words, run_baseline


PLACES = ["rain on the roof", "a ship at dawn", "many books here", "the old house"]


def task_data(task, train, evaluation):
    rows = [Dataset.from_dict(dict(zip(("text_a", "text_b", "label"), columns))) for columns in (train, evaluation)]
    return TaskData(TASKS[task], "toy", rows[0], rows[0], "train", {"validation": rows[1]})


def test_the_majority_class_and_the_mean_score():
    texts = PLACES[:3]
    data = task_data("mrpc", (texts, texts, [1, 0, 1]), (texts, texts, [1, 0, 0]))
    found = {result.metric: result for result in run_baseline("majority", data)}
    assert (found["accuracy"].value, found["f1"].value) == (pytest.approx(1 / 3), pytest.approx(0.5))
    assert (found["f1"].system, found["f1"].count, found["f1"].primary) == (MAJORITY, 3, True)
    data = task_data("stsb", (texts, texts, [0.1, 0.2, 0.9]), (texts, texts, [0.5, 0.1, 0.2]))
    assert [result.value for result in run_baseline("majority", data)] == [0, 0]


def test_pairs_are_told_apart_by_the_words_they_share():
    """Every text occurs with both labels: only comparing the two tells them apart."""
    pairs = [(a, b, int(a == b)) for a in PLACES for b in PLACES for _ in range(1 + 2 * (a == b))]
    columns = tuple(map(list, zip(*pairs)))
    data = task_data("mrpc", columns, columns)
    found = {result.metric: result.value for result in run_baseline("tfidf", data)}
    assert found == {"f1": 1, "accuracy": 1}
    assert {result.system for result in run_baseline("tfidf", data)} == {BAG_OF_WORDS}


def test_scores_follow_the_words_they_share():
    generator = np.random.default_rng(0)
    words = np.array(["rain", "roof", "ship", "dawn", "book", "house", "night", "river", "shore", "fox"])
    first, second, scores = [], [], []
    for _ in range(150):
        chosen = generator.permutation(words)
        share = int(generator.integers(0, 4))
        first.append(" ".join(chosen[:3]))
        second.append(" ".join(chosen[3 - share : 6 - share]))
        scores.append(share / 3)
    data = task_data("stsb", (first[:100], second[:100], scores[:100]), (first[100:], second[100:], scores[100:]))
    assert stats.pearsonr(predict_bag_of_words(data)["validation"], scores[100:]).statistic > 0.8


def test_features_are_the_two_texts_their_difference_product_and_cosine():
    words = fit_bag_of_words(PLACES + PLACES[::-1])
    features = pair_features(words.transform(PLACES), words.transform(PLACES[::-1])).toarray()
    plain = TfidfVectorizer(sublinear_tf=True).fit(PLACES + PLACES[::-1])
    a, b = (plain.transform(texts).toarray() for texts in (PLACES, PLACES[::-1]))
    cosine = (a * b).sum(axis=1, keepdims=True)  # of unit vectors
    np.testing.assert_allclose(features, np.hstack([a, b, abs(a - b), a * b, cosine]), atol=1e-12)
