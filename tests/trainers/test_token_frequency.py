# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Frequencies of tokens, and what tokens weigh."""

import math

import pytest
import torch

from trainers.script import untrained_like
from trainers.token_frequency import inverse_frequency, token_counts, unigram_entropy

from .kit import make_model


def test_counts_and_their_entropy():
    counts = token_counts([[1, 2], [3, 4, 0]], 6)
    assert counts.tolist() == [1, 1, 1, 1, 1, 0]
    assert unigram_entropy(counts, ignored=[0]) == pytest.approx(math.log(4))
    assert counts[0] == 1
    assert unigram_entropy(token_counts([[1, 1, 1]], 5)) == 0


def test_smooth_inverse_frequency():
    weights = inverse_frequency(torch.tensor([0.0, 30, 10]), 0.25)
    torch.testing.assert_close(weights, torch.tensor([1, 0.25, 0.5]))
    weights = inverse_frequency(torch.tensor([0.0, 30, 10, 99]), 0.25, ignored=[3])
    torch.testing.assert_close(weights, torch.tensor([1, 0.25, 0.5, 0]))
    with pytest.raises(ValueError, match="sif_smoothing must be positive, not 0"):
        inverse_frequency(torch.ones(3), 0)


def test_an_untrained_network_has_the_same_weights_of_tokens(tokenizer):
    """They are a statistic of the text, not training."""
    model = make_model("perceiver_posonly_mlm", tokenizer, concept_mean="embeddings", token_weighting=True)
    model.tokenizer = tokenizer
    model.base_model.token_weights.weights.uniform_()
    untrained = untrained_like(model, seed=1)
    torch.testing.assert_close(untrained.base_model.token_weights.weights, model.base_model.token_weights.weights)
    assert not torch.equal(untrained.get_input_embeddings().weight, model.get_input_embeddings().weight)
