# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Schedules: texts cut into parts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.objectives.vocabulary import cut_texts

from ..conftest import TEXTS
from .kit import clean_batch


@given(length=st.integers(4, 40))
@settings(max_examples=20, deadline=None)
def test_cutting_loses_and_invents_nothing(length, tokenizer):
    rows = tokenizer(TEXTS)["input_ids"]
    batch = clean_batch(tokenizer, rows)
    cut, row, place = cut_texts(batch, length)
    assert cut.attention_mask.sum(dim=1).max() <= length
    for index, original in enumerate(rows):
        parts = [
            ids[:size].tolist()
            for ids, size, r in zip(cut.input_ids, cut.attention_mask.sum(dim=1).tolist(), row.tolist(), strict=True)
            if r == index
        ]
        inner = [token for part in parts for token in part if token not in tokenizer.all_special_ids]
        assert inner == [token for token in original if token not in tokenizer.all_special_ids]
        assert all(part[0] == original[0] and part[-1] == original[-1] for part in parts)
    assert (place >= 0).all() and (place < 1).all()
