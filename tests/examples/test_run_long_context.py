# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Long documents as a user evaluates them."""

import json

import pytest
from datasets import Dataset

from examples import run_long_context
from trainers.evaluation.results import BAG_OF_WORDS, UNTRAINED, read_report
from trainers.utils.script import run_script

from ..conftest import TEXTS
from ..trainers.kit import make_model


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    """A checkpoint `model` that takes 32 tokens, and long documents `data` with queries made of their words."""
    folder = tmp_path_factory.mktemp("long")
    sizes = {"max_sequence_length": 32, "hidden_size": 16, "intermediate_size": 16}
    make_model("perceiver_posonly_mlm", tokenizer, **sizes).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    words = [word for text in TEXTS for word in text.split()]
    rows = []
    for number in range(8):
        document = " ".join(words[(number * 5 + place * (number + 2)) % len(words)] for place in range(60))
        for query in (document.split()[3:9], document.split()[20:24], ["sum", "up"]):
            rows.append({"document": document, "query": " ".join(query)})
    Dataset.from_list(rows).to_parquet(folder / "data" / "validation.parquet")
    (folder / "done").mkdir()
    (folder / "done" / "results.json").touch()
    return folder


@pytest.fixture
def run(folder, monkeypatch):
    """The script in that folder; returns the exit message."""

    def run(*arguments):
        monkeypatch.chdir(folder)
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr("sys.argv", ["run_long_context.py", *map(str, arguments)])
        try:
            run_script(run_long_context.main)
        except SystemExit as end:
            return str(end)

    return run


def test_the_table_has_its_baselines(run, folder, capsys):
    given = ["--model_name_or_path", "model", "--dataset_name", "data", "--lengths", 16, 48]
    assert run(*given, "--output_dir", "out") is None
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("Texts of more than 32 tokens are encoded in windows.", "8 documents, 16 queries; 1 others"):
        assert words in shown, words
    systems = [f"{name}, {pooling}" for name in ("model", UNTRAINED)
               for pooling in ("mean", "best concept")]  # fmt: skip
    by_metric = {}
    for result in read_report(folder / "out" / "results.json")["results"]:
        by_metric.setdefault(result.metric, {})[result.system] = result.value
    for length in (16, 48):
        for metric in ("R@1", "R@5", "MRR"):
            assert list(by_metric[f"{metric}, {length} tokens"]) == [*systems, BAG_OF_WORDS, "chance"]
        assert by_metric[f"R@1, {length} tokens"]["chance"] == 1 / 8
    assert by_metric["R@1, 48 tokens"][BAG_OF_WORDS] > 3 / 8  # the queries stand in the documents
    facts = json.loads((folder / "out" / "results.json").read_text())
    assert facts["dataset_name"] == "data" and facts["caption"] in shown and facts["torch"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model_name_or_path", "nowhere"], "'nowhere' cannot be read"),
        (["--dataset_name", "nowhere"], "'nowhere' cannot be read"),
        (["--split", "dev"], "data has no split dev, only ['validation']"),
        (["--lengths", "4"], "--lengths must be at least 8, not 4"),
        (["--max_eval_samples", "1"], "data has one document, which any model finds; give two documents or more."),
        (["--batch_size", "0"], "--batch_size must be at least 1, not 0"),
        (["--output_dir", "done"], "done already holds results.json"),
    ],
)
def test_bad_input_gets_one_sentence(run, options, message):
    defaults = ["--model_name_or_path", "model", "--dataset_name", "data", "--lengths", 16]
    found = run(*defaults, *options)
    assert message in found and "\n" not in found


def test_a_missing_checkpoint_names_the_command_that_makes_one(run):
    assert "run_pretraining.py" in run("--dataset_name", "data")
