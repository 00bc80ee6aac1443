# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Zero-shot semantic similarity: correlation of the cosine of two texts' vectors with human scores.

P pairs, T different texts, C concepts, H hidden, D width of vectors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from sentence_transformers.util import pairwise_cos_sim
from tokenizers import Tokenizer

from ..data.texts import as_texts, load_split
from ..models.untrained import UntrainedError, untrained_like
from ..utils.errors import UNREADABLE, first_line
from .bag_of_words import bag_of_words_vectors
from .results import BAG_OF_WORDS, MAJORITY, UNTRAINED, Result


# Data sets of the Hub by the name of the task.
STS_DATASETS = {
    "stsb": "mteb/stsbenchmark-sts",
    "sickr": "mteb/sickr-sts",
    **{f"sts{year}": f"mteb/sts{year}-sts" for year in range(12, 17)},
}

# Known columns of two texts and their score, in order of preference.
LAYOUTS = (
    ("sentence1", "sentence2", "score"),
    ("sentence1", "sentence2", "label"),
    ("sentence_A", "sentence_B", "relatedness_score"),
    ("text1", "text2", "score"),
)

METRICS = ("spearman", "pearson")

TOKEN_TABLE = "token table"

OWN = "mean"  # name of the pooling whose metrics carry no suffix


# -- pairs


@dataclass(frozen=True)
class TextPairs:
    """
    Args:
        task: name in results.
        source: Hub id, folder or file.
        split: of the source.
        first, second: P texts each.
        scores: P human scores, float64 [P], on any scale.

    Raises:
        ValueError: a score is missing, or all scores are equal, as hidden ones are.
    """

    task: str
    source: str
    split: str
    first: list[str]
    second: list[str]
    scores: np.ndarray

    def __post_init__(self):
        if not np.isfinite(self.scores).all():
            row = int(np.argmin(np.isfinite(self.scores))) + 1
            raise ValueError(f"Row {row:,} of {self} has no score.")
        if len(set(self.scores)) < 2:
            raise ValueError(f"All scores of {self} are equal, as hidden ones are; choose another --split or file.")

    @property
    def texts(self) -> list[str]:
        """The T different texts."""
        return sorted({*self.first, *self.second})

    def __str__(self):
        return f"{self.task} ({self.split} of {self.source}, {len(self.scores):,} pairs)"


def load_pairs(
    source: str, config: str | None = None, split: str | None = None, task: str | None = None, limit: int | None = None
) -> TextPairs:
    """
    Pairs of a data set or file, whose columns are one of `LAYOUTS`.

    Args:
        source, config, split: as in [`load_split`]; test, or validation where there is no test, by default.
        task: name in results; the configuration, or the last part of `source`, by default.
        limit: number of pairs, the first ones; all by default.

    Raises:
        ValueError: no such data, configuration or split; unknown columns; scores that are no numbers, or are hidden.
    """
    data, split = load_split(source, config, (split,) if split else ("test", "validation"))
    names = data.column_names
    columns = next((columns for columns in LAYOUTS if set(columns) <= set(names)), None)
    if columns is None:
        raise ValueError(f"{source}: its columns {names} are of no known layout; name them text1, text2 and score.")
    first, second, score = columns
    rows = as_texts(data, [first, second], [score], f"pairs of {source}")[:limit]
    name = task or config or Path(source).name.split(".")[0]
    return TextPairs(name, source, split, rows[first], rows[second], np.array(rows[score], dtype=float))


# -- vectors


def concept_vectors(model, batch_size: int, texts: list[str]) -> dict[str, torch.Tensor]:
    """
    Vectors of texts [T, D], float32 on the CPU, by the name of the pooling: the mean of all concepts, which is the
    sentence vector of a checkpoint (`OWN`), all concepts in a row, and means of the first concepts. Texts longer than
    the model allows are truncated.
    """
    concepts = model.encode(texts, batch_size, truncation=True, show_progress_bar=True).concepts  # [T, C, H]
    counts = (count for count in (1, 4, 8) if count < concepts.shape[1])
    first = {f"first {count}": concepts[:, :count].mean(dim=1) for count in counts}
    return {OWN: concepts.mean(dim=1), "matrix": concepts.flatten(1), **first}


def token_vectors(model, texts: list[str]) -> torch.Tensor:
    """Mean of the model's input embeddings of a text's tokens without special ones: [T, D]; zero for a text without
    tokens. Texts are truncated as for the model."""
    tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    tokenizer.enable_truncation(model.config.max_sequence_length)
    table = StaticEmbedding(tokenizer, model.get_input_embeddings().weight.detach().float().cpu())
    return SentenceTransformer(modules=[table], device="cpu").encode(texts, convert_to_tensor=True)


def load_sentence_model(path: str, **options) -> SentenceTransformer:
    """Any SentenceTransformer, folder or Hub id, made with `options`; ValueError if it cannot be read."""
    try:
        return SentenceTransformer(path, **options)
    except UNREADABLE as error:
        raise ValueError(f"The SentenceTransformer {path!r} cannot be read: {first_line(error)}") from error


def sentence_model_vectors(model: SentenceTransformer, batch_size: int, texts: list[str]) -> torch.Tensor:
    """Vectors [T, D] of a SentenceTransformer, float32 on the CPU."""
    return model.encode(texts, batch_size=batch_size, show_progress_bar=True, convert_to_tensor=True).float().cpu()


def count_truncated(model, texts: list[str]) -> int:
    """Number of texts that are longer than the model allows."""
    rows = model.tokenizer(texts, verbose=False)["input_ids"]
    return sum(len(row) > model.config.max_sequence_length for row in rows)


# -- scores


def correlations(pairs: TextPairs, vectors: torch.Tensor) -> dict[str, float]:
    """
    Spearman and Pearson correlations of cosines with human scores, by `METRICS`; 0 where all cosines are equal.

    Args:
        vectors: [T, D] of the texts of the pairs, dense or sparse.

    Raises:
        ValueError: vectors that are not finite.
    """
    places = {text: place for place, text in enumerate(pairs.texts)}
    sides = [torch.tensor([places[text] for text in side]) for side in (pairs.first, pairs.second)]
    with torch.sparse.check_sparse_tensor_invariants():
        cosines = pairwise_cos_sim(*(vectors.index_select(0, side) for side in sides)).numpy()
    if not np.isfinite(cosines).all():
        raise ValueError(f"Vectors of texts of {pairs.task} are not finite: the model's weights are broken.")
    values = (correlate(cosines, pairs.scores).statistic for correlate in (spearmanr, pearsonr))
    return {metric: float(np.nan_to_num(value)) for metric, value in zip(METRICS, values)}


def make_systems(
    model, name: str, batch_size: int, seed: int, baselines: dict[str, SentenceTransformer]
) -> dict[str, Callable[[list[str]], dict[str, torch.Tensor] | torch.Tensor]]:
    """
    The systems that are compared, by name: functions from texts to vectors [T, D], or to vectors by pooling.

    Args:
        model: concept encoder; name: in results.
        seed: of the untrained network, which is left out with a printed reason if it cannot be made.
        baselines: other models by name.
    """
    networks = {name: model}
    try:
        networks[UNTRAINED] = untrained_like(model, seed)
    except UntrainedError as error:
        print(error)
    return {
        **{system: partial(concept_vectors, network, batch_size) for system, network in networks.items()},
        TOKEN_TABLE: partial(token_vectors, model),
        BAG_OF_WORDS: bag_of_words_vectors,
        **{system: partial(sentence_model_vectors, encoder, batch_size) for system, encoder in baselines.items()},
    }


def similarity_results(pairs: TextPairs, systems: dict[str, Callable]) -> list[Result]:
    """
    Records of all systems of [`make_systems`], and of the majority class, whose correlation is 0 by definition.
    `spearman` and `pearson` are those of a system's own vectors; a suffix names another pooling, and `centred` vectors
    minus their mean over the different texts of the pairs (dense ones only). Centring uses those texts without scores,
    as tf-idf does.
    """
    found = {}  # correlations by system and suffix
    for system, encode in systems.items():
        by_pooling = encode(pairs.texts)
        for pooling, vectors in (by_pooling if isinstance(by_pooling, dict) else {OWN: by_pooling}).items():
            suffix = "" if pooling == OWN else f", {pooling}"
            found[system, suffix] = correlations(pairs, vectors)
            if not vectors.is_sparse:
                found[system, f"{suffix}, centred"] = correlations(pairs, vectors - vectors.mean(dim=0))
    found[MAJORITY, ""] = dict.fromkeys(METRICS, 0.0)
    return [
        Result(
            pairs.task, pairs.split, metric + suffix, system, values[metric], count=len(pairs.scores),
            primary=metric + suffix == METRICS[0],
        )
        for metric in METRICS
        for (system, suffix), values in found.items()
    ]  # fmt: skip


def averages(results: list[Result]) -> list[Result]:
    """Means over tasks, by metric and system, as records of the task "average"."""
    values = {}
    for result in results:
        values.setdefault((result.metric, result.system, result.primary), []).append(result.value)
    return [
        Result("average", f"{len(found)} tasks", metric, system, sum(found) / len(found), primary=primary)
        for (metric, system, primary), found in values.items()
    ]
