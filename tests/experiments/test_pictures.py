# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The picture of a table."""

import pytest
from matplotlib.figure import Figure

from trainers.evaluation.plots import EVALUATED, TRAINED
from trainers.evaluation.results import Result
from trainers.experiments.ablation.report import ACCURACY, COST, plot_summary


SIMILARITY = ("stsb", "validation", "spearman")


def numbers(values: dict) -> dict:
    return {place: Result(*place, "run", value) for place, value in values.items()}


@pytest.fixture
def figures(monkeypatch):
    """Figures instead of files."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: figures.append(figure))
    return figures


def test_each_model_has_a_line_and_each_metric_a_panel(figures, tmp_path):
    systems = {"a": numbers({ACCURACY: 0.5, SIMILARITY: 0.6, COST: 0.5}), "b": numbers({ACCURACY: 1.0}), "c": {}}
    kinds = {"a": "from scratch", "b": "teacher or backbone", "c": "baseline"}
    assert plot_summary(systems, kinds, tmp_path / "summary.png")
    panels = figures[0].axes
    assert [axes.get_xlabel() for axes in panels] == [
        "reconstructed tokens", "zero-shot STS-B, Spearman", "encoding, MFLOP per word"
    ]  # fmt: skip
    assert [tick.get_text() for tick in panels[0].get_yticklabels()] == ["1 a", "2 b", "3 c"]
    places = [(float(x), int(y)) for points in panels[0].lines for x, y in zip(*points.get_data(), strict=True)]
    assert places == [(0.5, 0), (0.9999, 1)]  # the axis ends at 99.99 %
    assert [points.get_color() for points in panels[0].lines] == [TRAINED, EVALUATED]
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == [kinds["a"], kinds["b"]]


def test_without_values_there_is_no_file(tmp_path):
    assert plot_summary({"a": {}}, {"a": "from scratch"}, tmp_path / "summary.png") is False
    assert not list(tmp_path.iterdir())
