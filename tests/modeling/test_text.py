# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Strings in, concepts and strings out."""

import copy
import itertools
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer

import modeling_concept as models
from modeling_concept import text_concept
from trainers.data.tokenizers import train_tokenizer

from ..conftest import TEXTS
from .zoo import classifier, language_model, make_config, stir


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
    assert model.encode(texts, concept_num=2).concepts.shape == (6, 2, 32)
    assert model.train().encode("dog") is not None and model.training


@given(
    lengths=st.lists(st.integers(0, 50), max_size=60),
    batch_size=st.integers(1, 9),
    max_tokens=st.none() | st.integers(1, 120),
)
def test_batches_hold_similar_lengths_within_both_limits(lengths, batch_size, max_tokens):
    """Every text once, the longest first; no batch could take the next text."""
    batches = text_concept.length_batches(lengths, batch_size, max_tokens)
    places = [place for batch in batches for place in batch]
    assert sorted(places) == list(range(len(lengths)))
    ordered = [lengths[place] for place in places]
    assert ordered == sorted(lengths, reverse=True)
    for batch, following in itertools.zip_longest(batches, batches[1:]):
        longest = lengths[batch[0]]
        fits = [count for count in range(1, batch_size + 1) if max_tokens is None or count * longest <= max_tokens]
        assert len(batch) <= max(fits, default=1) and (following is None or len(batch) == max(fits, default=1))


@pytest.mark.parametrize("limits", [{"batch_size": 0}, {"max_tokens_per_batch": 0}])
def test_a_batch_holds_at_least_one_text(limits, model):
    with pytest.raises(ValueError, match="must be at least 1"):
        model.encode(TEXTS, **limits)


def test_a_limit_on_the_tokens_of_a_batch(model, monkeypatch):
    """With it long texts come in small batches, and every concept is the same."""
    texts = [*TEXTS, "dog", "a dog"]
    expected, sizes = model.encode(texts).concepts, []
    monkeypatch.setattr(
        model, "pad", lambda rows: sizes.append([len(row) for row in rows]) or type(model).pad(model, rows)
    )
    found = model.encode(texts, max_tokens_per_batch=12).concepts
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert len(sizes) > 2 and all(len(rows) == 1 or len(rows) * max(rows) <= 12 for rows in sizes)


def test_low_precision_is_chosen_for_a_call(model):
    exact = model.encode(TEXTS)
    for dtype in ("bfloat16", torch.bfloat16):
        low = model.encode(TEXTS, dtype=dtype)
        assert low.concepts.dtype == low.sentence_embeddings.dtype == torch.float32
        assert not torch.equal(low.concepts, exact.concepts)
        torch.testing.assert_close(low.concepts, exact.concepts, atol=0.1, rtol=0.1)
    assert torch.equal(model.encode(TEXTS, dtype="float32").concepts, exact.concepts)
    assert torch.equal(model.encode(TEXTS).concepts, exact.concepts)
    for dtype in ("int8", "half a float", torch.int8):
        with pytest.raises(ValueError, match="dtype is 'bfloat16'"):
            model.encode(TEXTS, dtype=dtype)


def test_a_text_that_is_too_long_is_told_or_cut(model, monkeypatch):
    """It is told before any text is encoded."""
    long = " ".join(TEXTS * 4)
    monkeypatch.setattr(text_concept, "TOKENIZED_AT_ONCE", 1)
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="truncation=True"):
        patch.setattr(type(model.base_model), "forward", None)
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


def test_masks_are_those_of_the_tokenizer(model, tokenizer):
    masked, without = f"The {tokenizer.mask_token} fox", copy.deepcopy(tokenizer)
    without.mask_token = None
    model.tokenizer = without
    assert model.encode("The fox").concepts.shape == (1, 6, 32)
    with pytest.raises(ValueError, match="The tokenizer has no mask token"):
        model.infill("The fox")
    for name in ("mask_token_id", "pad_token_id"):
        with pytest.raises(ValueError, match=f"its {name} is {getattr(tokenizer, name)}, that of the configuration 9"):
            language_model(**token_ids(tokenizer) | {name: 9}).tokenizer = tokenizer
    unaware = language_model(**token_ids(tokenizer) | {"mask_token_id": None})
    unaware.tokenizer = tokenizer
    with pytest.raises(ValueError, match=f"set model.config.mask_token_id = {tokenizer.mask_token_id}"):
        unaware.encode(masked)


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


@pytest.mark.parametrize("side", ["left", "right"])
def test_texts_may_be_padded_on_either_side(side, model, tokenizer, monkeypatch):
    alone = [model.complete(text, max_new_tokens=4)[0] for text in TEXTS]
    monkeypatch.setattr(tokenizer, "padding_side", side)
    assert model.complete(TEXTS, max_new_tokens=4) == alone
    assert model.reconstruct(TEXTS) == [model.reconstruct(text)[0] for text in TEXTS]


def test_the_tokenizer_comes_with_the_checkpoint(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="assign one"):
        models.ConceptEncoder(make_config()).encode("dog")
    tokenizer.save_pretrained(tmp_path)
    encoder = models.ConceptEncoder.from_pretrained(tmp_path)
    torch.testing.assert_close(encoder.encode(TEXTS).concepts, model.encode(TEXTS).concepts)
    with pytest.raises(ValueError, match="only 61"):
        models.ConceptEncoder(make_config()).tokenizer = tokenizer


def test_the_tokenizer_is_found_where_the_weights_were(model, tokenizer, tmp_path, monkeypatch):
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "outer" / "inner")
    monkeypatch.chdir(tmp_path)
    found = models.ConceptEncoderForMaskedLM.from_pretrained("outer", subfolder="inner")
    options = {"cache_dir": "cache", "token": "secret", "revision": "other"}
    automatic = AutoModel.from_pretrained("outer/inner", **options)
    assert found.encoder.tokenizer.get_vocab() == found.tokenizer.get_vocab() == tokenizer.get_vocab()
    seen = {}

    def record(path, **options):
        seen.update(options, path=path)
        return tokenizer

    monkeypatch.setattr(text_concept.AutoTokenizer, "from_pretrained", record)
    assert b"secret" not in pickle.dumps(automatic)
    assert automatic.tokenizer is tokenizer
    assert {name: seen[name] for name in ("path", *options)} == {"path": "outer/inner", **options}


def test_models_without_a_reader_say_so(tokenizer):
    encoder = models.ConceptEncoder(make_config(**token_ids(tokenizer)))
    with pytest.raises(ValueError, match="no language-model head"):
        encoder.reconstruct_ids(torch.tensor([[7]]))
    prefix = models.ConceptEncoderForPrefixDiffusion(make_config(**token_ids(tokenizer)))
    with pytest.raises(ValueError, match="cannot reconstruct"):
        prefix.reconstruct_ids(torch.tensor([[7]]))


def test_bad_texts_and_numbers_are_told_in_a_sentence(model, tokenizer):
    mask, nan = tokenizer.mask_token, float("nan")
    for call, message in (
        (lambda: model.encode(["dog", None]), "list of texts"),
        (lambda: model.encode({"text": "dog"}), "list of texts"),
        (lambda: model.encode({"dog", "cat"}), "list of texts"),
        (lambda: model.infill(mask, temperature=nan), "temperature must be at least 0"),
        (lambda: model.complete("dog", max_new_tokens=-1), "max_new_tokens and temperature must be at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("method", ["encode", "reconstruct", "infill", "complete"])
def test_unknown_options_are_refused(method, model, tokenizer):
    for options in ({"nonsense": True}, {"convert_to_tensor": True}):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            getattr(model, method)(tokenizer.mask_token, **options)
    for network in (model, model.encoder):
        with pytest.raises(TypeError, match=r"does not know the arguments \['nonsense'\]"):
            network(torch.tensor([[5, 6]]), nonsense=True)
    encoded = model.encoder(torch.tensor([[5, 6]]))
    with pytest.raises(TypeError, match=r"does not know the arguments \['nonsense'\]"):
        model(torch.tensor([[5, 6]]), encoder_outputs=encoded, nonsense=True)


def test_sentence_vectors_of_length_one(model):
    texts = [*TEXTS, ""]
    plain, normalised = model.encode(texts), model.encode(texts, normalize_embeddings=True)
    assert torch.equal(plain.concepts, normalised.concepts)
    expected = plain.sentence_embeddings / plain.sentence_embeddings.norm(dim=1, keepdim=True)
    torch.testing.assert_close(normalised.sentence_embeddings, expected)


@pytest.mark.parametrize("method", ["reconstruct", "infill", "complete"])
def test_models_without_a_head_write_no_text(method, tokenizer):
    for network in (models.ConceptEncoder(make_config()), classifier("ViaDecoder")):
        with pytest.raises(ValueError, match="no language-model head"):
            getattr(network, method)("dog")


def test_generate_takes_what_a_tokenizer_gives(model, tokenizer):
    tokens = tokenizer([f"The {tokenizer.mask_token} fox"], return_tensors="pt", return_token_type_ids=True)
    assert "token_type_ids" in tokens
    found = model.generate(**tokens)
    assert torch.equal(found, model.generate(tokens["input_ids"], tokens["attention_mask"]))


@pytest.mark.parametrize("lower_case", [False, True])
def test_a_mask_takes_the_space_before_it(lower_case, tmp_path):
    """As the words of the training text do, so that "man [MASK] out" has no token that is a space alone."""
    made = train_tokenizer(["an old man rowed out alone"] * 9, vocab_size=320, max_length=64, lower_case=lower_case)
    made.save_pretrained(tmp_path)
    for found in (made, AutoTokenizer.from_pretrained(tmp_path)):
        ids = found("man [MASK] out [MASK]", add_special_tokens=False)["input_ids"]
        man, out = (found(word, add_special_tokens=False)["input_ids"] for word in ("man", "out"))
        assert ids == [*man, found.mask_token_id, *out, found.mask_token_id]
        assert [len(found), found.pad_token_id, found.mask_token_id] == [made.vocab_size, 0, 4]
