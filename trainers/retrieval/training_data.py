# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Rows that a retriever is trained on: pairs with hard negatives, and neighbourhoods of unlabelled documents.

D documents, E width of vectors.
"""

import random
import re

import torch
from datasets import Dataset

from ..data.texts import as_texts, load_split
from .evaluation import Ranking, RetrievalData


# Words of a sentence that serves as a query.
QUERY_WORDS = range(5, 41)


# -- pairs


def load_pairs(source: str, config: str | None, split: str, columns: list[str]) -> RetrievalData:
    """
    Pairs of a data set or file as data of retrieval.

    Args:
        source, config, split: as in [`load_split`].
        columns: of the query, and of the relevant text.

    Raises:
        ValueError: no such data or columns.
    """
    rows = as_texts(load_split(source, config, (split,))[0], columns, name=f"pairs of {source}")
    asked, relevant = (rows[name][:] for name in columns)
    documents = {text: str(key) for key, text in enumerate(dict.fromkeys(relevant))}
    queries = {text: str(key) for key, text in enumerate(dict.fromkeys(asked))}
    judgements = {key: {} for key in queries.values()}
    for query, document in zip(asked, relevant, strict=True):
        judgements[queries[query]][documents[document]] = 1
    by_key = ({key: text for text, key in texts.items()} for texts in (documents, queries))
    return RetrievalData(source, split, *by_key, judgements)


def ranking_rows(data: RetrievalData, negatives: Ranking | None, count: int, seed: int) -> Dataset:
    """
    Rows of a query, a relevant document and hard negatives.

    Args:
        data: each judgement becomes a row.
        negatives: a ranking of the documents; negatives are drawn from its best ones that are not relevant. None for
            rows without negatives.
        count: of negatives; a query with fewer is left out.
        seed: of the draw.
    """
    draw, rows = random.Random(seed), []
    for query, relevant in data.judgements.items():
        best = [key for key in negatives.scores[query] if key not in relevant] if negatives else []
        for key in relevant if len(best) >= count or negatives is None else ():
            drawn = draw.sample(best, count) if negatives else []
            row = {"query": data.queries[query], "positive": data.documents[key]}
            rows.append(row | {f"negative_{place}": data.documents[other] for place, other in enumerate(drawn, 1)})
    if not rows:
        raise ValueError(f"No query has {count} documents that are not relevant; take fewer --hard_negatives.")
    return Dataset.from_list(rows).shuffle(seed)


# -- neighbourhoods


def query_sentences(text: str) -> list[str]:
    """The sentences of a text that are as long as queries are."""
    return [part for part in re.split(r"(?<=[.!?;])\s+", text) if len(part.split()) in QUERY_WORDS]


def neighbourhood_rows(
    documents: list[str], vectors: torch.Tensor, queries: int, per_query: int, steps: int, seed: int
) -> Dataset:
    """
    Rows of a query and documents, of which `queries` in a row are one step: around a random document, the sentences of
    some of its neighbours are the queries, and its other neighbours are the documents. So each document of a step is
    near each query, and none holds it.

    Args:
        documents: D texts; vectors: of these, [D, E].
        queries: of a step; per_query: documents of a row; steps: number of steps.
        seed: of the draw.

    Raises:
        ValueError: fewer documents with a sentence than a step needs.
    """
    sentences = [query_sentences(text) for text in documents]
    able = [place for place, found in enumerate(sentences) if found]
    size = queries * (per_query + 1)
    if len(able) < size:
        raise ValueError(f"A step takes {size} documents with a sentence, and there are {len(able)}; give more text.")
    draw, rows, near = random.Random(seed), [], vectors[able]
    for _ in range(steps):
        found = (near @ near[draw.randrange(len(able))]).topk(size).indices.tolist()
        found = [able[place] for place in draw.sample(found, size)]
        asked, others = found[:queries], found[queries:]
        for place, key in enumerate(asked):
            beside = others[place * per_query : (place + 1) * per_query]
            rows.append([(key, draw.randrange(len(sentences[key]))), *beside])
    names = [f"document_{place}" for place in range(1, per_query + 1)]
    table = {"query": [list(row[0]) for row in rows]}
    table |= {name: [row[place] for row in rows] for place, name in enumerate(names, 1)}

    def with_texts(batch):
        found = {name: [documents[key] for key in batch[name]] for name in names if name in batch}
        return {"query": [sentences[key][place] for key, place in batch["query"]]} | found

    return Dataset.from_dict(table).with_transform(with_texts)
