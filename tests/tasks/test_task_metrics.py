# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The metric module gives what scikit-learn and scipy give, for every shape of predictions, and never nan."""

import warnings

import evaluate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from trainers.tasks.task import TASK_METRICS


def load(names):
    return evaluate.load(str(TASK_METRICS), names, keep_in_memory=True)


@pytest.fixture(scope="module")
def classes():
    return load("f1+accuracy+matthews_correlation")


@pytest.fixture(scope="module")
def scores():
    return load("pearson+spearman")


@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40))
def test_classes_equal_scikit_learn(classes, pairs):
    predictions, references = map(list, zip(*pairs))
    found = classes.compute(predictions=predictions, references=references)
    assert found == {
        "f1": pytest.approx(metrics.f1_score(references, predictions, zero_division=0)),
        "accuracy": pytest.approx(np.mean(np.equal(predictions, references))),
        "matthews_correlation": pytest.approx(metrics.matthews_corrcoef(references, predictions)),
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(0, 1000), st.booleans())
def test_scores_equal_scipy_for_both_shapes(scores, count, seed, column):
    generator = np.random.default_rng(seed)
    predictions, references = generator.normal(size=count), generator.integers(0, 3, count) + generator.normal()
    references[0] = 9  # not constant
    found = scores.compute(predictions=predictions[:, None] if column else predictions, references=references)
    assert found["pearson"] == pytest.approx(stats.pearsonr(predictions, references).statistic, abs=1e-9)
    assert found["spearman"] == pytest.approx(stats.spearmanr(predictions, references).statistic, abs=1e-9)


@pytest.mark.parametrize("predictions", [[1.0] * 4, [[2.0]] * 4])
def test_an_undefined_correlation_is_zero_and_silent(scores, predictions):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = scores.compute(predictions=predictions, references=[1.0, 2.0, 3.0, 4.0])
    assert found == {"pearson": 0, "spearman": 0}


def test_one_finite_prediction_for_each_reference(scores):
    with pytest.raises(ValueError, match="Predictions must be finite numbers"):
        scores.compute(predictions=[1.0, float("nan")], references=[1.0, 2.0])
    with pytest.raises(ValueError, match=r"must be \[N\] or \[N, 1\] for 3 references, not \[3, 2\]"):
        scores.compute(predictions=np.zeros((3, 2)), references=[1.0, 2.0, 3.0])


@pytest.mark.parametrize(("names", "message"), [("bleu", "Unknown metric 'bleu'"), ("f1+pearson", "mixes metrics")])
def test_bad_configurations(names, message):
    with pytest.raises(ValueError, match=message):
        load(names)
