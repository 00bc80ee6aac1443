# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Retrieval on data in BEIR's layout: one vector a document, all of its tokens, or C vectors made of these, scored by
late interaction (MaxSim: Khattab & Zaharia 2020, ColBERT), beside BM25.

D documents, Q queries, N tokens of a text, C vectors of a document, E width of vectors.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import bm25s
import datasets
import ir_measures
import numpy as np
import torch
from ir_measures import RR, R, nDCG
from scipy.stats import bootstrap, permutation_test
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling, HierarchicalTokenPooling
from sentence_transformers.util import maxsim
from sentence_transformers.util.quantization import quantize_embeddings

from ..data.texts import load_dataset
from ..evaluation.plots import NEUTRAL, make_figure, save_picture, style_axes
from ..utils.errors import UNREADABLE, first_line
from ..utils.plain_text import Markdown, markdown_table
from .concept_pooling import ConceptPooling
from .retriever import sentence_model, token_encoder


# The first one ranks systems.
METRICS = (nDCG @ 10, R @ 100, RR @ 10)
# Documents that are kept for each query, as many as the deepest metric reads.
DEPTH = 100

# Columns of BEIR's layout.
TEXT_COLUMNS = ("_id", "text")
JUDGEMENT_COLUMNS = ("query-id", "corpus-id", "score")

# As Anserini and BEIR set it, without stemming and stop words.
BM25_OPTIONS = {"k1": 0.9, "b": 0.4}

# Bytes of a number in an index.
PRECISIONS = {"float32": 4, "int8": 1, "binary": 1 / 8}

# Line and marker of each in pictures.
STYLES = {"float32": ("-", "o"), "int8": ("--", "s"), "binary": (":", "^")}

BLOCK = 1000  # documents that are scored at a time

# Systems that all others are tested against.
REFERENCES = ("one vector", "all tokens")

RESAMPLES = 2000  # of bootstrap intervals and permutation tests


# -- data


@dataclass(frozen=True)
class RetrievalData:
    """
    Args:
        name: of the data; split: of its judgements.
        documents: texts by id, a title before its text; queries: texts by id, those with a judgement.
        judgements: for each query the relevance, above 0, of documents.
    """

    name: str
    split: str
    documents: dict[str, str]
    queries: dict[str, str]
    judgements: dict[str, dict[str, int]]


def load_config(source: str, *names: str) -> datasets.DatasetDict:
    """The first of these configurations that a data set has; ValueError if it has none."""
    try:
        found = datasets.get_dataset_config_names(source)
        name = next((name for name in names if name in found), None)
        if name is not None:
            return load_dataset(source, name)
    except UNREADABLE as error:
        raise ValueError(f"The data set {source!r} cannot be read: {first_line(error)}") from error
    raise ValueError(f"{source} has no configuration {' or '.join(names)}, only {found}; BEIR's layout has them.")


def check_columns(rows: datasets.Dataset, names: tuple[str, ...], what: str) -> None:
    """ValueError unless the rows have columns of these names."""
    if missing := [name for name in names if name not in rows.column_names]:
        raise ValueError(f"The {what} lack the column {missing[0]}; the columns are {rows.column_names}.")


def load_retrieval_data(source: str, split: str | None = None, limit: int | None = None) -> RetrievalData:
    """
    Data in BEIR's layout: configurations `corpus` and `queries` with the columns _id, text and perhaps title, and
    `qrels` (or `default`) with query-id, corpus-id and score.

    Args:
        source: Hub id or folder.
        split: of the judgements; test, or validation where there is no test, by default.
        limit: number of queries, the first ones; all by default.

    Raises:
        ValueError: no such data, configuration, split or column, two documents with one id, a relevance that is no
            whole number, or no query has a relevant document.
    """
    corpus = next(iter(load_config(source, "corpus").values()))
    texts = next(iter(load_config(source, "queries").values()))
    qrels = load_config(source, "qrels", "default")
    wanted = (split,) if split else ("test", "validation")
    found = next((name for name in wanted if name in qrels), None)
    if found is None:
        raise ValueError(
            f"{source} has no judgements {' or '.join(wanted)}, only {list(qrels)}; choose one by --split."
        )
    check_columns(corpus, TEXT_COLUMNS, f"corpus of {source}")
    check_columns(texts, TEXT_COLUMNS, f"queries of {source}")
    check_columns(qrels[found], JUDGEMENT_COLUMNS, f"judgements of {source}")
    titles = corpus["title"] if "title" in corpus.column_names else [""] * len(corpus)
    documents = {
        str(key): f"{title or ''} {text or ''}".strip()
        for key, title, text in zip(corpus["_id"], titles, corpus["text"], strict=True)
    }
    if len(documents) < len(corpus):
        raise ValueError(f"Several documents of {source} have the same _id; each needs its own.")
    judgements = {}
    for query, document, score in zip(*(qrels[found][name] for name in JUDGEMENT_COLUMNS), strict=True):
        if score != int(score):
            raise ValueError(f"The judgements of {source} hold {score}; relevance is a whole number.")
        if score > 0 and str(document) in documents:
            judgements.setdefault(str(query), {})[str(document)] = int(score)
    asked = zip(texts["_id"], texts["text"], strict=True)
    queries = {str(key): text or "" for key, text in asked if str(key) in judgements}
    queries = dict(list(queries.items())[:limit])
    if not queries:
        raise ValueError(f"No query of {source} has a relevant document in the judgements {found}.")
    name = source.rstrip("/").split("/")[-1]
    return RetrievalData(name, found, documents, queries, {key: judgements[key] for key in queries})


# -- vectors


class SegmentPooling(BaseTokenPooling):
    """
    The means of `num_vectors` contiguous segments of a document's vectors, of equal length up to one token, scaled to
    length 1. A document with fewer tokens keeps them as they are.
    """

    config_keys = ["num_vectors", "tasks"]

    def __init__(self, num_vectors: int, tasks=None):
        super().__init__(tasks=tasks)
        self.num_vectors = num_vectors

    def pool_one(self, embedding, **kwargs):
        """[N, E] -> [min(N, C), E]."""
        if not len(embedding):
            return embedding
        parts = torch.tensor_split(embedding, min(self.num_vectors, len(embedding)))
        return torch.nn.functional.normalize(torch.stack([part.mean(dim=0) for part in parts]), dim=-1)


class WardPooling(SegmentPooling):
    """The means of `num_vectors` Ward clusters of a document's vectors ([`HierarchicalTokenPooling`])."""

    def pool_one(self, embedding, **kwargs):
        """[N, E] -> [min(N, C), E]."""
        if not len(embedding):
            return embedding
        # The number of clusters is the whole part of N / pool_factor.
        factor = max(len(embedding) / (self.num_vectors + 1e-3), 1)
        return HierarchicalTokenPooling(factor, num_protected_tokens=0).pool_one(embedding)


# Ways to make C vectors of a document's token vectors.
POOLINGS = {"segments": SegmentPooling, "Ward": WardPooling, "concepts": ConceptPooling}


def reduce_precision(vectors: list[torch.Tensor], precision: str) -> list[torch.Tensor]:
    """
    Vectors [C, E] of D documents as they are after having been stored with `precision`: int8 by the range of each
    number over all documents, binary by signs, ±1/√E. Queries keep float32.
    """
    if precision == "float32":
        return vectors
    joined, counts = torch.cat(vectors), [len(part) for part in vectors]
    if precision == "binary":
        stored = torch.where(joined > 0, 1.0, -1.0) / joined.shape[1] ** 0.5
    else:
        ranges = torch.stack([joined.amin(dim=0), joined.amax(dim=0)])
        codes = quantize_embeddings(joined, precision="int8", ranges=ranges.numpy())
        steps = ((ranges[1] - ranges[0]) / 255).clamp(min=1e-12)
        stored = (torch.as_tensor(codes).float() + 128.5) * steps + ranges[0]
    return list(stored.split(counts))


# -- ranking


@dataclass
class Ranking:
    """
    The ranking of all documents by one system.

    Args:
        system: its name.
        scores: by query the scores of the best `DEPTH` documents.
        vectors: stored for a document, mean; bytes: stored for a document, mean.
        seconds: to encode, pool and index all documents.
        values: by metric the values [Q].
    """

    system: str
    scores: dict[str, dict[str, float]]
    vectors: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.0
    values: dict[str, np.ndarray] = field(default_factory=dict)

    def measure(self, data: RetrievalData) -> "Ranking":
        """Itself, with the values of `METRICS`."""
        order = {key: place for place, key in enumerate(data.queries)}
        self.values = {str(metric): np.zeros(len(order)) for metric in METRICS}
        # By rank, since the measures break ties of scores in different ways.
        ranks = {query: {key: -place for place, key in enumerate(found)} for query, found in self.scores.items()}
        for value in ir_measures.iter_calc(METRICS, data.judgements, ranks):
            self.values[str(value.measure)][order[value.query_id]] = value.value
        return self


def best_documents(scores: torch.Tensor, data: RetrievalData) -> dict[str, dict[str, float]]:
    """The `DEPTH` best documents of each query by scores [Q, D]."""
    keys = list(data.documents)
    values, places = scores.topk(min(DEPTH, len(keys)), dim=1)
    return {
        query: {keys[place]: score for place, score in zip(row.tolist(), found.tolist(), strict=True)}
        for query, row, found in zip(data.queries, places, values, strict=True)
    }


def rank_by_words(data: RetrievalData) -> Ranking:
    """BM25 (Robertson et al. 1995) as in Lucene."""
    start, options = time.perf_counter(), {"stopwords": [], "show_progress": False}
    index = bm25s.BM25(method="lucene", **BM25_OPTIONS)
    words = bm25s.tokenize(list(data.documents.values()), **options)
    if not words.vocab:
        raise ValueError(f"No document of {data.name} holds a word of two characters or more.")
    index.index(words, show_progress=False)
    seconds = time.perf_counter() - start
    queries = bm25s.tokenize(list(data.queries.values()), return_ids=False, **options)
    none = torch.zeros(len(data.documents))
    scores = torch.stack([torch.as_tensor(index.get_scores(asked)) if asked else none for asked in queries])
    return Ranking("BM25", best_documents(scores, data), seconds=seconds)


def rank_by_vectors(
    system: str, data: RetrievalData, queries: list, documents: list, seconds: float, precisions=tuple(PRECISIONS)
) -> list[Ranking]:
    """
    MaxSim of the vectors of queries and documents, stored with each of the precisions.

    Args:
        queries, documents: vectors [N, E] of each query, float32, and [C, E] of each document.
        seconds: that the vectors of the documents took.
    """
    count = sum(map(len, documents)) / len(documents)
    width, found = documents[0].shape[1], []
    for precision in precisions:
        stored = reduce_precision(documents, precision)
        blocks = (stored[place : place + BLOCK] for place in range(0, len(stored), BLOCK))
        scores = torch.cat([maxsim(queries, [part.float() for part in block]) for block in blocks], dim=1)
        name = system if precision == "float32" else f"{system}, {precision}"
        stored_bytes = count * width * PRECISIONS[precision]
        found.append(Ranking(name, best_documents(scores, data), count, stored_bytes, seconds))
    return found


def compare(
    data: RetrievalData, model: SentenceTransformer | MultiVectorEncoder, counts: list[int], batch_size: int
) -> list[Ranking]:
    """
    Rankings of the data, measured: by BM25, by one vector, by all token vectors, and by each of `POOLINGS` with each
    number of vectors.

    Args:
        model: a SentenceTransformer of one transformer, or a MultiVectorEncoder.
        counts: numbers of vectors.
        batch_size: texts at a time.

    Raises:
        ValueError: the model gives no vectors of tokens.
    """
    encoder, single_model = token_encoder(model), sentence_model(model)
    queries, documents = list(data.queries.values()), list(data.documents.values())
    options = {"batch_size": batch_size, "show_progress_bar": True}
    rankings = [rank_by_words(data)]
    start = time.perf_counter()
    single = {"normalize_embeddings": True, "convert_to_tensor": True, **options}
    vectors = single_model.encode_document(documents, **single).float().cpu()
    seconds = time.perf_counter() - start
    query_vectors = single_model.encode_query(queries, **single).float().cpu()
    rankings += rank_by_vectors(REFERENCES[0], data, list(query_vectors[:, None]), list(vectors[:, None]), seconds)

    start = time.perf_counter()
    # Half precision on the CPU, since the vectors of all tokens are many.
    tokens = [part.half().cpu() for part in encoder.encode_document(documents, **options)]
    seconds = time.perf_counter() - start
    query_tokens = [part.float().cpu() for part in encoder.encode_query(queries, **options)]
    rankings += rank_by_vectors(REFERENCES[1], data, query_tokens, tokens, seconds, ["float32"])
    for name, pooling in POOLINGS.items():
        for count in counts:
            start = time.perf_counter()
            pooled = pooling(count).pool([part.float() for part in tokens])
            taken = seconds + time.perf_counter() - start
            rankings += rank_by_vectors(f"{name}, {count}", data, query_tokens, pooled, taken)
    return [ranking.measure(data) for ranking in rankings]


# -- comparison


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the mean of values [Q] by bootstrap over queries."""
    if len(values) < 2 or np.ptp(values) == 0:
        return float(values.mean()), float(values.mean())
    found = bootstrap((values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=0).confidence_interval
    return float(found.low), float(found.high)


def paired_p_value(values: np.ndarray, reference: np.ndarray) -> float:
    """Probability of a mean difference at least as large where the values [Q] of two systems are exchanged at random
    within each query (two-sided permutation test)."""
    if np.array_equal(values, reference):
        return 1.0
    samples, options = (values, reference), {"permutation_type": "samples", "vectorized": True}
    found = permutation_test(
        samples, lambda a, b, axis: np.mean(a - b, axis=axis), n_resamples=RESAMPLES, rng=0, **options
    )
    return float(found.pvalue)


# -- report


def rankings_markdown(rankings: list[Ranking]) -> Markdown:
    """The rankings as a table in Markdown, with 95 % intervals of the first metric and paired tests against one vector
    and against all tokens."""
    main, *others = map(str, METRICS)
    references = {ranking.system: ranking.values[main] for ranking in rankings if ranking.system in REFERENCES}
    rows = []
    for ranking in rankings:
        values = ranking.values[main]
        low, high = interval(values)
        tests = [
            "–" if ranking.system == system else f"{paired_p_value(values, base):.3f}"
            for system, base in references.items()
        ]
        size = [f"{ranking.vectors:.1f}", f"{ranking.bytes:,.0f}"] if ranking.bytes else ["–", "–"]
        rest = [f"{ranking.values[name].mean():.4f}" for name in others]
        quality = [f"{values.mean():.4f}", f"{low:.3f} to {high:.3f}", *tests, *rest]
        rows.append([ranking.system, *size, *quality, f"{ranking.seconds:.1f}"])
    tests = [f"p against {system}" for system in references]
    heads = ["system", "vectors", "bytes a document", main, "95 %", *tests, *others, "seconds"]
    return markdown_table(heads, rows, text_columns=1)


def plot_rankings(rankings: list[Ranking], title: str, path: Path) -> None:
    """Write the picture of the first metric against bytes a document: a colour for each kind of vectors, a line style
    for each precision, and BM25 as a level."""
    figure, (axis,) = make_figure(title=title, width=8, height=5)
    lines = {}
    for ranking in rankings:
        kind, *parts = ranking.system.split(", ")
        value = float(ranking.values[str(METRICS[0])].mean())
        if ranking.bytes:
            precision = next((part for part in parts if part in PRECISIONS), "float32")
            lines.setdefault((kind, precision), []).append((ranking.bytes, value))
        else:
            axis.axhline(value, color=NEUTRAL, linestyle="--", label=ranking.system)
    colours = {kind: f"C{place}" for place, kind in enumerate(dict.fromkeys(kind for kind, _ in lines))}
    for (kind, precision), points in lines.items():
        line, marker = STYLES[precision]
        axis.plot(
            *zip(*sorted(points), strict=True), line, marker=marker, color=colours[kind], label=f"{kind}, {precision}"
        )
    axis.set(xscale="log", xlabel="bytes a document", ylabel=str(METRICS[0]))
    style_axes(axis)
    save_picture(figure, path)
