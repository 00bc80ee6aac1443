# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Long documents as concepts: does a query find its document, can a linear probe tell whether the two belong together (or
the class that the data give), and what does reading cost, at 512 to 8,192 tokens of each document.

    python examples/run_long_context.py --model_name_or_path outputs/…

evaluates on QMSum of SCROLLS, beside the same network untrained, tf-idf, chance and the most frequent class. Further
data: `--dataset_config_name contract_nli`, `--dataset_name THUDM/LongBench`, a local folder, or any data set whose
columns are named by `--document_column --query_column --label_column_name`. A model takes at most
`max_sequence_length` tokens at once; longer documents are read in windows, and all their concepts together stand for
the document.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from trainers.limits import check_at_least
from trainers.long_context import POOLINGS, TASKS, LongContextEvaluation, cost_results, evaluate_readers
from trainers.long_documents import ARCHIVES, load_rows, make_data, read_rows
from trainers.long_reading import ConceptReader, SentenceReader, plot_costs
from trainers.plain_text import screen
from trainers.reporting import ReportingArguments
from trainers.results import UNTRAINED, measured_on, model_name, results_table, write_results
from trainers.runs import readable_names
from trainers.script import newest_checkpoint, parse_arguments, run_facts, run_script
from trainers.similarity import load_encoder, load_sentence_model
from trainers.untrained import UntrainedError, untrained_like


@dataclass
class Arguments:
    """What is evaluated on what."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Concept checkpoint, folder or Hub id; the newest below outputs/ by default."}
    )
    dataset_name: str = field(default="tau/scrolls", metadata={"help": "Hub id or local folder of long documents."})
    dataset_config_name: str | None = field(
        default=None, metadata={"help": "Configuration of the data; qmsum of SCROLLS and LongBench by default."}
    )
    split: str | None = field(default=None, metadata={"help": "Split; validation, or test, by default."})
    document_column: str | None = field(default=None, metadata={"help": "Column of documents, of an unknown layout."})
    query_column: str | None = field(default=None, metadata={"help": "Column of queries, of an unknown layout."})
    label_column_name: str | None = field(default=None, metadata={"help": "Column of classes, if there are any."})
    task_name: list[str] = field(default_factory=lambda: list(TASKS), metadata={"help": "retrieval, classification."})
    lengths: list[int] = field(
        default_factory=lambda: [512, 1024, 2048, 4096, 8192], metadata={"help": "Tokens of each document to read."}
    )
    window: int | None = field(
        default=None, metadata={"help": "Read windows of so many tokens; as many as the model takes by default."}
    )
    poolings: list[str] = field(
        default_factory=lambda: ["mean", "centred mean", "best concept"],
        metadata={"help": f"How concepts are compared: {', '.join(repr(name) for name in POOLINGS)}."},
    )
    baseline_models: list[str] = field(
        default_factory=list, metadata={"help": "SentenceTransformers, folders or Hub ids, to stand beside the model."}
    )
    batch_size: int = field(default=64, metadata={"help": "Windows of a document at a time."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many documents."})
    seed: int = field(default=0, metadata={"help": "Seed of the untrained network and of the cross-validation."})

    def __post_init__(self):
        for name, known in (("task_name", TASKS), ("poolings", POOLINGS)):
            if unknown := [value for value in getattr(self, name) if value not in known]:
                raise ValueError(f"--{name} knows {list(known)}, not {unknown[0]!r}.")
            setattr(self, name, list(dict.fromkeys(getattr(self, name))))
        if (self.document_column is None) != (self.query_column is None):
            raise ValueError("--document_column and --query_column need each other.")
        if self.label_column_name is not None and self.document_column is None:
            raise ValueError("--label_column_name needs --document_column and --query_column.")
        check_at_least(self, lengths=8, window=1, batch_size=1, max_eval_samples=1, seed=0)


def load_data(args):
    config = args.dataset_config_name or ("qmsum" if args.dataset_name in ARCHIVES else None)
    rows, split = load_rows(args.dataset_name, config, args.split)
    columns = args.document_column and (args.document_column, args.query_column, args.label_column_name)
    name = config or Path(args.dataset_name).name
    return make_data(name, split, read_rows(rows, columns or None), args.max_eval_samples)


def describe(evaluation: LongContextEvaluation, reader: ConceptReader, lengths: list[int]) -> str:
    """What stands below the table."""
    data, parts = evaluation.data, [f"{len(evaluation.data.documents)} documents;"]
    parts.append(
        f"{len(data.named)} queries stand with one document only, {data.left_out} others are left out of retrieval."
    )
    if evaluation.probe is not None:
        asked = "the data's classes" if data.labels else "whether a query belongs to a document"
        parts.append(f"Accuracy: {asked}, by a linear probe on documents that it was not fitted on.")
    if reader.window >= max(lengths):
        parts.append(f"{reader.name} reads documents at once.")
    elif reader.window >= min(lengths):
        parts.append(f"{reader.name} reads up to {reader.window} tokens at once, longer documents in such windows.")
    else:
        parts.append(f"{reader.name} reads windows of {reader.window} tokens, each encoded on its own.")
    parts.append("Centred: minus the mean over the queries, or over the documents, of this split.")
    return " ".join(parts)


def add_costs(table, results) -> None:
    """Lines of time and memory, less of which is better, so that none is marked as the best."""
    table.columns[0].no_wrap = True
    table.add_section()
    for metric in dict.fromkeys(result.metric for result in results):
        values = {result.system: f"{result.value:.1f}" for result in results if result.metric == metric}
        table.add_row(metric, *(values.get(str(column.header), "") for column in table.columns[1:]))


def main():
    args, reporting = parse_arguments(Arguments, ReportingArguments)
    path = args.model_name_or_path or newest_checkpoint()
    data, model = load_data(args), load_encoder(path)
    evaluation = LongContextEvaluation(data, args.task_name, args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name, lengths = model_name(path), sorted(set(args.lengths))
    networks = {name: model.to(device)}
    try:
        networks[UNTRAINED] = untrained_like(model, args.seed).to(device)
    except UntrainedError as error:
        print(error)
    readers = [
        ConceptReader(system, network, model.tokenizer, args.window, args.batch_size)
        for system, network in networks.items()
    ]
    for baseline, system in readable_names(args.baseline_models, networks).items():
        readers.append(SentenceReader(system, load_sentence_model(baseline), args.batch_size))
    folder = reporting.folder("long_context", path, "cost.png")

    results, costs = evaluate_readers(evaluation, readers, model.tokenizer, lengths, args.poolings)
    costs.pop(UNTRAINED, None)  # the same network
    spent = cost_results({f"{system}, {args.poolings[0]}": cost for system, cost in costs.items()}, data.split)
    caption = describe(evaluation, readers[0], lengths)
    facts = run_facts(args, reporting, {**measured_on(path), "device": device, "reading": caption, "costs": costs})
    write_results(folder / "results.json", [*results, *spent], facts)
    table = results_table(results, f"{name}: {data.name}, {data.split}, read as concepts", rows=("metric",))
    add_costs(table, spent)
    table.caption = caption
    screen(30 + 14 * len(table.columns)).print(table)

    plot_costs(costs, f"Reading one document of {data.name}, {device}", plot := folder / "cost.png")
    written = reporting.report(
        folder, [*results, *spent], facts, "feature-extraction",
        {result.task: (args.dataset_name, result.task) for result in results}, files=[plot],
    )  # fmt: skip
    print(f"{written}\n{plot}")


if __name__ == "__main__":
    run_script(main)
