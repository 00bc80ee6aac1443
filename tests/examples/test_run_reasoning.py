# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The reasoning script as a user starts it."""

import json
import sys

import datasets
import pytest
from datasets import Dataset

from examples import run_reasoning
from trainers.evaluation.results import BAG_OF_WORDS, MAJORITY, UNTRAINED, read_report
from trainers.fine_tuning.reasoning import TEST
from trainers.models.loading import load_model
from trainers.reasoning.experiment import CANDIDATES, FLOORS
from trainers.reasoning.problems import PROBLEM_TASKS

from ..fine_tuning.conftest import checkpoints  # noqa: F401 (fixture)
from .kit import refusal, run_here


FAST = [
    "--max_steps", "2", "--eval_strategy", "steps", "--save_strategy", "steps", "--eval_steps", "2", "--save_steps",
    "2", "--per_device_train_batch_size", "8", "--use_cpu", "true", "--disable_tqdm", "true",
]  # fmt: skip


@pytest.fixture(scope="module")
def prontoqa(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prontoqa")
    rows = [
        {"context": f"No {number} is red. Tom is {number}.", "question": "Is Tom red?", "answer": "AB"[number % 2]}
        for number in range(40)
    ]
    Dataset.from_list(rows).to_parquet(folder / "validation.parquet")
    return folder


@pytest.mark.parametrize(
    ("start", "options", "system", "counts"),
    [
        ("recursive", ["--num_iterations", "2", "5"], "recursive", (2, 5)),
        ("concept", ["--recursive", "--baselines", "majority"], "concept_recursive", (2, 4, 6, 8, 12)),
    ],
)
def test_one_fine_tuned_model_at_several_iterations(
    start,
    options,
    system,
    counts,
    prontoqa,
    checkpoints,  # noqa: F811
    tmp_path,
    monkeypatch,
    capsys,
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    given = ["--model_name_or_path", checkpoints[start], "--dataset_name", prontoqa, "--output_dir", "out", *FAST]
    monkeypatch.setattr(sys, "argv", ["run_reasoning.py", *map(str, given), *options])
    run_reasoning.main()
    results = {result.system: result for result in read_report("out/results.json")["results"]}
    rows = [system, *(f"{system}, K={count}" for count in counts)]
    others = [MAJORITY] if "--recursive" in options else [UNTRAINED, MAJORITY, BAG_OF_WORDS]
    assert list(results) == [*rows, *others]
    assert {(result.task, result.split, result.metric, result.count) for result in results.values()} == {
        ("prontoqa", TEST, "accuracy", 8)
    }
    shown = capsys.readouterr().out
    assert TEST.split()[0] in shown and "0.0 % of the rows" in shown
    assert all(f" K={count} " in shown for count in counts)  # headings, without the name of the model
    assert (": loaded " in shown) == ("--recursive" in options)
    facts = json.loads((tmp_path / "out" / "results.json").read_text())
    assert facts["num_iterations"] == list(counts) and (tmp_path / "out" / "prontoqa" / "config.json").exists()


@pytest.mark.parametrize(
    ("start", "options", "message"),
    [
        ("concept", [], "--num_iterations needs a recursive encoder, but"),
        ("recursive", ["--recursive"], "is a checkpoint of a recursive encoder already"),
        ("recursive", ["--task_name", "prosqa", "--dataset_name", "nowhere"], "'nowhere' cannot be read"),
        ("recursive", ["--task_name", "logic"], "Unknown task 'logic'"),
        (
            "recursive",
            ["--max_seq_length", "12"],
            "100.0 % of the rows are longer than 12 tokens and are truncated; the",
        ),
    ],
)
def test_bad_input_gets_one_sentence(start, options, message, prontoqa, checkpoints, tmp_path, monkeypatch):  # noqa: F811
    given = ["--model_name_or_path", checkpoints[start], "--use_cpu", "true"]
    data = [] if "--dataset_name" in options else ["--dataset_name", prontoqa]
    assert message in refusal("run_reasoning.py", tmp_path, monkeypatch, *given, *data, *options)


# -- generated problems

SMALL = [
    "--systems", "recursive", "bert", "--hidden_size", "16", "--num_attention_heads", "2", "--max_steps", "4",
    "--trained_steps", "2", "--test_steps", "1", "3", "--num_iterations", "1", "4", "--max_eval_samples", "3",
    "--per_device_train_batch_size", "4", "--save_steps", "2", "--use_cpu", "--disable_tqdm", "true",
]  # fmt: skip


@pytest.fixture(scope="module")
def prosqa(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prosqa")
    row = {
        "question": "Every cat is a pet. Tom is a cat. Eva is a dog. Is Tom a pet or dog?",
        "steps": ["Tom is a cat.", "Every cat is a pet."],
        "answer": "Tom is a pet.",
    }
    Dataset.from_list([row] * 4).to_parquet(folder / "validation.parquet")
    return folder


@pytest.mark.parametrize("task", PROBLEM_TASKS)
def test_networks_on_generated_problems(task, prosqa, tmp_path, monkeypatch, capsys):
    options = ["--task_name", task, "--seeds", "3", "4", *SMALL]
    if task == "ontology":
        options += ["--dataset_name", str(prosqa)]
    run_here("run_reasoning.py", tmp_path, monkeypatch, *options)
    folder = tmp_path / "outputs" / f"reasoning_{task}"
    results = read_report(folder / "results.json")["results"]
    own = [result for result in results if result.task == task]
    assert {result.split for result in own} == {"1 step", "3 steps"}
    systems = {result.system for result in own if result.metric == "accuracy"}
    assert systems == {
        "recursive, K=1", "recursive, K=4", "recursive, halted by agreement", "BERT, equal parameters", *FLOORS,
        *([CANDIDATES] if task == "ontology" else []),
    }  # fmt: skip
    assert all(result.value == 1 / 2 for result in own if result.system == CANDIDATES)
    assert all(result.spread is not None for result in own if result.system not in (*FLOORS, CANDIDATES))
    asked = [result for result in results if result.task == "ProsQA"]
    assert {result.split for result in asked} == ({"2 steps", "all"} if task == "ontology" else set())
    report = (folder / "README.md").read_text()
    assert "| BERT, equal parameters | 4 |" in report and ("## ProsQA" in report) == (task == "ontology")
    assert (folder / "iterations.png").exists() and (folder / "concepts.png").exists() == (task != "addition")
    assert load_model(str(folder / "recursive-3")).config.encoder_type == "content"
    assert "seed 3, 4 steps" in capsys.readouterr().out
    if task != "chains":
        return
    # Finished runs are not made again; others are added, and one that was interrupted goes on.
    weights = [(folder / name / "model.safetensors").stat().st_mtime_ns for name in ("recursive-3", "bert-4")]
    (folder / "recursive-4" / "results.json").unlink()
    run_here("run_reasoning.py", tmp_path, monkeypatch, *options)
    assert "seed 3, 4 steps" not in (shown := capsys.readouterr().out) and "recursive, seed 4, 4 steps" in shown
    assert [(folder / name / "model.safetensors").stat().st_mtime_ns for name in ("recursive-3", "bert-4")] == weights
    assert read_report(folder / "results.json")["results"] == results


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task_name", "chains", "deduction"], "trained on one generated task, not on ['chains', 'deduction']"),
        (
            ["--task_name", "chains", "--dataset_name", "rows"],
            "--dataset_name, of ProsQA, goes with --task_name ontolo",
        ),
        (["--task_name", "ontology", "--dataset_name", "nowhere"], "'nowhere' cannot be read"),
        (["--task_name", "chains", "--num_train_epochs", "4"], "--num_train_epochs has no effect here: problems are"),
        (["--task_name", "chains", "--trained_steps", "0"], "--trained_steps must be at least 1, not 0"),
        (["--task_name", "induction", "--test_steps", "20"], "128 sightings at most: give fewer steps than 20"),
        (["--task_name", "chains", "--encoder_type", "gpt"], "Unknown encoder_type 'gpt'"),
    ],
)
def test_bad_options_of_generated_problems_get_one_sentence(options, message, tmp_path, monkeypatch):
    assert message in refusal("run_reasoning.py", tmp_path, monkeypatch, *options, "--use_cpu")


def test_a_run_of_other_options_is_refused(tmp_path, monkeypatch):
    options = ["--task_name", "chains", *SMALL, "--systems", "bert"]
    run_here("run_reasoning.py", tmp_path, monkeypatch, *options)
    for other in (["--learning_rate", "1e-3"], ["--max_grad_norm", "0.1"]):
        message = refusal("run_reasoning.py", tmp_path, monkeypatch, *options, *other)
        assert "bert-42/results.json is of a run with other options: choose another --output_dir." in message
    (tmp_path / "outputs" / "reasoning_chains" / "bert-42" / "results.json").unlink()  # as when it is interrupted
    message = refusal("run_reasoning.py", tmp_path, monkeypatch, *options, "--max_steps", "6")
    assert "bert-42/run.json is of a run with other options: choose another --output_dir." in message
