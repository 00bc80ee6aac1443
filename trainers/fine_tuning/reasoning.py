# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Reasoning over synthetic ontologies, ProntoQA (Saparov & He 2023) and ProsQA (Hao et al. 2024), and a recursive encoder
initialised from a standard one.
"""

import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from datasets import DatasetDict

from modeling_concept import (
    ConceptEncoderConfig,
    RecursiveConceptEncoderConfig,
    RecursiveConceptEncoderForMaskedLM,
)

from ..starting import describe
from .classifiers import Checkpoint
from .task import Task


# The data have one split, which is always cut into the same parts (per cent).
SOURCE_SPLIT = "validation"
TEST = "test (20 % of validation)"
PARTS = {"train": 70, "selection": 10, TEST: 20}
CUT_SEED = 0


def prontoqa_row(row: dict) -> dict:
    """Context, question, and whether the statement in it is true (answer A) or false (B)."""
    label = {"A": "true", "B": "false"}.get(row["answer"], row["answer"])
    return {"context": row["context"], "question": row["question"], "label": label}


def prosqa_row(row: dict) -> dict:
    """Statements, their final question, "Is Tom a lempus or scrompus?", and whether the answer, "Tom is a lempus.", is
    the first or the second option; ValueError without such a question and answer."""
    text, given = row["question"].strip(), row["answer"].strip()
    question = re.search(r"Is (\w+) an? (\w+) or (?:an? )?(\w+)\?$", text)
    answer = question and re.fullmatch(rf"{question[1]} is an? ({question[2]}|{question[3]})\.?", given)
    if not answer:
        raise ValueError(
            "A ProsQA row has a question 'Is X a Y or Z?' and an answer 'X is a Y.', "
            f"not {text[-60:]!r} and {given!r}."
        )
    label = question.groups()[1:].index(answer[1])
    return {"context": text[: question.start()].strip(), "question": question[0].strip(), "label": label}


def cut_by_context(convert: Callable[[dict], dict], raw: DatasetDict) -> DatasetDict:
    """`PARTS` of the only split, with equal shares of both classes. Rows with the same statements in any order stay
    together (and count for the class of the first). ValueError if the data have other splits."""
    if SOURCE_SPLIT not in raw:
        raise ValueError(f"The split {SOURCE_SPLIT!r} is cut into parts, but the data have {list(raw)}.")
    rows, groups, labels = raw[SOURCE_SPLIT], {}, {}
    for number, row in enumerate(rows):
        row = convert(row)
        statements = frozenset(re.split(r"(?<=\.)\s+", row["context"].strip()))
        groups.setdefault(statements, []).append(number)
        labels.setdefault(statements, row["label"])
    total, taken, parts = Counter(), Counter(), {name: [] for name in PARTS}
    for statements, numbers in groups.items():
        total[labels[statements]] += len(numbers)
    bounds, contexts = np.cumsum(list(PARTS.values())), list(groups)
    for place in np.random.default_rng(CUT_SEED).permutation(len(contexts)):
        label, numbers = labels[contexts[place]], groups[contexts[place]]
        part = np.searchsorted(bounds, 100 * taken[label] / total[label], side="right")
        parts[list(PARTS)[part]] += numbers
        taken[label] += len(numbers)
    return DatasetDict({name: rows.select(numbers) for name, numbers in parts.items()})


def reasoning_task(name: str, dataset: str, convert: Callable[[dict], dict], label_names: tuple[str, str]) -> Task:
    return Task(
        name, dataset, ("context", "question"), ("accuracy",), label_names, selection_split="selection",
        evaluation_splits=(TEST,), divide=partial(cut_by_context, convert), convert=convert, whole_texts=True,
    )  # fmt: skip


REASONING_TASKS = {
    "prontoqa": reasoning_task("prontoqa", "renma/ProntoQA", prontoqa_row, ("true", "false")),
    "prosqa": reasoning_task("prosqa", "prosqa", prosqa_row, ("first option", "second option")),
}


def select_reasoning_tasks(names: list[str], has_data: bool) -> list[Task]:
    """
    Tasks by name.

    Args:
        has_data: whether data are given that replace those of the Hub.

    Raises:
        ValueError: an unknown name, or no data for ProsQA, which the Hub does not have.
    """
    if unknown := [name for name in names if name not in REASONING_TASKS]:
        raise ValueError(f"Unknown task {unknown[0]!r}; choose of {list(REASONING_TASKS)}.")
    if "prosqa" in names and not has_data:
        raise ValueError("prosqa is not on the Hub: give a folder by --dataset_name, or JSON files by --train_file.")
    return [REASONING_TASKS[name] for name in names]


def start_recursive(checkpoint: Checkpoint, folder: Path) -> str:
    """
    Initialise a recursive checkpoint from a standard one: its first concept layer becomes the shared layer, and
    embeddings, queries, norms and the decoder, if there is one, are kept. Saved with the tokenizer into `folder`.

    Returns:
        A sentence on the weights that were loaded, left and new.

    Raises:
        ValueError: the checkpoint is not a standard concept encoder.
    """
    if checkpoint.config.model_type != ConceptEncoderConfig.model_type:
        raise ValueError(
            f"--recursive starts from a standard concept encoder, but {checkpoint.path} is a "
            f"{checkpoint.config.model_type}."
        )
    model = RecursiveConceptEncoderForMaskedLM(RecursiveConceptEncoderConfig.from_standard(checkpoint.config))
    report = model.load_from_standard_checkpoint(checkpoint.path)
    if any(name.startswith("decoder.") for name in report["new"]):
        model = model.encoder
    model.save_pretrained(folder)
    checkpoint.tokenizer.save_pretrained(folder)
    return describe(checkpoint.path, **report)
