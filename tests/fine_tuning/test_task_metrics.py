# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Metrics equal those of scikit-learn and scipy, for every shape of predictions, and are never nan."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from trainers.fine_tuning.metrics import compute_metrics


SCORES = ("pearson", "spearman")


@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40))
def test_classes_equal_scikit_learn(pairs):
    predictions, references = map(list, zip(*pairs))
    found = compute_metrics(["f1", "accuracy", "matthews_correlation"], predictions, references)
    assert found == {
        "f1": pytest.approx(metrics.f1_score(references, predictions, zero_division=0)),
        "accuracy": pytest.approx(np.mean(np.equal(predictions, references))),
        "matthews_correlation": pytest.approx(metrics.matthews_corrcoef(references, predictions)),
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(0, 1000), st.booleans())
def test_scores_equal_scipy_for_both_shapes(count, seed, column):
    generator = np.random.default_rng(seed)
    predictions, references = generator.normal(size=count), generator.integers(0, 3, count) + generator.normal()
    references[0] = 9  # not constant
    found = compute_metrics(SCORES, predictions[:, None] if column else predictions, references)
    assert found["pearson"] == pytest.approx(stats.pearsonr(predictions, references).statistic, abs=1e-9)
    assert found["spearman"] == pytest.approx(stats.spearmanr(predictions, references).statistic, abs=1e-9)


@pytest.mark.parametrize("predictions", [[1.0] * 4, [[2.0]] * 4])
def test_an_undefined_correlation_is_zero_and_silent(predictions):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compute_metrics(SCORES, predictions, [1.0, 2.0, 3.0, 4.0])
    assert found == {"pearson": 0, "spearman": 0}
