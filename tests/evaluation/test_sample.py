# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Texts for an analysis from a user's file: the column that is used is told, and missing cells are empty."""

import datasets
import pytest

from trainers.evaluation.analysis.sample import load_sample

from .conftest import make_sentences


@pytest.mark.parametrize("streaming", [False, True])
def test_the_column_that_is_used_is_told(streaming, tokenizer, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    rows = [f"{number},{'' if number % 9 == 4 else text}" for number, text in enumerate(make_sentences())]
    (tmp_path / "rows.CSV").write_text("id,body\n" + "\n".join(rows))
    sample = load_sample(tokenizer, 24, 64, str(tmp_path / "rows.CSV"), streaming=streaming)
    assert sample.ids.shape == (64, 24)
    assert capsys.readouterr().out == "Text: column 'body' of id, body.\n"
