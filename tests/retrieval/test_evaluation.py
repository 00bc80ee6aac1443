# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Retrieval: metrics, poolings and precisions against their definitions; data in BEIR's layout."""

import dataclasses
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

from trainers.retrieval.concept_pooling import ConceptPooling
from trainers.retrieval.evaluation import (
    POOLINGS,
    Ranking,
    RetrievalData,
    SegmentPooling,
    WardPooling,
    best_documents,
    interval,
    load_retrieval_data,
    paired_p_value,
    rank_by_vectors,
    rank_by_words,
    reduce_precision,
)


DATA = RetrievalData(
    "toy", "test",
    documents={"a": "the red fox", "b": "a blue bird sings", "c": "the fox and the bird"},
    queries={"q": "fox", "r": "blue bird"},
    judgements={"q": {"a": 1, "c": 2}, "r": {"b": 1}},
)  # fmt: skip


def unit(*shape):
    return torch.nn.functional.normalize(
        torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))), dim=-1
    )


# -- data


def save_data(folder):
    """`DATA` in the layout of BEIR's data sets on the Hub."""
    rows = [{"_id": key, "title": text.split()[0], "text": text} for key, text in DATA.documents.items()]
    Dataset.from_list(rows).to_parquet(folder / "corpus.parquet")
    queries = [{"_id": key, "text": text} for key, text in {**DATA.queries, "unjudged": "nothing"}.items()]
    Dataset.from_list(queries).to_parquet(folder / "queries.parquet")
    qrels = [{"query-id": q, "corpus-id": d, "score": s} for q, of in DATA.judgements.items() for d, s in of.items()]
    qrels += [{"query-id": "q", "corpus-id": "b", "score": 0}, {"query-id": "q", "corpus-id": "lost", "score": 1}]
    Dataset.from_list(qrels).to_parquet(folder / "qrels.parquet")
    configs = {"corpus": "corpus", "queries": "queries", "qrels": "validation"}
    lines = [
        f"- config_name: {name}\n  data_files:\n  - split: {split}\n    path: {name}.parquet"
        for name, split in configs.items()
    ]
    (folder / "README.md").write_text("---\nconfigs:\n" + "\n".join(lines) + "\n---\n")
    return str(folder)


def test_the_layout_of_beir_is_read(tmp_path):
    folder = save_data(tmp_path / "beir")
    data = load_retrieval_data(folder)
    assert (data.name, data.split) == ("beir", "validation")
    assert data.documents["c"] == "the the fox and the bird" and data.queries == DATA.queries
    assert data.judgements == DATA.judgements
    assert load_retrieval_data(folder, limit=1).queries == {"q": "fox"}
    with pytest.raises(ValueError, match=r"no judgements dev, only \['validation'\]"):
        load_retrieval_data(folder, "dev")


def change(folder, name, **columns):
    """Replace columns of a file of the data; None drops one."""
    path = f"{folder}/{name}.parquet"
    rows = pq.read_table(path).to_pydict() | columns
    Dataset.from_dict({key: value for key, value in rows.items() if value is not None}).to_parquet(path)


def test_missing_titles_and_texts_are_empty(tmp_path):
    folder = save_data(tmp_path / "beir")
    count = len(DATA.documents)
    change(folder, "corpus", title=[None] * (count - 1) + ["T"], text=["x"] * (count - 1) + [None])
    assert {*load_retrieval_data(folder).documents.values()} == {"x", "T"}


@pytest.mark.parametrize(("name", "columns", "message"), [
    ("corpus", {"_id": ["a"] * len(DATA.documents)}, "Several documents of .* have the same _id"),
    ("corpus", {"_id": None}, "The corpus of .* lack the column _id"),
    ("qrels", {"score": None}, "The judgements of .* lack the column score"),
    ("qrels", {"score": [0.5] * (sum(map(len, DATA.judgements.values())) + 2)}, "relevance is a whole number"),
])  # fmt: skip
def test_data_that_would_give_wrong_numbers_are_refused(tmp_path, name, columns, message):
    folder = save_data(tmp_path / "beir")
    change(folder, name, **columns)
    with pytest.raises(ValueError, match=message):
        load_retrieval_data(folder)


def test_ties_are_broken_once():
    data = RetrievalData("d", "test", {"a": "", "b": ""}, {"q": ""}, {"q": {"a": 1}})
    first, second = (Ranking("s", {"q": dict.fromkeys(keys, 1.0)}).measure(data).values for keys in ("ab", "ba"))
    assert first["nDCG@10"] == first["RR@10"] == 1
    assert second["RR@10"] == 0.5 and second["nDCG@10"] == pytest.approx(1 / math.log2(3))


def test_texts_without_words_are_ranked():
    data = RetrievalData("d", "test", {"a": "fox", "b": ""}, {"q": "?", "r": "fox"}, {"q": {"a": 1}, "r": {"a": 1}})
    found = rank_by_words(data).scores
    assert found["q"] == {"a": 0, "b": 0} and found["r"]["a"] > found["r"]["b"] == 0
    with pytest.raises(ValueError, match="No document of d holds a word"):
        rank_by_words(dataclasses.replace(data, documents={"a": "", "b": "x"}))


def test_other_layouts_are_named(tmp_path):
    Dataset.from_dict({"text": ["a"]}).to_parquet(tmp_path / "plain" / "train.parquet")
    with pytest.raises(ValueError, match=r"no configuration corpus, only \['default'\]"):
        load_retrieval_data(str(tmp_path / "plain"))
    with pytest.raises(ValueError, match="'nowhere' cannot be read"):
        load_retrieval_data("nowhere")


# -- vectors


@pytest.mark.parametrize("pooling", POOLINGS.values())
@given(tokens=st.integers(1, 70), count=st.integers(1, 40))
def test_poolings_give_as_many_vectors_as_asked(pooling, tokens, count):
    pooled = pooling(count).pool_one(unit(tokens, 8))
    assert pooled.shape[0] <= min(tokens, count) and (pooling is ConceptPooling or len(pooled) == min(tokens, count))
    torch.testing.assert_close(pooled.norm(dim=-1), torch.ones(len(pooled)))


@pytest.mark.parametrize("pooling", POOLINGS.values())
def test_a_text_without_tokens_has_no_vectors(pooling):
    assert pooling(3).pool([unit(0, 8), unit(4, 8)])[0].shape == (0, 8)


def test_poolings_are_what_their_names_say():
    tokens = unit(12, 8)
    means = torch.nn.functional.normalize(tokens.view(4, 3, 8).mean(dim=1), dim=-1)
    torch.testing.assert_close(SegmentPooling(4).pool_one(tokens), means)
    ward = HierarchicalTokenPooling(3.0, num_protected_tokens=0).pool_one(tokens)
    torch.testing.assert_close(WardPooling(4).pool_one(tokens), ward)
    torch.testing.assert_close(SegmentPooling(20).pool_one(tokens), tokens)


def test_precisions():
    vectors = [unit(3, 64), unit(5, 64)]
    assert reduce_precision(vectors, "float32") is vectors
    joined = torch.cat(vectors)
    found = torch.cat(reduce_precision(vectors, "int8"))
    step = (joined.amax(dim=0) - joined.amin(dim=0)) / 255
    assert ((found - joined).abs() <= 1.01 * step).all()
    signs = torch.cat(reduce_precision(vectors, "binary"))
    assert torch.equal(signs > 0, joined > 0)
    torch.testing.assert_close(signs.norm(dim=-1), torch.ones(8))


# -- ranking


def test_metrics_against_their_formulas():
    ranking = Ranking("s", {"q": {"b": 3.0, "c": 2.0, "a": 1.0}, "r": {"b": 1.0, "a": 0.5}}).measure(DATA)
    gain, ideal = 2 / math.log2(3) + 1 / math.log2(4), 2 / math.log2(2) + 1 / math.log2(3)
    assert ranking.values["nDCG@10"].tolist() == pytest.approx([gain / ideal, 1.0])
    assert ranking.values["RR@10"].tolist() == [0.5, 1.0]
    assert ranking.values["R@100"].tolist() == [1.0, 1.0]


def test_best_documents_are_those_of_the_largest_scores():
    scores = torch.tensor([[0.1, 0.3, 0.2], [3.0, 2.0, 1.0]])
    found = best_documents(scores, DATA)
    assert list(found["q"]) == ["b", "c", "a"] and list(found["r"]) == ["a", "b", "c"]


def test_words_are_ranked_by_bm25():
    found = rank_by_words(DATA).scores["q"]
    lengths = {
        key: len(text.replace("a ", "").split()) for key, text in DATA.documents.items()
    }  # words of two letters
    mean = sum(lengths.values()) / 3
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    for key in "ac":
        norm = 0.9 * (1 - 0.4 + 0.4 * lengths[key] / mean)
        assert found[key] == pytest.approx(idf / (1 + norm), rel=1e-4)
    assert found["b"] == 0


def test_vectors_are_ranked_by_the_sum_of_the_best_matches():
    queries, documents = [unit(2, 32), unit(4, 32)], [unit(3, 32), unit(5, 32), unit(7, 32)]
    exact, *stored = rank_by_vectors("s", DATA, queries, documents, 1.0)
    for name, vectors in zip(DATA.queries, queries):
        for key, document in zip(DATA.documents, documents):
            assert exact.scores[name][key] == pytest.approx(float((vectors @ document.T).amax(dim=1).sum()), rel=1e-5)
    assert (exact.vectors, exact.bytes) == (5, 5 * 32 * 4)
    assert [(one.system, one.bytes) for one in stored] == [("s, int8", 5 * 32), ("s, binary", 5 * 4)]


def test_intervals_and_tests():
    generator = np.random.default_rng(0)
    values = generator.random(200)
    low, high = interval(values)
    half = 1.96 * values.std() / 200**0.5
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)
    assert interval(np.ones(3)) == (1, 1)
    assert paired_p_value(values, values) == 1
    assert paired_p_value(values + 0.1, values) < 0.01
    assert paired_p_value(generator.random(200), values) > 0.01
