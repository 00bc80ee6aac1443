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
from pathlib import Path

import torch
from rich.markdown import Markdown

from trainers.evaluation.analysis.attention import mean_attention
from trainers.evaluation.analysis.compression import measure_compression
from trainers.evaluation.analysis.gates import Run, judge_all, list_ranks
from trainers.evaluation.analysis.geometry import constants_like, original_metrics
from trainers.evaluation.analysis.lost_words import concepts_of_text
from trainers.evaluation.analysis.measures import Report, collect_measures
from trainers.evaluation.analysis.pictures import plot_attention, plot_compression, plot_geometry
from trainers.evaluation.analysis.probes import make_probes, run_probes
from trainers.evaluation.analysis.report import (
    CAPTIONS,
    Analysis,
    compare,
    comparison_markdown,
    report_markdown,
    results_text,
)
from trainers.evaluation.analysis.sample import FEWEST_TEXTS, load_sample
from trainers.evaluation.encoding import encode_ids
from trainers.evaluation.metrics import concept_metrics
from trainers.evaluation.results import UNTRAINED, ReportingArguments, measured_on, write_results
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
    streaming: bool = field(default=False, metadata={"help": "Read the data without downloading all of it."})
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


class Checkpoint:
    """A checkpoint with its texts and other results, all of which is read before anything takes long."""

    def __init__(self, path: str, name: str, args: Arguments, reports: list[Report], references: list[Report]):
        self.path, self.name, self.args = path, name, args
        self.left_out: list[str] = []
        self.model = load_model(path).to("cuda" if torch.cuda.is_available() else "cpu")
        config = self.model.config
        self.run = Run.read(path, config)
        self.measured = collect_measures(reports, references, path, config)
        self.networks = {"trained": self.model}
        try:
            self.networks["untrained"] = untrained_like(self.model, args.seed)
        except UntrainedError as error:
            self.leave_out(str(error))
        source = (args.dataset_name, args.dataset_config_name, args.text_column, args.split, args.streaming)
        self.length = min(args.max_seq_length, config.max_sequence_length)
        self.texts = load_sample(self.model.tokenizer, self.length, PROBE_TEXTS * args.max_eval_samples, *source)
        self.text = None if args.text is None else concepts_of_text(self.model, args.text)

    def leave_out(self, reason: str) -> None:
        """Print why something is left out, and keep it for the report."""
        print(reason)
        self.left_out.append(reason)

    def analyse(self) -> tuple[Analysis, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """The analysis, and concepts and attention for the pictures, `trained` and possibly `untrained`."""
        model, args, batch_size = self.model, self.args, self.args.batch_size
        config, sample = model.config, self.texts.take(args.max_eval_samples)
        ids, concepts, attention = sample.ids, {}, {}
        for key, network in self.networks.items():
            concepts[key] = encode_ids(network, ids.tolist(), batch_size, f"concepts: {key}")
            attention[key] = mean_attention(network, ids, batch_size, f"attention: {key}")
        geometry = {key: concept_metrics(values) for key, values in concepts.items()}
        ranks = {key: list_ranks(found, config) for key, found in geometry.items()}
        probes = make_probes(self.texts, args.seed, self.leave_out)
        named = {self.name if key == "trained" else UNTRAINED: network for key, network in self.networks.items()}
        compression = kinds = None
        if model.can_reconstruct:
            compression = measure_compression(model, self.networks.get("untrained"), sample, batch_size)
            kinds = reconstruct_kinds(model, min(KIND_TEXTS, len(ids)), args.seed, batch_size)
        analysis = Analysis(
            name=self.name,
            model={
                "class": type(model).__name__,
                "parameters": model.num_parameters(),
                "encoder_parameters": model.base_model.num_parameters(),
                "concepts": config.concept_num,
                "width": config.hidden_size,
            },
            sample={
                "data": args.dataset_name or "the embedded corpus",
                "split": args.split,
                "texts": len(ids),
                "probe_texts": len(self.texts.ids),
                "tokens": self.length,
            },
            geometry=geometry,
            original={
                **{key: original_metrics(values) for key, values in concepts.items()},
                "constants": original_metrics(constants_like(concepts["trained"])),
            },
            probes=run_probes(named, probes, args.split, batch_size),
            compression=compression,
            kinds=kinds,
            text=self.text,
            ranks=ranks,
            measured=self.measured,
            verdicts=judge_all(self.measured, ranks["trained"], self.run),
            left_out=self.left_out,
        )
        return analysis, concepts, attention


def write_one(checkpoint: Checkpoint, folder: Path, facts: dict) -> Analysis:
    """Analyse one checkpoint, print its results and write its files, the numbers first."""
    analysis, concepts, attention = checkpoint.analyse()
    facts = {**facts, **measured_on(checkpoint.path)}
    write_results(folder / "results.json", analysis.records(), {**facts, "analysis": analysis.facts()})
    screen(WIDTH).print(Markdown(results_text(analysis)))
    plot_geometry(concepts, folder / "geometry.png")
    plot_attention(attention, folder / "attention.png")
    if analysis.compression is not None:
        plot_compression(analysis.compression, folder / "compression.png")
    (folder / "report.md").write_text(report_markdown(analysis, facts), encoding="utf-8")
    return analysis


def main():
    args, reporting = parse_arguments(Arguments, ReportingArguments)
    reports = [Report.read(path) for path in args.results]
    references = [Report.read(path) for path in args.reference_results]
    paths = list(dict.fromkeys(args.model_name_or_path or [newest_checkpoint()]))
    for report in reports:
        if not any(report.is_about(path) for path in paths):
            raise ValueError(f"--results are of {report.path!r}, which is none of {paths}.")
    checkpoints = []
    for path, name in readable_names(paths).items():
        own = [report for report in reports if report.is_about(path)]
        checkpoints.append(Checkpoint(path, name, args, own, references))
    several = len(paths) > 1
    folder = reporting.folder("analysis", "comparison" if several else paths[0], "report.md", *CAPTIONS)
    folders = {each.name: folder / folder_name(each.name) if several else folder for each in checkpoints}
    for own in folders.values() if several else ():
        check_output_dir(own, ("results.json", "report.md", *CAPTIONS))

    facts, report = run_facts(args, reporting), folder / "report.md"
    analyses = [write_one(checkpoint, folders[checkpoint.name], facts) for checkpoint in checkpoints]
    results = analyses[0].records()
    if several:
        results = compare(analyses)
        links = {name: f"{own.name}/report.md" for name, own in folders.items()}
        report.write_text(comparison_markdown(results, links, facts), encoding="utf-8")
        screen(WIDTH).print(Markdown(report.read_text(encoding="utf-8")))
    else:
        facts = {**facts, **measured_on(paths[0]), "analysis": analyses[0].facts()}
    numbers = write_results(folder / "results.json", results, {**facts, "task_type": "feature-extraction"})
    screen(WIDTH).print(f"report: {report}\nnumbers: {numbers}", soft_wrap=True)


if __name__ == "__main__":
    run_script(main)
