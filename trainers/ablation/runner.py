# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Training and measuring all lines of a table; whatever is done already is read instead of made again."""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import transformers
from transformers.utils import logging as transformers_logging

from ..results import Result, read_report, write_results
from ..runs import folder_name, readable_names
from .baselines import BASELINES
from .evaluations import EVALUATIONS, Protocol
from .subjects import CONCEPTS, SENTENCES, Subject
from .table import Row
from .training import train_row


@dataclass(frozen=True)
class Plan:
    """
    Args:
        rows: runs.
        seeds: with each of which every row is trained.
        root: folder that holds a folder for each.
        protocol: of the evaluations.
        evaluations: names in `EVALUATIONS`.
        baselines: names in `BASELINES`, made from the first row with the first seed.
        baseline_models: SentenceTransformers, folders or Hub ids.
        jobs: lines that are worked on at a time, each by its share of the threads.
    """

    rows: list[Row]
    seeds: list[int]
    root: Path
    protocol: Protocol
    evaluations: list[str]
    baselines: list[str]
    baseline_models: list[str]
    jobs: int = 1

    @property
    def threads(self) -> int:
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, allowed // self.jobs)


@dataclass(frozen=True)
class Line:
    """What one process makes: a subject, and before it the run or the baseline that it needs."""

    subject: Subject
    row: Row | None = None
    baseline: str | None = None


def row_lines(plan: Plan) -> list[Line]:
    found = []
    for seed in plan.seeds:
        for row in plan.rows:
            folder = row.folder(plan.root, seed)
            found.append(Line(Subject(row.name, CONCEPTS, str(folder), folder, row.help_from, seed), row))
    return found


def baseline_lines(plan: Plan) -> list[Line]:
    root = plan.root / "baselines"
    found = []
    for name in plan.baselines:
        baseline = BASELINES[name]
        path = str(root / name) if baseline.make else ""
        found.append(Line(Subject(baseline.name, baseline.kind, path, root / name), plan.rows[0], name))
    taken = [row.name for row in plan.rows] + [line.subject.name for line in found]
    for path, name in readable_names(plan.baseline_models, taken).items():
        found.append(Line(Subject(name, SENTENCES, path, root / folder_name(name), "pretrained")))
    return found


def work(line: Line, plan: Plan) -> tuple[list[Result], list[str]]:
    """Make what the line needs, and its records; with what those evaluations said that failed, which leave the others
    alone. What is printed meanwhile goes to `evaluations.log` in its folder."""
    torch.set_num_threads(plan.threads)
    transformers_logging.set_verbosity_error()
    line.subject.folder.mkdir(parents=True, exist_ok=True)
    with (line.subject.folder / "evaluations.log").open("a", encoding="utf-8") as log:
        with redirect_stdout(log), redirect_stderr(log):
            make(line, plan)
            results, errors = [], []
            for name in plan.evaluations:
                try:
                    results += evaluate(name, line.subject, plan.protocol)
                except Exception as error:
                    traceback.print_exc()
                    errors.append(f"{name}: {describe_error(error)}")
            return results, errors


def describe_error(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def make(line: Line, plan: Plan) -> None:
    """The checkpoint of a row or a baseline, unless it is there."""
    subject, row = line.subject, line.row
    if line.baseline is None and row is not None:
        train_row(row, subject.folder, subject.seed, plan.threads)
    elif line.baseline is not None:
        write = BASELINES[line.baseline].make
        if write is not None and not (subject.folder / "config.json").is_file():
            seed = plan.seeds[0]
            write(row, row.folder(plan.root, seed), seed, subject.folder)


def evaluate(name: str, subject: Subject, protocol: Protocol) -> list[Result]:
    """The records of an evaluation, from its file if that was made under the same protocol."""
    evaluation = EVALUATIONS[name]
    if subject.kind not in evaluation.kinds:
        return []
    path = subject.folder / "evaluations" / f"{name}.json"
    asked = {field: plain(getattr(protocol, field)) for field in evaluation.reads}
    if path.is_file():
        report = read_report(path)
        if report.get("protocol") == asked:
            return [replace(result, system=subject.name) for result in report["results"]]
    results = evaluation.run(subject, protocol)
    facts = {"protocol": asked, "torch": torch.__version__, "transformers": transformers.__version__}
    write_results(path, results, facts)
    return results


def plain(value):
    """As JSON gives it back."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def run_plan(plan: Plan, tell: Callable[[str], None]) -> tuple[dict[Subject, list[Result]], dict[str, str]]:
    """
    Work through all lines, the rows before the baselines that are made from them.

    Args:
        tell: gets a sentence for each line that is done or has failed.

    Returns:
        Records by subject, rows first, in the table's order; and what those lines said that failed as a whole or in
        some evaluations, by name and seed.
    """
    found, failed = {}, {}
    for lines in (row_lines(plan), baseline_lines(plan)):
        for line, results, error in in_processes(lines, plan):
            name = line.subject.name + (f", seed {line.subject.seed}" if line.subject.seed is not None else "")
            if error is None or results:
                found[line.subject] = results
            if error is None:
                tell(f"{name}: done")
            else:
                failed[name] = error
                tell(f"{name}: FAILED, {error}")
    order = [line.subject for line in (*row_lines(plan), *baseline_lines(plan))]
    return {subject: found[subject] for subject in order if subject in found}, failed


def in_processes(lines: list[Line], plan: Plan):
    """Each line with its records and with what went wrong, as they come."""
    context = multiprocessing.get_context("spawn")
    os.environ["TQDM_DISABLE"] = "1"  # of the processes; their logs are no terminal
    with ProcessPoolExecutor(plan.jobs, mp_context=context, max_tasks_per_child=1) as pool:
        futures = {pool.submit(work, line, plan): line for line in lines}
        for future in as_completed(futures):
            if (error := future.exception()) is not None:
                yield futures[future], [], describe_error(error)
            else:
                results, errors = future.result()
                yield futures[future], results, "; ".join(errors) or None
