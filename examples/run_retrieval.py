# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Retrieval on data in BEIR's layout: quality against bytes a document.

    python examples/run_retrieval.py --dataset_name mteb/scifact

ranks the documents for each query by BM25, by one vector a document, by the vectors of all tokens, and by C vectors a
document: means of segments, Ward clusters, and concepts, trained ones for a model of `train_retrieval.py`. It leaves a
table with 95 % intervals and paired tests, and a picture. Needs sentence-transformers 6.
"""

from dataclasses import dataclass, field

import torch

from trainers.evaluation.results import ReportingArguments, Result, measured_on, model_name, write_results
from trainers.retrieval.evaluation import (
    METRICS,
    compare,
    load_retrieval_data,
    plot_rankings,
    rankings_markdown,
)
from trainers.retrieval.retriever import load_token_model
from trainers.utils.limits import check_at_least
from trainers.utils.plain_text import screen
from trainers.utils.script import parse_arguments, run_facts, run_script


@dataclass
class Arguments:
    """Model and data."""

    model_name_or_path: str = field(
        default="sentence-transformers/all-MiniLM-L6-v2",
        metadata={"help": "A SentenceTransformer of one transformer, a MultiVectorEncoder or a concept checkpoint."},
    )
    dataset_name: str = field(
        default="mteb/scifact",
        metadata={"help": "Hub id or folder with the configurations corpus, queries and qrels."},
    )
    split: str | None = field(default=None, metadata={"help": "test, or validation where there is none, by default."})
    num_vectors: list[int] = field(
        default_factory=lambda: [1, 4, 8, 16, 32], metadata={"help": "Vectors of a document."}
    )
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many queries."})
    batch_size: int = field(default=32, metadata={"help": "Texts at a time."})
    bf16: bool = field(default=False, metadata={"help": "Compute in bfloat16."})

    def __post_init__(self):
        check_at_least(self, num_vectors=1, max_eval_samples=2, batch_size=1)


def main():
    args, reporting = parse_arguments(Arguments, ReportingArguments)
    data = load_retrieval_data(args.dataset_name, args.split, args.max_eval_samples)
    model = load_token_model(args.model_name_or_path)
    model = model.to(torch.bfloat16) if args.bf16 else model
    folder = reporting.folder("retrieval", args.model_name_or_path, "README.md", "quality.png")
    rankings = compare(data, model, args.num_vectors, args.batch_size)
    title = f"{model_name(args.model_name_or_path)} on {data.name} ({data.split}, {len(data.queries):,} queries)"
    table = rankings_markdown(rankings)
    screen(140).print(f"{title}\n\n{table}")
    plot_rankings(rankings, title, folder / "quality.png")
    (folder / "README.md").write_text(f"# {title}\n\n{table}\n\n![quality against bytes](quality.png)\n")
    results = [
        Result(data.name, data.split, metric, ranking.system, float(ranking.values[metric].mean()), None,
               len(data.queries), primary=place == 0)
        for ranking in rankings
        for place, metric in enumerate(map(str, METRICS))
    ]  # fmt: skip
    sizes = {r.system: {"vectors": r.vectors, "bytes": r.bytes, "seconds": r.seconds} for r in rankings}
    facts = run_facts(args, reporting, measured_on(args.model_name_or_path), {"systems": sizes})
    print(f"results: {write_results(folder / 'results.json', results, facts)}")


if __name__ == "__main__":
    run_script(main)
