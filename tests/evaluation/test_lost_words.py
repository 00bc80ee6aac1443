# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The concepts of a text in words, for every kind of encoder and decoder."""

import pytest
import torch

from trainers.evaluation.analysis.compression import without_concepts
from trainers.evaluation.analysis.lost_words import concepts_of_text, lost_words

from ..modeling.zoo import DECODERS, ENCODERS, language_model, stir
from ..trainers.kit import make_model


TEXT = "The quick brown fox jumps over the lazy dog."
MODELS = [*((encoder, "position") for encoder in ENCODERS), *(("perceiver0-stack", decoder) for decoder in DECODERS)]


def test_lost_words_are_those_of_a_loop_over_concepts(tokenizer, monkeypatch):
    model = make_model("perceiver_posonly_mlm", tokenizer).eval()
    model.tokenizer = tokenizer
    text = "The dog sleeps on the roof of the old house, unbelievably."
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    whole = model.reconstruct_ids(ids)  # of an untrained model: counted as the text itself
    reconstruct = type(model).reconstruct_ids
    monkeypatch.setattr(type(model), "reconstruct_ids", lambda self, input_ids, attention_mask=None: torch.where(
        reconstruct(self, input_ids, attention_mask) == whole, ids, -1
    ))  # fmt: skip
    words, lost = lost_words(model, text)
    assert " ".join(words).replace(" ,", ",").replace(" .", ".") == text
    assert lost.shape == (model.config.concept_num, len(words)) and lost.any() and not lost.all()
    encoded = tokenizer(text)
    for concept in range(model.config.concept_num):
        with without_concepts(model, concept):
            changed = (model.reconstruct_ids(ids) != ids)[0].tolist()
        expected = {encoded.token_to_word(place) for place, is_lost in enumerate(changed) if is_lost} - {None}
        assert lost[concept].nonzero().flatten().tolist() == sorted(expected)


@pytest.mark.parametrize(("encoder", "decoder"), MODELS)
def test_every_model_shows_its_words(encoder, decoder, tokenizer):
    model = language_model(encoder, decoder=decoder, vocab_size=len(tokenizer), mask_token_id=tokenizer.mask_token_id)
    stir(model)
    model.tokenizer = tokenizer
    found = concepts_of_text(model, TEXT)
    assert "".join(found["words"]) == TEXT.replace(" ", "") and len(found["words"]) >= 9
    assert len(found["attends"]) == len(found["lost"]) == 6
    for attends, lost in zip(found["attends"], found["lost"], strict=True):
        assert len(attends) == 3 and {*attends, *lost} <= set(found["words"])


def test_models_without_a_decoder_of_the_text_show_attention_alone(tokenizer):
    model = make_model("prefix_diffusion", tokenizer)
    model.tokenizer = tokenizer
    found = concepts_of_text(model, "A ship. " * 90)
    assert "reconstruction" not in found and "lost" not in found
    assert len(found["words"]) < 64
    with pytest.raises(ValueError, match="--text '' has no word"):
        concepts_of_text(model, "")
