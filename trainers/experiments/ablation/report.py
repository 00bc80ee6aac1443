# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The report of a table: Markdown tables and a picture of its `results.json`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ...evaluation.results import Result, read_report
from ...utils.plain_text import Markdown, markdown, markdown_table
from ...utils.runs import check_output_dir
from .pictures import plot_summary
from .summary import Summary, summarise


@dataclass(frozen=True)
class Column:
    """
    Args:
        heading: of the column.
        task, metric: of its records.
        form: of a number: "%" for shares, otherwise a format.
        split: of the records, where a task has several.
    """

    heading: str
    task: str
    metric: str
    form: str = "%"
    split: str | None = None

    def find(self, line: Summary) -> Result | None:
        return line.find(self.task, self.metric, self.split)

    def show(self, line: Summary) -> str:
        result = self.find(line)
        if result is None:
            return ""
        numbers = [value for value in (result.value, result.spread) if value is not None]
        if self.form == "%":
            return " ± ".join(f"{100 * number:.2f}" for number in numbers) + " %"
        return " ± ".join(format(number, self.form) for number in numbers)


def metrics_of(lines: list[Summary], task: str) -> list[str]:
    """All metrics of a task, in order of appearance."""
    return list(dict.fromkeys(metric for line in lines for name, _, metric in line.results if name == task))


def content_columns(lines: list[Summary]) -> list[Column]:
    return [
        Column("eval loss", "training", "loss", ".3f"),
        Column("reconstructed tokens", "reconstruction", "accuracy"),
        Column("exact match", "reconstruction", "exact"),
        Column("content_fraction", "reconstruction", "content_fraction", ".3f"),
        Column("content_erank / C", "reconstruction", "content_erank / C", ".3f"),
        Column("near-duplicates", "reconstruction", "duplicate_share"),
        Column("repeated segments", "reconstruction", "repeated_share"),
        Column("ref_rank", "reconstruction", "ref_rank", ".1f"),
        Column("loss gap", "training", "shuffled_loss_gap", ".2f"),
        Column("suffix loss gap", "training", "suffix_shuffled_loss_gap", ".3f"),
        Column("training tokens/s", "training", "tokens per second", ",.0f"),
    ]


def meaning_columns(lines: list[Summary]) -> list[Column]:
    """Zero-shot Spearman correlations by set of pairs, also centred or of the token table; retrieval and cost."""
    places = [
        place
        for place in dict.fromkeys(place for line in lines for place in line.results)
        if place[2].startswith("spearman") and place[2].count(",") < 2 and not place[0].endswith("fine-tuned")
    ]
    sets = [place[:2] for place in places]
    columns = [
        Column(f"{task} {split}{metric.removeprefix('spearman')}", task, metric, ".3f", split)
        for task, split, metric in sorted(places, key=lambda place: sets.index(place[:2]))
    ]
    return [*columns, Column("crops R@1", "crops", "R@1"), Column("MFLOP / word", "encoding", "MFLOP per word", ".2f")]


def fine_tuning_columns(lines: list[Summary]) -> list[Column]:
    return [
        Column(f"{task.removesuffix(', fine-tuned')} {split} {metric}", task, metric, split=split)
        for task, split, metric in dict.fromkeys(place for line in lines for place in line.results)
        if task.endswith("fine-tuned")
    ]


def depth_columns(lines: list[Summary]) -> list[Column]:
    return [Column(metric, "depth", metric, ".4f") for metric in metrics_of(lines, "depth")]


def drop_one_columns(lines: list[Summary]) -> list[Column]:
    return [Column(metric, "drop one", metric) for metric in metrics_of(lines, "drop one")]


def fewer_concepts_columns(lines: list[Summary]) -> list[Column]:
    """Reconstructed tokens by number of concepts."""
    metrics = metrics_of(lines, "reconstruction")
    counts = [int(metric.split()[1]) for metric in metrics if metric.startswith("accuracy, ")]
    fewer = [Column(f"{c}", "reconstruction", f"accuracy, {c} concepts") for c in sorted(counts, reverse=True)]
    return [Column("all", "reconstruction", "accuracy"), *fewer] if fewer else []


# Heading, text and columns of the tables.
SECTIONS: tuple[tuple[str, str, Callable[[list[Summary]], list[Column]]], ...] = (
    (
        "Reconstruction and geometry",
        "Held-out text; losses in nats, each of its own objective. Loss gap: loss with the concepts of another text "
        "minus loss with the text's own. Near-duplicates: concepts whose text-dependent part has a cosine above 0.95 "
        "with that of another concept.",
        content_columns,
    ),
    (
        "Similarity and cost",
        "Zero-shot Spearman correlations of cosines with human scores: mean of the concepts, beside the mean of the "
        "same run's token embeddings. Crops: halves of held-out passages that retrieve each other.",
        meaning_columns,
    ),
    (
        "Fine-tuning",
        "Validation sets; concept models encode the two texts of a pair separately.",
        fine_tuning_columns,
    ),
    ("Depth", "Loss on held-out texts by number of iterations, in nats.", depth_columns),
    (
        "Dropped concepts",
        "Share of tokens that are no longer reconstructed when one concept is zero, and the part of them in its own "
        "segment.",
        drop_one_columns,
    ),
    ("Tokens reconstructed from fewer concepts", "By the number of concepts.", fewer_concepts_columns),
)


def summary_table(lines: list[Summary], columns: Iterable[Column]) -> str:
    """The models and the columns that have a value; empty if there is none."""
    columns = [column for column in columns if any(column.find(line) for line in lines)]
    rows = []
    for line in lines:
        if any(column.find(line) for column in columns):
            name = f"{line.name} ({line.help_from})" if line.help_from else line.name
            rows.append([str(line.number), name, *(column.show(line) for column in columns)])
    headings = [Markdown("#"), "run", *(column.heading for column in columns)]
    return markdown_table(headings, rows, text_columns=2) if columns else ""


def check_report_dir(folder: Path) -> None:
    """ValueError if the report would replace files other than an earlier report of a table of runs."""
    path = folder / "results.json"
    if not path.is_file() or "rows" not in read_report(path):
        check_output_dir(folder, ("README.md", "results.json"))


def write_report(folder: Path) -> Path:
    """Write `README.md` and `summary.png` beside the `results.json` of a folder; returns the path of the first."""
    report = read_report(folder / "results.json")
    lines = summarise(report)
    parts = [f"# {markdown(report['title'])}"]
    if report.get("note"):
        parts.append(report["note"])
    if any(result.spread is not None for result in report["results"]):
        parts.append("Rows trained with several seeds: mean ± standard deviation over seeds.")
    for heading, text, columns in SECTIONS:
        if table := summary_table(lines, columns(lines)):
            parts += [f"## {heading}", text, table]
    if plot_summary(lines, folder / "summary.png"):
        parts.append("![Reconstruction, similarity and cost](summary.png)")
    if report["failed"]:
        errors = (f"- {markdown(name)}: {markdown(error)}" for name, error in report["failed"].items())
        parts += ["## Failed", "\n".join(errors)]
    path = folder / "README.md"
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path
