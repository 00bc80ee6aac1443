# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The tf-idf baseline of all evaluations: bags of words of texts in any language, and features of pairs of vectors.

T texts, P pairs, V words, D width of vectors.
"""

from collections.abc import Iterable

import numpy as np
import regex
import torch
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer


# A word is a run of at least two letters or digits with their marks, as in scikit-learn; in scripts that are written
# without spaces between words, each character is one.
UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
WORD = regex.compile(rf"(?={UNSPACED})\X|(?:(?!{UNSPACED})[\w\p{{M}}]){{2,}}")

# A grapheme: an emoji with its modifiers is one.
CHARACTER = regex.compile(r"(?!\s)\X")


class NoWordsError(ValueError):
    """All texts are empty, so that they have no bag of words."""


def fit_bag_of_words(texts: Iterable[str]) -> TfidfVectorizer:
    """
    tf-idf with logarithmic counts, fitted on `texts`; `transform` gives sparse rows [T, V] of length 1. If most of the
    texts have no word of two characters (emoji, `a b`), every character counts as a word.

    Raises:
        NoWordsError: all texts are empty.
    """
    texts = list(texts)
    with_characters = sum(bool(text.strip()) for text in texts)
    if not with_characters:
        raise NoWordsError("all texts are empty")
    with_words = sum(WORD.search(text) is not None for text in texts)
    pattern = WORD if 2 * with_words > with_characters else CHARACTER
    return TfidfVectorizer(sublinear_tf=True, tokenizer=pattern.findall, token_pattern=None).fit(texts)


def bag_of_words_vectors(texts: list[str]) -> torch.Tensor:
    """tf-idf of texts, fitted on the same texts: a sparse tensor [T, V]."""
    rows = fit_bag_of_words(texts).transform(texts).tocoo()
    places = torch.from_numpy(np.stack([rows.row, rows.col])).long()
    return torch.sparse_coo_tensor(places, torch.from_numpy(rows.data).float(), rows.shape, check_invariants=True)


def pair_features(first, second, similarity: np.ndarray | None = None):
    """
    [first; second; |first - second|; first * second; similarity] of pairs of vectors, for a linear classifier.

    Args:
        first, second: [P, D], numpy arrays or sparse matrices.
        similarity: [P]; the inner products by default.

    Returns:
        [P, 4 D + 1] of the same kind.
    """
    stack = sparse.hstack if sparse.issparse(first) else np.hstack
    product = first.multiply(second) if sparse.issparse(first) else first * second
    if similarity is None:
        similarity = np.asarray(product.sum(axis=1))
    features = stack([first, second, abs(first - second), product, similarity.reshape(-1, 1)])
    return features.tocsr() if sparse.issparse(features) else features
