# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Documents to be indexed, each with an id: rows of data sets, and passages of text files."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import datasets
import numpy as np
from datasets import Dataset

from ..data.texts import load_named, text_column
from ..utils.errors import UNREADABLE, first_line


# The files that are read of a folder.
ENDINGS = (".txt", ".md", ".rst")


@dataclass(frozen=True)
class Documents:
    """
    Args:
        source: where the documents come from; the index keeps it.
        rows: with the column `text`, and perhaps `_id` and `title`. Without `_id` a row's number is its id.
        paths: files and folders that they were read from, as given; none for a data set, which is read whole.

    Raises:
        ValueError: there is no row, or two have the same `_id`.
    """

    source: str
    rows: Dataset
    paths: tuple[str, ...] = ()

    def __post_init__(self):
        if not len(self.rows):
            raise ValueError(f"There is no document in {self.source}.")
        if "_id" in self.rows.column_names and len(self.rows.unique("_id")) < len(self.rows):
            raise ValueError(f"Several documents of {self.source} have the same _id; each needs its own.")

    def __len__(self):
        return len(self.rows)

    def part(self, start: int, stop: int) -> dict[str, str]:
        """The texts of some rows by id, a title before its text. Empty texts are left out."""
        rows = self.rows[start:stop]
        ids = rows.get("_id") or range(start, start + len(rows["text"]))
        titles = rows.get("title") or [""] * len(ids)
        texts = (f"{title or ''} {text or ''}".strip() for title, text in zip(titles, rows["text"], strict=True))
        return {str(key): text for key, text in zip(ids, texts, strict=True) if text}

    def covers(self, key: str) -> bool:
        """Whether a document with this id would be among these if it still existed."""
        file = Path(key.rsplit(":", 2)[0])
        return not self.paths or any(path in (file, *file.parents) for path in map(Path, self.paths))


def load_documents(source: str, column: str | None = None) -> Documents:
    """
    The documents of a data set: its configuration `corpus` as in BEIR's layout, else the rows of all of its splits,
    with the columns `_id` and `title` where they exist.

    Args:
        source: Hub id or folder.
        column: holds the text; `text`, or the only column of texts, by default.

    Raises:
        ValueError: the data cannot be read, or no such column, or several that could hold the text.
    """
    try:
        beir = "corpus" in datasets.get_dataset_config_names(source)
    except UNREADABLE as error:
        raise ValueError(f"The data set {source!r} cannot be read: {first_line(error)}") from error
    rows = datasets.concatenate_datasets(list(load_named(source, "corpus" if beir else None, {}).values()))
    column = text_column(rows, column)
    rows = rows.select_columns([name for name in rows.column_names if name in (column, "_id", "title")])
    return Documents(source, rows if column == "text" else rows.rename_column(column, "text"))


def load_passages(paths: str | Iterable[str], words: int = 100) -> Documents:
    """
    The passages of text files, with the id `file:line:column` of their beginning.

    Args:
        paths: files, and folders whose files with one of `ENDINGS` are read; one of these, or several.
        words: of a passage at most; a file is cut into passages of equal length.

    Raises:
        ValueError: a path does not exist, or a file is not UTF-8, or there is no text.
    """
    found, paths = {}, (paths,) if isinstance(paths, str) else tuple(map(str, paths))
    for file in text_files(paths):
        try:
            text = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not text in UTF-8; save it as UTF-8.") from error
        for start, passage in cut(text, words):
            line = text.count("\n", 0, start) + 1
            found[f"{file}:{line}:{start - text.rfind(chr(10), 0, start)}"] = passage
    rows = Dataset.from_dict({"_id": [*found], "text": [*found.values()]})
    return Documents(f"files, passages of {words} words", rows, paths)


def text_files(paths: Iterable[str]) -> list[Path]:
    """The files among these paths, and those with one of `ENDINGS` in the folders among them."""
    found = []
    for path in map(Path, paths):
        if not path.exists():
            raise ValueError(f"There is no file or folder {path}.")
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
        if path.is_dir() and not inside:
            raise ValueError(f"The folder {path} has no file that ends in {', '.join(ENDINGS)}.")
        found += inside if path.is_dir() else [path]
    return list(dict.fromkeys(found))


def cut(text: str, words: int) -> Iterator[tuple[int, str]]:
    """Passages of at most so many words, of equal length up to one word, with the place of their first character."""
    spans = [word.span() for word in re.finditer(r"\S+", text)]
    for part in np.array_split(spans, ceil(len(spans) / words)) if spans else ():
        start, stop = int(part[0][0]), int(part[-1][1])
        yield start, text[start:stop]
