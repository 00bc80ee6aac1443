# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Fine-tune on PAWS: whether two sentences of nearly the same words are paraphrases.

    python examples/run_paws.py --model_name_or_path outputs/…

Epochs and learning rates are selected on the official validation split, scores are those of the test split (of data
without one: a part of train, and validation). Options as in `run_glue.py`.
"""

from trainers.fine_tuning import select_tasks
from trainers.fine_tuning.runner import FineTuningArguments, ModelArguments, TaskArguments, run_tasks
from trainers.utils.script import parse_arguments, run_script


def main():
    model_args, task_args, training_args = parse_arguments(ModelArguments, TaskArguments, FineTuningArguments)
    run_tasks("paws", select_tasks(task_args.task_name or ["paws"]), model_args, task_args, training_args)


if __name__ == "__main__":
    run_script(main)
