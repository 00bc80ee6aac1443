# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Concept analysis as a user runs it: table, JSON and a page that needs nothing else."""

import base64
import json
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import datasets
import pytest

from examples import run_concept_analysis
from trainers.analysis.gates import GATES
from trainers.results import Result, read_results, write_results

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
    write_results(folder / "glue.json", records, facts)
    return folder


@pytest.fixture
def analyse(folder, tmp_path, monkeypatch, capsys):
    def analyse(checkpoint, *arguments):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
        defaults = ["--model_name_or_path", checkpoint, "--dataset_name", "text.txt", "--limit", "20"]
        monkeypatch.setattr(sys, "argv", ["run_concept_analysis.py", *defaults, *arguments])
        run_concept_analysis.main()
        (output,) = folder.glob(f"outputs/analysis_{checkpoint}_2*")
        return capsys.readouterr(), output, Page((output / "report.html").read_text(encoding="utf-8"))

    return analyse


def test_table_numbers_and_page(analyse):
    (printed, progress), output, page = analyse("recursive_mlm", "--results", "glue.json")
    for word in ("content_fraction", "1 - duplicate_share", "recursive_mlm", "untrained", "bag of words", "shuffled",
                 "probe: words, pooled", "accuracy", "majority", "report.html"):  # fmt: skip
        assert word in printed, word
    assert "probes: trained" in progress

    content = json.loads((output / "results.json").read_text())
    systems = {(r.task, r.system) for r in read_results(output / "results.json")}
    assert ("geometry", "untrained") in systems and ("reconstruction", "majority class") in systems
    analysis = content["analysis"]
    assert content["seed"] == 0 and analysis["sample"]["texts"] == 20 and analysis["sample"]["probe_texts"] == 60
    assert set(analysis["legacy"]) == {"trained", "untrained", "constants"}
    assert len(analysis["gates"]) == len(GATES) and len(analysis["profiles"]["concepts"]) == 6
    verdicts = {gate["name"]: gate["verdicts"] for gate in analysis["gates"]}
    assert verdicts["TODO 11: STS-B"][""]["level"] == "partial"

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
    assert "0.400" in page.text and "run_glue.py --model_name_or_path recursive_mlm --task_name qqp" in page.text


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
        (["--limit", "5"], "--limit must be at least 20"),
        (["--results", "nowhere.json"], "nowhere.json cannot be read as results"),
        (["--results", "glue.json", "--model_name_or_path", "prefix_diffusion"], "are of 'recursive_mlm'"),
        (["--dataset_name", "short.txt"], "needs at least 60"),
    ],
)
def test_bad_input_gets_one_sentence(options, message, folder, monkeypatch):
    (folder / "short.txt").write_text("A short text.\n" * 20)
    defaults = ["--model_name_or_path", "recursive_mlm"]
    if "--split" in options:
        defaults += ["--dataset_name", str(folder / "text")]
        (folder / "text").mkdir(exist_ok=True)
        (folder / "text" / "train.txt").write_text("A text.\n" * 40)
    else:
        defaults += ["--dataset_name", "text.txt"]
    assert message in refusal("run_concept_analysis.py", folder, monkeypatch, *defaults, *options)
