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

from trainers.analysis.probes import (
    Probe,
    coordinates,
    cross_validate,
    exchange_halves,
    exchange_neighbours,
    make_probes,
    mean_and_spread,
    probed_words,
    run_probes,
    split_words,
    words_of,
)
from trainers.analysis.sample import Sample
from trainers.results import BAG_OF_WORDS, MAJORITY, UNTRAINED
from trainers.tokenizer_training import train_tokenizer
from trainers.vocabulary import Vocabulary

from ..trainers.kit import make_model


@pytest.fixture(scope="module")
def probes(sample):
    return {probe.name: probe for probe in make_probes(sample)}


def test_questions_have_the_texts_they_are_about(probes, sample, tokenizer):
    ends = (tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert all(len(probe.rows) == len(probe.labels) == 72 for probe in probes.values())
    assert all((row[0], row[-1]) == ends for probe in probes.values() for row in probe.rows)
    assert [len(row) - 2 for row in probes["length"].rows] == probes["length"].labels[:, 0].tolist()
    texts = sample.texts()
    words = probed_words(texts)
    for text, labels in zip(texts, probes["words"].labels, strict=True):
        assert {word for word, label in zip(words, labels, strict=True) if label} == words_of(text) & set(words)
    for name in ("halves", "word order"):
        changed = probes[name].labels[:, 0]
        assert changed.sum() == 36
        for row, original, label in zip(probes[name].rows, sample.ids.tolist(), changed, strict=True):
            assert sorted(row) == sorted(original), "the same tokens"
            assert (row != original) == bool(label)


def test_exchanges_move_whole_words():
    words = split_words([1, 2, 3, 4, 5, 6], [False, True, False, True, True, True])
    assert words == [[1], [2, 3], [4], [5], [6]]
    assert exchange_neighbours(words) == [2, 3, 1, 5, 4, 6]
    assert exchange_halves(words) == [4, 5, 6, 1, 2, 3]


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
        ("".join(random.Random(0).choices("😀🙃!? ", k=2000)), {"words"}),
        ("a" * 2000, {"words", "halves", "word order"}),
    ],
)
def test_questions_that_texts_cannot_answer_are_left_out(text, left_out):
    probes, told = probes_of(text)
    names = {"length", "words", "halves", "word order"}
    assert {probe.name for probe in probes} == names - left_out
    assert len(told) == len(left_out) and all(any(name in line for line in told) for name in left_out)


def test_scores_that_no_fold_has_are_nan():
    rare = np.zeros((20, 1))
    assert np.isnan(Probe("x", "?", "auc", [], rare).score(rare, rare))
    assert mean_and_spread([0.5, float("nan"), 0.7]) == (pytest.approx(0.6), pytest.approx(0.1))
    value, spread = mean_and_spread([float("nan")])
    assert np.isnan(value) and spread is None


def test_an_undefined_bag_of_words_leaves_the_others(tokenizer, capsys):
    model = make_model("perceiver_posonly_mlm", tokenizer, hidden_size=16)
    model.tokenizer = tokenizer
    ends, mask = (tokenizer.cls_token_id, tokenizer.sep_token_id), tokenizer.mask_token_id
    rows = [[ends[0], *[mask] * (number % 3), ends[1]] for number in range(24)]
    probe = Probe("length", "?", "r2", rows, np.array([[number % 3] for number in range(24)], dtype=float))
    results = {(r.task, r.system): r for r in run_probes(model, None, [probe], "mine", "validation", 8)}
    assert np.isnan(results["probe: length, pooled", BAG_OF_WORDS].value)
    assert not np.isnan(results["probe: length, pooled", "mine"].value)
    line = "bag of words (tf-idf): not defined for the probe 'length' (all texts are empty)."
    assert line in capsys.readouterr().out
    assert not any(system == UNTRAINED for _, system in results)


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


@pytest.mark.parametrize("metric", ["r2", "auc", "accuracy"])
def test_what_is_there_is_found_and_shuffled_labels_are_not(metric):
    draw = np.random.default_rng(0)
    features = draw.normal(size=(400, 8))
    labels = features[:, :2] @ draw.normal(size=(2, 3)) + 0.1 * draw.normal(size=(400, 3))
    labels = labels[:, :1] if metric == "r2" else (labels > 0).astype(float)
    if metric == "accuracy":
        labels = labels[:, :1]
    probe = Probe("x", "?", metric, [], labels)
    scores, shuffled = cross_validate(probe, coordinates(features))
    assert min(scores) > 0.85
    assert np.mean(shuffled) == pytest.approx(probe.chance(), abs=0.1)
    again, _ = cross_validate(probe, coordinates(features))
    assert again == scores


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 30))
def test_auc_is_that_of_scikit_learn_averaged_over_labels_with_both_values(seed, texts):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, size=(texts, 3)).astype(float)
    labels[:2, 0], labels[:, 1] = (0, 1), 0
    predicted = draw.integers(0, 4, size=(texts, 3)) / 4  # with ties
    probe = Probe("x", "?", "auc", [], labels)
    mixed = [k for k in range(3) if 0 < labels[:, k].sum() < texts]
    reference = np.mean([roc_auc_score(labels[:, k], predicted[:, k]) for k in mixed])
    assert probe.score(labels, predicted) == pytest.approx(reference)


def test_all_systems_stand_beside_each_other(probes, tokenizer):
    model = make_model("perceiver_posonly_mlm", tokenizer, hidden_size=16)
    model.tokenizer = tokenizer
    asked = [probes["length"], probes["word order"]]
    results = run_probes(model, model, asked, "mine", "validation", 32)
    assert len(results) == 2 * 2 * 5
    values = {(result.task, result.system): result for result in results}
    for pooling in ("pooled", "all concepts"):
        task = f"probe: length, {pooling}"
        assert values[task, "mine"].value == values[task, UNTRAINED].value  # the same network here
        assert values[task, MAJORITY].value == 0 and values[task, "mine"].spread is not None
        # A bag of words cannot see order.
        order = f"probe: word order, {pooling}"
        assert values[order, BAG_OF_WORDS].value == pytest.approx(0.5, abs=0.2)
        assert values[order, MAJORITY].value == 0.5
