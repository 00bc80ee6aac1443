# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Where results of evaluations go."""

import math
from pathlib import Path

import pytest

from trainers.evaluation.results import (
    ReportingArguments,
    Result,
    by_task,
    read_report,
    results_folder,
    tabulate_systems,
    track_results,
    write_results,
)
from trainers.utils.runs import folder_name


RESULTS = [Result("stsb", "test", "spearman", "model", 0.5), Result("average", "test", "spearman", "model", 0.5)]


def test_results_go_to_file_and_tracker(tmp_path):
    folder = ReportingArguments(output_dir=str(tmp_path / "out")).folder("sts", "outputs/model")
    assert folder == tmp_path / "out"
    facts = {"seed": 1, "datasets": {"stsb": ("me/stsb", "STS-B")}}
    written = write_results(folder / "results.json", RESULTS, facts)
    assert read_report(written) == {"seed": 1, "datasets": {"stsb": ["me/stsb", "STS-B"]}, "results": RESULTS}
    track_results(RESULTS, ["tensorboard"], "run", str(folder), facts)
    assert list(folder.rglob("events.out.tfevents.*"))


def test_a_table_of_many_systems():
    values = {("A", "loss", "x"): 1, ("A", "kept", "x"): 2, ("A", "loss", "y"): 3, ("B", "loss", "x"): 4}
    results = [Result("data", split, metric, system, value) for (split, metric, system), value in values.items()]
    headings, rows = tabulate_systems(results)
    assert headings == ["metric", "system", "A", "B"]
    assert rows == [
        ["loss", "x", "1.0000", "4.0000"],
        ["loss", "y", "3.0000", ""],
        ["kept", "x", "2.0000", ""],
    ]
    assert by_task([*results, RESULTS[0]]) == {"data": results, "stsb": RESULTS[:1]}


def test_a_folder_names_evaluation_model_and_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = results_folder("sts", "outputs/run/.")
    assert Path(name).parts[0] == "outputs" and name.startswith("outputs/sts_run_2")
    assert str(ReportingArguments().folder("sts", "outputs/run")).startswith("outputs/sts_run_2")


def test_results_are_never_written_over_others(tmp_path):
    args = ReportingArguments(output_dir=str(tmp_path / "out"))
    folder = args.folder("sts", "model", "report.md")
    (folder / "notes.txt").touch()
    assert args.folder("sts", "model", "report.md") == folder  # nothing of ours is there
    for name in ("results.json", "report.md"):
        (folder / name).touch()
        with pytest.raises(ValueError, match=f"already holds {name}; choose another --ou"):
            args.folder("sts", "model", "report.md")
        (folder / name).unlink()


def test_a_name_is_that_of_one_folder():
    assert folder_name("../../a b[c]") == ".._.._a_b_c_" and folder_name("tsdae_H128L2C16") == "tsdae_H128L2C16"
    for name in ("a\nb", "..", ".", ""):
        with pytest.raises(ValueError, match="one line of printable characters with a letter or digit"):
            folder_name(name)


def test_values_that_are_not_defined_are_null_in_json_and_a_dash_in_tables(tmp_path):
    undefined = Result("stsb", "test", "spearman", "tf-idf", float("nan"))
    path = write_results(tmp_path / "results.json", [undefined], {})
    assert '"value": null' in path.read_text() and "NaN" not in path.read_text()
    (found,) = read_report(path)["results"]
    assert math.isnan(found.value) and found.shown() == "–"
    path.write_text(path.read_text().replace("null", "NaN", 1))
    assert math.isnan(read_report(path)["results"][0].value)
