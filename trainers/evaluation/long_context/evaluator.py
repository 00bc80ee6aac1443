# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Evaluation on long documents, by the number of tokens that are read: retrieval of the document of a query, and a linear
probe of whether document and query match.

D documents, Q queries, T texts, P pairs of document and query, W windows of a text, C concepts, H hidden.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sentence_transformers.util import maxsim
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from ...data.pieces import special_ends
from ..bag_of_words import NoWordsError, fit_bag_of_words, pair_features
from ..encoding import encode_ids
from ..results import BAG_OF_WORDS, MAJORITY, Result
from .documents import LongData


RANK_METRICS, ACCURACY = ("R@1", "R@5", "MRR"), "accuracy"
CHANCE = "chance"  # documents in random order
FOLDS = 5


# -- reading


class Passage(NamedTuple):
    """The beginning of a text, and its tokens without special ones."""

    text: str
    ids: list[int]


def passages(tokenizer, texts: list[str], length: int) -> list[Passage]:
    """The beginnings of texts, `length` tokens with special ones; needs a fast tokenizer."""
    encoded = tokenizer(
        texts,
        add_special_tokens=False,
        return_offsets_mapping=True,
        truncation=True,
        max_length=length - tokenizer.num_special_tokens_to_add(),
    )
    columns = (texts, encoded["input_ids"], encoded["offset_mapping"])
    return [Passage(text[: offsets[-1][1]] if ids else "", ids) for text, ids, offsets in zip(*columns, strict=True)]


def even_windows(count: int, room: int) -> list[slice]:
    """The fewest windows of at most `room` tokens that cover `count` tokens, of equal length up to one token, so that
    the last is no short remainder."""
    windows = max(1, -(-count // room))
    bounds = [count * number // windows for number in range(windows + 1)]
    return [slice(*ends) for ends in zip(bounds, bounds[1:])]


def encode_passage(model, passage: Passage, batch_size: int) -> torch.Tensor:
    """Concepts [W, C, H] (float32, CPU) of a passage in windows of the model's `max_sequence_length`, which are
    encoded independently, `batch_size` at a time."""
    before, after = special_ends(model.tokenizer)
    windows = even_windows(len(passage.ids), model.config.max_sequence_length - len(before) - len(after))
    return encode_ids(model, [[*before, *passage.ids[part], *after] for part in windows], batch_size)


# -- similarity of queries and documents


def mean_vectors(texts: list[torch.Tensor]) -> torch.Tensor:
    """Normalised mean of all concepts of each text: [T, H]."""
    return F.normalize(torch.stack([text.flatten(0, 1).mean(dim=0) for text in texts]), dim=-1)


def centre(texts: list[torch.Tensor]) -> list[torch.Tensor]:
    """Concepts [W, C, H] of T texts, each minus the mean of this concept over texts (and a text's windows)."""
    mean = torch.stack([text.mean(dim=0) for text in texts]).mean(dim=0)
    return [text - mean for text in texts]


def mean_cosines(queries: list[torch.Tensor], documents: list[torch.Tensor]) -> torch.Tensor:
    """Cosine [Q, D] of the means of concepts."""
    return mean_vectors(queries) @ mean_vectors(documents).T


def best_matches(queries: list[torch.Tensor], documents: list[torch.Tensor]) -> torch.Tensor:
    """Late interaction [Q, D] (ColBERT, Khattab & Zaharia 2020): for each concept of the query its largest cosine with
    a concept of the document, averaged over the query's concepts."""
    sides = [[F.normalize(text.flatten(0, 1), dim=-1) for text in side] for side in (queries, documents)]
    return maxsim(*sides, length_normalize=True)


# By name: from concepts of Q queries and D documents to similarities [Q, D], and whether concepts are centred first,
# those of queries and those of documents each by their own mean over all texts of the split.
POOLINGS = {
    "mean": (mean_cosines, False),
    "centred mean": (mean_cosines, True),
    "best concept": (best_matches, False),
}


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
    values = (ranks <= 1, ranks <= 5, 1 / ranks)
    return {name: float(np.mean(value)) for name, value in zip(RANK_METRICS, values, strict=True)}


# -- the probe


@dataclass
class MatchingProbe:
    """
    The prediction whether a document and a query match.

    Args:
        documents, queries: indices [P]; matches: [P]; folds: fold [P] of each pair, which is that of its document.
            No document and no query is in two folds.
    """

    documents: np.ndarray
    queries: np.ndarray
    matches: np.ndarray
    folds: np.ndarray

    @classmethod
    def of(cls, data: LongData, seed: int) -> "MatchingProbe":
        """The probe of data; ValueError for fewer than four documents or too few queries."""
        if len(data.documents) < 4:
            raise ValueError(f"The probe needs at least four documents, not {len(data.documents)}.")
        folds = document_folds(len(data.documents), seed)
        pairs, matches = matched_pairs(list(zip(data.relevant, range(len(data.queries)), strict=True)), folds)
        documents, queries = np.array(pairs, dtype=int).reshape(-1, 2).T
        if len(np.unique(folds[documents])) < 2:
            raise ValueError("The probe needs more queries.")
        return cls(documents, queries, np.array(matches), folds[documents])

    def accuracy(self, features) -> float:
        """
        Share of correct predictions by logistic regression on `features` [P, D], fitted on the other folds. They are
        standardised, with a strong penalty as there are more of them than pairs.
        """
        estimator = make_pipeline(StandardScaler(with_mean=False), LogisticRegression(C=0.01, max_iter=1000))
        predicted = cross_val_predict(estimator, features, self.matches, cv=PredefinedSplit(self.folds))
        return float(np.mean(predicted == self.matches))


def document_folds(count: int, seed: int) -> np.ndarray:
    """A fold, of `FOLDS` or fewer, for each of `count` documents, of which there are four or more; at least two
    documents in each."""
    folds = np.empty(count, dtype=int)
    folds[np.random.default_rng(seed).permutation(count)] = np.arange(count) % min(FOLDS, count // 2)
    return folds


def matched_pairs(pairs: list[tuple[int, int]], folds: np.ndarray) -> tuple[list[tuple[int, int]], list[bool]]:
    """
    Each query with its own document and with another document of the same fold. Each document is in as many matching
    as other pairs, so that neither document nor query alone predicts the label.

    Args:
        pairs: document and query, each query in one pair.
        folds: fold of each document.

    Returns:
        The pairs, and whether they match. If a document has more queries than all others of its fold, those in excess
        are left out.
    """
    found, matches = [], []
    for fold in range(folds.max() + 1):
        own = sorted(pair for pair in pairs if folds[pair[0]] == fold)
        counts = Counter(document for document, _ in own)
        most = max(counts.values(), default=0)
        if most > len(own) - most:
            largest = max(counts, key=counts.get)
            excess = [pair for pair in own if pair[0] == largest][len(own) - most :]
            own = [pair for pair in own if pair not in excess]
            most = len(own) // 2
        # Sorted by document, pairs that are `most` apart never have the same document.
        others = own[most:] + own[:most]
        found += own + [(other[0], query) for (_, query), other in zip(own, others, strict=True)]
        matches += [True] * len(own) + [False] * len(own)
    return found, matches


# -- evaluation


class LongContextEvaluation:
    """
    Retrieval and the probe, for any vectors of queries and documents. The probe is left out, and the reason printed,
    if there are too few documents or queries.

    Args:
        data: to evaluate on.
        seed: of the folds of the cross-validation.
    """

    def __init__(self, data: LongData, seed: int):
        self.data, self.relevant = data, np.array(data.relevant)
        try:
            self.probe = MatchingProbe.of(data, seed)
        except ValueError as error:
            self.probe = None
            print(f"Matching is left out: {error}")

    def metrics(self, similarity: np.ndarray, queries, documents) -> dict[str, float]:
        """Metrics of similarities [Q, D] and of vectors [Q, H] and [D, H], numpy arrays or sparse matrices."""
        values = retrieval_metrics(similarity, self.relevant)
        if self.probe is not None:
            rows, columns = self.probe.queries, self.probe.documents
            features = pair_features(queries[rows], documents[columns], similarity[rows, columns])
            values[ACCURACY] = self.probe.accuracy(features)
        return values

    def baselines(self, texts: list[str]) -> dict[str, dict[str, float]]:
        """Metrics of tf-idf of the documents' beginnings, of documents in random order, and of the majority class."""
        chance = rank_metrics(np.arange(1, len(texts) + 1))
        majority = {} if self.probe is None else {ACCURACY: 0.5}  # half of the pairs match
        try:
            words = fit_bag_of_words(texts)
            queries, documents = words.transform(self.data.queries), words.transform(texts)
            found = self.metrics((queries @ documents.T).toarray(), queries, documents)
        except NoWordsError as error:
            print(f"{BAG_OF_WORDS}: not defined ({error}).")
            found = dict.fromkeys([*chance, *majority], math.nan)
        return {BAG_OF_WORDS: found, CHANCE: chance, MAJORITY: majority}

    def records(self, length: int, by_system: dict[str, dict[str, float]]) -> list[Result]:
        """Results of systems at a length."""
        records = []
        for system, metrics in by_system.items():
            for metric, value in metrics.items():
                task, count = "retrieval", len(self.relevant)
                if metric == ACCURACY:
                    task, count = "matching", len(self.probe.matches)
                name = f"{metric}, {length:,} tokens"
                records.append(Result(f"{self.data.name} {task}", self.data.split, name, system, value, None, count))
        return records


def evaluate_networks(
    evaluation: LongContextEvaluation, networks: dict, lengths: list[int], batch_size: int
) -> list[Result]:
    """
    Networks and baselines at all lengths.

    Args:
        evaluation: of the data.
        networks: concept models by name, all with the tokenizer of the first.
        lengths: tokens of each document that are read, with special ones; of a query the longest of these.
        batch_size: windows at a time.

    Returns:
        Results, metric by metric.
    """
    data, tokenizer, results = evaluation.data, next(iter(networks.values())).tokenizer, []

    def encode(model, texts, description):
        return [encode_passage(model, text, batch_size) for text in tqdm(texts, desc=description, leave=False)]

    questions = passages(tokenizer, data.queries, max(lengths))
    queries = {name: encode(model, questions, f"queries: {name}") for name, model in networks.items()}
    for length in lengths:
        beginnings, found = passages(tokenizer, data.documents, length), {}
        for name, model in networks.items():
            documents = encode(model, beginnings, f"{length:,} tokens: {name}")
            for pooling, (compare, centred) in POOLINGS.items():
                sides = [centre(side) if centred else side for side in (queries[name], documents)]
                vectors = [mean_vectors(side).numpy() for side in sides]
                found[f"{name}, {pooling}"] = evaluation.metrics(compare(*sides).numpy(), *vectors)
        results += evaluation.records(length, found | evaluation.baselines([text.text for text in beginnings]))
    order = (*RANK_METRICS, ACCURACY)
    return sorted(results, key=lambda result: order.index(result.metric.partition(",")[0]))
