# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Probes: features whose answer is known, the tasks' texts, and controls that stay at chance."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from trainers.data.tokenizers import train_tokenizer
from trainers.evaluation.analysis.probes import (
    Probe,
    coordinates,
    cross_validate,
    exchange_neighbours,
    make_probes,
    probed_words,
    run_probes,
    split_words,
    words_of,
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
    texts = sample.texts()
    words = probed_words(texts)
    for text, labels in zip(texts, probes["words"].labels, strict=True):
        assert {word for word, label in zip(words, labels, strict=True) if label} == words_of(text) & set(words)
    changed = probes["word order"].labels[:, 0]
    assert changed.sum() == 36
    for row, text, label in zip(probes["word order"].rows, texts, changed, strict=True):
        original = tokenizer(text, truncation=True, max_length=24)["input_ids"]
        assert sorted(row) == sorted(original), "the same tokens"
        assert (row != original) == bool(label)


def test_exchanges_move_whole_words(tokenizer):
    assert exchange_neighbours([[1], [2, 3], [4], [5], [6]]) == [2, 3, 1, 5, 4, 6]
    words = split_words(tokenizer, "Unbelievably, the lighthouse slept", 64)
    assert [tokenizer.decode(word).strip() for word in words] == ["Unbelievably", ",", "the", "lighthouse", "slept"]
    assert sum(map(len, split_words(tokenizer, "Unbelievably, the lighthouse slept", 4))) == 4


def test_words_of_middle_frequency():
    texts = ["common word"] * 90 + [f"common middle{'a' * (n % 2)}" for n in range(10)]
    assert probed_words(texts) == ["middle", "middlea"]
    assert probed_words(["one text"] * 30) == []


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
    assert words_of(text) == words


def probes_of(text, length=12):
    """Probes of 60 pieces of a text, and what is said of those that are left out."""
    tokenizer = train_tokenizer([text], vocab_size=300, max_length=64)
    stream = tokenizer(text, add_special_tokens=False)["input_ids"] * 2000
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    pieces = [[cls, *stream[length * place : length * place + length], sep] for place in range(60)]
    told = []
    return make_probes(Sample(torch.tensor(pieces), Vocabulary.of(tokenizer), "validation"), 0, told.append), told


@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        (" ".join(random.Random(0).choices(("one", "and", "all"), k=2000)), {"words"}),
        ("a" * 2000, {"words", "word order"}),
    ],
)
def test_probes_that_texts_do_not_allow_are_left_out(text, left_out):
    probes, reasons = probes_of(text)
    assert {probe.name for probe in probes} == {"words", "word order"} - left_out
    assert len(reasons) == len(left_out) and all(any(name in line for line in reasons) for name in left_out)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_coordinates_keep_inner_products_so_that_ridge_is_the_same(form):
    draw = np.random.default_rng(0)
    features = draw.normal(size=(30, 50)) * (draw.random((30, 50)) < 0.3)
    scale = np.sqrt((features**2).sum(axis=1).mean())
    found = coordinates(form(features))
    assert found.shape == (30, 30)
    assert np.allclose(found @ found.T, features @ features.T / scale**2)
    labels = draw.normal(size=30)
    reference = Ridge(0.1).fit(features[:20] / scale, labels[:20]).predict(features[20:] / scale)
    assert np.allclose(Ridge(0.1).fit(found[:20], labels[:20]).predict(found[20:]), reference)


def test_what_is_there_is_found_and_shuffled_labels_are_not():
    draw = np.random.default_rng(0)
    features = draw.normal(size=(400, 8))
    labels = (features[:, :2] @ draw.normal(size=(2, 3)) + 0.1 * draw.normal(size=(400, 3)) > 0).astype(float)
    assert cross_validate(Probe("x", [], labels), coordinates(features)).min() > 0.85
    shuffled = Probe("x", [], draw.permutation(labels))
    assert cross_validate(shuffled, coordinates(features)).mean() == pytest.approx(0.5, abs=0.1)
    assert np.isnan(shuffled.score(np.zeros((20, 1)), np.zeros((20, 1))))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 30))
def test_auc_is_that_of_scikit_learn_averaged_over_labels_with_both_values(seed, texts):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, size=(texts, 3)).astype(float)
    labels[:2, 0], labels[:, 1] = (0, 1), 0
    predicted = draw.integers(0, 4, size=(texts, 3)) / 4  # with ties
    mixed = [k for k in range(3) if 0 < labels[:, k].sum() < texts]
    reference = np.mean([roc_auc_score(labels[:, k], predicted[:, k]) for k in mixed])
    assert Probe("x", [], labels).score(labels, predicted) == pytest.approx(reference)


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
