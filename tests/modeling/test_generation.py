# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Generation: what may be in the output, and in which order it comes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import modeling_concept as models
from modeling_concept.generation_concept import draw_tokens

from .zoo import DECODER_NAMES, ENCODERS, MASK, PAD, VOCAB, language_model, make_config, random_batch, stir


def prefix_model(**options):
    return stir(models.ConceptEncoderForPrefixDiffusion(make_config(**options))).eval()


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("decoder", DECODER_NAMES)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_infilling_leaves_no_mask_and_keeps_the_rest(encoder, decoder, temperature):
    model, batch = stir(language_model(encoder, decoder)), random_batch()
    # Make masks and padding as likely as can be: they must not be drawn all the same.
    model.lm_head.weight.data[[MASK, PAD]] *= 50
    filled = model.generate(**batch, num_steps=3, temperature=temperature)
    masked = batch["input_ids"] == MASK
    assert torch.equal(filled[~masked], batch["input_ids"][~masked])
    assert not ((filled == MASK) | (filled == PAD))[masked].any()


@given(
    rows=st.integers(1, 3),
    length=st.integers(1, 10),
    steps=st.integers(1, 12),
    new=st.integers(0, 9),
    seed=st.integers(0, 50),
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_asked_no_mask_is_left(rows, length, steps, new, seed):
    torch.manual_seed(seed)
    model = language_model()
    ids = torch.where(torch.rand(rows, length) < 0.5, MASK, torch.randint(5, VOCAB, (rows, length)))
    lengths = torch.randint(1, length + 1, (rows, 1))
    mask = (torch.arange(length) < lengths).long()
    ids = ids.masked_fill(mask == 0, PAD)
    out = model.generate(ids, mask, max_new_tokens=new, num_steps=steps, temperature=0.7)
    assert out.shape == (rows, length + new)
    assert not (out == MASK).any()
    for row in range(rows):
        count = int(lengths[row]) + new
        assert (out[row, :count] != PAD).all()
        assert (out[row, count:] == PAD).all()
        kept = ids[row, : int(lengths[row])]
        assert torch.equal(out[row, : len(kept)][kept != MASK], kept[kept != MASK])


def test_temperature_zero_is_greedy_and_repeatable():
    model, batch = stir(language_model(decoder="token_position")), random_batch()
    assert torch.equal(model.generate(**batch), model.generate(**batch))
    # In one step it is the argmax of the logits, masks and padding excluded.
    logits = model(**batch).logits
    logits[..., [MASK, PAD]] = -torch.inf
    masked = batch["input_ids"] == MASK
    assert torch.equal(model.generate(**batch, num_steps=1)[masked], logits.argmax(-1)[masked])


def test_confidence_is_that_of_the_token_drawn():
    logits = torch.tensor([[-torch.inf, 3.0, 0.0, -torch.inf, 2.0]])
    seen = set()
    for seed in range(40):
        token, confidence = draw_tokens(logits, 1.0, torch.Generator().manual_seed(seed))
        seen.add(int(token))
        torch.testing.assert_close(confidence, logits.softmax(-1)[0, token])
    assert seen == {1, 2, 4}
    assert all(int(draw_tokens(logits, 1e-3, None)[0]) == 1 for _ in range(10))


def test_the_most_confident_come_first(monkeypatch):
    model, batch = stir(language_model(decoder="token_position")), random_batch(rows=1, padding=(0,))
    canvases = []
    encode = model.encoder.forward

    def record(input_ids, *arguments, **options):
        canvases.append(input_ids.clone())
        return encode(input_ids, *arguments, **options)

    monkeypatch.setattr(model.encoder, "forward", record)
    model.generate(**batch, num_steps=3)
    masked = [int((canvas == MASK).sum()) for canvas in canvases]
    assert masked == [3, 2, 1]  # refreshed at each step, as the text fills
    canvases, seen = [], canvases
    logits = model(**batch).logits[0]
    logits[:, [MASK, PAD]] = -torch.inf
    confidence = logits.softmax(-1).amax(-1).masked_fill(batch["input_ids"][0] != MASK, -1)
    assert seen[1][0, confidence.argmax()] != MASK


def test_prefix_concepts_are_made_once(monkeypatch):
    model = prefix_model()
    reads, encodes = [], []
    read, encode = model.decoder.project_concepts, model.encoder.forward

    def count_tokens(input_ids, *arguments, **options):
        encodes.append(input_ids.shape[1])
        return encode(input_ids, *arguments, **options)

    monkeypatch.setattr(model.decoder, "project_concepts", lambda *a: reads.append(1) or read(*a))
    monkeypatch.setattr(model.encoder, "forward", count_tokens)
    ids = torch.randint(5, VOCAB, (2, 6))
    out = model.generate(ids, max_new_tokens=10, num_steps=5)
    assert out.shape == (2, 16)
    assert torch.equal(out[:, :6], ids)
    assert not (out == MASK).any()
    assert encodes == [6] and len(reads) == 1


def test_continuation_of_unequal_texts_equals_each_alone():
    model = prefix_model()
    ids = torch.randint(5, VOCAB, (2, 7))
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    together = model.generate(ids.masked_fill(mask == 0, PAD), mask, max_new_tokens=5)
    alone = model.generate(ids[1:, :4], max_new_tokens=5)
    assert torch.equal(together[1, :9], alone[0])
    left = model.generate(
        torch.tensor([[PAD] * 3 + ids[1, :4].tolist()]), torch.tensor([[0] * 3 + [1] * 4]), max_new_tokens=5
    )
    assert torch.equal(left[0, :9], alone[0])


def test_generation_restores_the_mode():
    model = language_model().train()
    model.generate(**random_batch())
    assert model.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": -1}, "max_new_tokens and temperature must be at least 0"),
        ({"num_steps": 0}, "num_steps at least 1"),
        ({"temperature": -1.0}, "max_new_tokens and temperature must be at least 0"),
        ({"temperature": float("nan")}, "max_new_tokens and temperature must be at least 0"),
        ({"concept_num": 2.5}, "concept_num must be a whole number between 1 and the trained 6, not 2.5"),
        ({"attention_mask": torch.ones(3, 2)}, r"attention_mask must be of shape \[3, 13\]"),
        ({"input_ids": [[5, 6]]}, "must be a tensor"),
        ({"max_new_tokens": 40}, "exceed max_sequence_length 48"),
    ],
)
def test_impossible_requests_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        language_model().generate(**{**random_batch(), **options})


def test_ids_of_any_whole_numbers_and_no_texts_are_taken():
    model, batch = stir(language_model()), random_batch()
    assert torch.equal(model.generate(batch["input_ids"].int(), batch["attention_mask"]), model.generate(**batch))
    assert model.generate(batch["input_ids"][:0], max_new_tokens=2).shape == (0, 15)


def test_models_of_continuations_take_clean_prefixes():
    model = prefix_model()
    with pytest.raises(ValueError, match="without mask tokens, and max_new_tokens"):
        model.generate(**random_batch(), max_new_tokens=3)
    with pytest.raises(ValueError, match="max_new_tokens"):
        model.generate(torch.full((1, 3), 7))
    with pytest.raises(ValueError, match="decodes what follows"):
        model(torch.full((1, 3), 7))
    with pytest.raises(ValueError, match="mask_token_id"):
        language_model(mask_token_id=None).generate(torch.full((1, 3), 7), max_new_tokens=2)
