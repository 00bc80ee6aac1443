# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What evaluation scripts share: records of results, checkpoints, facts of a run."""

import json
import math
import os
import re
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pickle import UnpicklingError

import pytest
import torch
from rich.console import Console

from trainers.evaluation.results import (
    Result,
    choose_trackers,
    eval_results,
    read_report,
    results_table,
    write_results,
)
from trainers.utils.errors import TrainingDivergedError
from trainers.utils.script import command_line, newest_checkpoint, run_facts, run_script


RECORDS = [
    Result("mrpc", "validation", "f1", "model", 0.75, spread=0.01, count=408),
    Result("mrpc", "validation", "f1", "majority class", 0.8, count=408),
    Result("mrpc", "validation", "accuracy", "model", float("nan"), primary=False),
]


def test_results_survive_json_and_a_table_holds_each_once(tmp_path):
    path = write_results(tmp_path / "new" / "results.json", RECORDS[:2], {"seed": 1, "odd": {1}})
    assert read_report(path)["results"] == RECORDS[:2] and json.loads(path.read_text())["seed"] == 1
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(results_table(RECORDS, "title"))
    text = console.export_text()
    assert "0.7500 ± 0.0100" in text and "0.8000" in text
    with pytest.raises(ValueError, match="Two results"):
        results_table([RECORDS[0], RECORDS[0]], "title")


def test_a_model_index_holds_numbers_of_its_model_alone():
    deeper = replace(RECORDS[0], system="model, K=4", value=0.7)
    (model, variant) = eval_results([*RECORDS, deeper], "text-classification", {"mrpc": ("nyu-mll/glue", "MRPC")})
    assert (model.metric_name, model.dataset_config) == ("f1", "mrpc") and variant.metric_name == "f1 (K=4)"
    assert not any(math.isnan(entry.metric_value) for entry in (model, variant))
    data = {"mrpc": ("me/own", "own", "a configuration")}
    assert eval_results(RECORDS, "text-classification", data)[0].dataset_config == "a configuration"


def test_trackers_that_are_not_there_are_told_early():
    assert choose_trackers(["none"]) == []
    with pytest.raises(ValueError, match="nothing is not installed"):
        choose_trackers(["nothing"])


def test_the_newest_checkpoint_of_a_concept_model(tmp_path):
    with pytest.raises(ValueError, match="examples/run_pretraining.py"):
        newest_checkpoint(tmp_path)
    for age, (name, kind) in enumerate([("bert", "bert"), ("new", "concept_encoder"), ("old", "concept_encoder")]):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": kind}))
        (folder / "model.safetensors").write_bytes(b"")
        os.utime(folder / "model.safetensors", (1000 - age, 1000 - age))
    assert newest_checkpoint(tmp_path) == str(tmp_path / "new")


def test_no_token_in_what_is_written_of_a_run(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run.py", "--hub_token", "hf_a", "--push_to_hub_token=hf_b", "--seed", "1"])
    facts = run_facts({"hub_token": "hf_c", "seed": 1})
    assert "hf_" not in json.dumps(facts) and facts["seed"] == 1
    assert command_line("examples/run.py").startswith("python examples/run.py --hub_token")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("one sentence."), "^one sentence.$"),
        (OSError("one sentence."), "^one sentence.$"),
        (TrainingDivergedError("Training diverged at step 4."), "^Training diverged at step 4.$"),
        (ImportError("You need to install `bitsandbytes`"), "^You need to install `bitsandbytes`$"),
        (ModuleNotFoundError("No module named 'mteb'", name="mteb.cache"), "^No module named 'mteb'$"),
        (PackageNotFoundError("deepspeed"), "^No package metadata was found for deepspeed$"),
        (UnpicklingError("Weights only load failed.\nmore"), "^Weights only load failed. more$"),
        (MemoryError(), "^MemoryError$"),
        (torch.OutOfMemoryError("CUDA out of memory."), "^CUDA out of memory.$"),
    ],
)
def test_what_a_user_can_put_right_ends_in_a_sentence(error, message, monkeypatch):
    def main():
        raise error

    monkeypatch.setattr(sys, "argv", ["script"])
    with pytest.raises(SystemExit) as raised:
        run_script(main)
    assert re.search(message, raised.value.code)
    monkeypatch.setattr(sys, "argv", ["script", "--log_level", "debug"])
    with pytest.raises(type(error)):  # with its traceback
        run_script(main)


@pytest.mark.parametrize("error", [KeyError("name"), TypeError("not a number"), RuntimeError("shapes differ")])
def test_errors_of_the_program_keep_their_traceback(error):
    def main():
        raise error

    with pytest.raises(type(error)):
        run_script(main)
