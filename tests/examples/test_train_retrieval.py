# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Retrievers as a user trains them."""

import json

import pytest
import torch
from datasets import Dataset
from sentence_transformers import MultiVectorEncoder

from trainers.retrieval.retriever import load_retriever

from ..conftest import TEXTS
from ..retrieval.kit import MIXED, save_bert
from ..retrieval.test_evaluation import save_data
from .kit import refusal, run_here


PLAIN = ["--dataset_name", "plain"]


@pytest.fixture
def folder(tokenizer, tmp_path):
    """A folder with a small BERT, plain text, pairs, and data in BEIR's layout."""
    save_bert(tmp_path / "bert", tokenizer, num_hidden_layers=2)
    Dataset.from_dict({"text": [*TEXTS, *MIXED]}).to_parquet(tmp_path / "plain" / "train.parquet")
    Dataset.from_dict({"query": TEXTS * 2, "positive": MIXED[:8]}).to_parquet(tmp_path / "pairs" / "train.parquet")
    save_data(tmp_path / "beir")
    return tmp_path


def train(folder, monkeypatch, *options):
    """The trained retriever, and whether its transformer has learned."""
    common = ["--model_name_or_path", "bert", "--output_dir", "out", "--max_steps", "2", "--num_vectors", "1", "3"]
    common += ["--per_device_train_batch_size", "2", "--documents_per_query", "2", "--report_to", "none"]
    run_here("train_retrieval.py", folder, monkeypatch, *common, *options)
    model = MultiVectorEncoder(str(folder / "out"), trust_remote_code=True, device="cpu")
    own = MultiVectorEncoder(str(folder / "bert"), device="cpu")[0].state_dict()
    return model, any(not torch.equal(value, own[name]) for name, value in model[0].state_dict().items())


@pytest.mark.parametrize("options", [
    ["--dataset_name", "pairs", "--columns", "query", "positive", "--hard_negatives", "1"],
    ["--dataset_name", "pairs", "--columns", "query", "positive", "--mini_batch_size", "1"],
    ["--dataset_name", "beir", "--qrels", "true", "--split", "validation", "--hard_negatives", "1",
     "--negatives_by", "model"],
    [*PLAIN, "--eval_dataset_name", "beir"],
    [*PLAIN, "--teacher_name_or_path", "bert", "--backbone_layers", "1"],
    [*PLAIN, "--backbone_training", "lora"],
], ids=["pairs", "cached", "judgements", "text", "student", "lora"])  # fmt: skip
def test_pairs_judgements_and_teachers_train(folder, monkeypatch, options):
    model, learned = train(folder, monkeypatch, *options)
    assert learned and model[0].model.config.num_hidden_layers == (1 if "--backbone_layers" in options else 2)
    assert [len(row) for row in model.encode_document(TEXTS, num_vectors=2)] == [2] * 4


@pytest.mark.parametrize("training", ["full", "lora"])
def test_a_run_is_resumed_exactly(folder, monkeypatch, training):
    options = [*PLAIN, "--backbone_training", training, "--backbone_layers", "1", "--save_steps", "1"]
    whole, _ = train(folder, monkeypatch, *options)
    half = load_retriever(str(folder / "out" / "checkpoint-1"))
    assert half[0].model.config.num_hidden_layers == 1
    differs = [not torch.equal(value, whole[0].state_dict()[name]) for name, value in half[0].state_dict().items()]
    assert any(differs)
    (folder / "out").rename(folder / "whole")
    (folder / "out").mkdir()
    (folder / "whole" / "checkpoint-1").rename(folder / "out" / "checkpoint-1")
    again, _ = train(folder, monkeypatch, *options, "--resume_from_checkpoint", "last")
    torch.testing.assert_close(again[0].state_dict(), whole[0].state_dict(), rtol=0, atol=0)


def test_a_set_of_evaluation_is_measured(folder, monkeypatch):
    train(folder, monkeypatch, *PLAIN, "--eval_dataset_name", "beir", "--logging_steps", "1", "--save_steps", "2")
    state = json.loads((folder / "out" / "checkpoint-2" / "trainer_state.json").read_text())
    assert [row["step"] for row in state["log_history"] if any("ndcg@10" in name for name in row)] == [1, 2]


@pytest.mark.parametrize(("options", "message"), [
    (["--columns", "query", "positive", "--qrels", "true", "--dataset_name", "beir"], "not both"),
    (["--columns", "query", "positive"], "Give the pairs or judgements by --dataset_name"),
    (["--qrels", "true", "--train_file", "pairs.csv"], "give --dataset_name, not --train_file"),
    (["--dataset_name", "pairs", "--columns", "query", "query"], "--columns names different columns"),
    (["--dataset_name", "pairs", "--columns", "query", "positive", "--temperature", "1"], "--temperature is of"),
    ([*PLAIN, "--hard_negatives", "1"], "--hard_negatives are of pairs"),
    ([*PLAIN, "--mini_batch_size", "1"], "--mini_batch_size is of pairs"),
    ([*PLAIN, "--max_steps", "-1"], "give their number by --max_steps"),
    ([*PLAIN, "--model_name_or_path", "bert", "--max_seq_length", "65"], "reads 64 tokens at most"),
])  # fmt: skip
def test_options_that_do_not_fit_are_refused(folder, monkeypatch, options, message):
    assert message in refusal("train_retrieval.py", folder, monkeypatch, *options)


def test_a_model_that_is_not_there_is_refused(folder, monkeypatch):
    assert "'nowhere' cannot be read" in refusal(
        "train_retrieval.py", folder, monkeypatch, "--model_name_or_path", "nowhere", *PLAIN
    )
