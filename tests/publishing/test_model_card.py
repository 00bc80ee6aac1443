# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What cards say, and what they leave out."""

import re
import sys

import pytest
from markdown_it import MarkdownIt
from transformers import TrainingArguments

from modeling_concept import ConceptEncoderForConditionalGeneration, ConceptEncoderForSequenceClassificationPerceiver
from trainers.evaluation.results import MAJORITY, Result
from trainers.publishing.model_card import RunFacts, add_results, hub_id, known_as, make_card
from trainers.utils.script import command_line

from ..hub_server import card_errors
from ..modeling.zoo import make_config
from ..trainers.kit import make_model


NASTY = "a|b\n## Not a heading\n<script>x</script> `c` *d* [e](f) <!-- end of results -->"


@pytest.fixture(scope="module")
def model(tokenizer):
    return make_model("perceiver_posonly_mlm", tokenizer)


def headings(card) -> list[str]:
    return re.findall(r"<h[12]>(.*?)</h[12]>", MarkdownIt("commonmark").enable("table").render(card.text))


def test_names_and_texts_are_no_markup_in_a_card(model):
    facts = RunFacts(
        NASTY, NASTY, data=NASTY, text_column=NASTY, command=f"python run.py --run_name '{NASTY}\n```'",
        trained={"loss": 1.0}, untrained={"loss": 2.0}, training={"note": NASTY}, examples=[(NASTY, NASTY)] * 2,
    )  # fmt: skip
    card = make_card(model, None, facts)
    plain = make_card(model, None, RunFacts("a", "a", trained={"loss": 1.0}, data="b", training={"a": "b"}))
    assert len(headings(card)) == len(headings(plain))
    add_results(card, [Result(NASTY, NASTY, "spearman", NASTY, 0.5)], "sentence-similarity", files=[f"{NASTY}.html"])
    assert len(headings(card)) == len(headings(plain)) + 1
    html = MarkdownIt("commonmark").enable("table").render(card.text)
    assert "<script" not in re.sub("<!--.*?-->", "", html) and card_errors(str(card)) == []
    for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL):
        assert row.count("<td") in (0, 2, 3, 4)
    before = card.text
    add_results(card, [Result(NASTY, NASTY, "spearman", NASTY, 0.5)], "sentence-similarity", files=[f"{NASTY}.html"])
    assert card.text == before  # the section is found again
    blocks = re.findall(r'<code class="language-python">(.*?)</code>', html, re.DOTALL)
    assert len(blocks) == 3


def test_metadata_hold_what_is_known_and_nothing_else(model):
    bare = make_card(model, None, RunFacts("run", "run")).data.to_dict()
    assert not {"language", "base_model", "datasets", "license"} & set(bare)
    assert "sentence-transformers" in bare["tags"]
    facts = RunFacts(
        "run", "run", data_ids=("me/a", "b"), base_model="me/base", language="pl", trained={"loss": 1.0},
        untrained={"loss": 2.0}, data="me/a, b",
    )  # fmt: skip
    card = make_card(model, None, facts)
    assert card.data.datasets == ["me/a", "b"] and card.data.base_model == "me/base"
    assert card.data.language == "pl" and card_errors(str(card)) == []
    assert [(e.metric_name, e.metric_value) for e in card.data.eval_results] == [("loss", 1.0)]
    assert "| loss | 1.000 | 2.000 |" in card.text


def test_local_paths_stay_out(model, tmp_path, monkeypatch):
    checkpoint = tmp_path / "runs" / "base"
    checkpoint.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub_id("runs/base") is None and hub_id("me/base") == "me/base"
    assert (known_as("runs/base"), known_as(str(checkpoint)), known_as("me/base")) == ("base", "base", "me/base")
    line = [
        "--model_name_or_path",
        "runs/base",
        f"--train_file={checkpoint}/a b.txt",
        "--output_dir",
        "../x",
    ]
    line += ["--dataset_name", f"{checkpoint},me/data", "--hub_token", "hf_x"]
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "train.py"), *line])
    shown = command_line(shared=True)
    assert shown == (
        "python examples/train.py --model_name_or_path base '--train_file=a b.txt' --output_dir x "
        "--dataset_name base,me/data --hub_token '…'"
    )
    results = [Result("mrpc", "validation", "f1", system, 0.5) for system in ("base", MAJORITY)]
    data = {"mrpc": (str(checkpoint), "mrpc", None)}
    facts = RunFacts("base_mrpc", "base_mrpc", str(checkpoint), tasks=data, command=shown)
    arguments = TrainingArguments(str(checkpoint), use_cpu=True)
    classifier = ConceptEncoderForSequenceClassificationPerceiver(make_config(num_labels=2))
    card = make_card(classifier, arguments, facts, results)
    assert str(tmp_path) not in str(card) and "runs" not in str(card) and "from `base`" in card.text
    assert card.data.base_model is None and card.data.datasets is None
    assert card_errors(str(card)) == []


def test_the_code_of_a_card_reads_the_tokenizer(model):
    (line,) = re.findall(r"^tokenizer = .*$", make_card(model, None, RunFacts("run", "me/run")).text, re.MULTILINE)
    assert line == 'tokenizer = AutoTokenizer.from_pretrained("me/run", trust_remote_code=True)'


def test_the_card_of_a_reader():
    model = ConceptEncoderForConditionalGeneration(make_config(ConceptEncoderForConditionalGeneration))
    card = make_card(model, None, RunFacts("run", "me/run"))
    assert "AutoModelForSeq2SeqLM.from_pretrained" in card.text and "AutoModelForMaskedLM" not in card.text
    count = model.reader.lm.num_parameters()
    assert f"| reader | llama, {count:,} parameters |\n| vocabulary" in card.text
    model.config.reader_source = {"name_or_path": "me/reader", "sha256": ""}
    assert "parameters, started as me/reader |" in make_card(model, None, RunFacts("run", "me/run")).text
