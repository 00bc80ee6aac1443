# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Metrics of the original analysis: known matrices, and formulas written out a second time."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.evaluation.metrics import concept_metrics, constants_like, original_metrics


def test_calibration_iid_gaussian():
    found = original_metrics(torch.randn(1, 128, 512))
    assert found["effective_rank"] == pytest.approx(83.8, abs=1.5)
    assert found["global_effective_rank"] == found["effective_rank"]
    # The mean of 16 texts is as good a Gaussian matrix.
    found = original_metrics(torch.randn(16, 128, 512))
    assert found["effective_rank"] == pytest.approx(83.8, abs=1.5)
    assert found["mean_concept_similarity"] == pytest.approx(math.sqrt(2 / math.pi / 512), rel=0.02)


def test_calibration_orthonormal_constants_pass_nearly_everything():
    concepts = constants_like(torch.randn(20, 16, 64) * 3)
    found = original_metrics(concepts)
    assert found["global_effective_rank"] == pytest.approx(16, abs=1e-3)
    assert found["top_1_dominance"] == pytest.approx(1 / 16)
    assert found["mean_concept_similarity"] == pytest.approx(0, abs=1e-5)
    assert concept_metrics(concepts)["content_fraction"] == pytest.approx(0, abs=1e-6)


def test_calibration_one_vector_for_everything():
    found = original_metrics(torch.ones(20, 8, 32))
    assert found["global_effective_rank"] == pytest.approx(1)
    assert found["mean_concept_similarity"] == found["max_concept_similarity"] == pytest.approx(1)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(2, 6))
def test_formulas(seed, count, width):
    concepts = torch.randn(16, count, width, generator=torch.Generator().manual_seed(seed)) + 0.3
    found, values = original_metrics(concepts), concepts.double().numpy()
    singular = np.linalg.svd(values.mean(axis=0), compute_uv=False)
    assert found["global_effective_rank"] == pytest.approx(singular.sum() / singular.max())
    assert found["top_1_dominance"] == pytest.approx(singular.max() / singular.sum())
    cosines = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b) for text in values for a, b in itertools.permutations(text, 2)
    ]
    assert found["mean_concept_similarity"] == pytest.approx(np.abs(cosines).mean())
    assert found["max_concept_similarity"] == pytest.approx(max(cosines))


def test_batches_are_averaged_and_a_short_last_one_is_left_out():
    concepts = torch.randn(37, 4, 8)
    first, second = (original_metrics(part)["effective_rank"] for part in (concepts[:16], concepts[16:32]))
    assert original_metrics(concepts)["effective_rank"] == pytest.approx((first + second) / 2)


def test_single_concepts_and_more_concepts_than_dimensions():
    assert original_metrics(torch.randn(20, 1, 8))["mean_concept_similarity"] == 0
    assert constants_like(torch.randn(3, 8, 4)).shape == (3, 8, 4)
