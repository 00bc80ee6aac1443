# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Fine-tune a concept checkpoint, or any other encoder, on tasks of GLUE, SICK and PAWS.

    python examples/run_glue.py --model_type perceiver_decoder_cls

takes the newest checkpoint in outputs/ and MRPC. Epochs and learning rates are selected on a part of train, or an
official trial split (SICK, PAWS); the reported split is only used for scores, next to the majority class, tf-idf and
the same network untrained:

    python examples/run_glue.py --model_name_or_path outputs/… --task_name all --learning_rates 1e-4 3e-4 \
        --seeds 1 2 3 --baseline_models prajjwal1/bert-tiny

`all` are mrpc, stsb, qqp and mnli, `all-glue` all nine, `mnli-matched` one half of mnli; `sick` are sick_relatedness
(a score) and sick_entailment, `paws` asks whether two sentences of nearly the same words are paraphrases.
`--dataset_name` may be a local folder with a configuration for each task; `--train_file`, `--validation_file` and
`--test_file` hold own rows with the columns of the task (for other columns and classes use `run_classification.py`).
`--do_predict` writes predictions for the test split, with or without `--do_train` and `--do_eval`. Options may also
stand in a JSON file as the first argument.
"""

from trainers.fine_tuning import select_tasks
from trainers.fine_tuning.runner import FineTuningArguments, ModelArguments, TaskArguments, run_tasks
from trainers.utils.script import parse_arguments, run_script


def main():
    model_args, task_args, training_args = parse_arguments(ModelArguments, TaskArguments, FineTuningArguments)
    run_tasks("glue", select_tasks(task_args.task_name or ["mrpc"]), model_args, task_args, training_args)


if __name__ == "__main__":
    run_script(main)
