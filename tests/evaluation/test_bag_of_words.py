# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Bags of words of any text: scikit-learn's where words have spaces between, characters in scripts without spaces."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from trainers.evaluation.bag_of_words import fit_bag_of_words, pair_features

from ..conftest import TEXTS


def test_texts_with_spaces_are_counted_as_by_scikit_learn():
    texts = [*TEXTS, "", "Zażółć gęślą jaźń 2026", "naïve_x"]
    expected = TfidfVectorizer(sublinear_tf=True).fit(texts)
    found = fit_bag_of_words(texts)
    assert found.vocabulary_ == expected.vocabulary_
    np.testing.assert_allclose(found.transform(texts).toarray(), expected.transform(texts).toarray())


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["我爱你。", "他爱你。"], {"我", "爱", "你", "他"}),
        (["我爱 Python", "他 3.11"], {"我", "爱", "python", "他", "11"}),
        (["ฉันรักคุณ"], {"ฉั", "น", "รั", "ก", "คุ", "ณ"}),
        (["हिन्दी में"], {"हिन्दी", "में"}),
    ],
)
def test_texts_in_scripts_without_spaces_are_counted_by_characters(texts, words):
    assert set(fit_bag_of_words(texts).vocabulary_) == words


@pytest.mark.parametrize("texts", [[], [""], [" ", "\n\t"], ["?!"]])
def test_texts_without_words_are_an_error(texts):
    with pytest.raises(ValueError, match="empty vocabulary"):
        fit_bag_of_words(texts)


def test_pair_features_are_those_of_the_formula():
    a, b = (np.random.default_rng(seed).normal(size=(5, 3)) for seed in (0, 1))
    found = pair_features(sparse.csr_matrix(a), sparse.csr_matrix(b)).toarray()
    np.testing.assert_allclose(found, np.hstack([a, b, abs(a - b), a * b, (a * b).sum(axis=1, keepdims=True)]))
