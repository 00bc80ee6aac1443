# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What the scripts that fine-tune on tasks share: their arguments, and the loop from tasks to one table."""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from accelerate.utils import broadcast_object_list
from huggingface_hub import ModelCard, ModelCardData

from ..hub import open_card, push_folder
from ..model_card import TaskFacts, add_results, hub_id, make_task_card
from ..plain_text import screen
from ..reporting import results_folder
from ..results import UNTRAINED, Result, measured_on, model_name, results_table, track_results, write_results
from ..runs import RUN_FILES, check_output_dir, readable_names
from ..script import CONCEPT_MODEL_TYPES, command_line, newest_checkpoint, run_facts
from ..untrained import UntrainedError
from .baselines import BASELINES, run_baseline, undefined_results
from .classifiers import CLASSIFIERS, concepts_alone, is_recursive, read_checkpoint
from .fine_tuning import (
    Cell,
    EncodedData,
    FineTuned,
    FineTuningArguments,
    System,
    encode_data,
    evaluate_as_it_is,
    fine_tune,
    predict,
)
from .task import Parts, Task, TaskData, holds_one_task, load_task


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
    classifier_reads_tokens: bool = field(
        default=None,
        metadata={
            "help": "perceiver_decoder_cls: show the tokens of the text to a decoder that reads tokens, around the "
            "concepts; by default it is shown masks, and all passes through the concepts."
        },
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
class DataArguments:
    """Which data, and how much of them."""

    dataset_name: str | None = field(
        default=None, metadata={"help": "Hub id or local folder that stands in for the tasks' own data set."}
    )
    train_file: str | None = field(default=None, metadata={"help": "Own training rows: csv, tsv, json(l) or parquet."})
    validation_file: str | None = field(default=None, metadata={"help": "Own rows to report on."})
    test_file: str | None = field(default=None, metadata={"help": "Own rows for predictions; see --do_predict."})
    max_seq_length: int = field(
        default=128, metadata={"help": "Longest text in tokens; less if the model takes less."}
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "At most so many training rows."})
    max_eval_samples: int | None = field(
        default=None, metadata={"help": "At most so many rows to report on, and to choose epochs and rates on."}
    )
    max_predict_samples: int | None = field(default=None, metadata={"help": "Predictions for so many rows at most."})

    @property
    def files(self) -> dict[str, str]:
        """The files that were given, by split."""
        files = {"train": self.train_file, "validation": self.validation_file, "test": self.test_file}
        return {split: file for split, file in files.items() if file is not None}


@dataclass
class TaskArguments(DataArguments):
    """Which tasks, and which of their data."""

    task_name: list[str] = field(
        default_factory=list, metadata={"help": "Tasks or groups; the script's own by default."}
    )


def check_files(task_args: DataArguments, tasks: list[Task], args: FineTuningArguments) -> None:
    """ValueError where files, or numbers of rows, do not suit what is to be done."""
    files, learn = task_args.files, args.do_train or args.do_eval
    for name, read in (("train", learn), ("eval", learn), ("predict", args.do_predict)):
        if not read and getattr(task_args, f"max_{name}_samples") is not None:
            raise ValueError(f"--max_{name}_samples has no effect here: none of these rows are read.")
    if not files:
        return
    if len(tasks) > 1:
        raise ValueError(f"--train_file and --validation_file hold one task, not {[task.name for task in tasks]}.")
    for wanted, split, option in (
        (args.do_train, "train", "--do_train"),
        (args.do_eval and tasks[0].complete is None, "validation", "--do_eval"),
        (args.do_predict, "test", "--do_predict"),
    ):
        if wanted and split not in files:
            raise ValueError(f"For {option} there must be a --{split}_file beside {' and '.join(files.values())}.")
    if "test" in files and not args.do_predict:
        raise ValueError("--test_file is read for predictions: name --do_predict (beside --do_train and --do_eval).")


def prepare(tasks: list[Task], model_args, task_args, args, tell) -> tuple[list[TaskData], list[System]]:
    """
    The data, and the model followed by what is fine-tuned beside it. `tell` gets a line on each model.

    Raises:
        ValueError: whatever cannot go well, before anything takes long.
    """
    unknown = [name for name in model_args.baselines if name not in (*BASELINE_NAMES, "none")]
    if unknown:
        raise ValueError(f"Unknown baseline {unknown[0]!r}; choose of {list(BASELINE_NAMES)}, or none.")
    path = model_args.model_name_or_path
    checkpoint = read_checkpoint(
        path, model_args.model_type, model_args.tokenizer_name, model_args.pair_similarity,
        model_args.trust_remote_code, model_args.classifier_reads_tokens,
    )  # fmt: skip
    if args.num_iterations is not None and not is_recursive(checkpoint.config):
        raise ValueError(
            f"--num_iterations needs a recursive encoder, but {path} is a {checkpoint.config.model_type}."
        )
    systems = [System(model_name(path), checkpoint, num_iterations=tuple(args.num_iterations or ()))]
    if "untrained" in model_args.baselines and args.do_train and args.do_eval:
        systems.append(System(UNTRAINED, checkpoint, untrained=True))
    taken = (systems[0].name, UNTRAINED)
    for other, name in readable_names(model_args.baseline_models, taken).items():
        systems.append(System(name, read_checkpoint(other, trust_remote_code=model_args.trust_remote_code)))
    names = [*(system.name for system in systems), *(name for name, _ in BASELINES.values())]
    if len(set(names)) < len(names):
        raise ValueError(f"Each row of the table needs a name of its own, but there are {names}; rename a folder.")
    written = ("results.json", "predict_results*", *(task.name for task in tasks))
    check_output_dir(args.output_dir, (*RUN_FILES, *written))
    check_files(task_args, tasks, args)
    parts = Parts(
        args.do_train, args.do_eval, args.do_predict, task_args.max_train_samples, task_args.max_eval_samples,
        task_args.max_predict_samples,
    )  # fmt: skip
    data = [load_task(task, task_args.dataset_name, task_args.files, parts, args.seed) for task in tasks]
    if len({task.config for task in tasks}) > 1 and task_args.dataset_name and holds_one_task(task_args.dataset_name):
        raise ValueError(
            f"The folder {task_args.dataset_name} holds one task, not {[task.name for task in tasks]}: several need a "
            "configuration each."
        )
    for part in data:
        for line in describe(part, args.do_train):
            tell(line)
        args.check(part.task)
        for system in systems:
            system.checkpoint.check(part.task)
            system.checkpoint.max_length(task_args.max_seq_length)
    for place, system in enumerate(systems):
        if system.untrained:
            try:
                system.load(data[0].task, args.seed)
            except UntrainedError as error:
                tell(str(error))
                systems[place] = replace(system, missing=True)
            continue
        if not args.do_train:
            for part in data:
                system.checkpoint.check_trained(part.task)
        model, new = system.checkpoint.load(data[0].task, args.seed)
        weights = f"new: {', '.join(new)}" if new else "no new weights"
        systems[place] = system = replace(system, concepts_alone=concepts_alone(model))
        tell(f"{system.checkpoint.path} as {system.described} on {args.device}; {weights}")
        for part in data:
            if part.task.whole_texts:
                encode(system, part, task_args.max_seq_length)
    return data, systems


def describe(data: TaskData, learned: bool) -> Iterator[str]:
    """
    A sentence on where the rows of a task are from and what their labels are, and sentences on what may be a mistake.

    Args:
        learned: whether the training rows are for the model.
    """
    task = data.task
    facts = data.facts()
    parts = [f"{facts[name]:,} {name}" for name in ("train", "selection") if name in facts]
    parts += [f"{count:,} {split}" for split, count in facts["evaluation"].items()]
    parts += [f"{count:,} {split} (for predictions)" for split, count in facts.get("test", {}).items()]
    found, names = "", task.label_names or ()
    if task.complete is not None:  # else the task says what labels are
        found = f". Labels are the classes {', '.join(names)}" if names else ". Labels are scores"
    elif not data.official:
        found = f", which stands in for {task.dataset}"
    yield f"{task.name}: {', '.join(parts)} rows of {data.source}{found}."
    cases = Counter(name.lower() for name in names)
    if same := [name for name in names if cases[name.lower()] > 1]:
        yield f"{task.name}: the classes {', '.join(same)} differ by case alone, and are different classes."
    if "-1" in names:
        yield f"{task.name}: -1 is a class; where it stands for a hidden label, as in GLUE, leave its rows out."
    if not learned or data.train is None:
        return

    def texts(part):
        return list(zip(*(part[name][:] for name in ("text_a", "text_b") if name in part.column_names)))

    known = {*data.train["label"][:], *data.selection["label"][:]}
    read = {*texts(data.train), *texts(data.selection)}
    for split, part in {**data.evaluation, **data.test}.items():
        labels = [] if task.is_score or "label" not in part.column_names else part["label"][:]
        if new := sorted(set(labels) - known):
            count, missing = sum(label in new for label in labels), ", ".join(names[label] for label in new)
            yield f"{task.name}: no training row has the class {missing}, which {count:,} rows of {split} have."
        shared = sum(text in read for text in texts(part))
        if 2 * shared > len(part):
            yield (
                f"{task.name}: {shared:,} of {len(part):,} texts of {split} are training texts, too: scores on them "
                "are those of rows that were learned."
            )


def encode(system: System, data: TaskData, max_length: int) -> tuple[EncodedData, str]:
    """Token ids, and a sentence on texts that are cut; ValueError if the task needs them whole."""
    encoded = encode_data(system.checkpoint, data, max_length)
    text = (
        f"{data.task.name}, {system.name}: {100 * encoded.cut_share:.1f} % of the rows are longer than "
        f"{encoded.max_length} tokens and are cut"
    )
    if encoded.cut_share and data.task.whole_texts:
        raise ValueError(
            f"{text}; the task needs whole texts: take a model, or a --max_seq_length, for longer ones, or "
            "--allow_truncation."
        )
    return encoded, f"{text}."


class TaskRun:
    """
    The table of several tasks as it grows: whatever is known is on the disk before anything else is begun.

    Args:
        kind: of the tasks, such as `glue`: begins the name of the output folder.
        tell: gets a line on each step.
    """

    def __init__(self, kind: str, data: list[TaskData], systems: list[System], model_args, task_args, args, tell):
        self.kind, self.data, self.systems, self.args, self.tell = kind, data, systems, args, tell
        self.max_length, self.baselines = task_args.max_seq_length, model_args.baselines
        self.folder, self.first = Path(args.output_dir), args.process_index == 0
        self.report = self.folder / "results.json"
        self.results: list[Result] = []
        self.cells: list[Cell] = []
        self.facts = run_facts(model_args, task_args, args.to_dict())
        self.facts |= measured_on(systems[0].checkpoint.path)
        self.facts["classifier_type"] = systems[0].checkpoint.classifier_type
        if systems[0].concepts_alone is not None:
            self.facts["through_concepts_alone"] = systems[0].concepts_alone
        self.facts |= {"data": [part.facts() for part in data], "task_type": TASK_TYPE, "datasets": data_names(data)}

    def write(self, results: list[Result]) -> None:
        if self.first:
            write_results(self.report, results, {**self.facts, "cells": [asdict(cell) for cell in self.cells]})

    def run(self, data: TaskData) -> None:
        """All rows of one task."""
        args, tell = self.args, self.tell
        rates = args.learning_rates or [args.learning_rate]
        beside, found, encoded, tuned = [], [], None, None
        for name in BASELINES if args.do_eval else ():
            if name in self.baselines:
                beside += run_baseline(name, data, tell)
        for system in self.systems:
            if system.missing:
                found += undefined_results(system.name, data)
                continue
            if not system.untrained:  # else the model, with the same tokenizer, comes before it
                with args.main_process_first(desc="tokenizing"):
                    encoded, cut = encode(system, data, self.max_length)
                tell(cut)
            if args.do_train:
                other = fine_tune(system, data, encoded, args, rates, tell)
            else:
                other = evaluate_as_it_is(system, data, encoded, args)
            found += other.results(data)
            self.cells += other.cells
            self.write([*self.results, *found, *beside])
            if tuned is None:
                tuned = other
                self.keep(tuned, data, encoded, [*found, *beside])
        self.results += [*found, *beside]
        self.write(self.results)
        if self.saves(data):
            save_card(tuned, self.systems[0], data, [*found, *beside], args)

    def saves(self, data: TaskData) -> bool:
        return self.first and self.args.do_train and data is self.data[0]

    def keep(self, tuned: FineTuned, data: TaskData, encoded: EncodedData, results: list[Result]) -> None:
        """The model of the first task, and the predictions of any."""
        if self.saves(data):
            folder = self.folder / data.task.name
            tuned.model.save_pretrained(folder)
            self.systems[0].checkpoint.tokenizer.save_pretrained(folder)
            save_card(tuned, self.systems[0], data, results, self.args)
        if not self.args.do_predict:
            return
        for split, values in predict(tuned, self.systems[0], data, encoded, self.args).items():
            names = [] if self.kind == "classification" else [data.task.name]
            names += [split] if len(data.test) > 1 else []
            file = self.folder / f"{'_'.join(['predict_results', *names])}.txt"
            if self.first:
                with open(file, "w", encoding="utf-8", newline="") as stream:
                    rows = csv.writer(stream, delimiter="\t", lineterminator="\n")
                    rows.writerows([("index", "prediction"), *enumerate(values)])
            self.tell(f"predictions for {len(values):,} rows of {split}: {file}")


def run_tasks(
    kind: str, tasks: list[Task], model_args: ModelArguments, task_args: DataArguments, args: FineTuningArguments
) -> list[Result]:
    """
    Fine-tune the model and everything beside it on each task, print one table and write `results.json`, which holds
    every fine-tuning, into the output folder; below it, under the name of the first task, the model that is best on
    that task's selection part. Without `do_train` the model is evaluated as it is.

    Args:
        kind: of the tasks, such as `glue`: begins the name of the output folder.

    Raises:
        ValueError: anything that the user gave wrong, before anything takes long.
    """
    console = screen(200, quiet=args.process_index != 0)

    def tell(text):
        console.print(text, soft_wrap=True)

    model_args.model_name_or_path = model_args.model_name_or_path or newest_checkpoint()
    if args.output_dir is None:
        folder = results_folder(kind, model_args.model_name_or_path)
        args.output_dir = broadcast_object_list([folder])[0]  # by the first process's clock
    with args.main_process_first(desc="reading data"):
        data, systems = prepare(tasks, model_args, task_args, args, tell)
    repo_id = args.hub_model_id or args.run_name or Path(args.output_dir).absolute().name
    if args.push_to_hub and args.process_index == 0:
        repo_id = open_card(repo_id, args.hub_private_repo, args.hub_token, overwrite=args.overwrite_card)
    run = TaskRun(kind, data, systems, model_args, task_args, args, tell)
    for part in data:
        run.run(part)
    if run.first:
        if run.results:
            console.print(task_table(run))
        tell(f"results: {run.report}")
        folder, name = run.folder / data[0].task.name, args.run_name or run.folder.name
        if args.do_train:
            tell(f"model: {folder}")
        track_results(run.results, args.report_to, name, args.output_dir, run.facts)
        if args.push_to_hub:
            url = push_folder(
                folder, repo_id, args.hub_private_repo is not False, args.hub_token,
                files=[run.report], overwrite_card=args.overwrite_card,
            )  # fmt: skip
            tell(url)
    return run.results


def task_table(run: TaskRun):
    """The results as they are printed: with numbers of rows, and the depths of a recursive model by their number."""
    name, shown = run.systems[0].name, []
    for result in run.results:
        rows = f"{result.split} ({result.count:,} rows)"
        shown.append(replace(result, split=rows, system=result.system.removeprefix(f"{name}, ")))
    trained = "fine-tuned as" if run.args.do_train else "evaluated as"
    return results_table(shown, f"{name}, {trained} {run.systems[0].described}")


def save_card(tuned: FineTuned, system: System, data: TaskData, results: list[Result], args) -> None:
    """The card of the model in its folder."""
    folder, path = Path(args.output_dir) / data.task.name, system.checkpoint.path
    training = {"learning rate": f"{tuned.cell.learning_rate:g}", "seed": tuned.cell.seed}
    training |= {"steps": args.max_steps} if args.max_steps > 0 else {"epochs": args.num_train_epochs}
    training["classifier"] = system.described
    name = f"{system.name}_{data.task.name}"
    facts = TaskFacts(
        name, name, path, args.language, data_names([data]), data.task.is_pair, command_line(shared=True), training,
        score_range=data.task.score_range,
    )  # fmt: skip
    if system.checkpoint.config.model_type in CONCEPT_MODEL_TYPES:
        card = make_task_card(tuned.model, args, results, facts)
    else:
        metadata = ModelCardData(library_name="transformers", pipeline_tag=TASK_TYPE, base_model=hub_id(path))
        card = ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n# {facts.name}\n")
        if results:
            add_results(card, results, TASK_TYPE, facts.datasets)
    card.save(folder / "README.md")


def data_names(data: list[TaskData]) -> dict[str, tuple[str, str, str | None]]:
    """By task, where its data are from, what they are called, and their configuration, as cards have it."""
    return {
        part.task.name: (part.source, part.task.name, part.task.config)
        if part.official
        else (part.source, f"{part.task.name}, own data", None)
        for part in data
    }
