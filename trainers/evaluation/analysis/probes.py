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
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import regex
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, cross_val_score
from tqdm.auto import tqdm

from ...data.pieces import special_ends
from ..bag_of_words import UNSPACED, fit_bag_of_words
from ..encoding import encode_ids
from ..results import BAG_OF_WORDS, MAJORITY, Result
from .sample import Sample, evenly_spaced


FOLDS = 4

# Candidate penalties for features whose mean squared norm is 1.
PENALTIES = np.logspace(-4, 2, 7)

# Number of probed words, and the share of texts that each of them occurs in.
WORDS, RAREST, COMMONEST = 50, 0.02, 0.15

# A word to probe: at least three letters with their marks; one character in scripts without spaces between words.
WORD = regex.compile(rf"(?={UNSPACED})\X|(?:(?!{UNSPACED})[\p{{L}}\p{{M}}]){{3,}}")


class Probe(NamedTuple):
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


def make_probes(sample: Sample, seed: int = 0) -> list[Probe]:
    """
    The probes: which words occur, and whether neighbouring words were exchanged, as in half of the texts. An exchange
    keeps the tokens of a text; texts that are equal after it take no part. A probe that the texts do not allow, for
    lack of words of medium frequency or of texts with several words, is left out.
    """
    probes, tokenizer = [], sample.vocabulary.tokenizer
    texts = tokenizer.batch_decode(sample.ids.tolist(), skip_special_tokens=True)
    occurs = word_labels(texts)
    if occurs.size:
        probes.append(Probe("words", sample.ids.tolist(), occurs))

    before, after = special_ends(tokenizer)
    length = sample.ids.shape[1] - len(before) - len(after)
    pairs = [exchange_neighbours(tokenizer, text, length) for text in texts]
    pairs = [pair for pair in pairs if pair[0] != pair[1]]
    if len(pairs) >= 2 * FOLDS:
        # Drawn at random, as neighbouring texts resemble each other.
        changed = random.Random(seed).sample([place % 2 for place in range(len(pairs))], len(pairs))
        rows = [[*before, *pair[label], *after] for pair, label in zip(pairs, changed, strict=True)]
        probes.append(Probe("word order", rows, np.array(changed, dtype=float)[:, None]))
    return probes


def word_labels(texts: Sequence[str]) -> np.ndarray:
    """Whether each of at most `WORDS` words of medium frequency, evenly spaced by frequency, occurs in a text: [T, K].
    There may be none."""
    found = CountVectorizer(binary=True, tokenizer=WORD.findall, token_pattern=None).fit_transform(texts).toarray()
    counts = found.sum(axis=0)
    usable = [
        word
        for word in np.argsort(-counts, kind="stable")
        if max(RAREST * len(texts), FOLDS) <= counts[word] <= COMMONEST * len(texts)
    ]
    return found[:, [usable[place] for place in evenly_spaced(len(usable), WORDS)]].astype(float)


def exchange_neighbours(tokenizer, text: str, length: int) -> tuple[list[int], list[int]]:
    """The first `length` tokens of a text, and the same with its first and second, third and fourth, … word exchanged;
    needs a fast tokenizer."""
    encoded = tokenizer(text, add_special_tokens=False, truncation=True, max_length=length)
    ids = encoded["input_ids"]
    tokens = groupby(zip(ids, encoded.word_ids(), strict=True), key=itemgetter(1))
    words = [[token for token, _ in word] for _, word in tokens]
    pairs = [words[place : place + 2][::-1] for place in range(0, len(words), 2)]
    return ids, [token for pair in pairs for word in pair for token in word]


def mean_auc(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Area under the ROC curve, averaged over the labels with both values in these texts; nan without one."""
    mixed = np.ptp(labels, axis=0) > 0
    return float(roc_auc_score(labels[:, mixed], predicted[:, mixed])) if mixed.any() else math.nan


def cross_validate(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Scores of the folds for features [T, D] and labels [T, K]; nan where it is undefined."""

    def score(ridge, features, labels):
        return mean_auc(labels, ridge.predict(features).reshape(labels.shape))

    features = features / max(np.sqrt((features**2).sum(axis=1).mean()), 1e-12)
    ridge, folds = RidgeCV(PENALTIES, alpha_per_target=True), KFold(FOLDS, shuffle=True, random_state=0)
    return cross_val_score(ridge, features, labels, scoring=score, cv=folds, error_score="raise")


def run_probes(networks: dict[str, object], probes: list[Probe], split: str, batch_size: int) -> list[Result]:
    """
    Scores of all probes.

    Args:
        networks: concept models with one tokenizer, by name.
        split: of the data.
        batch_size: texts at a time.

    Returns:
        For each probe and features (the mean concept, or all concepts), under the task `probe: <name>, <features>`, a
        result of each system with the standard deviation over folds. The majority class has the score of a prediction
        that ignores the text.
    """
    results, tokenizer = [], next(iter(networks.values())).tokenizer
    for probe in tqdm(probes, desc="probes", leave=False):
        texts = tokenizer.batch_decode(probe.rows, skip_special_tokens=True)
        bag_of_words = fit_bag_of_words(texts).transform(texts).toarray()
        concepts = {name: encode_ids(model, probe.rows, batch_size) for name, model in networks.items()}
        pooled = {name: found.mean(dim=1).double().numpy() for name, found in concepts.items()}
        whole = {name: found.flatten(1).double().numpy() for name, found in concepts.items()}
        for features, vectors in {"pooled": pooled, "all concepts": whole}.items():
            task = f"probe: {probe.name}, {features}"
            for system, found in {**vectors, BAG_OF_WORDS: bag_of_words}.items():
                scores = cross_validate(found, probe.labels)
                mean, deviation = float(np.nanmean(scores)), float(np.nanstd(scores))
                results.append(Result(task, split, "auc", system, mean, deviation, len(texts)))
            results.append(Result(task, split, "auc", MAJORITY, 0.5, None, len(texts)))
    return results
