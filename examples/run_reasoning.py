# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Fine-tune a recursive encoder on ProntoQA or ProsQA and evaluate it at several numbers of iterations.

    python examples/run_reasoning.py --model_name_or_path outputs/recursive_… --num_iterations 2 4 6 8 12

70 % of the only split are for training, 10 % for selection of epochs and learning rates, 20 % for scores, which are
compared with the majority class, tf-idf and the same network untrained. `--recursive` initialises a recursive encoder
from a standard checkpoint. ProsQA is not on the Hub: `--task_name prosqa --dataset_name FOLDER`, or
`--train_file prosqa_train.json --validation_file prosqa_test.json`. Other options as in `run_glue.py`.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from trainers.evaluation.results import results_folder
from trainers.fine_tuning.classifiers import is_recursive, read_checkpoint
from trainers.fine_tuning.reasoning import select_reasoning_tasks, start_recursive
from trainers.fine_tuning.runner import FineTuningArguments, ModelArguments, TaskArguments, run_tasks
from trainers.utils.script import newest_checkpoint, parse_arguments, run_script


@dataclass
class ReasoningModelArguments(ModelArguments):
    """[`ModelArguments`] for recursive encoders."""

    recursive: bool = field(
        default=False, metadata={"help": "Initialise a recursive encoder from a standard checkpoint's first layer."}
    )


@dataclass
class ReasoningTaskArguments(TaskArguments):
    """[`TaskArguments`] for whole texts."""

    max_seq_length: int = field(default=100_000, metadata={"help": "Longest text; what the model takes by default."})
    allow_truncation: bool = field(default=False, metadata={"help": "Allow truncated texts."})


@dataclass
class ReasoningTrainingArguments(FineTuningArguments):
    """[`FineTuningArguments`] for a few hundred rows."""

    num_train_epochs: float = field(default=20.0, metadata={"help": "Passes over the training rows."})


def main():
    model_args, task_args, args = parse_arguments(
        ReasoningModelArguments, ReasoningTaskArguments, ReasoningTrainingArguments
    )
    has_data = bool(task_args.dataset_name or task_args.files)
    tasks = select_reasoning_tasks(task_args.task_name or ["prontoqa"], has_data)
    if task_args.allow_truncation:
        tasks = [replace(task, whole_texts=False) for task in tasks]
    path = model_args.model_name_or_path = model_args.model_name_or_path or newest_checkpoint()
    checkpoint = read_checkpoint(
        path, tokenizer_name=model_args.tokenizer_name, trust_remote_code=model_args.trust_remote_code
    )
    if model_args.recursive:
        args.output_dir = args.output_dir or results_folder("reasoning", path)
        folder = Path(args.output_dir) / "start" / f"{Path(path).name}_recursive"
        with args.main_process_first(desc="starting a recursive encoder"):
            if args.process_index == 0:
                print(start_recursive(checkpoint, folder))
        model_args.model_name_or_path = str(folder)
    elif not is_recursive(checkpoint.config):
        raise ValueError(
            f"{path} is a {checkpoint.config.model_type} without iterations; use a recursive encoder, trained "
            "by `python examples/run_pretraining.py --model_type recursive_mlm`, or initialise one by --recursive."
        )
    args.num_iterations = args.num_iterations or [2, 4, 6, 8, 12]
    run_tasks("reasoning", tasks, model_args, task_args, args)


if __name__ == "__main__":
    run_script(main)
