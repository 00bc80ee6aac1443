# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Probes: features whose answer is known, the tasks' texts, and controls that stay at chance."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from trainers.data.tokenizers import train_tokenizer
from trainers.evaluation.analysis.probes import (
    WORD,
    cross_validate,
    exchange_neighbours,
    make_probes,
    mean_auc,
    run_probes,
    word_labels,
)
from trainers.evaluation.analysis.sample import Sample
from trainers.evaluation.results import BAG_OF_WORDS, MAJORITY, UNTRAINED
from trainers.objectives.vocabulary import Vocabulary

from ..trainers.kit import make_model


@pytest.fixture(scope="module")
def probes(sample):
    return {probe.name: probe for probe in make_probes(sample)}


def test_probes_have_the_texts_they_are_about(probes, sample, tokenizer):
    ends = (tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert list(probes) == ["words", "word order"]
    assert all(len(probe.rows) == len(probe.labels) == 72 for probe in probes.values())
    assert all((row[0], row[-1]) == ends for probe in probes.values() for row in probe.rows)
    texts = tokenizer.batch_decode(sample.ids.tolist(), skip_special_tokens=True)
    found = [set(WORD.findall(text.lower())) for text in texts]
    columns = {tuple(word in words for words in found) for word in set().union(*found)}
    assert {tuple(map(bool, column)) for column in probes["words"].labels.T} <= columns
    assert all(0.02 * 72 <= count <= 0.15 * 72 and count >= 4 for count in probes["words"].labels.sum(axis=0))
    changed = probes["word order"].labels[:, 0]
    assert changed.sum() == 36
    for row, text, label in zip(probes["word order"].rows, texts, changed, strict=True):
        original = tokenizer(text, truncation=True, max_length=24)["input_ids"]
        assert sorted(row) == sorted(original), "the same tokens"
        assert (row != original) == bool(label)


def test_exchanges_move_whole_words(tokenizer):
    text = "Unbelievably, the lighthouse slept"
    ids, changed = exchange_neighbours(tokenizer, text, 64)
    assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert "".join(tokenizer.decode(changed).split()) == ",Unbelievablylighthousetheslept"
    assert all(len(tokens) == 4 for tokens in exchange_neighbours(tokenizer, text, 4))


def test_words_of_middle_frequency():
    texts = ["common word"] * 90 + [f"common middle{'a' * (n % 2)}" for n in range(10)]
    middle = [[text.endswith("middle"), text.endswith("middlea")] for text in texts]
    assert np.array_equal(word_labels(texts), np.array(middle, dtype=float))
    assert word_labels(["one text"] * 30).shape == (30, 0)
    names = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(95)]
    many = [" ".join(names[place : place + 5]) for place in range(90)]
    labels = word_labels(many)
    assert labels.shape == (90, 50) and set(labels.sum(axis=0)) <= {4, 5}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The old man's boat, 2026, x_yz", {"the", "old", "man", "boat"}),
        ("Żółta łódź śpi", {"żółta", "łódź", "śpi"}),
        ("我爱 Python。", {"我", "爱", "python"}),
        ("हिन्दी", {"हिन्दी"}),
        ("😀 42 !?", set()),
    ],
)
def test_words_in_any_script(text, words):
    assert set(WORD.findall(text.lower())) == words


def probes_of(text, length=12):
    """Probes of 60 pieces of a text."""
    tokenizer = train_tokenizer([text], vocab_size=300, max_length=64)
    stream = tokenizer(text, add_special_tokens=False)["input_ids"] * 2000
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    pieces = [[cls, *stream[length * place : length * place + length], sep] for place in range(60)]
    return make_probes(Sample(torch.tensor(pieces), Vocabulary.of(tokenizer)))


@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        (" ".join(random.Random(0).choices(("one", "and", "all"), k=2000)), {"words"}),
        ("a" * 2000, {"words", "word order"}),
    ],
)
def test_probes_that_texts_do_not_allow_are_left_out(text, left_out):
    assert {probe.name for probe in probes_of(text)} == {"words", "word order"} - left_out


def test_what_is_there_is_found_and_shuffled_labels_are_not():
    draw = np.random.default_rng(0)
    features = draw.normal(size=(400, 8))
    labels = (features[:, :2] @ draw.normal(size=(2, 3)) + 0.1 * draw.normal(size=(400, 3)) > 0).astype(float)
    assert cross_validate(features, labels).min() > 0.85
    assert np.allclose(cross_validate(1000 * features, labels), cross_validate(features, labels)), (
        "scale has no effect"
    )
    assert cross_validate(features, draw.permutation(labels)).mean() == pytest.approx(0.5, abs=0.1)
    assert np.isnan(mean_auc(np.zeros((20, 1)), np.zeros((20, 1))))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 30))
def test_auc_is_that_of_scikit_learn_averaged_over_labels_with_both_values(seed, texts):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, size=(texts, 3)).astype(float)
    labels[:2, 0], labels[:, 1] = (0, 1), 0
    predicted = draw.integers(0, 4, size=(texts, 3)) / 4  # with ties
    mixed = [k for k in range(3) if 0 < labels[:, k].sum() < texts]
    reference = np.mean([roc_auc_score(labels[:, k], predicted[:, k]) for k in mixed])
    assert mean_auc(labels, predicted) == pytest.approx(reference)


def test_all_systems_stand_beside_each_other(probes, tokenizer):
    model = make_model("perceiver_posonly_mlm", tokenizer, hidden_size=16)
    model.tokenizer = tokenizer
    results = run_probes({"mine": model, UNTRAINED: model}, list(probes.values()), "validation", 32)
    assert len(results) == 2 * 2 * 4
    values = {(result.task, result.system): result for result in results}
    for pooling in ("pooled", "all concepts"):
        task = f"probe: words, {pooling}"
        assert values[task, "mine"].value == values[task, UNTRAINED].value  # the same network here
        assert values[task, MAJORITY].value == 0.5 and values[task, "mine"].spread is not None
        # A bag of words cannot see order.
        assert values[f"probe: word order, {pooling}", BAG_OF_WORDS].value == pytest.approx(0.5, abs=0.2)
        assert values[task, BAG_OF_WORDS].value > 0.8
