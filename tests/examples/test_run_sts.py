# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Zero-shot similarity as a user runs it."""

import json
import sys

import pytest
from datasets import Dataset

from examples import run_sts
from trainers import reporting
from trainers.results import read_results
from trainers.script import run_script as as_script

from ..conftest import TEXTS
from ..trainers.kit import make_model
from .kit import run_here


@pytest.fixture(scope="module")
def place(tokenizer, tmp_path_factory):
    """A folder with a checkpoint in outputs/run, and the data sets one and two, which has a test split."""
    place = tmp_path_factory.mktemp("sts")
    make_model("perceiver_posonly_mlm", tokenizer).save_pretrained(place / "outputs" / "run")
    tokenizer.save_pretrained(place / "outputs" / "run")
    rows = {"sentence1": TEXTS * 3, "sentence2": TEXTS[1:] * 4, "label": [float(n % 6) for n in range(12)]}
    for name, split in (("one", "validation"), ("two", "test")):
        (place / name).mkdir()
        Dataset.from_dict(rows).to_parquet(place / name / f"{split}.parquet")
    (place / "utf16.tsv").write_text("a\tb\t1\nc\td\t2\n", encoding="utf-16")
    (place / "ragged.CSV").write_text("a,b,1\nc,d,2,\n")
    (place / "done").mkdir()
    (place / "done" / "results.json").touch()
    return place


def run(*arguments):
    """The script in this process; what it ends with is raised."""
    sys.argv = ["run_sts.py", *map(str, arguments)]
    as_script(run_sts.main)


def test_the_newest_checkpoint_stands_beside_its_baselines(place, teacher, monkeypatch, capsys):
    options = ["--dataset_name", "one", "--baseline_models", teacher, "--first_k", "2"]
    run_here("run_sts.py", place, monkeypatch, *options)
    printed = capsys.readouterr()
    for word in ("run, zero-shot: one (validation of one, 12 pairs)", "untrained", "token", "bag of words", "majority",
                 "│ spearman ", "│ spearman, centred ", "│ spearman, matrix ", "│ pearson, first 2, centred ",
                 "0 texts were cut"):  # fmt: skip
        assert word in printed.out, word
    assert "it/s" in printed.err  # the progress bar
    (written,) = place.glob("outputs/sts_run_*/results.json")
    content = json.loads(written.read_text())
    assert (
        content["model_name_or_path"] == "outputs/run" and content["max_eval_samples"] is None and content["seed"] == 0
    )
    assert content["datasets"] == {"one": ["one", "one"]} and content["texts_cut"] == {"one": 0}
    results = read_results(written)
    systems = ["run", "untrained", "token table", "bag of words (tf-idf)", "teacher", "majority class"]
    assert list(dict.fromkeys(result.system for result in results)) == systems
    assert {(result.task, result.split, result.count) for result in results} == {("one", "validation", 12)}


def test_several_tasks_have_an_average(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setattr(run_sts, "TASKS", {"stsb": "one", "sickr": "two"})
    pushed = []
    monkeypatch.setattr(reporting, "results_card", lambda repo_id, token: None)
    monkeypatch.setattr(reporting, "push_results", lambda *arguments, **options: pushed.append((arguments, options)))
    options = [
        "--poolings",
        "mean",
        "--max_eval_samples",
        "9",
        "--report_to",
        "none",
        "--output_dir",
        "both",
        "--push_to_hub",
    ]
    run("--model_name_or_path", "outputs/run", "--task_name", "stsb", "sickr", *options, "--hub_model_id", "me/run")
    printed = capsys.readouterr().out
    for word in ("stsb (validation of one, 9 pairs); sickr (test of two, 9 pairs)", "average", "│ spearman, centred "):
        assert word in printed, word
    assert "pearson" not in printed.split("centred:")[0]
    results = read_results("both/results.json")
    assert {result.task for result in results} == {"stsb", "sickr", "average"}
    (((repo, own, kind, datasets), files),) = pushed
    assert (repo, kind, datasets["stsb"]) == ("me/run", "sentence-similarity", ("one", "stsb"))
    assert own == results and set(datasets) == {"stsb", "sickr"}  # the card leaves out the average
    assert [str(file) for file in files["files"]] == ["both/results.json"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model_name_or_path", "nowhere"], "'nowhere' cannot be read"),
        (["--dataset_name", "nowhere"], "'nowhere' cannot be read"),
        (["--dataset_name", "one", "--label_column_name", "points"], "There are no columns ['points']"),
        (["--dataset_name", "one", "--split", "test"], "one has no split test, only ['validation']"),
        (["--dataset_name", "one", "--task_name", "stsb"], "Give one of --task_name and --dataset_name, not both"),
        (["--task_name", "sts99"], "Unknown task 'sts99'; choose among ['stsb'"),
        (["--pairs_file", "pairs.txt"], "pairs.txt does not exist"),
        (["--pairs_file", "x.csv", "--split", "test"], "--split not with --pairs_file"),
        (["--dataset_name", "one", "--first_k", "99"], "--first_k must lie between 1 and the model's"),
        (["--dataset_name", "one", "--baseline_models", "nowhere"], "SentenceTransformer 'nowhere' cannot be read"),
        (["--batch_size", "0"], "--batch_size must be at least 1, not 0"),
        (["--max_eval_samples", "-1"], "--max_eval_samples must be at least 2, not -1"),
        (["--first_k", "2", "0"], "--first_k must be at least 1, not 0"),
        (["--pairs_file", "utf16.tsv"], "utf16.tsv cannot be read: 'utf-8' codec can't decode"),
        (["--pairs_file", "ragged.CSV"], "ragged.CSV, line 2: 4 columns instead of 3"),
        (["--dataset_name", "one", "--output_dir", "done"], "done already holds results.json"),
        (["--push_to_hub"], "--push_to_hub needs the repository of the model"),
    ],
)
def test_bad_input_gets_one_sentence(options, message, place, monkeypatch):
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as ended:
        run(*options)
    assert message in str(ended.value) and "\n" not in str(ended.value)


def test_without_a_checkpoint_the_way_to_one_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="python examples/run_pretraining.py"):
        run()
