# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Train and evaluate all models of a table; results that exist are reused."""

import json
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import transformers

from ...evaluation.results import Result, read_report, write_results
from ...utils.limits import check_at_least
from ...utils.runs import folder_name, readable_names
from .baselines import BASELINES
from .evaluations import EVALUATIONS
from .models import CONCEPTS, SENTENCES, EvaluatedModel
from .protocol import Protocol
from .table import Row


RESULTS = "eval_results.json"  # written at the end of a run
OPTIONS_FILE = "row.json"  # the options of the run


DEFAULT_EVALUATIONS = (
    "training", "reconstruction", "depth", "drop_one", "similarity", "retrieval", "cost", "mrpc", "rte", "stsb",
)  # fmt: skip


@dataclass
class AblationArguments:
    """Which runs, baselines and evaluations."""

    table: str = field(default="table.json", metadata={"help": "JSON file of rows."})
    output_dir: str | None = field(
        default=None,
        metadata={"help": "Folder, which may hold a part of the runs; outputs/ablation_<table> by default."},
    )
    rows: list[str] | None = field(default=None, metadata={"help": "Names of rows; all by default."})
    seeds: list[int] = field(default_factory=lambda: [42], metadata={"help": "Every row is trained with each."})
    baselines: list[str] = field(
        default_factory=lambda: list(BASELINES), metadata={"help": f"Of {list(BASELINES)}, or none."}
    )
    baseline_models: list[str] = field(
        default_factory=lambda: ["sentence-transformers/all-MiniLM-L6-v2"],
        metadata={"help": "SentenceTransformers to compare with, folders or Hub ids, or none."},
    )
    evaluations: list[str] = field(
        default_factory=lambda: list(DEFAULT_EVALUATIONS), metadata={"help": f"Of {list(EVALUATIONS)}, or none."}
    )
    report_only: bool = field(default=False, metadata={"help": "Write the report of --output_dir again."})

    def __post_init__(self):
        check_at_least(self, seeds=0)
        self.output_dir = self.output_dir or str(Path("outputs") / f"ablation_{Path(self.table).stem}")
        for name, known in (("baselines", BASELINES), ("evaluations", EVALUATIONS), ("baseline_models", None)):
            chosen = [value for value in getattr(self, name) if value != "none"]
            if unknown := [value for value in chosen if known is not None and value not in known]:
                raise ValueError(f"--{name}: unknown {unknown[0]!r}; choose of {list(known)}.")
            setattr(self, name, chosen)


def list_models(rows: list[Row], args: AblationArguments) -> list[EvaluatedModel]:
    """The rows with each seed, the baselines, made from the first row with the first seed, and the baseline models."""
    models, root = [], Path(args.output_dir)
    for seed in args.seeds:
        for row in rows:
            folder = row.folder(root, seed)
            models.append(EvaluatedModel(row.name, CONCEPTS, str(folder), folder, row.help_from, seed, row))
    for name in args.baselines:
        (title, kind, make), folder = BASELINES[name], root / "baselines" / name
        models.append(EvaluatedModel(title, kind, str(folder) if make else "", folder, baseline=name))
    taken = [*(model.name for model in models), *args.baselines]
    for path, name in readable_names(args.baseline_models, taken).items():
        models.append(EvaluatedModel(name, SENTENCES, path, root / "baselines" / folder_name(name), "pretrained"))
    return models


def run_table(
    rows: list[Row], args: AblationArguments, protocol: Protocol, log: Callable[[str], None]
) -> tuple[list[tuple[EvaluatedModel, list[Result]]], dict[str, str]]:
    """
    Train and evaluate all models of a table. One that fails does not affect the others.

    Args:
        log: called with a sentence for each model that is done or has failed.

    Returns:
        Models with their records, and the errors by model.
    """
    records, failed, models = [], {}, list_models(rows, args)
    for model in models:
        try:
            make_checkpoint(model, models[0])
            records.append((model, [r for name in args.evaluations for r in evaluate(name, model, protocol)]))
            log(f"{model.title}: done")
        except Exception as error:
            failed[model.title] = f"{type(error).__name__}: {error}"
            log(f"{model.title}: FAILED, {failed[model.title]}\n{traceback.format_exc()}")
    return records, failed


def make_checkpoint(model: EvaluatedModel, first: EvaluatedModel) -> None:
    """Train a row, or make the checkpoint of a baseline from the first run, unless it exists."""
    model.folder.mkdir(parents=True, exist_ok=True)
    if model.row is not None:
        train_row(model.row, model.folder, model.seed)
    elif model.baseline is not None and not (model.folder / "config.json").is_file():
        *_, make = BASELINES[model.baseline]
        if make is not None:
            make(first.row, first.folder, first.seed, model.folder)


def train_row(row: Row, folder: Path, seed: int) -> None:
    """
    Train a row in a process of its own, or resume it where it was interrupted, with the output in `training.log` in
    its folder.

    Raises:
        RuntimeError: the run failed, with the last line of its output; or the folder holds a run of the same name with
            other options.
    """
    check_options_file(row, folder)
    if (folder / RESULTS).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OPTIONS_FILE).write_text(json.dumps(row.all_options, indent=2) + "\n", encoding="utf-8")
    words = row.words(folder, seed) + ["--report_to", "none", "--disable_tqdm", "true"]
    if any(folder.glob("checkpoint-*")):
        words += ["--resume_from_checkpoint", "last"]
    log, command = folder / "training.log", [sys.executable, "-u", "-m", "trainers.pretraining", *words]
    with log.open("a", encoding="utf-8") as stream:
        status = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT).returncode
    if status:
        text = log.read_text(encoding="utf-8", errors="replace")
        lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
        raise RuntimeError(f"{lines[-1] if lines else f'exit status {status}'} (see {log})")


def check_options_file(row: Row, folder: Path) -> None:
    """RuntimeError if the folder holds a run of this name with other options."""
    if not (folder / OPTIONS_FILE).is_file():
        return
    first = json.loads((folder / OPTIONS_FILE).read_text(encoding="utf-8"))
    now = json.loads(json.dumps(row.all_options))
    for name in {**first, **now}:
        if first.get(name) != now.get(name):
            raise RuntimeError(
                f"{folder} holds a run with {name} {first.get(name)!r}, and the row now has {now.get(name)!r}: rename "
                "the row, or delete that folder."
            )


def evaluate(name: str, model: EvaluatedModel, protocol: Protocol) -> list[Result]:
    """The records of an evaluation, from its file if it was made under the same protocol."""
    evaluation = EVALUATIONS[name]
    if model.kind not in evaluation.kinds:
        return []
    path = model.folder / "evaluations" / f"{name}.json"
    conditions = {field: getattr(protocol, field) for field in evaluation.reads}
    if path.is_file():
        report = read_report(path)
        if report.get("protocol") == conditions:
            return [replace(result, system=model.name) for result in report["results"]]
    results = evaluation.run(model, protocol)
    facts = {"protocol": conditions, "torch": torch.__version__, "transformers": transformers.__version__}
    write_results(path, results, facts)
    return results
