# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Long documents read as concepts: finding the document that a query asks about, classification of document and query,
time and memory, by the number of tokens that are read.

D documents, Q queries, T texts, P pairs of document and query, W windows of a text, C concepts, H hidden.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from .bag_of_words import NoWordsError, fit_bag_of_words
from .long_documents import LongData
from .long_reading import Cost, Passage, passages, read_all
from .results import BAG_OF_WORDS, MAJORITY, Result


# What is asked for, and under which names it stands in results: classification is that of the data's own labels, or
# whether document and query match.
RETRIEVAL, CLASSIFICATION = TASKS = ("retrieval", "classification")
LABELS, MATCHING, COST = "labels", "matching", "cost"
METRICS = ("R@1", "R@5", "MRR", "accuracy")
CHANCE = "chance"  # documents in random order
FOLDS = 5


def mean_vectors(texts: list[torch.Tensor]) -> torch.Tensor:
    """The mean of all concepts of each text, brought to length 1: [T, H]."""
    return F.normalize(torch.stack([text.flatten(0, 1).mean(dim=0) for text in texts]), dim=-1)


def centre(texts: list[torch.Tensor]) -> list[torch.Tensor]:
    """Concepts [W, C, H] of T texts, each minus the mean of this concept over texts (and a text's windows)."""
    mean = torch.stack([text.mean(dim=0) for text in texts]).mean(dim=0)
    return [text - mean for text in texts]


def mean_cosines(queries: list[torch.Tensor], documents: list[torch.Tensor]) -> torch.Tensor:
    """Cosine [Q, D] of the means of concepts."""
    return mean_vectors(queries) @ mean_vectors(documents).T


def best_matches(queries: list[torch.Tensor], documents: list[torch.Tensor]) -> torch.Tensor:
    """Late interaction (ColBERT, Khattab & Zaharia 2020): the cosine of each of the query's concepts with the concept
    of the document that it is nearest to, averaged over the query's: [Q, D]."""
    queries = [F.normalize(query.flatten(0, 1), dim=-1) for query in queries]
    columns = []
    for document in documents:
        directions = F.normalize(document.flatten(0, 1), dim=-1)
        columns.append(torch.stack([(query @ directions.T).amax(dim=1).mean() for query in queries]))
    return torch.stack(columns, dim=1)


class Pooling(NamedTuple):
    """
    How queries and documents are compared.

    Args:
        compare: concepts of Q queries and of D documents -> similarities [Q, D].
        centred: whether concepts are first centred, queries and documents each by their own mean, which looks at all
            (unlabelled) texts of the split.
        all_concepts: whether it needs more than the mean of a text's concepts.
    """

    compare: Callable[[list[torch.Tensor], list[torch.Tensor]], torch.Tensor]
    centred: bool = False
    all_concepts: bool = False


POOLINGS = {
    "mean": Pooling(mean_cosines),
    "centred mean": Pooling(mean_cosines, centred=True),
    "best concept": Pooling(best_matches, all_concepts=True),
    "centred best concept": Pooling(best_matches, centred=True, all_concepts=True),
}


def retrieval_metrics(similarity: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """
    Args:
        similarity: [Q, D] of each query with each document; right: [Q] place of the query's own document.

    Returns:
        Share of queries whose document ranks first (R@1) and among the first five (R@5), and mean of 1 / rank (MRR).
        Documents that are as similar as the right one rank before it, so that equal vectors gain nothing.
    """
    own = np.take_along_axis(similarity, right[:, None], axis=1)
    return rank_metrics((similarity >= own).sum(axis=1))


def rank_metrics(ranks: np.ndarray) -> dict[str, float]:
    """As in `retrieval_metrics`, of the ranks [Q] of the right documents, from 1."""
    return dict(zip(METRICS, (float(np.mean(values)) for values in (ranks <= 1, ranks <= 5, 1 / ranks))))


def document_folds(count: int, seed: int) -> np.ndarray:
    """A part, of `FOLDS` or fewer, for each of `count` documents; at least two documents in each.

    Raises:
        ValueError: fewer than four documents.
    """
    if count < 4:
        raise ValueError(f"Classification needs at least four documents, not {count}.")
    order = np.random.default_rng(seed).permutation(count)
    folds = np.empty(count, dtype=int)
    folds[order] = np.arange(count) % min(FOLDS, count // 2)
    return folds


def matched_pairs(pairs: list[tuple[int, int]], folds: np.ndarray) -> tuple[list[tuple[int, int]], list[bool]]:
    """
    Pairs of a document and a query, each query once with its own document and once with another one of the same part.
    Each document stands in as many right as wrong pairs, so that neither of the two alone says anything.

    Args:
        pairs: document and query, each query in one pair.
        folds: part of each document.

    Returns:
        The pairs, and whether they are right. Where a document has more queries than all others of its part, those in
        excess are left out.
    """
    found, right = [], []
    for fold in range(folds.max() + 1):
        own = sorted(pair for pair in pairs if folds[pair[0]] == fold)
        counts = Counter(document for document, _ in own)
        most = max(counts.values(), default=0)
        if most > len(own) - most:
            largest = max(counts, key=counts.get)
            excess = [pair for pair in own if pair[0] == largest][len(own) - most :]
            own = [pair for pair in own if pair not in excess]
            most = len(own) // 2
        # Sorted by document, those that are `most` apart are never of one document.
        others = own[most:] + own[:most]
        found += own + [(other[0], query) for (_, query), other in zip(own, others, strict=True)]
        right += [True] * len(own) + [False] * len(own)
    return found, right


@dataclass
class Probe:
    """
    A classification of pairs of a document and a query.

    Args:
        task: `LABELS`, the data's own classes, or `MATCHING`, whether the two belong together.
        documents, queries: places [P]; labels [P]; folds: part [P] of each pair, that of its document.
    """

    task: str
    documents: np.ndarray
    queries: np.ndarray
    labels: np.ndarray
    folds: np.ndarray


def make_probe(data: LongData, seed: int) -> Probe:
    """The data's classes where it has any, else whether document and query belong together; no document, and in the
    second case no query, is in two parts. ValueError for too few documents or queries, or a single class."""
    folds = document_folds(len(data.documents), seed)
    task, pairs, labels = LABELS, data.pairs, data.labels
    if labels is None:
        task, (pairs, labels) = MATCHING, matched_pairs([data.pairs[place] for place in data.named], folds)
    documents, queries = np.array(pairs, dtype=int).reshape(-1, 2).T
    if len(np.unique(folds[documents])) < 2:
        raise ValueError(
            "There are too few queries for classification; give more documents, or --task_name retrieval."
        )
    if len(set(labels)) < 2:
        raise ValueError(f"All pairs of {data.name} have the class {labels[0]!r}: there is nothing to classify.")
    return Probe(task, documents, queries, np.array(labels), folds[documents])


def pair_features(queries, documents, similarity: np.ndarray):
    """[query; document; |query - document|; query * document; similarity] of vectors of length 1, [P, H] each, arrays
    or sparse matrices, and [P] -> [P, 4 H + 1] of the same kind."""
    if sparse.issparse(documents):
        parts = [queries, documents, abs(queries - documents), queries.multiply(documents)]
        return sparse.hstack([*parts, sparse.csr_matrix(similarity[:, None])], format="csr")
    parts = [queries, documents, abs(queries - documents), queries * documents]
    return np.concatenate([*parts, similarity[:, None]], axis=1)


def probe_accuracy(estimator, features, probe: Probe) -> float:
    """Share of right predictions, each made by the estimator fitted on the other parts."""
    right = 0
    for fold in np.unique(probe.folds):
        held_out = probe.folds == fold
        known = probe.labels[~held_out]
        one_class = len(np.unique(known)) == 1  # of which an estimator cannot be fitted
        predicted = known[0] if one_class else estimator.fit(features[~held_out], known).predict(features[held_out])
        right += int((predicted == probe.labels[held_out]).sum())
    return right / len(probe.labels)


def linear_probe():
    """Logistic regression on standardised features; of these there are more than pairs, hence the strong penalty."""
    return make_pipeline(StandardScaler(with_mean=False), LogisticRegression(C=0.01, max_iter=1000))


class LongContextEvaluation:
    """
    Retrieval and classification by any system.

    Args:
        data: to evaluate on.
        tasks: of `TASKS`.
        seed: of the parts of the cross-validation.

    Raises:
        ValueError: nothing can be evaluated: there is one document, or no query stands with one document only, and
            the data are too few, or of one class, for classification. Where one of the two is possible, the other is
            left out with a line.
    """

    def __init__(self, data: LongData, tasks: Iterable[str], seed: int):
        if len(data.documents) < 2:
            raise ValueError(f"{data.name} has one document, which any model finds; give two documents or more.")
        self.data = data
        self.right, self.asked = np.array([data.pairs[place] for place in data.named], dtype=int).reshape(-1, 2).T
        self.retrieves = RETRIEVAL in tasks and len(self.right) > 0
        if not data.named and (CLASSIFICATION not in tasks or data.labels is None):
            raise ValueError(
                f"In {data.name} no query stands with one document only, so that none can be found by it."
            )
        self.probe = None
        if CLASSIFICATION in tasks:
            try:
                self.probe = make_probe(data, seed)
            except ValueError as error:
                if not self.retrieves:
                    raise
                print(f"Classification is left out: {error}")

    def results(self, system: str, length: int, similarity, queries, documents) -> list[Result]:
        """Of `similarity` [Q, D] and of vectors [Q, H] and [D, H], all as numpy arrays or sparse matrices."""
        similarity = similarity.toarray() if sparse.issparse(similarity) else similarity
        found = []
        if self.retrieves:
            found += self.retrieval(system, length, retrieval_metrics(similarity[self.asked], self.right))
        if self.probe is not None:
            rows, columns = self.probe.queries, self.probe.documents
            features = pair_features(queries[rows], documents[columns], similarity[rows, columns])
            found.append(self.accuracy(system, length, probe_accuracy(linear_probe(), features, self.probe)))
        return found

    def baselines(self, length: int, texts: list[Passage]) -> list[Result]:
        """tf-idf of the same tokens, documents in random order, and the most frequent class."""
        try:
            words = fit_bag_of_words(text.text for text in texts)
        except NoWordsError as error:
            print(f"{BAG_OF_WORDS}: not defined at {length:,} tokens ({error}).")
            found = self.undefined(BAG_OF_WORDS, length)
        else:
            queries, documents = words.transform(self.data.queries), words.transform([text.text for text in texts])
            found = self.results(BAG_OF_WORDS, length, queries @ documents.T, queries, documents)
        if self.retrieves:
            found += self.retrieval(CHANCE, length, rank_metrics(np.arange(1, len(texts) + 1)))
        if self.probe is not None:
            constant, features = DummyClassifier(strategy="most_frequent"), np.zeros((len(self.probe.labels), 1))
            found.append(self.accuracy(MAJORITY, length, probe_accuracy(constant, features, self.probe)))
        return found

    def undefined(self, system: str, length: int) -> list[Result]:
        """The records of `results` with nan as their values."""
        found = self.retrieval(system, length, dict.fromkeys(METRICS[:3], math.nan)) if self.retrieves else []
        return found + ([] if self.probe is None else [self.accuracy(system, length, math.nan)])

    def retrieval(self, system, length, metrics) -> list[Result]:
        task, split, count = f"{self.data.name} {RETRIEVAL}", self.data.split, len(self.right)
        return [
            Result(task, split, at_length(name, length), system, value, count=count) for name, value in metrics.items()
        ]

    def accuracy(self, system, length, value) -> Result:
        task, metric = f"{self.data.name} {self.probe.task}", at_length("accuracy", length)
        return Result(task, self.data.split, metric, system, value, count=len(self.probe.labels))


def at_length(metric: str, length: int) -> str:
    return f"{metric}, {length:,} tokens"


def cost_results(costs: dict[str, dict[int, Cost]], split: str) -> list[Result]:
    """Milliseconds and MiB for reading a document, by system and number of tokens."""
    found = []
    for metric, field in (("ms", "seconds"), ("peak MiB", "memory")):
        factor = 1000 if field == "seconds" else 1
        found += [
            Result(
                COST, split, at_length(metric, length), system, factor * getattr(cost, field), count=cost.documents,
                primary=False,
            )
            for system, by_length in costs.items()
            for length, cost in by_length.items()
            if getattr(cost, field) is not None
        ]  # fmt: skip
    return found


def evaluate_readers(
    evaluation: LongContextEvaluation, readers: list, tokenizer, lengths: list[int], poolings: list[str]
) -> tuple[list[Result], dict[str, dict[int, Cost]]]:
    """
    All systems at all lengths.

    Args:
        evaluation: of the data.
        readers: models that read passages.
        tokenizer: counts tokens, for all systems alike.
        lengths: tokens of each document that are read, with special ones; of a query the longest of these.
        poolings: of `POOLINGS`.

    Returns:
        Results, metric by metric, and the cost of each reader by length.
    """
    data, special = evaluation.data, tokenizer.num_special_tokens_to_add()
    beginnings = passages(tokenizer, data.documents, lengths)
    questions = passages(tokenizer, data.queries, [max(lengths)])
    keep = any(POOLINGS[name].all_concepts for name in poolings)
    total = len(readers) * (len(data.queries) + len(lengths) * len(data.documents))
    with tqdm(total=total, desc="Reading") as progress:
        asked, _ = read_all(readers, questions, special, keep, progress)
        read, found_costs = read_all(readers, beginnings, special, keep, progress)
    results, costs = [], {reader.name: {} for reader in readers}
    for (name, length), cost in found_costs.items():
        costs[name][length] = cost
    for (reader, length), documents in tqdm(read.items(), desc="Comparing"):
        for name in poolings:
            pooling, pair = POOLINGS[name], [asked[reader, max(lengths)], documents]
            pair = [centre(side) for side in pair] if pooling.centred else pair
            vectors = [mean_vectors(side).numpy() for side in pair]
            similarity = pooling.compare(*pair).numpy()
            results += evaluation.results(f"{reader}, {name}", length, similarity, *vectors)
    for length, texts in beginnings.items():
        results += evaluation.baselines(length, texts)
    results.sort(key=lambda result: METRICS.index(result.metric.partition(",")[0]))
    return results, costs
