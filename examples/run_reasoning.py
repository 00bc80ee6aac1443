# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Reasoning by numbers of iterations: train small networks on generated problems, or fine-tune a recursive encoder on
ProntoQA or ProsQA.

    python examples/run_reasoning.py --task_name chains --seeds 42 43 44 45 46

trains a recursive encoder, standard ones of equal parameters and of equal depth, and BERT on problems whose answers
take 1 to 8 steps, seven minutes each, and tests them at up to 12 steps and 32 iterations. The same command goes on
where it was interrupted; `--task_name chains --help` shows its options and the other tasks. With `--task_name
ontology --dataset_name FOLDER` the networks answer ProsQA, too.

    python examples/run_reasoning.py --model_name_or_path outputs/recursive_… --num_iterations 2 4 6 8 12

70 % of the only split are for training, 10 % for selection of epochs and learning rates, 20 % for scores, which are
compared with the majority class, tf-idf and the same network untrained. `--recursive` initialises a recursive encoder
from a standard checkpoint. ProsQA is not on the Hub: `--task_name prosqa --dataset_name FOLDER`, or
`--train_file prosqa_train.json --validation_file prosqa_test.json`. Other options as in `run_glue.py`.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from transformers.hf_argparser import HfArg

from trainers.evaluation.results import results_folder
from trainers.fine_tuning import select_tasks
from trainers.fine_tuning.classifiers import Checkpoint
from trainers.fine_tuning.reasoning import REASONING_TASKS, start_recursive
from trainers.fine_tuning.runner import FineTuningArguments, ModelArguments, TaskArguments, run_tasks
from trainers.reasoning.experiment import ProblemArguments, run_experiment
from trainers.reasoning.problems import PROBLEM_TASKS
from trainers.reasoning.training import ProblemTrainingArguments
from trainers.utils.script import newest_checkpoint, parse_arguments, read_arguments, run_script


@dataclass
class ReasoningArguments(TaskArguments):
    """[`TaskArguments`] for whole texts and recursive encoders."""

    max_seq_length: int = HfArg(default=100_000, help="Longest text; what the model takes by default.")
    recursive: bool = HfArg(default=False, help="Start a recursive encoder from a standard checkpoint's first layer.")


@dataclass
class ReasoningTrainingArguments(FineTuningArguments):
    """[`FineTuningArguments`] for a few hundred rows."""

    num_train_epochs: float = HfArg(default=20.0, help="Passes over the training rows.")


def chooses_problems() -> bool:
    """Whether the options name a generated task."""
    words = {word.removeprefix("--task_name=") for word in sys.argv[1:]}
    if len(sys.argv) > 1 and sys.argv[1].endswith(".json"):
        named = read_arguments(sys.argv[1]).get("task_name") or []
        words |= {named} if isinstance(named, str) else set(named)
    return not words.isdisjoint(PROBLEM_TASKS)


def main():
    if chooses_problems():
        run_experiment(*parse_arguments(ProblemArguments, ProblemTrainingArguments))
        return
    model_args, task_args, args = parse_arguments(ModelArguments, ReasoningArguments, ReasoningTrainingArguments)
    tasks = select_tasks(task_args.task_name or ["prontoqa"], REASONING_TASKS)
    if task_args.recursive:
        path = model_args.model_name_or_path or newest_checkpoint()
        args.output_dir = args.output_dir or results_folder("reasoning", path)
        folder = Path(args.output_dir) / "start" / f"{Path(path).name}_recursive"
        with args.main_process_first(desc="starting a recursive encoder"):
            if args.process_index == 0:
                print(start_recursive(Checkpoint(path, tokenizer_name=model_args.tokenizer_name), folder))
        model_args.model_name_or_path = str(folder)
    args.num_iterations = args.num_iterations or [2, 4, 6, 8, 12]
    run_tasks("reasoning", tasks, model_args, task_args, args)


if __name__ == "__main__":
    run_script(main)
