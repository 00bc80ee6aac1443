# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The experiment list's decision gates as data: what each needs, its thresholds, and what follows.

Ranks are those of 128 concepts in the list; here a rank is the share of what C concepts of width H allow, min(C, H),
times 128. A gate on the rank has two verdicts: by the rank as the list measured it, which concepts that ignore the
text can pass, and by `content_erank`, which they cannot. A gate is judged for the runs that it was written for; what a
checkpoint was trained for stands in its `training_run.json`.
"""

import json
import operator
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers.utils import cached_file

from ..data import first_line
from .measures import MEASURES, Measured


LIST_CONCEPTS = 128

GOOD, PARTIAL, POOR, BETWEEN, OPEN, OTHER = "good", "partial", "poor", "between", "open", "other"

LEGACY, CONTENT = "legacy rank", "content_erank"

SIGNS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


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
class Run:
    """
    What a checkpoint was trained for.

    Args:
        recursive: whether its encoder is.
        objectives: options by name; None where no `training_run.json` says.
        losses: names of the concept losses.
    """

    recursive: bool
    objectives: dict[str, dict] | None = None
    losses: tuple[str, ...] = ()

    @classmethod
    def read(cls, checkpoint: str, config) -> "Run":
        """
        Of a folder or Hub id.

        Raises:
            ValueError: its training_run.json is damaged.
        """
        recursive = config.is_recursive
        path = cached_file(
            checkpoint, "training_run.json", _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False, _raise_exceptions_for_gated_repo=False,
        )  # fmt: skip
        if path is None:
            return cls(recursive)
        try:
            facts = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(recursive, dict(facts["objectives"]), tuple(facts["concept_losses"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} cannot be read as facts of a training run: {first_line(error)}") from error

    def has_only(self, *objectives: str) -> bool:
        """Whether it was trained by one of the objectives, and by nothing else."""
        return len(self.objectives) == 1 and not set(self.objectives).isdisjoint(objectives)


@dataclass(frozen=True)
class Experiment:
    """
    Which runs a gate was written for.

    Args:
        words: that describe them.
        holds: whether a run is one of them, for runs whose objectives are known.
        recursive: whether their encoder is; None for any.
    """

    words: str
    holds: Callable[[Run], bool] | None = None
    recursive: bool | None = False

    def reason(self, run: Run) -> str:
        """Why its gates are not judged for a run; empty where they are."""
        if self.recursive not in (None, run.recursive):
            return "not this experiment"
        if self.holds is None:
            return ""
        if run.objectives is None:
            return "not judged: no training_run.json"
        return "" if self.holds(run) else "not this experiment"


MASKED_LM = Experiment("masked_lm", lambda run: run.has_only("masked_lm"))
CONCEPT_LOSSES = Experiment(
    "masked_lm with concept losses", lambda run: run.has_only("masked_lm") and bool(run.losses)
)
SCALING = Experiment(
    "masked_lm of spans with concept losses",
    lambda run: run.has_only("masked_lm") and bool(run.losses) and run.objectives["masked_lm"]["masking"] == "span",
)
TSDAE = Experiment("denoising", lambda run: run.has_only("denoising"))
DIFFUSION = Experiment(
    "masked_diffusion without concept losses", lambda run: run.has_only("masked_diffusion") and not run.losses
)
ELBO = Experiment(
    "masked_diffusion with weights 1/t, without concept losses",
    lambda run: DIFFUSION.holds(run) and run.objectives["masked_diffusion"]["elbo_weighting"] != "none",
)
REGULARISED = Experiment(
    "masked_diffusion with vicreg and t_regs_mst",
    lambda run: run.has_only("masked_diffusion") and {"vicreg", "t_regs_mst"} <= set(run.losses),
)
PREFIX = Experiment("prefix_diffusion", lambda run: run.has_only("prefix_diffusion"))
TRACK_A = Experiment(
    "denoising, masked_diffusion or prefix_diffusion",
    lambda run: run.has_only("denoising", "masked_diffusion", "prefix_diffusion"),
)
STANDARD = Experiment("any run of a standard encoder")
RECURSIVE = Experiment("any run of a recursive encoder", recursive=True)
ANY = Experiment("any run", recursive=None)


@dataclass(frozen=True)
class Gate:
    """
    Args:
        name: in the experiment list.
        experiment: the runs that it is about.
        rules: the first that holds decides.
        otherwise: verdict (poor) when no rule can hold; None where the list says nothing: between the gates.
    """

    name: str
    experiment: Experiment
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


def target(
    name: str, experiment: Experiment, *conditions: str, met: str = "target met", missed: str = "target missed"
) -> Gate:
    """A gate that is met where all conditions hold."""
    return Gate(name, experiment, (Rule(conditions, met, GOOD),), missed)


GATES = (
    target("TODO 0: STS-B", MASKED_LM, "stsb > 0.60"),
    target("TODO 0: rank", MASKED_LM, "rank > 30"),
    target("TODO 0: QQP", MASKED_LM, "qqp > 0.70"),
    Gate(
        "TODO 4",
        CONCEPT_LOSSES,
        (
            Rule(("rank < 20",), "abandon the concept-loss track; slot attention or diffusion", POOR),
            Rule(("rank >= 20",), "the concept-loss track goes on", GOOD),
        ),
    ),
    Gate(
        "TODO 6",
        DIFFUSION,
        (
            Rule(("rank < 30",), "diffusion alone is insufficient", POOR),
            Rule(("rank >= 30",), "diffusion alone may do", GOOD),
        ),
    ),
    target("TODO 7", SCALING, "task_loss < 2.0", "rank > 60"),
    target("TODO 10", TSDAE, "rank > 64"),
    Gate(
        "TODO 11: STS-B",
        ELBO,
        (
            Rule(("stsb > 0.50",), "the diffusion objective is viable", GOOD),
            Rule(("stsb >= 0.30",), "partial: add a contrastive loss or prefix generation", PARTIAL),
            Rule(("stsb < 0.30",), "pivot to prefix generation", POOR),
        ),
    ),
    target(
        "TODO 11: rank", ELBO, "rank > 20",
        met="depth helps the geometry", missed="depth does not help the geometry",
    ),
    Gate(
        "TODO 11b",
        REGULARISED,
        (
            Rule(("rank > 30", "task_loss < 3.0"), "regularisation works: go on with it", GOOD),
            Rule(("rank > 30", "task_loss > 3.5"), "the weight is too large: reduce it to 0.01", PARTIAL),
            Rule(("rank < 20",), "t_regs_mst is insufficient: slot attention or prefix generation", POOR),
        ),
    ),
    target("TODO 13", PREFIX, "suffix_loss < 3.0"),
    Gate(
        "Gate 1: rank",
        TRACK_A,
        (
            Rule(("rank > 64",), "go on to track B, data scaling", GOOD),
            Rule(("rank >= 30",), "slot attention", PARTIAL),
            Rule(("rank < 30",), "rethink", POOR),
        ),
    ),
    target("Gate 1: STS-B", TRACK_A, "stsb > 0.70"),
    target("Gate 1: suffix loss", PREFIX, "suffix_loss < 3.0"),
    target("Gate 2", STANDARD, "stsb > 0.75", "mnli > 0.65", "rank > 64", met="passed", missed="not passed"),
    target(
        "Gate 3: size", RECURSIVE, "recursion_gap <= 2",
        met="the recursive encoder keeps up", missed="the recursive encoder falls behind",
    ),
    target(
        "Gate 3: depth", RECURSIVE, "depth_gain > 0",
        met="more iterations help", missed="more iterations do not help",
    ),
    Gate(
        "Gate 4",
        ANY,
        (
            Rule(("scrolls >= 0", "concept_num >= 512"), "measured; the list names no threshold", GOOD),
            Rule(("scrolls >= 0", "concept_num < 512"), "measured, but with fewer than 512 concepts", PARTIAL),
        ),
    ),
    target("Gate 5", ANY, "stsb > 0.75", "rank > 64", "zero_shot > 0.60", met="passed", missed="not passed"),
)  # fmt: skip


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


def judge_all(measured: Measured, ranks: dict[str, float], run: Run) -> list[dict]:
    """
    All gates.

    Args:
        measured: what is known but for the rank.
        ranks: of 128 concepts, by the name of how they were measured.
        run: what the checkpoint was trained for.

    Returns:
        For each gate its `name`, `experiment` in words, `measures` (by name, with title, value or None, how it was
        evaluated, and the command that measures it), `thresholds`, and `verdicts`: by rank, or one under "" where the
        rank is not asked for or the gate is not judged.
    """
    judged, values = [], measured.values
    for gate in GATES:
        if reason := gate.experiment.reason(run):
            verdicts = {"": Verdict(reason, OTHER)}
        elif "rank" in gate.measures:
            verdicts = {name: judge(gate, {**values, "rank": rank}) for name, rank in ranks.items()}
        else:
            verdicts = {"": judge(gate, values)}
        shown = {
            name: {
                "title": MEASURES[name].title,
                "value": dict(ranks) if name == "rank" else values.get(name),
                "evaluation": measured.evaluations.get(name, ""),
                "command": MEASURES[name].command,
            }
            for name in gate.measures
        }
        judged.append(
            {
                "name": gate.name,
                "experiment": gate.experiment.words,
                "measures": shown,
                "thresholds": gate.thresholds(),
                "verdicts": verdicts,
            }
        )
    return judged


def rank_measures(geometry: dict[str, float], config) -> dict[str, float]:
    """Both ranks as they would be among 128 concepts; `geometry` is what `concept_metrics` gives."""
    scale = LIST_CONCEPTS / min(config.concept_num, config.hidden_size)
    return {LEGACY: geometry["ref_rank"] * scale, CONTENT: geometry["content_erank"] * scale}
