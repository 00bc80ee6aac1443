# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Zero-shot semantic similarity: cosines of text vectors against human scores, with nothing learned.

P pairs, T different texts, C concepts, H hidden, D width of vectors.
"""

import csv
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from scipy.stats import ConstantInputWarning, NearConstantInputWarning
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
from transformers import AutoConfig, AutoModel

import modeling_concept  # noqa: F401 (registers concept models)

from .bag_of_words import NoWordsError, fit_bag_of_words
from .data import UNREADABLE, as_texts, first_line, load_files, load_named
from .results import BAG_OF_WORDS, MAJORITY, UNTRAINED, Result
from .script import CONCEPT_MODEL_TYPES
from .untrained import UntrainedError, untrained_like


TASKS = {
    "stsb": "mteb/stsbenchmark-sts",
    "sickr": "mteb/sickr-sts",
    **{f"sts{year}": f"mteb/sts{year}-sts" for year in range(12, 17)},
}

# Columns of two texts, and the names that the column of their score goes by, the first that is there.
LAYOUTS = {
    ("sentence1", "sentence2"): ("score", "similarity_score", "label"),
    ("sentence_A", "sentence_B"): ("relatedness_score",),
    ("text1", "text2"): ("score",),
}

METRICS = ("spearman", "pearson")

TOKEN_TABLE = "token table"

# How concepts [T, C, H] become vectors [T, D]. Each is evaluated as it is and centred. The first is the sentence
# vector of a checkpoint, whose metrics have no addition to their name.
POOLINGS = {
    "mean": lambda concepts: concepts.mean(dim=1),
    "matrix": lambda concepts: concepts.flatten(1),
}
OWN = next(iter(POOLINGS))


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
            raise ValueError(f"Rows of {self} have no score.")
        if len(set(self.scores)) < 2:
            raise ValueError(
                f"All scores of {self} are equal, as where they are hidden; choose another split by --split, or "
                "another file."
            )

    @property
    def texts(self) -> list[str]:
        """The T different texts."""
        return sorted({*self.first, *self.second})

    def __str__(self):
        return f"{self.task} ({self.split} of {self.source}, {len(self.scores):,} pairs)"


def load_pairs(
    source: str,
    config: str | None = None,
    split: str | None = None,
    text_columns: str | None = None,
    score_column: str | None = None,
    limit: int | None = None,
    task: str | None = None,
) -> TextPairs:
    """
    Pairs of a data set.

    Args:
        source, config: Hub id or local folder, and its configuration.
        split: test, or validation where there is no test, by default.
        text_columns, score_column: as in [`find_columns`].
        limit: use only so many of the first rows.
        task: name in results; the configuration, or the last part of `source`, by default.

    Raises:
        ValueError: no such data, configuration, split or column; scores that are no numbers, or are hidden.
    """
    data = load_named(source, config, {"streaming": False})
    wanted = ("test", "validation") if split is None else (split,)
    found = [name for name in wanted if name in data]
    if not found:
        raise ValueError(f"{source} has no split {' or '.join(wanted)}, only {list(data)}; choose one by --split.")
    names = (task or config or Path(source).name, source, found[0])
    return pairs_of_rows(data[found[0]], names, text_columns, score_column, limit)


def pairs_of_rows(
    rows: Dataset, names: tuple[str, str, str], text_columns: str | None, score_column: str | None, limit: int | None
) -> TextPairs:
    """The pairs in rows; `names` are their task, source and split, the others as in [`load_pairs`]."""
    try:
        first, second, score = find_columns(rows.column_names, text_columns, score_column)
    except ValueError as error:
        raise ValueError(f"{names[1]}: {error}") from error
    kept = [score] if score not in (first, second) else []
    rows = as_texts(rows, dict.fromkeys((first, second)), kept, f"pairs of {names[1]}")[:limit]
    try:
        scores = np.asarray(rows[score], dtype=float)
    except (ValueError, TypeError) as error:
        raise ValueError(f"The column {score!r} of {names[1]} does not hold numbers: {error}.") from error
    return TextPairs(*names, rows[first], rows[second], scores)


def find_columns(
    names: list[str], text_columns: str | None = None, score_column: str | None = None
) -> tuple[str, str, str]:
    """
    Columns of the first text, the second text and the score.

    Args:
        names: of all columns.
        text_columns: the two texts' with a comma between; those of one of `LAYOUTS` by default.
        score_column: by default as those layouts name it.

    Raises:
        ValueError: a column is not there, or nothing known is.
    """
    texts = None if text_columns is None else tuple(name.strip() for name in text_columns.split(","))
    if texts is None:
        texts = next((known for known in LAYOUTS if set(known) <= set(names)), ())
    elif len(texts) != 2:
        raise ValueError(f"--text_column_names takes two names with a comma between, not {text_columns!r}.")
    if score_column is None:
        score_column = next((name for name in LAYOUTS.get(texts, ()) if name in names), None)
    if not texts or score_column is None:
        raise ValueError(
            f"The columns {names} are no known layout of two texts and a score; give --text_column_names a,b and "
            "--label_column_name s."
        )
    columns = (*texts, score_column)
    if missing := [name for name in columns if name not in names]:
        raise ValueError(f"There are no columns {missing}; the columns are {names}.")
    return columns


def read_pairs_file(
    path: str, text_columns: str | None = None, score_column: str | None = None, limit: int | None = None
) -> TextPairs:
    """
    Pairs of a tsv file (in which quotes mean nothing) or a csv file, in UTF-8: two texts and a score in each line, or
    any columns below a header that names them. Empty lines are passed over. Any other file with columns that
    [`load_files`] knows does as well.

    Args:
        text_columns, score_column: as in [`find_columns`], for files with a header.
        limit: use only so many of the first lines.

    Raises:
        ValueError: no such file, one that cannot be read, a header without the columns, or a line that has other
            columns or no score; the message names the file and the line.
    """
    file = Path(path)
    options = {
        ".tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE},
        ".csv": {"delimiter": ",", "strict": True},
    }.get(file.suffix.lower())
    if options is None or not file.is_file():
        rows = load_files({"pairs": path}, {})["pairs"]
        return pairs_of_rows(rows, (file.name.split(".")[0], path, "all"), text_columns, score_column, limit)
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, **options)
        try:
            lines = [(reader.line_num, row) for row in reader if row]
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}.") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"The file {path} cannot be read: {first_line(error)}") from error
    if not lines:
        raise ValueError(f"The file {path} is empty.")
    number, head = lines[0]
    named = text_columns is not None or score_column is not None
    if not named and len(head) == 3 and is_number(head[2]):
        places = (0, 1, 2)
    else:
        try:
            places = tuple(map(head.index, find_columns(head, text_columns, score_column)))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: no pair with a score, and as a header: {error}") from error
        lines = lines[1:]
    rows = []
    for number, row in lines[:limit]:
        if len(row) != len(head):
            raise ValueError(f"{path}, line {number}: {len(row)} columns instead of {len(head)}.")
        first, second, score = (row[place] for place in places)
        if not is_number(score):
            raise ValueError(f"{path}, line {number}: the score {score!r} is not a number.")
        rows.append((first, second, float(score)))
    first, second, scores = ([row[place] for row in rows] for place in range(3))
    if missing := sum(not text for text in (*first, *second)):
        print(f"{path}: {missing:,} of {2 * len(rows):,} texts are missing and count as empty.")
    return TextPairs(file.stem, path, "all", first, second, np.asarray(scores))


def is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


# -- vectors


def load_encoder(path: str):
    """
    The concept encoder of a checkpoint, folder or Hub id, in eval mode, with its own tokenizer.

    Raises:
        ValueError: it cannot be read, holds no concept model, or has no tokenizer.
    """
    try:
        config = AutoConfig.from_pretrained(path)
        if config.model_type in CONCEPT_MODEL_TYPES:
            model = AutoModel.from_pretrained(path, config=config).eval()
            model.tokenizer = model.tokenizer  # read, and checked, before anything is computed
            return model
    except UNREADABLE as error:
        raise ValueError(f"The checkpoint {path!r} cannot be read: {first_line(error)}") from error
    raise ValueError(
        f"{path} holds a model of the type {config.model_type!r}, not a concept encoder; other models stand beside "
        "one by --baseline_models."
    )


def choose_poolings(names: Iterable[str], first_k: list[int] | None, concept_num: int) -> dict[str, Callable]:
    """
    Entries of `POOLINGS`, and the means of the first k concepts.

    Args:
        first_k: values of k; those of 1, 4 and 8 that are less than `concept_num` when None.
        concept_num: C.

    Raises:
        ValueError: an unknown name, or a k that is not between 1 and C.
    """
    if unknown := [name for name in names if name not in POOLINGS]:
        raise ValueError(f"Unknown pooling {unknown[0]!r}; choose among {list(POOLINGS)}.")
    if first_k is None:
        first_k = [k for k in (1, 4, 8) if k < concept_num]
    if wrong := [k for k in first_k if not 1 <= k <= concept_num]:
        raise ValueError(f"--first_k must lie between 1 and the model's {concept_num} concepts, not be {wrong[0]}.")
    chosen = {name: POOLINGS[name] for name in names}
    return chosen | {f"first {k}": partial(mean_of_first, k) for k in first_k}


def mean_of_first(count: int, concepts: torch.Tensor) -> torch.Tensor:
    """Mean of the first `count` of C concepts: [T, C, H] -> [T, H]."""
    return concepts[:, :count].mean(dim=1)


def concept_vectors(
    model, poolings: dict[str, Callable], batch_size: int, texts: list[str]
) -> dict[str, torch.Tensor]:
    """
    Vectors of texts [T, D], float32 on the CPU, by pooling. Texts longer than the model allows are cut. Concepts are
    pooled batch by batch, so that of each pooling only T·D numbers are held.
    """
    vectors = {}
    with model.reading():
        for places, batch in model.text_batches(texts, batch_size, truncation=True, show_progress_bar=True):
            concepts = model.base_model(**batch).last_hidden_state.float().cpu()
            for name, pooling in poolings.items():
                pooled = pooling(concepts)
                if name not in vectors:
                    vectors[name] = pooled.new_empty(len(texts), pooled.shape[1])
                vectors[name][places] = pooled
    return vectors


def token_vectors(model, texts: list[str]) -> torch.Tensor:
    """Mean of the rows of the model's token table at a text's tokens without special ones, and without any encoder:
    [T, D]; zero for a text without tokens. Long texts are cut as for the model."""
    rows = model.tokenizer(
        texts, add_special_tokens=False, truncation=True, max_length=model.config.max_sequence_length
    )["input_ids"]
    table = model.get_input_embeddings().weight.detach().float().cpu()
    starts = torch.tensor([0, *accumulate(map(len, rows[:-1]))])
    tokens = torch.tensor([token for row in rows for token in row], dtype=torch.long)
    return F.embedding_bag(tokens, table, starts, mode="mean")


def bag_of_words_vectors(texts: list[str]) -> torch.Tensor:
    """tf-idf as in [`fit_bag_of_words`], fitted on the texts themselves: sparse [T, D]."""
    found = fit_bag_of_words(texts).transform(texts).tocoo()
    places = torch.from_numpy(np.stack([found.row, found.col])).long()
    return torch.sparse_coo_tensor(places, torch.from_numpy(found.data).float(), found.shape, check_invariants=True)


def load_sentence_model(path: str, trust_remote_code: bool = False) -> SentenceTransformer:
    """Any SentenceTransformer, folder or Hub id; ValueError if it cannot be read."""
    try:
        return SentenceTransformer(path, trust_remote_code=trust_remote_code)
    except UNREADABLE as error:
        raise ValueError(f"The SentenceTransformer {path!r} cannot be read: {first_line(error)}") from error


def sentence_model_vectors(model: SentenceTransformer, batch_size: int, texts: list[str]) -> torch.Tensor:
    """The model's own vectors [T, D]."""
    return model.encode(texts, batch_size=batch_size, show_progress_bar=True, convert_to_tensor=True).float().cpu()


def count_cut(model, texts: list[str]) -> int:
    """How many texts are longer than the model allows."""
    rows = model.tokenizer(texts, verbose=False)["input_ids"]
    return sum(len(row) > model.config.max_sequence_length for row in rows)


# -- scores


class TextVectors:
    """Vectors [T, D] of texts, in the form in which sentence-transformers' evaluators ask a model for them."""

    similarity_fn_name = "cosine"
    model_card_data = SimpleNamespace(set_evaluation_metrics=lambda *arguments: None)

    def __init__(self, texts: list[str], vectors: torch.Tensor):
        self.places, self.vectors = {text: place for place, text in enumerate(texts)}, vectors

    def encode(self, sentences: list[str], **options) -> torch.Tensor:
        return self.vectors.index_select(0, torch.tensor([self.places[sentence] for sentence in sentences]))


def correlations(pairs: TextPairs, texts: list[str], vectors: torch.Tensor) -> dict[str, float]:
    """
    Spearman and Pearson correlations of cosines with human scores, by `METRICS`; 0 where all cosines are equal.

    Args:
        texts: T texts, among them all of the pairs.
        vectors: [T, D], dense or sparse.

    Raises:
        ValueError: vectors that are not finite.
    """
    values = vectors.coalesce().values() if vectors.is_sparse else vectors
    if not torch.isfinite(values).all():
        raise ValueError(f"Vectors of texts of {pairs.task} are not finite: the model's weights are broken.")
    evaluator = EmbeddingSimilarityEvaluator(
        pairs.first, pairs.second, pairs.scores.tolist(), main_similarity="cosine", write_csv=False
    )
    with warnings.catch_warnings(), torch.sparse.check_sparse_tensor_invariants():
        for category in (ConstantInputWarning, NearConstantInputWarning):
            warnings.simplefilter("ignore", category)
        found = evaluator(TextVectors(texts, vectors))
    values = {metric: float(found[f"{metric}_cosine"]) for metric in METRICS}
    return {metric: 0.0 if math.isnan(value) else value for metric, value in values.items()}


def make_systems(
    model,
    name: str,
    poolings: dict[str, Callable],
    batch_size: int,
    seed: int,
    baselines: dict[str, SentenceTransformer],
) -> dict[str, Callable[[list[str]], dict[str, torch.Tensor]]]:
    """
    What is compared: by name a function from texts to vectors [T, D] by pooling, `OWN` where there are no concepts.

    Args:
        model: concept encoder; name: in results.
        seed: of the untrained network.
        baselines: other models by name.

    Raises:
        ValueError: two systems of one name.
    """
    try:
        untrained = partial(concept_vectors, untrained_like(model, seed), poolings, batch_size)
    except UntrainedError as error:
        untrained = partial(raise_again, error)
    parts = [
        (name, partial(concept_vectors, model, poolings, batch_size)),
        (UNTRAINED, untrained),
        (TOKEN_TABLE, lambda texts: {OWN: token_vectors(model, texts)}),
        (BAG_OF_WORDS, lambda texts: {OWN: bag_of_words_vectors(texts)}),
        *(
            (other, lambda texts, encoder=encoder: {OWN: sentence_model_vectors(encoder, batch_size, texts)})
            for other, encoder in baselines.items()
        ),
    ]
    systems = dict(parts)
    if len(systems) < len(parts) or MAJORITY in systems:
        raise ValueError(f"Two systems have one name among {[*systems, MAJORITY]}; rename a model's folder.")
    return systems


def raise_again(error: Exception, texts: list[str]):
    """Stands for a system that cannot be made."""
    raise error


def similarity_results(pairs: TextPairs, systems: dict[str, Callable]) -> list[Result]:
    """
    Records of all systems of `make_systems`, and of the majority class: one score for every pair, whose correlation
    is 0 by definition. `spearman` and `pearson` are those of a system's own vectors, with `matrix` after a comma those
    of that pooling, with `centred` those of centred vectors (dense ones only).

    Centred vectors have the mean over the different texts of the pairs subtracted, which uses those texts, without
    scores; so does tf-idf. The numbers of a bag of words or an untrained network that cannot be made are nan, and the
    reason is printed.
    """
    texts, results = pairs.texts, []

    def record(system, found, *additions):
        for metric, value in found.items():
            name = ", ".join((metric, *additions))
            primary = name == METRICS[0]
            results.append(Result(pairs.task, pairs.split, name, system, value, None, len(pairs.scores), primary))

    for system, encode in systems.items():
        try:
            by_pooling = encode(texts)
        except (NoWordsError, UntrainedError) as error:
            print(f"{system}: not defined on {pairs.task} ({error}).")
            record(system, dict.fromkeys(METRICS, math.nan))
            continue
        for pooling, vectors in by_pooling.items():
            additions = () if pooling == OWN else (pooling,)
            record(system, correlations(pairs, texts, vectors), *additions)
            if not vectors.is_sparse:
                centred = vectors - vectors.mean(dim=0)
                record(system, correlations(pairs, texts, centred), *additions, "centred")
    record(MAJORITY, dict.fromkeys(METRICS, 0.0))
    return sorted(results, key=lambda result: METRICS.index(result.metric.split(",")[0]))


def averages(results: list[Result]) -> list[Result]:
    """Means over tasks, by metric and system, as records of the task "average"."""
    found = {}
    for result in results:
        found.setdefault((result.metric, result.system, result.primary), []).append(result.value)
    return [
        Result("average", f"{len(values)} tasks", metric, system, sum(values) / len(values), primary=primary)
        for (metric, system, primary), values in found.items()
    ]
