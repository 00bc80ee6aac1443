# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Pictures of a table: quality against cost, and reading from fewer concepts."""

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

from ..plots import EVALUATED, NEUTRAL, TRAINED, UNTRAINED


if TYPE_CHECKING:
    from .report import Summary

SCRATCH, HELPED, BASELINE = TRAINED, EVALUATED, UNTRAINED


def color_of(line: "Summary") -> str:
    return BASELINE if line.is_baseline else HELPED if line.help_from else SCRATCH


def scatter(axes, lines: "list[Summary]", across, up) -> list[float]:
    """A point with the line's number for each that has both; returns where they stand across."""
    points = [(across(line), up(line), line) for line in lines]
    points = [point for point in points if point[0] is not None and point[1] is not None]
    for x, y, line in points:
        axes.plot(x, y, "o", color=color_of(line), markersize=5)
        axes.annotate(str(line.number), (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7)
    return [x for x, _, _ in points]


def scale_costs(axes, costs: list[float]) -> None:
    """Costs that differ by more than a factor of three on a logarithmic axis with ticks at 1, 2 and 5."""
    if costs and max(costs) > 3 * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())


def plot_cost(lines: "list[Summary]", path: Path) -> bool:
    """Zero-shot similarity and tokens read back against operations of encoding, and against each other; False, and
    no file, where there is nothing to show."""

    def similarity(line):
        return next(
            (r.value for (task, _, metric), r in line.results.items() if (task, metric) == ("stsb", "spearman")), None
        )

    def cost(line):
        return line.value("encoding", "MFLOP per word")

    def accuracy(line):
        return line.value("reading", "accuracy")

    figure = Figure(figsize=(14, 4.6), layout="constrained")
    panels = figure.subplots(1, 3)
    shown = False
    for axes, across, up, labels in (
        (panels[0], cost, similarity, ("encoding, MFLOP per word", "zero-shot STS-B, Spearman")),
        (panels[1], cost, accuracy, ("encoding, MFLOP per word", "tokens read back")),
        (panels[2], accuracy, similarity, ("tokens read back", "zero-shot STS-B, Spearman")),
    ):
        places = scatter(axes, lines, across, up)
        shown = shown or bool(places)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        if across is cost:
            scale_costs(axes, places)
        for axis, limits, value in ((axes.xaxis, axes.set_xlim, across), (axes.yaxis, axes.set_ylim, up)):
            if value is accuracy:
                limits(-0.03, 1.05)
                axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        if up is similarity:
            for line in lines:  # those that have no place on the other axis
                if across(line) is None and line.is_baseline and up(line) is not None:
                    axes.axhline(up(line), color=NEUTRAL, linestyle="--", linewidth=0.8)
                    axes.annotate(
                        f"{line.number} {line.name}", (0.01, up(line)), xycoords=("axes fraction", "data"),
                        fontsize=7, color=NEUTRAL, va="bottom",
                    )  # fmt: skip
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    for color, label in (
        (SCRATCH, "from scratch"),
        (HELPED, "with pairs, teacher or backbone"),
        (BASELINE, "baseline"),
    ):
        panels[0].plot([], [], "o", color=color, label=label)
    panels[0].legend(frameon=False, fontsize=8)
    if shown:
        figure.savefig(path, dpi=130)
    return shown


def plot_kept(lines: "list[Summary]", path: Path) -> bool:
    """Tokens read back against the share of concepts that are kept; False, and no file, where there is nothing."""
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    axes, shown = figure.subplots(), 0
    for line in lines:
        whole, tokens = line.value("reading", "concepts"), line.value("reading", "accuracy")
        if tokens is None:
            continue
        points = [
            (int(metric.removeprefix("accuracy, ").split()[0]) / whole, result.value)
            for (task, _, metric), result in line.results.items()
            if task == "reading" and metric.startswith("accuracy, ")
        ]
        points = sorted([(1.0, tokens), *points])
        axes.plot(*zip(*points, strict=True), color=color_of(line), marker=".", linewidth=0.9, alpha=0.7)
        axes.annotate(str(line.number), points[-1], xytext=(4, 0), textcoords="offset points", fontsize=7)
        shown += 1
    axes.set(xlabel="concepts kept", ylabel="tokens read back", xscale="log", ylim=(-0.03, 1.05))
    axes.set_xticks([1 / 8, 1 / 4, 1 / 2, 3 / 4, 1], ["1/8", "1/4", "1/2", "3/4", "all"])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if shown:
        figure.savefig(path, dpi=130)
    return bool(shown)
