# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Pictures of tables."""

import pytest
from matplotlib.figure import Figure

from trainers.ablation.pictures import plot_cost, scale_costs
from trainers.ablation.report import Summary
from trainers.results import Result


def line(number: int, cost: float, **values: float) -> Summary:
    """A line with a cost of encoding, and `accuracy` or `similarity` where given."""
    places = {"accuracy": ("reading", "", "accuracy"), "similarity": ("stsb", "validation", "spearman")}
    found = {("encoding", "", "MFLOP per word"): cost, **{places[name]: value for name, value in values.items()}}
    results = {place: Result(*place, f"run {number}", value) for place, value in found.items()}
    return Summary(number, f"run {number}", "", False, results)


@pytest.mark.parametrize(
    ("costs", "scale"), [([0.53, 0.67], "linear"), ([0.5, 1.5], "linear"), ([0.5, 1.6], "log"), ([], "linear")]
)
def test_costs_that_hardly_differ_stand_on_a_plain_axis(costs, scale):
    axes = Figure().subplots()
    axes.plot(costs, costs, "o")
    scale_costs(axes, costs)
    assert axes.get_xscale() == scale
    axes.figure.canvas.draw()
    words = [tick.get_text() for tick in axes.get_xticklabels(minor=False)]
    assert not costs or len(words) > 1
    assert not any(tick.get_text() for tick in axes.get_xticklabels(minor=True))


def test_each_panel_is_scaled_by_the_points_that_it_shows(tmp_path, monkeypatch):
    """A costly baseline that reads nothing back does not squeeze those that do."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: figures.append(figure))
    lines = [line(1, 0.53, accuracy=0.5, similarity=0.6), line(2, 0.67, accuracy=0.9, similarity=0.7)]
    assert plot_cost([*lines, line(3, 32.0, similarity=0.8)], tmp_path / "cost.png")
    assert [axes.get_xscale() for axes in figures[0].axes] == ["log", "linear", "linear"]


def test_nothing_to_show_leaves_no_file(tmp_path):
    assert plot_cost([line(1, 0.5)], tmp_path / "cost.png") is False
    assert not list(tmp_path.iterdir())
