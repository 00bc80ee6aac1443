# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Analyses of several checkpoints side by side."""

from pathlib import Path

from ..results import MAJORITY, UNTRAINED, Result
from .gates import LIST_CONCEPTS
from .measures import MEASURES
from .probes import POOLINGS, SHUFFLED
from .report import Analysis, make_environment, number


NOTE = "Untrained: the same network before training. Ranks of 128 are shares of the largest possible rank, times 128."


def compare(analyses: list[Analysis]) -> list[Result]:
    """What tells checkpoints apart, as one record for each number and checkpoint: sizes, geometry, reading, probes of
    the mean concept and ranks, each with the same of the untrained network, kinds of text, and the measures of the
    gates that are known."""
    return [result for analysis in analyses for result in summarise(analysis)]


def summarise(analysis: Analysis) -> list[Result]:
    """The column of one checkpoint."""
    found: list[tuple[str, str, float]] = []
    for name in ("concepts", "width", "encoder_parameters"):  # one checkpoint may have a decoder, another none
        found.append(("size", name.replace("_", " "), analysis.model[name]))
    found.append(("size", "tokens of a text", analysis.sample["tokens"]))
    for result in analysis.records():
        task, _, pooling = result.task.partition(", ")
        other_pooling = pooling and pooling != POOLINGS[0]
        if result.system in (MAJORITY, SHUFFLED) or other_pooling:
            continue
        if result.system in (analysis.name, UNTRAINED):
            addition = "" if result.system == analysis.name else ", untrained"
            found.append((task, result.metric + addition, result.value))
    for key, ranks in analysis.ranks.items():
        addition = "" if key == "trained" else ", untrained"
        found += [(f"rank of {LIST_CONCEPTS}", name + addition, value) for name, value in ranks.items()]
    found += [("read back", f"{row['kind']}, tokens right", row["accuracy"]) for row in analysis.kinds or ()]
    found += [("other results", MEASURES[name].title, value) for name, value in analysis.measures.items()
              if name != "concept_num"]  # fmt: skip
    split, count = analysis.sample["split"], analysis.sample["texts"]
    return [Result(task, split, metric, analysis.name, value, count=count) for task, metric, value in found]


def comparison_rows(results: list[Result]) -> list[dict]:
    """What `compare` gives, by line: `what` it is, and `cells`, its value by checkpoint in few characters."""
    rows: dict[tuple[str, str], dict] = {}
    for result in results:
        row = rows.setdefault((result.task, result.metric), {"what": f"{result.task}: {result.metric}", "cells": {}})
        row["cells"][result.system] = number(result.value)
    return list(rows.values())


def write_comparison(path: Path, results: list[Result], links: dict[str, str], facts: dict) -> Path:
    """
    The HTML file.

    Args:
        path: to write.
        results: what `compare` gives.
        links: address of each checkpoint's own report, by name.
        facts: of the run.
    """
    template = make_environment().get_template("comparison_template.html")
    text = template.render(facts=facts, links=links, names=list(links), note=NOTE, rows=comparison_rows(results))
    path.write_text(text, encoding="utf-8")
    return path
