# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Train a retriever: a MultiVectorEncoder whose documents are C concept vectors.

    python examples/train_retrieval.py --dataset_name wikimedia/wikipedia --dataset_config_name 20231101.simple

learns, from plain text without labels, concepts that give the scores which all token vectors give. With columns it
learns from pairs or triplets instead, with `--qrels true` from the judgements of a data set in BEIR's layout:

    python examples/train_retrieval.py --dataset_name sentence-transformers/natural-questions --columns query answer

The network below the concepts stays as it is, so that its states are computed once, unless `--backbone_training` says
otherwise. Needs sentence-transformers 6.
"""

from trainers.retrieval.training import DataArguments, ModelArguments, RetrievalTrainingArguments, train
from trainers.utils.script import parse_arguments, run_script


def main():
    train(*parse_arguments(ModelArguments, DataArguments, RetrievalTrainingArguments))


if __name__ == "__main__":
    run_script(main)
