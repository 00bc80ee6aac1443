# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Groups of systems that are timed alternately, their results, and the report: a table and a picture."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import torch
from scipy.stats import iqr

from ...evaluation.plots import make_figure, save_picture, style_axes
from ...evaluation.results import Result, results_markdown
from ...utils.plain_text import markdown
from .measure import Step, interleave, peak_of_step
from .systems import SYSTEMS, TASKS, Shape, make_inputs


BATCHES = 3  # different batches, one per round in rotation
ROUNDS = {"cpu": (0, 5), "cuda": (10, 20)}  # for warming up, and timed ones
GROUP_SECONDS = 40.0  # see `seconds` of [`interleave`]
SCALE_LENGTHS = (512, 2048, 8192, 16_384, 32_768, 65_536)

TIME_RATIO, MEMORY_RATIO = "time / concept model's", "peak memory / concept model's"
TIME = "µs per token"

CAPTION = (
    "Ratios compare each system with the concept model of the same width, layers, vocabulary, tokens and head: above "
    "1 the concept model is cheaper. Medians over rounds ± half the distance between the quartiles."
)


@dataclass
class Timing:
    """
    Measurements of one system.

    Args:
        times: microseconds per token of each round.
        mflop: millions of operations per token.
        parameters: in millions.
        memory: peak of a step in MiB beyond the memory before it; None where it cannot be measured.
    """

    task: str
    system: str
    shape: Shape
    times: list[float]
    mflop: float
    parameters: float
    memory: float | None


def plan_groups(
    parts: Iterable[str], base: Shape, lengths: list[int], train_lengths: list[int], peers: list[str]
) -> list[tuple[str, Shape, list[str]]]:
    """Task, sizes and systems of each group of the parts "encode", "train", "original" and "scale"; `base` gives all
    sizes but the length."""
    groups = []
    for length in lengths if "encode" in parts else ():
        # C = N/8, and N/4 for texts of 128 tokens, for which 16 concepts are too few.
        fewer = max(min(32, length // 4), length // 8)
        for concepts in dict.fromkeys((base.concept_num, fewer)):
            shape = replace(base, length=length, concept_num=concepts)
            groups.append(("encode", shape, ["concept", "concept-bf16", *peers]))
    for length in train_lengths if "train" in parts else ():
        groups.append(("masked_lm", replace(base, length=length), ["concept", *peers]))
    for task in ("denoising", "denoising_default") if "original" in parts else ():
        groups.append((task, replace(base, length=train_lengths[0]), ["concept", "original"]))
    for length in SCALE_LENGTHS if "scale" in parts else ():
        for concepts in (base.concept_num // 4, base.concept_num, base.concept_num * 4):
            shape = replace(base, length=length, concept_num=concepts)
            groups.append(("encode_one", shape, ["concept", *(name for name in peers if name == "perceiver")]))
    return groups


def run_group(
    task: str, shape: Shape, systems: list[str], tokens: int, dtype: torch.dtype, device: str
) -> list[Timing]:
    """Measure systems alternately with about `tokens` tokens a step, or one text. Operations and memory of each are
    measured first, which serves as a warm-up."""
    tokens = shape.length if task == "encode_one" else tokens
    batches = [make_inputs(task, shape, tokens, seed, device) for seed in range(BATCHES)]
    tokens = int(batches[0]["attention_mask"].sum())
    steps, timings = {}, {}
    for system in systems:
        step = Step(system, shape, task, dtype, device)
        parameters = sum(parameter.numel() for parameter in step.module.parameters())
        mflop, memory = step.flops(batches[0]) / tokens / 1e6, peak_of_step(partial(step, batches[0]), device)
        timings[system] = Timing(task, system, shape, [], mflop, parameters / 1e6, memory)
        steps[system] = lambda number, step=step: step(batches[number % BATCHES])
    for system, seconds in interleave(steps, *ROUNDS[device], device, GROUP_SECONDS).items():
        timings[system].times = [1e6 * value / tokens for value in seconds]
    return list(timings.values())


def group_results(timings: list[Timing]) -> list[Result]:
    """
    Ratios of the times and memory of a group to those of its first system, the concept model, above 1 where that is
    cheaper, and the measurements of each. Ratios of times are taken round by round, so that slow changes of the
    machine's speed cancel.
    """
    own, results = timings[0], []

    def add(metric, timing, values):
        spread = iqr(values) / 2 if len(values) > 1 else None
        results.append(Result(TASKS[own.task].title, str(own.shape), metric, timing.system, median(values), spread))

    for timing in timings:
        if timing is not own:
            add(TIME_RATIO, timing, [theirs / ours for theirs, ours in zip(timing.times, own.times, strict=True)])
            if own.memory and timing.memory:
                add(MEMORY_RATIO, timing, [timing.memory / own.memory])
        add(TIME, timing, timing.times)
        add("MFLOP per token", timing, [timing.mflop])
        add("GFLOP per second", timing, [1e3 * timing.mflop / median(timing.times)])
        add("M parameters", timing, [timing.parameters])
        if timing.memory is not None:
            add("peak memory, MiB", timing, [timing.memory])
    return results


def write_report(folder: Path, title: str, results: list[Result], timings: list[Timing], concept_num: int) -> Path:
    """Write `README.md`, `cost.png` and, of the part "scale", `scale.png`; returns the path of the first."""
    pictures = "![Time per token against text length](cost.png)"
    plot_timings(timings, concept_num, title, folder / "cost.png")
    if scaled := [timing for timing in timings if timing.task == "encode_one"]:
        pictures += "\n\n![Time and memory of one text against its length](scale.png)"
        plot_scale(scaled, title, folder / "scale.png")
    path = folder / "README.md"
    text = f"# {markdown(title)}\n\n{CAPTION}\n\n{results_markdown(results)}\n\n{pictures}\n"
    path.write_text(text, encoding="utf-8")
    return path


def plot_timings(timings: list[Timing], concept_num: int, title: str, path: Path) -> None:
    """Plot time per token against text length, one line per system, for encoding and for masked LM training; dashed
    where the number of concepts grows with the text."""
    figure, panels = make_figure(2, title, width=5.5, height=4.8)
    for axes, task in zip(panels, ("encode", "masked_lm"), strict=True):
        for number, system in enumerate(SYSTEMS):
            for fixed, style in ((True, "o-"), (False, ".--")):
                points = [
                    (timing.shape.length, median(timing.times))
                    for timing in timings
                    if (timing.task, timing.system, timing.shape.concept_num == concept_num) == (task, system, fixed)
                ]
                if points and (fixed or "bert" not in system):  # BERT and ModernBERT have no concepts
                    axes.loglog(*zip(*points, strict=True), style, color=f"C{number}", label=system if fixed else None)
        axes.set_title(f"{TASKS[task].title}, C={concept_num} (dashed: C grows with N)", fontsize="medium")
        axes.set(xlabel="tokens per text", ylabel=TIME)
        lengths = sorted({timing.shape.length for timing in timings if timing.task == task})
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
        axes.set_xticks([], minor=True)
        style_axes(axes)
    save_picture(figure, path)


def plot_scale(timings: list[Timing], title: str, path: Path) -> None:
    """Plot time and memory of encoding one text against its length, one line for each number of concepts, dotted for
    other systems."""
    figure, panels = make_figure(2, title, width=5.5, height=4.8)
    counts = sorted({timing.shape.concept_num for timing in timings})
    for axes, label, value in (
        (panels[0], "seconds per text", lambda timing: 1e-6 * median(timing.times) * timing.shape.length),
        (panels[1], "peak memory, MiB", lambda timing: timing.memory),
    ):
        for system in dict.fromkeys(timing.system for timing in timings):
            for number, count in enumerate(counts):
                chosen = [t for t in timings if (t.system, t.shape.concept_num) == (system, count)]
                points = [(timing.shape.length, value(timing)) for timing in chosen if value(timing)]
                if points:
                    style = "o-" if system == "concept" else ":"
                    axes.loglog(*zip(*points, strict=True), style, color=f"C{number}", label=f"{system}, C={count:,}")
        lengths = sorted({timing.shape.length for timing in timings})
        axes.set(xlabel="tokens per text", ylabel=label)
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths], rotation=45)
        axes.set_xticks([], minor=True)
        style_axes(axes)
    save_picture(figure, path)
