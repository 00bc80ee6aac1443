# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Names and texts are shown as they are: on the screen, in pictures, in cards."""

import html
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from trainers.evaluation.plots import plot_run
from trainers.evaluation.results import Result, results_table
from trainers.utils.plain_text import (
    code_block,
    code_span,
    markdown,
    markdown_table,
    one_line,
    picture_text,
    screen,
)


# Of rich, of matplotlib, of Markdown and of HTML.
NAMES = [
    "m[red]x",
    "[bold]m[/bold]",
    "a[/b]",
    r"$\frac$",
    "a $x$ b",
    "m|x",
    "<img>",
    "a\nb",
    "## h",
    "`a`",
    ":smile:",
    "\\",
]
TEXTS = st.text(st.sampled_from(list("ab_*`[]|<>&#~$\\!-+.() \n\t")) | st.characters(codec="utf-8"), max_size=30)


def rendered(source: str) -> str:
    """What a reader sees of Markdown, without its tags."""
    return html.unescape(re.sub(r"<[^>]+>", "", MarkdownIt("commonmark").enable("table").render(source))).strip("\n")


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_text_in_markdown_is_read_as_it_is(text):
    text = f"x{text}x"
    shown = one_line(text)
    for line in ("# {}", "a {} b", "- {}", "**{}**"):
        assert rendered(line.format(markdown(text))).strip() == re.sub(r"[#*-]", "", line, count=4).strip().format(
            shown
        )
    table = rendered(markdown_table(["head", "other"], [[text, code_span(text)]])).split("\n")
    assert [line for line in table if line] == ["head", "other", shown, shown]
    code = re.sub(r"[\r\0]", "", text)
    assert MarkdownIt("commonmark").parse(code_block(code, "python"))[0].content == f"{code}\n"


def test_what_is_markdown_already_stays():
    assert markdown(code_span("a_b*")) == "`a_b*`" and markdown("tsdae_posonly_H128") == "tsdae_posonly_H128"
    table = markdown_table(["a|b", code_span("c|d")], [["e", 1]])
    assert table == "| a\\|b | `c\\|d` |\n| --- | ---: |\n| e | 1 |"


@pytest.mark.parametrize("name", NAMES)
def test_names_stand_in_tables_as_they_are(name):
    console = screen(200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    records = [Result("stsb", "test", "spearman", system, value) for system, value in ((name, 0.5), ("other", 0.4))]
    console.print(results_table(records, f"{name}, zero-shot"))
    console.print(one_line(name))
    text = console.export_text()
    assert text.count(one_line(name)) >= 3 and "0.5000" in text


@pytest.mark.parametrize("name", NAMES)
def test_names_do_not_harm_pictures(name, tmp_path):
    plot_run([{"step": 1, "loss": 2.0}], None, None, 3.0, name, tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 1000
    figure = Figure()
    text = figure.suptitle(picture_text(name))
    figure.canvas.draw()
    assert text._preprocess_math(text.get_text()) == (one_line(name), False)
