# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The numbers that decision gates ask for, and where they are read from: results of the evaluation scripts, and what a
training run left in its folder."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..data import first_line
from ..results import Result, is_measured, measured_model, model_name, read_report


@dataclass(frozen=True)
class Measure:
    """
    A number that gates ask for.

    Args:
        label: short name; title: what it is.
        command: that measures it; `{model}` stands for the checkpoint.
        source: script, task, metric, and what the split's name holds, where it is one record of a results.json.
    """

    label: str
    title: str
    command: str
    source: tuple[str, str, str, str] | None = None


GLUE = "python examples/run_glue.py --model_name_or_path {model} --task_name "

MEASURES = {
    "rank": Measure(
        "rank", "effective rank, of 128", "python examples/run_concept_analysis.py --model_name_or_path {model}"
    ),
    "concept_num": Measure(
        "concepts", "concepts", "python examples/run_concept_analysis.py --model_name_or_path {model}"
    ),
    "stsb": Measure("STS-B", "STS-B Pearson, fine-tuned", GLUE + "stsb", ("run_glue.py", "stsb", "pearson", "")),
    "zero_shot": Measure(
        "zero-shot",
        "STS-B Pearson, zero-shot mean of concepts",
        "python examples/run_sts.py --model_name_or_path {model}",
        ("run_sts.py", "stsb", "pearson", ""),
    ),
    "qqp": Measure("QQP", "QQP F1", GLUE + "qqp", ("run_glue.py", "qqp", "f1", "")),
    "mnli": Measure("MNLI-m", "MNLI-m accuracy", GLUE + "mnli", ("run_glue.py", "mnli", "accuracy", "_matched")),
    "task_loss": Measure("task loss", "loss of the objective, nats", "python examples/run_pretraining.py"),
    "suffix_loss": Measure(
        "suffix loss",
        "loss of the suffix, nats per token",
        "python examples/run_pretraining.py --objective prefix_diffusion",
    ),
    "recursion_gap": Measure(
        "gap",
        "points below the standard encoder",
        GLUE + "all (and the same for the standard encoder, whose results.json goes to --reference_results)",
    ),
    "depth_gain": Measure("gain", "MNLI-m accuracy at K = 12 minus K = 6", GLUE + "mnli --num_iterations 6 12"),
    "scrolls": Measure(
        "retrieval",
        "QMSum R@1 at 4,096 tokens",
        "python examples/run_long_context.py --model_name_or_path {model} --lengths 4096",
        ("run_long_context.py", "qmsum retrieval", "R@1, 4,096 tokens", ""),
    ),
}


@dataclass(frozen=True)
class Measured:
    """Values of measures by name, as far as they are known, and how those that come from another script's results
    were evaluated."""

    values: dict[str, float]
    evaluations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """A results.json: the script that wrote it, folder or Hub id of the model that it is about, its records, in words
    how the model was evaluated (empty where the file does not say), and the digest of its weights."""

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
            ValueError: no such file, or not one of the evaluation scripts' results.
        """
        content = read_report(path)
        script = re.search(r"run_\w+\.py", str(content.get("command")))
        model, weights = measured_model(content)
        if script is None or not model:
            raise ValueError(f"{path} cannot be read as results of an evaluation: it tells no script or no model.")
        return cls(script[0], model, tuple(content["results"]), describe_evaluation(content), weights)

    def value(self, script: str, task: str, metric: str, split: str, addition: str = "") -> float | None:
        """The model's own number, or that of the model with an addition to its name; None if it is not there."""
        for result in self.results if script == self.script else ():
            names = (self.model + addition, f"{self.model}, mean")
            asked = (result.task, result.metric) == (task, metric) and split in result.split
            if asked and result.system in names and not math.isnan(result.value):
                return result.value
        return None


def describe_evaluation(content: dict) -> str:
    """How a classifier of run_glue.py sees the text: through the concepts alone, or its tokens beside them."""
    kind, alone = content.get("classifier_type"), content.get("through_concepts_alone")
    if not kind or "run_glue.py" not in str(content.get("command")):
        return ""
    if alone is None:
        return f"{kind}; the file does not say whether through the concepts alone"
    return f"{kind}, through the concepts alone" if alone else f"{kind}, tokens pass around the concepts"


def collect_measures(reports: Iterable[Report], references: Iterable[Report], checkpoint: str, config) -> Measured:
    """
    What is known of the measures.

    Args:
        reports: of evaluations of this checkpoint.
        references: of evaluations of the standard encoder that a recursive one is compared with.
        checkpoint: its folder, in which a training run left `eval_results.json`; or a Hub id.
        config: of the model.

    Raises:
        ValueError: a report is about another model.
    """
    reports, references = list(reports), list(references)
    for report in reports:
        if not report.is_about(checkpoint):
            raise ValueError(f"--results are of {report.path!r}, but {checkpoint!r} is analysed.")
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
    """By how many points (hundredths) the references are better on average, over the primary metrics that both
    have."""
    found = []
    for reference in references:
        for result in reference.results:
            if result.primary and result.system == reference.model and not math.isnan(result.value):
                own = first_known(report.value(reference.script, result.task, result.metric, result.split)
                                  for report in reports)  # fmt: skip
                if own is not None:
                    found.append(100 * (result.value - own))
    return sum(found) / len(found) if found else None


def run_losses(checkpoint: str, config) -> dict[str, float]:
    """Evaluation losses that a training run left in its folder: of the suffix, or of the text itself."""
    path = Path(checkpoint) / "eval_results.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as losses of a training run: {first_line(error)}") from error
    continues = config.decoder_target == "continuation"
    suffix = found.get("eval_prefix_diffusion_loss", found.get("eval_loss") if continues else None)
    losses = {"suffix_loss": suffix, "task_loss": None if continues else found.get("eval_loss")}
    return {name: value for name, value in losses.items() if value is not None}
