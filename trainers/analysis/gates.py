# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The experiment list's decision gates as data: what each needs, its thresholds, and what follows.

Ranks are those of 128 concepts in the list; here a rank is the share of what C concepts of width H allow, min(C, H),
times 128. A gate on the rank has two verdicts: by the rank as the list measured it, which concepts that ignore the
text can pass, and by `content_erank`, which they cannot.
"""

import json
import operator
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..results import Result, read_report


LIST_CONCEPTS = 128

GOOD, PARTIAL, POOR, BETWEEN, OPEN = "good", "partial", "poor", "between", "open"

LEGACY, CONTENT = "legacy rank", "content_erank"

SIGNS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


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
class Rule:
    """When all `conditions` hold (`"rank > 30"`), `verdict` follows; `level` tells how good that is."""

    conditions: tuple[str, ...]
    verdict: str
    level: str

    def parts(self):
        """Measure, comparison and threshold of each condition."""
        for condition in self.conditions:
            name, sign, threshold = condition.split()
            yield name, SIGNS[sign], float(threshold)


@dataclass(frozen=True)
class Gate:
    """
    Args:
        name: in the experiment list.
        rules: the first that holds decides.
        otherwise: verdict (poor) when no rule can hold; None where the list says nothing: between the gates.
    """

    name: str
    rules: tuple[Rule, ...]
    otherwise: str | None = None

    def thresholds(self) -> list[str]:
        """Conditions and what follows, in words."""
        lines = []
        for rule in self.rules:
            parts = [condition.split() for condition in rule.conditions]
            asked = " and ".join(f"{MEASURES[name].label} {sign} {value}" for name, sign, value in parts)
            lines.append(f"{asked}: {rule.verdict}".replace(">=", "≥").replace("<=", "≤"))
        return lines

    @property
    def measures(self) -> list[str]:
        """Names of the measures that it needs."""
        return list(dict.fromkeys(name for rule in self.rules for name, _, _ in rule.parts()))


def target(name: str, condition: str, met: str = "target met", missed: str = "target missed") -> Gate:
    """A gate with one threshold."""
    return Gate(name, (Rule((condition,), met, GOOD),), missed)


GATES = (
    target("TODO 0: STS-B", "stsb > 0.60"),
    target("TODO 0: rank", "rank > 30"),
    target("TODO 0: QQP", "qqp > 0.70"),
    Gate(
        "TODO 4",
        (
            Rule(("rank < 20",), "abandon the concept-loss track; slot attention or diffusion", POOR),
            Rule(("rank >= 20",), "the concept-loss track goes on", GOOD),
        ),
    ),
    Gate(
        "TODO 6",
        (
            Rule(("rank < 30",), "diffusion alone is insufficient", POOR),
            Rule(("rank >= 30",), "diffusion alone may do", GOOD),
        ),
    ),
    target("TODO 10", "rank > 64"),
    Gate(
        "TODO 11: STS-B",
        (
            Rule(("stsb > 0.50",), "the diffusion objective is viable", GOOD),
            Rule(("stsb >= 0.30",), "partial: add a contrastive loss or prefix generation", PARTIAL),
            Rule(("stsb < 0.30",), "pivot to prefix generation", POOR),
        ),
    ),
    target("TODO 11: rank", "rank > 20", "depth helps the geometry", "depth does not help the geometry"),
    Gate(
        "TODO 11b",
        (
            Rule(("rank > 30", "task_loss < 3.0"), "regularisation works: go on with it", GOOD),
            Rule(("rank > 30", "task_loss > 3.5"), "the weight is too large: reduce it to 0.01", PARTIAL),
            Rule(("rank < 20",), "t_regs_mst is insufficient: slot attention or prefix generation", POOR),
        ),
    ),
    target("TODO 13", "suffix_loss < 3.0"),
    Gate(
        "Gate 1: rank",
        (
            Rule(("rank > 64",), "go on to track B, data scaling", GOOD),
            Rule(("rank >= 30",), "slot attention", PARTIAL),
            Rule(("rank < 30",), "rethink", POOR),
        ),
    ),
    target("Gate 1: STS-B", "stsb > 0.70"),
    target("Gate 1: suffix loss", "suffix_loss < 3.0"),
    Gate("Gate 2", (Rule(("stsb > 0.75", "mnli > 0.65", "rank > 64"), "passed", GOOD),), "not passed"),
    target(
        "Gate 3: size", "recursion_gap <= 2", "the recursive encoder keeps up", "the recursive encoder falls behind"
    ),
    target("Gate 3: depth", "depth_gain > 0", "more iterations help", "more iterations do not help"),
    Gate(
        "Gate 4",
        (
            Rule(("scrolls >= 0", "concept_num >= 512"), "measured; the list names no threshold", GOOD),
            Rule(("scrolls >= 0", "concept_num < 512"), "measured, but with fewer than 512 concepts", PARTIAL),
        ),
    ),
    Gate("Gate 5", (Rule(("stsb > 0.75", "rank > 64", "zero_shot > 0.60"), "passed", GOOD),), "not passed"),
)


@dataclass(frozen=True)
class Verdict:
    """`text` with its `level`, and the names of measures that are missing for it."""

    text: str
    level: str
    missing: tuple[str, ...] = ()


def judge(gate: Gate, values: dict[str, float]) -> Verdict:
    """What follows from `values`, in which unknown measures are absent. A verdict that no missing measure can change
    is given without it."""
    undecided = {}
    for rule in gate.rules:
        missing = [name for name, _, _ in rule.parts() if name not in values]
        if all(compare(values[name], threshold) for name, compare, threshold in rule.parts() if name in values):
            if not missing and not undecided:
                return Verdict(rule.verdict, rule.level)
            undecided |= dict.fromkeys(missing)
    if undecided:
        return Verdict("not measured", OPEN, tuple(undecided))
    if gate.otherwise is None:
        return Verdict("between the gates", BETWEEN)
    return Verdict(gate.otherwise, POOR)


def judge_all(values: dict[str, float], ranks: dict[str, float]) -> list[dict]:
    """
    All gates.

    Args:
        values: of measures but for the rank, as far as they are known.
        ranks: of 128 concepts, by the name of how they were measured.

    Returns:
        For each gate its `name`, `measures` (by name, with title, value or None, and the command that measures it),
        `thresholds`, and `verdicts` by rank, or one under "" where the rank is not asked for.
    """
    judged = []
    for gate in GATES:
        by_rank = {name: {**values, "rank": rank} for name, rank in ranks.items()}
        cases = by_rank if "rank" in gate.measures else {"": values}
        shown = {
            name: {
                "title": MEASURES[name].title,
                "value": dict(ranks) if name == "rank" else values.get(name),
                "command": MEASURES[name].command,
            }
            for name in gate.measures
        }
        judged.append(
            {
                "name": gate.name,
                "measures": shown,
                "thresholds": gate.thresholds(),
                "verdicts": {case: judge(gate, found) for case, found in cases.items()},
            }
        )
    return judged


def rank_measures(geometry: dict[str, float], config) -> dict[str, float]:
    """Both ranks as they would be among 128 concepts; `geometry` is what `concept_metrics` gives."""
    scale = LIST_CONCEPTS / min(config.concept_num, config.hidden_size)
    return {LEGACY: geometry["ref_rank"] * scale, CONTENT: geometry["content_erank"] * scale}


@dataclass(frozen=True)
class Report:
    """A results.json: the script that wrote it, the model that it is about, and its records."""

    script: str
    model: str
    results: tuple[Result, ...]

    @classmethod
    def read(cls, path: str | Path) -> "Report":
        """
        Raises:
            ValueError: no such file, or not one of the evaluation scripts' results.
        """
        content = read_report(path)
        script = re.search(r"run_\w+\.py", str(content.get("command")))
        model = content.get("model") or content.get("model_name_or_path")
        if script is None or not model:
            raise ValueError(f"{path} cannot be read as results of an evaluation: it tells no script or no model.")
        return cls(script[0], Path(model).name, tuple(content["results"]))

    def value(self, script: str, task: str, metric: str, split: str, addition: str = "") -> float | None:
        """The model's own number, or that of the model with an addition to its name; None if it is not there."""
        for result in self.results if script == self.script else ():
            names = (self.model + addition, f"{self.model}, mean")
            if (result.task, result.metric) == (task, metric) and split in result.split and result.system in names:
                return result.value
        return None


def collect_measures(reports: Iterable[Report], references: Iterable[Report], checkpoint: str, config) -> dict:
    """
    Values of measures by name, as far as they are known.

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
        if report.model != Path(checkpoint).name:
            raise ValueError(f"--results are of {report.model!r}, but {Path(checkpoint).name!r} is analysed.")
    values = {"concept_num": float(config.concept_num), **run_losses(checkpoint, config)}
    for name, measure in MEASURES.items():
        if measure.source is not None:
            values[name] = first_known(report.value(*measure.source) for report in reports)
    source = MEASURES["mnli"].source
    deep, usual = (first_known(report.value(*source, f", K={k}") for report in reports) for k in (12, 6))
    values["depth_gain"] = None if deep is None or usual is None else deep - usual
    values["recursion_gap"] = mean_gap(reports, references)
    return {name: value for name, value in values.items() if value is not None}


def first_known(values: Iterable[float | None]) -> float | None:
    return next((value for value in values if value is not None), None)


def mean_gap(reports: list[Report], references: list[Report]) -> float | None:
    """By how many points (hundredths) the references are better on average, over the primary metrics that both
    have."""
    found = []
    for reference in references:
        for result in reference.results:
            if result.primary and result.system == reference.model:
                own = first_known(report.value(reference.script, result.task, result.metric, result.split)
                                  for report in reports)  # fmt: skip
                if own is not None:
                    found.append(100 * (result.value - own))
    return sum(found) / len(found) if found else None


def run_losses(checkpoint: str, config) -> dict[str, float]:
    """Evaluation losses that a training run left in its folder: of the suffix, or of the text itself."""
    path = Path(checkpoint) / "eval_results.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    continues = config.decoder_target == "continuation"
    suffix = found.get("eval_prefix_diffusion_loss", found.get("eval_loss") if continues else None)
    losses = {"suffix_loss": suffix, "task_loss": None if continues else found.get("eval_loss")}
    return {name: value for name, value in losses.items() if value is not None}
