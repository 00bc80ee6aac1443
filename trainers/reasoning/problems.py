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
TIMES = tuple(str(number) for number in range(1, 129))
NOTHING = "nothing"


class Fact(NamedTuple):
    """
    A sentence that ends with a question.

    Args:
        words: of the sentence, without the answer.
        answer: a word.
        steps: from how many facts it follows. 0: the answer is trained, and never scored, as it needs no other fact or
            is the same for all such facts.
        tested: whether it is scored in tests; in training all count for the course of lessons.
    """

    words: tuple[str, ...]
    answer: str
    steps: int
    tested: bool = True


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
    place on the way to a goal another edge leads to a dead end."""
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
    """Sums modulo 10 in sentences: the value of each name is that of another one plus a digit. Half of the digits are
    zero, so that to find the other name pays before sums are known."""
    facts = []
    for path in np.array(names).reshape(GROUPS, steps).tolist():
        total, digits = 0, generator.integers(10, size=steps)
        digits[1:] *= generator.integers(2, size=steps - 1)
        for place, (name, before, digit) in enumerate(zip(path, ["zero", *path], digits, strict=False)):
            total = (total + int(digit)) % 10
            facts.append(Fact((name, "is", before, "plus", DIGITS[digit], "makes"), DIGITS[total], place + 1))
    return facts


def induction(generator: np.random.Generator, names: list[str], steps: int) -> list[Fact]:
    """
    p-hop induction (Sanford, Hsu & Telgarsky 2024) over sightings in any order, each with its time: where does it end
    to go from a word to the one that followed it the last time before, again and again? On the way every word was also
    followed by another one, earlier than that, or later than it is asked for.
    """
    sightings = []
    for group in np.array(names).reshape(GROUPS, 2 * steps).tolist():
        path, others = group[: steps + 1], group[steps + 1 :]
        times = np.sort(generator.random(steps))[::-1]  # it leads back in time
        for place, (word, after) in enumerate(pairwise(path)):
            sightings.append((times[place], word, after, path[-1], steps - place))
        for place, other in enumerate(others, start=1):
            early, late = (0.0, times[place]) if generator.integers(2) else (times[place - 1], 1.0)
            sightings.append((generator.uniform(early, late), path[place], other, other, 1))
    if len(sightings) > len(TIMES):
        raise ValueError(f"Problems of induction have {len(TIMES)} sightings at most: give fewer steps than {steps}.")
    chosen = np.sort(generator.choice(len(TIMES), size=len(sightings), replace=False))
    return [
        Fact((TIMES[time], word, "then", after, "leads"), answer, took)
        for time, (_, word, after, answer, took) in zip(chosen, sorted(sightings), strict=True)
    ]


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


def ontology(generator: np.random.Generator, names: list[str], steps: int) -> list[Fact]:
    """
    ProsQA (Hao et al. 2024) with fresh graphs: somebody is one of two kinds; which follows? The other candidate
    follows for somebody else, and kinds of both lead to neither. The question is a sentence as the statements are, and
    takes as many steps as statements lead to its answer; two more name the candidates. In training, statements are
    asked to which candidate they lead, too.
    """
    left = iter(names)
    # Of each family the kinds on the way from somebody to a candidate, and kinds beside them from level 1 on.
    ways = [[next(left) for _ in range(steps + 1)] for _ in range(2)]
    beside = [[None, *(next(left) for _ in range(steps + 1))] for _ in range(2)]
    shared = [None, *(next(left) for _ in range(steps + 1))]
    stated, possible = [], []
    for level in range(steps + 1):
        for way, own in zip(ways, beside, strict=True):
            sources, ends = [own[level]] if level else [], [own[level + 1], shared[level + 1]]
            if level < steps:  # of a candidate nothing follows
                sources.append(way[level])
            edges = [(source, end) for source in sources for end in ends]
            first = [(sources[generator.integers(len(sources))], end) for end in ends]  # nothing is left alone
            if level < steps:
                edges += [(source, way[level + 1]) for source in sources]
                first.append((way[level], way[level + 1]))
            stated += first
            possible += [edge for edge in edges if edge not in first]
        possible += [(shared[level], shared[level + 1])] if level else []
    further = generator.choice(len(possible), size=4 * (steps - 1), replace=False)
    stated += [possible[place] for place in further]
    # Edges lead down by one level, so that the distance to a candidate is that to its level.
    leads = {way[level]: (way[-1], steps - level + 1) for way in ways for level in range(steps + 1)}
    for level in range(steps - 1, 0, -1):
        for way, own in zip(ways, beside, strict=True):
            if any(source == own[level] and leads.get(end, [""])[0] == way[-1] for source, end in stated):
                leads[own[level]] = way[-1], steps - level + 1
    facts = [
        Fact((source, "is", end, "proves"), *leads.get(end, (NOTHING, 0)), tested=False) for source, end in stated
    ]
    options = [Fact((way[-1], "is", "option", "proves"), way[-1], 0, tested=False) for way in ways]
    return [*facts, *options, Fact(("who", "is", ways[0][0], "proves"), ways[0][-1], steps)]


@dataclass(frozen=True)
class ProblemTask:
    """
    A kind of problem.

    Args:
        make: the facts of a problem whose longest answers take `steps` steps, from a generator and as many different
            names as `names(steps)`.
        names: number of names of such a problem.
        words: the words of its sentences beside names.
        hidden_size, learning_rate: with which a recursive encoder learns it.
        candidates: number of answers that a problem names; None where there are others, too.
        common_answer: whether all facts on the way to an answer have that answer.
    """

    make: Callable[[np.random.Generator, list[str], int], list[Fact]]
    names: Callable[[int], int]
    words: tuple[str, ...]
    hidden_size: int = 64
    learning_rate: float = 3e-3
    candidates: int | None = None
    common_answer: bool = True

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
    "addition": ProblemTask(
        addition, lambda steps: GROUPS * steps, ("is", "plus", "makes", *DIGITS), 128, 1e-3, common_answer=False
    ),
    "induction": ProblemTask(induction, lambda steps: 2 * GROUPS * steps, ("then", "leads", *TIMES), 128, 1e-3),
    "ontology": ProblemTask(
        ontology, lambda steps: 5 * steps + 5, ("is", "option", "who", "proves", NOTHING), candidates=2
    ),
    "deduction": ProblemTask(
        deduction, lambda steps: GROUPS * steps, ("every", "is", "coloured", *COLOURS, *SIZES), learning_rate=1e-3
    ),
}  # fmt: skip


def find_problem_task(name: str) -> ProblemTask:
    """ValueError with the list of tasks if there is none of that name."""
    if name not in PROBLEM_TASKS:
        raise ValueError(f"Unknown task {name!r}; choose one of {sorted(PROBLEM_TASKS)}.")
    return PROBLEM_TASKS[name]
