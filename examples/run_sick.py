# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Fine-tune on SICK: relatedness (a score) and entailment (three classes).

    python examples/run_sick.py --model_name_or_path outputs/…

Epochs and learning rates are selected on the official trial split, scores are those of the test split. Options as in
`run_glue.py`; `--task_name` is sick_relatedness or sick_entailment, by default both.
"""

from trainers.fine_tuning import select_tasks
from trainers.fine_tuning.runner import FineTuningArguments, ModelArguments, TaskArguments, run_tasks
from trainers.utils.script import parse_arguments, run_script


def main():
    model_args, task_args, training_args = parse_arguments(ModelArguments, TaskArguments, FineTuningArguments)
    tasks = select_tasks(task_args.task_name or ["sick_relatedness", "sick_entailment"])
    run_tasks("sick", tasks, model_args, task_args, training_args)


if __name__ == "__main__":
    run_script(main)
