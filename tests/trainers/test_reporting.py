# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Where results of evaluations go."""

import json
import math
import re
from pathlib import Path

import pytest
from huggingface_hub.errors import LocalTokenNotFoundError, RepositoryNotFoundError

from trainers import reporting
from trainers.reporting import ReportingArguments, results_folder
from trainers.results import Result, read_results, write_results
from trainers.runs import folder_name


RESULTS = [Result("stsb", "test", "spearman", "model", 0.5), Result("average", "test", "spearman", "model", 0.5)]


def test_results_go_to_file_tracker_and_hub(tmp_path, monkeypatch):
    pushed = []
    monkeypatch.setattr(reporting, "push_results", lambda *given, **options: pushed.append((given, options)))
    monkeypatch.setattr(reporting, "results_card", lambda repo_id, token: None)
    options = {"output_dir": str(tmp_path / "out"), "report_to": ["tensorboard"], "hub_token": "hf_secret"}
    args = ReportingArguments(**options, push_to_hub=True, hub_model_id="me/model")
    folder = args.folder("sts", "outputs/model")
    assert folder == tmp_path / "out"
    names, page = {"stsb": ("me/stsb", "STS-B")}, folder / "report.html"
    written = args.report(folder, RESULTS, {"seed": 1}, "sentence-similarity", names, [page])
    assert read_results(written) == RESULTS
    facts = json.loads(written.read_text())
    assert (facts["seed"], facts["task_type"]) == (1, "sentence-similarity")
    assert facts["datasets"] == {"stsb": ["me/stsb", "STS-B"]}
    assert list(folder.rglob("events.out.tfevents.*"))
    ((given, options),) = pushed
    assert given == ("me/model", RESULTS, "sentence-similarity", names)
    assert options == {"files": [written, page], "token": "hf_secret"}


@pytest.mark.parametrize(
    ("repo_id", "answer", "message"),
    [
        ("a b//c", None, "--hub_model_id 'a b//c' is no id on the Hub: "),
        (
            "me/none",
            RepositoryNotFoundError,
            "me/none is no model with a card on the Hub, or cannot be read by you",
        ),
        (
            "me/run",
            LocalTokenNotFoundError,
            "The Hub takes results from who is known to it: log in by",
        ),
    ],
    ids=["id", "model", "token"],
)
def test_what_cannot_be_pushed_is_told_before_the_evaluation(repo_id, answer, message, tmp_path, monkeypatch):
    def ask(*given, **options):
        raise answer.__new__(answer)

    monkeypatch.setattr("trainers.hub.HfApi.whoami", ask)
    args = ReportingArguments(output_dir=str(tmp_path / "out"), push_to_hub=True, hub_model_id=repo_id)
    with pytest.raises(ValueError, match=re.escape(message)):
        args.folder("sts", "outputs/model")
    assert not (tmp_path / "out").exists()


def test_nothing_is_pushed_unless_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(reporting, "push_results", lambda *given, **options: pytest.fail("pushed"))
    args = ReportingArguments(output_dir=str(tmp_path))
    args.report(tmp_path, RESULTS, {}, "sentence-similarity")
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_a_folder_names_evaluation_model_and_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = results_folder("sts", "outputs/run/.")
    assert Path(name).parts[0] == "outputs" and name.startswith("outputs/sts_run_2")
    assert str(ReportingArguments().folder("sts", "outputs/run")).startswith("outputs/sts_run_2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"push_to_hub": True}, "--push_to_hub needs the repository of the model"),
        ({"report_to": ["nothing"]}, "--report_to nothing is not installed"),
    ],
)
def test_what_cannot_be_done_is_told_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        ReportingArguments(**options)


def test_results_are_never_written_over_others(tmp_path):
    args = ReportingArguments(output_dir=str(tmp_path / "out"))
    folder = args.folder("sts", "model", "report.html")
    (folder / "notes.txt").touch()
    assert args.folder("sts", "model", "report.html") == folder  # nothing of ours is there
    for name in ("results.json", "report.html"):
        (folder / name).touch()
        with pytest.raises(ValueError, match=f"already holds {name}, which would be overwritten; choose another --ou"):
            args.folder("sts", "model", "report.html")
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("path", "message"),
    [("file", "cannot be written into: File exists"), ("a\nb", "must be one line of printable characters")],
)
def test_a_folder_that_cannot_be_is_told_before_the_evaluation(path, message, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=message):
        ReportingArguments(output_dir=str(tmp_path / path)).folder("sts", "model")


def test_a_name_is_that_of_one_folder():
    assert folder_name("../../a b[c]") == ".._.._a_b_c_" and folder_name("tsdae_H128L2C16") == "tsdae_H128L2C16"
    for name in ("a\nb", "..", ".", ""):
        with pytest.raises(ValueError, match="one line of printable characters with a letter or digit"):
            folder_name(name)


def test_values_that_are_not_defined_are_null_in_json_and_a_dash_in_tables(tmp_path):
    undefined = Result("stsb", "test", "spearman", "tf-idf", float("nan"))
    path = write_results(tmp_path / "results.json", [undefined], {})
    assert '"value": null' in path.read_text() and "NaN" not in path.read_text()
    (found,) = read_results(path)
    assert math.isnan(found.value) and found.shown() == "–"
    path.write_text(path.read_text().replace("null", "NaN", 1))
    assert math.isnan(read_results(path)[0].value)
