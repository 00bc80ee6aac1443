# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Bags of words of any text: scikit-learn's where words have spaces between, characters elsewhere."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from trainers.bag_of_words import NoWordsError, fit_bag_of_words

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
