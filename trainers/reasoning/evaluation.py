# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What a network answers by the number of steps and of iterations, and what can be answered without reasoning.

B problems, F facts, K iterations.
"""

from collections import Counter
from typing import NamedTuple

import torch

from .data import make_batch
from .problems import Fact, ProblemTask
from .systems import answer_logits


# Problems of a test begin with this number; training has as many as it takes.
FIRST_TEST_PROBLEM = 1 << 40


class Answers(NamedTuple):
    """
    Shares of the questions of `steps` steps that are answered right.

    Args:
        by_iterations: by K; None for a network without iterations.
        halted: with the first answers that are those of one iteration before, if there are iterations.
        iterations: mean number of iterations until then.
    """

    steps: int
    by_iterations: dict[int | None, float]
    halted: float | None = None
    iterations: float | None = None


def make_test(task: ProblemTask, seed: int, count: int, steps: int, names: list[str]) -> list[list[Fact]]:
    """`count` problems that no training has."""
    return [task.problem(seed, FIRST_TEST_PROBLEM + number, steps, names) for number in range(count)]


@torch.no_grad()
def measure_answers(
    model, problems: list[list[Fact]], tokenizer, steps: int, iterations: list[int], batch_size: int, concepts=None
) -> Answers:
    """
    Args:
        model: in eval mode.
        steps: of the questions that count, the longest of these problems.
        iterations: K; all others up to the largest are computed to find where the answers agree.
        concepts: C; one for each fact by default.
    """
    recursive = getattr(model.config, "is_recursive", False)
    numbers = list(range(1, max(iterations) + 1)) if recursive else [None]
    right, halted, needed, count = Counter(), 0, 0, 0
    for start in range(0, len(problems), batch_size):
        chosen = problems[start : start + batch_size]
        batch = make_batch(chosen, tokenizer).to(model.device)
        asked = torch.tensor([[is_asked(fact, steps) for fact in facts] for facts in chosen], device=model.device)
        logits = answer_logits(model, batch, numbers if recursive else None, concepts)
        given = torch.stack([part.argmax(dim=-1) for part in logits])  # [K, B, F]
        correct = given == batch.answers
        for number, found in zip(numbers, correct, strict=True):
            right[number] += int(found[asked].sum())
        if recursive:
            stop = agreement(given)  # [B]
            found = correct.gather(0, stop[None, :, None].expand(1, -1, given.shape[2]))[0]
            halted += int(found[asked].sum())
            needed += int((stop + 1).sum())
        count += int(asked.sum())
    shares = {number: right[number] / count for number in (iterations if recursive else [None])}
    if not recursive:
        return Answers(steps, shares)
    return Answers(steps, shares, halted / count, needed / len(problems))


def is_asked(fact: Fact, steps: int) -> bool:
    """Whether a question counts in the test of so many steps."""
    return fact.tested and fact.steps == steps


def agreement(given: torch.Tensor) -> torch.Tensor:
    """Of answers `given` [K, B, F] after each iteration: the place [B] of the first ones that equal those before, or
    of the last ones."""
    same = (given[1:] == given[:-1]).all(dim=2)
    last = given.shape[0] - 1
    places = torch.arange(1, last + 1, device=given.device)[:, None]
    return torch.where(same, places, last).amin(dim=0) if last else same.new_zeros(given.shape[1], dtype=torch.long)


def guess(problems: list[list[Fact]], steps: int, by_place: bool) -> float:
    """
    The share of questions of `steps` steps that a guesser answers who knows how often each word of a problem occurs (a
    bag of words), or how often at each place of a sentence (`by_place`: more than n-grams tell): in every problem it
    names one of the words with those numbers with which it is right most often, or the most frequent answer.
    """
    shares, answers = Counter(), Counter()
    for facts in problems:
        places = {}
        for fact in facts:
            for place, word in enumerate(fact.words):
                places.setdefault(word, Counter())[place if by_place else 0] += 1
        kinds = {word: tuple(sorted(numbers.items())) for word, numbers in places.items()}
        alike = Counter(kinds.values())
        for fact in facts:
            if is_asked(fact, steps):
                answers[fact.answer] += 1
                if fact.answer in kinds:
                    kind = kinds[fact.answer]
                    shares[kind] += 1 / alike[kind]
    return max(*shares.values(), *answers.values(), 0) / answers.total()
