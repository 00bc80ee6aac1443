# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What the concepts of a checkpoint hold: geometry, attention, linear probes, compression, kinds of text, decision gates.

    python examples/run_concept_analysis.py --model_name_or_path outputs/…

looks at held-out text of the embedded corpus, prints a table beside the same network untrained, and writes
results.json and one HTML file, report.html. Results of the other evaluation scripts decide more of the gates:

    python examples/run_concept_analysis.py --model_name_or_path outputs/… --dataset_name Salesforce/wikitext \
        --dataset_config_name wikitext-103-raw-v1 --results outputs/glue_…/results.json outputs/sts_…/results.json

Several checkpoints get a report each, and one table with a column for each of them; `--text` shows which words of a
text of yours each concept holds:

    python examples/run_concept_analysis.py --model_name_or_path outputs/a outputs/b outputs/c
    python examples/run_concept_analysis.py --text "The ship left the harbour before the storm."
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from trainers.analysis import (
    FEWEST_TEXTS,
    KIND_TEXTS,
    TOLD,
    Analysis,
    Report,
    Run,
    can_reconstruct,
    collect_measures,
    compare,
    comparison_rows,
    concepts_of_text,
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
    read_back_kinds,
    run_probes,
    token_profiles,
    write_comparison,
    write_report,
)
from trainers.limits import check_at_least
from trainers.metrics import concept_metrics
from trainers.plain_text import screen, table_text
from trainers.reporting import ReportingArguments
from trainers.results import measured_on, results_table, write_results
from trainers.runs import check_output_dir, folder_name, readable_names
from trainers.script import newest_checkpoint, parse_arguments, run_facts, run_script
from trainers.untrained import UntrainedError, untrained_like


# Probes learn from more texts than the rest needs.
PROBE_TEXTS = 3

WIDTH = 110


@dataclass
class Arguments:
    """What is analysed on what."""

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


class Subject:
    """A checkpoint with all that can be wrong about it: read before anything takes long."""

    def __init__(self, path: str, name: str, args: Arguments, reports: list[Report], references: list[Report]):
        self.path, self.name, self.args = path, name, args
        self.left_out: list[str] = []
        self.model = load_checkpoint(path)
        config = self.model.config
        self.run = Run.read(path, config)
        self.measured = collect_measures(reports, references, path, config)
        self.model = self.model.to("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self.untrained = untrained_like(self.model, args.seed)
        except UntrainedError as error:
            self.untrained = None
            self.tell(str(error))
        source = (args.dataset_name, args.dataset_config_name, args.text_column, args.split, args.streaming)
        self.length = min(args.max_seq_length, config.max_sequence_length)
        self.whole = load_sample(self.model.tokenizer, self.length, PROBE_TEXTS * args.max_eval_samples, *source)
        self.text = None if args.text is None else concepts_of_text(self.model, self.whole.vocabulary, args.text)

    def tell(self, line: str) -> None:
        """Print what is left out, and keep it for the report."""
        print(line)
        self.left_out.append(line)

    def analyse(self) -> tuple[Analysis, Callable[[], dict]]:
        """The analysis, and what makes its pictures."""
        model, untrained, args, batch_size = self.model, self.untrained, self.args, self.args.batch_size
        config, sample = model.config, self.whole.take(args.max_eval_samples)
        both = {"trained": model} | ({} if untrained is None else {"untrained": untrained})
        concepts = {key: encode(each, sample.ids, batch_size, f"concepts: {key}") for key, each in both.items()}
        attention = {key: read_attention(each, sample, batch_size, f"attention: {key}") for key, each in both.items()}
        geometry = {key: concept_metrics(values) for key, values in concepts.items()}
        ranks = {key: rank_measures(found, config) for key, found in geometry.items()}
        probes = make_probes(self.whole, args.seed, self.tell)
        reads = can_reconstruct(model)
        addressed = config.concept_position_type == "addressed"
        analysis = Analysis(
            name=self.name,
            model={
                "class": type(model).__name__,
                "parameters": model.num_parameters(),
                "encoder_parameters": model.base_model.num_parameters(),
                "concepts": config.concept_num,
                "width": config.hidden_size,
                "segments": config.concept_num - config.global_concept_num if addressed else 0,
                "encoder": "recursive" if config.is_recursive else config.encoder_type,
                "decoder": config.decoder_type if hasattr(model, "lm_head") else "no",
            },
            sample={
                "data": args.dataset_name or "the embedded corpus",
                "split": args.split,
                "texts": len(sample.ids),
                "probe_texts": len(self.whole.ids),
                "tokens": self.length,
            },
            geometry=geometry,
            legacy={
                **{key: legacy_metrics(values) for key, values in concepts.items()},
                "constants": legacy_metrics(constants_like(concepts["trained"])),
            },
            attention={key: values.summary() for key, values in attention.items()},
            profiles=token_profiles(attention["trained"], sample),
            questions={probe.name: probe.sentence for probe in probes},
            probes=run_probes(model, untrained, probes, self.name, args.split, batch_size),
            compression=measure_compression(model, untrained, sample, batch_size) if reads else None,
            kinds=read_back_kinds(model, min(KIND_TEXTS, len(sample.ids)), args.seed, batch_size) if reads else None,
            text=self.text,
            ranks=ranks,
            measures=self.measured.values,
            gates=judge_all(self.measured, ranks["trained"], self.run),
            left_out=self.left_out,
        )
        return analysis, lambda: make_pictures(analysis, concepts, attention)


def short_task(task: str) -> str:
    """`probe: words, all concepts` as `words, all`, and `probe: words, pooled` as `words`."""
    return task.removeprefix("probe: ").removesuffix(", pooled").removesuffix(" concepts")


def make_tables(analysis: Analysis) -> list[Table]:
    """What is printed of one checkpoint; spreads over folds stand in the report."""
    sample = analysis.sample
    title = f"{analysis.name}: {sample['texts']} texts of {sample['data']}, {sample['split']}"
    records = [replace(record, task=short_task(record.task), spread=None) for record in analysis.records()]
    tables = [results_table(records, title, rows=("task", "metric"))]
    tables[0].columns[0].no_wrap = tables[0].columns[1].no_wrap = True
    if analysis.probes:
        tables[0].caption, tables[0].caption_justify = "Questions are put to the mean concept; all: to all.", "left"
    if analysis.kinds is not None:
        table = Table("kind of text", title="What comes back", caption=TOLD, caption_justify="left")
        for heading in ("tokens right", "whole texts right", "[UNK]", "tokens a text"):
            table.add_column(heading, justify="right")
        for row in analysis.kinds:
            table.add_row(
                row["kind"], f"{row['accuracy']:.1%}", f"{row['exact']:.0%}", f"{row['unknown']:.0%}",
                f"{row['tokens']:.0f}",
            )  # fmt: skip
        tables.append(table)
    if analysis.text is not None:
        table = Table("concept", "attends most to", title="Your text")
        if analysis.text["read"] is not None:
            table.add_column("lost without it")
        for row in analysis.text["concepts"]:
            words = [row[name] for name in ("attends", "holds") if row[name] is not None]
            table.add_row(str(row["concept"]), *(" · ".join(found) for found in words))
        tables.append(table)
    return tables


def write_one(subject: Subject, folder: Path, facts: dict, console: Console) -> tuple[Analysis, dict, Path]:
    """
    Analyse one checkpoint, print its tables and write its files, the numbers first.

    Returns:
        The analysis, the facts that its results.json holds, and the path of its report.
    """
    analysis, make = subject.analyse()
    facts = {**facts, **measured_on(subject.path)}
    written = {**facts, "analysis": analysis.facts()}
    write_results(folder / "results.json", analysis.records(), written)
    for table in make_tables(analysis):
        console.print(table)
    return analysis, written, write_report(folder / "report.html", analysis, make(), facts)


def main():
    args, reporting = parse_arguments(Arguments, ReportingArguments)
    reports = [Report.read(path) for path in args.results]
    references = [Report.read(path) for path in args.reference_results]
    paths = list(dict.fromkeys(args.model_name_or_path or [newest_checkpoint()]))
    several = len(paths) > 1
    if several and reporting.push_to_hub:
        raise ValueError("--push_to_hub takes one checkpoint, whose repository is --hub_model_id.")
    for report in reports:
        if several and not any(report.is_about(path) for path in paths):
            raise ValueError(f"--results are of {report.path!r}, which is none of {paths}.")
    subjects = []
    for path, name in readable_names(paths).items():
        own = [report for report in reports if report.is_about(path) or not several]
        subjects.append(Subject(path, name, args, own, references))
    folder = reporting.folder("analysis", "comparison" if several else paths[0], "report.html")
    folders = {subject.name: folder / folder_name(subject.name) if several else folder for subject in subjects}
    for own in folders.values() if several else ():
        check_output_dir(own, ("results.json", "report.html"))

    facts, console = run_facts(args, reporting), screen(WIDTH)
    if not several:
        analysis, written, page = write_one(subjects[0], folder, facts, console)
        numbers = reporting.report(folder, analysis.records(), written, "feature-extraction", files=[page])
    else:
        analyses, links = [], {}
        for subject in subjects:
            analysis, _, page = write_one(subject, folders[subject.name], facts, console)
            analyses.append(analysis)
            links[subject.name] = str(page.relative_to(folder))
        results = compare(analyses)
        table = Table("", title="Side by side")
        for name in links:
            table.add_column(table_text(name), justify="right", overflow="fold")
        for row in comparison_rows(results):
            table.add_row(row["what"], *(row["cells"].get(name, "") for name in links))
        console.print(table)
        numbers = reporting.report(folder, results, facts, "feature-extraction")
        page = write_comparison(folder / "report.html", results, links, facts)
    console.print(f"report: {page}\nnumbers: {numbers}", soft_wrap=True)


if __name__ == "__main__":
    run_script(main)
