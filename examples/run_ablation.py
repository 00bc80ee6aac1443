# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Train a table of runs on equally many tokens, evaluate all of them in the same way, and write one report.

    python examples/run_ablation.py

runs the first table, `examples/ablations/objectives.json`, on the embedded corpus and writes README.md, summary.png
and results.json. A table is a JSON file with options of run_pretraining.py by the name of the row. Results that exist
are reused: a table that was interrupted, or has new rows, continues where it was.

    python examples/run_ablation.py --table examples/ablations/architecture.json --seeds 1 2

Options of run_pretraining.py hold for all rows:

    python examples/run_ablation.py --table my_table.json --dataset_name Salesforce/wikitext \\
        --dataset_config_name wikitext-103-raw-v1 --train_tokens 20000000
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import transformers
from transformers.hf_argparser import HfArg

from trainers.evaluation.results import average_seeds, write_results
from trainers.experiments.ablation.evaluations import EVALUATIONS, Protocol, check_data
from trainers.experiments.ablation.models import BASELINES
from trainers.experiments.ablation.report import check_report_dir, write_report
from trainers.experiments.ablation.runner import list_models, run_table
from trainers.experiments.ablation.table import read_table
from trainers.utils.script import parse_arguments, run_facts, run_script


@dataclass
class Arguments:
    """Which runs, baselines and evaluations."""

    table: str = HfArg(default=str(Path(__file__).parent / "ablations" / "objectives.json"), help="JSON file of rows.")
    output_dir: str | None = HfArg(
        default=None, help="Folder, which may hold a part of the runs; outputs/ablation_<table> by default."
    )
    rows: list[str] | None = HfArg(default=None, help="Names of rows; all by default.")
    train_tokens: int | None = HfArg(
        default=None, help="Tokens that each row is trained on; as in the table by default."
    )
    seeds: list[int] = HfArg(default_factory=lambda: [42], help="Every row is trained with each.")
    baselines: list[str] = HfArg(
        default_factory=lambda: list(BASELINES), metadata={"choices": [*BASELINES, "none"]},
        help="Made from the first row, or none.",
    )  # fmt: skip
    baseline_models: list[str] = HfArg(
        default_factory=lambda: ["sentence-transformers/all-MiniLM-L6-v2"],
        help="SentenceTransformers to compare with, folders or Hub ids, or none.",
    )
    evaluations: list[str] = HfArg(
        default_factory=lambda: list(EVALUATIONS), metadata={"choices": [*EVALUATIONS, "none"]},
        help="What is measured of all models, or none.",
    )  # fmt: skip

    def __post_init__(self):
        self.output_dir = self.output_dir or str(Path("outputs") / f"ablation_{Path(self.table).stem}")
        for name in ("baselines", "baseline_models", "evaluations"):
            setattr(self, name, [value for value in getattr(self, name) if value != "none"])


def main():
    args, protocol, changes = parse_arguments(Arguments, Protocol, keep_unknown=True)
    folder, rows = Path(args.output_dir), read_table(args.table, changes, args.train_tokens, args.rows)
    check_data(protocol, args.evaluations)
    check_report_dir(folder)
    models = list_models(rows, folder, args.seeds, args.baselines, args.baseline_models)
    steps = sum(row.steps for row in rows) * len(args.seeds)
    print(f"{len(rows)} rows, seeds {args.seeds}, {steps:,} steps in all, in {folder}")
    transformers.logging.set_verbosity_error()
    results, failed = run_table(models, args.evaluations, protocol)
    facts = {
        "title": f"Ablation: {Path(args.table).stem.replace('_', ' ')}",
        "rows": {row.name: row.words for row in rows},
        "help_from": {model.name: model.help_from for model in models if model.help_from},
        "failed": failed,
    }
    write_results(folder / "results.json", average_seeds(results), run_facts(args, protocol, facts))
    print(f"report: {write_report(folder)}")
    if failed:
        sys.exit(f"{len(failed)} models failed: {', '.join(failed)}.")


if __name__ == "__main__":
    run_script(main)
