# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Long documents: data, windows, retrieval and the matching probe against references."""

import json
import zipfile
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.evaluation.long_context import documents as long_documents
from trainers.evaluation.long_context.documents import Row, load_rows, make_data, read_rows
from trainers.evaluation.long_context.evaluator import (
    ACCURACY,
    POOLINGS,
    RANK_METRICS,
    LongContextEvaluation,
    MatchingProbe,
    Passage,
    best_matches,
    centre,
    document_folds,
    encode_passage,
    even_windows,
    matched_pairs,
    mean_cosines,
    passages,
    rank_metrics,
    retrieval_metrics,
)
from trainers.evaluation.results import BAG_OF_WORDS, MAJORITY

from ..conftest import TEXTS
from ..trainers.kit import make_model


LONG = " ".join(TEXTS * 2)


@pytest.fixture(scope="module")
def model(tokenizer):
    model = make_model("perceiver_posonly_mlm", tokenizer, max_sequence_length=32).encoder.eval()
    model.tokenizer = tokenizer
    return model


# -- data


def test_layouts_are_known_by_columns():
    scrolls = {"id": 1, "input": "Who?\n\nA text.\n\nGoes on.", "output": "Me"}
    assert read_rows([scrolls]) == [Row("A text.\n\nGoes on.", "Who?")]
    bench = {"input": "What?", "context": "A text.", "answers": ["noun"], "all_classes": ["noun", "verb"], "length": 1}
    assert read_rows([bench]) == [Row("A text.", "What?")]
    assert read_rows([{"document": "A text.", "query": "What?", "answer": "That"}]) == [Row("A text.", "What?")]
    for rows in ([{"a": "A text.", "b": "What?"}], []):
        with pytest.raises(ValueError, match="no known layout; name them document and query"):
            read_rows(rows)


def test_rows_are_read_as_texts(capsys):
    rows = [{"document": "A text.", "query": "Who?"}, {"document": 7, "query": 2.5}]
    missing = [{"document": None, "query": "Who?"}, {"document": "A text.", "query": " "}]
    assert read_rows(rows + missing) == [Row("A text.", "Who?"), Row("7", "2.5")]
    assert capsys.readouterr().out == "2 of 4 rows have no document or no query and are left out.\n"
    scrolls = [{"input": None, "output": None}, {"input": "Who?\n\nA text.", "output": None}]
    assert read_rows(scrolls) == [Row("A text.", "Who?")]
    with pytest.raises(ValueError, match="No row has a document and a query"):
        read_rows(missing)
    with pytest.raises(ValueError, match="The column 'document' holds a list, not a text"):
        read_rows([{"document": ["A"], "query": "Who?"}])


def test_a_file_is_read_by_its_ending(tmp_path):
    (tmp_path / "x.TSV").write_text("document\tquery\nA text.\tWho?\n")
    rows, split = load_rows(str(tmp_path / "x.TSV"), None, None)
    assert (read_rows(rows), split) == ([Row("A text.", "Who?")], "validation")
    assert load_rows(str(tmp_path / "x.TSV"), None, "test")[1] == "test"


def test_queries_of_several_documents_are_left_out():
    rows = [("A", "sum up"), ("B", "sum up"), ("A", "who"), ("A", "who"), ("C", "why"), ("C", "sum up")]
    rows = [Row(*row) for row in rows]
    data = make_data("d", "test", rows)
    assert data.documents == ["A", "B", "C"] and data.queries == ["who", "why"] and data.relevant == [0, 2]
    assert data.ambiguous == 1
    cut = make_data("d", "test", [*rows, Row("A", "both"), Row("C", "both")], limit=2)
    assert cut.queries == ["who"] and cut.relevant == [0] and cut.ambiguous == 2  # whatever documents are left
    with pytest.raises(ValueError, match="Each query of d belongs to several documents"):
        make_data("d", "test", [Row(name, "all") for name in "ABCD"])
    with pytest.raises(ValueError, match="d has one document"):
        make_data("d", "test", rows, limit=1)


def test_archives_of_the_hub(tmp_path, monkeypatch):
    rows = [{"input": "Who?\n\nA text.", "output": "Me"}, {"input": "Why?\n\nA text.", "output": "So"}]
    with zipfile.ZipFile(tmp_path / "qmsum.zip", "w") as file:
        for split in ("train", "test", "validation"):
            lines = [json.dumps({**row, "split": split}) + "\n" for row in rows]
            file.writestr(f"qmsum/{split}.jsonl", "".join(lines))
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
        file.writestr("data/trec.jsonl", json.dumps({"context": "c", "input": "i"}))

    def download(name, file, repo_type):
        assert repo_type == "dataset"
        if not (tmp_path / file).exists():
            raise OSError("cannot be reached\nmore")
        return str(tmp_path / file)

    monkeypatch.setattr(long_documents, "hf_hub_download", download)
    found, split = load_rows("tau/scrolls", "qmsum", None)
    assert split == "validation" and [row["input"] for row in found] == [row["input"] for row in rows]
    assert load_rows("tau/scrolls", "qmsum", "test")[0][0]["split"] == "test"
    assert load_rows("THUDM/LongBench", "trec", None) == ([{"context": "c", "input": "i"}], "test")
    for name, task, split, message in (
        ("tau/scrolls", "qmsum", "dev", r"no split 'dev'; its splits are \['validation', 'test', 'train'\]"),
        ("tau/scrolls", "gov_report", None, r"one of \['qmsum', .*, not 'gov_report'"),
        ("tau/scrolls", "qasper", None, "'tau/scrolls' cannot be read: cannot be reached more$"),
        ("THUDM/LongBench", "nothing", None, r"no task 'nothing'; its files are \['data/trec.jsonl'\]"),
        ("nowhere", None, None, "'nowhere' cannot be read"),
    ):
        with pytest.raises(ValueError, match=message):
            load_rows(name, task, split)


def test_qmsum_as_it_is(shared):
    rows, split = load_rows(str(shared / "data" / "qmsum"), None, None)
    data = make_data("qmsum", split, read_rows(rows))
    assert (split, len(data.documents), len(data.queries), data.ambiguous) == ("validation", 35, 237, 4)
    assert "Summarize the whole meeting." not in data.queries


# -- reading


@given(st.integers(0, 400), st.integers(1, 70))
def test_windows_cover_everything_evenly(count, room):
    parts = even_windows(count, room)
    assert [place for part in parts for place in range(count)[part]] == list(range(count))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) <= room and max(sizes) - min(sizes) <= 1
    assert len(parts) == max(1, -(-count // room))


def test_passages_are_the_first_tokens_and_their_text(tokenizer):
    whole = tokenizer(LONG, add_special_tokens=False)["input_ids"]
    special = tokenizer.num_special_tokens_to_add()
    assert special == 2
    for length in (12, 40, 4000):
        long, short = passages(tokenizer, [LONG, "Rain fell."], length)
        assert long.ids == whole[: length - special]
        assert LONG.startswith(long.text) and long.text.endswith(tokenizer.decode(long.ids[-1:]).lstrip("#").strip())
        assert short == Passage("Rain fell.", tokenizer("Rain fell.", add_special_tokens=False)["input_ids"])
    assert long.text == LONG


@torch.no_grad()
def test_a_long_text_is_encoded_in_windows_and_a_short_one_at_once(model, tokenizer):
    (text,), (short,) = passages(tokenizer, [LONG], 100), passages(tokenizer, ["Rain fell."], 32)
    concepts = encode_passage(model, text, 2)
    parts = even_windows(98, 30)
    assert concepts.shape == (4, *concepts.shape[1:]) and len(parts) == 4
    for row, part in zip(concepts, parts, strict=True):
        ids = [tokenizer.cls_token_id, *text.ids[part], tokenizer.sep_token_id]
        torch.testing.assert_close(row[None], model(torch.tensor([ids])).last_hidden_state)
    torch.testing.assert_close(encode_passage(model, short, 2), model.encode("Rain fell.").concepts)


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
    assert list(found) == list(RANK_METRICS)
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
    for compare, _ in POOLINGS.values():
        assert compare(queries, documents).shape == (3, 3)
    late, means = best_matches(queries, documents), mean_cosines(queries, documents)
    for row, query in enumerate(queries):
        for column, document in enumerate(documents):
            pairs = torch.cosine_similarity(query[0][:, None], document.reshape(-1, 8)[None], dim=-1)
            assert late[row, column] == pytest.approx(pairs.amax(dim=1).mean().item(), abs=1e-6)
            cosine = torch.cosine_similarity(query.mean((0, 1)), document.mean((0, 1)), dim=0)
            assert means[row, column] == pytest.approx(cosine.item(), abs=1e-6)
    centred = centre(documents)
    assert torch.stack([text.mean(dim=0) for text in centred]).mean(dim=0).abs().max() < 1e-6
    shifted = centre([text + torch.randn(4, 8, generator=torch.Generator().manual_seed(1)) for text in documents])
    for one, other in zip(centred, shifted, strict=True):  # what all texts share is gone
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


# -- the probe


@settings(max_examples=40)
@given(st.integers(4, 12), st.integers(0, 50), st.integers(0, 2**32 - 1))
def test_matching_pairs_say_nothing_by_halves(document_count, query_count, seed):
    generator = np.random.default_rng(seed)
    pairs = [(int(home), query) for query, home in enumerate(generator.integers(0, document_count, query_count))]
    folds = document_folds(document_count, seed)
    assert min(Counter(folds.tolist()).values()) >= 2 and len(set(folds)) == min(5, document_count // 2)
    found, right = matched_pairs(pairs, folds)
    homes = {query: document for document, query in pairs}
    for (document, query), belongs in zip(found, right, strict=True):
        assert (homes[query] == document) == belongs and folds[homes[query]] == folds[document]
    for part in (0, 1):  # documents, queries: as often in right pairs as in wrong ones
        counts = {True: Counter(), False: Counter()}
        for pair, belongs in zip(found, right, strict=True):
            counts[belongs][pair[part]] += 1
        assert counts[True] == counts[False]
    assert len(set(found)) == len(found)


def test_the_probe_is_left_out_for_few_documents_or_queries(capsys):
    few = make_data("d", "test", [Row(name, f"about {name}") for name in "ABC"])
    evaluation = LongContextEvaluation(few, 0)
    assert evaluation.probe is None and ACCURACY not in evaluation.baselines(few.documents)[BAG_OF_WORDS]
    assert "Matching is left out: The probe needs at least four documents, not 3." in capsys.readouterr().out
    rows = [Row(name, "all") for name in "ABCD"]
    assert LongContextEvaluation(make_data("d", "test", [*rows, Row("E", "one")]), 0).probe is None
    assert "The probe needs more queries." in capsys.readouterr().out


def test_a_probe_is_tested_on_other_documents():
    folds = np.repeat(np.arange(4), 30)
    generator = np.random.default_rng(0)
    matches = generator.integers(0, 2, 120).astype(bool)
    known = np.eye(2)[matches.astype(int)] + 0.01 * generator.normal(size=(120, 2))
    assert MatchingProbe(folds, folds, matches, folds).accuracy(known) == 1
    # The label of a document can be memorised, but not for a document that was not seen.
    assert MatchingProbe(folds, folds, folds % 2 == 0, folds).accuracy(np.eye(4)[folds]) <= 0.5


def test_a_bag_of_words_that_is_not_defined_leaves_the_others(capsys):
    rows = [Row(mark * (number + 1), f"{mark}{number}") for number in range(4) for mark in ("\t", " ")]
    data = make_data("d", "test", rows)
    evaluation = LongContextEvaluation(data, 0)
    found = evaluation.baselines(data.documents)
    assert list(found[BAG_OF_WORDS]) == [*RANK_METRICS, ACCURACY] and all(map(np.isnan, found[BAG_OF_WORDS].values()))
    assert found["chance"]["R@1"] == 1 / 8 and found[MAJORITY] == {ACCURACY: 0.5}
    assert "bag of words (tf-idf): not defined (all texts are empty)." in capsys.readouterr().out
    records = evaluation.records(512, found)
    assert [record.task for record in records if record.system == MAJORITY] == ["d matching"]
