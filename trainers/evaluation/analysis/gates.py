# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Decision gates of the experiment list: measures, thresholds and verdicts.

Ranks in the list are of 128 concepts; here a rank is a share of its maximum min(C, H) for C concepts of width H, times
128. A gate on the rank has two verdicts: one by `ref_rank`, the list's own measure, which concepts that ignore the
text can pass, and one by `content_erank`, which they cannot.
"""

import operator
from dataclasses import dataclass
from typing import NamedTuple

from ...models.loading import read_record
from .measures import MEASURES, Measured


LIST_CONCEPTS = 128

REFERENCE_RANK, CONTENT_RANK = "ref_rank", "content_erank"

SIGNS = {">": operator.gt, "≥": operator.ge, "<": operator.lt, "≤": operator.le}


class Run(NamedTuple):
    """The training of a checkpoint: whether its encoder is recursive, its only objective (None for several, or without
    a record of the run), and whether it had concept losses."""

    recursive: bool
    objective: str | None = None
    losses: bool = False

    @classmethod
    def read(cls, checkpoint: str, config) -> "Run":
        """The run of a folder or Hub id; ValueError if its record is damaged."""
        record = read_record(checkpoint)
        objectives = list(record.get("objectives", ()))
        objective = objectives[0] if len(objectives) == 1 else None
        return cls(config.is_recursive, objective, bool(record.get("concept_losses")))


# -- gates


Condition = tuple[str, str, float]  # measure, sign, threshold


@dataclass(frozen=True)
class Gate:
    """
    Args:
        name: in the experiment list.
        rules: conditions by verdict; the first whose conditions all hold decides.
        otherwise: verdict if no rule holds.
        objectives: of the runs that it is about; any if empty.
        losses: whether these runs have concept losses; None for both.
        recursive: whether their encoder is recursive; None for both.
    """

    name: str
    rules: dict[str, list[Condition]]
    otherwise: str = "between the gates"
    objectives: tuple[str, ...] = ()
    losses: bool | None = None
    recursive: bool | None = False

    def is_about(self, run: Run) -> bool:
        """Whether it is judged for a run."""
        right_objective = not self.objectives or run.objective in self.objectives
        return right_objective and self.losses in (None, run.losses) and self.recursive in (None, run.recursive)

    def thresholds(self) -> list[str]:
        """The rules in words."""
        lines = []
        for verdict, conditions in self.rules.items():
            words = (f"{MEASURES[measure].label} {sign} {threshold:g}" for measure, sign, threshold in conditions)
            lines.append(f"{' and '.join(words)}: {verdict}")
        return lines

    @property
    def measures(self) -> list[str]:
        """Names of the measures that it needs."""
        return list(dict.fromkeys(measure for conditions in self.rules.values() for measure, _, _ in conditions))


def target(name: str, *conditions: Condition, met="target met", missed="target missed", **runs) -> Gate:
    """A gate that is met if all conditions hold; `runs` that it is about."""
    return Gate(name, {met: list(conditions)}, missed, **runs)


MASKED_LM, DENOISING, DIFFUSION, PREFIX = ("masked_lm",), ("denoising",), ("masked_diffusion",), ("prefix_diffusion",)
TRACK_A = (*DENOISING, *DIFFUSION, *PREFIX)

GATES = (
    target("TODO 0: STS-B", ("stsb", ">", 0.60), objectives=MASKED_LM),
    target("TODO 0: rank", ("rank", ">", 30), objectives=MASKED_LM),
    target("TODO 0: QQP", ("qqp", ">", 0.70), objectives=MASKED_LM),
    Gate("TODO 4", {
        "abandon the concept-loss track; slot attention or diffusion": [("rank", "<", 20)],
        "the concept-loss track goes on": [("rank", "≥", 20)],
    }, objectives=MASKED_LM, losses=True),
    Gate("TODO 6", {
        "diffusion alone is insufficient": [("rank", "<", 30)],
        "diffusion alone may do": [("rank", "≥", 30)],
    }, objectives=DIFFUSION, losses=False),
    target("TODO 7", ("task_loss", "<", 2.0), ("rank", ">", 60), objectives=MASKED_LM, losses=True),
    target("TODO 10", ("rank", ">", 64), objectives=DENOISING),
    Gate("TODO 11: STS-B", {
        "the diffusion objective is viable": [("stsb", ">", 0.50)],
        "partial: add a contrastive loss or prefix generation": [("stsb", "≥", 0.30)],
        "pivot to prefix generation": [("stsb", "<", 0.30)],
    }, objectives=DIFFUSION, losses=False),
    target("TODO 11: rank", ("rank", ">", 20), objectives=DIFFUSION, losses=False,
           met="depth helps the geometry", missed="depth does not help the geometry"),
    Gate("TODO 11b", {
        "regularisation works: go on with it": [("rank", ">", 30), ("task_loss", "<", 3.0)],
        "the weight is too large: reduce it to 0.01": [("rank", ">", 30), ("task_loss", ">", 3.5)],
        "t_regs_mst is insufficient: slot attention or prefix generation": [("rank", "<", 20)],
    }, objectives=DIFFUSION, losses=True),
    target("TODO 13", ("suffix_loss", "<", 3.0), objectives=PREFIX),
    Gate("Gate 1: rank", {
        "go on to track B, data scaling": [("rank", ">", 64)],
        "slot attention": [("rank", "≥", 30)],
        "rethink": [("rank", "<", 30)],
    }, objectives=TRACK_A),
    target("Gate 1: STS-B", ("stsb", ">", 0.70), objectives=TRACK_A),
    target("Gate 1: suffix loss", ("suffix_loss", "<", 3.0), objectives=PREFIX),
    target("Gate 2", ("stsb", ">", 0.75), ("mnli", ">", 0.65), ("rank", ">", 64),
           met="passed", missed="not passed"),
    target("Gate 3: size", ("recursion_gap", "≤", 2), recursive=True,
           met="the recursive encoder keeps up", missed="the recursive encoder falls behind"),
    target("Gate 3: depth", ("depth_gain", ">", 0), recursive=True,
           met="more iterations help", missed="more iterations do not help"),
    Gate("Gate 4", {
        "measured; the list names no threshold": [("scrolls", "≥", 0), ("concept_num", "≥", 512)],
        "measured, but with fewer than 512 concepts": [("scrolls", "≥", 0), ("concept_num", "<", 512)],
    }, recursive=None),
    target("Gate 5", ("stsb", ">", 0.75), ("rank", ">", 64), ("zero_shot", ">", 0.60), recursive=None,
           met="passed", missed="not passed"),
)  # fmt: skip


# -- verdicts


def judge(gate: Gate, values: dict[str, float]) -> str:
    """The verdict on `values`, from which unknown measures are absent; "not measured" only if they can change it."""
    undecided = {}
    for verdict, conditions in gate.rules.items():
        missing = [measure for measure, _, _ in conditions if measure not in values]
        if all(SIGNS[sign](values[measure], limit) for measure, sign, limit in conditions if measure in values):
            if not missing and not undecided:
                return verdict
            undecided |= {MEASURES[measure].label: None for measure in missing}
    return f"not measured: {', '.join(undecided)}" if undecided else gate.otherwise


def judge_all(measured: Measured, ranks: dict[str, float], run: Run) -> dict[str, dict[str, str]]:
    """
    Verdicts on the gates that are about a run.

    Args:
        measured: known measures without the rank.
        ranks: of 128 concepts, by `REFERENCE_RANK` and `CONTENT_RANK`.
        run: the training of the checkpoint.

    Returns:
        By the name of the gate its verdicts: by rank, or one under "" if the gate does not need the rank.
    """
    verdicts = {}
    for gate in GATES:
        if gate.is_about(run):
            known = {name: {**measured.values, "rank": rank} for name, rank in ranks.items()}
            known = known if "rank" in gate.measures else {"": measured.values}
            verdicts[gate.name] = {name: judge(gate, values) for name, values in known.items()}
    return verdicts


def list_ranks(geometry: dict[str, float], config) -> dict[str, float]:
    """Both ranks as they would be of 128 concepts; `geometry` is the result of [`concept_metrics`]."""
    scale = LIST_CONCEPTS / min(config.concept_num, config.hidden_size)
    return {name: geometry[name] * scale for name in (REFERENCE_RANK, CONTENT_RANK)}
