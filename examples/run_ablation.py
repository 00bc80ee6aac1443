# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Train a table of runs on equally many tokens, evaluate all of them in the same way, and write one report.

    python examples/run_ablation.py

runs the first table, `examples/ablations/objectives.json`, on the embedded corpus and writes README.md, summary.png
and results.json. A table is a JSON file with options of run_pretraining.py by the name of the row. Results that exist
are reused: a table that was interrupted, or has new rows, continues where it was.

    python examples/run_ablation.py --table examples/ablations/architecture.json --seeds 1 2

Options of run_pretraining.py after the others hold for all rows, `--train_tokens` for their length:

    python examples/run_ablation.py --table my_table.json --dataset_name Salesforce/wikitext \\
        --dataset_config_name wikitext-103-raw-v1 --train_tokens 20000000

`--report_only true` writes the report of an existing `--output_dir` again.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import transformers

from trainers.evaluation.results import write_results
from trainers.evaluation.similarity import load_sentence_model
from trainers.experiments.ablation.evaluations import check_data
from trainers.experiments.ablation.protocol import Protocol
from trainers.experiments.ablation.report import check_report_dir, write_report
from trainers.experiments.ablation.runner import AblationArguments, run_table
from trainers.experiments.ablation.summary import average_seeds
from trainers.experiments.ablation.table import Row, check_options, read_table
from trainers.utils.plain_text import screen
from trainers.utils.script import parse_arguments, run_facts, run_script


TABLES = Path(__file__).parent / "ablations"


@dataclass
class TableArguments(AblationArguments):
    """[`AblationArguments`] with the first table as default."""

    table: str = field(default=str(TABLES / "objectives.json"), metadata={"help": "JSON file of rows."})


def read_changes(words: list[str]) -> dict:
    """`--name value …` as options; a single value is read as JSON where it is valid JSON."""
    changes: dict[str, list] = {}
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            changes[name] = [value] if equals else []
        elif not changes:
            raise ValueError(f"{word!r} belongs to no option.")
        else:
            changes[list(changes)[-1]].append(word)
    return {name: values if len(values) > 1 else read_value(values[0]) for name, values in changes.items()}


def read_value(word: str):
    try:
        return json.loads(word)
    except ValueError:
        return word


def make_rows(args: AblationArguments, protocol: Protocol, changes: dict) -> list[Row]:
    """The rows; ValueError for options and data that cannot be used, before anything takes long."""
    rows = read_table(args.table, changes, args.rows)
    check_options(rows)
    for name in args.baseline_models:
        load_sentence_model(name)
    check_data(protocol, args.evaluations)
    check_report_dir(Path(args.output_dir))
    return rows


def main():
    args, protocol, rest = parse_arguments(TableArguments, Protocol, keep_unknown=True)
    console, failed, folder = screen(160), {}, Path(args.output_dir)
    if not args.report_only:
        changes = read_changes(rest)
        rows = make_rows(args, protocol, changes)
        steps = sum(row.steps for row in rows) * len(args.seeds)
        console.print(f"{len(rows)} rows, seeds {args.seeds}, {steps:,} steps in all, in {folder}")
        transformers.logging.set_verbosity_error()
        measured, failed = run_table(rows, args, protocol, lambda line: console.print(line, soft_wrap=True))
        facts = {
            "title": f"Ablation: {Path(args.table).stem.replace('_', ' ')}",
            "changes": changes,
            "rows": {row.name: row.options for row in rows},
            "help_from": {model.name: model.help_from for model, _ in measured if model.help_from},
            "failed": failed,
        }
        results = average_seeds(result for _, results in measured for result in results)
        write_results(folder / "results.json", results, run_facts(args, protocol, facts))
    console.print(f"report: {write_report(folder)}", soft_wrap=True)
    if failed:
        sys.exit(f"{len(failed)} models failed: {', '.join(failed)}.")


if __name__ == "__main__":
    run_script(main)
