# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Zero-shot semantic similarity: cosines of the vectors of two texts against human scores, with nothing learned.

    python examples/run_sts.py

prints Spearman and Pearson correlations of the newest checkpoint on STS-B, by how its concepts become a vector, beside
the same network untrained, its token table alone, bags of words and the majority class. All STS tasks, another model
beside, and other pairs:

    python examples/run_sts.py --model_name_or_path outputs/… --task_name stsb sickr sts12 sts13 sts14 sts15 sts16
    python examples/run_sts.py --baseline_models sentence-transformers/all-MiniLM-L6-v2
    python examples/run_sts.py --pairs_file pairs.tsv
"""

from dataclasses import dataclass, field

import torch

from trainers.limits import check_at_least
from trainers.plain_text import screen
from trainers.reporting import ReportingArguments
from trainers.results import Result, measured_on, model_name, results_table
from trainers.runs import readable_names
from trainers.script import newest_checkpoint, parse_arguments, run_facts, run_script
from trainers.similarity import (
    METRICS,
    POOLINGS,
    TASKS,
    TextPairs,
    averages,
    choose_poolings,
    count_cut,
    load_encoder,
    load_pairs,
    load_sentence_model,
    make_systems,
    read_pairs_file,
    similarity_results,
)


@dataclass
class DataArguments:
    """Which pairs of texts."""

    task_name: list[str] | None = field(
        default=None, metadata={"help": f"Among {list(TASKS)}, from the Hub; stsb by default."}
    )
    dataset_name: str | None = field(default=None, metadata={"help": "Hub id or local folder of other pairs."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of that data set."})
    pairs_file: str | None = field(
        default=None,
        metadata={"help": "tsv or csv: two texts and a score a line, or columns below a header; or json(l), parquet."},
    )
    split: str | None = field(default=None, metadata={"help": "test, or validation where there is none, by default."})
    text_column_names: str | None = field(
        default=None, metadata={"help": "Columns of the two texts with a comma between, where they are not known."}
    )
    label_column_name: str | None = field(
        default=None, metadata={"help": "Column of the score, where it is not known."}
    )
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many pairs of each set."})

    def __post_init__(self):
        check_at_least(self, max_eval_samples=2)


@dataclass
class SimilarityArguments:
    """Which models, and which vectors."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Concept checkpoint, folder or Hub id; the newest in outputs/ by default."}
    )
    baseline_models: list[str] = field(
        default_factory=list, metadata={"help": "SentenceTransformers to stand beside it, folders or Hub ids."}
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Run the code of these models' repositories."})
    poolings: list[str] = field(
        default_factory=lambda: list(POOLINGS),
        metadata={"help": "How concepts become a vector; matrix holds all of them for each text."},
    )
    first_k: list[int] | None = field(
        default=None, metadata={"help": "Also the mean of the first k concepts; 1, 4 and 8 where there are more."}
    )
    batch_size: int = field(default=128, metadata={"help": "Texts at a time."})
    seed: int = field(default=0, metadata={"help": "Seed of the untrained network."})

    def __post_init__(self):
        check_at_least(self, batch_size=1, first_k=1, seed=0)


def load_sets(args):
    """The sets of pairs that are asked for, each under a name of its own."""
    given = [name for name in ("task_name", "dataset_name", "pairs_file") if getattr(args, name)]
    if len(given) > 1:
        raise ValueError(f"Give one of --{given[0]} and --{given[1]}, not both.")
    if (args.dataset_config_name and not args.dataset_name) or (args.split and args.pairs_file):
        raise ValueError("--dataset_config_name goes with --dataset_name only, and --split not with --pairs_file.")
    columns = {
        "text_columns": args.text_column_names,
        "score_column": args.label_column_name,
        "limit": args.max_eval_samples,
    }
    if args.pairs_file:
        return [read_pairs_file(args.pairs_file, **columns)]
    if args.dataset_name:
        return [load_pairs(args.dataset_name, args.dataset_config_name, args.split, **columns)]
    names = list(dict.fromkeys(args.task_name or ["stsb"]))
    if unknown := [name for name in names if name not in TASKS]:
        raise ValueError(f"Unknown task {unknown[0]!r}; choose among {list(TASKS)}, or give --dataset_name.")
    return [load_pairs(TASKS[name], split=args.split, task=name, **columns) for name in names]


def make_table(name: str, sets: list[TextPairs], results: list[Result], notes: str):
    """Of one set by metric and system; of several, Spearman correlations by set."""
    title = f"{name}, zero-shot: " + "; ".join(map(str, sets))
    if len(sets) == 1:
        table = results_table(results, title, rows=("metric",))
    else:
        results = [result for result in results if result.metric.startswith(METRICS[0])]
        table = results_table(results, title, rows=("metric", "system"), columns="task")
    table.columns[0].no_wrap = True
    table.caption, table.title_justify, table.caption_justify = notes, "left", "left"
    return table


def main():
    data_args, args, reporting = parse_arguments(DataArguments, SimilarityArguments, ReportingArguments)
    path = args.model_name_or_path or newest_checkpoint()
    model = load_encoder(path).to("cuda" if torch.cuda.is_available() else "cpu")
    poolings = choose_poolings(args.poolings, args.first_k, model.config.concept_num)
    sets = load_sets(data_args)
    name = model_name(path)
    others = {
        other: load_sentence_model(model_path, args.trust_remote_code)
        for model_path, other in readable_names(args.baseline_models, [name]).items()
    }
    folder = reporting.folder("sts", path)
    systems = make_systems(model, name, poolings, args.batch_size, args.seed, others)
    results, cut = [], {}
    for pairs in sets:
        cut[pairs.task] = count_cut(model, pairs.texts)
        results += similarity_results(pairs, systems)
    if len(sets) > 1:
        results += averages(results)
    notes = (
        "Vectors are means of concepts, and other models' own; matrix: all concepts; first k: the mean of these. "
        "centred: minus the mean over the texts of the set, without their scores; tf-idf is fitted on them, too. "
        f"{sum(cut.values())} texts were cut at {model.config.max_sequence_length} tokens."
    )
    screen(120).print(make_table(name, sets, results, notes))

    about = {**measured_on(path), "pairs": [str(pairs) for pairs in sets], "texts_cut": cut}
    facts = run_facts(data_args, args, reporting, about)
    datasets = {pairs.task: (pairs.source, pairs.task) for pairs in sets}
    print(f"results: {reporting.report(folder, results, facts, 'sentence-similarity', datasets)}")


if __name__ == "__main__":
    run_script(main)
