# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Concept analysis as a user runs it: table, JSON, report and pictures."""

import itertools
import json
import math
import random
import re
import sys

import datasets
import pytest

from examples import run_concept_analysis
from trainers.evaluation.results import Result, read_report, write_results
from trainers.evaluation.text_kinds import TEXT_KINDS
from trainers.models.untrained import UntrainedError

from ..evaluation.conftest import make_sentences
from ..trainers.kit import make_model
from .kit import refusal


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    """Checkpoints of a recursive slot encoder and of one whose decoder continues a text, a text, and other results."""
    folder = tmp_path_factory.mktemp("analysis")
    for name, options in (
        ("recursive_mlm", {"encoder_type": "slot"}),
        ("prefix_diffusion", {"encoder_type": "bixt"}),
        ("original_mlm", {}),
    ):  # fmt: skip
        sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "max_sequence_length": 24}
        make_model(name, tokenizer, **sizes, **options).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    (folder / "text.txt").write_text("\n".join(make_sentences()))
    records = [Result("stsb", "validation", "pearson", "recursive_mlm", 0.4)]
    facts = {"command": "python examples/run_glue.py", "model_name_or_path": "recursive_mlm"}
    facts |= {"classifier_type": "perceiver_cls", "through_concepts_alone": True}
    write_results(folder / "glue.json", records, facts)
    return folder


@pytest.fixture
def analyse(folder, tmp_path, monkeypatch, capsys):
    def analyse(*arguments):
        checkpoints = list(itertools.takewhile(lambda word: not word.startswith("--"), arguments))
        output = tmp_path / "output"
        monkeypatch.chdir(folder)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
        defaults = ["--dataset_name", "text.txt", "--max_eval_samples", "20", "--output_dir", str(output)]
        words = ["--model_name_or_path", *checkpoints, *defaults, *arguments[len(checkpoints) :]]
        monkeypatch.setattr(sys, "argv", ["run_concept_analysis.py", *words])
        run_concept_analysis.main()
        return capsys.readouterr(), output, (output / "report.md").read_text(encoding="utf-8")

    return analyse


def images(report):
    return re.findall(r"!\[\w+\]\((\w+\.png)\)", report)


def test_table_numbers_and_report(analyse):
    (printed, progress), output, report = analyse("recursive_mlm", "--results", "glue.json")
    for word in ("content_fraction", "duplicate_share", "recursive_mlm", "untrained", "(tf-idf)",
                 "word order", "accuracy", "majority", "Reconstruction by kind",
                 "Chinese", "report.md"):  # fmt: skip
        assert word in printed, word
    assert max(map(len, printed.splitlines())) <= 120
    assert "probes" in progress

    content = json.loads((output / "results.json").read_text())
    systems = {(r.task, r.system) for r in read_report(output / "results.json")["results"]}
    values = [result.value for result in read_report(output / "results.json")["results"] if "probe" in result.task]
    assert len(values) == 2 * 2 * 4 and not any(map(math.isnan, values))
    assert ("geometry", "untrained") in systems and ("reconstruction", "majority class") in systems
    analysis = content["analysis"]
    assert content["seed"] == 0 and "20 texts of 24 tokens (60 for probes) of text.txt" in analysis["setting"]
    assert set(analysis["original"]) == {"trained", "untrained", "constants"}
    verdicts = {name: verdicts for [name], _, _, verdicts in analysis["gates"]}
    assert list(verdicts) == ["Gate 3: size", "Gate 3: depth", "Gate 4", "Gate 5"]
    assert verdicts["Gate 3: size"] == ["not measured: points below the standard encoder"]
    assert verdicts["Gate 5"][1] == "content_erank: not measured: STS-B Pearson, zero-shot"
    assert [row["kind"] for row in analysis["kinds"]] == list(TEXT_KINDS) and analysis["kinds"][0]["texts"] == 20
    assert analysis["text"] is None and analysis["left_out"] == []

    assert images(report) == ["geometry.png", "attention.png", "compression.png"]
    assert all((output / image).stat().st_size > 10_000 for image in images(report))
    for line in (
        "| Gate 5 | STS-B Pearson, fine-tuned: 0.4 (perceiver_cls, through the concepts alone)<br>rank: ",
        "not measured: points below the standard encoder",
        "| reconstruction | validation (20) | accuracy | ",
        "| mean_concept_similarity | ",
        "Dots: centres of attention.",
    ):
        assert line in report, line
    tables = [line.count("|") for line in report.splitlines() if line.startswith("| Gate")]
    assert set(tables) == {5}


def test_several_checkpoints_stand_side_by_side(analyse, folder):
    text = "The <b>ship</b> sailed [at] dawn."
    given = ["recursive_mlm", "prefix_diffusion", "--results", "glue.json", "--text", text]
    (printed, _), output, report = analyse(*given)
    side = printed.split("Side by side")[1]
    for word in ("recursive_mlm", "prefix_diffusion", "content_erank", "content_erank, untrained", "ref_rank",
                 "STS-B Pearson, fine-tuned", "Chinese, accuracy", "0.4000", "width 16"):  # fmt: skip
        assert word in side, word
    records = read_report(output / "results.json")["results"]
    values = {(r.metric, r.system): r.value for r in records}
    assert values["STS-B Pearson, fine-tuned", "recursive_mlm"] == 0.4
    assert ("STS-B Pearson, fine-tuned", "prefix_diffusion") not in values
    for name in ("recursive_mlm", "prefix_diffusion"):
        own = json.loads((output / name / "results.json").read_text())
        assert own["model_name_or_path"] == name and len(own["weights_sha256"]) == 64
        assert own["analysis"]["setting"].replace("_", r"\_") in report
        assert values["content_erank", name] == own["analysis"]["geometry"]["trained"]["content_erank"]
        assert values["content_erank, untrained", name] == own["analysis"]["geometry"]["untrained"]["content_erank"]
    for name in ("recursive_mlm", "prefix_diffusion"):
        assert f"[{name}]({name}/report.md)" in report
        assert (output / name / "report.md").is_file()
    assert "Your text" in printed and "lost without it" in printed and "sailed" in printed
    own = (output / "recursive_mlm" / "report.md").read_text(encoding="utf-8")
    assert "## Your text" in own and "`The < b > ship" in own


def test_text_that_cannot_be_probed_leaves_the_rest(analyse, folder):
    draw = random.Random(0)
    lines = [" ".join(draw.choices(("one", "and", "all"), k=30)) for _ in range(300)]
    (folder / "three.txt").write_text("\n".join(lines))
    _, output, _ = analyse("recursive_mlm", "--dataset_name", "three.txt")
    content = json.loads((output / "results.json").read_text())
    assert content["analysis"]["geometry"] and content["analysis"]["compression"]
    probes = {record["task"] for record in content["results"] if "probe" in record["task"]}
    assert probes == {"probe: word order, pooled", "probe: word order, all concepts"}


def test_without_an_untrained_network_the_rest_is_measured(analyse, monkeypatch):
    def undefined(model, seed):
        raise UntrainedError("There is no untrained network.")

    monkeypatch.setattr(run_concept_analysis, "untrained_like", undefined)
    (printed, _), output, report = analyse("recursive_mlm")
    assert "There is no untrained network." in printed
    assert {r.system for r in read_report(output / "results.json")["results"]} == {
        "recursive_mlm", "majority class", "bag of words (tf-idf)"
    }  # fmt: skip
    assert len(images(report)) == 3 and "There is no untrained network." in report


def test_numbers_are_written_before_the_report(analyse, folder, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no picture")

    monkeypatch.setattr(run_concept_analysis, "plot_geometry", fail)
    with pytest.raises(RuntimeError, match="no picture"):
        analyse("recursive_mlm", "--output_dir", "kept")
    assert read_report(folder / "kept" / "results.json")["results"]


def test_a_model_without_a_decoder_of_the_text_says_so(analyse):
    (printed, _), output, report = analyse("prefix_diffusion")
    assert "reconstruction" not in printed and "content_erank" in printed
    assert json.loads((output / "results.json").read_text())["analysis"]["compression"] is None
    assert "no decoder of the encoded text" in report
    assert images(report) == ["geometry.png", "attention.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model_name_or_path", "nowhere"], "'nowhere' cannot be read"),
        (["--dataset_name", "nowhere"], "'nowhere' cannot be read"),
        (["--split", "test"], "no split 'test'"),
        (["--text_column", "body"], "no column 'body'"),
        (["--max_eval_samples", "5"], "--max_eval_samples must be at least 20"),
        (["--results", "nowhere.json"], "nowhere.json cannot be read as results"),
        (["--results", "glue.json", "--model_name_or_path", "prefix_diffusion"], "are of 'recursive_mlm'"),
        (["--dataset_name", "short.txt"], "needs at least 60"),
        (["--batch_size", "0"], "--batch_size must be at least 1, not 0"),
        (["--dataset_name", "null.csv"], "needs at least 60"),
        (["--dataset_name", "two.csv"], "Which column holds the text?"),
        (["--dataset_name", "shifted.csv"], "more fields than"),
        (["--dataset_name", "latin.txt"], "latin.txt cannot be read: 'utf-8' codec can't decode"),
        (["--output_dir", "done"], "already holds report.md"),
    ],
)
def test_bad_input_gets_one_sentence(options, message, folder, monkeypatch):
    (folder / "short.txt").write_text("A short text.\n" * 20)
    (folder / "null.csv").write_text("id,text\n" + "1,A text.\n2,\n3,NA\n" * 9)
    (folder / "two.csv").write_text("title,body\n" + "A title,A text.\n" * 90)
    (folder / "shifted.csv").write_text("text,source\n" + "A text.,web,\n" * 90)
    (folder / "latin.txt").write_bytes("Café.\n".encode("latin-1") * 90)
    (folder / "done").mkdir(exist_ok=True)
    (folder / "done" / "report.md").touch()
    defaults = ["--model_name_or_path", "recursive_mlm"]
    if "--split" in options:
        defaults += ["--dataset_name", str(folder / "text")]
        (folder / "text").mkdir(exist_ok=True)
        (folder / "text" / "train.txt").write_text("A text.\n" * 40)
    else:
        defaults += ["--dataset_name", "text.txt"]
    assert message in refusal("run_concept_analysis.py", folder, monkeypatch, *defaults, *options)
