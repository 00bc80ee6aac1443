# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What the concepts of a checkpoint hold: geometry, attention, linear probes, compression, decision gates.

    python examples/run_concept_analysis.py --model_name_or_path outputs/…

looks at held-out text of the embedded corpus, prints a table beside the same network untrained, and writes
results.json and one HTML file, report.html. Results of the other evaluation scripts decide more of the gates:

    python examples/run_concept_analysis.py --model_name_or_path outputs/… --dataset_name Salesforce/wikitext \
        --dataset_config_name wikitext-103-raw-v1 --results outputs/glue_…/results.json outputs/sts_…/results.json
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console

from trainers.analysis import (
    FEWEST_TEXTS,
    Analysis,
    Report,
    can_reconstruct,
    collect_measures,
    constants_like,
    encode,
    judge_all,
    legacy_metrics,
    load_checkpoint,
    load_sample,
    make_pictures,
    make_probes,
    measure_compression,
    rank_measures,
    read_attention,
    run_probes,
    token_profiles,
    write_report,
)
from trainers.metrics import concept_metrics
from trainers.reporting import ReportingArguments
from trainers.results import results_table
from trainers.script import newest_checkpoint, parse_arguments, run_facts, run_script, untrained_like


# Probes learn from more texts than the rest needs.
PROBE_TEXTS = 3


@dataclass
class Arguments:
    """What is analysed on what."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint of a concept model: folder or Hub id; the newest by default."}
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "Text: Hub id, local folder or file; the embedded corpus by default."}
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    split: str = field(default="validation", metadata={"help": "Split of the data."})
    text_column: str | None = field(default=None, metadata={"help": "Column of text; 'text' or the first by default."})
    streaming: bool = field(default=False, metadata={"help": "Read the data without downloading all of it."})
    limit: int = field(default=320, metadata={"help": "Number of texts; probes take three times as many."})
    max_seq_length: int = field(default=512, metadata={"help": "Tokens of a text; at most what the model reads."})
    batch_size: int = field(default=32, metadata={"help": "Texts at a time."})
    seed: int = field(default=0, metadata={"help": "Seed of the untrained network and of the probes."})
    results: list[str] = field(
        default_factory=list, metadata={"help": "results.json files of other evaluations of this checkpoint."}
    )
    reference_results: list[str] = field(
        default_factory=list,
        metadata={"help": "results.json files of the standard encoder that a recursive one is compared with."},
    )


def analyse(args: Arguments, reports: list[Report], references: list[Report]):
    """The analysis and its pictures."""
    model = load_checkpoint(args.model_name_or_path)
    config, name = model.config, Path(args.model_name_or_path).name
    measures = collect_measures(reports, references, args.model_name_or_path, config)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    untrained = untrained_like(model, args.seed)
    length = min(args.max_seq_length, config.max_sequence_length)
    source = (args.dataset_name, args.dataset_config_name, args.text_column, args.split, args.streaming)
    whole = load_sample(model.tokenizer, length, PROBE_TEXTS * args.limit, *source)
    sample = whole.take(args.limit)

    both = {"trained": model, "untrained": untrained}
    concepts = {key: encode(each, sample.ids, args.batch_size, f"concepts: {key}") for key, each in both.items()}
    attention = {key: read_attention(each, sample, args.batch_size, f"attention: {key}") for key, each in both.items()}
    geometry = {key: concept_metrics(values) for key, values in concepts.items()}
    ranks = {key: rank_measures(found, config) for key, found in geometry.items()}
    probes = make_probes(whole, args.seed)
    compression = measure_compression(model, untrained, sample, args.batch_size) if can_reconstruct(model) else None
    analysis = Analysis(
        name=name,
        model={
            "class": type(model).__name__,
            "parameters": model.num_parameters(),
            "concepts": config.concept_num,
            "width": config.hidden_size,
            "encoder": config.encoder_type if config.model_type == "concept_encoder" else "recursive",
            "decoder": config.decoder_type if hasattr(model, "lm_head") else "no",
        },
        sample={
            "data": args.dataset_name or "the embedded corpus",
            "split": args.split,
            "texts": len(sample.ids),
            "probe_texts": len(whole.ids),
            "tokens": length,
        },
        geometry=geometry,
        legacy={
            **{key: legacy_metrics(values) for key, values in concepts.items()},
            "constants": legacy_metrics(constants_like(concepts["trained"])),
        },
        attention={key: values.summary() for key, values in attention.items()},
        profiles=token_profiles(attention["trained"], sample),
        questions={probe.name: probe.sentence for probe in probes},
        probes=run_probes(model, untrained, probes, name, args.split, args.batch_size),
        compression=compression,
        ranks=ranks,
        gates=judge_all(measures, ranks["trained"]),
    )
    return analysis, make_pictures(analysis, concepts, attention)


def main():
    args, reporting = parse_arguments(Arguments, ReportingArguments)
    if PROBE_TEXTS * args.limit < FEWEST_TEXTS:
        raise ValueError(f"--limit must be at least {FEWEST_TEXTS // PROBE_TEXTS}, not {args.limit}.")
    reports = [Report.read(path) for path in args.results]
    references = [Report.read(path) for path in args.reference_results]
    args.model_name_or_path = args.model_name_or_path or newest_checkpoint()
    analysis, pictures = analyse(args, reports, references)

    facts, records = run_facts(args, reporting), analysis.records()
    console = Console(width=150)
    title = f"{analysis.name}: {analysis.sample['texts']} texts of {analysis.sample['data']}, {args.split}"
    console.print(results_table(records, title, rows=("task", "metric")))
    folder = reporting.folder("analysis", args.model_name_or_path)
    page = write_report(folder / "report.html", analysis, pictures, facts)
    facts["analysis"] = analysis.facts()
    written = reporting.report(folder, records, facts, "feature-extraction", files=[page])
    console.print(f"report: {page}\nnumbers: {written}", soft_wrap=True)


if __name__ == "__main__":
    run_script(main)
