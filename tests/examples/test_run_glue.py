# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The scripts of downstream tasks as a user starts them."""

import json
import shutil
import sys

import pytest

from examples import run_glue

from ..fine_tuning.conftest import checkpoints, toy_glue  # noqa: F401 (fixtures)
from .kit import refusal, run_here


@pytest.mark.parametrize(
    ("arguments", "tasks"),
    [
        ([], ["mrpc"]),
        (["--task_name", "all"], ["mrpc", "stsb", "qqp", "mnli"]),
        (["--task_name", "all-glue"], ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"]),
        (["--task_name", "rte", "stsb"], ["rte", "stsb"]),
        (["--task_name", "sick", "paws"], ["sick_relatedness", "sick_entailment", "paws"]),
    ],
)
def test_the_script_runs_exactly_its_tasks(arguments, tasks, monkeypatch):
    found = []
    monkeypatch.setattr(run_glue, "run_tasks", lambda kind, tasks, *others: found.extend(task.name for task in tasks))
    monkeypatch.setattr(sys, "argv", ["script", "--use_cpu", "true", *arguments])
    run_glue.main()
    assert found == tasks


def test_options_of_a_file_and_of_the_command_line(tmp_path, monkeypatch):
    (tmp_path / "run.json").write_text(
        json.dumps({"task_name": ["rte", "cola"], "seeds": [1, 2], "max_eval_samples": 9})
    )
    found = []
    monkeypatch.setattr(run_glue, "run_tasks", lambda *given: found.extend(given))
    monkeypatch.setattr(
        sys, "argv", ["script", str(tmp_path / "run.json"), "--max_eval_samples", "7", "--use_cpu", "true"]
    )
    run_glue.main()
    assert ([task.name for task in found[1]], found[3].max_eval_samples, found[4].seeds) == (
        ["rte", "cola"],
        7,
        [1, 2],
    )
    assert found[4].report_to == [] and found[4].learning_rate == 3e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task_name", "mrcp"], "Unknown task 'mrcp'; choose of ['cola', "),
        (["--baselines", "chance"], "invalid choice: 'chance' (choose from"),
        (["--model_type", "gpt"], "invalid choice: 'gpt' (choose from"),
        ([], "There is no checkpoint in outputs/: give --model_name_or_path"),
        (["--model_name_or_path", "nowhere"], "'nowhere' cannot be read"),
        (["--task_nam", "mrpc", "--wrong", "1"], "There is no option --task_nam;"),
        (["nothing.json"], "nothing.json cannot be read"),
        (["wrong.json"], "There is no option --task;"),
    ],
)
def test_bad_input_gets_one_sentence(arguments, message, tmp_path, monkeypatch):
    (tmp_path / "wrong.json").write_text('{"task": "mrpc"}')
    assert message in refusal("run_glue.py", tmp_path, monkeypatch, *arguments, "--use_cpu", "true")


def test_the_newest_checkpoint_and_mrpc_are_taken(checkpoints, toy_glue, tmp_path, monkeypatch, capsys):  # noqa: F811
    shutil.copytree(checkpoints["concept"], tmp_path / "outputs" / "pretrained")
    run_here(
        "run_glue.py", tmp_path, monkeypatch, "--model_type", "perceiver_decoder_cls", "--dataset_name", toy_glue,
        "--num_train_epochs", 2, "--max_train_samples", 12, "--max_eval_samples", 12, "--use_cpu", "true",
    )  # fmt: skip
    printed = capsys.readouterr()
    for word in ("majority class", "bag of words", "untrained", "pretrained", "f1", "accuracy",
                 "new: classifier.bias, classifier.weight, pre_pool_norm.weight"):  # fmt: skip
        assert word in " ".join(printed.out.split()), word
    assert "it/s" in printed.err  # the progress bar
    (folder,) = (tmp_path / "outputs").glob("glue_pretrained_*")
    assert len(json.loads((folder / "results.json").read_text())["results"]) == 4 * 2
    # A fine-tuned model is not what the next evaluation takes by default.
    assert [path.parent.name for path in (tmp_path / "outputs").glob("*/config.json")] == ["pretrained"]
