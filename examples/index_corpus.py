# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Search of documents by meaning, as C vectors each: `build` an index, `search` it.

    python examples/index_corpus.py build --text_files notes --index_uri index
    python examples/index_corpus.py search "who rowed out alone?" --index_uri index

`build` goes on where it was stopped, adds documents that are new, and runs in several processes by torchrun. `search`
needs the index alone. Needs `pip install -e '.[search]'`.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from trainers.retrieval.documents import load_documents, load_passages
from trainers.retrieval.index import PRECISIONS, ConceptIndex, Hit
from trainers.utils.distributed import print_once
from trainers.utils.limits import check_at_least
from trainers.utils.plain_text import one_line
from trainers.utils.script import parse_arguments, run_script


SHOWN = 100  # characters of a text


@dataclass
class IndexArguments:
    """Index and model, for build and search."""

    index_uri: str = field(
        default="index",
        metadata={"help": "Folder, or URI of an object store or server that LanceDB knows (s3://…, gs://…, db://…)."},
    )
    model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "Retriever, MultiVectorEncoder, SentenceTransformer of a transformer, or concept checkpoint; by "
            "default sentence-transformers/all-MiniLM-L6-v2, and for search the model that made the index."
        },
    )


@dataclass
class BuildArguments:
    """Build."""

    dataset_name: str | None = field(
        default=None,
        metadata={"help": "Hub id or folder of a data set: the configuration corpus (BEIR's layout), else all rows."},
    )
    text_column: str | None = field(default=None, metadata={"help": "Column of the text; text by default."})
    text_files: list[str] = field(
        default_factory=list, metadata={"help": "Text files, or folders with .txt, .md and .rst files."}
    )
    passage_words: int = field(default=100, metadata={"help": "Words of a passage of a text file at most."})
    num_vectors: int = field(default=8, metadata={"help": "Vectors of a document."})
    precision: str = field(default="float16", metadata={"help": "Of the stored vectors.", "choices": list(PRECISIONS)})
    bf16: bool = field(default=False, metadata={"help": "Compute in bfloat16."})
    batch_size: int = field(default=32, metadata={"help": "Texts encoded at a time."})
    shard_size: int = field(
        default=1024,
        metadata={"help": "Documents written at a time; each process loses at most so many when it is killed."},
    )

    def __post_init__(self):
        check_at_least(self, passage_words=1, num_vectors=1, batch_size=1, shard_size=1)
        if bool(self.dataset_name) == bool(self.text_files):
            raise ValueError("Give --dataset_name or --text_files, one of them.")


@dataclass
class SearchArguments:
    """Search."""

    query_file: str | None = field(default=None, metadata={"help": "File of queries, one a line."})
    top_k: int = field(default=10, metadata={"help": "Documents of a query."})
    exact: bool = field(default=False, metadata={"help": "Score all documents, without the index of vectors."})
    recall: bool = field(
        default=False, metadata={"help": "Print the share of the exact search's documents that the index finds."}
    )
    num_candidates: int = field(default=1500, metadata={"help": "Documents found by their mean, which MaxSim ranks."})
    nprobes: int = field(default=32, metadata={"help": "Partitions of the means that are searched."})
    output_file: str | None = field(
        default=None, metadata={"help": "Write the documents as JSON lines, in place of printing them."}
    )

    def __post_init__(self):
        check_at_least(self, top_k=1, nprobes=1, num_candidates=1)


def build(index: IndexArguments, args: BuildArguments) -> None:
    if args.dataset_name:
        documents = load_documents(args.dataset_name, args.text_column)
    else:
        documents = load_passages(args.text_files, args.passage_words)
    model = index.model_name_or_path or "sentence-transformers/all-MiniLM-L6-v2"
    built = ConceptIndex.build(
        index.index_uri, documents, model, args.num_vectors, args.precision, args.bf16, args.batch_size,
        args.shard_size,
    )  # fmt: skip
    print_once(f"index: {index.index_uri}, {built.table.count_rows():,} documents of {documents.source}")


def search(index: IndexArguments, args: SearchArguments, query: str | None) -> None:
    if (query is None) == (args.query_file is None):
        raise ValueError('Give a query, as in `search "who rowed out alone?"`, or --query_file, one of them.')
    lines = [query] if query is not None else Path(args.query_file).read_text(encoding="utf-8").splitlines()
    queries = [line.strip() for line in lines if line.strip()]
    if not queries:
        raise ValueError("The query is empty." if query is not None else f"There is no query in {args.query_file}.")
    opened = ConceptIndex.open(index.index_uri, index.model_name_or_path)
    vectors = opened.encode_queries(queries)
    exact = opened.nearest_exactly(vectors, args.top_k) if args.exact or args.recall else None
    found, seconds = exact, []
    if not args.exact:
        found = []
        for query_vectors in vectors:
            start = time.perf_counter()
            found.append(opened.nearest(query_vectors, args.top_k, args.num_candidates, args.nprobes))
            seconds.append(time.perf_counter() - start)
    show(queries, found, args.output_file)
    if len(seconds) > 1:
        p50, p99 = np.percentile(seconds, [50, 99]) * 1000
        print(f"search, without encoding the query: p50 {p50:.1f} ms, p99 {p99:.1f} ms ({len(queries):,} queries)")
    if args.recall:
        shares = [len(ids(one) & ids(other)) / len(other) for one, other in zip(found, exact, strict=True)]
        print(f"recall@{args.top_k} of the exact search: {np.mean(shares):.4f}")


def ids(hits: list[Hit]) -> set[str]:
    return {hit.id for hit in hits}


def show(queries: list[str], found: list[list[Hit]], path: str | None) -> None:
    """Print the documents of each query, or write them to a file as JSON lines."""
    if path is None:
        for query, hits in zip(queries, found, strict=True):
            print(query)
            for hit in hits:
                print(f"{hit.rank:4d} {hit.score:9.4f}  {hit.id}  {one_line(hit.text)[:SHOWN]}")
        return
    with open(path, "w", encoding="utf-8") as stream:
        for query, hits in zip(queries, found, strict=True):
            for hit in hits:
                stream.write(json.dumps({"query": query, **asdict(hit)}, ensure_ascii=False) + "\n")
    print(f"documents: {path}")


def main():
    command = sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else None
    if command == "build":
        build(*parse_arguments(IndexArguments, BuildArguments))
    elif command == "search":
        query = sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("--") else None
        search(*parse_arguments(IndexArguments, SearchArguments), query)
    else:
        if command is None and len(sys.argv) > 1:
            parse_arguments(IndexArguments, BuildArguments, SearchArguments)
        raise ValueError("Give what to do first: build, or search.")


if __name__ == "__main__":
    run_script(main)
