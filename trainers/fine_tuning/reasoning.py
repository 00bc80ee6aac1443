# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Reasoning over synthetic ontologies, ProntoQA (Saparov & He 2023) and ProsQA (Hao et al. 2024), and a recursive encoder
initialised from a standard one.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict

from modeling_concept import RecursiveConceptEncoderConfig, RecursiveConceptEncoderForMaskedLM

from ..starting import describe
from .classifiers import Checkpoint
from .task import Task


# The data have one split, validation, which is always cut into the same parts (per cent).
TEST = "test (20 % of validation)"
PARTS = {"train": 70, "selection": 10, TEST: 20}
CUT_SEED = 0


def prontoqa_row(row: dict) -> dict:
    """Context, question, whether the statement in it is true (answer A) or false (B), and from how many statements
    that follows."""
    label = {"A": "true", "B": "false"}.get(row["answer"], row["answer"])
    steps = prontoqa_steps(row["context"], row["question"])
    return {"context": row["context"], "question": row["question"], "label": label, "steps": steps}


def prontoqa_steps(context: str, question: str) -> int:
    """Number of statements from whom the question is about to the property in it, affirmed or not; 0 where none
    leads there."""
    statement, said = re.compile(r"(?:Each |Every )?(\w+) (?:is|are) (?:not )?(?:an? )?(\w+)\."), {}
    for subject, told in statement.findall(context):
        said.setdefault(singular(subject), set()).add(singular(told))
    who, asked = map(singular, found[-1]) if (found := statement.findall(question)) else ("", "")
    reached, known, steps = {who}, set(), 0
    while reached:
        steps, known = steps + 1, known | reached
        reached = set().union(*(said.get(kind, set()) for kind in reached)) - known
        if asked in reached:
            return steps
    return 0


def singular(word: str) -> str:
    """`wumpus` of `Wumpuses`."""
    return re.sub(r"uses$", "us", word.lower())


def prosqa_row(row: dict) -> dict:
    """Statements, their final question, "Is Tom a lempus or scrompus?", whether the answer, "Tom is a lempus.", is the
    first or the second option, and the number of statements from which it follows, 0 where it is not given."""
    text = row["question"].strip()
    question = re.search(r"Is (\w+) an? (\w+) or (?:an? )?(\w+)\?$", text)
    answer = re.fullmatch(rf"{question[1]} is an? (\w+)\.?", row["answer"].strip())
    label = question.groups()[1:].index(answer[1])
    steps = len(row.get("steps") or ())
    return {"context": text[: question.start()].strip(), "question": question[0], "label": label, "steps": steps}


def prepare(convert: Callable[[dict], dict], task: Task, raw: DatasetDict) -> tuple[Task, DatasetDict]:
    """The rows as `convert` makes them, and, unless files are given for the splits, the only split as `PARTS`, whose
    test is reported as a whole and by numbers of steps."""
    raw = raw.map(convert, remove_columns=next(iter(raw.values())).column_names)
    if not task.selection_split or "validation" not in raw:
        return task, raw
    parts = cut_by_context(raw["validation"])
    steps = parts[TEST]["steps"][:]
    by_steps = {f"test, {count} steps": count for count in sorted(set(steps) - {0})}
    by_steps = by_steps if len(by_steps) > 1 else {}
    for name, count in by_steps.items():
        parts[name] = parts[TEST].select([place for place, found in enumerate(steps) if found == count])
    return replace(task, evaluation_splits=(*task.evaluation_splits, *by_steps)), parts


def cut_by_context(rows: Dataset) -> DatasetDict:
    """`PARTS` of the rows, with equal shares of both classes. Rows with the same statements in any order stay together
    (and count for the class of the first)."""
    groups, labels = {}, rows["label"][:]
    for number, context in enumerate(rows["context"][:]):
        statements = frozenset(re.split(r"(?<=\.)\s+", context.strip()))
        groups.setdefault(statements, []).append(number)
    contexts = list(groups.values())
    total, taken, parts = Counter(), Counter(), {name: [] for name in PARTS}
    for numbers in contexts:
        total[labels[numbers[0]]] += len(numbers)
    bounds = np.cumsum(list(PARTS.values()))
    for place in np.random.default_rng(CUT_SEED).permutation(len(contexts)):
        numbers, label = contexts[place], labels[contexts[place][0]]
        part = np.searchsorted(bounds, 100 * taken[label] / total[label], side="right")
        parts[list(PARTS)[part]] += numbers
        taken[label] += len(numbers)
    return DatasetDict({name: rows.select(numbers) for name, numbers in parts.items()})


REASONING_TASKS = {
    name: Task(
        name, dataset, ("context", "question"), ("accuracy",), label_names, selection_split="selection",
        evaluation_splits=(TEST,), prepare=partial(prepare, convert), whole_texts=True,
    )
    for name, dataset, convert, label_names in (
        ("prontoqa", "renma/ProntoQA", prontoqa_row, ("true", "false")),
        ("prosqa", "prosqa", prosqa_row, ("first option", "second option")),
    )
}  # fmt: skip


def start_recursive(checkpoint: Checkpoint, folder: Path) -> str:
    """
    Initialise a recursive checkpoint from a standard one: its first concept layer becomes the shared layer, and
    embeddings, queries, norms and the decoder, if there is one, are kept. Saved with the tokenizer into `folder`.

    Returns:
        A sentence on the weights that were loaded, left and new.

    Raises:
        ValueError: the encoder of the checkpoint is none of a standard concept encoder.
    """
    model = RecursiveConceptEncoderForMaskedLM(RecursiveConceptEncoderConfig.from_standard(checkpoint.config))
    report = model.load_from_standard_checkpoint(checkpoint.path)
    if any(name.startswith("decoder.") for name in report["new"]):
        model = model.encoder
    model.save_pretrained(folder)
    checkpoint.tokenizer.save_pretrained(folder)
    return describe(checkpoint.path, **report)
