# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Evaluations of a table, reuse of results, failures, and the report."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from datasets import Dataset

from trainers.evaluation.analysis.sample import load_sample
from trainers.evaluation.encoding import encode_ids
from trainers.evaluation.metrics import concept_metrics
from trainers.evaluation.results import Result, average_seeds, write_results
from trainers.evaluation.similarity import correlations, token_vectors
from trainers.experiments.ablation import evaluations, report, runner
from trainers.experiments.ablation.evaluations import EVALUATIONS, HALF, Protocol, check_data, read_pairs
from trainers.experiments.ablation.models import CONCEPTS, SENTENCES, WORDS, EvaluatedModel
from trainers.experiments.ablation.report import write_report
from trainers.experiments.ablation.runner import list_models, run_table
from trainers.experiments.ablation.table import read_table
from trainers.models.loading import load_model

from ..conftest import ROOT, TEXTS
from ..evaluation.conftest import make_sentences
from ..trainers.kit import make_model


SIZES = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "concept_num": 4}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A folder in Hub layout with a validation split."""
    folder = tmp_path_factory.mktemp("text")
    sentences = make_sentences()
    for split, rows in (("train", sentences[:300]), ("validation", sentences)):
        texts = [" ".join(rows[place : place + 6]) for place in range(0, len(rows), 6)]
        Dataset.from_dict({"text": texts}).to_parquet(folder / f"{split}.parquet")
    return str(folder)


@pytest.fixture(scope="module")
def checkpoints(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in ("perceiver_posonly_mlm", "recursive_mlm", "prefix_diffusion"):
        model = make_model(name, tokenizer, **SIZES)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    run = {"objective": "masked_lm", "objectives": {"masked_lm": {}}}
    (folder / "recursive_mlm" / "training_run.json").write_text(json.dumps(run))
    return folder


def evaluated(folder, name, kind=CONCEPTS, **options):
    return EvaluatedModel(name, kind, str(folder / name), folder / name, **options)


def words(folder):
    return EvaluatedModel("words", WORDS, "", folder)


@pytest.fixture
def protocol(text, monkeypatch):
    monkeypatch.setattr(evaluations, "SAMPLES", 64)
    return Protocol(held_out=text, held_out_length=24, sts=[])


def by_metric(results):
    return {result.metric: result.value for result in results}


def test_reconstruction_equals_that_of_the_analysis(checkpoints, protocol):
    chosen = evaluated(checkpoints, "perceiver_posonly_mlm")
    found = by_metric(evaluations.reconstruction(chosen, protocol))
    model = load_model(chosen.path)
    sample = load_sample(model.tokenizer, 24, 64, protocol.held_out)
    expected = concept_metrics(encode_ids(model, sample.ids.tolist(), 64))
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["content_erank / C"] == pytest.approx(expected["content_erank"] / 4)
    read = model.reconstruct_ids(sample.ids, torch.ones_like(sample.ids), concept_num=2)
    right = (read == sample.ids)[~sample.vocabulary.special[sample.ids]]
    assert found["accuracy, 2 concepts"] == pytest.approx(float(right.double().mean()))


def test_without_a_decoder_of_the_text_there_is_geometry_only(checkpoints, protocol):
    found = by_metric(evaluations.reconstruction(evaluated(checkpoints, "prefix_diffusion"), protocol))
    assert "content_fraction" in found
    assert "accuracy" not in found


def test_depth_is_the_loss_at_each_number_of_iterations(checkpoints, protocol):
    chosen = evaluated(checkpoints, "recursive_mlm")
    own = chosen.network.config.num_iterations
    found = by_metric(evaluations.depth(chosen, protocol))
    assert list(found) == [f"K = {count}" for count in evaluations.ITERATIONS]
    assert len(set(found.values())) > 1
    assert chosen.network.config.num_iterations == own
    assert found == by_metric(evaluations.depth(chosen, protocol)), "the same tokens are hidden every time"
    assert evaluations.depth(evaluated(checkpoints, "perceiver_posonly_mlm"), protocol) == []


def test_dropped_concepts(checkpoints, protocol, monkeypatch):
    """Shares of the positions where tokens are lost; each of 4 concepts has 6 of 24 positions."""
    assert evaluations.drop_one(evaluated(checkpoints, "prefix_diffusion"), protocol) == []
    drops = np.zeros((4, 24))
    drops[0, 0], drops[0, 23] = 0.6, 0.2  # inside and outside of the segment
    drops[3, 20], drops[3, 3] = 0.2, -0.1
    measured = {"drop_by_position": drops.tolist(), "drop": drops.mean(axis=1).tolist(), "texts": 32}
    monkeypatch.setattr(evaluations.compression, "drop_one", lambda *_: measured)
    values = by_metric(evaluations.drop_one(evaluated(checkpoints, "perceiver_posonly_mlm"), protocol))
    assert values == pytest.approx({"lost in its own segment": 0.8, "lost tokens": drops.mean()}, abs=1e-6)


def test_similarity_has_own_vectors_centred_ones_and_the_token_table(checkpoints, tmp_path):
    rows = {"sentence1": TEXTS, "sentence2": TEXTS[::-1], "score": [0.0, 1.0, 2.0, 3.0]}
    Dataset.from_dict(rows).to_parquet(tmp_path / "test.parquet")
    protocol = Protocol(sts=[f"toy={tmp_path}"])
    chosen = evaluated(checkpoints, "perceiver_posonly_mlm")
    found = by_metric(evaluations.similarity(chosen, protocol))
    assert set(found) == {
        f"{metric}{addition}{centred}"
        for metric in ("spearman", "pearson")
        for addition in ("", ", token table")
        for centred in ("", ", centred")
    }
    pairs = read_pairs(protocol.sts[0])
    vectors = token_vectors(chosen.network, pairs.texts)
    expected = correlations(pairs, vectors)["spearman"]
    assert found["spearman, token table"] == expected
    assert set(by_metric(evaluations.similarity(words(tmp_path), protocol))) == {"spearman", "pearson"}


def test_passages_are_found_by_their_own_words(protocol, monkeypatch, tmp_path):
    passages = evaluations.held_out_passages(protocol.held_out)
    assert {len(passage.split()) for passage in passages} == {2 * HALF}
    twice = [" ".join([f"word{number}"] * 2 * HALF) for number in range(50)]
    monkeypatch.setattr(evaluations, "held_out_passages", lambda text: twice)
    assert by_metric(evaluations.retrieval(words(tmp_path), protocol))["R@1"] == 1.0
    same = ["one and the same " * HALF] * 50
    monkeypatch.setattr(evaluations, "held_out_passages", lambda text: same)
    assert by_metric(evaluations.retrieval(words(tmp_path), protocol))["R@1"] == 0.0, "ties are not found"


def test_operations_follow_from_the_sizes(checkpoints, tokenizer, protocol, tmp_path):
    one = by_metric(evaluations.cost(evaluated(checkpoints, "perceiver_posonly_mlm"), protocol))
    wide = make_model("perceiver_posonly_mlm", tokenizer, **{**SIZES, "hidden_size": 64, "intermediate_size": 64})
    wide.save_pretrained(tmp_path / "wide")
    tokenizer.save_pretrained(tmp_path / "wide")
    four = by_metric(evaluations.cost(evaluated(tmp_path, "wide"), protocol))
    ratio = four["MFLOP per word"] / one["MFLOP per word"]
    assert 4 < ratio < 16, "between what grows with the width and what grows with its square"


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"train_tokens": 1, "rows": {"perceiver_posonly_mlm": {}}}))
    return read_table(path)


def test_nothing_is_measured_twice_under_one_protocol(checkpoints, protocol, tmp_path, monkeypatch):
    chosen = EvaluatedModel("one", CONCEPTS, str(checkpoints / "perceiver_posonly_mlm"), tmp_path)
    first = runner.evaluate("reconstruction", chosen, protocol)
    (real, kinds), calls = EVALUATIONS["reconstruction"], []

    def counted(*arguments):
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setitem(EVALUATIONS, "reconstruction", (counted, kinds))
    assert runner.evaluate("reconstruction", chosen, protocol) == first
    renamed = dataclasses.replace(chosen, name="two")
    assert {result.system for result in runner.evaluate("reconstruction", renamed, protocol)} == {"two"}
    assert not calls
    runner.evaluate("reconstruction", chosen, dataclasses.replace(protocol, held_out_length=16))
    assert len(calls) == 1
    assert runner.evaluate("reconstruction", words(tmp_path), protocol) == []


def test_models_of_a_table(rows, tmp_path):
    row, untrained, tfidf = list_models(rows, tmp_path, [1], ["untrained", "tfidf"], [])
    others = list_models(rows, tmp_path, [1], [], ["a/model", "b/model"])
    assert [(model.name, model.folder.name, model.kind) for model in others[1:]] == [
        ("a/model", "a_model", SENTENCES), ("b/model", "b_model", SENTENCES)
    ]  # fmt: skip
    assert row.path == str(tmp_path / "perceiver_posonly_mlm" / "seed_1")
    assert (untrained.kind, tfidf.kind, tfidf.path, tfidf.make) == (CONCEPTS, WORDS, "", None)
    assert untrained.make is not None
    untrained.folder.mkdir(parents=True)
    (untrained.folder / "config.json").touch()
    assert list_models(rows, tmp_path, [1], ["untrained"], [])[1].make is None, "what exists is not made again"


def test_a_model_that_fails_is_reported_and_leaves_the_others(protocol, tmp_path, monkeypatch, capsys):
    def broken():
        raise RuntimeError("broken")

    models = [
        EvaluatedModel(name, WORDS, "", tmp_path / name, make=make) for name, make in (("a", broken), ("b", None))
    ]
    monkeypatch.setattr(runner, "evaluate", lambda name, model, protocol: [Result("t", "s", "m", model.name, 1.0)])
    results, failed = run_table(models, ["retrieval"], protocol)
    assert [result.system for result in results] == ["b"]
    assert failed == {str(tmp_path / "a"): "RuntimeError: broken"}
    assert f"{tmp_path / 'a'}: FAILED\nTraceback" in capsys.readouterr().out


def test_an_evaluation_that_fails_leaves_the_results_before_it(checkpoints, protocol, monkeypatch):
    def broken(*arguments):
        raise ValueError("no such text")

    monkeypatch.setitem(EVALUATIONS, "retrieval", (broken, (CONCEPTS,)))
    chosen = evaluated(checkpoints, "perceiver_posonly_mlm")
    found = run_table([chosen], ["reconstruction", "retrieval"], protocol)
    assert found == ([], {str(chosen.folder): "ValueError: no such text"})
    assert (chosen.folder / "evaluations" / "reconstruction.json").is_file()


def test_data_of_the_evaluations_are_checked_before_training(text, tmp_path):
    check_data(Protocol(held_out=text, sts=[]), ["reconstruction", "retrieval", "training"])
    nowhere = str(tmp_path / "nowhere")
    check_data(Protocol(held_out=nowhere, sts=[f"a={nowhere}"], glue=nowhere), ["training"])
    for name in ("rte", "similarity", "reconstruction"):
        with pytest.raises(ValueError, match="nowhere.* cannot be read"):
            check_data(Protocol(held_out=nowhere, sts=[f"a={nowhere}"], glue=nowhere), [name])
    with pytest.raises(ValueError, match="each is name=data set, and each name occurs once"):
        Protocol(sts=["stsb=a", "stsb=b"])


def test_a_text_without_passages_is_refused(tmp_path):
    Dataset.from_dict({"text": ["我爱你"] * 40}).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="fewer than two passages of 48 words"):
        evaluations.held_out_passages(str(tmp_path))


@pytest.mark.slow
def test_runs_are_trained_measured_and_told_of_when_they_fail(text, tmp_path, protocol):
    """Real processes: a run, what is made from it, and a run that cannot be."""
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "concept_num": 4, "vocab_size": 300}
    table = {
        "train_tokens": 3 * 32 * 24,
        "common": {"dataset_name": text, "max_seq_length": 24, **sizes},
        "rows": {"good": {}, "bad": {}},
    }
    (tmp_path / "table.json").write_text(json.dumps(table))
    good, bad = read_table(tmp_path / "table.json")
    bad = dataclasses.replace(bad, words=[*bad.words, "--mask_all", "3"])
    models = list_models([good, bad], tmp_path, [1], ["untrained", "bert"], [])
    evaluated_by = ["training", "reconstruction", "cost"]
    results, failed = run_table(models, evaluated_by, protocol)
    assert {result.system for result in results} == {"good", "untrained", "BERT, masked LM"}
    assert list(failed) == [str(tmp_path / "bad" / "seed_1")]
    assert "--mask_all" in failed[str(tmp_path / "bad" / "seed_1")]
    own = [result for result in results if result.system == "good"]
    assert {"loss", "shuffled_loss_gap"} <= {r.metric for r in own if r.task == "training"}
    assert run_table(list_models([good], tmp_path, [1], [], []), evaluated_by, protocol) == (own, {})


def test_a_row_with_other_options_is_not_taken_for_the_run_that_is_there(rows, tmp_path):
    (row,) = rows
    (tmp_path / "row.json").write_text(json.dumps(row.words))
    (tmp_path / "eval_results.json").touch()
    runner.train_row(row, tmp_path, 1)
    for words in (row.words[:-1] + ["2"], [*row.words, "--deletion_rate", "0.6"]):
        with pytest.raises(RuntimeError, match="differs from the row, which has .*: rename it, or delete"):
            runner.train_row(dataclasses.replace(row, words=words), tmp_path, 1)


def one_result(name, task, split, metric, value):
    return Result(task, split, metric, name, value)


def write_toy(folder, failed=None, undefined=()):
    """A `results.json` of two rows, one of them with two seeds, and a baseline."""
    results = []
    for name, accuracy in (("a", 0.8), ("b", 0.5), ("a", 0.9)):
        results += [
            one_result(name, "reconstruction", "validation", "accuracy", accuracy),
            one_result(name, "reconstruction", "validation", "accuracy, 8 concepts", accuracy / 2),
            one_result(name, "stsb", "test", "spearman", accuracy / 4),
            one_result(name, "stsb", "test", "spearman, token table", accuracy / 5),
            one_result(name, "encoding", "validation", "MFLOP per word", 2.5),
            one_result(name, "mrpc, fine-tuned", "validation", "f1", 0.81),
        ]
    results.append(one_result("tf-idf", "stsb", "test", "spearman", 0.5))
    results = [replace_value(result) if result.task in undefined else result for result in results]
    facts = {"title": "Ablation: toy", "rows": {"a": {}, "b": {}}, "help_from": {"b": "teacher"}}
    facts |= {"note": "A note.", "failed": failed or {}}
    write_results(folder / "results.json", average_seeds(results), facts)


def replace_value(result):
    return dataclasses.replace(result, value=float("nan"))


def test_the_report(tmp_path):
    write_toy(tmp_path, {"c, seed 1": "no text"})
    text = write_report(tmp_path).read_text()
    assert text.startswith("# Ablation: toy\n\nA note.\n")
    assert "| # | run | reconstructed tokens |" in text
    assert "| 1 | a | 85.00 ± 7.07 % |" in text
    assert "mean ± standard deviation over seeds" in text
    assert "| 2 | b (teacher) | 50.00 % |" in text
    assert "| # | run | stsb test | stsb test, token table | MFLOP / word |" in text
    assert "| # | run | mrpc validation f1 |" in text and "| # | run | all | 8 |" in text
    assert "- c, seed 1: no text" in text
    assert "](summary.png)" in text and (tmp_path / "summary.png").stat().st_size > 5000
    content = json.loads((tmp_path / "results.json").read_text())
    accuracy = next(r for r in content["results"] if r["system"] == "a" and r["metric"] == "accuracy")
    assert accuracy["value"] == pytest.approx(0.85)
    assert accuracy["spread"] == pytest.approx(np.std([0.8, 0.9], ddof=1))


def test_undefined_numbers_are_left_out(tmp_path):
    write_toy(tmp_path, undefined=("stsb",))
    text = write_report(tmp_path).read_text()
    assert "nan" not in text and "stsb" not in text


def test_columns_and_models_without_numbers_are_left_out(tmp_path):
    write_toy(tmp_path)
    table = write_report(tmp_path).read_text().partition("## Similarity")[0]
    assert "| 2 | b (teacher) |" in table
    assert "tf-idf" not in table and "rank" not in table


@pytest.mark.parametrize("path", sorted((ROOT / "model_cards" / "ablations").glob("*/results.json")), ids=str)
def test_the_tables_of_the_package_are_those_of_their_results(path, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "plot_summary", lambda *_: True)
    (tmp_path / "results.json").write_bytes(path.read_bytes())
    assert write_report(tmp_path).read_text() == (path.parent / "README.md").read_text()
