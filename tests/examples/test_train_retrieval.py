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


@pytest.fixture
def folder(tokenizer, tmp_path):
    """A folder with a small BERT, plain text, pairs, and data in BEIR's layout."""
    save_bert(tmp_path / "bert", tokenizer, num_hidden_layers=2)
    Dataset.from_dict({"text": [*TEXTS, *MIXED]}).to_parquet(tmp_path / "plain" / "train.parquet")
    Dataset.from_dict({"query": TEXTS * 2, "positive": MIXED[:8]}).to_parquet(tmp_path / "pairs" / "train.parquet")
    save_data(tmp_path / "beir")
    return tmp_path


def train(folder, monkeypatch, *options):
    """The trained retriever, and how far its learned parts have moved."""
    common = ["--model_name_or_path", "bert", "--output_dir", "out", "--max_steps", "2", "--num_vectors", "1", "3"]
    common += ["--per_device_train_batch_size", "2", "--report_to", "none"]
    run_here("train_retrieval.py", folder, monkeypatch, *common, *options)
    model = MultiVectorEncoder(str(folder / "out"), trust_remote_code=True, device="cpu")
    return model, model[-1].residual.weight.abs().max()


PLAIN = ["--dataset_name", "plain"]


def test_plain_text_trains_the_concepts_alone(folder, monkeypatch):
    model, moved = train(folder, monkeypatch, *PLAIN, "--eval_dataset_name", "beir", "--eval_strategy", "steps")
    assert moved > 0
    own = MultiVectorEncoder(str(folder / "bert"), device="cpu")[0].state_dict()
    for name, value in model[0].state_dict().items():
        assert torch.equal(value, own[name]), name
    assert (
        len(list((folder / "outputs" / "token_states").glob("*.arrow"))) == 2
    )  # documents; queries and measured data
    assert [len(row) for row in model.encode_document(TEXTS, num_vectors=2)] == [2] * 4


@pytest.mark.parametrize("way", ["full", "lora"])
def test_the_backbone_learns_too(folder, monkeypatch, way):
    model, moved = train(folder, monkeypatch, *PLAIN, "--backbone_training", way, "--backbone_layers", "1")
    assert moved > 0 and model[0].model.config.num_hidden_layers == 1
    own = MultiVectorEncoder(str(folder / "bert"), device="cpu")
    assert not torch.equal(own[0](own.preprocess(TEXTS))["token_embeddings"],
                           model[0](model.preprocess(TEXTS))["token_embeddings"])  # fmt: skip


@pytest.mark.parametrize("options", [
    ["--dataset_name", "pairs", "--columns", "query", "positive", "--hard_negatives", "1"],
    ["--dataset_name", "pairs", "--columns", "query", "positive", "--mini_batch_size", "1"],
    ["--dataset_name", "beir", "--qrels", "true", "--split", "validation", "--hard_negatives", "1",
     "--negatives_by", "model"],
    [*PLAIN, "--teacher_name_or_path", "bert"],
], ids=["pairs", "cached", "judgements", "teacher"])  # fmt: skip
def test_pairs_judgements_and_teachers_train(folder, monkeypatch, options):
    assert train(folder, monkeypatch, *options)[1] > 0


def test_options_that_do_not_fit_are_refused(folder, monkeypatch):
    both = ["--columns", "query", "positive", "--qrels", "true"]
    assert "not both" in refusal("train_retrieval.py", folder, monkeypatch, *both)
    assert "'nowhere' cannot be read" in refusal(
        "train_retrieval.py", folder, monkeypatch, "--model_name_or_path", "nowhere", *PLAIN
    )
