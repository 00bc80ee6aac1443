# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Fine-tune on PAWS: whether two sentences of nearly the same words mean the same.

    python examples/run_paws.py --model_name_or_path outputs/…

Epochs and learning rates are chosen on the official validation split, the test split is reported (data without one:
chosen on a part of train, validation is reported). Options as in `run_glue.py`.
"""

from trainers.script import parse_arguments, run_script
from trainers.tasks import select_tasks
from trainers.tasks.frame import FineTuningArguments, ModelArguments, TaskArguments, run_tasks


def main():
    model_args, task_args, training_args = parse_arguments(ModelArguments, TaskArguments, FineTuningArguments)
    run_tasks("paws", select_tasks(task_args.task_name or ["paws"]), model_args, task_args, training_args)


if __name__ == "__main__":
    run_script(main)
