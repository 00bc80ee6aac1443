# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Which systems are timed on which tasks and shapes, and what comes out: groups whose systems take turns."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from statistics import median

import torch
from tqdm.auto import tqdm

from ..results import Result
from .measure import Step, interleave, peak_of_step, spread
from .shapes import TASKS, Shape, count_tokens, make_inputs
from .systems import CONCEPT, SYSTEMS, System, count_parameters
from .variants import Variant, variants_for


BATCHES = 3  # different ones, which rounds take in turn


@dataclass(frozen=True)
class Settings:
    """
    Args:
        tokens: real tokens of a step of encoding; train_tokens: of a training step; one text at least.
        padding: share of padding.
        warmup, rounds: as in [`interleave`]; group_seconds: its `seconds`.
        dtype: of matrix products.
        compiles: whether all encoders are compiled.
    """

    tokens: int
    train_tokens: int
    padding: float = 0.0
    warmup: int = 0
    rounds: int = 5
    group_seconds: float = 40.0
    dtype: torch.dtype = torch.float32
    compiles: bool = False
    device: str = "cpu"

    def tokens_of(self, task: str) -> int:
        return self.tokens if task == "encode" else self.train_tokens


@dataclass(frozen=True)
class Group:
    """Systems and shapes of one length that are timed in turns on one task."""

    task: str
    entries: tuple[tuple[System, Shape], ...]
    variants: tuple[Variant, ...] = ()
    padding: float | None = None  # other than the settings'

    @property
    def length(self) -> int:
        return self.entries[0][1].length


@dataclass
class Timing:
    """What one system did: `seconds` of each round, operations of a step, its real tokens, parameters with and
    without tables of embeddings."""

    task: str
    system: str
    shape: Shape
    seconds: list[float]
    flops: int
    tokens: int
    parameters: int
    bare_parameters: int
    variants: bool = False  # whether it stands beside variants, and is none of the comparison's own

    @property
    def time_per_token(self) -> float:
        """Microseconds, of the median round."""
        return 1e6 * median(self.seconds) / self.tokens

    def mfu(self, peak: float) -> float:
        """Share of `peak` operations a second that the median round reaches."""
        return self.flops / (median(self.seconds) * peak)


def fewer_concepts(length: int) -> int:
    """C = N/8, and N/4 for texts of 128 tokens, which fewer than 32 concepts hardly hold."""
    return max(min(32, length // 4), length // 8)


def with_shapes(systems: Iterable[System], shapes: list[Shape]) -> tuple[tuple[System, Shape], ...]:
    """Each system with each shape, or with the first alone where the number of concepts makes no difference to it."""
    return tuple((system, shape) for system in systems for shape in (shapes if system.has_concepts else shapes[:1]))


def plan_groups(
    parts: Iterable[str],
    base: Shape,
    lengths: list[int],
    train_lengths: list[int],
    peers: list[str],
    compiles: bool = False,
    on_cuda: bool = False,
) -> list[Group]:
    """Groups of the parts "encode", "train", "original" and "ablation"; `base` gives sizes but the length."""

    def shape(length):
        return replace(base, length=length)

    peers, groups = [SYSTEMS[name] for name in peers], []
    own = [CONCEPT, SYSTEMS["concept-shared"]]
    if "encode" in parts:
        for length in lengths:
            shapes = list(dict.fromkeys([shape(length), replace(shape(length), concept_num=fewer_concepts(length))]))
            groups.append(Group("encode", with_shapes([*own, *peers], shapes)))
    if "train" in parts:
        groups += [Group("masked_lm", with_shapes([*own, *peers], [shape(length)])) for length in train_lengths]
    if "original" in parts:
        systems = [*own, SYSTEMS["original"]]
        tasks = ["denoising", "denoising_share", "diffusion"]
        tasks = tasks if "train" in parts and SYSTEMS["original"] in peers else ["masked_lm", *tasks]
        groups += [Group(task, with_shapes(systems, [shape(train_lengths[0])])) for task in tasks]
    if "ablation" in parts:
        chosen = list(variants_for(compiles, on_cuda))
        for task, padding in dict.fromkeys((variant.task, variant.padding) for variant in chosen):
            variants = tuple(variant for variant in chosen if (variant.task, variant.padding) == (task, padding))
            systems = {system.name: system for variant in variants for system in (variant.having, variant.without)}
            groups.append(Group(task, with_shapes(systems.values(), [shape(train_lengths[0])]), variants, padding))
    return groups


def group_steps(group: Group, settings: Settings) -> int:
    return len(group.entries) * (1 + settings.warmup + settings.rounds)


def run_group(group: Group, settings: Settings, progress: tqdm) -> list[Timing]:
    """Times of a group. Each system's operations are counted first, which is a further warm-up."""
    trains, device = group.task != "encode", settings.device
    shape, padding = group.entries[0][1], settings.padding if group.padding is None else group.padding
    batches = [
        make_inputs(TASKS[group.task], shape, settings.tokens_of(group.task), padding, seed, device)
        for seed in range(BATCHES)
    ]
    steps, found = {}, {}
    for system, shape in group.entries:
        name = f"{system.name}, {shape}"
        progress.set_postfix_str(f"{TASKS[group.task].title}: {name}")
        torch.manual_seed(0)
        step = Step(system, system.make(shape, group.task), trains, settings.dtype, device)
        flops, sizes = step.flops(batches[0]), count_parameters(step.module, shape.vocab_size)
        if system.compiled or (settings.compiles and not group.variants):
            step.compile()
        progress.update()
        steps[name] = lambda number, step=step: step(batches[number % BATCHES])
        found[name] = Timing(
            group.task, system.name, shape, [], flops, count_tokens(batches[0]), *sizes, bool(group.variants)
        )
    seconds = interleave(steps, settings.warmup, settings.rounds, device, progress, settings.group_seconds)
    return [replace(timing, seconds=seconds[name]) for name, timing in found.items()]


def make_step(system: str, shape: Shape, task: str, settings: Settings):
    """One step of a system, for [`peak_of_step`]."""
    inputs = make_inputs(TASKS[task], shape, settings.tokens_of(task), settings.padding, 0, settings.device)
    module = SYSTEMS[system].make(shape, task)
    step = Step(SYSTEMS[system], module, task != "encode", settings.dtype, settings.device)
    return lambda: step(inputs)


def plan_memory(shape: Shape, peers: list[str]) -> list[tuple[str, str, Shape]]:
    """Task, system and shape of each measurement of memory."""
    return [
        (task, system, shape)
        for task in ("encode", "masked_lm", "denoising")
        for system in ("concept", *peers)
        if task == "encode" or task in SYSTEMS[system].tasks
    ]


def run_memory(task: str, system: str, shape: Shape, settings: Settings) -> float | None:
    """MiB, see [`peak_of_step`]."""
    if settings.device == "cuda":
        torch.cuda.empty_cache()  # what this process keeps without using it, the other cannot have
    return peak_of_step(make_step, system, shape, task, settings, device=settings.device)


# Numbers.


@dataclass(frozen=True)
class Ratio:
    """
    What `system` costs over what the concept model costs, above 1 where the concept model is cheaper: one value a
    round. For a variant, what the concept model costs without it over what it costs with it.
    """

    what: str
    title: str
    shape: Shape
    system: str
    values: list[float]

    def result(self) -> Result:
        return Result(
            self.title, str(self.shape), f"{self.what}, times the concept model's", self.system, median(self.values),
            spread(self.values), len(self.values),
        )  # fmt: skip


WITHOUT = "without it"


def rounds_ratio(other: Timing, own: Timing) -> list[float]:
    """Of neighbours in time, so that slow changes of the machine's speed cancel."""
    return [theirs / ours for theirs, ours in zip(other.seconds, own.seconds, strict=True)]


def time_ratios(group: Group, timings: list[Timing]) -> list[Ratio]:
    """Of the systems of a group against the concept model with the same number of concepts, or of its variants."""
    if group.variants:
        by_name = {timing.system: timing for timing in timings}
        return [
            Ratio("time", f"{TASKS[group.task].title}: {variant.title}", timings[0].shape, WITHOUT,
                  rounds_ratio(by_name[variant.without.name], by_name[variant.having.name]))
            for variant in group.variants
        ]  # fmt: skip
    own = {timing.shape: timing for timing in timings if timing.system == CONCEPT.name}
    found = []
    for shape, ours in own.items():
        for timing in timings:
            if timing is not ours and (timing.shape == shape or not SYSTEMS[timing.system].has_concepts):
                ratio = rounds_ratio(timing, ours)
                found.append(Ratio("time", TASKS[group.task].title, shape, timing.system, ratio))
    return found


def memory_ratios(peaks: dict[tuple[str, str, Shape], float | None]) -> list[Ratio]:
    found = []
    for (task, system, shape), peak in peaks.items():
        own = peaks[task, CONCEPT.name, shape]
        if system != CONCEPT.name and peak is not None and own:
            found.append(Ratio("peak memory", f"{TASKS[task].title}: peak memory", shape, system, [peak / own]))
    return found


def memory_results(peaks: dict[tuple[str, str, Shape], float | None]) -> list[Result]:
    return [
        Result(f"{TASKS[task].title}: peak memory", str(shape), "MiB", system, peak, None, 1)
        for (task, system, shape), peak in peaks.items()
        if peak is not None
    ]


def growths(timings: list[Timing], concept_num: int) -> Iterator[tuple[str, float, Shape, Shape]]:
    """Each system's time per token when encoding the longest texts over that of 512 tokens, or of the shortest."""
    by_system = {}
    for timing in timings:
        if timing.task == "encode" and not timing.variants and timing.shape.concept_num == concept_num:
            by_system.setdefault(timing.system, {})[timing.shape.length] = timing
    for system, by_length in by_system.items():
        start, end = by_length.get(512, by_length[min(by_length)]), by_length[max(by_length)]
        if start.shape.length < end.shape.length:
            yield system, end.time_per_token / start.time_per_token, start.shape, end.shape


def own_results(timings: list[Timing], peak: float) -> list[Result]:
    """What each system did by itself."""
    found = []
    for timing in timings:
        if timing.variants:
            continue
        place = (TASKS[timing.task].title, str(timing.shape))
        per_token = [1e6 * seconds / timing.tokens for seconds in timing.seconds]
        count = len(timing.seconds)
        found += [
            Result(*place, "us per token", timing.system, median(per_token), spread(per_token), count),
            Result(*place, "MFU", timing.system, timing.mfu(peak), None, count),
            Result(*place, "MFLOP per token", timing.system, timing.flops / timing.tokens / 1e6, None, 1),
            Result(*place, "parameters", timing.system, timing.parameters, None, 1),
            Result(*place, "parameters without embeddings", timing.system, timing.bare_parameters, None, 1),
        ]
    return found
