# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The experiment list's gates: verdicts on both sides of every threshold, and where values come from."""

import json
from types import SimpleNamespace

import pytest

from trainers.evaluation.analysis.gates import (
    CONTENT_RANK,
    GATES,
    REFERENCE_RANK,
    Run,
    judge,
    judge_all,
    list_ranks,
)
from trainers.evaluation.analysis.measures import MEASURES, Measured, Report, collect_measures
from trainers.evaluation.results import BAG_OF_WORDS, UNTRAINED, Result, write_results

from ..trainers.kit import make_trainer


BY_NAME = {gate.name: gate for gate in GATES}


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        ("TODO 0: STS-B", {"stsb": 0.61}, "met"),
        ("TODO 0: STS-B", {"stsb": 0.60}, "missed"),
        ("TODO 0: rank", {"rank": 31}, "met"),
        ("TODO 0: QQP", {"qqp": 0.69}, "missed"),
        ("TODO 4", {"rank": 19.9}, "abandon"),
        ("TODO 4", {"rank": 20}, "goes on"),
        ("TODO 6", {"rank": 29}, "insufficient"),
        ("TODO 7", {"rank": 61, "task_loss": 1.9}, "met"),
        ("TODO 7", {"rank": 61, "task_loss": 2.0}, "missed"),
        ("TODO 7", {"rank": 60, "task_loss": 1.9}, "missed"),
        ("TODO 10", {"rank": 64}, "missed"),
        ("TODO 10", {"rank": 65}, "met"),
        ("TODO 11: STS-B", {"stsb": 0.51}, "viable"),
        ("TODO 11: STS-B", {"stsb": 0.50}, "contrastive"),
        ("TODO 11: STS-B", {"stsb": 0.30}, "contrastive"),
        ("TODO 11: STS-B", {"stsb": 0.29}, "pivot"),
        ("TODO 11: rank", {"rank": 21}, "depth helps"),
        ("TODO 11b", {"rank": 31, "task_loss": 2.9}, "works"),
        ("TODO 11b", {"rank": 31, "task_loss": 3.6}, "0.01"),
        ("TODO 11b", {"rank": 31, "task_loss": 3.2}, "between the gates"),
        ("TODO 11b", {"rank": 25, "task_loss": 2.9}, "between the gates"),
        ("TODO 11b", {"rank": 19, "task_loss": 2.9}, "slot attention"),
        ("TODO 13", {"suffix_loss": 2.9}, "met"),
        ("Gate 1: rank", {"rank": 65}, "track B"),
        ("Gate 1: rank", {"rank": 64}, "slot attention"),
        ("Gate 1: rank", {"rank": 29}, "rethink"),
        ("Gate 1: STS-B", {"stsb": 0.71}, "met"),
        ("Gate 1: suffix loss", {"suffix_loss": 3.0}, "missed"),
        ("Gate 2", {"stsb": 0.76, "mnli": 0.66, "rank": 65}, "passed"),
        ("Gate 2", {"stsb": 0.76, "mnli": 0.64, "rank": 65}, "not passed"),
        ("Gate 3: size", {"recursion_gap": 2.0}, "keeps up"),
        ("Gate 3: size", {"recursion_gap": 2.1}, "behind"),
        ("Gate 3: depth", {"depth_gain": 0.01}, "help"),
        ("Gate 3: depth", {"depth_gain": 0.0}, "do not help"),
        ("Gate 4", {"scrolls": 0.2, "concept_num": 512}, "no threshold"),
        ("Gate 4", {"scrolls": 0.2, "concept_num": 16}, "fewer than 512"),
        ("Gate 5", {"stsb": 0.76, "rank": 65, "zero_shot": 0.61}, "passed"),
        ("Gate 5", {"stsb": 0.76, "rank": 65, "zero_shot": 0.6}, "not passed"),
    ],
)
def test_verdicts(name, values, text):
    assert text in judge(BY_NAME[name], values)


def test_what_is_missing_is_named_unless_it_cannot_matter():
    assert judge(BY_NAME["TODO 11b"], {"rank": 31}) == "not measured: task loss"
    assert judge(BY_NAME["TODO 11b"], {"rank": 25}) == "between the gates"
    assert "insufficient" in judge(BY_NAME["TODO 11b"], {"rank": 10})
    assert judge(BY_NAME["Gate 2"], {"rank": 10}) == "not passed"
    assert judge(BY_NAME["Gate 2"], {"rank": 65}) == "not measured: STS-B Pearson, fine-tuned, MNLI-m accuracy"
    assert judge(BY_NAME["Gate 4"], {"concept_num": 16}) == "not measured: QMSum R@1 at 4,096 tokens"


def test_every_gate_of_the_list_asks_for_known_measures():
    assert {name.split(":")[0] for name in BY_NAME} == {
        "TODO 0", "TODO 4", "TODO 6", "TODO 7", "TODO 10", "TODO 11", "TODO 11b", "TODO 13", "Gate 1", "Gate 2",
        "Gate 3", "Gate 4", "Gate 5",
    }  # fmt: skip
    assert {name for gate in GATES for name in gate.measures} == set(MEASURES)
    assert "rank > 30 and task loss < 3: " in BY_NAME["TODO 11b"].thresholds()[0]


def test_rank_gates_have_two_verdicts():
    config = SimpleNamespace(concept_num=16, hidden_size=64)
    ranks = list_ranks({"ref_rank": 2.0, "content_erank": 15.0}, config)
    assert ranks == {REFERENCE_RANK: 16, CONTENT_RANK: 120}
    verdicts = judge_all(Measured({}), ranks, Run(False, "denoising"))
    assert verdicts["TODO 10"] == {REFERENCE_RANK: "target missed", CONTENT_RANK: "target met"}
    assert list(verdicts["Gate 1: STS-B"]) == [""]


TODO_0, GATE_1 = {"TODO 0: STS-B", "TODO 0: rank", "TODO 0: QQP"}, {"Gate 1: rank", "Gate 1: STS-B"}


@pytest.mark.parametrize(
    ("run", "judged"),
    [
        (Run(False, "denoising"), {"TODO 10", *GATE_1}),
        (Run(False, "masked_lm"), TODO_0),
        (Run(False, "masked_lm", True), {*TODO_0, "TODO 4", "TODO 7"}),
        (Run(False, "masked_diffusion"), {"TODO 6", "TODO 11: STS-B", "TODO 11: rank", *GATE_1}),
        (Run(False, "masked_diffusion", True), {"TODO 11b", *GATE_1}),
        (Run(False, "prefix_diffusion"), {"TODO 13", "Gate 1: suffix loss", *GATE_1}),
        (Run(True, "masked_lm"), {"Gate 3: size", "Gate 3: depth"}),
        (Run(False), set()),
    ],
)
def test_gates_are_judged_for_the_runs_that_they_were_written_for(run, judged):
    found = judge_all(Measured(dict.fromkeys(MEASURES, 1.0)), {REFERENCE_RANK: 1.0, CONTENT_RANK: 2.0}, run)
    assert set(found) == judged | {"Gate 4", "Gate 5"} | ({"Gate 2"} if not run.recursive else set())


def test_the_run_is_read_from_the_checkpoint(tokenizer, pieces, tmp_path):
    trainer = make_trainer(tokenizer, pieces, tmp_path, "diffusion_mlm", concept_losses="vicreg:0.1,t_regs_mst:0.1")
    trainer.save_model(str(tmp_path / "run"))
    run = Run.read(str(tmp_path / "run"), trainer.training_model.model.config)
    assert run == Run(False, "masked_diffusion", True)
    (tmp_path / "run" / "training_run.json").write_text('{"objectives": {"denoising": {}, "contrastive": {}}}')
    assert Run.read(str(tmp_path / "run"), CONFIG) == Run(False)
    (tmp_path / "run" / "training_run.json").write_text("[")
    with pytest.raises(ValueError, match="training_run.json of .* cannot be read"):
        Run.read(str(tmp_path / "run"), CONFIG)
    (tmp_path / "run" / "training_run.json").unlink()
    assert Run.read(str(tmp_path / "run"), CONFIG) == Run.read("owner/on-the-hub", CONFIG) == Run(False)


@pytest.fixture
def evaluations(tmp_path):
    def write(name, script, model, *records):
        facts = {"command": f"python examples/{script} --x", "model_name_or_path": f"outputs/{model}"}
        return Report.read(write_results(tmp_path / f"{name}.json", [Result(*record) for record in records], facts))

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
    found = collect_measures([glue, sts, length], [reference], str(tmp_path / "mine"), CONFIG)
    assert found.values == {
        "concept_num": 16, "stsb": 0.7, "zero_shot": 0.4, "mnli": 0.5, "task_loss": 1.4, "scrolls": 0.2,
        "depth_gain": pytest.approx(0.02), "recursion_gap": pytest.approx((2 + 4) / 2),
    }  # fmt: skip


def test_losses_of_the_suffix(tmp_path):
    path = tmp_path / "eval_results.json"
    path.write_text(json.dumps({"eval_loss": 5.0}))
    continues = SimpleNamespace(concept_num=16, decoder_target="continuation")
    assert collect_measures([], [], str(tmp_path), continues).values == {"concept_num": 16, "suffix_loss": 5.0}
    path.write_text(json.dumps({"eval_loss": 5.0, "eval_prefix_diffusion_loss": 6.0}))
    assert collect_measures([], [], str(tmp_path), CONFIG).values["suffix_loss"] == 6.0
    assert collect_measures([], [], "owner/on-the-hub", CONFIG).values == {"concept_num": 16}


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.json").write_text('{"results": [{"task": "stsb"}]}')
    for path in (tmp_path / "x.json", tmp_path / "nowhere.json"):
        with pytest.raises(ValueError, match="cannot be read as results"):
            Report.read(path)


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
    report = Report.read(write_results(tmp_path / "glue.json", records, facts))
    measured = collect_measures([report], [], "outputs/mine", CONFIG)
    assert measured.evaluations == {"stsb": words} and "qqp" not in measured.values


def test_folders_of_one_name_are_told_apart(tmp_path):
    for name in "ab":
        (tmp_path / name / "final").mkdir(parents=True)
    report = Report("run_glue.py", str(tmp_path / "a" / "final"), ())
    assert report.is_about(str(tmp_path / "a" / "final")) and report.is_about("elsewhere/final")
    assert not report.is_about(str(tmp_path / "b" / "final"))
