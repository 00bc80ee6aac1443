# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Options of the scripts that fine-tune on tasks, and the loop over tasks that makes one table."""

from dataclasses import dataclass, replace
from pathlib import Path

from transformers.hf_argparser import HfArg

from ..evaluation.results import (
    UNTRAINED,
    Result,
    measured_on,
    results_folder,
    results_table,
    track_results,
    write_results,
)
from ..models.untrained import UntrainedError
from ..publishing.model_card import RunFacts, make_card
from ..utils.distributed import print_once
from ..utils.limits import check_at_least
from ..utils.plain_text import screen
from ..utils.runs import RUN_FILES, check_output_dir, readable_names
from ..utils.script import command_line, newest_checkpoint, run_facts
from .baselines import BASELINES, run_baseline
from .classifiers import BERT_TYPE, CLASSIFIERS, Checkpoint, through_concepts
from .task import Task, TaskData, load_task
from .training import FineTuned, FineTuningArguments, fine_tune, write_predictions


BASELINE_NAMES = (*BASELINES, "untrained")


@dataclass
class ModelArguments:
    """The model that is fine-tuned, and models and baselines to compare with."""

    model_name_or_path: str | None = HfArg(default=None, help="Folder or Hub id; the newest in outputs/ by default.")
    model_type: str | None = HfArg(
        default=None, metadata={"choices": sorted(CLASSIFIERS)}, help="By default the one that suits the checkpoint."
    )
    tokenizer_name: str | None = HfArg(default=None, help="Tokenizer of the same vocabulary; its own by default.")
    pair_similarity: str | None = HfArg(
        default=None, metadata={"choices": ["classifier", "cosine"]},
        help="perceiver_pair_cls: how two vectors are compared; for scores by their cosine, by default.",
    )  # fmt: skip
    classifier_reads_tokens: bool = HfArg(
        default=None, help="perceiver_decoder_cls: let tokens bypass the concepts; by default the decoder gets masks."
    )
    baselines: list[str] = HfArg(
        default_factory=lambda: list(BASELINE_NAMES), metadata={"choices": [*BASELINE_NAMES, "none"]},
        help="Baselines in the table.",
    )  # fmt: skip
    baseline_models: list[str] = HfArg(
        default_factory=list, help="Further encoders (Hub ids or folders) fine-tuned in the same way."
    )


@dataclass
class DataArguments:
    """The data and the number of rows."""

    dataset_name: str | None = HfArg(default=None, help="Hub id or folder instead of the tasks' own data set.")
    train_file: str | None = HfArg(default=None, help="Own training rows: csv, tsv, json(l) or parquet.")
    validation_file: str | None = HfArg(default=None, help="Own rows for reported scores.")
    test_file: str | None = HfArg(default=None, help="Own rows for predictions, with --do_predict.")
    max_seq_length: int = HfArg(default=128, help="Longest text in tokens; less if the model takes less.")
    max_train_samples: int | None = HfArg(default=None, help="Number of training rows, at most.")
    max_eval_samples: int | None = HfArg(default=None, help="Rows of each reported split and of selection, at most.")

    def __post_init__(self):
        check_at_least(self, max_seq_length=8, max_train_samples=2, max_eval_samples=2)

    @property
    def files(self) -> dict[str, str]:
        """The given files by split."""
        files = {"train": self.train_file, "validation": self.validation_file, "test": self.test_file}
        return {split: file for split, file in files.items() if file}


@dataclass
class TaskArguments(DataArguments):
    """The tasks and their data."""

    task_name: list[str] = HfArg(default_factory=list, help="Tasks or groups; the script's own by default.")


def read_checkpoints(model_args: ModelArguments, max_length: int, args: FineTuningArguments) -> list[Checkpoint]:
    """The model, its untrained network and the baseline models, each with a name of its own."""
    path = model_args.model_name_or_path
    names = readable_names([path, *model_args.baseline_models])
    model = Checkpoint(
        path, model_args.model_type, names.pop(path), model_args.tokenizer_name, max_length,
        model_args.classifier_reads_tokens, model_args.pair_similarity,
        num_iterations=tuple(args.num_iterations or ()),
    )  # fmt: skip
    if model.num_iterations and not getattr(model.config, "is_recursive", False):
        raise ValueError(
            f"--num_iterations needs a recursive encoder, but {path} is a {model.config.model_type}; run_reasoning.py "
            "starts one from it by --recursive."
        )
    checkpoints = [model]
    if "untrained" in model_args.baselines and args.do_train and args.do_eval:
        checkpoints.append(replace(model, name=UNTRAINED, untrained=True, num_iterations=()))
    return checkpoints + [Checkpoint(other, name=name, max_length=max_length) for other, name in names.items()]


def load_data(task: Task, data_args: DataArguments, args: FineTuningArguments) -> TaskData:
    """The data of a task. The numbers of rows are printed, with a warning for each split most of whose texts are
    also training texts."""
    data = load_task(
        task, data_args.dataset_name, data_args.files, args.do_train, args.do_eval, args.do_predict,
        data_args.max_train_samples, data_args.max_eval_samples, args.seed,
    )  # fmt: skip
    counts = ", ".join(f"{len(rows):,} {split}" for split, rows in data.parts.items())
    labels = "scores" if data.task.is_score else f"the classes {', '.join(data.task.label_names)}"
    print_once(f"{task.name}: {counts} rows of {data.source}; labels are {labels}.")

    def texts(rows):
        return list(zip(*(rows[name][:] for name in ("text_a", "text_b") if name in rows.column_names)))

    learned = {*texts(data.train), *texts(data.selection)} if args.do_train else set()
    for split, rows in {**data.evaluation, **data.test}.items():
        shared = sum(text in learned for text in texts(rows))
        if 2 * shared > len(rows):
            print_once(
                f"{task.name}: {shared:,} of {len(rows):,} texts of {split} are also training texts: scores on them "
                "do not measure generalization."
            )
    return data


def check_checkpoint(checkpoint: Checkpoint, data: list[TaskData], args: FineTuningArguments) -> bool | None:
    """Load a checkpoint for each task, and print what is new in it and how many texts it truncates; ValueError if it
    does not suit a task, or truncates texts that must be whole. Returns whether a text reaches the classifier through
    its concepts alone."""
    for part in data:
        model, new = checkpoint.load(part.task, args.seed, trained=not args.do_train)
        alone = through_concepts(model)
        if checkpoint.untrained:
            continue  # it has the classifier and the tokenizer of the first
        share = checkpoint.truncated_share(part)
        text = f"{100 * share:.1f} % of the rows are longer than {checkpoint.max_length} tokens and are truncated"
        if share and part.task.whole_texts:
            raise ValueError(
                f"{part.task.name}, {checkpoint.name}: {text}; the task needs whole texts: use a model, or a "
                "--max_seq_length, for longer ones."
            )
        kind, weights = describe(checkpoint, alone), f"new: {', '.join(new)}" if new else "no new weights"
        print_once(f"{part.task.name}: {checkpoint.path} as {kind} on {args.device}; {weights}; {text}.")
    return alone


def can_compare(checkpoint: Checkpoint, data: list[TaskData], args: FineTuningArguments) -> bool:
    """As [`check_checkpoint`], but whether a checkpoint beside the model can be made; prints why if not."""
    try:
        check_checkpoint(checkpoint, data, args)
    except UntrainedError as error:
        print_once(str(error))
        return False
    return True


def describe(checkpoint: Checkpoint, alone: bool | None) -> str:
    """Its type, and whether a text reaches it through its concepts alone."""
    ways = {None: "", True: ", through concepts alone", False: ", with the tokens beside the concepts"}
    return checkpoint.classifier_type + ways[alone]


def save_classifier(tuned: FineTuned, checkpoint: Checkpoint, data: TaskData, description: str, results, args) -> None:
    """Save the model with its tokenizer, once, and the card of a concept encoder with the results so far."""
    task, folder = data.task, Path(args.output_dir) / data.task.name
    if not (folder / "config.json").exists():
        tuned.model.save_pretrained(folder)
        checkpoint.tokenizer.save_pretrained(folder)
    if checkpoint.classifier_type == BERT_TYPE:
        return
    training = {"learning rate": f"{tuned.best['learning_rate']:g}", "seed": tuned.best["seed"]}
    training |= {"steps": args.max_steps} if args.max_steps > 0 else {"epochs": args.num_train_epochs}
    training["classifier"] = description
    name = f"{checkpoint.name}_{task.name}"
    facts = RunFacts(
        name, name, checkpoint.path, tasks={task.name: data.described}, pairs=task.is_pair,
        command=command_line(shared=True), training=training, score_range=task.score_range,
    )  # fmt: skip
    make_card(tuned.model, args, facts, results).save(folder / "README.md")


def run_tasks(
    kind: str, tasks: list[Task], model_args: ModelArguments, data_args: DataArguments, args: FineTuningArguments
) -> list[Result]:
    """
    Fine-tune the model, baseline models and baselines on each task, print one table and write `results.json` into the
    output folder, before each next fine-tuning what is known by then; below it, under the name of the first task, the
    model that is best on that task's selection part. Without `do_train` the model is evaluated as it is.

    Args:
        kind: of the tasks, such as `glue`: begins the name of the output folder.

    Raises:
        ValueError: options, data or checkpoints that cannot be used, before anything takes long.
    """
    if len(tasks) > 1 and data_args.files:
        raise ValueError(f"The files hold one task, not {[task.name for task in tasks]}.")
    path = model_args.model_name_or_path = model_args.model_name_or_path or newest_checkpoint()
    if args.output_dir is None:
        args.output_dir = results_folder(kind, path)
    folder, is_main = Path(args.output_dir), args.process_index == 0
    with args.main_process_first(desc="reading data"):
        checkpoints = read_checkpoints(model_args, data_args.max_seq_length, args)
        check_output_dir(folder, (*RUN_FILES, "results.json", "predict_results*", *(task.name for task in tasks)))
        data = [load_data(task, data_args, args) for task in tasks]
        alone = check_checkpoint(checkpoints[0], data, args)
        checkpoints[1:] = [other for other in checkpoints[1:] if can_compare(other, data, args)]
    model, description = checkpoints[0], describe(checkpoints[0], alone)
    results, runs = [], []
    facts = run_facts(model_args, data_args, args.to_dict()) | measured_on(path)
    facts |= {"classifier_type": model.classifier_type, "through_concepts_alone": alone}
    facts |= {"data": [part.facts() for part in data], "task_type": "text-classification"}
    facts |= {"datasets": {part.task.name: part.described for part in data}, "runs": runs}
    for part in data:
        names = [name for name in BASELINES if name in model_args.baselines and args.do_eval]
        baselines, measured = [result for name in names for result in run_baseline(name, part)], []
        for checkpoint in checkpoints:
            tuned = fine_tune(checkpoint, part, args)
            if checkpoint is model:
                first = tuned
            measured += tuned.results(part)
            runs += tuned.runs
            if is_main:
                write_results(folder / "results.json", [*results, *measured, *baselines], facts)
            if is_main and args.do_train and part is data[0]:
                save_classifier(first, model, part, description, [*measured, *baselines], args)
            if args.do_predict and checkpoint is model:
                name = "predict_results" if kind == "classification" else f"predict_results_{part.task.name}"
                write_predictions(folder / f"{name}.txt", tuned.model, model, part, args)
        results += [*measured, *baselines]
    if is_main and results:
        action = "fine-tuned as" if args.do_train else "evaluated as"
        screen(200).print(results_table(results, f"{model.name}, {action} {description}"))
    print_once(f"results: {folder / 'results.json'}" + (f"\nmodel: {folder / tasks[0].name}" * args.do_train))
    if is_main:
        track_results(results, args.report_to, args.run_name or folder.name, args.output_dir, facts)
    return results
