# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Long documents as concepts: retrieval of the document of a query, and a linear probe of whether the two match, at 512
to 8,192 tokens of each document.

    python examples/run_long_context.py --model_name_or_path outputs/…

evaluates on QMSum of SCROLLS, beside the same network untrained, tf-idf, chance and the majority class. Further data:
`--dataset_config_name qasper`, `--dataset_name THUDM/LongBench`, or your own with the columns document and query. A
model takes at most `max_sequence_length` tokens at once; longer documents are encoded in windows and represented by
all their concepts.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from trainers.evaluation.long_context.documents import ARCHIVES, LongData, load_rows, make_data, read_rows
from trainers.evaluation.long_context.evaluator import LongContextEvaluation, evaluate_networks
from trainers.evaluation.results import UNTRAINED, ReportingArguments, measured_on, model_name, results_table
from trainers.models.loading import load_model
from trainers.models.untrained import UntrainedError, untrained_like
from trainers.utils.limits import check_at_least
from trainers.utils.plain_text import screen
from trainers.utils.script import newest_checkpoint, parse_arguments, run_facts, run_script


@dataclass
class Arguments:
    """Model, data and sizes of the evaluation."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Concept checkpoint, folder or Hub id; the newest below outputs/ by default."}
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
    seed: int = field(default=0, metadata={"help": "Seed of the untrained network and of the cross-validation."})

    def __post_init__(self):
        check_at_least(self, lengths=8, batch_size=1, max_eval_samples=1, seed=0)


def load_data(args: Arguments) -> LongData:
    """The documents and queries of the options."""
    config = args.dataset_config_name or ("qmsum" if args.dataset_name in ARCHIVES else None)
    rows, split = load_rows(args.dataset_name, config, args.split)
    return make_data(config or Path(args.dataset_name).name, split, read_rows(rows), args.max_eval_samples)


def main():
    args, reporting = parse_arguments(Arguments, ReportingArguments)
    path = args.model_name_or_path or newest_checkpoint()
    data, model = load_data(args), load_model(path, encoder_only=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = model_name(path)
    networks = {name: model.to(device)}
    try:
        networks[UNTRAINED] = untrained_like(model, args.seed).to(device)
    except UntrainedError as error:
        print(error)
    evaluation = LongContextEvaluation(data, args.seed)
    folder = reporting.folder("long_context", path)

    results = evaluate_networks(evaluation, networks, sorted(set(args.lengths)), args.batch_size)
    caption = (
        f"{len(data.documents)} documents, {len(data.queries)} queries; {data.ambiguous} others belong to several "
        f"documents and are left out. Texts of more than {model.config.max_sequence_length} tokens are encoded in "
        "windows. Accuracy: whether query and document match, by a linear probe on unseen documents. Centred: minus "
        "the mean over the queries, or over the documents, of this split."
    )
    facts = run_facts(args, reporting, {**measured_on(path), "device": device, "caption": caption})
    datasets = {result.task: (args.dataset_name, result.task) for result in results}
    written = reporting.report(folder, results, facts, "feature-extraction", datasets)
    table = results_table(results, f"{name}: {data.name}, {data.split}, as concepts", rows=("metric",))
    table.columns[0].no_wrap = True
    table.caption = caption
    screen(30 + 14 * len(table.columns)).print(table)
    print(written)


if __name__ == "__main__":
    run_script(main)
