# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Decision gates of the experiment list: measures, thresholds and verdicts.

Ranks in the list are of 128 concepts; here a rank is a share of its maximum min(C, H) for C concepts of width H, times
128. A gate on the rank has two verdicts: one by `ref_rank`, the list's own measure, which concepts that ignore the
text can pass, and one by `content_erank`, which they cannot.
"""

import json
import math
import operator
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...models.loading import read_record
from ..results import measured_model, model_name, read_report


LIST_CONCEPTS = 128

SIGNS = {">": operator.gt, "≥": operator.ge, "<": operator.lt, "≤": operator.le}

# Measures that are one record of a results.json: its script, task, metric and a part of the split's name.
SOURCES = {
    "STS-B Pearson, fine-tuned": ("run_glue.py", "stsb", "pearson", ""),
    "STS-B Pearson, zero-shot": ("run_sts.py", "stsb", "pearson", ""),
    "QQP F1": ("run_glue.py", "qqp", "f1", ""),
    "MNLI-m accuracy": ("run_glue.py", "mnli", "accuracy", "_matched"),
    "QMSum R@1 at 4,096 tokens": ("run_long_context.py", "qmsum retrieval", "R@1, 4,096 tokens", ""),
}
STSB, ZERO_SHOT, QQP, MNLI, QMSUM = SOURCES
RANK, CONCEPTS, TASK_LOSS, SUFFIX_LOSS = "rank", "concepts", "task loss", "suffix loss"
RECURSION_GAP, DEPTH_GAIN = "points below the standard encoder", "MNLI-m accuracy at K = 12 minus K = 6"


class Gate(NamedTuple):
    """
    Args:
        name: in the experiment list.
        rules: conditions (measure, sign, threshold) by verdict; the first whose conditions all hold decides.
        otherwise: verdict if no rule holds.
        runs: of which it is judged, as values that [`read_run`] may have.
    """

    name: str
    rules: dict[str, list[tuple[str, str, float]]]
    otherwise: str
    runs: dict[str, list]

    @property
    def measures(self) -> list[str]:
        """Those that it needs."""
        return list(dict.fromkeys(measure for conditions in self.rules.values() for measure, _, _ in conditions))

    def thresholds(self) -> list[str]:
        """The rules in words."""
        lines = []
        for verdict, conditions in self.rules.items():
            words = (f"{measure} {sign} {threshold:g}" for measure, sign, threshold in conditions)
            lines.append(f"{' and '.join(words)}: {verdict}")
        return [*lines, f"otherwise: {self.otherwise}"]


STANDARD, RECURSIVE = {"recursive": [False]}, {"recursive": [True]}
MASKED_LM = {**STANDARD, "objectives": [["masked_lm"]]}
DENOISING = {**STANDARD, "objectives": [["denoising"]]}
DIFFUSION = {**STANDARD, "objectives": [["masked_diffusion"]], "losses": [False]}
PREFIX = {**STANDARD, "objectives": [["prefix_diffusion"]]}
TRACK_A = {**STANDARD, "objectives": [["denoising"], ["masked_diffusion"], ["prefix_diffusion"]]}
WITH_LOSSES = {"losses": [True]}
MET, MISSED = "target met", "target missed"

GATES = (
    Gate("TODO 0: STS-B", {MET: [(STSB, ">", 0.60)]}, MISSED, MASKED_LM),
    Gate("TODO 0: rank", {MET: [(RANK, ">", 30)]}, MISSED, MASKED_LM),
    Gate("TODO 0: QQP", {MET: [(QQP, ">", 0.70)]}, MISSED, MASKED_LM),
    Gate("TODO 4", {"abandon the concept-loss track; slot attention or diffusion": [(RANK, "<", 20)]},
         "the concept-loss track goes on", MASKED_LM | WITH_LOSSES),
    Gate("TODO 6", {"diffusion alone is insufficient": [(RANK, "<", 30)]}, "diffusion alone may do", DIFFUSION),
    Gate("TODO 7", {MET: [(TASK_LOSS, "<", 2.0), (RANK, ">", 60)]}, MISSED, MASKED_LM | WITH_LOSSES),
    Gate("TODO 10", {MET: [(RANK, ">", 64)]}, MISSED, DENOISING),
    Gate("TODO 11: STS-B", {
        "the diffusion objective is viable": [(STSB, ">", 0.50)],
        "partial: add a contrastive loss or prefix generation": [(STSB, "≥", 0.30)],
    }, "pivot to prefix generation", DIFFUSION),
    Gate("TODO 11: rank", {"depth helps the geometry": [(RANK, ">", 20)]}, "depth does not help the geometry",
         DIFFUSION),
    Gate("TODO 11b", {
        "regularisation works: go on with it": [(RANK, ">", 30), (TASK_LOSS, "<", 3.0)],
        "the weight is too large: reduce it to 0.01": [(RANK, ">", 30), (TASK_LOSS, ">", 3.5)],
        "t_regs_mst is insufficient: slot attention or prefix generation": [(RANK, "<", 20)],
    }, "between the gates", DIFFUSION | WITH_LOSSES),
    Gate("TODO 13", {MET: [(SUFFIX_LOSS, "<", 3.0)]}, MISSED, PREFIX),
    Gate("Gate 1: rank", {
        "go on to track B, data scaling": [(RANK, ">", 64)],
        "slot attention": [(RANK, "≥", 30)],
    }, "rethink", TRACK_A),
    Gate("Gate 1: STS-B", {MET: [(STSB, ">", 0.70)]}, MISSED, TRACK_A),
    Gate("Gate 1: suffix loss", {MET: [(SUFFIX_LOSS, "<", 3.0)]}, MISSED, PREFIX),
    Gate("Gate 2", {"passed": [(STSB, ">", 0.75), (MNLI, ">", 0.65), (RANK, ">", 64)]}, "not passed", STANDARD),
    Gate("Gate 3: size", {"the recursive encoder keeps up": [(RECURSION_GAP, "≤", 2)]},
         "the recursive encoder falls behind", RECURSIVE),
    Gate("Gate 3: depth", {"more iterations help": [(DEPTH_GAIN, ">", 0)]}, "more iterations do not help", RECURSIVE),
    Gate("Gate 4", {"measured; the list names no threshold": [(QMSUM, "≥", 0), (CONCEPTS, "≥", 512)]},
         "measured, but with fewer than 512 concepts", {}),
    Gate("Gate 5", {"passed": [(STSB, ">", 0.75), (RANK, ">", 64), (ZERO_SHOT, ">", 0.60)]}, "not passed", {}),
)  # fmt: skip


def judge(gate: Gate, values: dict[str, float]) -> str:
    """The verdict on `values`, from which unknown measures are absent."""
    if missing := [measure for measure in gate.measures if measure not in values]:
        return f"not measured: {', '.join(missing)}"
    for verdict, conditions in gate.rules.items():
        if all(SIGNS[sign](values[measure], threshold) for measure, sign, threshold in conditions):
            return verdict
    return gate.otherwise


def judge_run(run: dict, values: dict[str, float], notes: dict[str, str], ranks: dict[str, float]) -> dict:
    """
    The gates that are about a run.

    Args:
        run: of [`read_run`].
        values, notes: of [`find_measures`].
        ranks: of [`list_ranks`].

    Returns:
        measures: values and ranks.
        gates: rows of the name of a gate, and lists of words: what is measured, its thresholds, and its verdicts,
            which are two if it needs the rank.
    """
    shown = {name: f"{name}: {value:.4g}{notes.get(name, '')}" for name, value in values.items()}
    shown[RANK] = f"rank: {', '.join(f'{value:.4g} ({name})' for name, value in ranks.items())}"
    rows = []
    for gate in GATES:
        if all(run[name] in allowed for name, allowed in gate.runs.items()):
            verdicts = [f"{name}: {judge(gate, {**values, RANK: rank})}" for name, rank in ranks.items()]
            verdicts = verdicts if RANK in gate.measures else [judge(gate, values)]
            measured = [shown.get(measure, f"{measure}: –") for measure in gate.measures]
            rows.append([[gate.name], measured, gate.thresholds(), verdicts])
    return {"measures": values | {f"{name} of {LIST_CONCEPTS}": ranks[name] for name in ranks}, "gates": rows}


def list_ranks(geometry: dict[str, float], config) -> dict[str, float]:
    """Both ranks as they would be of 128 concepts; `geometry` is the result of [`concept_metrics`]."""
    scale = LIST_CONCEPTS / min(config.concept_num, config.hidden_size)
    return {name: geometry[name] * scale for name in ("ref_rank", "content_erank")}


def read_run(checkpoint: str, config) -> dict:
    """The training of a folder or Hub id: whether its encoder is `recursive`, its `objectives` (empty without a record
    of the run), and whether it had concept `losses`; ValueError if its record is damaged."""
    record = read_record(checkpoint)
    return {
        "recursive": config.is_recursive,
        "objectives": list(record.get("objectives", ())),
        "losses": bool(record.get("concept_losses")),
    }


# -- measures


def read_evaluation(path: str) -> dict:
    """The content of a results.json without undefined numbers, with the `script` that wrote it, its `model`, and a
    `note` on whether its classifier saw the concepts alone; ValueError if it names no script or no model."""
    content = read_report(path)
    script, (model, _) = re.search(r"run_\w+\.py", str(content.get("command"))), measured_model(content)
    if script is None or not model:
        raise ValueError(f"{path} cannot be read as results of an evaluation: it names no script or no model.")
    seen = "through the concepts alone" if content.get("through_concepts_alone") else "tokens bypass the concepts"
    note = f" ({content['classifier_type']}, {seen})" if content.get("classifier_type") else ""
    results = [result for result in content["results"] if not math.isnan(result.value)]
    return {**content, "script": script[0], "model": model, "note": note, "results": results}


def find_values(reports: list[dict], script: str, task: str, metric: str, split: str, variant: str = "") -> Iterator:
    """Numbers of the model, or of a `variant` such as `, K=6`, in reports of [`read_evaluation`], with their notes."""
    for report in [report for report in reports if report["script"] == script]:
        systems = [model_name(report["model"]) + ending for ending in (variant, ", mean")]
        for result in report["results"]:
            if (result.task, result.metric) == (task, metric) and split in result.split and result.system in systems:
                yield result.value, report["note"]


def find_measures(reports: list[dict], references: list[dict], checkpoint: str, config) -> tuple[dict, dict]:
    """
    The known measures of a checkpoint but for the rank.

    Args:
        reports: evaluations of this checkpoint, of [`read_evaluation`].
        references: of the standard encoder that a recursive one is compared with.
        checkpoint: its folder, with the `eval_results.json` of its training run; or a Hub id.
        config: of the model.

    Returns:
        Values by measure, and notes on those of other scripts.
    """
    found = {name: next(find_values(reports, *source), (None, "")) for name, source in SOURCES.items()}
    values = {name: value for name, (value, _) in found.items()}
    deep, usual = (next(find_values(reports, *SOURCES[MNLI], f", K={count}"), None) for count in (12, 6))
    gaps = []  # in points (hundredths), of the primary metrics that both encoders have
    for reference in references:
        for result in reference["results"]:
            own = next(find_values(reports, reference["script"], result.task, result.metric, result.split), None)
            if own and result.primary and result.system == model_name(reference["model"]):
                gaps.append(100 * (result.value - own[0]))
    path = Path(checkpoint) / "eval_results.json"
    losses = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    own_loss = SUFFIX_LOSS if config.decoder_target == "continuation" else TASK_LOSS
    values[own_loss] = losses.get("eval_loss")
    if "eval_prefix_diffusion_loss" in losses:
        values[SUFFIX_LOSS] = losses["eval_prefix_diffusion_loss"]
    values[CONCEPTS] = config.concept_num
    values[DEPTH_GAIN] = deep[0] - usual[0] if deep and usual else None
    values[RECURSION_GAP] = sum(gaps) / len(gaps) if gaps else None
    notes = {name: note for name, (_, note) in found.items()}
    return {name: value for name, value in values.items() if value is not None}, notes
