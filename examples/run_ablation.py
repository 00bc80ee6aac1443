# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Train a table of runs on equally many tokens, measure all of them alike, and write one report.

    python examples/run_ablation.py

runs the first table, `examples/ablations/objectives.json`, on the embedded corpus, and writes README.md (tables and
pictures) and results.json. A table is a JSON file: options of run_pretraining.py by the name of the row. Whatever is
done already is not done again: a table that was interrupted, or got further rows, goes on where it was.

    python examples/run_ablation.py --table examples/ablations/architecture.json --seeds 1 2 --jobs 2

Options of run_pretraining.py, given after the others, hold for all rows, `--train_tokens` for their length:

    python examples/run_ablation.py --table my_table.json --dataset_name Salesforce/wikitext \\
        --dataset_config_name wikitext-103-raw-v1 --train_tokens 20000000

Pairs that nobody has tuned to decide in the end: `--pairs_file pairs.tsv`.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from trainers.ablation import (
    BASELINES,
    EVALUATIONS,
    Plan,
    Protocol,
    check_options,
    check_report_dir,
    read_table,
    run_plan,
    write_report,
)
from trainers.limits import check_at_least
from trainers.plain_text import screen
from trainers.script import parse_arguments, run_facts, run_script
from trainers.similarity import TASKS, load_sentence_model


TABLES = Path(__file__).parent / "ablations"

DEFAULT_EVALUATIONS = (
    "training", "reading", "depth", "locality", "similarity", "retrieval", "cost", "mrpc", "rte", "stsb",
)  # fmt: skip


@dataclass
class AblationArguments:
    """Which runs."""

    table: str = field(default=str(TABLES / "objectives.json"), metadata={"help": "JSON file of rows."})
    output_dir: str | None = field(
        default=None,
        metadata={"help": "Folder, which may hold a part of the runs; outputs/ablation_<table> by default."},
    )
    rows: list[str] | None = field(default=None, metadata={"help": "Names of rows; all by default."})
    seeds: list[int] = field(default_factory=lambda: [42], metadata={"help": "Every row is trained with each."})
    jobs: int = field(default=1, metadata={"help": "Lines at a time, each with its share of the threads."})
    baselines: list[str] = field(
        default_factory=lambda: list(BASELINES), metadata={"help": f"Of {list(BASELINES)}, or none."}
    )
    baseline_models: list[str] = field(
        default_factory=lambda: ["sentence-transformers/all-MiniLM-L6-v2"],
        metadata={"help": "SentenceTransformers to stand beside the rows, folders or Hub ids, or none."},
    )
    train_tokens: int | None = field(default=None, metadata={"help": "Tokens of every run; the table's by default."})

    def __post_init__(self):
        check_at_least(self, seeds=0, jobs=1, train_tokens=1)


@dataclass
class ProtocolArguments:
    """What every row is measured on."""

    evaluations: list[str] = field(
        default_factory=lambda: list(DEFAULT_EVALUATIONS),
        metadata={"help": f"Of {list(EVALUATIONS)}."},
    )
    held_out: str | None = field(
        default=None, metadata={"help": "Data set whose validation text is read back; the embedded corpus by default."}
    )
    held_out_config: str | None = field(default=None, metadata={"help": "Its configuration."})
    samples: int = field(default=256, metadata={"help": "Texts that are read back."})
    held_out_length: int = field(default=64, metadata={"help": "Their tokens, at most."})
    sts: list[str] = field(
        default_factory=lambda: [f"stsb={TASKS['stsb']}", f"sickr={TASKS['sickr']}"],
        metadata={
            "help": "Pairs for zero-shot similarity: name=data set, or name=data set:configuration, and @split at the "
            "end where it is not test."
        },
    )
    pairs_file: str | None = field(default=None, metadata={"help": "tsv or csv file of further pairs with scores."})
    glue: str | None = field(default=None, metadata={"help": "Data set in place of GLUE's: Hub id or local folder."})
    fine_tuning_seeds: list[int] = field(default_factory=lambda: [42], metadata={"help": "Seeds of fine-tuning."})
    fine_tuning_epochs: float = field(default=3.0, metadata={"help": "Epochs of fine-tuning."})
    fine_tuning_samples: int | None = field(
        default=None, metadata={"help": "At most so many rows of each part of a task."}
    )

    def __post_init__(self):
        check_at_least(self, samples=2, held_out_length=8, fine_tuning_seeds=0, fine_tuning_samples=1)


def read_changes(words: list[str]) -> dict:
    """`--name value …` as options; one value that JSON knows is taken as that."""
    changes: dict[str, object] = {}
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            changes[name] = [value] if equals else []
        elif not changes:
            raise ValueError(f"{word!r} belongs to no option.")
        else:
            changes[list(changes)[-1]].append(word)
    if empty := [name for name, values in changes.items() if not values]:
        raise ValueError(f"--{empty[0]} needs a value.")
    return {name: read_value(values[0]) if len(values) == 1 else values for name, values in changes.items()}


def read_value(word: str):
    """A number, or the word."""
    try:
        return json.loads(word)
    except ValueError:
        return word


def read_sets(items: list[str]) -> dict[str, tuple[str, str | None, str | None]]:
    """`name=data set:configuration@split` -> name to (data set, configuration, split)."""
    found = {}
    for item in items:
        name, equals, place = item.partition("=")
        if not equals or not place or name in found:
            raise ValueError(f"--sts {item!r}: each is name=data set, and each name comes once.")
        place, _, split = place.partition("@")
        source, _, config = place.partition(":")
        found[name] = (source, config or None, split or "test")
    return found


def make_plan(args: AblationArguments, asked: ProtocolArguments, changes: dict) -> Plan:
    """Whatever may be wrong is said here, before anything takes long."""
    if args.train_tokens is not None:
        changes = {**changes, "train_tokens": args.train_tokens}
    rows = read_table(args.table, changes, args.rows)
    check_options(rows)
    for option, given, known in (
        ("baselines", args.baselines, BASELINES), ("evaluations", asked.evaluations, EVALUATIONS),
    ):  # fmt: skip
        if unknown := [name for name in given if name not in known and name != "none"]:
            raise ValueError(f"--{option}: unknown {unknown[0]!r}; choose of {list(known)}.")
    models = [name for name in args.baseline_models if name != "none"]
    for name in models:
        load_sentence_model(name)
    protocol = Protocol(
        asked.held_out, asked.held_out_config, asked.samples, asked.held_out_length, read_sets(asked.sts),
        asked.pairs_file, asked.glue, tuple(asked.fine_tuning_seeds), asked.fine_tuning_epochs,
        asked.fine_tuning_samples,
    )  # fmt: skip
    folder = Path(args.output_dir or Path("outputs") / f"ablation_{Path(args.table).stem}")
    protocol.check(name for name in asked.evaluations if name != "none")
    check_report_dir(folder)
    return Plan(
        rows, args.seeds, folder, protocol, [name for name in asked.evaluations if name != "none"],
        [name for name in args.baselines if name != "none"], models, args.jobs,
    )  # fmt: skip


def main():
    args, asked, rest = parse_arguments(AblationArguments, ProtocolArguments, keep_unknown=True)
    changes = read_changes(rest)
    plan = make_plan(args, asked, changes)
    console = screen(160)
    steps = sum(row.steps for row in plan.rows) * len(plan.seeds)
    console.print(f"{len(plan.rows)} rows, seeds {plan.seeds}, {steps:,} steps in all, in {plan.root}")
    found, failed = run_plan(plan, lambda line: console.print(line, soft_wrap=True))
    title = f"Ablation: {Path(args.table).stem.replace('_', ' ')}"
    facts = run_facts(args, asked, {"changes": changes, "rows": {row.name: row.options for row in plan.rows}})
    path = write_report(plan.root, title, found, failed, {row.name for row in plan.rows}, facts)
    console.print(f"report: {path}", soft_wrap=True)
    if failed:
        sys.exit(f"{len(failed)} lines failed: {', '.join(failed)}.")


if __name__ == "__main__":
    run_script(main)
