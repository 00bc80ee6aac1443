# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Train a retriever: a MultiVectorEncoder whose documents are C concept vectors.

    python examples/train_retrieval.py --dataset_name sentence-transformers/natural-questions --columns query answer

learns from pairs or triplets, with `--qrels true` from the judgements of a data set in BEIR's layout, with or without
hard negatives. From plain text without labels it learns the scores that a teacher gives by all of its token vectors:

    python examples/train_retrieval.py --dataset_name wikimedia/wikipedia --dataset_config_name 20231101.simple \
        --backbone_layers 2 --learning_rate 5e-4

A pretrained model needs no training to be searched with C vectors a document: `index_corpus.py` takes it as it is.
Needs sentence-transformers 6.
"""

from trainers.retrieval.training import DataArguments, ModelArguments, RetrievalTrainingArguments, train
from trainers.utils.script import parse_arguments, run_script


def main():
    train(*parse_arguments(ModelArguments, DataArguments, RetrievalTrainingArguments))


if __name__ == "__main__":
    run_script(main)
