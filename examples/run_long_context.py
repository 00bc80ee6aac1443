# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Long documents as concepts: retrieval of the document of a query, at 512 to 8,192 tokens of each document.

    python examples/run_long_context.py --model_name_or_path outputs/…

evaluates on QMSum of SCROLLS, beside the same network untrained, tf-idf and chance. Further data:
`--dataset_config_name qasper`, `--dataset_name THUDM/LongBench`, or your own with the columns document and query. A
model takes at most `max_sequence_length` tokens at once; longer documents are encoded in windows and represented by
all their concepts.
"""

from dataclasses import dataclass, field

import torch

from trainers.evaluation.long_context import load_long_data, retrieval_results
from trainers.evaluation.results import (
    UNTRAINED,
    ReportingArguments,
    measured_on,
    model_name,
    results_table,
    write_results,
)
from trainers.models.loading import load_model
from trainers.models.untrained import UntrainedError, untrained_like
from trainers.utils.limits import check_at_least
from trainers.utils.plain_text import screen
from trainers.utils.script import newest_checkpoint, parse_arguments, run_facts, run_script


@dataclass
class Arguments:
    """Model, data and sizes of the evaluation."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Concept checkpoint, folder or Hub id; the newest in outputs/ by default."}
    )
    dataset_name: str = field(default="tau/scrolls", metadata={"help": "Hub id or local folder of long documents."})
    dataset_config_name: str | None = field(
        default=None, metadata={"help": "Configuration of the data; qmsum of SCROLLS and LongBench by default."}
    )
    split: str | None = field(default=None, metadata={"help": "Split; validation, or test, by default."})
    lengths: list[int] = field(
        default_factory=lambda: [512, 1024, 2048, 4096, 8192], metadata={"help": "Tokens of each document to read."}
    )
    batch_size: int = field(default=64, metadata={"help": "Windows of a document at a time."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many documents."})
    seed: int = field(default=0, metadata={"help": "Seed of the untrained network."})

    def __post_init__(self):
        check_at_least(self, lengths=8, batch_size=1, max_eval_samples=1, seed=0)


def main():
    args, reporting = parse_arguments(Arguments, ReportingArguments)
    path = args.model_name_or_path or newest_checkpoint()
    data = load_long_data(args.dataset_name, args.dataset_config_name, args.split, args.max_eval_samples)
    model, name = load_model(path, encoder_only=True), model_name(path)
    networks = {name: model.to("cuda" if torch.cuda.is_available() else "cpu")}
    try:
        networks[UNTRAINED] = untrained_like(model, args.seed)
    except UntrainedError as error:
        print(error)
    folder = reporting.folder("long_context", path)

    results = retrieval_results(data, networks, sorted(set(args.lengths)), args.batch_size)
    caption = (
        f"{len(data.documents)} documents, {len(data.queries)} queries; {data.ambiguous} others belong to several "
        f"documents and are left out. Texts of more than {model.config.max_sequence_length} tokens are encoded in "
        "windows."
    )
    screen(140).print(results_table(results, f"{name}, as concepts"), caption)
    datasets = {result.task: (args.dataset_name, result.task) for result in results}
    about = {"caption": caption, "task_type": "feature-extraction", "datasets": datasets}
    facts = run_facts(args, reporting, measured_on(path), about)
    print(f"results: {write_results(folder / 'results.json', results, facts)}")


if __name__ == "__main__":
    run_script(main)
