# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Long documents with queries about them: SCROLLS, LongBench or one's own. D documents, Q queries."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import hf_hub_download

from ...data.texts import cell_text, load_files, load_named
from ...utils.errors import first_line


class Row(NamedTuple):
    """A document, and a question or statement about it."""

    document: str
    query: str


# Columns of document and query; in SCROLLS, which comes first, one column has the query, an empty line, the document.
SCROLLS_COLUMNS = ("input", "output")
LAYOUTS = (("context", "input"), ("document", "query"))

# Data sets of the Hub whose files are JSON lines in zip archives: archive, file in it, splits in order of preference.
ARCHIVES = {
    "tau/scrolls": ("{task}.zip", "{task}/{split}.jsonl", ("validation", "test", "train")),
    "THUDM/LongBench": ("data.zip", "data/{task}.jsonl", ("test",)),
}
# Tasks of SCROLLS that have queries; in others the first paragraph would be taken for one.
SCROLLS_TASKS = ("qmsum", "qasper", "narrative_qa")


@dataclass
class LongData:
    """
    Args:
        name: of the data; split: of it.
        documents: D texts, all different.
        queries: Q texts, all different, each of which belongs to one document.
        relevant: for each query the index of its document.
        ambiguous: number of queries that were left out as they belong to several documents.
    """

    name: str
    split: str
    documents: list[str]
    queries: list[str]
    relevant: list[int]
    ambiguous: int


def load_rows(name: str, task: str | None, split: str | None) -> tuple[list[dict], str]:
    """
    Rows of a Hub data set, local folder or file, and their split: `split`, or validation, or test; a file is one
    split.

    Raises:
        ValueError: no such data set, task or split; the message names those that exist.
    """
    if name in ARCHIVES:
        return load_archive(name, task, split)
    if Path(name).is_file():
        data = load_files({split or "validation": name}, {})
    else:
        data = load_named(name, task, {"streaming": False})
    split = choose_split(name, split, list(data))
    return list(data[split]), split


def load_archive(name: str, task: str | None, split: str | None) -> tuple[list[dict], str]:
    """Rows of one of `ARCHIVES`, as in [`load_rows`]."""
    archive, member, splits = ARCHIVES[name]
    if name == "tau/scrolls" and task not in SCROLLS_TASKS:
        raise ValueError(f"{name} needs --dataset_config_name, one of {list(SCROLLS_TASKS)}, not {task!r}.")
    try:
        path = hf_hub_download(name, archive.format(task=task), repo_type="dataset")
    except OSError as error:
        raise ValueError(f"The data set {name!r} cannot be read: {first_line(error)}") from error
    with zipfile.ZipFile(path) as file:
        members = {part: member.format(task=task, split=part) for part in splits}
        available = [part for part in splits if members[part] in file.namelist()]
        if not available:
            raise ValueError(f"{name} has no task {task!r}; its files are {sorted(file.namelist())}.")
        split = choose_split(name, split, available)
        return [json.loads(line) for line in file.read(members[split]).decode().splitlines() if line.strip()], split


def choose_split(name: str, split: str | None, available: list[str]) -> str:
    if split is not None and split not in available:
        raise ValueError(f"{name} has no split {split!r}; its splits are {available}.")
    return split or next((part for part in ("validation", "test") if part in available), available[0])


def read_rows(rows: list[dict]) -> list[Row]:
    """
    Documents and queries of the rows of [`load_rows`]. Rows without a document or a query are left out, and their
    number is printed.

    Raises:
        ValueError: columns of no known layout, cells that are no texts, or no row with both.
    """
    names = set(rows[0]) if rows else set()
    if names >= set(SCROLLS_COLUMNS):
        parts = (cell_text(row["input"], "input").partition("\n\n") for row in rows)
        found = [Row(document, query) for query, _, document in parts]
    else:
        columns = next((columns for columns in LAYOUTS if names >= set(columns)), None)
        if columns is None:
            raise ValueError(f"The columns {sorted(names)} are of no known layout; name them document and query.")
        found = [Row(*(cell_text(row[column], column) for column in columns)) for row in rows]
    kept = [row for row in found if row.document.strip() and row.query.strip()]
    if not kept:
        raise ValueError(f"No row has a document and a query; its columns are {sorted(names)}.")
    if len(kept) < len(found):
        print(f"{len(found) - len(kept):,} of {len(found):,} rows have no document or no query and are left out.")
    return kept


def make_data(name: str, split: str, rows: list[Row], limit: int | None = None) -> LongData:
    """
    The data of the first `limit` documents. Whether a query is ambiguous depends on all rows.

    Raises:
        ValueError: one document only, or all queries are ambiguous.
    """
    documents_of = {}
    for row in rows:
        documents_of.setdefault(row.query, set()).add(row.document)
    documents = list(dict.fromkeys(row.document for row in rows))[:limit]
    if len(documents) < 2:
        raise ValueError(f"{name} has one document, which any model finds; give two documents or more.")
    index = {document: place for place, document in enumerate(documents)}
    known = {query: found for query, found in documents_of.items() if not index.keys().isdisjoint(found)}
    queries = [query for query, found in known.items() if len(found) == 1]
    if not queries:
        raise ValueError(f"Each query of {name} belongs to several documents, so that none can be retrieved.")
    relevant = [index[next(iter(known[query]))] for query in queries]
    return LongData(name, split, documents, queries, relevant, len(known) - len(queries))
