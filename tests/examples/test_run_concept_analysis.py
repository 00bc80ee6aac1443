# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Concept analysis as a user runs it: table, JSON and a page that needs nothing else."""

import base64
import itertools
import json
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import datasets
import pytest

from examples import run_concept_analysis
from trainers.analysis.gates import GATES
from trainers.results import Result, read_results, write_results
from trainers.text_kinds import KINDS
from trainers.untrained import UntrainedError

from ..analysis.conftest import make_sentences
from ..trainers.kit import make_model
from .kit import refusal


class Page(HTMLParser):
    """Tags with their attributes, and what of them is open."""

    VOID = {"meta", "link", "img", "br", "wbr"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    """Checkpoints of a recursive slot encoder and of one whose decoder continues a text, a text, and other results."""
    folder = tmp_path_factory.mktemp("analysis")
    for name, options in (
        ("recursive_mlm", {"encoder_type": "slot"}),
        ("prefix_diffusion", {"encoder_type": "bixt", "concept_position_type": "none", "phase_harmonics": 0,
                              "address_bias": 0}),
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
        return capsys.readouterr(), output, Page((output / "report.html").read_text(encoding="utf-8"))

    return analyse


def test_table_numbers_and_page(analyse):
    (printed, progress), output, page = analyse("recursive_mlm", "--results", "glue.json")
    for word in ("content_fraction", "1 - duplicate_share", "recursive_mlm", "untrained", "(tf-idf)", "shuffled",
                 "halves, all", "accuracy", "majority", "What comes back", "Chinese", "report.html"):  # fmt: skip
        assert word in printed, word
    assert max(map(len, printed.splitlines())) <= 110
    assert "probes: trained" in progress

    content = json.loads((output / "results.json").read_text())
    systems = {(r.task, r.system) for r in read_results(output / "results.json")}
    assert ("geometry", "untrained") in systems and ("reconstruction", "majority class") in systems
    analysis = content["analysis"]
    assert content["seed"] == 0 and analysis["sample"]["texts"] == 20 and analysis["sample"]["probe_texts"] == 60
    assert set(analysis["legacy"]) == {"trained", "untrained", "constants"}
    assert len(analysis["gates"]) == len(GATES) and len(analysis["profiles"]["concepts"]) == 6
    verdicts = {gate["name"]: gate["verdicts"] for gate in analysis["gates"]}
    assert verdicts["TODO 11: STS-B"][""]["text"] == "not this experiment"  # of standard encoders
    assert verdicts["TODO 0: STS-B"][""]["text"] == "not this experiment"
    assert verdicts["Gate 3: size"][""]["level"] == "open" and verdicts["Gate 5"]["content_erank"]["level"] == "poor"
    assert [row["kind"] for row in analysis["kinds"]] == list(KINDS) and analysis["kinds"][0]["texts"] == 20
    assert analysis["text"] is None and analysis["left_out"] == []

    assert page.open == [] and page.all("html") == [{"lang": "en"}] and len(page.all("h1")) == 1
    images = page.all("img")
    assert len(images) == 12 and all(len(image["alt"]) > 20 for image in images)
    for image in images:
        kind, data = image["src"].split(",", 1)
        assert kind == "data:image/svg+xml;base64"
        svg = base64.b64decode(data).decode()
        ElementTree.fromstring(svg)
        assert "prefers-color-scheme" in svg and "var(--c0)" in svg
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [link["href"] for link in page.all("a")]
    assert links and all(link[0] == "#" and link[1:] in ids for link in links)
    assert page.all("link") == [{"rel": "icon", "href": "data:,"}] and not page.all("script")
    assert not [a for _, a in page.tags if "http" in a.get("src", a.get("href", ""))[:4]]
    text = " ".join(page.text.split())
    assert "0.400" in text and "perceiver_cls, through the concepts alone" in text
    assert "run_glue.py --model_name_or_path recursive_mlm --task_name all" in text
    assert "divided into 6 equal parts, and concept k stands at part k, counted from 0" in text
    assert len(page.all("details")) == 4  # older metrics, each concept, numbers of probes, examples of kinds


def test_several_checkpoints_stand_side_by_side(analyse, folder):
    text = "The <b>ship</b> sailed [at] dawn."
    given = ["recursive_mlm", "prefix_diffusion", "--results", "glue.json", "--text", text]
    (printed, _), output, page = analyse(*given)
    side = printed.split("Side by side")[1]
    for word in ("recursive_mlm", "prefix_diffusion", "content_erank", "content_erank, untrained", "legacy rank",
                 "STS-B Pearson, fine-tuned", "Chinese, tokens right", "0.400", "width"):  # fmt: skip
        assert word in side, word
    records = read_results(output / "results.json")
    values = {(r.metric, r.system): r.value for r in records if not r.task.startswith("rank")}
    assert values["STS-B Pearson, fine-tuned", "recursive_mlm"] == 0.4
    assert ("STS-B Pearson, fine-tuned", "prefix_diffusion") not in values
    for name in ("recursive_mlm", "prefix_diffusion"):
        own = json.loads((output / name / "results.json").read_text())
        assert own["model_name_or_path"] == name and len(own["weights_sha256"]) == 64
        sizes = own["analysis"]["model"]
        assert values["encoder parameters", name] == sizes["encoder_parameters"] < sizes["parameters"]
        assert values["content_erank", name] == own["analysis"]["geometry"]["trained"]["content_erank"]
        assert values["content_erank, untrained", name] == own["analysis"]["geometry"]["untrained"]["content_erank"]
    assert page.open == [] and [link["href"] for link in page.all("a")] == [
        "recursive_mlm/report.html", "prefix_diffusion/report.html"
    ]  # fmt: skip
    assert "Your text" in printed and "lost without it" in printed and "sailed" in printed
    own = Page((output / "recursive_mlm" / "report.html").read_text(encoding="utf-8"))
    assert own.open == [] and {"id": "text"} in own.all("section") and "<b>" in own.text and not own.all("b")
    assert (output / "prefix_diffusion" / "report.html").is_file()


def test_text_that_cannot_be_probed_leaves_the_rest(analyse, folder):
    (folder / "chinese.txt").write_text(
        "\n".join("老船长在桥边等船，外面下着雨。"[n % 9 :] for n in range(900)), encoding="utf-8"
    )
    (printed, _), output, page = analyse("recursive_mlm", "--dataset_name", "chinese.txt")
    content = json.loads((output / "results.json").read_text())
    assert content["analysis"]["geometry"] and content["analysis"]["compression"]
    left_out = content["analysis"]["left_out"]
    for line in left_out:
        assert line in printed and line in page.text
    assert page.open == [] and len(page.all("img")) == 8 + len(content["analysis"]["questions"])


def test_without_an_untrained_network_the_rest_is_measured(analyse, monkeypatch):
    def undefined(model, seed):
        raise UntrainedError("There is no untrained network.")

    monkeypatch.setattr(run_concept_analysis, "untrained_like", undefined)
    (printed, _), output, page = analyse("recursive_mlm")
    assert (
        printed.startswith("There is no untrained network.\n") and printed.split("report: ")[0].count("untrained") == 1
    )
    assert {r.system for r in read_results(output / "results.json")} == {
        "recursive_mlm", "majority class", "bag of words (tf-idf)", "shuffled labels"
    }  # fmt: skip
    assert page.open == [] and len(page.all("img")) == 11 and "There is no untrained network." in page.text


def test_numbers_are_written_before_the_report(analyse, folder, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no picture")

    monkeypatch.setattr(run_concept_analysis, "make_pictures", fail)
    with pytest.raises(RuntimeError, match="no picture"):
        analyse("recursive_mlm", "--output_dir", "kept")
    assert read_results(folder / "kept" / "results.json")


def test_a_model_without_a_decoder_of_the_text_says_so(analyse):
    (printed, _), output, page = analyse("prefix_diffusion")
    assert "reconstruction" not in printed and "content_erank" in printed
    assert json.loads((output / "results.json").read_text())["analysis"]["compression"] is None
    assert "no decoder of the text that is encoded, only one of what follows it" in " ".join(page.text.split())
    assert len(page.all("img")) == 9 and "centre of attention" in " ".join(page.text.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model_name_or_path", "nowhere"], "'nowhere' cannot be analysed"),
        (["--dataset_name", "nowhere"], "'nowhere' cannot be read"),
        (["--split", "test"], "no split 'test'"),
        (["--text_column", "body"], "no column 'body'"),
        (["--max_eval_samples", "5"], "--max_eval_samples must be at least 20"),
        (["--results", "nowhere.json"], "nowhere.json cannot be read as results"),
        (["--results", "glue.json", "--model_name_or_path", "prefix_diffusion"], "are of 'recursive_mlm'"),
        (["--dataset_name", "short.txt"], "needs at least 60"),
        (["--batch_size", "0"], "--batch_size must be at least 1, not 0"),
        (["--text", ""], "--text has an empty value"),
        (["--dataset_name", "null.csv"], "needs at least 60"),
        (["--dataset_name", "two.csv"], "Which column holds the text?"),
        (["--dataset_name", "shifted.csv"], "more fields than"),
        (["--dataset_name", "latin.txt"], "latin.txt cannot be read: 'utf-8' codec can't decode"),
        (["--output_dir", "done"], "already holds report.html"),
        (
            ["--model_name_or_path", "recursive_mlm", "prefix_diffusion", "--push_to_hub", "--hub_model_id", "me/x"],
            "--push_to_hub takes one checkpoint",
        ),
    ],
)
def test_bad_input_gets_one_sentence(options, message, folder, monkeypatch):
    (folder / "short.txt").write_text("A short text.\n" * 20)
    (folder / "null.csv").write_text("id,text\n" + "1,A text.\n2,\n3,NA\n" * 9)
    (folder / "two.csv").write_text("title,body\n" + "A title,A text.\n" * 90)
    (folder / "shifted.csv").write_text("text,source\n" + "A text.,web,\n" * 90)
    (folder / "latin.txt").write_bytes("Café.\n".encode("latin-1") * 90)
    (folder / "done").mkdir(exist_ok=True)
    (folder / "done" / "report.html").touch()
    defaults = ["--model_name_or_path", "recursive_mlm"]
    if "--split" in options:
        defaults += ["--dataset_name", str(folder / "text")]
        (folder / "text").mkdir(exist_ok=True)
        (folder / "text" / "train.txt").write_text("A text.\n" * 40)
    else:
        defaults += ["--dataset_name", "text.txt"]
    assert message in refusal("run_concept_analysis.py", folder, monkeypatch, *defaults, *options)
