# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Groups of systems that are timed alternately, measurements of memory, and the results of both."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import torch
from scipy.stats import iqr

from ...evaluation.results import Result
from .measure import Step, interleave, peak_of_step
from .shapes import TASKS, Shape, make_inputs
from .systems import CONCEPT, SYSTEMS, System


BATCHES = 3  # different batches, one per round in rotation
GROUP_SECONDS = 40.0  # see `seconds` of [`interleave`]

TIME_RATIO, MEMORY_RATIO = "time / concept model's", "peak memory / concept model's"
TIME = "µs per token"


@dataclass(frozen=True)
class Settings:
    """
    Args:
        tokens, train_tokens: tokens per step of encoding and of training, at least one text.
        warmup, rounds: as in [`interleave`].
        dtype: of matrix products.
    """

    tokens: int
    train_tokens: int
    warmup: int = 0
    rounds: int = 5
    dtype: torch.dtype = torch.float32
    device: str = "cpu"

    def make_inputs(self, task: str, shape: Shape, seed: int = 0) -> dict[str, torch.Tensor]:
        tokens = self.tokens if task == "encode" else self.train_tokens
        return make_inputs(TASKS[task], shape, tokens, seed, self.device)

    def make_step(self, system: System, shape: Shape, task: str) -> Step:
        torch.manual_seed(0)
        return Step(system, system.make(shape, task), task != "encode", self.dtype, self.device)


@dataclass(frozen=True)
class Group:
    """Systems and shapes of one length that are timed alternately on one task."""

    task: str
    entries: tuple[tuple[System, Shape], ...]


@dataclass
class Timing:
    """Measurements of one system: seconds of each round, operations and tokens of a step, number of parameters."""

    task: str
    system: str
    shape: Shape
    seconds: list[float]
    flops: int
    tokens: int
    parameters: int

    @property
    def times(self) -> list[float]:
        """Microseconds per token of each round."""
        return [1e6 * seconds / self.tokens for seconds in self.seconds]


def plan_groups(
    parts: Iterable[str], base: Shape, lengths: list[int], train_lengths: list[int], peers: list[str]
) -> list[Group]:
    """Groups of the parts "encode", "train" and "original"; `base` gives all sizes but the length."""

    def group(task, systems, shapes):  # those without concepts get the first shape only
        entries = ((system, shape) for system in systems for shape in (shapes if system.has_concepts else shapes[:1]))
        return Group(task, tuple(entries))

    own, groups = [CONCEPT, SYSTEMS["concept-shared"]], []
    systems, original = [*own, *(SYSTEMS[name] for name in peers)], [*own, SYSTEMS["original"]]
    if "encode" in parts:
        for length in lengths:
            # C = N/8, and N/4 for texts of 128 tokens, for which 16 concepts are too few.
            fewer = max(min(32, length // 4), length // 8)
            shapes = [replace(base, length=length), replace(base, length=length, concept_num=fewer)]
            groups.append(group("encode", systems, list(dict.fromkeys(shapes))))
    if "train" in parts:
        groups += [group("masked_lm", systems, [replace(base, length=length)]) for length in train_lengths]
    if "original" in parts:
        tasks = ["denoising", "denoising_share", "diffusion"]
        if "train" not in parts or "original" not in peers:
            tasks.insert(0, "masked_lm")
        groups += [group(task, original, [replace(base, length=train_lengths[0])]) for task in tasks]
    return groups


def run_group(group: Group, settings: Settings) -> list[Timing]:
    """Time the systems of a group. The operations of each are counted first, which serves as a warm-up."""
    batches = [settings.make_inputs(group.task, group.entries[0][1], seed) for seed in range(BATCHES)]
    tokens = int(batches[0]["attention_mask"].sum())
    steps, timings = {}, {}
    for system, shape in group.entries:
        name, step = f"{system.name}, {shape}", settings.make_step(system, shape, group.task)
        parameters = sum(parameter.numel() for parameter in step.module.parameters())
        timings[name] = Timing(group.task, system.name, shape, [], step.flops(batches[0]), tokens, parameters)
        steps[name] = lambda number, step=step: step(batches[number % BATCHES])
    seconds = interleave(steps, settings.warmup, settings.rounds, settings.device, GROUP_SECONDS)
    return [replace(timing, seconds=seconds[name]) for name, timing in timings.items()]


def summarise(task: str, shape: Shape, metric: str, system: str, values: list[float]) -> Result:
    spread = iqr(values) / 2 if len(values) > 1 else None
    return Result(TASKS[task].title, str(shape), metric, system, median(values), spread)


def time_results(timings: list[Timing], peak: float) -> list[Result]:
    """
    Ratios of a group's times to those of the concept model with as many concepts, above 1 where the concept model is
    faster, and the measurements of each system. Ratios are taken round by round, so that slow changes of the machine's
    speed cancel.

    Args:
        timings: of one group.
        peak: operations per second of the machine, for the share that a step uses (MFU).
    """
    results = []
    for own in (timing for timing in timings if timing.system == CONCEPT.name):
        for other in timings:
            if other is not own and (other.shape == own.shape or not SYSTEMS[other.system].has_concepts):
                ratios = [theirs / ours for theirs, ours in zip(other.seconds, own.seconds, strict=True)]
                results.append(summarise(own.task, own.shape, TIME_RATIO, other.system, ratios))
    for timing in timings:
        results += [
            summarise(timing.task, timing.shape, metric, timing.system, values)
            for metric, values in (
                (TIME, timing.times),
                ("MFU", [timing.flops / (median(timing.seconds) * peak)]),
                ("MFLOP per token", [timing.flops / timing.tokens / 1e6]),
                ("M parameters", [timing.parameters / 1e6]),
            )
        ]
    return results


def memory_results(shape: Shape, peers: list[str], settings: Settings) -> list[Result]:
    """Peak memory in MiB of steps beyond the memory before them, and its ratio to the concept model's."""
    results = []
    for task in ("encode", "masked_lm", "denoising"):
        peaks = {}
        for name in (CONCEPT.name, *peers):
            if task != "encode" and task not in SYSTEMS[name].tasks:
                continue
            inputs, step = settings.make_inputs(task, shape), settings.make_step(SYSTEMS[name], shape, task)
            peaks[name] = peak_of_step(partial(step, inputs), settings.device)
        for name, peak in peaks.items():
            if peak is None:
                continue
            results.append(summarise(task, shape, "peak memory, MiB", name, [peak]))
            if name != CONCEPT.name and peaks[CONCEPT.name]:
                results.append(summarise(task, shape, MEMORY_RATIO, name, [peak / peaks[CONCEPT.name]]))
    return results
