# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Lines of a table: what they are measured on, that nothing is made twice, and the report."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from trainers.ablation import evaluations, runner, training
from trainers.ablation.evaluations import EVALUATIONS, HALF, Protocol
from trainers.ablation.report import HELD, Column, markdown_table, meaning_columns, summarise, write_report
from trainers.ablation.runner import Line, Plan, baseline_lines, in_processes, row_lines, run_plan
from trainers.ablation.subjects import CONCEPTS, GLOBAL, SENTENCES, WORDS, Subject
from trainers.ablation.table import Row
from trainers.analysis import encode, load_checkpoint, load_sample
from trainers.metrics import concept_metrics
from trainers.results import Result
from trainers.similarity import OWN, correlations, read_pairs_file

from ..analysis.conftest import make_sentences
from ..conftest import ROOT, TEXTS
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


def subject(folder, name, kind=CONCEPTS):
    return Subject(name, kind, str(folder / name), folder / name)


@pytest.fixture
def protocol(text):
    return Protocol(text=text, samples=64, length=24, pairs={})


def by_metric(results):
    return {result.metric: result.value for result in results}


def test_reading_is_that_of_the_analysis(checkpoints, protocol):
    chosen = subject(checkpoints, "perceiver_posonly_mlm")
    found = by_metric(evaluations.reading(chosen, protocol))
    model = load_checkpoint(chosen.path)
    sample = load_sample(model.tokenizer, 24, 64, protocol.text)
    expected = concept_metrics(encode(model, sample.ids, 64, ""))
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["content_erank / C"] == pytest.approx(expected["content_erank"] / 4)
    read = model.reconstruct_ids(sample.ids, torch.ones_like(sample.ids), concept_num=2)
    right = (read == sample.ids)[~sample.vocabulary.special[sample.ids]]
    assert found["accuracy, 2 concepts"] == pytest.approx(float(right.double().mean()))


def test_what_cannot_read_a_text_back_has_geometry_alone(checkpoints, protocol):
    found = by_metric(evaluations.reading(subject(checkpoints, "prefix_diffusion"), protocol))
    assert "content_fraction" in found
    assert "accuracy" not in found


def test_depth_is_the_loss_at_each_number_of_iterations(checkpoints, protocol):
    chosen = subject(checkpoints, "recursive_mlm")
    own = chosen.reader.config.num_iterations
    found = by_metric(evaluations.depth(chosen, protocol))
    assert list(found) == [f"K = {count}" for count in evaluations.ITERATIONS]
    assert len(set(found.values())) > 1
    assert chosen.reader.config.num_iterations == own
    assert found == by_metric(evaluations.depth(chosen, protocol)), "the same tokens are hidden every time"
    assert evaluations.depth(subject(checkpoints, "perceiver_posonly_mlm"), protocol) == []


def test_what_is_lost_with_single_concepts(checkpoints, tokenizer, protocol, monkeypatch, tmp_path):
    """Shares from the positions where something is lost; a concept of 6 has 4 of 24 positions."""
    assert evaluations.locality(subject(checkpoints, "prefix_diffusion"), protocol) == []
    model = make_model("perceiver_posonly_mlm", tokenizer, **{**SIZES, "concept_num": 8, "global_concept_num": 2})
    model.save_pretrained(tmp_path / "globals")
    tokenizer.save_pretrained(tmp_path / "globals")
    drops = np.zeros((8, 24))
    drops[0, :] = 0.5  # global
    drops[2, 0], drops[2, 23] = 0.6, 0.2  # the first with a segment: in it, and far from it
    drops[7, 20], drops[7, 3] = 0.2, -0.1  # the last
    fake = {"drop_by_position": drops.tolist(), "drop": drops.mean(axis=1).tolist(), "texts": 32}
    real = evaluations.ablation
    monkeypatch.setattr(evaluations, "ablation", lambda *_: fake)
    found = by_metric(evaluations.locality(subject(tmp_path, "globals"), protocol))
    assert found == pytest.approx({"own segment": 0.8, "addressed": drops[2:].mean(), "global": 0.25}, abs=1e-6)
    monkeypatch.setattr(evaluations, "ablation", real)
    model = make_model("perceiver_posonly_mlm", tokenizer, **{**SIZES, "global_concept_num": 4})
    model.save_pretrained(tmp_path / "only_globals")
    tokenizer.save_pretrained(tmp_path / "only_globals")
    assert evaluations.locality(subject(tmp_path, "only_globals"), protocol) == [], "none has a segment"
    found = by_metric(evaluations.locality(subject(checkpoints, "perceiver_posonly_mlm"), protocol))
    assert set(found) == {"own segment", "addressed"}


def test_global_concepts_have_a_vector_of_their_own(tokenizer, tmp_path):
    model = make_model("perceiver_posonly_mlm", tokenizer, **{**SIZES, "global_concept_num": 2})
    model.save_pretrained(tmp_path / "globals")
    tokenizer.save_pretrained(tmp_path / "globals")
    chosen = subject(tmp_path, "globals")
    expected = chosen.encoder.encode(TEXTS[:3]).concepts[:, :2].mean(dim=1)
    torch.testing.assert_close(chosen.poolings(TEXTS[:3])[GLOBAL].float(), expected, atol=1e-5, rtol=1e-4)
    assert list(Subject("words", WORDS, "", tmp_path).poolings(TEXTS[:3])) == [OWN]


def test_similarity_has_own_vectors_centred_ones_and_the_token_table(checkpoints, tmp_path):
    rows = [
        f"{first}\t{second}\t{score}" for score, (first, second) in enumerate(zip(TEXTS, TEXTS[::-1], strict=True))
    ]
    (tmp_path / "pairs.tsv").write_text("\n".join(rows))
    protocol = Protocol(pairs={}, pairs_file=str(tmp_path / "pairs.tsv"))
    chosen = subject(checkpoints, "perceiver_posonly_mlm")
    found = by_metric(evaluations.similarity(chosen, protocol))
    assert set(found) == {
        f"{metric}{addition}{centred}"
        for metric in ("spearman", "pearson")
        for addition in ("", ", token table")
        for centred in ("", ", centred")
    }
    pairs = read_pairs_file(protocol.pairs_file)
    vectors = chosen.token_vectors(pairs.texts)
    expected = correlations(pairs, pairs.texts, vectors)["spearman"]
    assert found["spearman, token table"] == expected
    words = evaluations.similarity(Subject("words", WORDS, "", tmp_path), protocol)
    assert set(by_metric(words)) == {"spearman", "pearson"}


def test_passages_are_found_by_their_own_words(protocol, monkeypatch, tmp_path):
    passages = evaluations.held_out_passages(protocol.text, None)
    assert {len(passage.split()) for passage in passages} == {2 * HALF}
    twice = [" ".join([f"word{number}"] * 2 * HALF) for number in range(50)]
    monkeypatch.setattr(evaluations, "held_out_passages", lambda *source: twice)
    words = Subject("words", WORDS, "", tmp_path)
    assert by_metric(evaluations.retrieval(words, protocol))["R@1"] == 1.0
    same = ["one and the same " * HALF] * 50
    monkeypatch.setattr(evaluations, "held_out_passages", lambda *source: same)
    assert by_metric(evaluations.retrieval(words, protocol))["R@1"] == 0.0, "ties are not found"


def test_operations_follow_from_the_sizes(checkpoints, tokenizer, protocol, tmp_path):
    one = by_metric(evaluations.cost(subject(checkpoints, "perceiver_posonly_mlm"), protocol))
    wide = make_model("perceiver_posonly_mlm", tokenizer, **{**SIZES, "hidden_size": 64, "intermediate_size": 64})
    wide.save_pretrained(tmp_path / "wide")
    tokenizer.save_pretrained(tmp_path / "wide")
    four = by_metric(evaluations.cost(subject(tmp_path, "wide"), protocol))
    ratio = four["MFLOP per word"] / one["MFLOP per word"]
    assert 4 < ratio < 16, "between what grows with the width and what grows with its square"


@pytest.fixture
def plan(checkpoints, protocol, tmp_path):
    row = Row("perceiver_posonly_mlm", {}, 1)
    return Plan([row], [1], tmp_path, protocol, ["reading"], ["untrained", "tfidf"], [])


def test_nothing_is_measured_twice_under_one_protocol(checkpoints, plan, protocol, tmp_path, monkeypatch):
    chosen = Subject("one", CONCEPTS, str(checkpoints / "perceiver_posonly_mlm"), tmp_path)
    first = runner.evaluate("reading", chosen, protocol)
    real, calls = EVALUATIONS["reading"], []

    def counted(*arguments):
        calls.append(arguments)
        return real.run(*arguments)

    monkeypatch.setitem(EVALUATIONS, "reading", evaluations.Evaluation(counted, real.kinds, real.reads))
    assert runner.evaluate("reading", chosen, protocol) == first
    assert not calls
    runner.evaluate("reading", chosen, Protocol(text=protocol.text, samples=60, length=24, pairs={}))
    assert len(calls) == 1
    assert runner.evaluate("reading", Subject("words", WORDS, "", tmp_path), protocol) == []


def test_lines_of_a_plan(plan):
    (row,), (untrained, words) = row_lines(plan), baseline_lines(plan)
    others = baseline_lines(dataclasses.replace(plan, baselines=[], baseline_models=["a/model", "b/model"]))
    assert [(line.subject.name, line.subject.folder.name) for line in others] == [
        ("a/model", "a_model"), ("b/model", "b_model")
    ]  # fmt: skip
    assert row.subject.path == str(plan.root / "perceiver_posonly_mlm" / "seed_1")
    assert (untrained.subject.kind, words.subject.kind, words.subject.path) == (CONCEPTS, WORDS, "")
    assert Subject("a", SENTENCES, "x", plan.root) != words.subject


def test_a_line_that_fails_says_why_and_leaves_the_others(plan, monkeypatch):
    def fake(lines, plan):
        for line in lines:
            failed = line.subject.name == "untrained"
            yield line, [] if failed else [Result("t", "s", "m", line.subject.name, 1.0)], "broken" if failed else None

    monkeypatch.setattr(runner, "in_processes", fake)
    told = []
    found, failed = run_plan(plan, told.append)
    assert [chosen.name for chosen in found] == ["perceiver_posonly_mlm", "bag of words (tf-idf)"]
    assert failed == {"untrained": "broken"}
    assert "untrained: FAILED, broken" in told


def test_an_evaluation_that_fails_leaves_the_others_of_its_line(checkpoints, plan, monkeypatch, tmp_path):
    def broken(*arguments):
        raise ValueError("no such text")

    monkeypatch.setitem(EVALUATIONS, "retrieval", evaluations.Evaluation(broken, (CONCEPTS,), ()))
    monkeypatch.setattr(runner.torch, "set_num_threads", lambda count: None)
    line = Line(subject(checkpoints, "perceiver_posonly_mlm"), None)
    asked = dataclasses.replace(plan, evaluations=["retrieval", "reading"])
    results, errors = runner.work(line, asked)
    assert errors == ["retrieval: ValueError: no such text"] and {r.task for r in results} == {"reading"}
    assert "no such text" in (line.subject.folder / "evaluations.log").read_text()

    monkeypatch.setattr(runner, "in_processes", lambda lines, plan: [(line, results, errors[0])])
    told = []
    found, failed = run_plan(dataclasses.replace(asked, baselines=[]), told.append)
    assert failed == {"perceiver_posonly_mlm": errors[0]} and "FAILED, retrieval" in told[0]


def test_data_of_the_evaluations_are_read_before_anything_is_trained(text, tmp_path):
    Protocol(text=text, pairs={}).check(["reading", "retrieval", "training"])
    (tmp_path / "short").mkdir()
    Dataset.from_dict({"text": ["我爱你"] * 40}).to_parquet(tmp_path / "short" / "train.parquet")
    short = Protocol(text=str(tmp_path / "short"), pairs={}, glue=str(tmp_path / "nowhere"))
    short.check(["reading", "training"])
    for names, message in (
        (["cost"], "0 passages of 48 words"),
        (["rte"], "nowhere.* cannot be read"),
    ):
        with pytest.raises(ValueError, match=message):
            short.check(names)
    with pytest.raises(ValueError, match="'.*nowhere' cannot be read"):
        Protocol(text=str(tmp_path / "nowhere"), pairs={}).check(["reading"])


@pytest.mark.slow
def test_runs_are_trained_measured_and_told_of_when_they_fail(text, tmp_path):
    """Real processes: a run, what is made from it, and a run that cannot be."""
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "concept_num": 4, "vocab_size": 300}
    options = {"dataset_name": text, "max_seq_length": 24, **sizes}
    rows = [Row("good", options, 3), Row("bad", {**options, "objective": "masked_lm", "mask_all": 3}, 3)]
    protocol = Protocol(text=text, samples=64, length=24, pairs={})
    plan = Plan(rows, [1], tmp_path, protocol, ["training", "reading", "cost"], ["untrained", "bert"], [], jobs=2)
    found, failed = run_plan(plan, lambda line: None)
    assert {chosen.name for chosen in found} == {"good", "untrained", "BERT, masked LM"}
    assert list(failed) == ["bad, seed 1"]
    assert "--mask_all" in failed["bad, seed 1"]
    again = list(in_processes([Line(next(iter(found)), rows[0])], plan))
    assert again[0][1] == next(iter(found.values()))
    assert again[0][2] is None


def test_a_row_with_other_options_is_not_taken_for_the_run_that_is_there(tmp_path):
    row = Row("a", {"objective": "denoising", "deletion_rate": 0.2}, 10)
    (tmp_path / training.ASKED).write_text(json.dumps(training.asked(row)))
    training.check_begun(row, tmp_path)
    for other in (Row("a", {**row.options, "deletion_rate": 0.6}, 10), Row("a", {"objective": "denoising"}, 10)):
        with pytest.raises(RuntimeError, match="a run with deletion_rate 0.2, and the row now says (0.6|None): give"):
            training.check_begun(other, tmp_path)
    with pytest.raises(RuntimeError, match="max_steps 10, and the row now says 11"):
        training.train_row(Row("a", row.options, 11), tmp_path, 1, 1)


def ask_for_a_long_run(folder):
    with open(folder / "log", "w") as stream:
        child = f"import os, time; open({str(folder / 'child')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
        training.run_to_its_end([sys.executable, "-c", child], stream, dict(os.environ))


ASK = """
import multiprocessing, os, sys, time
from pathlib import Path
from tests.ablation.test_ablation import ask_for_a_long_run, training

if __name__ == "__main__":
    training.PATIENCE = 0.2
    folder = Path(sys.argv[1])
    multiprocessing.get_context("fork").Process(target=ask_for_a_long_run, args=(folder,)).start()
    while not (folder / "child").is_file() or not (folder / "child").read_text():
        time.sleep(0.1)
    os._exit(0)
"""


def test_runs_end_with_whoever_asked_for_them(tmp_path):
    subprocess.run([sys.executable, "-c", ASK, str(tmp_path)], cwd=ROOT, check=True, timeout=120)
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not Path(f"/proc/{child}").exists():
            return
        time.sleep(0.1)
    raise AssertionError("the run goes on")


def make_found(tmp_path):
    def one(name, seed, help_from, accuracy):
        results = [
            Result("reading", "validation", "accuracy", name, accuracy),
            Result("reading", "validation", "concepts", name, 16.0),
            Result("reading", "validation", "accuracy, 8 concepts", name, accuracy / 2),
            Result("stsb", "test", "spearman", name, accuracy / 4),
            Result("encoding", "validation", "MFLOP per word", name, 2.5),
        ]
        return Subject(name, CONCEPTS, "", tmp_path / name / str(seed), help_from, seed), results

    words = Subject("tf-idf", WORDS, "", tmp_path / "words"), [Result("stsb", "test", "spearman", "tf-idf", 0.5)]
    return dict([one("a", 1, "", 0.8), one("b", 1, "teacher", 0.5), one("a", 2, "", 0.9), words])


def test_the_report(tmp_path):
    found = make_found(tmp_path)
    path = write_report(tmp_path, "Ablation: toy", found, {"c, seed 1": "no text"}, {"a", "b"}, {"command": "x"})
    text = path.read_text()
    assert "| # | run | tokens read back |" in text
    assert "| 1 | a | 85.00 ± 7.07 % |" in text
    assert "mean ± standard deviation over seeds" in text
    assert "| 2 | b (teacher) | 50.00 % |" in text
    assert "- c, seed 1: no text" in text
    for picture in ("cost.png", "kept.png"):
        assert f"]({picture})" in text
        assert (tmp_path / picture).stat().st_size > 5000
    content = json.loads((tmp_path / "results.json").read_text())
    accuracy = next(r for r in content["results"] if r["system"] == "a" and r["metric"] == "accuracy")
    assert accuracy["value"] == pytest.approx(0.85)
    assert accuracy["spread"] == pytest.approx(np.std([0.8, 0.9], ddof=1))
    assert content["failed"] == {"c, seed 1": "no text"}


def test_numbers_that_are_not_defined_are_left_out(tmp_path):
    found = make_found(tmp_path)
    for chosen, results in found.items():
        found[chosen] = [dataclasses.replace(r, value=float("nan")) if r.task == "stsb" else r for r in results]
    path = write_report(tmp_path, "Ablation: toy", found, {}, {"a", "b"}, {"command": "x"})
    assert "nan" not in path.read_text() and "stsb" not in path.read_text()


def test_columns_and_lines_without_numbers_are_left_out(tmp_path):
    lines = summarise(make_found(tmp_path), {"a", "b"})
    table = markdown_table(lines, HELD)
    assert "tf-idf" not in table
    assert "ref_rank" not in table
    assert [column.heading for column in meaning_columns(lines)][:1] == ["stsb test"]
    assert markdown_table(lines, [Column("x", "nothing", "at all")]) == ""
    assert [line.is_baseline for line in lines] == [False, False, True]
