# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What concepts attend to, for every kind of encoder, and token profiles whose answer is known."""

import math

import pytest
import torch

from trainers.analysis.attention import Attention, read_attention, token_profiles
from trainers.analysis.sample import Sample

from ..modeling.zoo import ENCODERS, language_model


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_shows_its_attention(encoder, tokenizer, sample):
    model = language_model(encoder, vocab_size=len(tokenizer), mask_token_id=tokenizer.mask_token_id)
    model.tokenizer = tokenizer
    found = read_attention(model, sample.take(20), 8, "")
    assert found.maps.shape == (2, 6, 24) and found.weights.shape == (20, 6, 24)
    assert torch.allclose(found.maps.sum(dim=-1), torch.ones(2, 6), atol=1e-4)
    assert torch.allclose(found.weights.mean(dim=0), found.maps.mean(dim=0), atol=1e-5)
    assert (found.entropy >= 0).all() and (found.entropy <= math.log(24) + 1e-4).all()
    assert found.addressed == ("original" not in encoder)
    assert not found.addressed or found.places[0] == pytest.approx(1.5)
    assert model.config._attn_implementation == "sdpa"
    # Both ends of a text of 24 tokens are special.
    assert torch.allclose(found.special_share, found.maps[:, :, [0, -1]].sum(dim=-1).mean(dim=-1), atol=1e-5)


def test_concepts_without_addresses_stand_at_the_centre_of_their_attention(tokenizer, sample):
    model = language_model("original0-stack", vocab_size=len(tokenizer), mask_token_id=tokenizer.mask_token_id)
    model.tokenizer = tokenizer
    found = read_attention(model, sample.take(8), 8, "")
    assert not found.addressed
    centre = (found.maps.mean(dim=0) * torch.arange(24)).sum(dim=-1)
    assert torch.allclose(found.places, centre)


def test_distances_of_known_attention():
    maps = torch.zeros(1, 2, 5)
    maps[0, 0, 1] = 1  # one token beside its place
    maps[0, 1] = 0.2  # all alike
    found = Attention(maps, maps, torch.zeros(1), torch.zeros(1), torch.tensor([2.0, 2.0]), True)
    assert found.distance().tolist() == [[1.0, pytest.approx(1.2)]]
    assert found.uniform_distance().tolist() == pytest.approx([1.2, 1.2])


def test_profiles_find_the_token_that_is_preferred_wherever_it_stands(tokenizer, sample):
    """Attention is three times as strong at one token as at others, and falls along the text for all of them."""
    ids = sample.ids[:60]
    favourite = int(torch.bincount(ids[:, 1:-1].flatten()).argmax())
    weights = torch.linspace(2, 1, 24).expand(60, 2, 24).clone()
    weights[:, 0] *= torch.where(ids == favourite, 3.0, 1.0)
    weights = weights / weights.sum(dim=-1, keepdim=True)
    attention = Attention(weights.mean(dim=0)[None], weights, torch.zeros(1), torch.zeros(1), torch.zeros(2), True)
    few = Sample(ids, sample.vocabulary, "validation")
    found = token_profiles(attention, few, top=3)
    best = found["concepts"][0][0]
    assert best.token.strip() == tokenizer.decode([favourite]).strip()
    assert best.count == int((ids == favourite).sum()) and 1.5 < best.lift < 3
    share = weights[:, 0][ids == favourite].sum() / 60
    assert best.share == pytest.approx(float(share), rel=1e-4)
    # The second concept prefers no token to others in their places.
    assert all(use.lift == pytest.approx(1, abs=1e-4) for use in found["concepts"][1])
    assert found["all"][0].token == best.token and found["ignored"][0].lift <= 1
    specials = {tokenizer.cls_token, tokenizer.sep_token}
    assert not specials & {use.token for use in found["all"] + found["ignored"]}
