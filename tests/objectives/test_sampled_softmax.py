# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The sample that stands for the vocabulary: labels and others, with unbiased weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.objectives.noise import make_key
from trainers.objectives.sampled_softmax import sample_vocabulary


@given(
    vocabulary=st.integers(1, 200), labelled=st.integers(0, 200), count=st.integers(0, 200), seed=st.integers(0, 99)
)
@settings(max_examples=100, deadline=None)
def test_labels_count_once_and_the_others_for_all_others(vocabulary, labelled, count, seed):
    labels = torch.randperm(vocabulary, generator=torch.Generator().manual_seed(seed)) < labelled
    others = int((~labels).sum())
    sample = sample_vocabulary(labels, count, make_key(seed))
    if count == 0 or count >= others:
        assert sample is None
        return
    assert sample.ids.tolist() == sorted(set(sample.ids.tolist())) and len(sample.ids) == vocabulary - others + count
    assert set(labels.nonzero()[:, 0].tolist()) <= set(sample.ids.tolist())
    assert (sample.weights[labels[sample.ids]] == 1).all()
    assert sample.weights.sum() == pytest.approx(vocabulary, rel=1e-5)
    again = sample_vocabulary(labels, count, make_key(seed))
    assert torch.equal(sample.ids, again.ids) and torch.equal(sample.weights, again.weights)


def test_the_normaliser_is_unbiased():
    """Every other token is drawn equally often: the mean estimate over steps is the sum over the vocabulary."""
    torch.manual_seed(0)
    labels, mass = torch.arange(60) % 7 == 0, torch.randn(60).exp()
    draws = [sample_vocabulary(labels, 5, make_key(0, step)) for step in range(4000)]
    estimates = torch.stack([(mass[draw.ids] * draw.weights).sum() for draw in draws])
    error = estimates.std() / len(draws) ** 0.5
    assert abs(estimates.mean() - mass.sum()) < 4 * error < 0.02 * mass.sum()
