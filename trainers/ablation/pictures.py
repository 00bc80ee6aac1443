# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Pictures of a table: quality against cost, and reading from fewer concepts."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator
from scipy.cluster.hierarchy import fcluster, linkage

from ..plain_text import picture_text
from ..plots import EVALUATED, NEUTRAL, TRAINED, UNTRAINED


if TYPE_CHECKING:
    from .report import Summary

SCRATCH, HELPED, BASELINE = TRAINED, EVALUATED, UNTRAINED
SHARES = (0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)  # ticks of a logit axis; what lies beyond stands at the outer ones
CLOSE = 9.0  # points of the paper within which numbers would be written upon each other


def color_of(line: "Summary") -> str:
    return BASELINE if line.is_baseline else HELPED if line.help_from else SCRATCH


def ranges(numbers: list[int]) -> str:
    """Numbers in their order, runs of three and more by their ends: `1, 3–5, 8`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    ends = [f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return ", ".join(ends)


def neighbours(places: np.ndarray, distance: float) -> list[list[int]]:
    """Which of the points `[P, 2]` hang together by steps of at most `distance`: the indices of each group."""
    if len(places) < 2:
        return [[index] for index in range(len(places))]
    groups = fcluster(linkage(places, "single"), distance, "distance")
    return [np.flatnonzero(groups == group).tolist() for group in np.unique(groups)]


def write_numbers(axes, points: "list[tuple[float, float, int]]") -> None:
    """Numbers of lines beside their points; those whose points lie on each other share one label. Called when the
    scales are set, since what lies together is told by places on the paper."""
    places = axes.transData.transform([point[:2] for point in points]) if points else np.empty((0, 2))
    for group in neighbours(places, CLOSE * axes.figure.dpi / 72):
        at = max(group, key=lambda index: tuple(places[index]))
        axes.annotate(
            textwrap.fill(ranges([points[index][2] for index in group]), 14), points[at][:2],
            xytext=(4, 3), textcoords="offset points", fontsize=7,
        )  # fmt: skip


def scatter(axes, lines: "list[Summary]", across, up) -> list[tuple[float, float, int]]:
    """A point for each line that has both; returns where they stand and their numbers."""
    points = [(across(line), up(line), line) for line in lines]
    points = [point for point in points if point[0] is not None and point[1] is not None]
    for x, y, line in points:
        axes.plot(x, y, "o", color=color_of(line), markersize=5)
    return [(x, y, line.number) for x, y, line in points]


def scale_shares(axis) -> None:
    """Shares of tokens on a logit axis, where 99 and 99.9 % are about as far apart as 90 and 99 %. The outer ticks
    hold what lies beyond them, too (`shown_share`)."""
    name = axis.axis_name
    axis.axes.set(**{f"{name}scale": "logit", f"{name}lim": (SHARES[0], 1 - (1 - SHARES[-1]) / 3)})
    words = [f"{100 * share:g} %" for share in SHARES]
    axis.set_ticks(SHARES, [f"≤ {words[0]}", *words[1:-1], f"≥ {words[-1]}"])
    axis.set_tick_params(labelsize=8)  # the outer words are long
    axis.set_minor_locator(NullLocator())


def scale_costs(axes, costs: list[float]) -> None:
    """Costs that differ by more than a factor of three on a logarithmic axis with ticks at 1, 2 and 5."""
    if costs and max(costs) > 3 * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())


def shown_share(share: float | None) -> float | None:
    """A share within what a logit axis shows."""
    return None if share is None else min(max(share, SHARES[0]), SHARES[-1])


def finish(figure: Figure, points: dict, path: Path) -> bool:
    """Numbers written beside the points of each of the axes, and the file; False, and no file, without points."""
    if not any(points.values()):
        return False
    figure.draw_without_rendering()  # the layout, by which it is known what lies together
    for axes, places in points.items():
        write_numbers(axes, places)
    figure.savefig(path, dpi=130)
    return True


def plot_cost(lines: "list[Summary]", path: Path) -> bool:
    """Zero-shot similarity and tokens read back against operations of encoding, and against each other, as far as
    there is anything to show; False, and no file, where there is nothing."""

    def similarity(line):
        return next(
            (r.value for (task, _, metric), r in line.results.items() if (task, metric) == ("stsb", "spearman")), None
        )

    def cost(line):
        return line.value("encoding", "MFLOP per word")

    def accuracy(line):
        return shown_share(line.value("reading", "accuracy"))

    labels = {
        cost: "encoding, MFLOP per word", similarity: "zero-shot STS-B, Spearman", accuracy: "tokens read back"
    }  # fmt: skip
    pairs = [
        (across, up)
        for across, up in ((cost, similarity), (cost, accuracy), (accuracy, similarity))
        if any(across(line) is not None and up(line) is not None for line in lines)
    ]
    if not pairs:
        return False
    figure = Figure(figsize=(14 / 3 * len(pairs), 4.6), layout="constrained")
    panels = figure.subplots(1, len(pairs), squeeze=False)[0]
    points = []
    for axes, (across, up) in zip(panels, pairs, strict=True):
        points.append(scatter(axes, lines, across, up))
        axes.set(xlabel=labels[across], ylabel=labels[up])
        if across is cost:
            scale_costs(axes, [x for x, _, _ in points[-1]])
        for axis, value in ((axes.xaxis, across), (axes.yaxis, up)):
            if value is accuracy:
                scale_shares(axis)
        if up is similarity:
            for line in lines:  # those that have no place on the other axis
                if across(line) is None and line.is_baseline and up(line) is not None:
                    axes.axhline(up(line), color=NEUTRAL, linestyle="--", linewidth=0.8)
                    axes.annotate(
                        picture_text(f"{line.number} {line.name}"), (0.99, up(line)),
                        xycoords=("axes fraction", "data"), fontsize=7, color=NEUTRAL, va="bottom", ha="right",
                    )  # fmt: skip
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    shown = {number for places in points for *_, number in places}
    colors = {color_of(line) for line in lines if line.number in shown}
    for color, label in (
        (SCRATCH, "from scratch"),
        (HELPED, "with pairs, teacher or backbone"),
        (BASELINE, "baseline"),
    ):
        if color in colors:
            panels[0].plot([], [], "o", color=color, label=label)
    panels[0].legend(frameon=False, fontsize=8)
    return finish(figure, dict(zip(panels, points, strict=True)), path)


def plot_kept(lines: "list[Summary]", path: Path) -> bool:
    """Tokens read back against the share of concepts that are kept; False, and no file, where there is nothing."""
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    axes, ends = figure.subplots(), []
    for line in lines:
        whole, tokens = line.value("reading", "concepts"), line.value("reading", "accuracy")
        if tokens is None:
            continue
        points = [
            (int(metric.removeprefix("accuracy, ").split()[0]) / whole, shown_share(result.value))
            for (task, _, metric), result in line.results.items()
            if task == "reading" and metric.startswith("accuracy, ")
        ]
        points = sorted([(1.0, shown_share(tokens)), *points])
        axes.plot(*zip(*points, strict=True), color=color_of(line), marker=".", linewidth=0.9, alpha=0.7)
        ends.append((*points[-1], line.number))
    axes.set(xlabel="concepts kept", ylabel="tokens read back", xscale="log")
    axes.set_xticks([1 / 8, 1 / 4, 1 / 2, 3 / 4, 1], ["1/8", "1/4", "1/2", "3/4", "all"])
    axes.minorticks_off()
    scale_shares(axes.yaxis)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return finish(figure, {axes: ends}, path)
