# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The experiment list's gates: verdicts on both sides of every threshold, and where values come from."""

import json
from types import SimpleNamespace

import pytest

from trainers.analysis.gates import (
    CONTENT,
    GATES,
    LEGACY,
    MEASURES,
    Report,
    collect_measures,
    judge,
    judge_all,
    rank_measures,
)
from trainers.results import BAG_OF_WORDS, UNTRAINED, Result, write_results


BY_NAME = {gate.name: gate for gate in GATES}


@pytest.mark.parametrize(
    ("name", "values", "level", "text"),
    [
        ("TODO 0: STS-B", {"stsb": 0.61}, "good", "met"),
        ("TODO 0: STS-B", {"stsb": 0.60}, "poor", "missed"),
        ("TODO 0: rank", {"rank": 31}, "good", "met"),
        ("TODO 0: QQP", {"qqp": 0.69}, "poor", "missed"),
        ("TODO 4", {"rank": 19.9}, "poor", "abandon"),
        ("TODO 4", {"rank": 20}, "good", "goes on"),
        ("TODO 6", {"rank": 29}, "poor", "insufficient"),
        ("TODO 10", {"rank": 64}, "poor", "missed"),
        ("TODO 10", {"rank": 65}, "good", "met"),
        ("TODO 11: STS-B", {"stsb": 0.51}, "good", "viable"),
        ("TODO 11: STS-B", {"stsb": 0.50}, "partial", "contrastive"),
        ("TODO 11: STS-B", {"stsb": 0.30}, "partial", "contrastive"),
        ("TODO 11: STS-B", {"stsb": 0.29}, "poor", "pivot"),
        ("TODO 11: rank", {"rank": 21}, "good", "depth helps"),
        ("TODO 11b", {"rank": 31, "task_loss": 2.9}, "good", "works"),
        ("TODO 11b", {"rank": 31, "task_loss": 3.6}, "partial", "0.01"),
        ("TODO 11b", {"rank": 31, "task_loss": 3.2}, "between", "between the gates"),
        ("TODO 11b", {"rank": 25, "task_loss": 2.9}, "between", "between the gates"),
        ("TODO 11b", {"rank": 19, "task_loss": 2.9}, "poor", "slot attention"),
        ("TODO 13", {"suffix_loss": 2.9}, "good", "met"),
        ("Gate 1: rank", {"rank": 65}, "good", "track B"),
        ("Gate 1: rank", {"rank": 64}, "partial", "slot attention"),
        ("Gate 1: rank", {"rank": 29}, "poor", "rethink"),
        ("Gate 1: STS-B", {"stsb": 0.71}, "good", "met"),
        ("Gate 1: suffix loss", {"suffix_loss": 3.0}, "poor", "missed"),
        ("Gate 2", {"stsb": 0.76, "mnli": 0.66, "rank": 65}, "good", "passed"),
        ("Gate 2", {"stsb": 0.76, "mnli": 0.64, "rank": 65}, "poor", "not passed"),
        ("Gate 3: size", {"recursion_gap": 2.0}, "good", "keeps up"),
        ("Gate 3: size", {"recursion_gap": 2.1}, "poor", "behind"),
        ("Gate 3: depth", {"depth_gain": 0.01}, "good", "help"),
        ("Gate 3: depth", {"depth_gain": 0.0}, "poor", "do not help"),
        ("Gate 4", {"scrolls": 0.2, "concept_num": 512}, "good", "no threshold"),
        ("Gate 4", {"scrolls": 0.2, "concept_num": 16}, "partial", "fewer than 512"),
        ("Gate 5", {"stsb": 0.76, "rank": 65, "zero_shot": 0.61}, "good", "passed"),
        ("Gate 5", {"stsb": 0.76, "rank": 65, "zero_shot": 0.6}, "poor", "not passed"),
    ],
)
def test_verdicts(name, values, level, text):
    verdict = judge(BY_NAME[name], values)
    assert verdict.level == level and text in verdict.text and not verdict.missing


def test_what_is_missing_is_named_unless_it_cannot_matter():
    assert judge(BY_NAME["TODO 11b"], {"rank": 31}).missing == ("task_loss",)
    assert judge(BY_NAME["TODO 11b"], {"rank": 25}).text == "between the gates"
    assert judge(BY_NAME["TODO 11b"], {"rank": 10}).level == "poor"
    assert judge(BY_NAME["Gate 2"], {"rank": 10}).text == "not passed"
    assert judge(BY_NAME["Gate 2"], {"rank": 65}).missing == ("stsb", "mnli")
    assert judge(BY_NAME["Gate 4"], {"concept_num": 16}).missing == ("scrolls",)


def test_every_gate_of_the_list_asks_for_known_measures():
    assert {name.split(":")[0] for name in BY_NAME} == {
        "TODO 0", "TODO 4", "TODO 6", "TODO 10", "TODO 11", "TODO 11b", "TODO 13", "Gate 1", "Gate 2", "Gate 3",
        "Gate 4", "Gate 5",
    }  # fmt: skip
    assert {name for gate in GATES for name in gate.measures} == set(MEASURES)
    assert "rank > 30 and task loss < 3.0: " in BY_NAME["TODO 11b"].thresholds()[0]


def test_rank_gates_have_two_verdicts():
    config = SimpleNamespace(concept_num=16, hidden_size=64)
    ranks = rank_measures({"ref_rank": 2.0, "content_erank": 15.0}, config)
    assert ranks == {LEGACY: 16, CONTENT: 120}
    judged = {gate["name"]: gate for gate in judge_all({}, ranks)}
    assert [verdict.level for verdict in judged["TODO 10"]["verdicts"].values()] == ["poor", "good"]
    assert judged["TODO 10"]["measures"]["rank"]["value"] == ranks
    assert list(judged["TODO 0: STS-B"]["verdicts"]) == [""]


@pytest.fixture
def evaluations(tmp_path):
    def write(name, script, model, *records):
        facts = {"command": f"python examples/{script} --x", "model_name_or_path": f"outputs/{model}"}
        return Report.read(write_results(tmp_path / f"{name}.json", [Result(*record) for record in records], facts))

    return write


CONFIG = SimpleNamespace(concept_num=16, decoder_target="text")


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
    assert found == {
        "concept_num": 16, "stsb": 0.7, "zero_shot": 0.4, "mnli": 0.5, "task_loss": 1.4, "scrolls": 0.2,
        "depth_gain": pytest.approx(0.02), "recursion_gap": pytest.approx((2 + 4) / 2),
    }  # fmt: skip


def test_losses_of_the_suffix(tmp_path):
    path = tmp_path / "eval_results.json"
    path.write_text(json.dumps({"eval_loss": 5.0}))
    continues = SimpleNamespace(concept_num=16, decoder_target="continuation")
    assert collect_measures([], [], str(tmp_path), continues) == {"concept_num": 16, "suffix_loss": 5.0}
    path.write_text(json.dumps({"eval_loss": 5.0, "eval_prefix_diffusion_loss": 6.0}))
    assert collect_measures([], [], str(tmp_path), CONFIG)["suffix_loss"] == 6.0
    assert collect_measures([], [], "owner/on-the-hub", CONFIG) == {"concept_num": 16}


def test_results_of_another_model_and_other_files_are_refused(evaluations, tmp_path):
    other = evaluations("other", "run_glue.py", "other", ("stsb", "validation", "pearson", "other", 0.9))
    with pytest.raises(ValueError, match="are of 'other', but 'mine' is analysed"):
        collect_measures([other], [], "outputs/mine", CONFIG)
    (tmp_path / "x.json").write_text('{"results": [{"task": "stsb"}]}')
    for path in (tmp_path / "x.json", tmp_path / "nowhere.json"):
        with pytest.raises(ValueError, match="cannot be read as results"):
            Report.read(path)
