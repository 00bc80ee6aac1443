# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The experiment list's gates: verdicts on both sides of every threshold, and where values come from."""

import json
from types import SimpleNamespace

import pytest

from trainers.evaluation.analysis.gates import (
    CONCEPTS,
    DEPTH_GAIN,
    GATES,
    MNLI,
    QMSUM,
    QQP,
    RANK,
    RECURSION_GAP,
    SOURCES,
    STSB,
    SUFFIX_LOSS,
    TASK_LOSS,
    ZERO_SHOT,
    find_measures,
    judge,
    judge_run,
    list_ranks,
    read_evaluation,
    read_run,
)
from trainers.evaluation.results import BAG_OF_WORDS, UNTRAINED, Result, is_measured, write_results

from ..trainers.kit import make_trainer


BY_NAME = {gate.name: gate for gate in GATES}


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        ("TODO 0: STS-B", {STSB: 0.61}, "met"),
        ("TODO 0: STS-B", {STSB: 0.60}, "missed"),
        ("TODO 0: rank", {RANK: 31}, "met"),
        ("TODO 0: QQP", {QQP: 0.69}, "missed"),
        ("TODO 4", {RANK: 19.9}, "abandon"),
        ("TODO 4", {RANK: 20}, "goes on"),
        ("TODO 6", {RANK: 29}, "insufficient"),
        ("TODO 7", {RANK: 61, TASK_LOSS: 1.9}, "met"),
        ("TODO 7", {RANK: 61, TASK_LOSS: 2.0}, "missed"),
        ("TODO 7", {RANK: 60, TASK_LOSS: 1.9}, "missed"),
        ("TODO 10", {RANK: 64}, "missed"),
        ("TODO 10", {RANK: 65}, "met"),
        ("TODO 11: STS-B", {STSB: 0.51}, "viable"),
        ("TODO 11: STS-B", {STSB: 0.50}, "contrastive"),
        ("TODO 11: STS-B", {STSB: 0.30}, "contrastive"),
        ("TODO 11: STS-B", {STSB: 0.29}, "pivot"),
        ("TODO 11: rank", {RANK: 21}, "depth helps"),
        ("TODO 11b", {RANK: 31, TASK_LOSS: 2.9}, "works"),
        ("TODO 11b", {RANK: 31, TASK_LOSS: 3.6}, "0.01"),
        ("TODO 11b", {RANK: 31, TASK_LOSS: 3.2}, "between the gates"),
        ("TODO 11b", {RANK: 25, TASK_LOSS: 2.9}, "between the gates"),
        ("TODO 11b", {RANK: 19, TASK_LOSS: 2.9}, "slot attention"),
        ("TODO 13", {SUFFIX_LOSS: 2.9}, "met"),
        ("Gate 1: rank", {RANK: 65}, "track B"),
        ("Gate 1: rank", {RANK: 64}, "slot attention"),
        ("Gate 1: rank", {RANK: 29}, "rethink"),
        ("Gate 1: STS-B", {STSB: 0.71}, "met"),
        ("Gate 1: suffix loss", {SUFFIX_LOSS: 3.0}, "missed"),
        ("Gate 2", {STSB: 0.76, MNLI: 0.66, RANK: 65}, "passed"),
        ("Gate 2", {STSB: 0.76, MNLI: 0.64, RANK: 65}, "not passed"),
        ("Gate 3: size", {RECURSION_GAP: 2.0}, "keeps up"),
        ("Gate 3: size", {RECURSION_GAP: 2.1}, "behind"),
        ("Gate 3: depth", {DEPTH_GAIN: 0.01}, "help"),
        ("Gate 3: depth", {DEPTH_GAIN: 0.0}, "do not help"),
        ("Gate 4", {QMSUM: 0.2, CONCEPTS: 512}, "no threshold"),
        ("Gate 4", {QMSUM: 0.2, CONCEPTS: 16}, "fewer than 512"),
        ("Gate 5", {STSB: 0.76, RANK: 65, ZERO_SHOT: 0.61}, "passed"),
        ("Gate 5", {STSB: 0.76, RANK: 65, ZERO_SHOT: 0.6}, "not passed"),
    ],
)
def test_verdicts(name, values, text):
    assert text in judge(BY_NAME[name], values)


def test_what_is_missing_is_named():
    assert judge(BY_NAME["TODO 11b"], {RANK: 31}) == "not measured: task loss"
    assert judge(BY_NAME["Gate 2"], {RANK: 65}) == "not measured: STS-B Pearson, fine-tuned, MNLI-m accuracy"
    assert judge(BY_NAME["Gate 4"], {CONCEPTS: 16}) == "not measured: QMSum R@1 at 4,096 tokens"


def test_every_gate_of_the_list_asks_for_known_measures():
    assert {name.split(":")[0] for name in BY_NAME} == {
        "TODO 0", "TODO 4", "TODO 6", "TODO 7", "TODO 10", "TODO 11", "TODO 11b", "TODO 13", "Gate 1", "Gate 2",
        "Gate 3", "Gate 4", "Gate 5",
    }  # fmt: skip
    known = {*SOURCES, RANK, CONCEPTS, TASK_LOSS, SUFFIX_LOSS, RECURSION_GAP, DEPTH_GAIN}
    assert {name for gate in GATES for name in gate.measures} == known
    thresholds = BY_NAME["TODO 11b"].thresholds()
    assert "rank > 30 and task loss < 3: " in thresholds[0] and thresholds[-1] == "otherwise: between the gates"


def make_run(recursive, *objectives, losses=False):
    return {"recursive": recursive, "objectives": list(objectives), "losses": losses}


def test_rank_gates_have_two_verdicts():
    config = SimpleNamespace(concept_num=16, hidden_size=64)
    ranks = list_ranks({"ref_rank": 2.0, "content_erank": 15.0}, config)
    assert ranks == {"ref_rank": 16, "content_erank": 120}
    found = judge_run(make_run(False, "denoising"), {STSB: 0.5}, {STSB: " (alone)"}, ranks)
    assert found["measures"] == {STSB: 0.5, "ref_rank of 128": 16, "content_erank of 128": 120}
    rows = {name: rest for [name], *rest in found["gates"]}
    measured, thresholds, verdicts = rows["TODO 10"]
    assert measured == ["rank: 16 (ref_rank), 120 (content_erank)"]
    assert thresholds == ["rank > 64: target met", "otherwise: target missed"]
    assert verdicts == ["ref_rank: target missed", "content_erank: target met"]
    assert rows["Gate 1: STS-B"][0] == [f"{STSB}: 0.5 (alone)"] and rows["Gate 1: STS-B"][2] == ["target missed"]
    assert rows["Gate 2"][0][1] == "MNLI-m accuracy: –"


TODO_0, GATE_1 = {"TODO 0: STS-B", "TODO 0: rank", "TODO 0: QQP"}, {"Gate 1: rank", "Gate 1: STS-B"}


@pytest.mark.parametrize(
    ("run", "judged"),
    [
        (make_run(False, "denoising"), {"TODO 10", *GATE_1}),
        (make_run(False, "masked_lm"), TODO_0),
        (make_run(False, "masked_lm", losses=True), {*TODO_0, "TODO 4", "TODO 7"}),
        (make_run(False, "masked_diffusion"), {"TODO 6", "TODO 11: STS-B", "TODO 11: rank", *GATE_1}),
        (make_run(False, "masked_diffusion", losses=True), {"TODO 11b", *GATE_1}),
        (make_run(False, "prefix_diffusion"), {"TODO 13", "Gate 1: suffix loss", *GATE_1}),
        (make_run(True, "masked_lm"), {"Gate 3: size", "Gate 3: depth"}),
        (make_run(False), set()),
        (make_run(False, "denoising", "contrastive"), set()),
    ],
)
def test_gates_are_judged_for_the_runs_that_they_were_written_for(run, judged):
    found = judge_run(run, {}, {}, {"ref_rank": 1.0, "content_erank": 2.0})["gates"]
    expected = judged | {"Gate 4", "Gate 5"} | ({"Gate 2"} if not run["recursive"] else set())
    assert {row[0][0] for row in found} == expected


def test_the_run_is_read_from_the_checkpoint(tokenizer, pieces, tmp_path):
    trainer = make_trainer(tokenizer, pieces, tmp_path, "diffusion_mlm", concept_losses="vicreg:0.1,t_regs_mst:0.1")
    trainer.save_model(str(tmp_path / "run"))
    run = read_run(str(tmp_path / "run"), trainer.training_model.model.config)
    assert run == make_run(False, "masked_diffusion", losses=True)
    (tmp_path / "run" / "training_run.json").write_text('{"objectives": {"denoising": {}, "contrastive": {}}}')
    assert read_run(str(tmp_path / "run"), CONFIG) == make_run(False, "denoising", "contrastive")
    (tmp_path / "run" / "training_run.json").write_text("[")
    with pytest.raises(ValueError, match="training_run.json of .* cannot be read"):
        read_run(str(tmp_path / "run"), CONFIG)
    (tmp_path / "run" / "training_run.json").unlink()
    assert read_run(str(tmp_path / "run"), CONFIG) == read_run("owner/on-the-hub", CONFIG) == make_run(False)


@pytest.fixture
def evaluations(tmp_path):
    def write(name, script, model, *records):
        facts = {"command": f"python examples/{script} --x", "model_name_or_path": f"outputs/{model}"}
        return read_evaluation(
            write_results(tmp_path / f"{name}.json", [Result(*record) for record in records], facts)
        )

    return write


CONFIG = SimpleNamespace(concept_num=16, decoder_target="text", is_recursive=False)


def test_values_come_from_other_evaluations(evaluations, tmp_path):
    glue = evaluations(
        "glue", "run_glue.py", "mine",
        ("stsb", "validation", "pearson", UNTRAINED, 0.1), ("stsb", "validation", "pearson", "mine", 0.7),
        ("stsb", "validation", "spearman", "mine", 0.6),
        ("mnli", "validation_mismatched", "accuracy", "mine", 0.1),
        ("mnli", "validation_matched", "accuracy", "mine", 0.5),
        ("mnli", "validation_matched", "accuracy", "mine, K=6", 0.5),
        ("mnli", "validation_matched", "accuracy", "mine, K=12", 0.52),
        ("mnli", "validation_matched", "accuracy", "bert", 0.9),
    )  # fmt: skip
    sts = evaluations(
        "sts", "run_sts.py", "mine", ("stsb", "test", "pearson", BAG_OF_WORDS, 0.7),
        ("stsb", "test", "pearson, centred", "mine", 0.5), ("stsb", "test", "pearson", "mine", 0.4),
    )  # fmt: skip
    length = evaluations(
        "long", "run_long_context.py", "mine",
        ("qmsum retrieval", "validation", "R@1, 512 tokens", "mine, mean", 0.1),
        ("qmsum retrieval", "validation", "R@1, 4,096 tokens", "mine, centred mean", 0.3),
        ("qmsum retrieval", "validation", "R@1, 4,096 tokens", "mine, mean", 0.2),
    )  # fmt: skip
    reference = evaluations(
        "reference", "run_glue.py", "standard", ("stsb", "validation", "pearson", "standard", 0.72),
        ("mnli", "validation_matched", "accuracy", "standard", 0.54),
        ("mnli", "validation_matched", "accuracy", "bert", 0.9), ("cola", "validation", "mcc", "standard", 0.9),
    )  # fmt: skip
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "eval_results.json").write_text(json.dumps({"eval_loss": 1.4}))
    found, _ = find_measures([glue, sts, length], [reference], str(tmp_path / "mine"), CONFIG)
    assert found == {
        CONCEPTS: 16, STSB: 0.7, ZERO_SHOT: 0.4, MNLI: 0.5, TASK_LOSS: 1.4, QMSUM: 0.2,
        DEPTH_GAIN: pytest.approx(0.02), RECURSION_GAP: pytest.approx((2 + 4) / 2),
    }  # fmt: skip


def test_losses_of_the_suffix(tmp_path):
    path = tmp_path / "eval_results.json"
    path.write_text(json.dumps({"eval_loss": 5.0}))
    continues = SimpleNamespace(concept_num=16, decoder_target="continuation")
    assert find_measures([], [], str(tmp_path), continues)[0] == {CONCEPTS: 16, SUFFIX_LOSS: 5.0}
    path.write_text(json.dumps({"eval_loss": 5.0, "eval_prefix_diffusion_loss": 6.0}))
    assert find_measures([], [], str(tmp_path), CONFIG)[0][SUFFIX_LOSS] == 6.0
    assert find_measures([], [], str(tmp_path), continues)[0][SUFFIX_LOSS] == 6.0
    assert find_measures([], [], "owner/on-the-hub", CONFIG)[0] == {CONCEPTS: 16}


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.json").write_text('{"results": [{"task": "stsb"}]}')
    for path in (tmp_path / "x.json", tmp_path / "nowhere.json"):
        with pytest.raises(ValueError, match="cannot be read as results"):
            read_evaluation(path)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"through_concepts_alone": True}, "perceiver_cls, through the concepts alone"),
        ({"through_concepts_alone": False}, "perceiver_cls, tokens bypass the concepts"),
        ({}, "perceiver_cls, tokens bypass the concepts"),
    ],
)
def test_a_score_says_how_the_classifier_saw_the_text(facts, words, tmp_path):
    facts = {
        "command": "python examples/run_glue.py",
        "model": "outputs/mine",
        "classifier_type": "perceiver_cls",
        **facts,
    }
    records = [Result("stsb", "validation", "pearson", "mine", 0.6), Result("qqp", "x", "f1", "mine", float("nan"))]
    report = read_evaluation(write_results(tmp_path / "glue.json", records, facts))
    values, notes = find_measures([report], [], "outputs/mine", CONFIG)
    assert values[STSB] == 0.6 and notes[STSB] == f" ({words})" and QQP not in values


def test_folders_of_one_name_are_told_apart(tmp_path):
    for name in "ab":
        (tmp_path / name / "final").mkdir(parents=True)
    model = str(tmp_path / "a" / "final")
    assert is_measured(model, None, model) and is_measured(model, None, "elsewhere/final")
    assert not is_measured(model, None, str(tmp_path / "b" / "final"))
