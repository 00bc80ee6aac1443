# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Results of an analysis as records and in Markdown, and the comparison of several checkpoints.

An analysis is the dict under that name in the results.json that `examples/run_concept_analysis.py` writes. Where a
part has the keys `trained` and `untrained`, the second is absent if there is no untrained network.
"""

from dataclasses import replace

from ...utils.plain_text import Markdown, code_block, code_span, markdown, markdown_table
from ..results import MAJORITY, UNTRAINED, Result, results_markdown
from ..text_kinds import kinds_markdown
from .gates import CONCEPTS, LIST_CONCEPTS


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


def baseline_records(name: str, geometry: dict, compression: dict | None, split: str, count: int) -> list[Result]:
    """Geometry and reconstruction of a model, beside those of the untrained network and of the most frequent token."""
    records, names = [], {"trained": name, "untrained": UNTRAINED, "most_frequent_token": MAJORITY}
    for task, found, metrics in (
        ("geometry", geometry, ("content_fraction", "content_erank", "pooled_erank", "duplicate_share")),
        ("reconstruction", compression or {}, ("accuracy", "exact")),
    ):
        for metric in metrics:
            for key in [key for key in names if key in found]:
                records.append(Result(task, split, metric, names[key], found[key][metric], None, count))
    return records


# -- one checkpoint


def results_text(analysis: dict, records: list[Result]) -> str:
    """Results of one checkpoint: all that is compared with a baseline, kinds of text, and the text of the user."""
    parts = [f"# Concepts of {markdown(analysis['name'])}", markdown(analysis["setting"])]
    parts += [results_markdown(records), PROBES]
    if analysis["kinds"] is None:
        parts.append("This model has no decoder of the encoded text, so that nothing is reconstructed.")
    else:
        parts += ["## Reconstruction by kind of text", kinds_markdown(analysis["kinds"])]
    if analysis["text"] is not None:
        parts += ["## Your text", *text_parts(analysis["text"])]
    return "\n\n".join([*parts, *map(markdown, analysis["left_out"])])


def text_parts(text: dict) -> list[str]:
    """A text of the user with its reconstruction, and the words of each concept."""
    parts, headings = [code_span(" ".join(text["words"]))], ["concept", "attends most to"]
    columns = [range(len(text["attends"])), map(" · ".join, text["attends"])]
    if "lost" in text:
        parts.append(f"Reconstruction: {code_span(text['reconstruction'])}")
        headings.append("lost without it")
        columns.append(" · ".join(words) or "–" for words in text["lost"])
    return [*parts, markdown_table(headings, zip(*columns, strict=True), text_columns=3)]


def report_markdown(analysis: dict, records: list[Result], command: str) -> str:
    """The report of one checkpoint, beside whose file the pictures of `CAPTIONS` lie."""
    parts = [results_text(analysis, records)]
    if analysis["kinds"] is not None:
        parts.append("\n".join(f"- {row['kind']}: {code_span(row['example'])} → {code_span(row['reconstruction'])}"
                               for row in analysis["kinds"]))  # fmt: skip
    parts.append("## Pictures")
    for name, caption in CAPTIONS.items():
        if name != "compression.png" or analysis["compression"] is not None:
            parts += [f"![{name.removesuffix('.png')}]({name})", caption]
    gates = ([Markdown("<br>".join(map(markdown, cell))) for cell in row] for row in analysis["gates"])
    original = analysis["original"]
    rows = ([metric, *(f"{values[metric]:.4g}" for values in original.values())] for metric in original["trained"])
    parts += [
        "## Decision gates",
        GATES_NOTE,
        markdown_table(["gate", "measured", "thresholds", "verdict"], gates, text_columns=4),
        "## Metrics of the original analysis",
        "Concepts that ignore the text reach good values of all of these, as the column constants shows.",
        markdown_table(["metric", *original], rows),
        "## Method",
        code_block(command, "bash"),
        "All numbers are in results.json.",
    ]
    return "\n\n".join(parts) + "\n"


# -- several checkpoints


def summarise(analysis: dict, records: list[Result]) -> list[Result]:
    """The numbers of one checkpoint that are compared with those of others: its records and those of the untrained
    network, ranks, kinds of text, and measures of the gates."""
    system, split, summary = analysis["name"], records[0].split, []
    for result in records:
        if result.system in (system, UNTRAINED):
            suffix = "" if result.system == system else ", untrained"
            summary.append(replace(result, metric=result.metric + suffix, system=system, count=None))
    found = [("reconstruction", f"{row['kind']}, accuracy", row["accuracy"]) for row in analysis["kinds"] or ()]
    found += [("gates", name, value) for name, value in analysis["measures"].items() if name != CONCEPTS]
    return [*summary, *(Result(task, split, metric, system, value) for task, metric, value in found)]


def comparison_markdown(results: list[Result], analyses: dict[str, dict], command: str) -> str:
    """The records of [`summarise`] as a table with a column for each checkpoint, and links to their reports, by whose
    paths `analyses` are given."""
    note = f"untrained: the same network before training. Ranks of {LIST_CONCEPTS} are shares of the largest possible."
    parts = ["# Side by side", results_markdown(results), note]
    for path, analysis in analyses.items():
        parts.append(f"- [{markdown(analysis['name'])}]({path}): {markdown(analysis['setting'])}")
    return "\n\n".join([*parts, code_block(command, "bash")]) + "\n"
