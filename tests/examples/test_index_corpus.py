# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Search as a user builds and asks it."""

import json
import re

import pytest

from ..retrieval.kit import MIXED, save_bert
from .kit import refusal, run_here


NAME = "index_corpus.py"


@pytest.fixture
def folder(tokenizer, tmp_path):
    """A folder with a small BERT `bert` and text files `notes`."""
    save_bert(tmp_path / "bert", tokenizer)
    (tmp_path / "notes").mkdir()
    for number, text in enumerate(MIXED):
        (tmp_path / "notes" / f"{number}.txt").write_text(text)
    return tmp_path


@pytest.fixture
def built(folder, monkeypatch, capsys):
    """The folder, with the notes' index `index`."""
    options = ["--model_name_or_path", "bert", "--num_vectors", "3"]
    run_here(NAME, folder, monkeypatch, "build", "--text_files", "notes", *options)
    captured = capsys.readouterr()
    speed, written = captured.out.splitlines()
    assert re.fullmatch(r"30 documents added in [\d.]+ s, [\d,.]+ a second, by 1 process\(es\)\.", speed)
    assert written == "index: index, 30 documents of files, passages of 100 words"
    assert "30/30" in captured.err and "documents/s" in captured.err
    return folder


def test_a_folder_of_texts_is_searched(built, monkeypatch, capsys):
    run_here(NAME, built, monkeypatch, "search", MIXED[7], "--top_k", "3")
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == MIXED[7] and len(lines) == 3
    rank, score, name, text = re.match(r" +(\d+) +([\d.]+)  (\S+)  (.*)$", lines[0]).groups()
    assert (rank, name) == ("1", "notes/7.txt:1:1") and MIXED[7].startswith(text)
    run_here(NAME, built, monkeypatch, "search", MIXED[7], "--top_k", "3", "--exact")
    exact = capsys.readouterr().out.splitlines()[1]
    assert exact.split()[2] == name and float(exact.split()[1]) == pytest.approx(float(score), abs=1e-4)


def test_a_file_of_queries_gives_json_lines_times_and_recall(built, monkeypatch, capsys):
    (built / "queries.txt").write_text(f"{MIXED[0]}\n\n{MIXED[1]}\n")
    given = ["--query_file", "queries.txt", "--output_file", "found.jsonl", "--recall", "--top_k", "4"]
    run_here(NAME, built, monkeypatch, "search", *given)
    out = capsys.readouterr().out
    assert re.search(r"p50 [\d.]+ ms, p99 [\d.]+ ms \(2 queries\)", out)
    assert "recall@4 of the exact search: 1.0000" in out
    rows = [json.loads(line) for line in (built / "found.jsonl").read_text().splitlines()]
    assert [(row["query"], row["rank"]) for row in rows] == [(MIXED[n], rank) for n in (0, 1) for rank in (1, 2, 3, 4)]
    assert rows[4]["id"] == "notes/1.txt:1:1" and rows[4]["text"] == MIXED[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give what to do first: build, or search."),
        (["find"], "Give what to do first: build, or search."),
        (["build"], "Give --dataset_name or --text_files, one of them."),
        (["build", "--text_files", "notes", "--top_k", "3"], "There is no option --top_k"),
        (["build", "--text_files", "notes", "--num_vectors", "0"], "--num_vectors must be at least 1, not 0."),
        (["build", "--text_files", "nowhere"], "There is no file or folder nowhere."),
        (["search"], 'Give a query, as in `search "who rowed out alone?"`, or --query_file, one of them.'),
        (["search", "who", "--index_uri", "nowhere"], "There is no index at nowhere"),
        (["search", " "], "The query is empty."),
        (["search", ""], "The query is empty."),
        (["search", "--query_file", "blank.txt"], "There is no query in blank.txt."),
    ],
)
def test_bad_input_gets_one_sentence(folder, monkeypatch, arguments, message):
    (folder / "blank.txt").write_text("\n")
    assert message in refusal(NAME, folder, monkeypatch, *arguments)


def test_another_number_of_vectors_is_refused(built, monkeypatch):
    given = ["build", "--text_files", "notes", "--model_name_or_path", "bert", "--num_vectors", "4"]
    assert "The index index was made with num_vectors 3 by" in refusal(NAME, built, monkeypatch, *given)
