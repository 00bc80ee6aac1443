# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Retrievers as a user trains them."""

import pytest
import torch
from datasets import Dataset
from sentence_transformers import MultiVectorEncoder

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
    [*PLAIN, "--eval_dataset_name", "beir", "--eval_strategy", "steps", "--eval_steps", "1"],
    [*PLAIN, "--teacher_name_or_path", "bert", "--backbone_layers", "1"],
    [*PLAIN, "--backbone_training", "lora"],
], ids=["pairs", "cached", "judgements", "text", "student", "lora"])  # fmt: skip
def test_pairs_judgements_and_teachers_train(folder, monkeypatch, options):
    model, learned = train(folder, monkeypatch, *options)
    assert learned and model[0].model.config.num_hidden_layers == (1 if "--backbone_layers" in options else 2)
    assert [len(row) for row in model.encode_document(TEXTS, num_vectors=2)] == [2] * 4


def test_options_that_do_not_fit_are_refused(folder, monkeypatch):
    both = ["--columns", "query", "positive", "--qrels", "true"]
    assert "not both" in refusal("train_retrieval.py", folder, monkeypatch, *both)
    assert "'nowhere' cannot be read" in refusal(
        "train_retrieval.py", folder, monkeypatch, "--model_name_or_path", "nowhere", *PLAIN
    )
