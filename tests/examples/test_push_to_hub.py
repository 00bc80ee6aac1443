# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Which results a checkpoint is pushed with, and what of this machine goes with them; nothing is pushed here."""

import json
import shutil

import pytest
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from trainers.evaluation.results import UNTRAINED, Result, measured_on, write_results
from trainers.publishing import hub
from trainers.publishing.hub import result_files

from ..trainers.kit import make_model
from .kit import refusal, run_here


@pytest.fixture(scope="module")
def checkpoints(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    for seed, name in enumerate(("run", "other")):
        make_model("perceiver_posonly_mlm", tokenizer, seed).save_pretrained(folder / "outputs" / name)
        tokenizer.save_pretrained(folder / "outputs" / name)
    return folder


@pytest.fixture
def place(checkpoints, tmp_path, monkeypatch):
    """A folder of one's own with the checkpoints `outputs/run` and `outputs/other`."""
    shutil.copytree(checkpoints / "outputs", tmp_path / "outputs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def measure(folder, facts, task="stsb", value=0.5, **more):
    """Results as a script writes them; the path of the file."""
    path = facts.get("model_name_or_path") or "run"
    systems = {path if isinstance(path, str) else path[0]: value, UNTRAINED: 0.1, "/data/me/teacher": 0.7}
    results = [Result(task, "test", "spearman", system, number) for system, number in systems.items()]
    facts = {"command": "python run_sts.py", "task_type": "sentence-similarity", **facts, **more}
    return str(write_results(f"{folder}/results.json", results, facts))


def pushed_card(place, monkeypatch, *given) -> ModelCard:
    pushed = {}
    monkeypatch.setattr(hub, "open_repo", lambda name, private: name)
    monkeypatch.setattr(hub, "upload", lambda repo, files, *_, **options: pushed.update(files))
    run_here("push_to_hub.py", place, monkeypatch, *given)
    return ModelCard(pushed["README.md"].decode())


def values(card):
    return {(entry.dataset_config, entry.metric_name): entry.metric_value for entry in card.data.eval_results or ()}


def train_on(folder):
    """As if training had gone on."""
    weights = load_file(f"{folder}/model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, f"{folder}/model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("other", "sts/results.json was measured on outputs/other, not on the weights of outputs/run"),
        ("gone", "sts/results.json was measured on elsewhere/old, not on the weights of outputs/run"),
        ("trained on", "sts/results.json was measured on outputs/run, not on the weights of outputs/run"),
        ("several", "sts/results.json was measured on several models"),
        ("none", "sts/results.json was measured on several models"),
        ("twice", "Two files hold results of stsb, of which a card shows one"),
    ],
)
def test_results_that_are_not_the_checkpoints_are_refused(case, message, place, monkeypatch):
    facts = {
        "other": measured_on("outputs/other"), "gone": {"model_name_or_path": "elsewhere/old"}, "none": {},
        "several": {"model_name_or_path": ["outputs/run", "outputs/other"]},
    }.get(case, measured_on("outputs/run"))  # fmt: skip
    given = ["--results", measure("sts", facts)]
    if case == "trained on":
        train_on("outputs/run")
    given += [measure("more", facts, value=0.6)] if case == "twice" else []
    given = ["--model_name_or_path", "outputs/run", *given]
    assert message in refusal("push_to_hub.py", place, monkeypatch, *given)


@pytest.mark.parametrize("case", ["same", "renamed", "name alone"])
def test_results_of_the_checkpoint_are_taken(case, place, monkeypatch):
    facts = {"model": "elsewhere/run"} if case == "name alone" else measured_on("outputs/run")
    files = [measure("sts", facts), measure("glue", facts, "stsb", 0.9, task_type="text-classification")]
    folder = "outputs/run"
    if case == "renamed":
        folder = shutil.move(folder, "outputs/final")
    card = pushed_card(place, monkeypatch, "--model_name_or_path", folder, "--results", *files)
    assert len(card.data.eval_results) == 2 and {entry.metric_value for entry in card.data.eval_results} == {0.5, 0.9}
    assert "| teacher |" in card.text and "/data/me" not in card.text


def test_costs_and_means_are_no_scores_of_the_model(place, monkeypatch):
    results = [Result(task, "test", "ms", "run", 7.0) for task in ("stsb", "cost", "average")]
    facts = {**measured_on("outputs/run"), "datasets": {"stsb": ["mteb/stsb", "STS-B"]}}
    path = write_results("sts/results.json", results, facts)
    card = pushed_card(place, monkeypatch, "--model_name_or_path", "outputs/run", "--results", path)
    assert values(card) == {("stsb", "ms"): 7.0} and "| cost |" not in card.text


def test_pushed_files_name_no_folder_of_this_machine(place):
    (place / "my data").mkdir()
    facts = {
        "command": f"python /opt/x/run_sts.py --model_name_or_path {place}/outputs/run --train_file=~/a.txt",
        "data": [{"source": f"{place}/a.csv, {place}/b.csv", "folder": f"{place}/my data"}], "rate": 1e-4,
        "model": "outputs/run", "id": "me/run", "split": "validation / test", "cells": {f"{place}/c": None},
    }  # fmt: skip
    path = write_results("sts/results.json", [Result("stsb", "test", "f1", f"{place}/c", 0.5)], facts)
    page = f'<style>/* a */</style><a href="#x">1 / 2</a><br /><code>python {place}/run.py</code></div>'
    (place / "sts" / "report.md").write_text(page)
    found = result_files([path, "sts/report.md"])
    shared = json.loads(found["results/sts/results.json"])
    assert shared.pop("results")[0]["system"] == "c"
    assert shared == {
        "command": "python run_sts.py --model_name_or_path run --train_file=a.txt", "rate": 1e-4, "model": "run",
        "data": [{"source": "a.csv, b.csv", "folder": "my data"}], "id": "me/run", "split": "validation / test",
        "cells": {"c": None},
    }  # fmt: skip
    assert found["results/sts/report.md"].decode() == page.replace(f"{place}/", "")
    assert str(place) in path.read_text()  # here they stay
