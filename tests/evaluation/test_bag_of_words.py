# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Bags of words of any text: scikit-learn's where words have spaces between, characters elsewhere."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from trainers.evaluation.bag_of_words import NoWordsError, fit_bag_of_words, pair_features

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
        (["a b", "b c"], {"a", "b", "c"}),
        (["😀👍🏽", "😀 👨‍👩‍👧"], {"😀", "👍🏽", "👨‍👩‍👧"}),
        (["😀", "🙃", "😀 well"], {"😀", "🙃", "w", "e", "l"}),
        (["?!"], {"?", "!"}),
    ],
)
def test_other_texts_are_counted_by_characters(texts, words):
    assert set(fit_bag_of_words(texts).vocabulary_) == words


@pytest.mark.parametrize("texts", [[], [""], [" ", "\n\t"]])
def test_nothing_at_all_is_a_short_reason(texts):
    with pytest.raises(NoWordsError, match="^all texts are empty$"):
        fit_bag_of_words(texts)


def test_pair_features_are_the_same_dense_and_sparse():
    queries, documents = (np.random.default_rng(seed).normal(size=(5, 3)) for seed in (0, 1))
    similarity = np.arange(5.0)
    dense = pair_features(queries, documents, similarity)
    found = pair_features(sparse.csr_matrix(queries), sparse.csr_matrix(documents), similarity)
    np.testing.assert_allclose(dense, found.toarray())
    np.testing.assert_allclose(dense[2], [*queries[2], *documents[2], *abs(queries[2] - documents[2]),
                                          *(queries[2] * documents[2]), 2.0])  # fmt: skip
    cosines = pair_features(queries, documents)[:, -1]
    np.testing.assert_allclose(cosines, (queries * documents).sum(axis=1))
    np.testing.assert_allclose(pair_features(*map(sparse.csr_matrix, (queries, documents))).toarray()[:, -1], cosines)
