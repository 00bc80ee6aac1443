# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
ProsQA (Hao et al. 2024) answered by networks that were trained on generated problems of the task `ontology`.

F facts, K iterations, V vocabulary.
"""

import re

import torch

from ..data.texts import load_split
from ..fine_tuning.reasoning import prosqa_row
from .data import make_batch
from .problems import NOTHING, Fact
from .systems import answer_logits


STATEMENT = re.compile(r"(?:Every )?(\w+) is an? (\w+)\.")
QUESTION = re.compile(r"Is (\w+) an? (\w+) or (?:an? )?(\w+)\?")


def read_prosqa(path: str, names: list[str]) -> list[list[Fact]]:
    """
    Its questions as problems of `ontology`, their words replaced by `names` in the order in which they occur. The
    answers of statements are not known, and not scored.

    Args:
        path: folder or Hub id.

    Raises:
        ValueError: rows in another form, or with more words than there are names.
    """
    rows, _ = load_split(path, None, ("validation", "test"))
    return [as_problem(row, names) for row in rows]


def as_problem(row: dict, names: list[str]) -> list[Fact]:
    """A row of ProsQA; its last facts are the two candidates and the question, which takes as many steps as the row
    has."""
    read = prosqa_row(row)
    statements, question = STATEMENT.findall(read["context"]), QUESTION.fullmatch(read["question"])
    if question is None or len(statements) != read["context"].count("."):
        raise ValueError(f"This is no row of ProsQA: {row['question']!r}.")
    words = dict.fromkeys(word for statement in (*statements, question.groups()) for word in statement)
    if len(words) > len(names):
        raise ValueError(f"A row of ProsQA has {len(words)} different words, more than --name_num {len(names)}.")
    name = dict(zip(words, names, strict=False))
    asked, *candidates = (name[word] for word in question.groups())
    facts = [Fact((name[lower], "is", name[upper], "proves"), NOTHING, 0) for lower, upper in statements]
    options = [Fact((candidate, "is", "option", "proves"), candidate, 0) for candidate in candidates]
    return [*facts, *options, Fact(("who", "is", asked, "proves"), candidates[read["label"]], len(row["steps"]))]


@torch.no_grad()
def answer_prosqa(model, problems: list[list[Fact]], tokenizer, iterations: list[int]) -> torch.Tensor:
    """
    Whether the right one of the two candidates is the more probable answer to each question, bool [K, problems], or
    [1, problems] of a network without iterations.

    Raises:
        ValueError: a problem has more facts than the network reads.
    """
    right = []
    for facts in problems:
        if len(facts) > getattr(model.config, "concept_num", len(facts)):
            raise ValueError(
                f"A row of ProsQA makes {len(facts)} facts, the network reads {model.config.concept_num}: give "
                "larger --test_steps."
            )
        batch = make_batch([facts], tokenizer).to(model.device)
        logits = torch.stack(answer_logits(model, batch, iterations))[:, 0, -1]  # [K, V]
        answer = facts[-1].answer
        (other,) = {fact.answer for fact in facts[-3:-1]} - {answer}
        chosen, left = (logits[:, tokenizer.convert_tokens_to_ids(word)] for word in (answer, other))
        right.append((chosen > left).cpu())
    return torch.stack(right, dim=1)
