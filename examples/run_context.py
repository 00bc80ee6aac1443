# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What a language model knows of a text by its concepts.

    python examples/run_context.py --model_name_or_path outputs/… --dataset_name BOOKS

gives the reader's loss on what follows a text when it knows nothing of it, all of it, its last tokens, its concepts,
those of another text, or half of each; how well it writes a text again; and what reading costs. With
`--answer_column title` it also answers a question about each text. `--optimise 64` adds the ceiling: vectors that are
found for each text by gradient descent.
"""

from dataclasses import dataclass, field

import torch

from trainers.data.texts import as_texts, load_split, text_column
from trainers.evaluation.context import (
    CONCEPTS,
    OPTIMISED,
    context_results,
    context_scores,
    optimised_scores,
    plot_context,
    round_trip,
)
from trainers.evaluation.context_data import make_context_data, make_question_data
from trainers.evaluation.reading_cost import NEW_TOKENS, reading_cost
from trainers.evaluation.results import (
    ReportingArguments,
    Result,
    by_task,
    make_table,
    measured_on,
    model_name,
    tabulate_systems,
    write_results,
)
from trainers.models.loading import load_model
from trainers.utils.limits import check_at_least
from trainers.utils.plain_text import markdown, markdown_table, screen
from trainers.utils.script import newest_checkpoint, parse_arguments, run_facts, run_script


@dataclass
class Arguments:
    """Model, texts and sizes of the evaluation."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Checkpoint with a reader, folder or Hub id; the newest in outputs/ by default."},
    )
    dataset_name: list[str] = field(
        default_factory=lambda: ["Salesforce/wikitext"], metadata={"help": "Hub ids or local folders of texts."}
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the data."})
    split: str | None = field(default=None, metadata={"help": "Split; validation, or test, by default."})
    text_column: str | None = field(default=None, metadata={"help": "Column of text."})
    prefix_length: int = field(default=128, metadata={"help": "Tokens that are read."})
    suffix_length: int = field(default=64, metadata={"help": "Tokens that follow."})
    ratios: list[int] = field(default_factory=lambda: [4], metadata={"help": "Tokens of the prefix for each concept."})
    max_eval_samples: int = field(default=256, metadata={"help": "Pieces of each data set."})
    answer_column: str | None = field(
        default=None, metadata={"help": "Column of answers: title. The reader then also answers --question."}
    )
    question: str = field(
        default="\n\nTitle:",
        metadata={"help": "Text before the answer, in which {query} stands for the column query of the row."},
    )
    optimise: int = field(default=0, metadata={"help": "Pieces for which the best vectors are searched."})
    round_trip_length: int = field(default=64, metadata={"help": "Tokens of a text that is written again."})
    round_trip_ratios: list[int] = field(
        default_factory=lambda: [2, 4, 8, 16, 32], metadata={"help": "Tokens for each concept of such a text."}
    )
    cost_lengths: list[int] = field(
        default_factory=lambda: [512, 2048, 4096, 8192], metadata={"help": "Tokens of texts whose reading is timed."}
    )
    batch_size: int = field(default=16, metadata={"help": "Pieces at a time."})
    bf16: bool = field(
        default=False,
        metadata={
            "help": "Read texts in bfloat16, by autocast; the cost is always that in the precision of the model."
        },
    )

    def __post_init__(self):
        check_at_least(
            self, prefix_length=2, suffix_length=1, ratios=1, max_eval_samples=2, optimise=0, round_trip_length=1,
            round_trip_ratios=1, cost_lengths=8, batch_size=2,
        )  # fmt: skip


def main():
    args, reporting = parse_arguments(Arguments, ReportingArguments)
    path = args.model_name_or_path or newest_checkpoint()
    model = load_model(path)
    if not hasattr(model, "reader"):
        raise ValueError(f"{path} has no reader; train one by `run_pretraining.py --model_type causal_lm`.")
    longest = model.reader.max_positions
    if longest is not None and longest < max(args.cost_lengths) + NEW_TOKENS:
        raise ValueError(
            f"The reader has {longest} positions: give --cost_lengths of at most {longest - NEW_TOKENS} tokens."
        )
    check_ratios(model, args)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    folder, results = reporting.folder("context", path), []
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=args.bf16):
        for name in args.dataset_name:
            results += measure_texts(model, name, args)
    results += reading_cost(model, args.cost_lengths, args.ratios[0])
    title = f"{model_name(path)} as a reader"
    tables = {task: tabulate_systems(rows) for task, rows in by_task(results).items()}
    for task, table in tables.items():
        screen(140).print(make_table(f"{title}: {task}", *table))
    plot_context(results, title, folder / "context.png")
    parts = [f"# {markdown(title)}", "Losses in nats.", "![Context kept](context.png)"]
    for task, table in tables.items():
        parts += [f"## {markdown(task)}", markdown_table(*table, text_columns=2)]
    (folder / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    facts = run_facts(args, reporting, measured_on(path), {})
    print(f"results: {write_results(folder / 'results.json', results, facts)}")


def check_ratios(model, args: Arguments) -> None:
    """ValueError for prefixes that the model cannot read, before anything takes long."""
    config = model.config
    if args.prefix_length > config.max_sequence_length:
        raise ValueError(
            f"The model reads {config.max_sequence_length} tokens: give a --prefix_length of at most that."
        )
    needed = -(-args.prefix_length // min(args.ratios))
    if needed > config.concept_num:
        raise ValueError(
            f"{args.prefix_length} tokens at the ratio {min(args.ratios)} are {needed} concepts, but the model has "
            f"{config.concept_num}: give higher --ratios, or a smaller --prefix_length."
        )


def measure_texts(model, name: str, args: Arguments) -> list[Result]:
    """Results on the texts of one data set."""
    rows, _ = load_split(name, args.dataset_config_name, (args.split,) if args.split else ("validation", "test"))
    column, results = text_column(rows, args.text_column), []
    texts = as_texts(rows, [column], name=f"rows of {name}")
    for ratio in args.ratios:
        count = -(-args.prefix_length // ratio)
        setting = f"{args.prefix_length} tokens as {count}"
        shared = {
            "column": column, "tokenizer": model.reader_tokenizer, "prefix": args.prefix_length,
            "count": args.max_eval_samples, "last": count,
        }  # fmt: skip
        data = make_context_data(model_name(name), texts, suffix=args.suffix_length, **shared)
        sets = [data]
        if args.answer_column is not None:
            title = f"{model_name(name)}, {args.answer_column}"
            sets.append(
                make_question_data(title, rows, question=args.question, answer_column=args.answer_column, **shared)
            )
        for part in sets:
            scores = context_scores(model, part, count, args.batch_size)
            results += context_results(part, scores, setting)
            if args.optimise:
                few = part.first(args.optimise)
                ceiling = optimised_scores(model, few, count, args.batch_size)
                scores = {name: found.first(args.optimise) for name, found in scores.items()} | {OPTIMISED: ceiling}
                results += context_results(few, scores, setting)
    if model.config.decoder_target != "continuation":
        texts = data.prefixes[:, : args.round_trip_length]
        for ratio in args.round_trip_ratios:
            count = -(-texts.shape[1] // ratio)
            if count > model.config.concept_num:
                print(f"{texts.shape[1]} tokens as {count} concepts: the model has {model.config.concept_num}.")
                continue
            for metric, value in round_trip(model, texts, count, args.batch_size, data.opening).items():
                setting = f"{texts.shape[1]} tokens as {count}"
                results.append(Result(f"{data.name}, written again", setting, metric, CONCEPTS, value))
    return results


if __name__ == "__main__":
    run_script(main)
