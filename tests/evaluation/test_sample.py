# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Texts for an analysis from a user's file: its only column of texts is used, and missing cells are empty."""

import datasets

from trainers.evaluation.analysis.sample import load_sample

from .conftest import make_sentences


def test_texts_come_from_the_column_of_texts(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    sentences = make_sentences()
    rows = [f"{number},{'' if number % 9 == 4 else text}" for number, text in enumerate(sentences)]
    (tmp_path / "rows.CSV").write_text("id,body\n" + "\n".join(rows))
    sample = load_sample(tokenizer, 24, 64, str(tmp_path / "rows.CSV"))
    assert sample.ids.shape == (64, 24)
    words = tokenizer.decode(sample.ids[0], skip_special_tokens=True).split()[1:-1]
    assert len(words) > 5 and set(words) - {"."} <= set(" ".join(sentences).replace(".", "").split())
