# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Linear probes of frozen concepts (after Conneau et al. 2018, "What you can cram into a single vector").

Every probe is a ridge regression whose penalty is chosen by leave-one-out error inside its training part. Its score is
the area under the ROC curve, averaged over labels and folds of a cross-validation. Beside the trained network stand
the same network untrained, a bag of words, and a prediction that ignores the text.

T texts, K labels of a text, D features.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import regex
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, cross_val_score
from tqdm.auto import tqdm

from ...data.pieces import special_ends
from ..bag_of_words import UNSPACED, fit_bag_of_words
from ..encoding import encode_ids
from ..results import BAG_OF_WORDS, MAJORITY, Result
from .sample import Sample


FOLDS = 4

# Candidate penalties for features whose mean squared norm is 1.
PENALTIES = np.logspace(-4, 2, 7)

# Number of probed words, and the share of texts that each of them occurs in.
WORDS, RAREST, COMMONEST = 50, 0.02, 0.15

# A word to probe: at least three letters with their marks; one character in scripts without spaces between words.
WORD = regex.compile(rf"(?={UNSPACED})\X|(?:(?!{UNSPACED})[\p{{L}}\p{{M}}]){{3,}}")

# Probed vectors: the mean concept, and all concepts in a row.
FEATURES = ("pooled", "all concepts")


@dataclass(frozen=True)
class Probe:
    """
    A property of texts that is predicted.

    Args:
        name: of the property.
        rows: the texts, token ids.
        labels: [T, K], 0 or 1.
    """

    name: str
    rows: list[list[int]]
    labels: np.ndarray

    def score(self, labels: np.ndarray, predicted: np.ndarray) -> float:
        """Area under the ROC curve for some of the texts, over the labels with both values there; nan without one."""
        mixed = np.ptp(labels, axis=0) > 0
        return float(roc_auc_score(labels[:, mixed], predicted[:, mixed])) if mixed.any() else math.nan


def make_probes(sample: Sample, seed: int = 0, log: Callable[[str], None] = print) -> list[Probe]:
    """
    The probes: which words occur, and whether neighbouring words were exchanged, as in half of the texts. An exchange
    keeps the tokens of a text; texts that are equal after it take no part. A probe that the texts do not allow is left
    out, and `log` gets the reason.
    """
    probes, texts = [], sample.texts()
    words = probed_words(texts)
    if words:
        occurs = np.array([[word in found for word in words] for found in map(words_of, texts)], dtype=float)
        probes.append(Probe("words", sample.ids.tolist(), occurs))
    else:
        log(f"The probe of words is left out: none occurs in {RAREST:.0%} to {COMMONEST:.0%} of the texts.")

    before, after = special_ends(sample.tokenizer)
    groups = [split_words(sample.tokenizer, text, sample.ids.shape[1] - len(before) - len(after)) for text in texts]
    pairs = [(sum(words, []), exchange_neighbours(words)) for words in groups]
    pairs = [pair for pair in pairs if pair[0] != pair[1]]
    if len(pairs) >= 2 * FOLDS:
        # Drawn at random, as neighbouring texts resemble each other.
        changed = random.Random(seed).sample([place % 2 for place in range(len(pairs))], len(pairs))
        rows = [[*before, *pair[label], *after] for pair, label in zip(pairs, changed, strict=True)]
        probes.append(Probe("word order", rows, np.array(changed, dtype=float)[:, None]))
    else:
        log(f"The probe of word order is left out: an exchange changes {len(pairs)} texts, which are too few.")
    return probes


def words_of(text: str) -> set[str]:
    """Words of a text that can be probed, in lower case."""
    return set(WORD.findall(text.lower()))


def probed_words(texts: Sequence[str]) -> list[str]:
    """Up to `WORDS` words of medium frequency, evenly spaced by frequency; none if there are none."""
    counts = Counter(word for text in texts for word in words_of(text))
    usable = [
        word
        for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if max(RAREST * len(texts), FOLDS) <= count <= COMMONEST * len(texts)
    ]
    return [usable[place * len(usable) // WORDS] for place in range(WORDS)] if len(usable) > WORDS else usable


def split_words(tokenizer, text: str, length: int) -> list[list[int]]:
    """The first `length` tokens of a text, grouped into words; needs a fast tokenizer."""
    encoded = tokenizer(text, add_special_tokens=False, truncation=True, max_length=length)
    tokens = zip(encoded.word_ids(), encoded["input_ids"], strict=True)
    return [[token for _, token in group] for _, group in groupby(tokens, key=lambda pair: pair[0])]


def exchange_neighbours(words: list[list[int]]) -> list[int]:
    """The tokens of words, of which the first and second, third and fourth, … are exchanged."""
    pairs = [words[place : place + 2][::-1] for place in range(0, len(words), 2)]
    return [token for pair in pairs for word in pair for token in word]


def coordinates(features) -> np.ndarray:
    """
    Features [T, D], dense or sparse, as at most T coordinates with the same inner products, scaled to a mean squared
    norm of 1. Ridge regression gives the same predictions on them, and is much faster if D is large.
    """
    if features.shape[1] > features.shape[0]:
        gram = features @ features.T
        gram = np.asarray(gram.todense() if hasattr(gram, "todense") else gram, dtype=np.float64)
        values, vectors = np.linalg.eigh(gram)
        features = vectors * np.sqrt(values.clip(min=0))
    elif hasattr(features, "todense"):
        features = np.asarray(features.todense())
    return features / max(np.sqrt((features**2).sum(axis=1).mean()), 1e-12)


def cross_validate(probe: Probe, features: np.ndarray, seed: int = 0) -> np.ndarray:
    """Scores of the folds; nan where it is undefined."""

    def score(ridge, features, labels):
        return probe.score(labels, ridge.predict(features).reshape(labels.shape))

    ridge, folds = RidgeCV(PENALTIES, alpha_per_target=True), KFold(FOLDS, shuffle=True, random_state=seed)
    return cross_val_score(ridge, features, probe.labels, scoring=score, cv=folds, error_score="raise")


def concept_features(model, probe: Probe, batch_size: int) -> dict[str, np.ndarray]:
    """Coordinates of the mean concept and of all concepts, by `FEATURES`."""
    concepts = encode_ids(model, probe.rows, batch_size, f"probe: {probe.name}")
    vectors = (concepts.mean(dim=1), concepts.flatten(1))
    return {name: coordinates(values.numpy()) for name, values in zip(FEATURES, vectors, strict=True)}


def run_probes(networks: dict[str, object], probes: list[Probe], split: str, batch_size: int) -> list[Result]:
    """
    Scores of all probes.

    Args:
        networks: concept models with one tokenizer, by name.
        split: of the data.
        batch_size: texts at a time.

    Returns:
        For each probe and features, under the task `probe: <name>, <features>`, a result of each system with the
        standard deviation over folds. The majority class has the score of a prediction that ignores the text.
    """
    results, tokenizer = [], next(iter(networks.values())).tokenizer
    for probe in tqdm(probes, desc="probes", leave=False):
        texts = tokenizer.batch_decode(probe.rows, skip_special_tokens=True)
        bag_of_words = coordinates(fit_bag_of_words(texts).transform(texts))
        vectors = {name: concept_features(model, probe, batch_size) for name, model in networks.items()}
        vectors[BAG_OF_WORDS] = dict.fromkeys(FEATURES, bag_of_words)
        for features in FEATURES:
            task = f"probe: {probe.name}, {features}"
            for system, found in vectors.items():
                scores = cross_validate(probe, found[features])
                mean, deviation = float(np.nanmean(scores)), float(np.nanstd(scores))
                results.append(Result(task, split, "auc", system, mean, deviation, len(texts)))
            results.append(Result(task, split, "auc", MAJORITY, 0.5, None, len(texts)))
    return results
