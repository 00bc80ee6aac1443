# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Fine-tune a recursive encoder on ProntoQA or ProsQA and evaluate it, as it is then, at several numbers of iterations.

    python examples/run_reasoning.py --model_name_or_path outputs/recursive_… --num_iterations 2 4 6 8 12

The data have one split; 70 % of it is for training, 10 % for choosing epochs and learning rates, 20 % for the scores,
which stand beside the majority class, a bag of words and the same network untrained. `--recursive` starts a recursive
encoder from a standard checkpoint. ProsQA is not on the Hub: `--task_name prosqa --dataset_name FOLDER`, or
`--train_file prosqa_train.json --validation_file prosqa_test.json`. A folder with a folder for each task serves both
tasks. Other options as in `run_glue.py`.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from trainers.reporting import results_folder
from trainers.script import newest_checkpoint, parse_arguments, run_script
from trainers.tasks.classifiers import is_recursive, read_checkpoint
from trainers.tasks.frame import FineTuningArguments, ModelArguments, TaskArguments, run_tasks
from trainers.tasks.reasoning import select_reasoning_tasks, start_recursive


@dataclass
class ReasoningModelArguments(ModelArguments):
    """[`ModelArguments`], and where a recursive encoder may come from."""

    recursive: bool = field(
        default=False, metadata={"help": "Start a recursive encoder from a standard checkpoint's first layer."}
    )


@dataclass
class ReasoningTaskArguments(TaskArguments):
    """[`TaskArguments`] for texts that must be whole."""

    max_seq_length: int = field(default=100_000, metadata={"help": "Longest text; what the model takes by default."})
    allow_truncation: bool = field(default=False, metadata={"help": "Go on where texts are cut."})


@dataclass
class ReasoningTrainingArguments(FineTuningArguments):
    """[`FineTuningArguments`] for a few hundred rows."""

    num_train_epochs: float = field(default=20.0, metadata={"help": "Passes over the training rows."})


def main():
    model_args, task_args, args = parse_arguments(
        ReasoningModelArguments, ReasoningTaskArguments, ReasoningTrainingArguments
    )
    tasks, task_args.dataset_name = select_reasoning_tasks(
        task_args.task_name or ["prontoqa"], task_args.dataset_name, task_args.train_file
    )
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
            f"{path} is a {checkpoint.config.model_type} without iterations; take a recursive encoder, trained by "
            "`python examples/run_pretraining.py --model_type recursive_mlm`, or start one from it by --recursive."
        )
    args.num_iterations = args.num_iterations or [2, 4, 6, 8, 12]
    run_tasks("reasoning", tasks, model_args, task_args, args)


if __name__ == "__main__":
    run_script(main)
