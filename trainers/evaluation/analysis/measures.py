# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The measurements that decision gates need, from results of the evaluation scripts and from the folder of a run."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..results import Result, is_measured, measured_model, model_name, read_report


class Measure(NamedTuple):
    """A measurement that gates need: its name in tables, and its script, task, metric and a part of the split's name,
    if it is one record of a results.json."""

    label: str
    source: tuple[str, str, str, str] | None = None


MEASURES = {
    "rank": Measure("rank"),
    "concept_num": Measure("concepts"),
    "stsb": Measure("STS-B Pearson, fine-tuned", ("run_glue.py", "stsb", "pearson", "")),
    "zero_shot": Measure("STS-B Pearson, zero-shot", ("run_sts.py", "stsb", "pearson", "")),
    "qqp": Measure("QQP F1", ("run_glue.py", "qqp", "f1", "")),
    "mnli": Measure("MNLI-m accuracy", ("run_glue.py", "mnli", "accuracy", "_matched")),
    "task_loss": Measure("task loss"),
    "suffix_loss": Measure("suffix loss"),
    "recursion_gap": Measure("points below the standard encoder"),
    "depth_gain": Measure("MNLI-m accuracy at K = 12 minus K = 6"),
    "scrolls": Measure(
        "QMSum R@1 at 4,096 tokens", ("run_long_context.py", "qmsum retrieval", "R@1, 4,096 tokens", "")
    ),
}


@dataclass(frozen=True)
class Measured:
    """Known values of measures by name, and how those from results of other scripts were evaluated."""

    values: dict[str, float]
    evaluations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """A results.json: the script that wrote it, folder or Hub id of its model, its records, a description of the
    evaluation (may be empty), and the digest of the model's weights."""

    script: str
    path: str
    results: tuple[Result, ...]
    evaluation: str = ""
    weights: str | None = None

    @property
    def model(self) -> str:
        """Its name among the systems of the records."""
        return model_name(self.path)

    def is_about(self, checkpoint: str) -> bool:
        """As [`is_measured`]."""
        return is_measured(self.path, self.weights, checkpoint)

    @classmethod
    def read(cls, path: str | Path) -> "Report":
        """
        Raises:
            ValueError: no such file, or no results of an evaluation script.
        """
        content = read_report(path)
        script = re.search(r"run_\w+\.py", str(content.get("command")))
        model, weights = measured_model(content)
        if script is None or not model:
            raise ValueError(f"{path} cannot be read as results of an evaluation: it names no script or no model.")
        return cls(script[0], model, tuple(content["results"]), describe_evaluation(content), weights)

    def value(self, script: str, task: str, metric: str, split: str, suffix: str = "") -> float | None:
        """The number of the model, or of the model with a suffix to its name; None if it is not there."""
        for result in self.results if script == self.script else ():
            matches = (result.task, result.metric) == (task, metric) and split in result.split
            own = result.system in (self.model + suffix, f"{self.model}, mean")
            if matches and own and not math.isnan(result.value):
                return result.value
        return None


def describe_evaluation(content: dict) -> str:
    """Whether a classifier of a report reads the concepts alone, or the tokens as well; empty without a classifier."""
    if not content.get("classifier_type"):
        return ""
    alone = content.get("through_concepts_alone")
    return f"{content['classifier_type']}, {'through the concepts alone' if alone else 'tokens bypass the concepts'}"


def collect_measures(reports: list[Report], references: list[Report], checkpoint: str, config) -> Measured:
    """
    The known measures of a checkpoint.

    Args:
        reports: of evaluations of this checkpoint.
        references: of evaluations of the standard encoder that a recursive one is compared with.
        checkpoint: its folder, with the `eval_results.json` of its training run; or a Hub id.
        config: of the model.
    """
    values, evaluations = {"concept_num": float(config.concept_num), **run_losses(checkpoint, config)}, {}
    for name, measure in MEASURES.items():
        for report in reports if measure.source is not None else ():
            if name not in values and (value := report.value(*measure.source)) is not None:
                values[name], evaluations[name] = value, report.evaluation
    source = MEASURES["mnli"].source
    deep, usual = (first_known(report.value(*source, f", K={k}") for report in reports) for k in (12, 6))
    values["depth_gain"] = None if deep is None or usual is None else deep - usual
    values["recursion_gap"] = mean_gap(reports, references)
    return Measured({name: value for name, value in values.items() if value is not None}, evaluations)


def first_known(values: Iterable[float | None]) -> float | None:
    return next((value for value in values if value is not None), None)


def mean_gap(reports: list[Report], references: list[Report]) -> float | None:
    """Mean advantage of the references in points (hundredths), over the primary metrics that both have."""
    gaps = []
    for reference in references:
        for result in reference.results:
            if result.primary and result.system == reference.model and not math.isnan(result.value):
                source = (reference.script, result.task, result.metric, result.split)
                own = first_known(report.value(*source) for report in reports)
                if own is not None:
                    gaps.append(100 * (result.value - own))
    return sum(gaps) / len(gaps) if gaps else None


def run_losses(checkpoint: str, config) -> dict[str, float]:
    """Evaluation losses in the folder of a training run: of the suffix, or of the text itself."""
    path = Path(checkpoint) / "eval_results.json"
    losses = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    continues = config.decoder_target == "continuation"
    suffix = losses.get("eval_prefix_diffusion_loss", losses.get("eval_loss") if continues else None)
    found = {"suffix_loss": suffix, "task_loss": None if continues else losses.get("eval_loss")}
    return {name: value for name, value in found.items() if value is not None}
