# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Reasoning over made-up ontologies, ProntoQA (Saparov & He 2023) and ProsQA (Hao et al. 2024), and a recursive encoder
to try them with, started from a standard one.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from datasets import DatasetDict

from modeling_concept import (
    ConceptEncoderConfig,
    RecursiveConceptEncoderConfig,
    RecursiveConceptEncoderForMaskedLM,
)

from .classifiers import Checkpoint
from .task import Task


# The data have one split, which is cut into these parts (per cent), always in the same way.
SOURCE_SPLIT = "validation"
TEST = "test (20 % of validation)"
PARTS = {"train": 70, "selection": 10, TEST: 20}
CUT_SEED = 0


def read_columns(row: dict, *names: str) -> list:
    """Cells of a row; ValueError if one of them is missing."""
    if missing := [name for name in names if row.get(name) is None]:
        raise ValueError(f"A row of the task has the columns {list(names)}, but one of the data lacks {missing[0]!r}.")
    return [row[name] for name in names]


def prontoqa_row(row: dict) -> dict:
    """Context, question, and whether the statement in it is true (answer A) or false (B)."""
    context, question, answer = read_columns(row, "context", "question", "answer")
    return {"context": context, "question": question, "label": {"A": "true", "B": "false"}.get(answer, answer)}


def prosqa_row(row: dict) -> dict:
    """
    Statements, the question that ends them, "Is Tom a lempus or scrompus?", and whether the answer, "Tom is a
    lempus.", is the option named first or second.

    Raises:
        ValueError: no such question or answer.
    """
    text, given = map(str.strip, read_columns(row, "question", "answer"))
    question = re.search(r"Is (\w+) an? (\w+) or (?:an? )?(\w+)\?$", text)
    answer = question and re.fullmatch(rf"{question[1]} is an? ({question[2]}|{question[3]})\.?", given)
    if not answer:
        raise ValueError(
            f"A ProsQA row asks 'Is X a Y or Z?' and is answered 'X is a Y.', not {text[-60:]!r} and {given!r}."
        )
    label = question.groups()[1:].index(answer[1])
    return {"context": text[: question.start()].strip(), "question": question[0].strip(), "label": label}


def cut_by_context(convert: Callable[[dict], dict], raw: DatasetDict) -> DatasetDict:
    """
    `PARTS` of the only split, each with its share of both classes. Rows whose contexts hold the same statements, in
    any order, stay together (and count for the class of the first).

    Raises:
        ValueError: the data have other splits.
    """
    if SOURCE_SPLIT not in raw:
        raise ValueError(f"The split {SOURCE_SPLIT!r} is cut into parts, but the data have {list(raw)}.")
    rows, groups, labels = raw[SOURCE_SPLIT], {}, {}
    for number, row in enumerate(rows):
        row = convert(row)
        statements = frozenset(re.split(r"(?<=\.)\s+", row["context"].strip()))
        groups.setdefault(statements, []).append(number)
        labels.setdefault(statements, row["label"])
    total, taken, found = Counter(), Counter(), {name: [] for name in PARTS}
    for statements, numbers in groups.items():
        total[labels[statements]] += len(numbers)
    bounds, contexts = np.cumsum(list(PARTS.values())), list(groups)
    for place in np.random.default_rng(CUT_SEED).permutation(len(contexts)):
        label, numbers = labels[contexts[place]], groups[contexts[place]]
        part = np.searchsorted(bounds, 100 * taken[label] / total[label], side="right")
        found[list(PARTS)[part]] += numbers
        taken[label] += len(numbers)
    return DatasetDict({name: rows.select(numbers) for name, numbers in found.items()})


def reasoning_task(name: str, dataset: str, convert: Callable[[dict], dict], label_names: tuple[str, str]) -> Task:
    return Task(
        name, dataset, ("context", "question"), ("accuracy",), label_names, selection_split="selection",
        evaluation_splits=(TEST,), divide=partial(cut_by_context, convert), convert=convert, whole_texts=True,
    )  # fmt: skip


REASONING_TASKS = {
    "prontoqa": reasoning_task("prontoqa", "renma/ProntoQA", prontoqa_row, ("true", "false")),
    "prosqa": reasoning_task("prosqa", "prosqa", prosqa_row, ("first option", "second option")),
}


def select_reasoning_tasks(
    names: list[str], dataset_name: str | None = None, train_file: str | None = None
) -> tuple[list[Task], str | None]:
    """
    Tasks by name, and the data set that stands in for their own: `dataset_name`, unless it is a folder that holds a
    folder for each of the tasks, which then read those.

    Raises:
        ValueError: an unknown name, or no data for ProsQA, which the Hub does not have.
    """
    if unknown := [name for name in names if name not in REASONING_TASKS]:
        raise ValueError(f"Unknown task {unknown[0]!r}; choose of {list(REASONING_TASKS)}.")
    if "prosqa" in names and dataset_name is None and train_file is None:
        raise ValueError(
            "prosqa is not on the Hub: give a folder by --dataset_name, or JSON files by --train_file and "
            "--validation_file."
        )
    tasks = [REASONING_TASKS[name] for name in names]
    folders = [Path(dataset_name or "", name) for name in names]
    if dataset_name is None or not all(folder.is_dir() for folder in folders):
        return tasks, dataset_name
    return [replace(task, dataset=str(folder)) for task, folder in zip(tasks, folders, strict=True)], None


def start_recursive(checkpoint: Checkpoint, folder: Path) -> str:
    """
    A recursive checkpoint made of a standard one: its first concept layer becomes the one that is repeated,
    embeddings, queries and norms are taken over, and so is the decoder where it has one. Saved with the tokenizer.

    Args:
        checkpoint: the standard one.
        folder: to save into.

    Returns:
        A sentence on what was taken, what was left and what is new.

    Raises:
        ValueError: the checkpoint is no standard concept encoder.
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
    own = [name for name in report["loaded"] if name.startswith("encoder.")]
    new = [name.removeprefix("encoder.") for name in report["new"] if name.startswith("encoder.")]
    return (
        f"Recursive encoder from {checkpoint.path}: {len(own)} weights of its encoder loaded, layer 0 as the shared "
        f"layer, {len(report['loaded']) - len(own)} of its decoder, {len(report['skipped'])} left; new: "
        f"{', '.join(new) or 'none'}."
    )
