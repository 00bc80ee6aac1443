# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The report of a table: means over seeds, Markdown tables and a picture."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ...evaluation import plots
from ...evaluation.results import Result, read_report
from ...utils.plain_text import Markdown, markdown, markdown_table, picture_text
from ...utils.runs import check_output_dir


# Where a number belongs: task, split and metric. The results of a table are by system, then by place.
Place = tuple[str, str, str]
Systems = dict[str, dict[Place, Result]]

ACCURACY = ("reconstruction", "validation", "accuracy")
EXACT = ("reconstruction", "validation", "exact")
COST = ("encoding", "validation", "MFLOP per word")

COLORS = {
    "from scratch": plots.TRAINED,
    "teacher or backbone": plots.EVALUATED,
    "baseline": plots.UNTRAINED,
}


class Column(NamedTuple):
    """Heading, place and format of a column of numbers; "%" for shares."""

    heading: str
    place: Place
    form: str = "%"

    def show(self, results: dict[Place, Result]) -> str:
        result = results.get(self.place)
        if result is None:
            return ""
        numbers = [value for value in (result.value, result.spread) if value is not None]
        if self.form == "%":
            return " ± ".join(f"{100 * number:.2f}" for number in numbers) + " %"
        return " ± ".join(format(number, self.form) for number in numbers)


def make_sections(places: Iterable[Place]) -> list[tuple[str, str, list[Column]]]:
    """Heading, text and columns of the tables of all `places` that have a number."""
    tuned = [place for place in places if place[0].endswith(", fine-tuned")]
    scores = [place for place in places if place[2].startswith("spearman") and place not in tuned]
    sets = [place[:2] for place in scores]
    counts = {int(p[2].split()[1]): p for p in places if p[0] == "reconstruction" and p[2].startswith("accuracy, ")}
    fewer = [Column(f"{count}", place) for count, place in sorted(counts.items(), reverse=True)]
    return [
        (
            "Reconstruction and geometry",
            "Held-out text; losses in nats, each of its own objective. Loss gap: loss with the concepts of another "
            "text minus loss with the text's own. Near-duplicates: concepts whose text-dependent part has a cosine "
            "above 0.95 with that of another concept.",
            [
                Column("eval loss", ("training", "validation", "loss"), ".3f"),
                Column("reconstructed tokens", ACCURACY),
                Column("exact match", EXACT),
                Column("content_fraction", ("reconstruction", "validation", "content_fraction"), ".3f"),
                Column("content_erank / C", ("reconstruction", "validation", "content_erank / C"), ".3f"),
                Column("near-duplicates", ("reconstruction", "validation", "duplicate_share")),
                Column("repeated segments", ("reconstruction", "validation", "repeated_share")),
                Column("ref_rank", ("reconstruction", "validation", "ref_rank"), ".1f"),
                Column("loss gap", ("training", "validation", "shuffled_loss_gap"), ".2f"),
                Column("suffix loss gap", ("training", "validation", "suffix_shuffled_loss_gap"), ".3f"),
                Column("training tokens/s", ("training", "train", "tokens per second"), ",.0f"),
            ],
        ),
        (
            "Similarity and cost",
            "Zero-shot Spearman correlations of cosines with human scores: mean of the concepts, beside the mean of "
            "the same run's token embeddings. Crops: halves of held-out passages that retrieve each other.",
            [
                *(
                    Column(f"{place[0]} {place[1]}{place[2].removeprefix('spearman')}", place, ".3f")
                    for place in sorted(scores, key=lambda place: sets.index(place[:2]))
                    if place[2].count(",") < 2
                ),
                Column("crops R@1", ("crops", "validation", "R@1")),
                Column("MFLOP / word", COST, ".2f"),
            ],
        ),
        (
            "Fine-tuning",
            "Validation sets; concept models encode the two texts of a pair separately.",
            [Column(f"{task.split(',')[0]} {split} {metric}", (task, split, metric)) for task, split, metric in tuned],
        ),
        (
            "Depth",
            "Loss on held-out texts by number of iterations, in nats.",
            [Column(place[2], place, ".4f") for place in places if place[0] == "depth"],
        ),
        (
            "Dropped concepts",
            "Share of tokens that are no longer reconstructed when one concept is zero, and the part of them in its "
            "own segment.",
            [Column(place[2], place) for place in places if place[0] == "drop one"],
        ),
        (
            "Tokens reconstructed from fewer concepts",
            "By the number of concepts.",
            [Column("all", ACCURACY), *fewer] if fewer else [],
        ),
    ]


def summary_table(systems: Systems, columns: list[Column], help_from: dict[str, str]) -> str:
    """The columns that have a number, and the systems that have one in them; empty if there is none."""
    columns = [column for column in columns if any(column.place in results for results in systems.values())]
    rows = []
    for number, (name, results) in enumerate(systems.items(), 1):
        if any(column.place in results for column in columns):
            shown = f"{name} ({help_from[name]})" if name in help_from else name
            rows.append([str(number), shown, *(column.show(results) for column in columns)])
    headings = [Markdown("#"), "run", *(column.heading for column in columns)]
    return markdown_table(headings, rows, text_columns=2) if columns else ""


def check_report_dir(folder: Path) -> None:
    """ValueError if the report would replace files other than an earlier report of a table of runs."""
    path = folder / "results.json"
    if not path.is_file() or "rows" not in read_report(path):
        check_output_dir(folder, ("README.md", "results.json"))


def write_report(folder: Path) -> Path:
    """Write `README.md` and `summary.png` beside the `results.json` of a folder; returns the path of the first."""
    report, systems = read_report(folder / "results.json"), {}
    for result in report["results"]:
        systems.setdefault(result.system, {})[result.task, result.split, result.metric] = result
    parts = [f"# {markdown(report['title'])}", *filter(None, [report.get("note")])]
    if any(result.spread is not None for result in report["results"]):
        parts.append("Rows trained with several seeds: mean ± standard deviation over seeds.")
    for heading, text, columns in make_sections(dict.fromkeys(place for found in systems.values() for place in found)):
        if table := summary_table(systems, columns, report["help_from"]):
            parts += [f"## {heading}", text, table]
    kinds = dict.fromkeys(systems, "baseline") | dict.fromkeys(report["rows"], "from scratch")
    kinds |= {name: "teacher or backbone" for name in report["help_from"] if name in report["rows"]}
    if plot_summary(systems, kinds, folder / "summary.png"):
        parts.append("![Reconstruction, similarity and cost](summary.png)")
    if report["failed"]:
        errors = (f"- {markdown(name)}: {markdown(error)}" for name, error in report["failed"].items())
        parts += ["## Failed", "\n".join(errors)]
    path = folder / "README.md"
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def plot_summary(systems: Systems, kinds: dict[str, str], path: Path) -> bool:
    """Plot reconstruction, similarity and cost, a panel each, of all systems, one below the other, in the color of
    their kind; False, and no file, where there are no such numbers."""
    places = dict.fromkeys(place for results in systems.values() for place in results)
    wanted = [(ACCURACY, "reconstructed tokens"), (EXACT, "exact match")]
    wanted += [(place, "zero-shot STS-B, Spearman") for place in places if place[::2] == ("stsb", "spearman")]
    shown = [panel for panel in [*wanted, (COST, "encoding, MFLOP per word")] if panel[0] in places]
    if not shown:
        return False
    figure, panels = plots.make_figure(len(shown), width=3.6, height=1.6 + 0.2 * len(systems))
    names, dots = [picture_text(f"{number} {name}") for number, name in enumerate(systems, 1)], {}
    for axes, (place, title) in zip(panels, shown, strict=True):
        for height, (name, results) in enumerate(systems.items()):
            if place in results:
                value = results[place].value
                value = plots.clip_share(value) if place in (ACCURACY, EXACT) else value
                dots[kinds[name]] = axes.plot(value, height, "o", color=COLORS[kinds[name]], clip_on=False)[0]
        if place in (ACCURACY, EXACT):
            plots.scale_shares(axes.xaxis)
            axes.tick_params(axis="x", rotation=45)
        elif place == COST:
            axes.set_xscale("log")
        axes.set(xlabel=title, ylim=(len(systems) - 0.5, -0.5))
        axes.set_yticks(range(len(systems)), names if axes is panels[0] else [""] * len(systems))
        plots.style_axes(axes, legend=False)
    figure.legend(dots.values(), dots, loc="outside lower center", ncols=3, frameon=False)
    plots.save_picture(figure, path)
    return True
