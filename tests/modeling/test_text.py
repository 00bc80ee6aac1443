# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Strings in, concepts and strings out."""

import numpy as np
import pytest
import torch

import modeling_concept as models

from ..conftest import TEXTS
from .zoo import language_model, make_config, stir


@pytest.fixture
def model(tokenizer):
    model = stir(language_model(**token_ids(tokenizer)))
    model.tokenizer = tokenizer
    return model


def token_ids(tokenizer):
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "mask_token_id": tokenizer.mask_token_id,
        "max_sequence_length": 64,
    }


def test_encode_gives_the_same_in_any_batch_and_order(model):
    texts = [*TEXTS, "", "dog"]
    found = model.encode(texts, batch_size=2)
    assert found.concepts.shape == (6, 6, 32)
    assert found.sentence_embeddings.shape == (6, 32)
    for number, text in enumerate(texts):
        alone = model.encode(text)
        torch.testing.assert_close(alone.concepts[0], found.concepts[number], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.concepts.mean(1), found.sentence_embeddings)
    assert isinstance(model.encode(texts, convert_to_numpy=True).concepts, np.ndarray)
    assert model.encode(texts, concept_num=2).concepts.shape == (6, 2, 32)
    assert model.train().encode("dog") is not None and model.training


def test_a_text_that_is_too_long_is_told_or_cut(model):
    long = " ".join(TEXTS * 4)
    with pytest.raises(ValueError, match="truncation=True"):
        model.encode(["dog", long])
    assert model.encode(["dog", long], truncation=True).concepts.shape == (2, 6, 32)
    with pytest.raises(ValueError, match="non-empty list"):
        model.encode([])


def test_reconstruct_reads_concepts_alone(tokenizer):
    for decoder in models.DECODERS:
        model = stir(language_model(decoder=decoder, **token_ids(tokenizer)))
        model.tokenizer = tokenizer
        read = model.reconstruct([*TEXTS, ""])
        assert len(read) == 5 and all(isinstance(text, str) for text in read)
        # With the encoder silenced, all texts of one length read the same: nothing passes around the concepts.
        ids = torch.randint(5, 200, (2, 9))
        for part in (model.encoder.embeddings.token_embeddings, model.encoder.concept_queries):
            for parameter in part.parameters():
                parameter.data.zero_()
        first, second = model.reconstruct_ids(ids)
        assert torch.equal(first, second)


def test_fill_mask_gives_candidates(model, tokenizer):
    found = model.fill_mask(
        [f"The {tokenizer.mask_token} jumps", f"{tokenizer.mask_token} {tokenizer.mask_token}"], top_k=3
    )
    assert [len(masks) for masks in found] == [1, 2]
    for candidates in (candidates for masks in found for candidates in masks):
        scores = [candidate["score"] for candidate in candidates]
        assert len(scores) == 3 and scores == sorted(scores, reverse=True)
        assert all(tokenizer.decode([c["token"]]) == c["token_str"] for c in candidates)
    with pytest.raises(ValueError, match="at least one"):
        model.fill_mask("no mask")


def test_infill_and_complete(model, tokenizer):
    filled = model.infill([f"The quick {tokenizer.mask_token} fox", TEXTS[2]])
    assert filled[0].startswith("The quick") and filled[0].endswith("fox")
    assert filled[1] == TEXTS[2]
    completed = model.complete(["The quick", "A ship sailed"], max_new_tokens=4)
    assert all(
        text.strip().startswith(start) for text, start in zip(completed, ["The quick", "A ship sailed"], strict=True)
    )
    ids = model.without_end(model.tokenize(["The quick"]))
    assert int(ids["attention_mask"].sum()) == int((ids["input_ids"] != tokenizer.sep_token_id).sum())


def test_the_tokenizer_comes_with_the_checkpoint(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="assign one"):
        models.ConceptEncoder(make_config()).encode("dog")
    tokenizer.save_pretrained(tmp_path)
    encoder = models.ConceptEncoder.from_pretrained(tmp_path)
    torch.testing.assert_close(encoder.encode(TEXTS).concepts, model.encode(TEXTS).concepts)
    with pytest.raises(ValueError, match="only 61"):
        models.ConceptEncoder(make_config()).tokenizer = tokenizer


def test_models_without_a_reader_say_so(tokenizer):
    encoder = models.ConceptEncoder(make_config(**token_ids(tokenizer)))
    with pytest.raises(ValueError, match="no decoder"):
        encoder.reconstruct_ids(torch.tensor([[7]]))
    prefix = models.ConceptEncoderForPrefixDiffusion(make_config(**token_ids(tokenizer)))
    with pytest.raises(ValueError, match="cannot reconstruct"):
        prefix.reconstruct_ids(torch.tensor([[7]]))
