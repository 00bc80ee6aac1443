# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Generated reasoning problems. A problem is a list of facts in random order, each a sentence of equally many words that
ends with a question; the answer to it follows from a known number of facts. Names are new in every problem, so that
nothing but its facts answers it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np


# Groups of facts in a problem that lead to different answers.
GROUPS = 4

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS = ("red", "green", "blue", "black", "white", "yellow", "brown", "grey")
SIZES = ("large", "small", "tall", "short")
NOTHING = "nothing"


class Fact(NamedTuple):
    """The words of a sentence without the answer; the answer to its question; and from how many facts it follows,
    counting itself. 0: the question is not scored, as its answer is the same for all."""

    words: tuple[str, ...]
    answer: str
    steps: int


def chains(generator: np.random.Generator, names: list[str], steps: int) -> list[Fact]:
    """Pointer chasing with distractors: where does each link of `GROUPS` chains of `steps` links end?"""
    facts = []
    for path in np.array(names).reshape(GROUPS, steps + 1).tolist():
        facts += [
            Fact((start, "to", end, "ends"), path[-1], steps - place)
            for place, (start, end) in enumerate(pairwise(path))
        ]
    return facts


def reachability(generator: np.random.Generator, names: list[str], steps: int) -> list[Fact]:
    """Directed graphs (after ProsQA, Hao et al. 2024): which of `GROUPS` goals does each edge lead to? From every
    place on the way to a goal another edge leads to a dead end, and another one to nowhere else."""
    facts = []
    for group in np.array(names).reshape(GROUPS, 2 * steps - 1).tolist():
        path, dead_ends = group[:steps], group[steps:]
        goal = path[-1]
        facts.append(Fact((goal, "is", "goal", "reaches"), goal, 1))
        for place, ((start, end), dead_end) in enumerate(zip(pairwise(path), dead_ends, strict=True)):
            facts.append(Fact((start, "to", end, "reaches"), goal, steps - place))
            facts.append(Fact((start, "to", dead_end, "reaches"), NOTHING, 0))
    return facts


def addition(generator: np.random.Generator, names: list[str], steps: int) -> list[Fact]:
    """Sums modulo 10 in sentences: the value of each name is that of another one plus a digit."""
    facts = []
    for path in np.array(names).reshape(GROUPS, steps).tolist():
        total = 0
        for place, (name, before, digit) in enumerate(
            zip(path, ["zero", *path], generator.integers(10, size=steps), strict=False)
        ):
            total = (total + int(digit)) % 10
            facts.append(Fact((name, "is", before, "plus", DIGITS[digit], "makes"), DIGITS[total], place + 1))
    return facts


def deduction(generator: np.random.Generator, names: list[str], steps: int) -> list[Fact]:
    """Fresh ontologies (after ProntoQA, Saparov & He 2023): which colour follows for each kind? Kinds on the way also
    have a size, which nothing follows from."""
    facts = []
    colours = generator.choice(COLOURS, size=GROUPS, replace=False).tolist()
    for path, colour in zip(np.array(names).reshape(GROUPS, steps).tolist(), colours, strict=True):
        facts.append(Fact(("every", path[-1], "is", colour, "coloured"), colour, 1))
        for place, (kind, above) in enumerate(pairwise(path)):
            facts.append(Fact(("every", kind, "is", above, "coloured"), colour, steps - place))
            if place > 0:
                size = str(generator.choice(SIZES))
                facts.append(Fact(("every", kind, "is", size, "coloured"), colour, steps - place + 1))
    return facts


@dataclass(frozen=True)
class ProblemTask:
    """
    A kind of problem.

    Args:
        make: the facts of a problem whose longest answers take `steps` steps, from a generator and as many different
            names as `names(steps)`.
        names: number of names of such a problem.
        words: the words of its sentences beside names.
    """

    make: Callable[[np.random.Generator, list[str], int], list[Fact]]
    names: Callable[[int], int]
    words: tuple[str, ...]

    def problem(self, seed: int, index: int, steps: int, names: list[str]) -> list[Fact]:
        """Problem number `index` of a seed, with names drawn from `names`: the same for the same arguments."""
        generator = np.random.default_rng((seed, index, steps, len(names)))
        chosen = generator.choice(names, size=self.names(steps), replace=False).tolist()
        facts = self.make(generator, chosen, steps)
        return [facts[place] for place in generator.permutation(len(facts))]


PROBLEM_TASKS = {
    "chains": ProblemTask(chains, lambda steps: GROUPS * (steps + 1), ("to", "ends")),
    "reachability": ProblemTask(
        reachability, lambda steps: GROUPS * (2 * steps - 1), ("is", "to", "goal", "reaches", NOTHING)
    ),
    "addition": ProblemTask(addition, lambda steps: GROUPS * steps, ("is", "plus", "makes", *DIGITS)),
    "deduction": ProblemTask(
        deduction, lambda steps: GROUPS * steps, ("every", "is", "coloured", *COLOURS, *SIZES)
    ),
}  # fmt: skip


def find_problem_task(name: str) -> ProblemTask:
    """ValueError with the list of tasks if there is none of that name."""
    if name not in PROBLEM_TASKS:
        raise ValueError(f"Unknown task {name!r}; choose one of {sorted(PROBLEM_TASKS)}.")
    return PROBLEM_TASKS[name]
