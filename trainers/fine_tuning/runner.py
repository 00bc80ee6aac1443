# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Options of the scripts that fine-tune on tasks, and the loop over tasks that makes one table."""

import csv
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from accelerate.utils import broadcast_object_list

from ..evaluation.results import (
    BAG_OF_WORDS,
    MAJORITY,
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
from ..utils.plain_text import screen
from ..utils.runs import RUN_FILES, check_output_dir, readable_names
from ..utils.script import command_line, newest_checkpoint, run_facts
from .baselines import BASELINES, run_baseline
from .classifiers import BERT_TYPE, CLASSIFIERS, Checkpoint, is_recursive, read_checkpoint, through_concepts
from .task import Parts, Task, TaskData, holds_one_task, load_task
from .training import FineTuned, FineTuningArguments, fine_tune, predict


BASELINE_NAMES = (*BASELINES, "untrained")
TASK_TYPE = "text-classification"


@dataclass
class ModelArguments:
    """The model that is fine-tuned, and models and baselines to compare with."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint: folder or Hub id; the newest in outputs/ by default."}
    )
    model_type: str | None = field(
        default=None,
        metadata={"help": f"One of {sorted(CLASSIFIERS)}; by default the one that suits the checkpoint."},
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
            "help": "perceiver_decoder_cls: let the tokens of the text bypass the concepts into a decoder that takes "
            "tokens; by default it gets masks."
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

    def __post_init__(self):
        if unknown := [name for name in self.baselines if name not in (*BASELINE_NAMES, "none")]:
            raise ValueError(f"Unknown baseline {unknown[0]!r}; choose of {list(BASELINE_NAMES)}, or none.")


@dataclass
class DataArguments:
    """The data and the number of rows."""

    dataset_name: str | None = field(
        default=None, metadata={"help": "Hub id or local folder used instead of the tasks' own data set."}
    )
    train_file: str | None = field(default=None, metadata={"help": "Own training rows: csv, tsv, json(l) or parquet."})
    validation_file: str | None = field(default=None, metadata={"help": "Own rows for reported scores."})
    test_file: str | None = field(default=None, metadata={"help": "Own rows for predictions; see --do_predict."})
    max_seq_length: int = field(
        default=128, metadata={"help": "Longest text in tokens; less if the model takes less."}
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "Number of training rows, at most."})
    max_eval_samples: int | None = field(
        default=None, metadata={"help": "Number of rows for reported scores and for selection, at most."}
    )

    @property
    def files(self) -> dict[str, str]:
        """The given files by split."""
        files = {"train": self.train_file, "validation": self.validation_file, "test": self.test_file}
        return {split: file for split, file in files.items() if file is not None}

    def parts(self, args: FineTuningArguments) -> Parts:
        """The parts of the data that a run uses; ValueError for a test file that it does not use."""
        if self.test_file and not args.do_predict:
            raise ValueError("--test_file is for predictions: name --do_predict (and --do_train, --do_eval).")
        return Parts(args.do_train, args.do_eval, args.do_predict, self.max_train_samples, self.max_eval_samples)


@dataclass
class TaskArguments(DataArguments):
    """The tasks and their data."""

    task_name: list[str] = field(
        default_factory=list, metadata={"help": "Tasks or groups; the script's own by default."}
    )


def read_checkpoints(model_args: ModelArguments, args: FineTuningArguments) -> list[Checkpoint]:
    """The model, its untrained network and the baseline models, each with a name of its own."""
    path, remote = model_args.model_name_or_path, model_args.trust_remote_code
    names = readable_names([path, *model_args.baseline_models], (UNTRAINED, MAJORITY, BAG_OF_WORDS))
    model = read_checkpoint(
        path, model_args.model_type, model_args.tokenizer_name, model_args.pair_similarity, remote,
        model_args.classifier_reads_tokens, names[path],
    )  # fmt: skip
    if args.num_iterations is not None and not is_recursive(model.config):
        raise ValueError(f"--num_iterations needs a recursive encoder, but {path} is a {model.config.model_type}.")
    checkpoints = [replace(model, num_iterations=tuple(args.num_iterations or ()))]
    if "untrained" in model_args.baselines and args.do_train and args.do_eval:
        checkpoints.append(replace(model, name=UNTRAINED, untrained=True))
    others = (read_checkpoint(other, trust_remote_code=remote, name=names[other]) for other in names if other != path)
    return [*checkpoints, *others]


def load_data(tasks: list[Task], task_args: DataArguments, args: FineTuningArguments) -> list[TaskData]:
    """The data of the tasks; ValueError where one source would serve several tasks, others as in [`load_task`]."""
    source, parts = task_args.dataset_name, task_args.parts(args)
    one_task = task_args.files or (source and holds_one_task(source) and len({task.config for task in tasks}) > 1)
    if len(tasks) > 1 and one_task:
        raise ValueError(f"{source or 'The files'} hold one task, not {[task.name for task in tasks]}.")
    return [load_task(task, source, task_args.files, parts, args.seed) for task in tasks]


def check_checkpoints(
    checkpoints: list[Checkpoint],
    data: list[TaskData],
    max_length: int,
    args: FineTuningArguments,
    log: Callable[[str], None],
) -> tuple[list[Checkpoint], bool | None]:
    """
    Load each checkpoint once for the first task, and log what is trained on what.

    Returns:
        The checkpoints, without an untrained network that cannot be made, and whether texts reach the first one
        through concepts alone.

    Raises:
        ValueError: a checkpoint does not suit a task, or truncates texts that must be whole.
    """
    for part in data:
        log_data(part, args.do_train, log)
    kept, alone = [], []
    for checkpoint in checkpoints:
        for part in data:
            checkpoint.check(part.task)
            if not args.do_train:
                checkpoint.check_trained(part.task)
        try:
            model, new = checkpoint.load(data[0].task, args.seed)
        except UntrainedError as error:
            log(str(error))
            continue
        kept.append(checkpoint)
        if checkpoint.untrained:
            continue  # it has the classifier and the tokenizer of the first
        alone.append(through_concepts(model))
        weights = f"new: {', '.join(new)}" if new else "no new weights"
        log(f"{checkpoint.path} as {describe_classifier(checkpoint, alone[-1])} on {args.device}; {weights}")
        for part in data:
            log_truncation(checkpoint, part, max_length, log)
    return kept, alone[0]


def describe_classifier(checkpoint: Checkpoint, concepts_only: bool | None) -> str:
    """Its type, and whether a text reaches it through its concepts alone."""
    ways = {None: "", True: ", through concepts alone", False: ", with the tokens beside the concepts"}
    return checkpoint.classifier_type + ways[concepts_only]


def log_truncation(checkpoint: Checkpoint, data: TaskData, max_length: int, log: Callable[[str], None]) -> None:
    """Log the share of truncated texts; ValueError if there are some and the task needs them whole."""
    collator = checkpoint.collator(max_length)
    share = collator.truncated_share(data)
    text = (
        f"{data.task.name}, {checkpoint.name}: {100 * share:.1f} % of the rows are longer than {collator.max_length} "
        "tokens and are truncated"
    )
    if share and data.task.whole_texts:
        raise ValueError(
            f"{text}; the task needs whole texts: use a model, or a --max_seq_length, for longer ones, or "
            "--allow_truncation."
        )
    log(f"{text}.")


def log_data(data: TaskData, learned: bool, log: Callable[[str], None]) -> None:
    """
    Log the rows of a task, and a warning for each split that consists of training texts.

    Args:
        learned: whether a model is trained on the training rows.
    """
    task, train = data.task, data.train
    parts = {} if train is None else {"train": train, "selection": data.selection}
    counts = [f"{len(rows):,} {split}" for split, rows in {**parts, **data.evaluation, **data.test}.items()]
    labels = "scores" if task.is_score else f"the classes {', '.join(task.label_names)}"
    log(f"{task.name}: {', '.join(counts)} rows of {data.source}; labels are {labels}.")
    if not learned or train is None:
        return

    def texts(rows):
        return list(zip(*(rows[name][:] for name in ("text_a", "text_b") if name in rows.column_names)))

    learned_texts = {*texts(train), *texts(data.selection)}
    for split, rows in {**data.evaluation, **data.test}.items():
        shared = sum(text in learned_texts for text in texts(rows))
        if 2 * shared > len(rows):
            log(
                f"{task.name}: {shared:,} of {len(rows):,} texts of {split} are also training texts: scores on them "
                "do not measure generalization."
            )


def run_baselines(data: TaskData, names: list[str], log: Callable[[str], None]) -> list[Result]:
    """The results of the baselines of these names on a task."""
    return [result for name in BASELINES if name in names for result in run_baseline(name, data, log)]


def write_predictions(
    kind: str, tuned: FineTuned, checkpoint: Checkpoint, data: TaskData, max_length: int, args, log
) -> None:
    """Write `predict_results*.txt` with the index and the prediction of each row of each test split that is used."""
    if not data.test:
        return
    for split, values in predict(tuned.model, checkpoint, data, max_length, args).items():
        names = [] if kind == "classification" else [data.task.name]
        names += [split] if len(data.test) > 1 else []
        file = Path(args.output_dir) / f"{'_'.join(['predict_results', *names])}.txt"
        if args.process_index == 0:
            with open(file, "w", encoding="utf-8", newline="") as stream:
                rows = csv.writer(stream, delimiter="\t", lineterminator="\n")
                rows.writerows([("index", "prediction"), *enumerate(values)])
        log(f"predictions for {len(values):,} rows of {split}: {file}")


def save_classifier(tuned: FineTuned, checkpoint: Checkpoint, data: TaskData, description: str, results, args) -> None:
    """Save the model with its tokenizer, once, and the card of a concept encoder with the results so far."""
    task, folder = data.task, Path(args.output_dir) / data.task.name
    if not (folder / "config.json").exists():
        tuned.model.save_pretrained(folder)
        checkpoint.tokenizer.save_pretrained(folder)
    if checkpoint.classifier_type == BERT_TYPE:
        return
    training = {"learning rate": f"{tuned.best.learning_rate:g}", "seed": tuned.best.seed}
    training |= {"steps": args.max_steps} if args.max_steps > 0 else {"epochs": args.num_train_epochs}
    training["classifier"] = description
    name = f"{checkpoint.name}_{task.name}"
    facts = RunFacts(
        name, name, checkpoint.path, tasks=data_names([data]), pairs=task.is_pair,
        command=command_line(shared=True), training=training, score_range=task.score_range,
    )  # fmt: skip
    make_card(tuned.model, args, facts, results).save(folder / "README.md")


def run_tasks(
    kind: str, tasks: list[Task], model_args: ModelArguments, task_args: DataArguments, args: FineTuningArguments
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
    is_main = args.process_index == 0
    console = screen(200, quiet=not is_main)

    def log(text):
        console.print(text, soft_wrap=True)

    path = model_args.model_name_or_path = model_args.model_name_or_path or newest_checkpoint()
    if args.output_dir is None:
        args.output_dir = broadcast_object_list([results_folder(kind, path)])[0]  # with one process's clock
    folder, max_length = Path(args.output_dir), task_args.max_seq_length
    with args.main_process_first(desc="reading data"):
        checkpoints = read_checkpoints(model_args, args)
        check_output_dir(folder, (*RUN_FILES, "results.json", "predict_results*", *(task.name for task in tasks)))
        data = load_data(tasks, task_args, args)
        checkpoints, concepts_only = check_checkpoints(checkpoints, data, max_length, args, log)
    model = checkpoints[0]
    description = describe_classifier(model, concepts_only)
    facts = run_facts(model_args, task_args, args.to_dict()) | measured_on(path)
    facts |= {"classifier_type": model.classifier_type, "through_concepts_alone": concepts_only}
    facts |= {"data": [part.facts() for part in data], "task_type": TASK_TYPE, "datasets": data_names(data)}
    results, runs = [], []

    def write(results):
        if is_main:
            write_results(folder / "results.json", results, {**facts, "runs": [asdict(run) for run in runs]})

    def save(tuned, part, results):
        if is_main and args.do_train and part is data[0]:
            save_classifier(tuned, model, part, description, results, args)

    for part in data:
        baselines, measured = run_baselines(part, model_args.baselines, log) if args.do_eval else [], []
        for checkpoint in checkpoints:
            tuned = fine_tune(checkpoint, part, max_length, args, log)
            measured += tuned.results(part)
            runs += tuned.runs
            write([*results, *measured, *baselines])
            if checkpoint is model:
                first = tuned
                save(first, part, [*measured, *baselines])
                write_predictions(kind, first, model, part, max_length, args, log)
        results += [*measured, *baselines]
        save(first, part, [*measured, *baselines])
    if is_main and results:
        action = "fine-tuned as" if args.do_train else "evaluated as"
        console.print(results_table(results, f"{model.name}, {action} {description}"))
    log(f"results: {folder / 'results.json'}" + (f"\nmodel: {folder / tasks[0].name}" if args.do_train else ""))
    if is_main:
        track_results(results, args.report_to, args.run_name or folder.name, args.output_dir, facts)
    return results


def data_names(data: list[TaskData]) -> dict[str, tuple[str, str, str | None]]:
    """Source, name and configuration of the data of each task, for cards."""
    return {
        part.task.name: (part.source, part.task.name, part.task.config)
        if part.official
        else (part.source, f"{part.task.name}, own data", None)
        for part in data
    }
