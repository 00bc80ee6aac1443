# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Escape names and texts for the screen, for pictures and for Markdown, so that they are shown literally."""

import re
from collections.abc import Iterable

from rich.console import Console


# Characters with a meaning in Markdown; an underscore has one only at the edge of a word.
MARKDOWN = re.compile(r"[\\`*\[\]|~$#]|(?<![^\W_])_|_(?![^\W_])")


def one_line(text: object) -> str:
    """The text with line breaks and other characters that do not print replaced by spaces."""
    return " ".join("".join(mark if mark.isprintable() else " " for mark in str(text)).split())


def screen(width: int, **options) -> Console:
    """A console that prints texts literally, without rich's markup and emoji codes."""
    return Console(width=width, markup=False, emoji=False, highlight=False, **options)


def picture_text(text: object) -> str:
    """For titles and labels of pictures, where matplotlib would set text between two $ as mathematics."""
    return one_line(text).replace("$", r"\$")


class Markdown(str):
    """Text that is already Markdown and is not escaped again."""


def markdown(text: object) -> Markdown:
    """For any place within a line of Markdown, cells of tables among them."""
    if isinstance(text, Markdown):
        return text
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Markdown(MARKDOWN.sub(r"\\\g<0>", text))


def code_span(text: object) -> Markdown:
    """Code within a line or in the cell of a table."""
    text = one_line(text).replace("|", r"\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return Markdown(f"{fence}{space}{text}{space}{fence}")


def code_block(text: str, language: str) -> Markdown:
    """A fenced block of code."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return Markdown(f"{fence}{language}\n{text}\n{fence}")


def markdown_table(headings: Iterable, rows: Iterable[Iterable], text_columns: int = 1) -> Markdown:
    """A table in Markdown without a final line break. Cells are escaped unless they are [`Markdown`]; columns after
    the first `text_columns` are aligned to the right."""
    headings = list(headings)
    rules = ["---"] * text_columns + ["---:"] * (len(headings) - text_columns)
    return Markdown("\n".join("| " + " | ".join(map(markdown, row)) + " |" for row in (headings, rules, *rows)))
