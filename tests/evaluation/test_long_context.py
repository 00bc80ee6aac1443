# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Long documents: data, windows and retrieval against references."""

import json
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.evaluation import long_context
from trainers.evaluation.long_context import (
    POOLINGS,
    best_matches,
    encode_windows,
    load_long_data,
    mean_cosines,
    rank_metrics,
    read_beginnings,
    retrieval_metrics,
)

from ..conftest import TEXTS
from ..trainers.kit import make_model


LONG = " ".join(TEXTS * 2)


@pytest.fixture(scope="module")
def model(tokenizer):
    model = make_model("perceiver_posonly_mlm", tokenizer, max_sequence_length=32).encoder.eval()
    model.tokenizer = tokenizer
    return model


# -- data


def write_rows(path, rows):
    """A file of documents and queries."""
    Dataset.from_list([{"document": document, "query": query} for document, query in rows]).to_json(path)
    return str(path)


def test_files_are_read_as_texts(tmp_path):
    rows = [("A text.", "Who?"), ("Another.", "2.50"), (None, "Who?"), ("Third.", " ")]
    data = load_long_data(write_rows(tmp_path / "x.JSONL", rows), None, None)
    assert (data.documents, data.queries) == (["A text.", "Another."], ["Who?", "2.50"])
    assert (data.name, data.split) == ("x.JSONL", "validation")
    assert load_long_data(str(tmp_path / "x.JSONL"), None, "test").split == "test"
    (tmp_path / "x.tsv").write_text("document\tquery\nA text.\tWho?\n07\t1.0\n")
    assert load_long_data(str(tmp_path / "x.tsv"), None, None).documents == ["A text.", "07"]
    (tmp_path / "x.tsv").write_text("text\tquery\nA text.\tWho?\n")
    with pytest.raises(ValueError, match="no column 'document' in the rows of .*; the columns are"):
        load_long_data(str(tmp_path / "x.tsv"), None, None)


def test_queries_of_several_documents_are_left_out(tmp_path):
    rows = [("A", "sum up"), ("B", "sum up"), ("A", "who"), ("A", "who"), ("C", "why"), ("C", "sum up")]
    path = write_rows(tmp_path / "d.jsonl", rows)
    data = load_long_data(path, None, None)
    assert data.documents == ["A", "B", "C"] and data.queries == ["who", "why"] and data.relevant == [0, 2]
    assert data.ambiguous == 1
    with pytest.raises(ValueError, match="d.jsonl has one document"):
        load_long_data(path, None, None, 1)
    path = write_rows(tmp_path / "d.jsonl", [*rows, ("A", "both"), ("C", "both")])
    cut = load_long_data(path, None, None, 2)
    assert cut.queries == ["who"] and cut.relevant == [0] and cut.ambiguous == 2  # whatever documents are left
    path = write_rows(tmp_path / "d.jsonl", [(name, "all") for name in "ABCD"])
    with pytest.raises(ValueError, match="Each query of d.jsonl belongs to several documents"):
        load_long_data(path, None, None)


def test_archives_of_the_hub(tmp_path, monkeypatch):
    def lines(*rows):
        return "".join(json.dumps(row) + "\n" for row in rows)

    with zipfile.ZipFile(tmp_path / "qmsum.zip", "w") as file:
        for split in ("train", "test", "validation"):
            rows = (
                {"input": f"{query}\n\nA\u2028text {query}.\n\nGoes on: {split}.", "output": "Me"} for query in "XY"
            )
            file.writestr(f"qmsum/{split}.jsonl", lines(*rows))
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
        file.writestr("data/trec.jsonl", lines(*({"context": c, "input": c + "?", "answers": [1]} for c in "cd")))

    def download(name, file, repo_type):
        assert repo_type == "dataset"
        if not (tmp_path / file).exists():
            raise OSError("cannot be reached\nmore")
        return str(tmp_path / file)

    monkeypatch.setattr(long_context, "hf_hub_download", download)
    data = load_long_data("tau/scrolls", None, None)
    assert (data.name, data.split, data.queries) == ("qmsum", "validation", ["X", "Y"])
    assert data.documents[0] == "A\u2028text X.\n\nGoes on: validation."
    assert load_long_data("tau/scrolls", "qmsum", "test").documents[1].endswith("test.")
    data = load_long_data("THUDM/LongBench", "trec", None)
    assert (data.split, data.documents, data.queries) == ("test", ["c", "d"], ["c?", "d?"])
    for name, task, split, message in (
        ("tau/scrolls", "qmsum", "dev", "The dev split of qmsum in tau/scrolls cannot be read: .*no item"),
        ("tau/scrolls", "gov_report", None, r"one of \['qmsum', .*, not 'gov_report'"),
        ("tau/scrolls", "qasper", None, "qasper in tau/scrolls cannot be read: cannot be reached more$"),
        ("THUDM/LongBench", "nothing", None, "nothing in THUDM/LongBench cannot be read: .*no item"),
        ("nowhere", None, None, "'nowhere' cannot be read"),
    ):
        with pytest.raises(ValueError, match=message):
            load_long_data(name, task, split)


def test_qmsum_as_it_is(shared):
    data = load_long_data(str(shared / "data" / "qmsum"), None, None)
    assert (data.split, len(data.documents), len(data.queries), data.ambiguous) == ("validation", 35, 237, 4)
    assert "Summarize the whole meeting." not in data.queries


# -- reading


@given(st.integers(0, 400), st.integers(1, 70))
def test_windows_cover_everything_evenly(count, room):
    model = SimpleNamespace(tokenizer=None, config=SimpleNamespace(max_sequence_length=room + 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_context, "special_ends", lambda tokenizer: ([-1], [-2]))
        patch.setattr(long_context, "encode_ids", lambda model, rows, batch_size: rows)
        windows = encode_windows(model, list(range(count)), 1)
    assert [number for window in windows for number in window[1:-1]] == list(range(count))
    assert {(window[0], window[-1]) for window in windows} == {(-1, -2)}
    sizes = [len(window) - 2 for window in windows]
    assert max(sizes) <= room and max(sizes) - min(sizes) <= 1
    assert len(windows) == max(1, -(-count // room))


def test_beginnings_are_the_first_tokens_and_their_text(tokenizer):
    whole = tokenizer(LONG, add_special_tokens=False)["input_ids"]
    special = tokenizer.num_special_tokens_to_add()
    assert special == 2
    for length in (12, 40, 4000):
        (long, short, empty), (long_ids, *ids) = read_beginnings(tokenizer, [LONG, "Rain fell.", ""], length)
        assert long_ids == whole[: length - special]
        assert LONG.startswith(long) and long.endswith(tokenizer.decode(long_ids[-1:]).lstrip("#").strip())
        assert short == "Rain fell." and ids == [tokenizer(short, add_special_tokens=False)["input_ids"], []]
        assert empty == ""
    assert long == LONG


@torch.no_grad()
def test_a_long_text_is_encoded_in_windows_and_a_short_one_at_once(model, tokenizer):
    _, (ids,) = read_beginnings(tokenizer, [LONG], 100)
    _, (short,) = read_beginnings(tokenizer, ["Rain fell."], 32)
    concepts = encode_windows(model, ids, 2)
    assert concepts.shape == (4, *concepts.shape[1:])
    for row, start, end in zip(concepts, (0, 24, 49, 73), (24, 49, 73, 98), strict=True):
        window = [tokenizer.cls_token_id, *ids[start:end], tokenizer.sep_token_id]
        torch.testing.assert_close(row[None], model(torch.tensor([window])).last_hidden_state)
    torch.testing.assert_close(encode_windows(model, short, 2), model.encode("Rain fell.").concepts)


# -- retrieval


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 12))
def test_retrieval_counts_ranks(seed, query_count, document_count):
    generator = np.random.default_rng(seed)
    similarity = generator.integers(0, 4, (query_count, document_count)) / 4  # with ties
    right = generator.integers(0, document_count, query_count)
    ranks = [1 + sum(value >= row[place] for i, value in enumerate(row) if i != place)
             for row, place in zip(similarity, right, strict=True)]  # fmt: skip
    found = retrieval_metrics(similarity, right)
    assert list(found) == ["R@1", "R@5", "MRR"]
    assert found["R@1"] == pytest.approx(sum(rank == 1 for rank in ranks) / query_count)
    assert found["R@5"] == pytest.approx(sum(rank <= 5 for rank in ranks) / query_count)
    assert found["MRR"] == pytest.approx(sum(1 / rank for rank in ranks) / query_count)


def test_equal_vectors_gain_nothing_and_chance_is_known():
    assert retrieval_metrics(np.ones((3, 10)), np.array([0, 4, 9])) == {"R@1": 0, "R@5": 0, "MRR": pytest.approx(0.1)}
    chance = rank_metrics(np.arange(1, 11))
    assert chance["R@1"] == 0.1 and chance["R@5"] == 0.5 and chance["MRR"] == pytest.approx(0.29289683)


def test_poolings_against_their_formulas():
    queries = [torch.randn(1, 4, 8) for _ in range(3)]
    documents = [torch.randn(windows, 4, 8) for windows in (1, 3, 2)]
    for compare in POOLINGS.values():
        assert compare(queries, documents).shape == (3, 3)
    late, means = best_matches(queries, documents), mean_cosines(queries, documents)
    for row, query in enumerate(queries):
        for column, document in enumerate(documents):
            pairs = torch.cosine_similarity(query[0][:, None], document.reshape(-1, 8)[None], dim=-1)
            assert late[row, column] == pytest.approx(pairs.amax(dim=1).mean().item(), abs=1e-6)
            cosine = torch.cosine_similarity(query.mean((0, 1)), document.mean((0, 1)), dim=0)
            assert means[row, column] == pytest.approx(cosine.item(), abs=1e-6)
