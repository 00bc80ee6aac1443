# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The picture of a table."""

import pytest
from matplotlib.figure import Figure

from trainers.evaluation.results import Result
from trainers.experiments.ablation.pictures import plot_summary, scale_costs
from trainers.experiments.ablation.summary import Summary


PLACES = {
    "accuracy": ("reconstruction", "", "accuracy"),
    "similarity": ("stsb", "validation", "spearman"),
    "cost": ("encoding", "", "MFLOP per word"),
}


def line(number: int, **values: float) -> Summary:
    results = {PLACES[name]: Result(*PLACES[name], f"run {number}", value) for name, value in values.items()}
    return Summary(number, f"run {number}", "", False, results)


@pytest.fixture
def figures(monkeypatch):
    """Figures instead of files."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: figures.append(figure))
    return figures


@pytest.mark.parametrize(("costs", "scale"), [([0.53, 0.67], "linear"), ([0.5, 1.5], "linear"), ([0.5, 1.6], "log")])
def test_costs_that_differ_little_have_a_linear_axis(costs, scale):
    axes = Figure().subplots()
    axes.plot(costs, costs, "o")
    scale_costs(axes, costs)
    assert axes.get_xscale() == scale
    axes.figure.canvas.draw()
    assert len([tick.get_text() for tick in axes.get_xticklabels(minor=False)]) > 1
    assert not any(tick.get_text() for tick in axes.get_xticklabels(minor=True))


def test_each_model_has_a_line_and_each_metric_a_panel(figures, tmp_path):
    lines = [line(1, accuracy=0.5, similarity=0.6, cost=0.5), line(2, accuracy=1.0), line(3)]
    assert plot_summary(lines, tmp_path / "summary.png")
    panels = figures[0].axes
    assert [axes.get_xlabel() for axes in panels] == [
        "reconstructed tokens", "zero-shot STS-B, Spearman", "encoding, MFLOP per word"
    ]  # fmt: skip
    assert [tick.get_text() for tick in panels[0].get_yticklabels()] == ["1 run 1", "2 run 2"]
    places = [(float(x), int(y)) for points in panels[0].lines for x, y in zip(*points.get_data(), strict=True)]
    assert places == [(0.5, 0), (0.9999, 1)]  # the axis ends at 99.99 %


def test_without_values_there_is_no_file(tmp_path):
    assert plot_summary([line(1)], tmp_path / "summary.png") is False
    assert not list(tmp_path.iterdir())
