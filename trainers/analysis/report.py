# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What an analysis found, as records, as JSON and as one HTML file that needs nothing beside it."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..results import MAJORITY, UNTRAINED, Result
from ..text_kinds import TOLD
from .gates import LIST_CONCEPTS
from .geometry import LEGACY_CUTS
from .pictures import Picture


@dataclass(frozen=True)
class Analysis:
    """
    Args:
        name: of the model.
        model: facts about it, by name.
        sample: facts about the texts, by name.
        geometry: `trained` and `untrained`, what `concept_metrics` gives.
        legacy: `trained`, `untrained` and `constants`, what `legacy_metrics` gives.
        attention: `trained` and `untrained`, what `Attention.summary` gives.
        profiles: what `token_profiles` gives.
        probes: records.
        questions: sentence of each probe, by name.
        compression: what `measure_compression` gives, None for a model without a decoder of the text.
        kinds: what `read_back_kinds` gives, None for such a model.
        text: what `concepts_of_text` gives for a text of the user, None without one.
        ranks: `trained` and `untrained`, what `rank_measures` gives.
        measures: of the gates, by name, as far as they are known.
        gates: what `judge_all` gives.
        left_out: sentences on what could not be measured.

    Where there is no untrained network, there is no `untrained` either.
    """

    name: str
    model: dict
    sample: dict
    geometry: dict[str, dict[str, float]]
    legacy: dict[str, dict[str, float]]
    attention: dict[str, dict]
    profiles: dict[str, list]
    probes: list[Result]
    questions: dict[str, str]
    compression: dict | None
    kinds: list[dict] | None
    text: dict | None
    ranks: dict[str, dict[str, float]]
    measures: dict[str, float]
    gates: list[dict]
    left_out: list[str]

    def systems(self) -> dict[str, str]:
        """Name of each network in records, and its key here."""
        return {self.name: "trained"} | ({UNTRAINED: "untrained"} if "untrained" in self.geometry else {})

    def records(self) -> list[Result]:
        """All that is compared with a baseline, higher being better."""
        split, count = self.sample["split"], self.sample["texts"]
        systems, records = self.systems(), []
        for metric in ("content_fraction", "content_erank", "pooled_erank", "1 - duplicate_share"):
            for system, key in systems.items():
                values = self.geometry[key]
                value = 1 - values["duplicate_share"] if metric.startswith("1") else values[metric]
                records.append(Result("geometry", split, metric, system, value, count=count))
        if self.compression is not None:
            for metric in ("accuracy", "exact"):
                for system, key in {**systems, MAJORITY: "most_frequent_token"}.items():
                    value = self.compression[key][metric]
                    records.append(Result("reconstruction", split, metric, system, value, count=count))
        return [*records, *self.probes]

    def facts(self) -> dict:
        """All but the records, for JSON."""
        return {name: value for name, value in asdict(self).items() if name != "probes"}


def headlines(analysis: Analysis) -> list[dict[str, str]]:
    """The numbers to read first: `title`, `value`, `untrained` (None without one), and a `sentence` on what they
    mean."""
    trained, untrained = analysis.geometry["trained"], analysis.geometry.get("untrained")

    words = {r.system: r.value for r in analysis.probes if r.task == "probe: words, pooled"}
    fresh = {}
    if untrained is not None:
        fresh = {
            "fraction": f"{untrained['content_fraction']:.0%}",
            "rank": f"{untrained['content_erank']:.1f}",
            "copies": f"{untrained['duplicate_share']:.1%}",
            "reach": f"{analysis.attention['untrained']['distance'][-1]:.1f}",
        }
        if analysis.compression is not None:
            fresh["read"] = f"{analysis.compression['untrained']['accuracy']:.1%}"
        if words:
            fresh["words"] = f"{words[UNTRAINED]:.0%}"
    count, most = analysis.model["concepts"], min(analysis.model["concepts"], analysis.model["width"])
    cards = [
        {
            "title": "Content fraction",
            "value": f"{trained['content_fraction']:.0%}",
            "untrained": fresh.get("fraction"),
            "sentence": f"of the concepts' energy changes with the text. The other "
            f"{1 - trained['content_fraction']:.0%} is the same whatever is read.",
        },
        {
            "title": "Content rank",
            "value": f"{trained['content_erank']:.1f} of {most}",
            "untrained": fresh.get("rank"),
            "sentence": f"directions in which the {count} concepts of a text differ, once what all texts have in "
            "common is taken away.",
        },
        {
            "title": "Near copies",
            "value": f"{trained['duplicate_share']:.1%}",
            "untrained": fresh.get("copies"),
            "sentence": "of the concepts say almost the same as another concept of their text.",
        },
    ]
    compression = analysis.compression
    if compression is not None:
        exact = compression["trained"]["exact"]
        cards.append(
            {
                "title": "Tokens read back",
                "value": f"{compression['trained']['accuracy']:.1%}",
                "untrained": fresh.get("read"),
                "sentence": f"of the tokens come back from the concepts alone; {exact:.0%} of the texts without "
                "an error.",
            }
        )
    attention = analysis.attention["trained"]
    place = "address" if attention["addressed"] else "centre"
    cards.append(
        {
            "title": "Reach",
            "value": f"{attention['distance'][-1]:.1f} tokens",
            "untrained": fresh.get("reach"),
            "sentence": f"from its {place} lies what a concept attends to in the last layer, on average. Attending to "
            f"all tokens alike would give {attention['uniform_distance']:.1f}.",
        }
    )
    if words:
        cards.append(
            {
                "title": "Words in the mean",
                "value": f"{words[analysis.name]:.0%}",
                "untrained": fresh.get("words"),
                "sentence": "of the time, a linear map of the mean concept tells which of two texts holds a given "
                "word. Guessing gives 50%.",
            }
        )
    return cards


def concept_places(model: dict) -> str:
    """Where the concepts of a model stand in a text."""
    if not model["segments"]:
        return "The concepts of this model have no places of their own in the text."
    first = model["concepts"] - model["segments"]
    parts = f"The text is divided into {model['segments']} equal parts, and concept k stands at part k"
    if not first:
        return f"{parts}, counted from 0."
    return f"{parts} - {first}, counted from 0; the first {first} concepts stand for the whole text."


def legacy_rows(analysis: Analysis) -> list[dict]:
    """For each older metric its values by system, with their grade where there was a cut."""
    rows = []
    for name in analysis.legacy["trained"]:
        cut = LEGACY_CUTS.get(name)
        cells = [(values[name], cut.grade(values[name]) if cut else "") for values in analysis.legacy.values()]
        sign = "" if cut is None else "≥" if cut.higher_is_better else "≤"
        rows.append({"name": name, "cells": cells, "cut": f"{sign} {cut.good:.3g} / {cut.ok:.3g}" if cut else ""})
    return rows


def probe_rows(analysis: Analysis) -> tuple[list[str], list[dict]]:
    """Systems, and for each probe and pooling its scores in their order."""
    systems = list(dict.fromkeys(result.system for result in analysis.probes))
    rows = {}
    for result in analysis.probes:
        row = rows.setdefault(result.task, {"task": result.task.removeprefix("probe: "), "metric": result.metric})
        row.setdefault("cells", {})[result.system] = result
    return systems, list(rows.values())


def missing_commands(analysis: Analysis, checkpoint: str) -> dict[str, str]:
    """Commands that measure what gates still ask for, by what they measure."""
    commands = {}
    for gate in analysis.gates:
        for verdict in gate["verdicts"].values():
            for name in verdict.missing:
                measure = gate["measures"][name]
                commands[measure["title"]] = measure["command"].replace("{model}", checkpoint)
    return commands


def number(value: float) -> str:
    """A number in few characters."""
    if math.isnan(value):
        return "–"
    if float(value).is_integer():
        return f"{int(value):,}"
    if abs(value) < 0.001:
        return f"{value:.0e}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def make_environment() -> Environment:
    """Of the templates in this folder, which have the filter `number`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["number"] = number
    return environment


def write_report(path: str | Path, analysis: Analysis, pictures: dict[str, Picture], facts: dict) -> Path:
    """
    The HTML file.

    Args:
        path: to write.
        analysis: what was found.
        pictures: by name: similarity, spectrum, attention, probes, and where text is read back compression, ablation.
        facts: command, versions and git state.
    """
    systems, rows = probe_rows(analysis)
    text = (
        make_environment()
        .get_template("report_template.html")
        .render(
            analysis=analysis,
            cards=headlines(analysis),
            commands=missing_commands(analysis, facts["model_name_or_path"]),
            facts=facts,
            legacy=legacy_rows(analysis),
            list_concepts=LIST_CONCEPTS,
            pictures=pictures,
            places=concept_places(analysis.model),
            told=TOLD,
            probe_systems=systems,
            probe_rows=rows,
        )
    )
    path = Path(path)
    path.write_text(text, encoding="utf-8")
    return path
