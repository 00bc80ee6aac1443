# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Words as tokenizers mark them, and texts cut into parts."""

import copy
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from trainers.objectives.masked_lm import MaskedLM
from trainers.tokenizer_training import train_tokenizer
from trainers.vocabulary import Vocabulary, cut_texts

from ..conftest import TEXTS
from .kit import clean_batch, step_noise


SPECIAL = {"pad_token": "[PAD]", "mask_token": "[MASK]", "unk_token": "[UNK]"}


@cache
def train(kind):
    """A tokenizer with many tokens per word, of each of the three ways to mark words."""
    specials = list(SPECIAL.values())
    if kind == "wordpiece":
        backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=specials)
    elif kind == "bytes":
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=specials, initial_alphabet=alphabet)
    else:
        backend = Tokenizer(models.BPE(unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=specials)
    backend.train_from_iterator(TEXTS * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIAL)


@pytest.mark.parametrize("kind", ["wordpiece", "bytes", "metaspace"])
def test_words_begin_where_the_text_says(kind):
    tokenizer = train(kind)
    text = "The quick brown fox jumps over the lazy dog, and sleeps"
    encoded = tokenizer(text, return_offsets_mapping=True)
    starts = Vocabulary.of(tokenizer).word_starts(torch.tensor([encoded["input_ids"]]))[0].tolist()
    assert 0 < sum(starts) < len(starts)
    for (begin, end), start in zip(encoded["offset_mapping"], starts, strict=True):
        first = begin + (len(text[begin:end]) - len(text[begin:end].lstrip()))
        expected = first == 0 or not (text[first - 1].isalnum() and text[first : first + 1].isalnum())
        if kind == "metaspace":  # SentencePiece keeps punctuation with the word before it
            expected = first == 0 or text[first - 1] == " " or not text[first].isalnum()
        assert start == expected, (text[begin:end], start)


@given(text=st.text(alphabet="abc XY.,'é7\n", min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_a_word_never_spans_what_the_tokenizer_separates(text):
    """Between two starts lie only tokens that go on with one run of letters and digits."""
    tokenizer = train("bytes")
    ids = tokenizer(text)["input_ids"]
    if not ids:
        return
    starts = Vocabulary.of(tokenizer).word_starts(torch.tensor([ids]))[0].tolist()
    assert starts[0]
    bounds = [place for place, start in enumerate(starts) if start] + [len(ids)]
    for begin, end in zip(bounds, bounds[1:], strict=False):
        if end - begin > 1:
            word = tokenizer.decode(ids[begin:end]).strip()
            assert word.isalnum()


# Letters, with the marks that stand on them, of scripts whose characters are several bytes: Greek, Cyrillic, Armenian,
# Hebrew, Arabic, Devanagari, Bengali, Tamil, Telugu, Tibetan, Georgian, Hangul, Ethiopic, Cherokee, Adlam, Deseret.
LETTERS = [*"aZ7éßώжёՀայשלועסלםעربىهندকবতமலఅకཀངაბჰ한글각አማᏣᎳ𞤀𞤁𐐀𐐨"] + ["नि", "क्ष", "ன்", "মা", "అి", "བོ", "مُ", "שּׁ", "é"]
SINGLES = [*"，。—“”€我国海𠀀ひカーไทกລຂខမ"] + ["ที่", "ក្", "မို", "ກີ"]


WORDS = st.lists(st.sampled_from(LETTERS), min_size=1, max_size=4).map("".join)


@cache
def train_other(language):
    """Byte-level BPE of a text in one language: characters of others are several tokens."""
    chinese = ["我们今天去了海边，看到了很多船。", "海边的船很多，今天我们去看。"] * 4
    texts = {"english": TEXTS, "chinese": chinese}[language]
    return train_tokenizer(texts, vocab_size=300, max_length=64, special_ends=False)


@pytest.mark.parametrize("language", ["english", "chinese"])
@given(words=st.lists(WORDS | st.sampled_from(SINGLES), min_size=1))
@settings(max_examples=100, deadline=None)
def test_words_in_any_script(language, words):
    """Runs of letters between spaces are words; each character of an unspaced script, with its marks, and each mark
    of punctuation is one, however many tokens it has."""
    tokenizer = train_other(language)
    ids = tokenizer("".join(word if word in SINGLES else f" {word}" for word in words))["input_ids"]
    starts = Vocabulary.of(tokenizer).word_starts(torch.tensor([ids]))[0].tolist()
    bounds = [place for place, start in enumerate(starts) if start] + [len(ids)]
    found = [tokenizer.decode(ids[begin:end]).strip() for begin, end in zip(bounds, bounds[1:], strict=False)]
    assert [word for word in found if word] == words


SENTENCES = {
    "Chinese": "我们今天去了海边，看到了很多船。风很大",
    "Thai": "วันนี้เราไปทะเลและเห็นเรือหลายลำ",
    "Khmer": "ថ្ងៃនេះយើងទៅសមុទ្រ",
    "Hindi": "हिन्दी में लिखा हुआ एक वाक्य यहाँ है",
    "Russian": "Старик вышел в море один и не вернулся",
}


@pytest.mark.parametrize("name", ["own", "bert-base-uncased", "smollm2"])
def test_the_share_of_hidden_tokens_is_the_one_asked_for(name, request):
    tokenizer = train_other("english")
    if name != "own":
        tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue("shared") / "data" / "tokenizers" / name)
        tokenizer.add_special_tokens({k: v for k, v in SPECIAL.items() if getattr(tokenizer, k) is None})
    for language, text in SENTENCES.items():
        row = tokenizer(" ".join([text] * 4), add_special_tokens=False)["input_ids"]
        batch = clean_batch(tokenizer, [row] * 200)
        hidden = MaskedLM(masking="whole_word")(batch, step_noise(batch))["labels"] != -100
        readable = int((~batch.special).sum())  # none, where the tokenizer knows no character of the script
        assert int(hidden.sum()) == pytest.approx(0.15 * readable, abs=0.03 * readable), language


def test_a_part_of_a_character_after_a_special_token_begins_a_word():
    tokenizer = train_other("english")
    ids = tokenizer("我")["input_ids"]
    starts = Vocabulary.of(tokenizer).word_starts(torch.tensor([[tokenizer.cls_token_id, *ids[2:]]]))[0].tolist()
    assert starts == [True, True] + [False] * (len(ids) - 3)


def test_the_end_of_a_word_may_be_marked():
    backend = Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=90, special_tokens=list(SPECIAL.values()), end_of_word_suffix="</w>", show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIAL)
    ids = tokenizer("She had never seen so many books")["input_ids"]
    assert len(ids) > 7 and int(Vocabulary.of(tokenizer).word_starts(torch.tensor([ids])).sum()) == 7


@pytest.mark.parametrize("name", ["bert-base-uncased", "smollm2"])
def test_words_of_published_tokenizers(name, shared):
    tokenizer = AutoTokenizer.from_pretrained(shared / "data" / "tokenizers" / name)
    tokenizer.add_special_tokens({k: v for k, v in SPECIAL.items() if getattr(tokenizer, k) is None})
    text = "unbelievably internationalization happens uninterruptedly"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    starts = Vocabulary.of(tokenizer).word_starts(torch.tensor([ids]))[0]
    assert len(ids) > 4 and int(starts.sum()) == 4


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


def test_a_tokenizer_without_mask_or_padding_is_told(tokenizer):
    bare = copy.deepcopy(tokenizer)
    bare.mask_token = None
    with pytest.raises(ValueError, match="no mask_token"):
        Vocabulary.of(bare)
