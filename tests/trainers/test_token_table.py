# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Frequencies of tokens, and tables that start with them."""

import math

import pytest
import torch

from trainers.token_table import token_counts, unigram_entropy, weigh_rows

from .kit import make_model


def test_counts_and_their_entropy():
    counts = token_counts([[1, 2], [3, 4, 0]], 6)
    assert counts.tolist() == [1, 1, 1, 1, 1, 0]
    assert unigram_entropy(counts, ignored=[0]) == pytest.approx(math.log(4))
    assert counts[0] == 1
    assert unigram_entropy(token_counts([[1, 1, 1]], 5)) == 0


def test_rows_get_smooth_inverse_frequency(tokenizer):
    model = make_model("perceiver_posonly_mlm", tokenizer, embedding_norm=False, output_norm_scope="text")
    table = model.get_input_embeddings().weight
    before, counts = table.detach().clone(), torch.zeros(len(table))
    counts[10], counts[11] = 30, 10
    weigh_rows(model, counts, 0.25)
    torch.testing.assert_close(table[10], before[10] * 0.25)
    torch.testing.assert_close(table[11], before[11] * 0.5)
    torch.testing.assert_close(table[12:], before[12:])


@pytest.mark.parametrize(
    ("values", "smoothing", "message"),
    [
        ({"embedding_norm": True, "output_norm_scope": "text"}, 1e-3, "needs embedding_norm=false"),
        ({"embedding_norm": False, "output_norm_scope": "concept"}, 1e-3, "output_norm_scope=text"),
        ({"embedding_norm": False, "output_norm_scope": "text"}, 0.0, "positive, not 0.0"),
    ],
)
def test_what_would_have_no_effect_is_refused(tokenizer, values, smoothing, message):
    model = make_model("perceiver_posonly_mlm", tokenizer, **values)
    with pytest.raises(ValueError, match=message):
        weigh_rows(model, torch.ones(model.config.vocab_size), smoothing)
