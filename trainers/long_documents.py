# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Long documents with texts that ask or state something about them: SCROLLS, LongBench, QMSum or one's own.

D documents, Q queries.
"""

import json
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import hf_hub_download

from .data import TextCells, first_line, load_files, load_named


CONTRACT_NLI_LABELS = ("Entailment", "Contradiction", "Not mentioned")


class Row(NamedTuple):
    """A document, a text that asks or states something about it, and the class of the two where they have one."""

    document: str
    query: str
    label: str | None = None


class Layout(NamedTuple):
    """How a row of a data set is read: `columns` that it must have, what makes a [`Row`] of it, and which columns hold
    texts."""

    columns: tuple[str, ...]
    convert: Callable[[dict], Row]
    texts: tuple[str, ...]


def scrolls_row(row: dict) -> Row:
    query, _, document = row["input"].partition("\n\n")
    return Row(document, query, row["output"] if row["output"] in CONTRACT_NLI_LABELS else None)


def longbench_row(row: dict) -> Row:
    return Row(row["context"], row["input"], row["answers"][0] if row["all_classes"] and row["answers"] else None)


# The first layout whose columns a data set has is taken.
LAYOUTS = {
    "scrolls": Layout(("input", "output"), scrolls_row, ("input", "output")),
    "longbench": Layout(("context", "input", "answers", "all_classes"), longbench_row, ("context", "input")),
    "query": Layout(("document", "query"), lambda row: Row(row["document"], row["query"]), ("document", "query")),
}


class Archive(NamedTuple):
    """
    A data set that the Hub holds as JSON lines in zip files.

    Args:
        file, member: of the task, as patterns.
        splits: the usual one first.
        tasks: configurations whose rows have queries; None for any.
    """

    file: str
    member: str
    splits: tuple[str, ...]
    tasks: tuple[str, ...] | None = None


ARCHIVES = {
    "tau/scrolls": Archive(
        "{task}.zip", "{task}/{split}.jsonl", ("validation", "test", "train"),
        ("qmsum", "qasper", "narrative_qa", "contract_nli"),
    ),
    "THUDM/LongBench": Archive("data.zip", "data/{task}.jsonl", ("test",)),
}  # fmt: skip


@dataclass
class LongData:
    """
    Args:
        name: of the data; split: of it.
        documents: D texts, all different.
        queries: Q texts, all different.
        pairs: places of document and query, all different.
        labels: a class for each pair, or None.
        named: of `pairs`, those whose query stands with no other document.
        left_out: number of queries that stand with several documents.
    """

    name: str
    split: str
    documents: list[str]
    queries: list[str]
    pairs: list[tuple[int, int]]
    labels: list[str] | None
    named: list[int]
    left_out: int


def load_rows(name: str, task: str | None, split: str | None) -> tuple[list[dict], str]:
    """
    Rows of a Hub data set, local folder or file, and the split they are of: `split`, or validation, or test; of a
    file, all its rows under the name of that split.

    Raises:
        ValueError: no such data set, task or split; the message names those that exist.
    """
    archive = ARCHIVES.get(name)
    if archive is None:
        if Path(name).is_file():
            data = load_files({split or "validation": name}, {})
        else:
            data = load_named(name, task, {"streaming": False})
        split = choose_split(name, split, list(data))
        return list(data[split]), split
    if archive.tasks is not None and task not in archive.tasks:
        raise ValueError(f"{name} needs --dataset_config_name, one of {list(archive.tasks)}, not {task!r}.")
    try:
        path = hf_hub_download(name, archive.file.format(task=task), repo_type="dataset")
    except OSError as error:
        raise ValueError(f"The data set {name!r} cannot be read: {first_line(error)}") from error
    with zipfile.ZipFile(path) as file:
        members = {part: archive.member.format(task=task, split=part) for part in archive.splits}
        members = {part: member for part, member in members.items() if member in file.namelist()}
        if not members:
            raise ValueError(f"{name} has no task {task!r}; its files are {sorted(file.namelist())}.")
        split = choose_split(name, split, list(members))
        return [json.loads(line) for line in file.read(members[split]).decode().splitlines() if line.strip()], split


def choose_split(name: str, split: str | None, found: list[str]) -> str:
    if split is not None and split not in found:
        raise ValueError(f"{name} has no split {split!r}; its splits are {found}.")
    return split or next((part for part in ("validation", "test") if part in found), found[0])


def find_layout(rows: list[dict], columns: tuple[str, str, str | None] | None = None) -> Layout:
    """
    The layout of rows: `columns` of document, query and label (or None) where given, else one of `LAYOUTS`.

    Raises:
        ValueError: a column that is not there, or rows of no known layout.
    """
    if not rows:
        raise ValueError("The data has no rows.")
    if columns is None:
        for layout in LAYOUTS.values():
            if set(layout.columns) <= set(rows[0]):
                return layout
        known = "; ".join(" + ".join(layout.columns) for layout in LAYOUTS.values())
        raise ValueError(
            f"The columns {list(rows[0])} are of no known layout ({known}); name them by --document_column, "
            "--query_column and --label_column_name."
        )
    if missing := [column for column in columns if column is not None and column not in rows[0]]:
        raise ValueError(f"There are no columns {missing}; the columns are {list(rows[0])}.")
    document, query, label = columns

    def convert(row):
        return Row(row[document], row[query], None if label is None or row[label] is None else str(row[label]))

    return Layout(columns[:2], convert, columns[:2])


def read_rows(rows: list[dict], columns: tuple[str, str, str | None] | None = None) -> list[Row]:
    """
    Documents and queries of rows as [`load_rows`] gives them. Numbers are their digits; a row without a document or
    without a query is left out, and a line says how many are.

    Args:
        rows, columns: as in [`find_layout`].

    Raises:
        ValueError: as there; cells that are no texts; no row that has both; a class that is missing in their column.
    """
    layout = find_layout(rows, columns)
    found = [
        layout.convert(row | {column: TextCells.read(row[column], column) for column in layout.texts}) for row in rows
    ]
    kept = [row for row in found if row.document.strip() and row.query.strip()]
    if not kept:
        raise ValueError(f"No row has a document and a query; its columns are {list(rows[0])}.")
    if len(kept) < len(found):
        print(f"{len(found) - len(kept):,} of {len(found):,} rows have no document or no query and are left out.")
    missing = sum(row.label is None for row in kept)
    if missing and columns is not None and columns[2] is not None:
        raise ValueError(f"{missing:,} of {len(kept):,} rows have no class in the column {columns[2]!r}.")
    return kept


def make_data(name: str, split: str, rows: Iterable[Row], limit: int | None = None) -> LongData:
    """What is evaluated, of the first `limit` documents; whether a query names one document is told from all rows."""
    rows = list(dict.fromkeys(rows))
    homes = {}
    for row in rows:
        homes.setdefault(row.query, set()).add(row.document)
    documents = list(dict.fromkeys(row.document for row in rows))[:limit]
    place = {document: number for number, document in enumerate(documents)}
    rows = [row for row in rows if row.document in place]
    queries = list(dict.fromkeys(row.query for row in rows))
    query_place = {query: number for number, query in enumerate(queries)}
    labels = [row.label for row in rows]
    return LongData(
        name,
        split,
        documents,
        queries,
        pairs=[(place[row.document], query_place[row.query]) for row in rows],
        labels=None if None in labels else labels,
        named=[number for number, row in enumerate(rows) if len(homes[row.query]) == 1],
        left_out=sum(len(homes[query]) > 1 for query in queries),
    )
