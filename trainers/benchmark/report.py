# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The benchmark's table and picture."""

from pathlib import Path
from statistics import median

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from rich.table import Table

from ..plain_text import picture_text
from .measure import spread
from .shapes import TASKS
from .suite import WITHOUT, Ratio, Timing, growths
from .systems import CONCEPT, SYSTEMS


CAPTION = (
    "Upper part: cost of each other system over that of the concept model with the same H, layers, vocabulary, tokens "
    "and head path, so that above 1 the concept model is cheaper; median over rounds ± half the distance of the "
    "quartiles, one process each for memory. Lower part: each system's own numbers; MFU is against the fastest square "
    "matrix product measured in the same run."
)


def benchmark_table(title: str, ratios: list[Ratio], timings: list[Timing], peak: float, concept_num: int) -> Table:
    """A line for each task and shape, a column for each other system; then what each system has and does itself."""
    known = [ratio.system for ratio in ratios] + [timing.system for timing in timings if not timing.variants]
    systems = [name for name in (*SYSTEMS, WITHOUT) if name in known and name != CONCEPT.name]
    table = Table(title=title, caption=CAPTION)
    for name in ("what", "N", "C", "concept", *systems):
        table.add_column(name, justify="left" if name == "what" else "right")
    lines = {}
    for ratio in ratios:
        lines.setdefault((ratio.title, ratio.shape), {})[ratio.system] = ratio.values
    for (what, shape), values in lines.items():
        cells = [shown(values[name]) if name in values else "" for name in systems]
        table.add_row(what, f"{shape.length:,}", f"{shape.concept_num:,}", "1", *cells)
    table.add_section()
    grown = list(growths(timings, concept_num))
    if grown:
        (_, _, start, end), values = grown[0], {name: f"{value:.2f}" for name, value, *_ in grown}
        what = f"encoding: time per token over that at N={start.length:,}"
        table.add_row(what, f"{end.length:,}", f"{concept_num:,}", *own_cells(values, systems))
    for task in dict.fromkeys(timing.task for timing in timings):
        chosen = [t for t in timings if t.task == task and not t.variants and t.shape.concept_num == concept_num]
        for what, number in (
            ("MFU", lambda timing: f"{timing.mfu(peak):.1%}"),
            ("M parameters (no embeddings)", lambda t: f"{t.parameters / 1e6:.1f} ({t.bare_parameters / 1e6:.1f})"),
        ):
            by_length = {}
            for timing in chosen:
                by_length.setdefault(timing.shape.length, {})[timing.system] = number(timing)
            # Parameters differ between lengths by tables of positions only.
            for length in list(by_length)[: None if what == "MFU" else 1]:
                cells = own_cells(by_length[length], systems)
                table.add_row(f"{TASKS[task].title}: {what}", f"{length:,}", f"{concept_num:,}", *cells)
    return table


def own_cells(values: dict[str, str], systems: list[str]) -> list[str]:
    return [values.get(name, "") for name in (CONCEPT.name, *systems)]


def shown(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{median(values):.2f} ± {spread(values):.2f}"


def plot_timings(timings: list[Timing], concept_num: int, title: str, path: Path) -> None:
    """Time per token against length, a line a system, for encoding and for the training step; dashed with the fewer
    or more concepts that grow with the text; PNG."""
    figure, lines = Figure(figsize=(11, 4.8), layout="constrained"), {}
    figure.suptitle(picture_text(title))
    for axes, task in zip(figure.subplots(1, 2), ("encode", "masked_lm")):
        chosen = [timing for timing in timings if timing.task == task and not timing.variants]
        for number, system in enumerate(SYSTEMS):
            own = {t.shape: t for t in chosen if t.system == system}
            # Of lengths at which both numbers of concepts are the same there is one timing.
            fixed = {s.length: t.time_per_token for s, t in own.items() if s.concept_num == concept_num}
            grown = {s.length: t.time_per_token for s, t in own.items() if s.concept_num != concept_num}
            if fixed:
                axes.plot(fixed.keys(), fixed.values(), marker="o", color=f"C{number}", label=system)
            if grown:
                axes.plot(grown.keys(), grown.values(), "--", marker=".", color=f"C{number}", linewidth=1)
        if any(timing.shape.concept_num != concept_num for timing in chosen):
            axes.plot([], [], "--", color="#777777", linewidth=1, label="concepts grow with N")
        lengths = sorted({timing.shape.length for timing in chosen})
        axes.set_title(f"{TASKS[task].title}, C={concept_num}", fontsize="medium")
        axes.set(xlabel="tokens of a text", ylabel="µs per token")
        if chosen:
            axes.set(xscale="log", yscale="log")
            axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
            axes.minorticks_off()
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:,g}")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        lines |= {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}
    if lines:
        figure.legend(lines.values(), lines, loc="outside lower center", ncols=len(lines), frameon=False)
    figure.savefig(path, dpi=130)
