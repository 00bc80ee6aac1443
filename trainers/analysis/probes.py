# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What can be read off frozen concepts by a linear map (after Conneau et al. 2018, "What you can cram into a single
vector").

Every probe is a ridge regression whose strength is chosen by leave-one-out error inside its training part, and is
scored by cross-validation on texts that it has not seen. Beside the trained network stand the same network untrained,
a bag of words, the same probe on shuffled labels, and what one gets without looking at the text.

T texts, K labels of a text, D features.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import regex
from scipy.stats import rankdata
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, StratifiedKFold
from tqdm.auto import tqdm

from ..bag_of_words import UNSPACED, NoWordsError, fit_bag_of_words
from ..pieces import special_ends
from ..results import BAG_OF_WORDS, MAJORITY, UNTRAINED, Result
from .sample import Sample, encode


SHUFFLED = "shuffled labels"

FOLDS = 4

# Strengths to choose from, for features whose mean squared norm is 1.
STRENGTHS = np.logspace(-4, 2, 7)

# Words whose presence is probed: so many, each in a share of texts between these.
WORDS, RAREST, COMMONEST = 50, 0.02, 0.15

# A word to probe: at least three letters with their marks; one character in scripts without spaces between words.
WORD = regex.compile(rf"(?={UNSPACED})\X|(?:(?!{UNSPACED})[\p{{L}}\p{{M}}]){{3,}}")

POOLINGS = ("pooled", "all concepts")


@dataclass(frozen=True)
class Probe:
    """
    A question about a text.

    Args:
        name: of the question; sentence: the question.
        metric: `r2`, `accuracy`, or `auc`: how often, of two texts with and without, the right one is chosen.
        rows: the texts, token ids.
        labels: [T, K]; numbers, or 0 and 1.
    """

    name: str
    sentence: str
    metric: str
    rows: list[list[int]]
    labels: np.ndarray

    def chance(self) -> float:
        """The score of an answer that does not depend on the text."""
        if self.metric == "accuracy":
            return float(max(self.labels.mean(), 1 - self.labels.mean()))
        return {"r2": 0.0, "auc": 0.5}[self.metric]

    def score(self, labels: np.ndarray, predicted: np.ndarray) -> float:
        """Score of predictions for some of the texts; `auc` is averaged over labels that have both values there."""
        if self.metric == "r2":
            return float(r2_score(labels, predicted))
        if self.metric == "accuracy":
            return float(((predicted > 0.5) == labels).mean())
        positive = labels.sum(axis=0)
        pairs = positive * (len(labels) - positive)
        ranks = (rankdata(predicted, axis=0) * labels).sum(axis=0)  # Mann & Whitney 1947
        won = ranks - positive * (positive + 1) / 2
        return float(np.mean(won[pairs > 0] / pairs[pairs > 0])) if pairs.any() else math.nan

    def missing(self) -> str:
        """Why these texts cannot answer the question; empty where they can."""
        if self.metric == "auc":
            share = f"{RAREST:.0%} to {COMMONEST:.0%}"
            return "" if self.labels.size else f"no word occurs in {share} of the {len(self.rows)} texts"
        if self.metric == "r2":
            return "" if np.ptp(self.labels) else "all texts have the same length"
        texts = min(self.labels.sum(), (1 - self.labels).sum())
        return "" if texts >= FOLDS else f"an exchange changes {len(self.rows)} of the texts, which are too few"


def make_probes(sample: Sample, seed: int = 0, tell: Callable[[str], None] = print) -> list[Probe]:
    """
    The questions: how long is the text (of texts cut at random), which words occur, were its halves exchanged, were
    neighbouring words exchanged. In the last two about half of the texts have been changed; their tokens remain the
    same, and texts that an exchange leaves as they are do not take part. A question that these texts cannot answer is
    left out, and `tell` gets the reason.
    """
    draw = random.Random(seed)
    before, after = special_ends(sample.tokenizer)
    bodies = [row[len(before) : len(row) - len(after)] for row in sample.ids.tolist()]
    starts = sample.vocabulary.word_starts(sample.ids)[:, len(before) : sample.ids.shape[1] - len(after)].tolist()

    def whole(body):
        return [*before, *body, *after]

    lengths = [draw.randint(max(1, len(body) // 8), len(body)) for body in bodies]
    cut = [whole(body[:length]) for body, length in zip(bodies, lengths, strict=True)]

    texts = sample.texts()
    words = probed_words(texts)
    occurs = np.array([[word in found for word in words] for found in map(words_of, texts)], dtype=float)

    # Not every second one: texts that lie beside each other resemble each other.
    changed = np.array(draw.sample([place % 2 for place in range(len(bodies))], len(bodies)))
    exchanges = {
        "halves": ("Were the two halves of the text exchanged?", exchange_halves),
        "word order": ("Were neighbouring words exchanged?", exchange_neighbours),
    }
    orders = []
    for name, (sentence, exchange) in exchanges.items():
        exchanged = [exchange(split_words(body, marks)) for body, marks in zip(bodies, starts, strict=True)]
        usable = [place for place, body in enumerate(bodies) if exchanged[place] != body]
        rows = [whole((exchanged if changed[place] else bodies)[place]) for place in usable]
        orders.append(Probe(name, sentence, "accuracy", rows, changed[usable, None].astype(float)))
    probes = [
        Probe("length", "How many tokens has the text?", "r2", cut, np.array(lengths, dtype=float)[:, None]),
        Probe("words", f"Which of {len(words)} words occur in it?", "auc", sample.ids.tolist(), occurs),
        *orders,
    ]
    for probe in probes:
        if reason := probe.missing():
            tell(f"The probe {probe.name!r} is left out: {reason}.")
    return [probe for probe in probes if not probe.missing()]


def words_of(text: str) -> set[str]:
    """Words of a text that can be probed, in lower case."""
    return set(WORD.findall(text.lower()))


def probed_words(texts: Sequence[str]) -> list[str]:
    """Up to `WORDS` words of middle frequency, evenly spread over it; none where no word is."""
    counts = Counter(word for text in texts for word in words_of(text))
    usable = [
        word
        for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if max(RAREST * len(texts), FOLDS) <= count <= COMMONEST * len(texts)
    ]
    return [usable[place * len(usable) // WORDS] for place in range(WORDS)] if len(usable) > WORDS else usable


def split_words(body: list[int], starts: list[bool]) -> list[list[int]]:
    """Tokens grouped into words."""
    words = []
    for token, opens in zip(body, starts, strict=True):
        if opens or not words:
            words.append([])
        words[-1].append(token)
    return words


def exchange_halves(words: list[list[int]]) -> list[int]:
    middle = len(words) // 2
    return [token for word in words[middle:] + words[:middle] for token in word]


def exchange_neighbours(words: list[list[int]]) -> list[int]:
    pairs = [words[place : place + 2][::-1] for place in range(0, len(words), 2)]
    return [token for pair in pairs for word in pair for token in word]


def coordinates(features) -> np.ndarray:
    """
    Features [T, D], dense or sparse, as at most T coordinates with the same inner products, scaled to a mean squared
    norm of 1: ridge regression cannot tell them from the features, and is much faster on them.
    """
    if features.shape[1] > features.shape[0]:
        gram = features @ features.T
        gram = np.asarray(gram.todense() if hasattr(gram, "todense") else gram, dtype=np.float64)
        values, vectors = np.linalg.eigh(gram)
        features = vectors * np.sqrt(values.clip(min=0))
    elif hasattr(features, "todense"):
        features = np.asarray(features.todense())
    return features / max(np.sqrt((features**2).sum(axis=1).mean()), 1e-12)


def cross_validate(probe: Probe, features: np.ndarray, seed: int = 0) -> tuple[list[float], list[float]]:
    """
    Scores of the folds, every text being in the test part of one, and those of the same regression after the labels
    of its training part were shuffled.
    """
    # Equal shares in all parts: else an answer that ignores the text would be wrong more often than right.
    splitter = StratifiedKFold if probe.metric == "accuracy" else KFold
    splits = splitter(FOLDS, shuffle=True, random_state=seed).split(features, probe.labels[:, 0])
    draw, scores, shuffled = np.random.default_rng(seed), [], []
    for train, test in splits:
        labels = probe.labels[train]
        both = np.hstack([labels, draw.permutation(labels)])
        ridge = RidgeCV(STRENGTHS, alpha_per_target=True).fit(features[train], both)
        predicted = np.split(ridge.predict(features[test]), 2, axis=1)
        for found, values in zip((scores, shuffled), predicted, strict=True):
            found.append(probe.score(probe.labels[test], values))
    return scores, shuffled


def concept_features(model, probe: Probe, batch_size: int, description: str) -> dict[str, np.ndarray]:
    """Coordinates of the concepts' mean and of all concepts, by pooling."""
    concepts = encode(model, probe.rows, batch_size, description)
    pooled, flat = concepts.mean(dim=1), concepts.flatten(1)
    return {name: coordinates(values.numpy()) for name, values in zip(POOLINGS, (pooled, flat), strict=True)}


def run_probes(model, untrained, probes: list[Probe], name: str, split: str, batch_size: int) -> list[Result]:
    """
    Scores of all probes.

    Args:
        model, untrained: concept models with tokenizers; `untrained` may be None.
        probes: the questions.
        name: of the model in results.
        split: of the data.
        batch_size: texts at a time.

    Returns:
        For each probe and pooling, under the task `probe: <name>, <pooling>`, a result of each system with the
        standard deviation over folds; that of the majority class is the score by chance.
    """
    results = []
    for probe in tqdm(probes, desc="probes", leave=False):
        texts = model.tokenizer.batch_decode(probe.rows, skip_special_tokens=True)
        of_words = bag_of_words_scores(probe, texts)
        trained = concept_features(model, probe, batch_size, "probes: trained")
        fresh = None if untrained is None else concept_features(untrained, probe, batch_size, "probes: untrained")
        for pooling in POOLINGS:
            own, shuffled = cross_validate(probe, trained[pooling])
            scores = {name: own}
            if fresh is not None:
                scores[UNTRAINED] = cross_validate(probe, fresh[pooling])[0]
            scores |= {BAG_OF_WORDS: of_words, SHUFFLED: shuffled}
            task, count = f"probe: {probe.name}, {pooling}", len(texts)
            results += [
                Result(task, split, probe.metric, system, *mean_and_spread(found), count)
                for system, found in scores.items()
            ]
            results.append(Result(task, split, probe.metric, MAJORITY, probe.chance(), None, count))
    return results


def bag_of_words_scores(probe: Probe, texts: list[str]) -> list[float]:
    """Scores of the folds for tf-idf features; nan, and a printed reason, where there are none."""
    try:
        words = fit_bag_of_words(texts)
    except NoWordsError as error:
        print(f"{BAG_OF_WORDS}: not defined for the probe {probe.name!r} ({error}).")
        return [math.nan]
    return cross_validate(probe, coordinates(words.transform(texts)))[0]


def mean_and_spread(scores: list[float]) -> tuple[float, float | None]:
    """Over the folds in which a score is defined; nan and None where it is in none."""
    defined = [score for score in scores if not math.isnan(score)]
    return (float(np.mean(defined)), float(np.std(defined))) if defined else (math.nan, None)
