# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Frequencies of tokens, and what tokens weigh."""

import math

import pytest
import torch

from trainers.token_frequency import inverse_frequency, token_counts, unigram_entropy


def test_counts_and_their_entropy():
    counts = token_counts([[1, 2], [3, 4, 0]], 6)
    assert counts.tolist() == [1, 1, 1, 1, 1, 0]
    assert unigram_entropy(counts, ignored=[0]) == pytest.approx(math.log(4))
    assert counts[0] == 1
    assert unigram_entropy(token_counts([[1, 1, 1]], 5)) == 0


def test_smooth_inverse_frequency():
    weights = inverse_frequency(torch.tensor([0.0, 30, 10]), 0.25)
    torch.testing.assert_close(weights, torch.tensor([1, 0.25, 0.5]))
    with pytest.raises(ValueError, match="sif_smoothing must be positive, not 0"):
        inverse_frequency(torch.ones(3), 0)
