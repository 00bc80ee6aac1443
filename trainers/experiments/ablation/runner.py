# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Train and evaluate all models of a table; checkpoints and results that exist are reused."""

import json
import subprocess
import sys
import traceback
from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from ...evaluation.results import Result, read_report, write_results
from ...utils.runs import folder_name, readable_names
from .evaluations import EVALUATIONS, Protocol
from .models import BASELINES, CONCEPTS, SENTENCES, EvaluatedModel
from .table import Row


def list_models(
    rows: list[Row], root: Path, seeds: list[int], baselines: Iterable[str], baseline_models: Iterable[str]
) -> list[EvaluatedModel]:
    """The rows with each seed, the baselines, made from the first row with the first seed, and the baseline models."""
    models = []
    for seed in seeds:
        for row in rows:
            folder = row.folder(root, seed)
            train = partial(train_row, row, folder, seed)
            models.append(EvaluatedModel(row.name, CONCEPTS, str(folder), folder, row.help_from, train))
    for name in baselines:
        (title, kind, write), folder = BASELINES[name], root / "baselines" / name
        make = write and partial(write, rows[0], rows[0].folder(root, seeds[0]), seeds[0], folder)
        exists = (folder / "config.json").is_file()
        models.append(EvaluatedModel(title, kind, str(folder) if write else "", folder, make=None if exists else make))
    for path, name in readable_names(baseline_models, [model.name for model in models]).items():
        folder = root / "baselines" / folder_name(name)
        models.append(EvaluatedModel(name, SENTENCES, path, folder, "pretrained"))
    return models


def run_table(
    models: list[EvaluatedModel], evaluations: Iterable[str], protocol: Protocol
) -> tuple[list[Result], dict[str, str]]:
    """Records of all models, and, by folder, errors of those that failed, which do not affect the others."""
    results, failed = [], {}
    for model in models:
        try:
            if model.make is not None:
                model.make()
            results += [result for name in evaluations for result in evaluate(name, model, protocol)]
            print(f"{model.folder}: done")
        except Exception as error:
            failed[str(model.folder)] = f"{type(error).__name__}: {error}"
            print(f"{model.folder}: FAILED\n{traceback.format_exc()}")
    return results, failed


def train_row(row: Row, folder: Path, seed: int) -> None:
    """
    Train a row in a process of its own, or resume it where it was interrupted, with the output in `training.log` in
    its folder.

    Raises:
        RuntimeError: the run failed, with the end of its output; or the folder holds a run of the same name with other
            options.
    """
    record, words = folder / "row.json", [*row.words, "--seed", str(seed), "--output_dir", str(folder)]
    if record.is_file() and sorted(json.loads(record.read_text(encoding="utf-8"))) != sorted(row.words):
        raise RuntimeError(f"{record} differs from the row, which has {row.words}: rename it, or delete that folder.")
    if (folder / "eval_results.json").is_file():  # written at the end of a run
        return
    folder.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(row.words, indent=2) + "\n", encoding="utf-8")
    words += ["--report_to", "none", "--disable_tqdm", "true"]
    if any(folder.glob("checkpoint-*")):
        words += ["--resume_from_checkpoint", "last"]
    log, command = folder / "training.log", [sys.executable, "-u", "-m", "trainers.pretraining", *words]
    with log.open("a", encoding="utf-8") as stream:
        status = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT).returncode
    if status:
        end = log.read_text(encoding="utf-8", errors="replace")[-300:]
        raise RuntimeError(f"exit status {status}, see {log}: …{end}")


def evaluate(name: str, model: EvaluatedModel, protocol: Protocol) -> list[Result]:
    """The records of an evaluation, from its file if it was made under the same protocol."""
    run, kinds = EVALUATIONS[name]
    if model.kind not in kinds:
        return []
    path, facts = model.folder / "evaluations" / f"{name}.json", {"protocol": asdict(protocol)}
    if path.is_file() and (report := read_report(path)).get("protocol") == facts["protocol"]:
        return [replace(result, system=model.name) for result in report["results"]]
    results = run(model, protocol)
    write_results(path, results, facts)
    return results
