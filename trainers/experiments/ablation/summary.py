# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Results of a table by model: means over seeds, and what a report reads from `results.json`."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from ...evaluation.results import Result


@dataclass(frozen=True)
class Summary:
    """
    The results of a model.

    Args:
        number: in tables.
        name: of the row or baseline.
        help_from: help beside the text, such as pairs or a teacher; empty from scratch.
        is_baseline: whether it is not one of the table's runs.
        results: by task, split and metric.
    """

    number: int
    name: str
    help_from: str
    is_baseline: bool
    results: dict[tuple[str, str, str], Result]

    def find(self, task: str, metric: str, split: str | None = None) -> Result | None:
        """The result of a task and metric; None if there is none."""
        for place, result in self.results.items():
            if place[::2] == (task, metric) and split in (None, place[1]):
                return result
        return None


def average_seeds(results: Iterable[Result]) -> list[Result]:
    """Means and standard deviations of the results that share system, task, split and metric, without undefined
    ones."""
    groups: dict[tuple, list[Result]] = {}
    for result in results:
        if not math.isnan(result.value):
            groups.setdefault((result.system, result.task, result.split, result.metric), []).append(result)
    averages = []
    for group in groups.values():
        values = [result.value for result in group]
        spread = stdev(values) if len(values) > 1 else group[0].spread
        averages.append(replace(group[0], value=fmean(values), spread=spread))
    return averages


def summarise(report: dict) -> list[Summary]:
    """The models of a `results.json`, in its order."""
    by_name: dict[str, dict] = {}
    for result in report["results"]:
        by_name.setdefault(result.system, {})[result.task, result.split, result.metric] = result
    return [
        Summary(number, name, report.get("help_from", {}).get(name, ""), name not in report["rows"], results)
        for number, (name, results) in enumerate(by_name.items(), 1)
    ]
