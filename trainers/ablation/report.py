# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The table of all lines as Markdown and JSON."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

from ..plain_text import Markdown, markdown, markdown_rows
from ..results import Result, read_report, write_results
from ..runs import check_output_dir
from .pictures import plot_cost, plot_kept
from .subjects import GLOBAL, Subject


@dataclass(frozen=True)
class Column:
    """
    Args:
        heading: above it.
        task, metric: of the records that it shows.
        form: of a number: "%" for shares, else a format.
        split: part of the name of their split, where a task has several.
    """

    heading: str
    task: str
    metric: str
    form: str = "%"
    split: str = ""

    def shown(self, result: Result | None) -> str:
        if result is None:
            return ""

        def number(value):
            return format(100 * value, ".2f") if self.form == "%" else format(value, self.form)

        spread = "" if result.spread is None else f" ± {number(result.spread)}"
        return number(result.value) + spread + (" %" if self.form == "%" else "")


HELD = (
    Column("eval loss", "training", "loss", ".3f"),
    Column("tokens read back", "reading", "accuracy"),
    Column("exact match", "reading", "exact"),
    Column("content_fraction", "reading", "content_fraction", ".3f"),
    Column("content_erank / C", "reading", "content_erank / C", ".3f"),
    Column("duplicates", "reading", "duplicate_share"),
    Column("repeated segments", "reading", "repeated_share"),
    Column("ref_rank", "reading", "ref_rank", ".1f"),
    Column("gain", "training", "concept_gain", ".2f"),
    Column("suffix gain", "training", "suffix_gain", ".3f"),
    Column("trained tokens/s", "training", "tokens per second", ",.0f"),
)

ALONE = (
    Column("lost in its own segment", "taken away", "own segment"),
    Column("tokens lost by an addressed concept", "taken away", "addressed"),
    Column("by a global one", "taken away", "global"),
)

CROPS = (Column("crops R@1", "crops", "R@1"), Column("MFLOP / word", "encoding", "MFLOP per word", ".2f"))

TUNED = (
    Column("MRPC F1", "mrpc, fine-tuned", "f1"),
    Column("MRPC accuracy", "mrpc, fine-tuned", "accuracy"),
    Column("RTE accuracy", "rte, fine-tuned", "accuracy"),
    Column("STS-B Spearman", "stsb, fine-tuned", "spearman"),
    Column("STS-B Pearson", "stsb, fine-tuned", "pearson"),
)


@dataclass(frozen=True)
class Summary:
    """
    A line of the table.

    Args:
        number: in tables and pictures.
        name: of the row.
        help_from: what it has beside the text; empty from scratch.
        is_baseline: whether it is none of the runs.
        results: by (task, split, metric), means over seeds.
    """

    number: int
    name: str
    help_from: str
    is_baseline: bool
    results: dict[tuple[str, str, str], Result]

    def find(self, column: Column) -> Result | None:
        return next(
            (
                result
                for (task, split, metric), result in self.results.items()
                if (task, metric) == (column.task, column.metric) and column.split in split
            ),
            None,
        )

    def value(self, task: str, metric: str, split: str = "") -> float | None:
        found = self.find(Column("", task, metric, split=split))
        return None if found is None else found.value


def summarise(found: dict[Subject, list[Result]], rows: set[str]) -> list[Summary]:
    """One line for each name: means and standard deviations over seeds, of numbers that are defined. `rows`: names
    that are runs."""
    groups: dict[str, list[Subject]] = {}
    for subject in found:
        groups.setdefault(subject.name, []).append(subject)
    lines = []
    for number, (name, subjects) in enumerate(groups.items(), 1):
        values: dict[tuple[str, str, str], list[Result]] = {}
        for subject in subjects:
            for result in found[subject]:
                if not math.isnan(result.value):
                    values.setdefault((result.task, result.split, result.metric), []).append(result)
        results = {place: merged(records) for place, records in values.items()}
        lines.append(Summary(number, name, subjects[0].help_from, name not in rows, results))
    return lines


def merged(records: list[Result]) -> Result:
    if len(records) == 1:
        return records[0]
    values = [record.value for record in records]
    return replace(records[0], value=fmean(values), spread=stdev(values))


def markdown_table(lines: list[Summary], columns: Iterable[Column]) -> str:
    """A line for each that has any of the columns; columns that nobody has are left out."""
    columns = [column for column in columns if any(line.find(column) for line in lines)]
    lines = [line for line in lines if any(line.find(column) for column in columns)]
    if not columns:
        return ""
    rows = [[Markdown("#"), "run", *(column.heading for column in columns)], ["---"] * 2 + ["---:"] * len(columns)]
    for line in lines:
        name = f"{line.name} ({line.help_from})" if line.help_from else line.name
        rows.append([str(line.number), name, *(column.shown(line.find(column)) for column in columns)])
    return markdown_rows(rows) + "\n"


def meaning_columns(lines: list[Summary]) -> list[Column]:
    """Zero-shot sets of pairs, each beside the mean of the same checkpoint's token embeddings."""
    sets = dict.fromkeys(
        (task, split)
        for line in lines
        for task, split, metric in line.results
        if metric == "spearman" and not task.endswith("fine-tuned")
    )
    found = []
    for task, split in sets:
        found.append(Column(f"{task} {split}", task, "spearman", ".3f", split))
        found.append(Column(f"{task} {split}, centred", task, "spearman, centred", ".3f", split))
        found.append(Column(f"{task} {split}, token table", task, "spearman, token table", ".3f", split))
        found.append(Column(f"{task} {split}, global concepts", task, f"spearman, {GLOBAL}", ".3f", split))
    return [*found, *CROPS]


def kept_columns(lines: list[Summary]) -> list[Column]:
    """Tokens read back from fewer concepts, by their number."""
    counts = {
        int(metric.removeprefix("accuracy, ").split()[0])
        for line in lines
        for task, _, metric in line.results
        if task == "reading" and metric.startswith("accuracy, ")
    }
    more = [Column(f"{count}", "reading", f"accuracy, {count} concepts") for count in sorted(counts, reverse=True)]
    return [Column("all", "reading", "accuracy"), *more] if more else []


def depth_columns(lines: list[Summary]) -> list[Column]:
    """Losses of recursive encoders by number of iterations."""
    names = dict.fromkeys(metric for line in lines for task, _, metric in line.results if task == "depth")
    return [Column(name, "depth", name, ".4f") for name in names]


def check_report_dir(folder: Path) -> None:
    """ValueError if the report would be written over something else than an earlier one of a table of runs."""
    path = folder / "results.json"
    if not path.is_file() or "rows" not in read_report(path):
        check_output_dir(folder, ("README.md", "results.json"))


def write_report(
    folder: Path, title: str, found: dict[Subject, list[Result]], failed: dict[str, str], rows: set[str], facts: dict
) -> Path:
    """
    Write `README.md`, `results.json` and the pictures into `folder`.

    Args:
        found, failed: as `run_plan` returns them.
        rows: names of the table's runs; others are baselines.
        facts: of the run: the command, the table and more.

    Returns:
        path of the Markdown file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = summarise(found, rows)
    records = [replace(result, system=line.name) for line in lines for result in line.results.values()]
    write_results(folder / "results.json", records, {**facts, "failed": failed})
    parts = [f"# {markdown(title)}\n"]
    if any(record.spread is not None for record in records):
        parts.append("Rows trained with several seeds: mean ± standard deviation over seeds.\n")
    for heading, columns, words in (
        ("What the concepts hold", HELD, "Held-out text; losses and gains in nats, each of its own objective."),
        (
            "What they mean",
            meaning_columns(lines),
            "Zero-shot Spearman correlations of cosines with human scores (mean of the concepts), beside those of the "
            "mean of the same run's token embeddings; crops: halves of held-out passages that find each other.",
        ),
        ("Fine-tuned", TUNED, "Validation sets; concept models encode the two texts of a pair separately."),
        ("Depth", depth_columns(lines), "Loss on held-out texts by number of iterations, in nats."),
        (
            "What single concepts hold",
            ALONE,
            "Tokens that no longer come back when one concept is zero, and how many of these lie in its own segment.",
        ),
        ("Tokens read back from fewer concepts", kept_columns(lines), "By the number of concepts."),
    ):
        if table := markdown_table(lines, columns):
            parts.append(f"## {heading}\n\n{words}\n\n{table}")
    if plot_cost(lines, folder / "cost.png"):
        parts.append(
            "## Quality and cost\n\n![Quality against cost of encoding; numbers as in the tables](cost.png)\n"
        )
    if plot_kept(lines, folder / "kept.png"):
        parts.append("![Tokens read back from fewer concepts](kept.png)\n")
    if failed:
        parts.append(
            "## Failed\n\n" + "".join(f"- {markdown(name)}: {markdown(error)}\n" for name, error in failed.items())
        )
    path = folder / "README.md"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path
