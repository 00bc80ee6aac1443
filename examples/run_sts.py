# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Zero-shot semantic similarity: cosine of two texts' pooled concepts against human scores, with nothing learned.

    python examples/run_sts.py --model_name_or_path outputs/…

prints Spearman and Pearson correlations on STS-B beside the same network untrained and bags of words.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
from sklearn.feature_extraction.text import TfidfVectorizer
from transformers import AutoModel, AutoTokenizer, HfArgumentParser, set_seed

import modeling_concept  # noqa: F401 (registers concept models)
from trainers.data import first_line


@dataclass
class Arguments:
    """What is evaluated on what."""

    model_name_or_path: str = field(metadata={"help": "Checkpoint of a concept model: folder or Hub id."})
    dataset_name: str = field(default="nyu-mll/glue", metadata={"help": "Hub id or local folder of text pairs."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration; stsb of nyu-mll/glue."})
    split: str = field(default="validation", metadata={"help": "Split of the data."})
    text_columns: str = field(default="sentence1,sentence2", metadata={"help": "Columns of the two texts."})
    score_column: str = field(default="label", metadata={"help": "Column of human scores."})
    batch_size: int = field(default=128, metadata={"help": "Texts at a time."})
    limit: int | None = field(default=None, metadata={"help": "Use only so many pairs."})
    seed: int = field(default=0, metadata={"help": "Seed of the untrained network."})
    output_file: str | None = field(default=None, metadata={"help": "Write the numbers here, as JSON."})


def load_pairs(args) -> tuple[list[str], list[str], np.ndarray]:
    """First texts, second texts, scores."""
    config = args.dataset_config_name or ("stsb" if args.dataset_name == "nyu-mll/glue" else None)
    try:
        data = datasets.load_dataset(args.dataset_name, config, split=args.split)
    except Exception as error:
        raise ValueError(f"The data set {args.dataset_name!r} cannot be read: {first_line(error)}") from error
    columns = [*args.text_columns.split(","), args.score_column]
    if missing := [column for column in columns if column not in data.column_names]:
        raise ValueError(f"There are no columns {missing}; the columns are {data.column_names}.")
    data = data if args.limit is None else data.take(args.limit)
    first, second, scores = (list(data[column]) for column in columns)
    return first, second, np.asarray(scores, dtype=float)


class Vectors:
    """Text vectors in the form that sentence-transformers' evaluators ask for."""

    similarity_fn_name = "cosine"
    model_card_data = SimpleNamespace(set_evaluation_metrics=lambda *arguments: None)

    def __init__(self, table: dict[str, np.ndarray]):
        self.table = table

    def encode(self, sentences, convert_to_numpy=True, **options):
        return np.stack([self.table[text] for text in sentences])


def correlations(first, second, scores, table) -> dict[str, float]:
    """Spearman and Pearson correlation, times 100, of the cosines of vectors with human scores."""
    evaluator = EmbeddingSimilarityEvaluator(first, second, list(scores / scores.max()), main_similarity="cosine")
    found = evaluator(Vectors(table))
    return {name: 100 * found[f"{name}_cosine"] for name in ("spearman", "pearson")}


def pooled(model, texts, batch_size) -> dict[str, np.ndarray]:
    """Mean over concepts for each text."""
    vectors = model.encode(texts, batch_size, truncation=True, convert_to_numpy=True).sentence_embeddings
    return dict(zip(texts, vectors, strict=True))


def centred(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Minus the mean over all texts."""
    mean = np.mean(list(table.values()), axis=0)
    return {text: vector - mean for text, vector in table.items()}


def evaluate(args) -> dict[str, dict[str, float]]:
    """Correlations by row of the table."""
    first, second, scores = load_pairs(args)
    texts = sorted({*first, *second})
    try:
        model = AutoModel.from_pretrained(args.model_name_or_path).eval()
        model.tokenizer = AutoTokenizer.from_pretrained(args.model_name_or_path)
    except (OSError, ValueError) as error:
        raise ValueError(f"The checkpoint {args.model_name_or_path!r} cannot be read: {first_line(error)}") from error
    if not hasattr(model, "encode"):
        raise ValueError(f"{args.model_name_or_path} holds a {type(model).__name__}, no concept model.")
    set_seed(args.seed)
    untrained = type(model)(model.config).eval()
    untrained.tokenizer = model.tokenizer
    if torch.cuda.is_available():
        model, untrained = model.cuda(), untrained.cuda()
    rows = {}
    for name, encoder in (("concepts", model), ("untrained", untrained)):
        table = pooled(encoder, texts, args.batch_size)
        rows[f"{name}, mean"] = correlations(first, second, scores, table)
        rows[f"{name}, centred mean"] = correlations(first, second, scores, centred(table))
    words = TfidfVectorizer(sublinear_tf=True).fit(texts)
    rows["bag of words (tf-idf)"] = correlations(
        first, second, scores, dict(zip(texts, words.transform(texts).toarray(), strict=True))
    )
    return rows


def main():
    try:
        (args,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
        rows = evaluate(args)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    table = Table(title=f"{args.model_name_or_path}: {args.dataset_name} {args.split}, zero-shot, times 100")
    for heading in ("vectors", "Spearman", "Pearson"):
        table.add_column(heading, justify="left" if heading == "vectors" else "right")
    for name, found in rows.items():
        table.add_row(name, f"{found['spearman']:.2f}", f"{found['pearson']:.2f}")
    Console(width=110).print(table)
    if args.output_file:
        Path(args.output_file).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
