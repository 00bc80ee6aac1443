# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Zero-shot similarity as a user runs it."""

import json
import sys

import pytest
from datasets import Dataset

from examples import run_sts
from trainers.evaluation.results import read_report
from trainers.utils.script import run_script as as_script

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
    options = ["--dataset_name", "one", "--baseline_models", teacher]
    run_here("run_sts.py", place, monkeypatch, *options)
    printed = capsys.readouterr()
    for word in (
        "run, zero-shot: one (validation of one, 12 pairs)",
        "untrained",
        "token",
        "bag of words",
        "majority",
        " spearman ",
        " spearman, centred ",
        " spearman, matrix ",
        " pearson, first 1,",
    ):
        assert word in printed.out, word
    assert "0 texts were truncated to 64 tokens." in " ".join(printed.out.split())
    assert "it/s" in printed.err  # the progress bar
    (written,) = place.glob("outputs/sts_run_*/results.json")
    content = json.loads(written.read_text())
    assert (
        content["model_name_or_path"] == "outputs/run" and content["max_eval_samples"] is None and content["seed"] == 0
    )
    assert content["datasets"] == {"one": ["one", "one"]} and content["texts_truncated"] == {"one": 0}
    results = read_report(written)["results"]
    systems = ["run", "untrained", "token table", "bag of words (tf-idf)", "teacher", "majority class"]
    assert list(dict.fromkeys(result.system for result in results)) == systems
    assert {(result.task, result.split, result.count) for result in results} == {("one", "validation", 12)}


def test_several_tasks_have_an_average(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setattr(run_sts, "STS_DATASETS", {"stsb": "one", "sickr": "two"})
    options = ["--max_eval_samples", "9", "--output_dir", "both"]
    run("--model_name_or_path", "outputs/run", "--task_name", "stsb", "sickr", *options)
    printed = capsys.readouterr().out
    for word in ("stsb (validation of one, 9 pairs); sickr (test of two, 9 pairs)", "average", "2 tasks"):
        assert word in printed, word
    assert "pearson" not in printed
    results = read_report("both/results.json")["results"]
    assert {result.task for result in results} == {"stsb", "sickr", "average"}
    content = json.loads((place / "both" / "results.json").read_text())
    assert content["task_type"] == "sentence-similarity" and content["datasets"]["stsb"] == ["one", "stsb"]
    assert set(content["datasets"]) == {"stsb", "sickr"}  # a card leaves out the average


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model_name_or_path", "nowhere"], "'nowhere' cannot be read"),
        (["--dataset_name", "nowhere"], "'nowhere' cannot be read"),
        (["--dataset_name", "one", "--split", "test"], "one has no split test, only ['validation']"),
        (["--dataset_name", "one", "--task_name", "stsb"], "Give one of --task_name and --dataset_name, not both"),
        (["--task_name", "sts99"], "--task_name: invalid choice: 'sts99' (choose from 'stsb', 'sickr'"),
        (["--dataset_name", "pairs.txt"], "cannot be read"),
        (["--dataset_name", "one", "--baseline_models", "nowhere"], "SentenceTransformer 'nowhere' cannot be read"),
        (["--batch_size", "0"], "--batch_size must be at least 1, not 0"),
        (["--max_eval_samples", "-1"], "--max_eval_samples must be at least 2, not -1"),
        (["--dataset_name", "utf16.tsv"], "utf16.tsv cannot be read: 'utf-8' codec can't decode"),
        (["--dataset_name", "ragged.CSV"], "Rows of ragged.CSV have more fields than its header"),
        (["--dataset_name", "one", "--output_dir", "done"], "done already holds results.json"),
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
