# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Pictures of tables."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from trainers.ablation.pictures import neighbours, plot_cost, ranges, scale_costs
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
    assert [axes.get_xscale() for axes in figures[0].axes] == ["log", "linear", "logit"]


def test_points_that_lie_together_share_a_label(tmp_path, monkeypatch):
    """Their numbers are not written upon each other, and none is lost."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: figures.append(figure))
    lines = [line(n, 0.53, accuracy=0.9 + n / 1e5, similarity=0.7) for n in range(1, 9) if n != 5]
    assert plot_cost([*lines, line(9, 0.53, accuracy=0.2, similarity=0.3)], tmp_path / "cost.png")
    middle = figures[0].axes[1]
    assert [text.get_text() for text in middle.texts] == ["1–4, 6–8", "9"]
    assert middle.get_yscale() == "logit"


def test_what_lies_beyond_the_axis_is_told(tmp_path, monkeypatch):
    """All and none of the tokens stand at outer ticks that say so."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: figures.append(figure))
    assert plot_cost([line(1, 0.5, accuracy=1.0), line(2, 0.5, accuracy=0.0)], tmp_path / "cost.png")
    (axes,) = figures[0].axes  # nothing is known that other panels would show
    words = dict(zip(axes.get_yticks(), (tick.get_text() for tick in axes.get_yticklabels()), strict=True))
    heights = [points.get_ydata()[0] for points in axes.lines if len(points.get_ydata())]
    assert [words[height] for height in heights] == ["≥ 99.99 %", "≤ 1 %"]


@pytest.mark.parametrize(
    ("numbers", "words"), [([3], "3"), ([2, 1], "1, 2"), ([5, 1, 3, 4], "1, 3–5"), ([1, 2, 3, 7, 8], "1–3, 7, 8")]
)
def test_ranges(numbers, words):
    assert ranges(numbers) == words


def test_neighbours_hang_together_by_steps():
    places = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [9.0, 0.0]])
    assert sorted(map(sorted, neighbours(places, 1.5))) == [[0, 1, 2], [3]]
    assert neighbours(places[:1], 1.5) == [[0]]
    assert neighbours(places[:0], 1.5) == []


def test_nothing_to_show_leaves_no_file(tmp_path):
    assert plot_cost([line(1, 0.5)], tmp_path / "cost.png") is False
    assert not list(tmp_path.iterdir())
