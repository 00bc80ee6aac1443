# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Retrieval on long documents, SCROLLS, LongBench or one's own: the document that a query belongs to, by the number of
tokens that are read of each.

D documents, Q queries, T texts, W windows of a text, C concepts, H hidden.
"""

import json
import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from huggingface_hub import hf_hub_download
from sentence_transformers.util import cos_sim, maxsim
from tqdm.auto import tqdm

from ..data.pieces import special_ends
from ..data.texts import as_texts, load_split
from ..utils.errors import first_line
from .bag_of_words import fit_bag_of_words
from .encoding import encode_ids
from .results import BAG_OF_WORDS, Result


CHANCE = "chance"  # documents in random order

# Data sets of the Hub whose files are JSON lines in zip archives: archive, file in it, and split.
ARCHIVES = {
    "tau/scrolls": ("{task}.zip", "{task}/{split}.jsonl", "validation"),
    "THUDM/LongBench": ("data.zip", "data/{task}.jsonl", "test"),
}
# Tasks of SCROLLS that have queries; in others the first paragraph would be taken for one.
SCROLLS_TASKS = ("qmsum", "qasper", "narrative_qa")


# -- data


@dataclass
class LongData:
    """
    Args:
        name: of the data; split: of it.
        documents: D texts, all different.
        queries: Q texts, all different, each of which belongs to one document.
        relevant: for each query the index of its document.
        ambiguous: number of queries that were left out as they belong to several documents.
    """

    name: str
    split: str
    documents: list[str]
    queries: list[str]
    relevant: list[int]
    ambiguous: int


def load_archive(source: str, task: str, split: str | None) -> tuple[Dataset, str]:
    """Rows of one of `ARCHIVES` with the columns document and query, and their split."""
    if source == "tau/scrolls" and task not in SCROLLS_TASKS:
        raise ValueError(f"{source} needs --dataset_config_name, one of {list(SCROLLS_TASKS)}, not {task!r}.")
    archive, member, usual_split = ARCHIVES[source]
    split = split or usual_split
    try:
        path = hf_hub_download(source, archive.format(task=task), repo_type="dataset")
        with zipfile.ZipFile(path) as file:
            rows = [json.loads(line) for line in file.read(member.format(task=task, split=split)).splitlines()]
    except (OSError, KeyError) as error:
        raise ValueError(f"The {split} split of {task} in {source} cannot be read: {first_line(error)}") from error
    if source == "tau/scrolls":  # query, empty line, document
        parts = [row["input"].partition("\n\n") for row in rows]
        return Dataset.from_list([{"document": document, "query": query} for query, _, document in parts]), split
    return Dataset.from_list([{"document": row["context"], "query": row["input"]} for row in rows]), split


def load_long_data(source: str, task: str | None, split: str | None, limit: int | None = None) -> LongData:
    """
    The first `limit` documents of the data and their queries. Whether a query is ambiguous depends on all rows, of
    which those without a document or a query are left out.

    Args:
        source: one of `ARCHIVES`, or as in [`load_split`], with the columns document and query.
        task: of the archive, qmsum by default; or configuration of the data.
        split: validation, or test, by default.

    Raises:
        ValueError: no such data, task, split or columns; fewer than two documents, or all queries are ambiguous.
    """
    if source in ARCHIVES:
        task = task or "qmsum"
        rows, split = load_archive(source, task, split)
    else:
        rows, split = load_split(source, task, (split,) if split else ("validation", "test"))
    name, documents_of = task or Path(source).name, {}
    rows = as_texts(rows, ["document", "query"], name=f"rows of {source}")
    rows = [row for row in rows if row["document"].strip() and row["query"].strip()]
    for row in rows:
        documents_of.setdefault(row["query"], set()).add(row["document"])
    documents = list(dict.fromkeys(row["document"] for row in rows))[:limit]
    if len(documents) < 2:
        raise ValueError(f"{name} has one document, which any model finds; give two documents or more.")
    index = {document: place for place, document in enumerate(documents)}
    known = {query: found for query, found in documents_of.items() if not index.keys().isdisjoint(found)}
    queries = [query for query, found in known.items() if len(found) == 1]
    if not queries:
        raise ValueError(f"Each query of {name} belongs to several documents, so that none can be retrieved.")
    relevant = [index[next(iter(known[query]))] for query in queries]
    return LongData(name, split, documents, queries, relevant, len(known) - len(queries))


# -- concepts


def read_beginnings(tokenizer, texts: list[str], length: int) -> tuple[list[str], list[list[int]]]:
    """The beginnings of T texts, `length` tokens with special ones, as texts and as token ids without special ones.
    Needs a fast tokenizer."""
    encoded = tokenizer(
        texts,
        add_special_tokens=False,
        return_offsets_mapping=True,
        truncation=True,
        max_length=length - tokenizer.num_special_tokens_to_add(),
    )
    ends = [offsets[-1][1] if offsets else 0 for offsets in encoded["offset_mapping"]]
    return [text[:end] for text, end in zip(texts, ends)], encoded["input_ids"]


def encode_windows(model, ids: list[int], batch_size: int) -> torch.Tensor:
    """
    Concepts [W, C, H] (float32, CPU) of the token ids of a text of any length.

    It is cut into the fewest windows that the model takes, of equal length up to one token, so that the last is no
    short remainder. They are encoded independently, `batch_size` at a time.
    """
    before, after = special_ends(model.tokenizer)
    room = model.config.max_sequence_length - len(before) - len(after)
    count = max(1, -(-len(ids) // room))
    bounds = [len(ids) * number // count for number in range(count + 1)]
    rows = [[*before, *ids[start:end], *after] for start, end in pairwise(bounds)]
    return encode_ids(model, rows, batch_size)


# -- retrieval


def mean_cosines(queries: list[torch.Tensor], documents: list[torch.Tensor]) -> torch.Tensor:
    """Cosine [Q, D] of the means of all concepts of a query and of a document."""
    return cos_sim(*(torch.stack([text.flatten(0, 1).mean(dim=0) for text in side]) for side in (queries, documents)))


def best_matches(queries: list[torch.Tensor], documents: list[torch.Tensor]) -> torch.Tensor:
    """Late interaction [Q, D] (ColBERT, Khattab & Zaharia 2020): for each concept of the query its largest cosine with
    a concept of the document, averaged over the query's concepts."""
    sides = [[F.normalize(text.flatten(0, 1), dim=-1) for text in side] for side in (queries, documents)]
    return maxsim(*sides, length_normalize=True)


# From concepts [W, C, H] of each of Q queries and D documents to similarities [Q, D].
POOLINGS = {"mean": mean_cosines, "best concept": best_matches}


def retrieval_metrics(similarity: np.ndarray, relevant: np.ndarray) -> dict[str, float]:
    """
    Metrics of retrieval.

    Args:
        similarity: [Q, D] of each query with each document.
        relevant: [Q], index of the query's own document.

    Returns:
        Share of queries whose document ranks first (R@1) and among the first five (R@5), and mean of 1 / rank (MRR).
        Documents with the same similarity as the relevant one rank before it, so that equal vectors score 0.
    """
    own = np.take_along_axis(similarity, relevant[:, None], axis=1)
    return rank_metrics((similarity >= own).sum(axis=1))


def rank_metrics(ranks: np.ndarray) -> dict[str, float]:
    """Metrics of the ranks [Q] of the relevant documents, from 1."""
    values = {"R@1": ranks <= 1, "R@5": ranks <= 5, "MRR": 1 / ranks}
    return {name: float(np.mean(value)) for name, value in values.items()}


def retrieval_results(data: LongData, networks: dict, lengths: list[int], batch_size: int) -> list[Result]:
    """
    Retrieval by networks, by tf-idf of the documents' beginnings, and by chance, at all lengths.

    Args:
        networks: concept models by name, all with the tokenizer of the first.
        lengths: tokens of each document that are read, with special ones; of a query the longest of these.
        batch_size: windows at a time.
    """
    tokenizer, relevant, results = next(iter(networks.values())).tokenizer, np.array(data.relevant), []

    def encode(name, texts, length):
        _, rows = read_beginnings(tokenizer, texts, length)
        rows = tqdm(rows, desc=f"{length:,} tokens: {name}", leave=False)
        return [encode_windows(networks[name], ids, batch_size) for ids in rows]

    queries = {name: encode(name, data.queries, max(lengths)) for name in networks}
    for length in lengths:
        texts, _ = read_beginnings(tokenizer, data.documents, length)
        words = fit_bag_of_words(texts)
        similarities = {}
        for name in networks:
            documents = encode(name, data.documents, length)
            for pooling, compare in POOLINGS.items():
                similarities[f"{name}, {pooling}"] = compare(queries[name], documents).numpy()
        similarities[BAG_OF_WORDS] = (words.transform(data.queries) @ words.transform(texts).T).toarray()
        found = {system: retrieval_metrics(values, relevant) for system, values in similarities.items()}
        found[CHANCE] = rank_metrics(np.arange(1, len(texts) + 1))
        results += [
            Result(
                f"{data.name} retrieval", data.split, f"{metric}, {length:,} tokens", system, value,
                count=len(relevant),
            )
            for system, metrics in found.items()
            for metric, value in metrics.items()
        ]  # fmt: skip
    return results
