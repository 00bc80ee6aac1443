# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The benchmark's report: tables and a picture."""

from pathlib import Path
from statistics import median

from matplotlib.ticker import LogLocator

from ...evaluation.plots import make_figure, save_picture, style_axes
from ...evaluation.results import Result, results_markdown
from ...utils.plain_text import markdown
from .shapes import TASKS
from .suite import MEMORY_RATIO, TIME, TIME_RATIO, Timing
from .systems import SYSTEMS


CAPTION = (
    "Ratios compare each system with the concept model of the same width, layers, vocabulary, tokens and head: above "
    "1 the concept model is cheaper. Medians over rounds ± half the distance between the quartiles. MFU is relative "
    "to the fastest square matrix product of the same run."
)


def write_report(
    folder: Path, title: str, results: list[Result], timings: list[Timing], concept_num: int
) -> tuple[Path, str]:
    """Write `README.md` and `cost.png`; returns the path of the first and its text."""
    ratios = [result for result in results if result.metric in (TIME_RATIO, MEMORY_RATIO)]
    others = [result for result in results if result.metric not in (TIME_RATIO, MEMORY_RATIO)]
    tables = "\n\n".join(results_markdown(part) for part in (ratios, others) if part)
    text = f"# {markdown(title)}\n\n{CAPTION}\n\n{tables}\n\n![Time per token against text length](cost.png)\n"
    path = folder / "README.md"
    path.write_text(text, encoding="utf-8")
    plot_timings(timings, concept_num, title, folder / "cost.png")
    return path, text


def plot_timings(timings: list[Timing], concept_num: int, title: str, path: Path) -> None:
    """Plot time per token against text length, one line per system, for encoding and for masked LM training; dashed
    where the number of concepts grows with the text."""
    (figure, panels), lines = make_figure(2, title, width=5.5, height=4.8), {}
    for axes, task in zip(panels, ("encode", "masked_lm"), strict=True):
        chosen = [timing for timing in timings if timing.task == task]
        for number, system in enumerate(SYSTEMS):
            own = {timing.shape: median(timing.times) for timing in chosen if timing.system == system}
            # Lengths at which both numbers of concepts agree have one timing.
            fixed = {shape.length: value for shape, value in own.items() if shape.concept_num == concept_num}
            grown = {shape.length: value for shape, value in own.items() if shape.concept_num != concept_num}
            if fixed:
                axes.plot(fixed.keys(), fixed.values(), marker="o", color=f"C{number}", label=system)
            if grown:
                axes.plot(grown.keys(), grown.values(), "--", marker=".", color=f"C{number}", linewidth=1)
        lengths = sorted({timing.shape.length for timing in chosen})
        axes.set_title(f"{TASKS[task].title}, C={concept_num} (dashed: C grows with N)", fontsize="medium")
        axes.set(xlabel="tokens per text", ylabel=TIME)
        if chosen:
            axes.set(xscale="log", yscale="log")
            axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
            axes.minorticks_off()
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:,g}")
        style_axes(axes, legend=False)
        lines |= {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}
    if lines:
        figure.legend(lines.values(), lines, loc="outside lower center", ncols=len(lines), frameon=False)
    save_picture(figure, path)
