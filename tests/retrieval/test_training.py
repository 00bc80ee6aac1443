# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Rows that a retriever is trained on, numbers of concepts that are drawn, and teachers."""

import pytest
import torch
from datasets import Dataset

from trainers.retrieval.evaluation import Ranking, RetrievalData
from trainers.retrieval.retriever import ConceptRetriever, load_token_model, token_encoder, token_modules
from trainers.retrieval.training import (
    DataArguments,
    ModelArguments,
    NestedBudgets,
    RowsInOrder,
    add_teacher_scores,
    labelled_rows,
    make_retriever,
)
from trainers.retrieval.training_data import load_pairs, neighbourhood_rows, query_sentences, ranking_rows

from ..conftest import TEXTS
from ..trainers.kit import make_model
from .kit import MIXED, save_bert


@pytest.fixture(scope="module")
def retriever(tokenizer, tmp_path_factory):
    folder = save_bert(tmp_path_factory.mktemp("bert"), tokenizer)
    return ConceptRetriever.from_model(load_token_model(folder), num_vectors=3)


# -- rows


def test_sentences_as_long_as_queries_are_kept():
    text = "Too short. The ship sailed from the harbour at dawn; nobody on the shore looked up! " + "word " * 41
    assert query_sentences(text) == ["The ship sailed from the harbour at dawn;", "nobody on the shore looked up!"]


def test_queries_of_a_step_are_sentences_of_neighbours_that_are_not_its_documents():
    groups = [[f"{'abcd'[group]}{place} has five words here. {'abcd'[group]}{place} has five more words." for place in
               range(12)] for group in range(4)]  # fmt: skip
    documents = sum(groups, []) + ["short"]
    near = torch.eye(4).repeat_interleave(12, dim=0)
    rows = neighbourhood_rows(documents, torch.cat([near, near[:1]]), queries=4, per_query=2, steps=6, seed=0)
    assert len(rows) == 24 and rows.column_names == ["query", "document_1", "document_2"]
    for start in range(0, 24, 4):
        step = rows[start : start + 4]
        held = {*step["document_1"], *step["document_2"]}
        assert len(held) == 8 and len({text[0] for text in [*held, *step["query"]]}) == 1
        assert len({query.split()[0] for query in step["query"]}) == 4
        assert not any(query in text for query in step["query"] for text in held)
    again = neighbourhood_rows(documents, torch.cat([near, near[:1]]), 4, 2, 6, seed=0)
    assert again[:] == rows[:]
    with pytest.raises(ValueError, match="takes 60 documents with a sentence, and there are 48"):
        neighbourhood_rows(documents, torch.cat([near, near[:1]]), 20, 2, 1, 0)


def test_rows_of_a_step_stay_together():
    batches = list(RowsInOrder(Dataset.from_dict({"a": range(7)}), batch_size=3, drop_last=True))
    assert batches == [[0, 1, 2], [3, 4, 5]]


def test_pairs_become_queries_documents_and_judgements(tmp_path):
    rows = {"asked": ["q", "q", "r"], "found": ["a", "b", "b"]}
    Dataset.from_dict(rows).to_parquet(tmp_path / "pairs.parquet")
    data = load_pairs(str(tmp_path / "pairs.parquet"), None, "train", ["asked", "found"])
    judged = {data.queries[query]: {data.documents[key] for key in found} for query, found in data.judgements.items()}
    assert judged == {"q": {"a", "b"}, "r": {"b"}} and sorted(data.documents.values()) == ["a", "b"]


def test_the_negatives_of_triplets_are_kept(tmp_path, retriever):
    rows = {"id": [1, 2], "other": ["c", "d"], "found": ["a", "b"], "asked": ["q", "r"]}
    Dataset.from_dict(rows).to_parquet(tmp_path / "t.parquet")
    args = DataArguments(train_file=str(tmp_path / "t.parquet"), columns=["asked", "found", "other"])
    found = labelled_rows(args, retriever, seed=0)
    assert found.column_names == args.columns
    assert {tuple(row.values()) for row in found} == {("q", "a", "c"), ("r", "b", "d")}
    with pytest.raises(ValueError, match="holds negatives already"):
        DataArguments(train_file="t.csv", columns=["asked", "found", "other"], hard_negatives=1)


def test_layers_that_a_model_does_not_have_are_refused(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="it has 1 layers, not 3"):
        load_token_model(save_bert(tmp_path, tokenizer), 3)


def test_a_token_table_has_no_layers_to_adapt(tokenizer, tmp_path):
    make_model("perceiver_posonly_mlm", tokenizer, hidden_size=16, intermediate_size=16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has only a token table"):
        make_retriever(ModelArguments(str(tmp_path), backbone_training="lora"))


def test_numbers_of_vectors_and_lengths_are_those_asked_for(tokenizer, tmp_path):
    bert = save_bert(tmp_path / "bert", tokenizer)
    assert make_retriever(ModelArguments(bert))[-1].num_vectors == 8
    model = make_retriever(ModelArguments(bert, num_vectors=[4, 16], max_seq_length=10))
    assert model[-1].num_vectors == 16 and len(model.encode_query([" ".join(MIXED)])[0]) == 10
    model[0].document_length = 5
    model.save_pretrained(str(tmp_path / "own"))
    again = make_retriever(ModelArguments(str(tmp_path / "own"), num_vectors=[2], max_seq_length=12))
    assert again[-1].num_vectors == 16
    assert len(token_encoder(again).encode_document([" ".join(MIXED)])[0]) == 12


def test_hard_negatives_are_found_and_not_relevant():
    documents = {str(key): f"text {key}" for key in range(6)}
    data = RetrievalData("d", "train", documents, {"q": "query", "r": "other"}, {"q": {"0": 1, "3": 1}, "r": {"1": 1}})
    found = Ranking("s", {"q": {"0": 3.0, "1": 2.0, "2": 1.0}, "r": {"1": 1.0, "4": 0.5}})
    rows = ranking_rows(data, found, 2, seed=0)
    assert len(rows) == 2 and set(rows["query"]) == {"query"}  # the other query has one negative only
    for row in rows:
        assert row["positive"] in ("text 0", "text 3")
        assert {row["negative_1"], row["negative_2"]} == {"text 1", "text 2"}
    assert ranking_rows(data, None, 0, seed=0).column_names == ["query", "positive"]
    with pytest.raises(ValueError, match="No query has 5 documents that are not relevant"):
        ranking_rows(data, found, 5, seed=0)


# -- losses


def test_each_step_draws_one_of_the_numbers_of_concepts(retriever):
    pooling, drawn = retriever[-1], []
    tokens = torch.nn.functional.normalize(torch.randn(30, 16), dim=-1)

    class Loss(torch.nn.Module):
        def forward(self, sentence_features, labels):
            drawn.append(len(pooling.pool_one(tokens)))

    retriever.train()
    loss = NestedBudgets(Loss(), pooling, [1, 4, 9])
    for _ in range(50):
        loss([])
    assert set(drawn) == {1, 4, 9} and not list(loss.parameters())
    assert len(retriever.eval()[-1].pool_one(tokens)) == 3


def test_a_teacher_scores_documents_by_the_mean_of_its_query_tokens(retriever):
    rows = Dataset.from_dict({"query": TEXTS, "document_1": MIXED[:4], "document_2": MIXED[4:8]})
    teacher = type(retriever)(modules=token_modules(retriever))
    found = add_teacher_scores(rows, teacher, dict(zip(MIXED, teacher.encode_document(MIXED), strict=True)))
    query, document = teacher.encode_query(TEXTS)[1], teacher.encode_document(MIXED)[5]
    torch.testing.assert_close(torch.tensor(found["label"][1][1]), (query @ document.T).amax(dim=1).mean())
    assert found["query"][:] == TEXTS
