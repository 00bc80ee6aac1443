# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Names and texts as they are, wherever they are shown: on the screen, in a picture, in Markdown."""

import re

from rich.console import Console
from rich.text import Text


# What Markdown reads as more than itself; an underscore only where it is not within a word.
MARKDOWN = re.compile(r"[\\`*\[\]|~$#]|(?<![^\W_])_|_(?![^\W_])")


def one_line(text: object) -> str:
    """Line breaks, and what else does not print, become spaces."""
    return " ".join("".join(mark if mark.isprintable() else " " for mark in str(text)).split())


def screen(width: int, **options) -> Console:
    """A console that reads no markup and no emoji codes in what is printed."""
    return Console(width=width, markup=False, emoji=False, highlight=False, **options)


def table_text(text: object, style: str = "") -> Text:
    """For the cells and titles of tables."""
    return Text(one_line(text), style=style)


def picture_text(text: object) -> str:
    """For titles and labels of pictures: matplotlib reads what stands between two $ as mathematics."""
    return one_line(text).replace("$", r"\$")


class Markdown(str):
    """Text that is Markdown already."""


def markdown(text: object) -> Markdown:
    """For any place within a line of Markdown, cells of tables among them."""
    if isinstance(text, Markdown):
        return text
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Markdown(MARKDOWN.sub(r"\\\g<0>", text))


def code_span(text: object) -> Markdown:
    """The same as code, in a line or in the cell of a table."""
    text = one_line(text).replace("|", r"\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return Markdown(f"{fence}{space}{text}{space}{fence}")


def code_block(text: str, language: str = "python") -> Markdown:
    """Lines of code."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return Markdown(f"{fence}{language}\n{text}\n{fence}")


def markdown_rows(rows: list[list]) -> Markdown:
    """A table; the first row is its head, the second its rules."""
    return Markdown("\n".join("| " + " | ".join(map(markdown, row)) + " |" for row in rows))
