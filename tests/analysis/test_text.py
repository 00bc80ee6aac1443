# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""A text as its concepts see it, for every kind of encoder and decoder."""

import pytest

from trainers.analysis.text import concepts_of_text
from trainers.vocabulary import Vocabulary

from ..modeling.zoo import DECODERS, ENCODERS, language_model, stir
from ..trainers.kit import make_model


TEXT = "The quick brown fox jumps over the lazy dog."
MODELS = [*((encoder, "position") for encoder in ENCODERS), *(("perceiver0-stack", decoder) for decoder in DECODERS)]


@pytest.mark.parametrize(("encoder", "decoder"), MODELS)
def test_every_model_shows_its_words(encoder, decoder, tokenizer):
    model = language_model(encoder, decoder=decoder, vocab_size=len(tokenizer), mask_token_id=tokenizer.mask_token_id)
    stir(model)
    model.tokenizer = tokenizer
    found = concepts_of_text(model, Vocabulary.of(tokenizer), TEXT)
    assert "".join(found["words"]) == TEXT.replace(" ", "") and len(found["words"]) >= 9
    assert [row["concept"] for row in found["concepts"]] == list(range(6))
    for row in found["concepts"]:
        assert len(row["attends"]) == 3 and set(row["attends"]) | set(row["holds"]) <= set(found["words"])


def test_models_that_read_nothing_back_show_attention_alone(tokenizer):
    model = make_model("prefix_diffusion", tokenizer)
    model.tokenizer = tokenizer
    found = concepts_of_text(model, Vocabulary.of(tokenizer), "A ship. " * 90)
    assert found["read"] is None and {row["holds"] is None for row in found["concepts"]} == {True}
    assert len(found["words"]) < 64
    with pytest.raises(ValueError, match="--text '' has no token"):
        concepts_of_text(model, Vocabulary.of(tokenizer), "")
