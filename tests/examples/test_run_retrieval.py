# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Retrieval as a user evaluates it."""

import pytest
import transformers

from examples import run_retrieval
from trainers.evaluation.results import read_report
from trainers.utils.script import run_script

from ..evaluation.test_retrieval import save_data
from ..trainers.kit import make_model
from .kit import refusal


@pytest.fixture
def folder(tokenizer, tmp_path, monkeypatch):
    """A folder with data `data` and a small BERT `bert`; the working directory."""
    save_data(tmp_path / "data")
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_table_with_baselines_intervals_and_a_picture(folder, monkeypatch, capsys):
    given = [
        "--model_name_or_path",
        "bert",
        "--dataset_name",
        "data",
        "--num_vectors",
        "2",
        "4",
        "--output_dir",
        "out",
    ]
    monkeypatch.setattr("sys.argv", ["run_retrieval.py", *given])
    run_script(run_retrieval.main)
    text = (folder / "out" / "README.md").read_text()
    for system in ("BM25", "one vector", "one vector, binary", "all tokens", "segments, 4, int8", "Ward, 2"):
        assert f"\n| {system} |" in text, system
    assert "bert on data (validation, 2 queries)" in capsys.readouterr().out
    assert (folder / "out" / "quality.png").read_bytes().startswith(b"\x89PNG")
    report = read_report(folder / "out" / "results.json")
    assert {result.metric for result in report["results"]} == {"nDCG@10", "R@100", "RR@10"}
    assert report["systems"]["Ward, 4, int8"]["bytes"] == 4 * 16
    assert report["model_name_or_path"] == "bert"


def test_a_checkpoint_without_token_vectors_is_refused(folder, tokenizer, monkeypatch):
    make_model("perceiver_posonly_mlm", tokenizer, hidden_size=16, intermediate_size=16).save_pretrained("concept")
    tokenizer.save_pretrained("concept")
    given = ["--model_name_or_path", "concept", "--dataset_name", "data"]
    assert "gives no vectors of tokens" in refusal("run_retrieval.py", folder, monkeypatch, *given)


def test_bad_input_gets_one_sentence(folder, monkeypatch):
    message = refusal(
        "run_retrieval.py", folder, monkeypatch, "--model_name_or_path", "bert", "--dataset_name", "bert"
    )
    assert "bert" in message and "Traceback" not in message
