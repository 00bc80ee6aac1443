# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Retrieval as a user evaluates it."""

import pytest

from examples import run_retrieval
from trainers.evaluation.results import read_report
from trainers.retrieval.retriever import ConceptRetriever, load_token_model
from trainers.utils.script import run_script

from ..retrieval.kit import save_bert
from ..retrieval.test_evaluation import save_data
from ..trainers.kit import make_model
from .kit import refusal


@pytest.fixture
def folder(tokenizer, tmp_path, monkeypatch):
    """A folder with data `data` and a small BERT `bert`; the working directory."""
    save_data(tmp_path / "data")
    save_bert(tmp_path / "bert", tokenizer)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def measure(folder, monkeypatch, model) -> str:
    """The table of a model."""
    given = ["--dataset_name", "data", "--num_vectors", "2", "4", "--output_dir", "out"]
    monkeypatch.setattr("sys.argv", ["run_retrieval.py", "--model_name_or_path", model, *given])
    run_script(run_retrieval.main)
    return (folder / "out" / "README.md").read_text()


def test_a_table_with_baselines_intervals_and_a_picture(folder, monkeypatch, capsys):
    text = measure(folder, monkeypatch, "bert")
    for system in (
        "BM25",
        "one vector",
        "one vector, binary",
        "all tokens",
        "segments, 4, int8",
        "Ward, 2",
        "concepts, 4",
    ):
        assert f"\n| {system} |" in text, system
    assert "bert on data (validation, 2 queries)" in capsys.readouterr().out
    assert (folder / "out" / "quality.png").read_bytes().startswith(b"\x89PNG")
    report = read_report(folder / "out" / "results.json")
    assert {result.metric for result in report["results"]} == {"nDCG@10", "R@100", "RR@10"}
    assert report["systems"]["Ward, 4, int8"]["bytes"] == 4 * 16
    assert report["model_name_or_path"] == "bert"


def test_a_retriever_is_measured_as_its_transformer_is(folder, monkeypatch):
    model = ConceptRetriever.from_model(load_token_model("bert"))
    model.save_pretrained("retriever")
    measure(folder, monkeypatch, "retriever")
    systems = {result.system for result in read_report(folder / "out" / "results.json")["results"]}
    assert {"concepts, 2", "Ward, 2", "one vector", "all tokens"} <= systems


def test_a_checkpoint_without_token_vectors_is_refused(folder, tokenizer, monkeypatch):
    sizes = {"hidden_size": 16, "intermediate_size": 16}
    make_model("perceiver_posonly_mlm", tokenizer, concept_mean="free", **sizes).save_pretrained("concept")
    tokenizer.save_pretrained("concept")
    given = ["--model_name_or_path", "concept", "--dataset_name", "data"]
    assert "gives no vectors of tokens" in refusal("run_retrieval.py", folder, monkeypatch, *given)


def test_bad_input_gets_one_sentence(folder, monkeypatch):
    message = refusal(
        "run_retrieval.py", folder, monkeypatch, "--model_name_or_path", "bert", "--dataset_name", "bert"
    )
    assert "bert" in message and "Traceback" not in message
