# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Text from every source, cut into pieces without loss."""

import json
import os
import subprocess
import sys

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.data import (
    EMBEDDED_CORPUS,
    PairMaker,
    PieceMaker,
    load_text,
    make_pairs,
    make_pieces,
    special_ends,
    text_column,
)
from trainers.tokenizer_training import train_tokenizer

from ..conftest import ROOT, TEXTS
from .kit import make_trainer


def write(folder, name, kind):
    path = folder / f"{name}.{kind}"
    rows = datasets.Dataset.from_dict({"text": TEXTS, "other": ["x"] * len(TEXTS)})
    if kind == "txt":
        path.write_text("\n".join(TEXTS), encoding="utf-8")
    else:
        {"json": rows.to_json, "jsonl": rows.to_json, "csv": rows.to_csv, "parquet": rows.to_parquet}[kind](str(path))
    return str(path)


@pytest.mark.parametrize("kind", ["txt", "json", "jsonl", "csv", "parquet"])
@pytest.mark.parametrize("streaming", [False, True])
def test_files_of_every_format(kind, streaming, tmp_path):
    raw = load_text(
        train_file=write(tmp_path, "train", kind), validation_file=write(tmp_path, "valid", kind), streaming=streaming,
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    column = text_column(raw["train"])
    assert column == "text"
    assert [row[column] for row in raw["validation"]] == TEXTS


def test_a_missing_validation_split_is_cut_from_train(tmp_path):
    file = write(tmp_path, "train", "txt")
    options = {"train_file": file, "validation_split_percentage": 25, "cache_dir": str(tmp_path / "cache")}
    raw, again = load_text(**options), load_text(**options)
    assert len(raw["validation"]) == 1 and len(raw["train"]) == 3
    assert list(raw["validation"]["text"]) == list(again["validation"]["text"])
    assert sorted([*raw["validation"]["text"], *raw["train"]["text"]]) == sorted(TEXTS)


def test_local_folders_stand_for_hub_data_sets(shared, tmp_path):
    raw = load_text(str(shared / "data" / "wikitext-2"), cache_dir=str(tmp_path))
    assert len(raw["validation"]) == 3761


def test_the_embedded_corpus():
    raw = load_text()
    assert len(raw["train"]) == 94 and len(raw["validation"]) == 6
    assert set(raw["train"]["title"]).isdisjoint(raw["validation"]["title"])
    assert sum(path.stat().st_size for path in EMBEDDED_CORPUS.iterdir()) < 2_000_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_file": "nowhere.txt"}, "nowhere.txt does not exist"),
        ({"validation_file": "v.txt"}, "needs a --train_file"),
        ({"dataset_name": "a/b", "train_file": "t.txt"}, "not both"),
        ({"dataset_name": "no/such-data-set"}, "'no/such-data-set' cannot be read"),
    ],
)
def test_impossible_sources_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        load_text(**options)


def test_unreadable_files_are_told(tmp_path):
    odd, broken = tmp_path / "data.xyz", tmp_path / "broken.parquet"
    odd.write_text("x")
    broken.write_bytes(b"PAR1 no parquet")
    with pytest.raises(ValueError, match="none of the known endings"):
        load_text(train_file=str(odd))
    with pytest.raises(ValueError, match="broken.parquet cannot be read"):
        load_text(train_file=str(broken), cache_dir=str(tmp_path / "cache"))
    with pytest.raises(ValueError, match="one format"):
        load_text(train_file=write(tmp_path, "t", "txt"), validation_file=write(tmp_path, "v", "csv"))
    with pytest.raises(ValueError, match="no column 'words'"):
        text_column(datasets.Dataset.from_dict({"text": TEXTS}), "words")


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


def folder_of(path, rows):
    path.mkdir()
    datasets.Dataset.from_dict(rows).to_parquet(path / "train.parquet")
    return str(path)


@pytest.mark.parametrize("streaming", [False, True])
def test_several_data_sets_are_one(streaming, tmp_path):
    """Their common columns; every text once (streams take turns until the last has ended)."""
    first = folder_of(tmp_path / "a", {"text": TEXTS[:2], "id": [1, 2]})
    second = folder_of(tmp_path / "b", {"text": TEXTS[2:], "url": ["x", "y"]})
    raw = load_text(f"{first}, {second}:default", streaming=streaming, cache_dir=str(tmp_path / "cache"))
    rows = [row["text"] for split in raw.values() for row in split]
    assert sorted(rows) == sorted(TEXTS)
    assert list(next(iter(raw["validation"]))) == ["text"]
    third = folder_of(tmp_path / "c", {"body": TEXTS})
    with pytest.raises(ValueError, match="no column in common"):
        load_text(f"{first},{third}", cache_dir=str(tmp_path / "cache"))


def test_a_stream_without_validation_gives_its_first_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("trainers.data.STREAMED_VALIDATION_ROWS", 1)
    raw = load_text(folder_of(tmp_path / "a", {"text": TEXTS}), streaming=True, cache_dir=str(tmp_path / "cache"))
    assert [row["text"] for row in raw["validation"]] == TEXTS[:1]
    assert [row["text"] for row in raw["train"]] == TEXTS[1:]


def test_pairs_keep_their_texts_and_tell_what_was_cut(tokenizer):
    rows = datasets.Dataset.from_dict({"a": TEXTS, "b": TEXTS[::-1]})
    whole = make_pairs(rows, "a", "b", PairMaker(tokenizer, 64))
    assert whole["input_ids"] == tokenizer(TEXTS)["input_ids"]
    assert whole["pair_input_ids"] == tokenizer(TEXTS[::-1])["input_ids"]
    assert sum(whole["cut_tokens"]) == 0
    cut = make_pairs(rows, "a", "b", PairMaker(tokenizer, 12))
    assert all(len(ids) == 12 and ids[-1] == full[-1] for ids, full in zip(cut["input_ids"], whole["input_ids"]))
    missing = sum(map(len, whole["input_ids"])) - sum(map(len, cut["input_ids"]))
    assert sum(cut["cut_tokens"]) == 2 * missing
    with pytest.raises(ValueError, match="There is no column 'c'"):
        make_pairs(rows, "a", "c", PairMaker(tokenizer, 12))


def test_pieces_are_made_once(tokenizer, tmp_path):
    """The second time they come from the cache: the tokenizer's hash does not change with use."""
    source = folder_of(tmp_path / "a", {"text": TEXTS * 3})
    fingerprints = set()
    for _ in range(2):
        raw = datasets.load_dataset(source, cache_dir=str(tmp_path / "cache"))["train"]
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


def test_each_process_reads_its_own_shards(tmp_path):
    """Two gloo processes that stream: no text twice, none left out."""
    folder = tmp_path / "data"
    folder.mkdir()
    for shard in range(4):
        rows = {"input_ids": [[2, 10 * shard + n + 5, 3] for n in range(8)]}
        datasets.Dataset.from_dict(rows).to_parquet(folder / f"train-{shard:05d}-of-00004.parquet")
    script = ROOT / "tests" / "trainers" / "streaming_script.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(script), str(folder)], capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    seen = [json.loads((folder / f"seen_{rank}.json").read_text()) for rank in range(2)]
    assert set(seen[0]).isdisjoint(seen[1])
    assert sorted(seen[0] + seen[1]) == sorted(10 * shard + n + 5 for shard in range(4) for n in range(8))
