# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Fine-tune a concept checkpoint, or any other encoder, to classify your own texts or pairs of texts.

    python examples/run_classification.py --train_file reviews.csv --validation_file more_reviews.csv \
        --text_column_names review --label_column_name stars

Files are csv, tsv, json(l) or parquet; `--dataset_name` is a data set of the Hub, or a local folder, instead. The
classes are the different labels: names, whole numbers, true and false; other numbers are scores. Without validation
rows, a tenth of the training rows is reported. `--text_column_names a b` compares two texts.

    python examples/run_classification.py --model_name_or_path outputs/…/reviews --do_predict --test_file new.csv

writes `predict_results.txt`. Other options as in `run_glue.py`.
"""

from dataclasses import dataclass

from transformers.hf_argparser import HfArg

from trainers.fine_tuning import own_task
from trainers.fine_tuning.runner import DataArguments, FineTuningArguments, ModelArguments, run_tasks
from trainers.models.loading import read_config
from trainers.utils.script import newest_checkpoint, parse_arguments, run_script


@dataclass
class ClassificationArguments(DataArguments):
    """The texts and labels."""

    dataset_config_name: str | None = HfArg(default=None, help="Configuration of the data set.")
    text_column_names: list[str] = HfArg(default_factory=lambda: ["text"], help="Column of the text, or two: a b.")
    label_column_name: str = HfArg(default="label", help="Column of classes or scores.")
    do_regression: bool = HfArg(default=None, help="Whether labels are scores; by default, if not all are whole.")
    metric_name: list[str] = HfArg(
        default_factory=list,
        help="Of classes accuracy, f1 (of the second of two), macro_f1, matthews_correlation; of scores pearson, "
        "spearman. The first ranks. By default accuracy, or pearson and spearman.",
    )

    def __post_init__(self):
        super().__post_init__()
        if self.dataset_name is None and not self.files:
            raise ValueError("Give the data: --train_file and --validation_file, or --dataset_name.")


def main():
    model_args, data_args, args = parse_arguments(ModelArguments, ClassificationArguments, FineTuningArguments)
    path = model_args.model_name_or_path = model_args.model_name_or_path or newest_checkpoint()
    names, score_range, regression = None, None, data_args.do_regression
    if not args.do_train:  # classes and score range of the trained classifier
        config = read_config(path, concepts=False)
        regression = config.num_labels == 1
        names = None if regression else config.id2label.values()
        score_range = (getattr(config, "fine_tuning", None) or {}).get("score_range")
    task = own_task(
        data_args.dataset_name or next(iter(data_args.files.values())), data_args.text_column_names,
        data_args.label_column_name, regression, data_args.metric_name, names, score_range,
        data_args.dataset_config_name, args.seed,
    )  # fmt: skip
    run_tasks("classification", [task], model_args, data_args, args)


if __name__ == "__main__":
    run_script(main)
