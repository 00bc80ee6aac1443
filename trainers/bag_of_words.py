# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Bags of words (tf-idf) of texts in any language."""

from collections.abc import Iterable

import regex
from sklearn.feature_extraction.text import TfidfVectorizer


# A word is a run of at least two letters or digits with their marks, as in scikit-learn; in scripts that are written
# without spaces between words, each character is one.
UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
WORD = regex.compile(rf"(?={UNSPACED})\X|(?:(?!{UNSPACED})[\w\p{{M}}]){{2,}}")

# A character as readers see it: an emoji with its modifiers is one.
CHARACTER = regex.compile(r"(?!\s)\X")


class NoWordsError(ValueError):
    """Texts of which no bag of words can be made; the message is a short reason."""


def fit_bag_of_words(texts: Iterable[str]) -> TfidfVectorizer:
    """
    tf-idf with logarithmic counts, fitted on `texts`. Where most of the texts have no word of two characters (emoji,
    `a b`), every character counts as a word.

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
