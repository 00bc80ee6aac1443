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


def fit_bag_of_words(texts: Iterable[str]) -> TfidfVectorizer:
    """tf-idf with logarithmic counts, fitted on `texts`; `transform` gives sparse rows [T, V] of length 1. ValueError
    of scikit-learn if no text has a word."""
    return TfidfVectorizer(sublinear_tf=True, tokenizer=WORD.findall, token_pattern=None).fit(texts)


def bag_of_words_vectors(texts: list[str]) -> torch.Tensor:
    """tf-idf of texts, fitted on the same texts: a sparse tensor [T, V]."""
    rows = fit_bag_of_words(texts).transform(texts).tocoo()
    places = torch.from_numpy(np.stack([rows.row, rows.col])).long()
    return torch.sparse_coo_tensor(places, torch.from_numpy(rows.data).float(), rows.shape, check_invariants=True)


def pair_features(first, second):
    """
    [first; second; |first - second|; first * second; inner product] of pairs of vectors, for a linear classifier.

    Args:
        first, second: sparse matrices [P, D].

    Returns:
        Sparse matrix [P, 4 D + 1].
    """
    product = first.multiply(second)
    similarity = np.asarray(product.sum(axis=1)).reshape(-1, 1)
    return sparse.hstack([first, second, abs(first - second), product, similarity]).tocsr()
