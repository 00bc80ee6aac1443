# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What the scripts that fine-tune on tasks share: their arguments, and the loop from tasks to one table."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from accelerate.utils import broadcast_object_list
from huggingface_hub import ModelCard, ModelCardData
from rich.console import Console

from ..hub import push_folder
from ..model_card import TaskFacts, add_results, hub_id, make_task_card
from ..reporting import results_folder
from ..results import UNTRAINED, Result, choose_trackers, results_table, track_results, write_results
from ..runs import check_output_dir
from ..script import CONCEPT_MODEL_TYPES, command_line, newest_checkpoint, run_facts
from .baselines import BASELINES, run_baseline
from .classifiers import CLASSIFIERS, is_recursive, read_checkpoint
from .fine_tuning import Cell, EncodedData, FineTuned, FineTuningArguments, System, encode_data, fine_tune
from .task import Task, TaskData, load_task


BASELINE_NAMES = (*BASELINES, "untrained")
TASK_TYPE = "text-classification"


@dataclass
class ModelArguments:
    """Which model is fine-tuned, and beside what."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint: folder or Hub id; the newest in outputs/ by default."}
    )
    model_type: str | None = field(
        default=None,
        metadata={"help": f"One of {sorted(CLASSIFIERS)}; told from the checkpoint by default."},
    )
    tokenizer_name: str | None = field(
        default=None, metadata={"help": "Tokenizer with the checkpoint's vocabulary; its own by default."}
    )
    pair_similarity: str | None = field(
        default=None,
        metadata={"help": "perceiver_pair_cls: classifier, or cosine, which is fitted to scores and their default."},
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code of the checkpoint's repository."})
    baselines: list[str] = field(
        default_factory=lambda: list(BASELINE_NAMES), metadata={"help": f"Of {list(BASELINE_NAMES)}, or none."}
    )
    baseline_models: list[str] = field(
        default_factory=list,
        metadata={"help": "Further encoders (Hub ids or folders) fine-tuned in the same way: prajjwal1/bert-tiny."},
    )


@dataclass
class TaskArguments:
    """Which tasks, and which of their data."""

    task_name: list[str] = field(
        default_factory=list, metadata={"help": "Tasks or groups; the script's own by default."}
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "Hub id or local folder that stands in for the tasks' own data set."}
    )
    train_file: str | None = field(default=None, metadata={"help": "Own training rows: csv, json(l) or parquet."})
    validation_file: str | None = field(default=None, metadata={"help": "Own rows to report on."})
    max_seq_length: int = field(
        default=128, metadata={"help": "Longest text in tokens; less if the model takes less."}
    )
    limit: int | None = field(default=None, metadata={"help": "At most so many rows of each part: a quick look."})
    allow_truncation: bool = field(
        default=False, metadata={"help": "Go on where texts are cut of a task that needs them whole."}
    )


def prepare(tasks: list[Task], model_args, task_args, args, tell) -> tuple[list[TaskData], list[System]]:
    """
    The data, and the model followed by what is fine-tuned beside it. `tell` gets a line on each model.

    Raises:
        ValueError: whatever cannot go well, before anything takes long.
    """
    choose_trackers(args.report_to)
    unknown = [name for name in model_args.baselines if name not in (*BASELINE_NAMES, "none")]
    if unknown:
        raise ValueError(f"Unknown baseline {unknown[0]!r}; choose of {list(BASELINE_NAMES)}, or none.")
    path = model_args.model_name_or_path
    checkpoint = read_checkpoint(
        path, model_args.model_type, model_args.tokenizer_name, model_args.pair_similarity,
        model_args.trust_remote_code,
    )  # fmt: skip
    if args.num_iterations is not None and not is_recursive(checkpoint.config):
        raise ValueError(
            f"--num_iterations needs a recursive encoder, but {path} is a {checkpoint.config.model_type}."
        )
    systems = [System(Path(path).name, checkpoint, num_iterations=tuple(args.num_iterations or ()))]
    if "untrained" in model_args.baselines:
        systems.append(System(UNTRAINED, checkpoint, untrained=True))
    for name in model_args.baseline_models:
        systems.append(System(name, read_checkpoint(name, trust_remote_code=model_args.trust_remote_code)))
    names = [*(system.name for system in systems), *(name for name, _ in BASELINES.values())]
    if len(set(names)) < len(names):
        raise ValueError(f"Each row of the table needs a name of its own, but there are {names}; rename a folder.")
    for system in systems:
        for task in tasks:
            system.checkpoint.check(task)
    check_output_dir(args.output_dir, resumes=False)
    files = task_args.train_file, task_args.validation_file
    if any(files) and len(tasks) > 1:
        raise ValueError(f"--train_file and --validation_file hold one task, not {[task.name for task in tasks]}.")
    data = [load_task(task, task_args.dataset_name, *files, task_args.limit, args.seed) for task in tasks]
    for system in systems:
        if not system.untrained:
            _, new = system.load(tasks[0], args.seed)
            weights = f"new: {', '.join(new)}" if new else "no new weights"
            tell(f"{system.checkpoint.path} as {system.checkpoint.classifier_type} on {args.device}; {weights}")
            for part in data:
                if part.task.whole_texts:
                    encode(system, part, task_args)
    return data, systems


def encode(system: System, data: TaskData, task_args: TaskArguments) -> tuple[EncodedData, str]:
    """Token ids, and a sentence on texts that are cut; ValueError if the task needs them whole."""
    encoded = encode_data(system.checkpoint, data, task_args.max_seq_length)
    text = (
        f"{data.task.name}, {system.name}: {100 * encoded.cut_share:.1f} % of the rows are longer than "
        f"{encoded.max_length} tokens and are cut"
    )
    if encoded.cut_share and data.task.whole_texts and not task_args.allow_truncation:
        raise ValueError(
            f"{text}; the task needs whole texts: take a model, or a --max_seq_length, for longer ones, or "
            "--allow_truncation."
        )
    return encoded, f"{text}."


def run_tasks(
    kind: str, tasks: list[Task], model_args: ModelArguments, task_args: TaskArguments, args: FineTuningArguments
) -> list[Result]:
    """
    Fine-tune the model and everything beside it on each task, print one table and write `results.json`, which holds
    every fine-tuning, into the output folder; below it, under the name of the first task, the model that is best on
    that task's selection part.

    Args:
        kind: of the tasks, such as `glue`: begins the name of the output folder.

    Raises:
        ValueError: anything that the user gave wrong, before anything takes long.
    """
    first, console = args.process_index == 0, Console(width=200, quiet=args.process_index != 0)

    def tell(text):
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    model_args.model_name_or_path = model_args.model_name_or_path or newest_checkpoint()
    if args.output_dir is None:
        folder = results_folder(kind, model_args.model_name_or_path)
        args.output_dir = broadcast_object_list([folder])[0]  # by the first process's clock
    with args.main_process_first(desc="reading data"):
        data, systems = prepare(tasks, model_args, task_args, args, tell)
    results: list[Result] = []
    cells: list[Cell] = []
    facts = run_facts(model_args, task_args, args.to_dict())
    facts |= {"model": systems[0].checkpoint.path, "classifier_type": systems[0].checkpoint.classifier_type}
    facts |= {"data": [part.facts() for part in data], "task_type": TASK_TYPE, "datasets": data_names(data)}
    report, name = Path(args.output_dir) / "results.json", args.run_name or Path(args.output_dir).name
    for number, part in enumerate(data):
        tuned = run_task(part, systems, model_args, task_args, args, results, cells, tell)
        if first:
            write_results(report, results, {**facts, "cells": [asdict(cell) for cell in cells]})
        if number == 0 and first:
            folder = save_model(tuned, systems[0], part, results, args)
    if first:
        console.print(results_table(results, f"{systems[0].name}, fine-tuned as {facts['classifier_type']}"))
        tell(f"results: {report}\nmodel: {folder}")
        track_results(results, args.report_to, name, args.output_dir, facts)
        if args.push_to_hub:
            private = args.hub_private_repo is not False
            tell(push_folder(folder, args.hub_model_id or name, private, args.hub_token, files=[report]))
    return results


def run_task(data, systems, model_args, task_args, args, results, cells, tell) -> FineTuned:
    """All rows of one task, added to `results` and `cells`; returns the model's."""
    rates = args.learning_rates or [args.learning_rate]
    tuned = None
    for system in systems:
        if not system.untrained:  # else the model, with the same tokenizer and then the same rate, comes before it
            with args.main_process_first(desc="tokenizing"):
                encoded, cut = encode(system, data, task_args)
            tell(cut)
        found = fine_tune(system, data, encoded, args, [tuned.cell.learning_rate] if system.untrained else rates, tell)
        results += found.results(data)
        cells += found.cells
        tuned = tuned or found
    for name in BASELINES:
        if name in model_args.baselines:
            results += run_baseline(name, data)
    return tuned


def save_model(tuned: FineTuned, system: System, data: TaskData, results: list[Result], args) -> Path:
    """The best model, its tokenizer and its card in a folder of the output folder."""
    folder, path = Path(args.output_dir) / data.task.name, system.checkpoint.path
    tuned.model.save_pretrained(folder)
    system.checkpoint.tokenizer.save_pretrained(folder)
    facts = TaskFacts(
        f"{system.name}_{data.task.name}", str(folder), path, data_names([data]), data.task.is_pair,
        command_line(),
        {"learning rate": f"{tuned.cell.learning_rate:g}", "seed": tuned.cell.seed, "epochs": args.num_train_epochs},
    )  # fmt: skip
    if system.checkpoint.config.model_type in CONCEPT_MODEL_TYPES:
        card = make_task_card(tuned.model, args, results, facts)
    else:
        metadata = ModelCardData(library_name="transformers", pipeline_tag=TASK_TYPE, base_model=hub_id(path))
        card = ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n# {facts.name}\n")
        add_results(card, results, TASK_TYPE, facts.datasets)
    card.save(folder / "README.md")
    return folder


def data_names(data: list[TaskData]) -> dict[str, tuple[str, str]]:
    """By task, where its data are from and what they are called, as cards have it."""
    return {part.task.name: (part.source, part.task.name) for part in data}
