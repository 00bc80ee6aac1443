# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Frequencies of tokens, and what tokens weigh."""

import math

import datasets
import pytest
import torch
from datasets import Dataset, Features, Sequence, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.data.token_frequency import inverse_frequency, order_digest, token_counts, unigram_entropy
from trainers.models.untrained import untrained_like

from ..trainers.kit import make_model


def pieces_of(rows, streaming=False):
    data = Dataset.from_dict({"input_ids": rows})
    return data.to_iterable_dataset() if streaming else data


@given(rows=st.lists(st.lists(st.integers(0, 6), max_size=5), min_size=1, max_size=9))
@settings(max_examples=25, deadline=None)
def test_counts_are_those_of_a_loop_over_rows(rows):
    expected = [float(sum(row.count(token) for row in rows)) for token in range(7)]
    data = Dataset.from_dict({"input_ids": rows}, features=Features(input_ids=Sequence(Value("int32"))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainers.data.token_frequency.ROWS", 4)
        for pieces in (data, data.select(range(len(rows))[::-1])):
            assert token_counts(pieces, 7).tolist() == expected


def test_rows_in_another_order_have_another_digest():
    rows = [[1, 2], [3, 4, 0], [5]]
    same, others = (rows, (rows[::-1], [[1], [2, 3, 4, 0], [5]], [[2, 1], [3, 4, 0], [5]]))
    for streaming in (False, True):
        assert order_digest(pieces_of(same, streaming)) == order_digest(pieces_of(same))
        assert order_digest(pieces_of(same)) not in {order_digest(pieces_of(other, streaming)) for other in others}
    parts = datasets.concatenate_datasets([pieces_of(rows[:1]), pieces_of(rows[1:])])
    assert order_digest(parts) == order_digest(pieces_of(rows))


def test_counts_and_their_entropy():
    counts = token_counts(pieces_of([[1, 2], [3, 4, 0]]), 6)
    assert counts.tolist() == [1, 1, 1, 1, 1, 0]
    assert unigram_entropy(counts, ignored=[0]) == pytest.approx(math.log(4))
    assert counts[0] == 1
    assert unigram_entropy(token_counts(pieces_of([[1, 1, 1]]), 5)) == 0


def test_smooth_inverse_frequency():
    weights = inverse_frequency(torch.tensor([0.0, 30, 10]), smoothing=0.25)
    torch.testing.assert_close(weights, torch.tensor([1, 0.25, 0.5]))
    weights = inverse_frequency(torch.tensor([0.0, 30, 10, 99]), ignored=[3], smoothing=0.25)
    torch.testing.assert_close(weights, torch.tensor([1, 0.25, 0.5, 0]))


def test_an_untrained_network_has_the_same_weights_of_tokens(tokenizer):
    """They are a statistic of the text, not training."""
    model = make_model("perceiver_posonly_mlm", tokenizer)
    model.tokenizer = tokenizer
    model.base_model.token_weights.weights.uniform_()
    untrained = untrained_like(model, seed=1)
    torch.testing.assert_close(untrained.base_model.token_weights.weights, model.base_model.token_weights.weights)
    assert not torch.equal(untrained.get_input_embeddings().weight, model.get_input_embeddings().weight)
