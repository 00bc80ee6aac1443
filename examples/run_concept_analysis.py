# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Analysis of the concepts of a checkpoint: geometry, attention, linear probes, compression, kinds of text, gates.

    python examples/run_concept_analysis.py --model_name_or_path outputs/…

analyses held-out text of the embedded corpus, prints a table beside the same network untrained, and writes
results.json and report.md with its pictures. Results of the other evaluation scripts decide more of the gates:

    python examples/run_concept_analysis.py --model_name_or_path outputs/… --dataset_name Salesforce/wikitext \
        --dataset_config_name wikitext-103-raw-v1 --results outputs/glue_…/results.json outputs/sts_…/results.json

Several checkpoints get a report each, and one table with a column for each of them; `--text` shows which words of your
text each concept holds:

    python examples/run_concept_analysis.py --model_name_or_path outputs/a outputs/b outputs/c
    python examples/run_concept_analysis.py --text "The ship left the harbour before the storm."
"""

from dataclasses import dataclass, field

import torch
from rich.markdown import Markdown

from trainers.evaluation.analysis.compression import measure_compression
from trainers.evaluation.analysis.gates import find_measures, judge_run, list_ranks, read_evaluation, read_run
from trainers.evaluation.analysis.lost_words import concepts_of_text, mean_attention
from trainers.evaluation.analysis.pictures import plot_attention, plot_compression, plot_geometry
from trainers.evaluation.analysis.probes import make_probes, run_probes
from trainers.evaluation.analysis.report import (
    CAPTIONS,
    baseline_records,
    comparison_markdown,
    report_markdown,
    results_text,
    summarise,
)
from trainers.evaluation.analysis.sample import FEWEST_TEXTS, load_sample
from trainers.evaluation.encoding import encode_ids
from trainers.evaluation.metrics import concept_metrics, constants_like, original_metrics
from trainers.evaluation.results import UNTRAINED, ReportingArguments, is_measured, measured_on, write_results
from trainers.evaluation.text_kinds import KIND_TEXTS, reconstruct_kinds
from trainers.models.loading import load_model
from trainers.models.untrained import UntrainedError, untrained_like
from trainers.utils.limits import check_at_least
from trainers.utils.plain_text import screen
from trainers.utils.runs import check_output_dir, folder_name, readable_names
from trainers.utils.script import newest_checkpoint, parse_arguments, run_facts, run_script


# Probes learn from more texts than the rest needs.
PROBE_TEXTS = 3

WIDTH = 120


@dataclass
class Arguments:
    """Checkpoints, texts and sizes of the analysis."""

    model_name_or_path: list[str] | None = field(
        default=None, metadata={"help": "Checkpoints of concept models: folders or Hub ids; the newest by default."}
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "Text: Hub id, local folder or file; the embedded corpus by default."}
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    split: str = field(default="validation", metadata={"help": "Split of the data."})
    text_column: str | None = field(default=None, metadata={"help": "Column of text, where there are several."})
    max_eval_samples: int = field(default=320, metadata={"help": "Number of texts; probes take three times as many."})
    max_seq_length: int = field(default=512, metadata={"help": "Tokens of a text; at most what the model reads."})
    text: str | None = field(default=None, metadata={"help": "A text of yours: which words does each concept hold?"})
    batch_size: int = field(default=32, metadata={"help": "Texts at a time."})
    seed: int = field(default=0, metadata={"help": "Seed of the untrained network and of the probes."})
    results: list[str] = field(
        default_factory=list, metadata={"help": "results.json files of other evaluations of these checkpoints."}
    )
    reference_results: list[str] = field(
        default_factory=list,
        metadata={"help": "results.json files of the standard encoder that a recursive one is compared with."},
    )

    def __post_init__(self):
        fewest = -(-FEWEST_TEXTS // PROBE_TEXTS)
        check_at_least(self, max_eval_samples=fewest, max_seq_length=8, batch_size=1, seed=0)


def analyse(model, name: str, args: Arguments) -> tuple:
    """All numbers and words about one checkpoint but the gates: a dict for JSON and Markdown, records, and, `trained`
    and possibly `untrained`, concepts and attention for the pictures."""
    config, batch_size, left_out = model.config, args.batch_size, []
    text = None if args.text is None else concepts_of_text(model, args.text)
    networks = {"trained": model}
    try:
        networks["untrained"] = untrained_like(model, args.seed)
    except UntrainedError as error:
        left_out.append(str(error))
    length = min(args.max_seq_length, config.max_sequence_length)
    source = (args.dataset_name, args.dataset_config_name, args.text_column, args.split)
    texts = load_sample(model.tokenizer, length, PROBE_TEXTS * args.max_eval_samples, *source)
    sample = texts.take(args.max_eval_samples)
    ids, count = sample.ids, len(sample.ids)
    concepts = {key: encode_ids(net, ids.tolist(), batch_size, f"concepts: {key}") for key, net in networks.items()}
    attention = {key: mean_attention(network, ids, batch_size) for key, network in networks.items()}
    geometry = {key: concept_metrics(values) for key, values in concepts.items()}
    original = {key: original_metrics(values) for key, values in concepts.items()}
    compression = kinds = None
    if model.can_reconstruct:
        compression = measure_compression(networks, sample, batch_size)
        kinds = reconstruct_kinds(model, min(KIND_TEXTS, count), batch_size)
    named = {name if key == "trained" else UNTRAINED: network for key, network in networks.items()}
    records = baseline_records(name, geometry, compression, args.split, count)
    records += run_probes(named, make_probes(texts, args.seed), args.split, batch_size)
    analysis = {
        "name": name,
        "setting": f"{type(model).__name__}: {config.concept_num} concepts of width {config.hidden_size}, "
        f"{model.num_parameters():,} parameters. {count} texts of {length} tokens ({len(texts.ids)} for probes) of "
        f"{args.dataset_name or 'the embedded corpus'}, {args.split}.",
        "geometry": geometry,
        "original": {**original, "constants": original_metrics(constants_like(concepts["trained"]))},
        "compression": compression,
        "kinds": kinds,
        "text": text,
        "left_out": left_out,
    }
    return analysis, records, concepts, attention


def main():
    args, reporting = parse_arguments(Arguments, ReportingArguments)
    reports = [read_evaluation(path) for path in args.results]
    references = [read_evaluation(path) for path in args.reference_results]
    paths = list(dict.fromkeys(args.model_name_or_path or [newest_checkpoint()]))
    about = {path: [r for r in reports if is_measured(r["model"], r.get("weights_sha256"), path)] for path in paths}
    for report in reports:
        if not any(report in own for own in about.values()):
            raise ValueError(f"--results are of {report['model']!r}, which is none of {paths}.")
    models = {path: load_model(path).to("cuda" if torch.cuda.is_available() else "cpu") for path in paths}
    several, console = len(paths) > 1, screen(WIDTH)
    folder = reporting.folder("analysis", "comparison" if several else paths[0], "report.md", *CAPTIONS)
    facts = {**run_facts(args, reporting), "task_type": "feature-extraction"}
    analyses, compared = {}, []
    for path, name in readable_names(paths).items():
        own = folder / folder_name(name) if several else folder
        check_output_dir(own, ("results.json", "report.md", *CAPTIONS))
        config = models[path].config
        run, measured = read_run(path, config), find_measures(about[path], references, path, config)
        analysis, records, concepts, attention = analyse(models[path], name, args)
        analysis |= judge_run(run, *measured, list_ranks(analysis["geometry"]["trained"], config))
        write_results(own / "results.json", records, {**facts, **measured_on(path), "analysis": analysis})
        console.print(Markdown(results_text(analysis, records)))
        plot_geometry(concepts, own / "geometry.png")
        plot_attention(attention, own / "attention.png")
        if analysis["compression"] is not None:
            plot_compression(analysis["compression"], own / "compression.png")
        text = report_markdown(analysis, records, facts["command"])
        (own / "report.md").write_text(text, encoding="utf-8")
        analyses[f"{own.name}/report.md"] = analysis
        compared += summarise(analysis, records)
    if several:
        text = comparison_markdown(compared, analyses, facts["command"])
        (folder / "report.md").write_text(text, encoding="utf-8")
        console.print(Markdown(text))
        write_results(folder / "results.json", compared, facts)
    console.print(f"report: {folder / 'report.md'}\nnumbers: {folder / 'results.json'}", soft_wrap=True)


if __name__ == "__main__":
    run_script(main)
