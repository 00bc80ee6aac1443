# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Texts cut into pieces of tokens without loss."""

import random

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from trainers.data.pieces import PieceMaker, make_pieces, special_ends, token_rows
from trainers.data.rare_text import rare_text
from trainers.data.tokenizers import train_tokenizer

from ..conftest import TEXTS
from ..trainers.kit import make_trainer


@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=6),
    limit=st.integers(6, 30),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    line_by_line=st.booleans(),
    seed=st.integers(0, 5),
)
@settings(max_examples=40, deadline=None)
def test_pieces_hold_all_tokens_in_order(lengths, limit, share, line_by_line, seed):
    texts = [" ".join(["dog"] * count) for count in lengths]
    tokenizer = TOKENIZER
    maker = PieceMaker(tokenizer, limit, share, line_by_line, seed)
    pieces = maker(texts, list(range(len(texts))))["input_ids"]
    assert all(len(piece) <= limit for piece in pieces)
    assert all(piece[0] == tokenizer.cls_token_id and piece[-1] == tokenizer.sep_token_id for piece in pieces)
    joined = [token for piece in pieces for token in piece[1:-1]]
    rows = tokenizer(texts, add_special_tokens=False)["input_ids"]
    separator = [] if line_by_line else [tokenizer.sep_token_id]
    assert joined == [token for row in rows if row for token in [*row, *separator]]
    assert pieces == maker(texts, list(range(len(texts))))["input_ids"]
    if share == 0 and not line_by_line:
        assert all(len(piece) == limit for piece in pieces[:-1])


TOKENIZER = train_tokenizer(TEXTS * 4, vocab_size=320, max_length=64)


def test_special_ends():
    assert special_ends(TOKENIZER) == ([TOKENIZER.cls_token_id], [TOKENIZER.sep_token_id])


def test_tokenizers_of_others(shared):
    from transformers import AutoTokenizer

    for name in ("bert-base-uncased", "smollm2"):
        tokenizer = AutoTokenizer.from_pretrained(shared / "data" / "tokenizers" / name)
        before, after = special_ends(tokenizer)
        assert tokenizer("a dog")["input_ids"] == [
            *before, *tokenizer("a dog", add_special_tokens=False)["input_ids"], *after
        ]  # fmt: skip


@given(
    texts=st.lists(st.lists(st.sampled_from(["dog", "house,", "Ünï", "你好"]), max_size=60).map(" ".join), min_size=1),
    together=st.integers(8, 100),
)
@settings(max_examples=40, deadline=None)
def test_long_texts_are_tokenized_in_stretches(texts, together):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainers.data.pieces.TOGETHER", together)
        assert token_rows(TOKENIZER, texts) == TOKENIZER(texts, add_special_tokens=False)["input_ids"]


def test_long_texts_without_a_space_lose_nothing(monkeypatch):
    monkeypatch.setattr("trainers.data.pieces.TOGETHER", 50)
    plain = train_tokenizer(TEXTS, vocab_size=320, max_length=64)
    text = "你好" * 100
    assert plain.decode(token_rows(plain, [text])[0]).replace(" ", "") == text


def test_streams_are_cut_too():
    stream = datasets.Dataset.from_dict({"text": TEXTS}).to_iterable_dataset()
    maker = PieceMaker(TOKENIZER, 16, 0.0, False, 0)
    pieces = [row["input_ids"] for row in make_pieces(stream, "text", maker)]
    assert sum(len(piece) - 2 for piece in pieces) == sum(len(ids) - 1 for ids in TOKENIZER(TEXTS)["input_ids"])


def test_trained_tokenizers_lose_nothing():
    for text in (*TEXTS, "Ünïcödé — 你好 🙂", "two  spaces\nand a line"):
        # A word at the start is the word that stands elsewhere: with a space before it.
        assert TOKENIZER.decode(TOKENIZER(text)["input_ids"], skip_special_tokens=True) == " " + text
    assert TOKENIZER.pad_token_id == 0 and TOKENIZER.mask_token_id is not None
    with pytest.raises(ValueError, match="at least 261"):
        train_tokenizer(TEXTS, 200, 64)


def test_a_tokenizer_of_small_letters_reads_capitals_as_them():
    lower = train_tokenizer(TEXTS * 4, vocab_size=320, max_length=64, lower_case=True)
    assert lower("The Old House")["input_ids"] == lower("the old house")["input_ids"]
    assert lower.decode(lower("The Old House")["input_ids"], skip_special_tokens=True).strip() == "the old house"
    assert TOKENIZER("The Old House")["input_ids"] != TOKENIZER("the old house")["input_ids"]


def test_a_length_without_room_for_text_is_refused():
    with pytest.raises(ValueError, match="max_seq_length 5 leaves no room for text beside the special tokens"):
        PieceMaker(TOKENIZER, 5, 0.0, False, 0)


def test_pieces_are_made_once(tokenizer, tmp_path):
    """The second time they come from the cache: the tokenizer's hash does not change with use."""
    (tmp_path / "a").mkdir()
    datasets.Dataset.from_dict({"text": TEXTS * 3}).to_parquet(tmp_path / "a" / "train.parquet")
    fingerprints = set()
    for _ in range(2):
        raw = datasets.load_dataset(str(tmp_path / "a"), cache_dir=str(tmp_path / "cache"))["train"]
        maker = PieceMaker(tokenizer, 16, 0.1, False, 0)
        fingerprints.add(make_pieces(raw, "text", maker)._fingerprint)
        tokenizer(TEXTS, padding=True, truncation=True, max_length=8)
    assert len(fingerprints) == 1


def test_batches_of_similar_length(tokenizer, pieces, tmp_path):
    many, padding = datasets.concatenate_datasets([pieces] * 8), {}
    for strategy in ("group_by_length", "random"):
        trainer = make_trainer(tokenizer, many, tmp_path, train_sampling_strategy=strategy)
        masks = [batch["attention_mask"] for batch in trainer.get_train_dataloader()]
        assert sum(map(len, masks)) == len(many)
        padding[strategy] = sum(int((mask == 0).sum()) for mask in masks)
    assert padding["group_by_length"] < padding["random"] / 3


def word_pieces():
    """A WordPiece tokenizer that knows the letters of `TEXTS` alone."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=["[PAD]", "[UNK]"], show_progress=False)
    backend.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")


@pytest.mark.parametrize("kind", ["bytes", "words"])
def test_a_share_of_pieces_is_rare_text(kind):
    tokenizer = TOKENIZER if kind == "bytes" else word_pieces()
    texts, indices = TEXTS * 100, list(range(400))
    plain = PieceMaker(tokenizer, 16, 0.1, False, 0)(texts, indices)["input_ids"]
    mixed = PieceMaker(tokenizer, 16, 0.1, False, 0, rare_text_share=0.2)(texts, indices)["input_ids"]
    rest = iter(mixed)
    assert all(piece in rest for piece in plain), "the other pieces are as they were, in order"
    assert abs((len(mixed) - len(plain)) / len(mixed) - 0.2) <= 1 / len(mixed)
    assert all(5 <= len(piece) <= 16 for piece in mixed) or kind == "words"
    assert tokenizer.unk_token_id not in {token for piece in mixed for token in piece}
    assert mixed == PieceMaker(tokenizer, 16, 0.1, False, 0, rare_text_share=0.2)(texts, indices)["input_ids"]
    assert mixed != PieceMaker(tokenizer, 16, 0.1, False, 1, rare_text_share=0.2)(texts, indices)["input_ids"]


def test_rare_text_holds_every_byte_of_the_vocabulary():
    """Bytes that the training text lacks occur: all but those that UTF-8 never has or that only control characters
    and characters beyond the named scripts need."""
    maker = PieceMaker(TOKENIZER, 64, 0.0, False, 0, rare_text_share=0.9)
    pieces = maker(TEXTS * 40, [0])["input_ids"]
    seen = {token for piece in pieces for token in piece}
    names = TOKENIZER.convert_ids_to_tokens(sorted(seen))
    single = {name for name in names if len(name) == 1}
    assert len(single) > 180 and set("0123456789") <= single


def test_streams_get_rare_text_too():
    stream = datasets.Dataset.from_dict({"text": TEXTS * 50}).to_iterable_dataset()
    counts = [
        len(list(make_pieces(stream, "text", PieceMaker(TOKENIZER, 16, 0.0, False, 0, share)))) for share in (0, 0.5)
    ]
    assert abs(counts[1] - 2 * counts[0]) <= 1


@given(seed=st.integers(0, 10**6), length=st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_rare_text_is_text(seed, length):
    text = rare_text(random.Random(seed), ["", "a b", *TEXTS], length)
    assert len(text) >= length - 1
    assert text == rare_text(random.Random(seed), ["", "a b", *TEXTS], length)
    assert text.encode("utf-8").decode("utf-8") == text and "\ufffd" not in text


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_outside_its_range_is_refused(share):
    with pytest.raises(ValueError, match="is a share"):
        PieceMaker(TOKENIZER, 16, 0.1, False, 0, share)


def test_the_ends_of_a_tokenizer_without_the_letter_a():
    """What stands around a text does not depend on which letters a tokenizer knows."""
    texts = ["Старик вышел в море один.", "Дождь шёл всю ночь."]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    specials = ["[PAD]", "[MASK]", "[CLS]", "[SEP]"]
    backend.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=60, special_tokens=specials, show_progress=False)
    )
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", mask_token="[MASK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    assert special_ends(tokenizer) == ([2], [3])
    pieces = PieceMaker(tokenizer, 8, 0.0, False, 0)(texts, [0, 1])["input_ids"]
    assert all(piece[0] == 2 and piece[-1] == 3 for piece in pieces)
