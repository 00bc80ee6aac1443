# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The classification script as a user starts it."""

import json
import sys
from pathlib import Path

import datasets
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from examples import run_classification
from trainers.evaluation.results import BAG_OF_WORDS, MAJORITY, UNTRAINED, read_report
from trainers.fine_tuning import TASKS, load_task
from trainers.fine_tuning.classifiers import Checkpoint

from ..fine_tuning.conftest import checkpoints  # noqa: F401 (fixture)
from .kit import refusal
from .test_run_reasoning import FAST


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts the script in a folder with `films.tsv` (text, other, label) and `new.tsv` without labels."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    lines = [
        f"a {kind} film {number}\tseen {number}\t{kind}" for number in range(10) for kind in ("good", "bad", "odd")
    ]
    (tmp_path / "films.TSV").write_text("\n".join(["text\tother\tkind", *lines, ""]).replace("\\\t", "\t"))
    (tmp_path / "new.csv").write_text("text,other\na good film,seen\na bad film,seen\n")

    def start(*arguments):
        fast = FAST if "--do_train" in arguments else ["--use_cpu", "true"]
        monkeypatch.setattr(sys, "argv", ["run_classification.py", *map(str, arguments), *fast])
        run_classification.main()

    return start


def test_own_classes_from_training_to_predictions(start, checkpoints, tmp_path):  # noqa: F811
    columns = ["--text_column_names", "text", "other", "--label_column_name", "kind"]
    given = ["--model_name_or_path", checkpoints["concept"], "--train_file", "films.TSV", *columns]
    start(*given, "--output_dir", "out", "--do_train", "--do_eval", "--do_predict", "--test_file", "new.csv")
    systems = [result.system for result in read_report("out/results.json")["results"]]
    assert systems == ["concept", UNTRAINED, MAJORITY, BAG_OF_WORDS]
    model = AutoModelForSequenceClassification.from_pretrained("out/films")
    assert model.config.id2label == {0: "bad", 1: "good", 2: "odd"}
    assert "Labels: 0 is `bad`" in (tmp_path / "out" / "films" / "README.md").read_text()
    head, *lines = (tmp_path / "out" / "predict_results.txt").read_text().splitlines()
    assert (
        head == "index\tprediction" and [line.split("\t")[1] in ("bad", "good", "odd") for line in lines] == [True] * 2
    )

    again = ["--model_name_or_path", "out/films", *columns, "--output_dir", "again"]
    start(*again, "--do_eval", "--do_predict", "--validation_file", "films.TSV", "--test_file", "new.csv")
    assert (tmp_path / "again" / "predict_results.txt").read_text().splitlines() == [head, *lines]
    assert json.loads((tmp_path / "again" / "results.json").read_text())["data"][0]["evaluation"] == {"validation": 30}


def test_what_a_classifier_has_learned_is_not_asked_again(start, checkpoints, tmp_path):  # noqa: F811
    """Scores keep their range, kinds are not chosen anew, and columns may stand in a file of options."""
    checkpoint = Checkpoint(str(checkpoints["concept"]))
    checkpoint.load(TASKS["stsb"], 0)[0].save_pretrained("stsb")
    checkpoint.tokenizer.save_pretrained("stsb")
    Path("options.json").write_text('{"text_column_names": ["text", "other"], "do_predict": true}')
    given = ["options.json", "--model_name_or_path", "stsb", "--test_file", "new.csv"]
    start(*given, "--output_dir", "found")
    _, *lines = Path("found/predict_results.txt").read_text().splitlines()
    rows = load_task(TASKS["stsb"], files={"test": pairs()}, train=False, evaluate=False, predict=True).test["test"]
    assert len(rows) == len(lines) == 2
    with torch.no_grad():
        model = AutoModelForSequenceClassification.from_pretrained("stsb").eval()
        scores = model(**checkpoint.collate(list(rows))).logits[:, 0]
    assert [float(line.split("\t")[1]) for line in lines] == pytest.approx((5 * scores).tolist(), abs=1e-4)


def pairs() -> str:
    Path("pairs.csv").write_text(Path("new.csv").read_text().replace("text,other", "sentence1,sentence2"))
    return "pairs.csv"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give the data: --train_file and --validation_file, or --dataset_name."),
        (
            ["--train_file", "films.TSV"],
            "The column 'label' holds 0 different labels in 0 rows",
        ),
        (["--train_file", "films.TSV", "--text_column_names", "a", "b", "c"], "one column, or a pair of two"),
        (["--train_file", "new.csv", "--limit", "3"], "There is no option --limit; write --max_train_samples or"),
        (["--do_predict", "--test_file", "new.csv"], "is not a trained classifier of the task: classifier"),
        (["--do_predict"], "Give the data"),
    ],
)
def test_bad_input_gets_one_sentence(arguments, message, start, checkpoints, tmp_path, monkeypatch):  # noqa: F811
    given = ["--model_name_or_path", checkpoints["concept"], *arguments, "--use_cpu", "true"]
    assert message in refusal("run_classification.py", tmp_path, monkeypatch, *given)
