# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Keyed noise: uniform and independent, and the same however a step is split."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trainers.objectives.noise import Noise, make_key, text_keys, uniform


def for_rows(rows, count=None, seed=0, step=0, width=8):
    return Noise.for_step(seed, step, torch.tensor(rows), count or len(rows), width)


@given(seed=st.integers(0, 2**40), step=st.integers(0, 2**40))
@settings(max_examples=25, deadline=None)
def test_numbers_are_uniform_and_uncorrelated(seed, step):
    noise = for_rows(range(64), seed=seed, step=step, width=64)
    first, second = noise.per_token(), noise.per_token()
    assert first.min() >= 0 and first.max() < 1
    assert stats.kstest(first.flatten().numpy(), "uniform").pvalue > 1e-6
    neighbours = [(first, second), (first[:, 1:], first[:, :-1]), (first[1:], first[:-1])]
    neighbours.append((first, for_rows(range(64), seed=seed, step=step + 1, width=64).per_token()))
    for one, other in neighbours:
        assert abs(stats.pearsonr(one.flatten().numpy(), other.flatten().numpy()).statistic) < 0.1
    assert stats.kstest(noise.per_text().flatten().numpy(), "uniform").pvalue > 1e-6


@given(cut=st.integers(1, 11))
@settings(max_examples=20, deadline=None)
def test_a_split_step_has_the_same_noise(cut):
    whole = for_rows(range(12))
    parts = [for_rows(range(cut), 12), for_rows(range(cut, 12), 12, width=5)]
    for method in ("per_text", "per_token", "antithetic", "low_discrepancy"):
        numbers = getattr(whole, method)()
        for part, rows in zip(parts, (slice(0, cut), slice(cut, None)), strict=True):
            expected = numbers[rows]
            found = getattr(part, method)()
            assert torch.equal(found, expected[:, : found.shape[1]] if found.dim() > 1 else expected)


def test_antithetic_is_even_and_low_discrepancy_is_even_in_every_piece():
    noise = for_rows(range(8))
    for _ in range(5):
        places = noise.antithetic()[:, 0].sort().values
        torch.testing.assert_close(places.diff(), torch.full((7,), 0.125))
    numbers = for_rows(range(1000)).low_discrepancy()
    for start in range(0, 960, 40):
        assert abs((numbers[start : start + 40] < 0.3).float().mean() - 0.3) < 0.06


def test_rows_names_and_calls_give_other_numbers():
    noise = for_rows(range(6))
    assert torch.equal(noise.rows(torch.tensor([4, 1])).per_token(), for_rows(range(6)).per_token()[[4, 1]])
    assert not torch.equal(for_rows(range(6)).fold_in("a").per_token(), for_rows(range(6)).fold_in("b").per_token())
    assert not torch.equal(noise.per_token(), noise.per_token())
    keys = {int(make_key(*numbers)) for numbers in ((1, 2), (2, 1), (1,), (1, 2, 0), (-1, 2))}
    assert len(keys) == 5 and 0 <= float(uniform(make_key(3))) < 1


def test_keys_of_texts_ignore_padding_and_nothing_else():
    ids = torch.tensor([[5, 6, 7, 0], [5, 7, 6, 0], [5, 6, 7, 7]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]])
    keys = text_keys(ids, mask, 1)
    assert len(set(keys.tolist())) == 3
    assert text_keys(ids[:1, :3], mask[:1, :3], 1) == keys[0]
    assert text_keys(ids[:1], mask[:1], 2) != keys[0]


@pytest.mark.parametrize("places", [[0.0, 0.25, 0.5, 0.0]])
def test_parts_of_texts_have_numbers_of_their_own(places):
    noise = for_rows(range(2)).parts(torch.tensor([0, 0, 0, 1]), torch.tensor(places), 4)
    assert len(set(noise.keys.tolist())) == 4
    assert noise.antithetic().shape == (4, 1)
