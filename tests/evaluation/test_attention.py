# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Cross-attention of every kind of encoder."""

import pytest
import torch

from trainers.evaluation.analysis.lost_words import mean_attention

from ..modeling.zoo import ENCODERS, language_model


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_shows_its_attention(encoder, tokenizer, sample):
    model = language_model(encoder, vocab_size=len(tokenizer), mask_token_id=tokenizer.mask_token_id)
    model.tokenizer = tokenizer
    found = mean_attention(model, sample.ids[:20], 8)
    assert found.shape == (6, 24)
    assert torch.allclose(found.sum(dim=-1), torch.ones(6), atol=1e-4)
    assert model.config._attn_implementation == "sdpa"
    torch.testing.assert_close(mean_attention(model, sample.ids[:20], 20), found)
