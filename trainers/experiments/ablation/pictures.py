# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The picture of a table: reconstruction, similarity and cost of each model, one below the other."""

from pathlib import Path

from matplotlib.ticker import LogLocator, NullFormatter

from ...evaluation.plots import (
    EVALUATED,
    TRAINED,
    UNTRAINED,
    clip_share,
    make_figure,
    save_picture,
    scale_shares,
    style_axes,
)
from ...utils.plain_text import picture_text
from .summary import Summary


SHARE_METRICS = ("accuracy", "exact")

# Task, metric and title of the panels.
PANELS = (
    ("reconstruction", "accuracy", "reconstructed tokens"),
    ("reconstruction", "exact", "exact match"),
    ("stsb", "spearman", "zero-shot STS-B, Spearman"),
    ("encoding", "MFLOP per word", "encoding, MFLOP per word"),
)


def kind_of(line: Summary) -> tuple[str, str]:
    """Colour and label of a model."""
    if line.is_baseline:
        return UNTRAINED, "baseline"
    return (EVALUATED, "with pairs, teacher or backbone") if line.help_from else (TRAINED, "from scratch")


def plot_summary(lines: list[Summary], path: Path) -> bool:
    """A panel for each of `PANELS` that has values, a line for each model; False, and no file, without values."""
    shown = [panel for panel in PANELS if any(line.find(*panel[:2]) for line in lines)]
    lines = [line for line in lines if any(line.find(*panel[:2]) for panel in shown)]
    if not shown:
        return False
    figure, panels = make_figure(len(shown), width=3.6, height=1.6 + 0.2 * len(lines))
    names = [picture_text(f"{line.number} {line.name}") for line in lines]
    for axes, (task, metric, title) in zip(panels, shown, strict=True):
        found = {height: line.find(task, metric) for height, line in enumerate(lines)}
        values = {height: result.value for height, result in found.items() if result is not None}
        for height, value in values.items():
            value = clip_share(value) if metric in SHARE_METRICS else value
            axes.plot(value, height, "o", color=kind_of(lines[height])[0], clip_on=False)
        if metric in SHARE_METRICS:
            scale_shares(axes.xaxis)
            axes.tick_params(axis="x", rotation=45)
        elif task == "encoding":
            scale_costs(axes, list(values.values()))
        axes.set(xlabel=title, ylim=(len(lines) - 0.5, -0.5))
        axes.set_yticks(range(len(lines)), names if axes is panels[0] else [""] * len(lines))
        style_axes(axes)
    kinds = dict.fromkeys(map(kind_of, lines))
    for color, label in kinds:
        panels[0].plot([], [], "o", color=color, label=label)
    figure.legend(loc="outside lower center", ncols=len(kinds), frameon=False)
    save_picture(figure, path)
    return True


def scale_costs(axes, costs: list[float]) -> None:
    """A logarithmic axis with ticks at 1, 2 and 5 for costs that differ by more than a factor of three."""
    if max(costs) > 3 * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
