# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Results of an analysis as records, as JSON and in Markdown, and the comparison of several checkpoints."""

import math
from dataclasses import asdict, dataclass

from ...utils.plain_text import Markdown, code_block, code_span, markdown, markdown_table
from ..results import MAJORITY, UNTRAINED, Result, results_markdown
from ..text_kinds import kinds_markdown
from .gates import GATES, LIST_CONCEPTS
from .measures import MEASURES, Measured
from .probes import FEATURES


CAPTIONS = {
    "geometry.png": "Left: mean cosine between the text-dependent parts of the concepts of a text; colour off the "
    "diagonal marks near-duplicates. Right: singular values of these parts, averaged over texts; the closer to "
    "independent noise, the more directions are in use.",
    "attention.png": "Attention of each concept over the positions of a text, mean over heads, layers and texts. "
    "Dots: centres of attention.",
    "compression.png": "Left: accuracy of reconstruction from fewer concepts. Right: fall of accuracy at each "
    "position when one concept is set to zero; a diagonal means that each concept holds its own stretch of the text.",
}

PROBES = (
    "Probes are ridge regressions on the frozen mean concept, or on all concepts, scored on unseen texts by the area "
    "under the ROC curve. words: which of up to 50 words occur; word order: whether neighbouring words were exchanged."
)

GATES_NOTE = (
    f"Ranks are shares of the largest possible rank, times {LIST_CONCEPTS}. Concepts that ignore the text can pass a "
    "gate by ref_rank, the rank of the experiment list; content_erank refers to what depends on the text. The list's "
    "diffusion losses were logged twice too large and with label smoothing; losses here are plain nats, so that a "
    "threshold of 3.0 is easier to meet. A gate is judged for the runs of its experiment only, by the "
    "training_run.json of the checkpoint. `--results` takes the results.json of `run_sts.py`, of `run_glue.py "
    "--task_name stsb qqp mnli` and of `run_long_context.py --lengths 4096`."
)


@dataclass(frozen=True)
class Analysis:
    """
    The results of an analysis. Where a dict has the keys `trained` and `untrained`, the second is absent if there is
    no untrained network.

    Args:
        name: of the model.
        model, sample: facts about the model and the texts, by name.
        geometry: `trained` and `untrained`, of [`concept_metrics`].
        original: `trained`, `untrained` and `constants`, of [`original_metrics`].
        probes: records of [`run_probes`].
        compression: of [`measure_compression`]; None for a model without a decoder of the text.
        kinds: of [`reconstruct_kinds`]; None for such a model.
        text: of [`concepts_of_text`] for a text of the user; None without one.
        ranks: `trained` and `untrained`, of [`list_ranks`].
        measured: other measures of the gates.
        verdicts: of [`judge_all`].
        left_out: sentences on what could not be measured.
    """

    name: str
    model: dict
    sample: dict
    geometry: dict[str, dict[str, float]]
    original: dict[str, dict[str, float]]
    probes: list[Result]
    compression: dict | None
    kinds: list[dict] | None
    text: dict | None
    ranks: dict[str, dict[str, float]]
    measured: Measured
    verdicts: dict[str, dict[str, str]]
    left_out: list[str]

    def records(self) -> list[Result]:
        """All that is compared with a baseline, higher being better."""
        split, count, records = self.sample["split"], self.sample["texts"], []
        names = {"trained": self.name, "untrained": UNTRAINED, "most_frequent_token": MAJORITY}
        for metric in ("content_fraction", "content_erank", "pooled_erank"):
            for key, values in self.geometry.items():
                records.append(Result("geometry", split, metric, names[key], values[metric], None, count))
        for key, values in self.geometry.items():
            value = 1 - values["duplicate_share"]
            records.append(Result("geometry", split, "1 - duplicate_share", names[key], value, None, count))
        for metric in ("accuracy", "exact") if self.compression is not None else ():
            for key in names:
                if key in self.compression:
                    value = self.compression[key][metric]
                    records.append(Result("reconstruction", split, metric, names[key], value, None, count))
        return [*records, *self.probes]

    def facts(self) -> dict:
        """All but the records, for JSON."""
        return {name: value for name, value in asdict(self).items() if name != "probes"}


def number(value: float) -> str:
    """A number in few characters."""
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


# -- one checkpoint


def results_text(analysis: Analysis) -> str:
    """Results of one checkpoint: all that is compared with a baseline, kinds of text, and the text of the user."""
    parts = [
        f"# Concepts of {markdown(analysis.name)}",
        markdown(
            "{class}: {concepts} concepts of width {width}, {parameters:,} parameters. ".format(**analysis.model)
            + "{texts} texts of {tokens} tokens ({probe_texts} for probes) of {data}, {split}.".format(
                **analysis.sample
            )
        ),
        results_markdown(analysis.records()),
        PROBES,
    ]
    if analysis.compression is None:
        parts.append("This model has no decoder of the encoded text, so that nothing is reconstructed.")
    if analysis.kinds is not None:
        parts += ["## Reconstruction by kind of text", kinds_markdown(analysis.kinds)]
    if analysis.text is not None:
        parts += ["## Your text", *text_parts(analysis.text)]
    return "\n\n".join([*parts, *map(markdown, analysis.left_out)])


def text_parts(text: dict) -> list[str]:
    """A text of the user with its reconstruction, and the words of each concept."""
    parts, headings = [code_span(" ".join(text["words"]))], ["concept", "attends most to"]
    columns = [range(len(text["attends"])), map(" · ".join, text["attends"])]
    if text["lost"] is not None:
        parts.append(f"Reconstruction: {code_span(text['reconstruction'])}")
        headings.append("lost without it")
        columns.append(" · ".join(words) or "–" for words in text["lost"])
    return [*parts, markdown_table(headings, zip(*columns, strict=True), text_columns=3)]


def report_markdown(analysis: Analysis, facts: dict) -> str:
    """The report of one checkpoint, beside whose file the pictures of `CAPTIONS` lie; `facts` of the run hold its
    command."""
    parts = [results_text(analysis)]
    if analysis.kinds is not None:
        parts.append("\n".join(f"- {row['kind']}: {code_span(row['example'])} → {code_span(row['reconstruction'])}"
                               for row in analysis.kinds))  # fmt: skip
    parts.append("## Pictures")
    for name, caption in CAPTIONS.items():
        if name != "compression.png" or analysis.compression is not None:
            parts += [f"![{name.removesuffix('.png')}]({name})", caption]
    parts += ["## Decision gates", GATES_NOTE, gates_table(analysis)]
    rows = ([metric, *(number(values[metric]) for values in analysis.original.values())]
            for metric in analysis.original["trained"])  # fmt: skip
    parts += [
        "## Metrics of the original analysis",
        "Concepts that ignore the text reach good values of all of these, as the column constants shows.",
        markdown_table(["metric", *analysis.original], rows),
        "## Method",
        code_block(facts["command"], "bash"),
        "All numbers are in results.json.",
    ]
    return "\n\n".join(parts) + "\n"


def gates_table(analysis: Analysis) -> Markdown:
    """Measurements, thresholds and verdicts of each gate that is judged."""
    ranks, measured, rows = analysis.ranks["trained"], analysis.measured, []
    for gate in GATES:
        if gate.name not in analysis.verdicts:
            continue
        lines = []
        for name in gate.measures:
            values = ranks if name == "rank" else {measured.evaluations.get(name, ""): measured.values.get(name)}
            for note, value in values.items():
                shown = "–" if value is None else number(value)
                lines.append(f"{MEASURES[name].label}: {shown}" + f" ({note})" * bool(note))
        verdicts = analysis.verdicts[gate.name].items()
        texts = [f"{name}: {verdict}" if name else verdict for name, verdict in verdicts]
        cells = (Markdown("<br>".join(map(markdown, cell))) for cell in (lines, gate.thresholds(), texts))
        rows.append([gate.name, *cells])
    return markdown_table(["gate", "measured", "thresholds", "verdict"], rows, text_columns=4)


# -- several checkpoints


def compare(analyses: list[Analysis]) -> list[Result]:
    """Numbers of several checkpoints, one record for each number and checkpoint: sizes, geometry, reconstruction,
    probes of the mean concept and ranks, each also of the untrained network, kinds of text, and measures of the
    gates."""
    return [result for analysis in analyses for result in summarise(analysis)]


def summarise(analysis: Analysis) -> list[Result]:
    """The part of [`compare`] of one checkpoint."""
    sizes = ("concepts", "width", "encoder_parameters")  # decoders may differ
    found = [("size", name.replace("_", " "), analysis.model[name]) for name in sizes]
    found.append(("size", "tokens of a text", analysis.sample["tokens"]))
    suffixes = {analysis.name: "", UNTRAINED: ", untrained"}
    for result in analysis.records():
        if result.system in suffixes and not result.task.endswith(FEATURES[1]):
            found.append((result.task, result.metric + suffixes[result.system], result.value))
    for key, ranks in analysis.ranks.items():
        suffix = "" if key == "trained" else ", untrained"
        found += [(f"rank of {LIST_CONCEPTS}", name + suffix, value) for name, value in ranks.items()]
    found += [("reconstruction", f"{row['kind']}, accuracy", row["accuracy"]) for row in analysis.kinds or ()]
    found += [("other results", MEASURES[name].label, value) for name, value in analysis.measured.values.items()
              if name != "concept_num"]  # fmt: skip
    split, count = analysis.sample["split"], analysis.sample["texts"]
    return [Result(task, split, metric, analysis.name, value, count=count) for task, metric, value in found]


def comparison_markdown(results: list[Result], reports: dict[str, str], facts: dict) -> str:
    """The records of [`compare`] as a table with a column for each checkpoint, and links to their reports."""
    parts = [
        "# Side by side",
        results_markdown(results),
        f"untrained: the same network before training. Ranks of {LIST_CONCEPTS} are shares of the largest possible "
        f"rank, times {LIST_CONCEPTS}.",
        "\n".join(f"- [{markdown(name)}]({path})" for name, path in reports.items()),
        code_block(facts["command"], "bash"),
    ]
    return "\n\n".join(parts) + "\n"
