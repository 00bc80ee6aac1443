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

from ..fine_tuning.conftest import checkpoints  # noqa: F401 (fixture)
from .kit import refusal


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
