# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Tasks of MTEB on a concept checkpoint, folder or Hub id.

    python examples/run_mteb.py --model_name_or_path outputs/… --task_name STSBenchmark SICK-R

does what `mteb run -m … -t STSBenchmark SICK-R` does, which (mteb 2.26) takes no folder and runs no model's own code.
"""

from dataclasses import dataclass, field

import modeling_concept  # noqa: F401 (registers concept models)
from trainers.evaluation.results import (
    ReportingArguments,
    Result,
    measured_on,
    model_name,
    results_table,
    write_results,
)
from trainers.evaluation.similarity import load_sentence_model
from trainers.utils.limits import check_at_least
from trainers.utils.plain_text import screen
from trainers.utils.script import newest_checkpoint, parse_arguments, run_facts, run_script


@dataclass
class Arguments:
    """Which model on which tasks."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Any SentenceTransformer; the newest checkpoint in outputs/ by default."}
    )
    task_name: list[str] = field(default_factory=lambda: ["STSBenchmark"], metadata={"help": "Names of MTEB's tasks."})
    batch_size: int = field(default=128, metadata={"help": "Texts at a time."})

    def __post_init__(self):
        check_at_least(self, batch_size=1)


def main():
    args, reporting = parse_arguments(Arguments, ReportingArguments)
    import mteb  # which the help does not need
    from mteb.cache import ResultCache

    path = args.model_name_or_path or newest_checkpoint()
    name = model_name(path)
    try:
        tasks = mteb.get_tasks(tasks=args.task_name)
    except KeyError as error:
        raise ValueError(error.args[0]) from error
    model = load_sentence_model(path)
    folder = reporting.folder("mteb", path)
    found = mteb.evaluate(
        model, tasks, encode_kwargs={"batch_size": args.batch_size}, cache=ResultCache(folder),
        overwrite_strategy="always",
    )  # fmt: skip
    results = [
        Result(task.task_name, split, task.task.metadata.main_score, name, scores["main_score"])
        for task in found.task_results
        for split, rows in task.scores.items()
        for scores in rows
    ]
    screen(110).print(results_table(results, f"{name} on MTEB"))
    facts = run_facts(args, reporting, measured_on(path), {"task_type": "sentence-similarity"})
    print(f"results: {write_results(folder / 'results.json', results, facts)}")


if __name__ == "__main__":
    run_script(main)
