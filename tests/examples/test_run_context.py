# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""examples/run_context.py, and what it measures."""

import copy
import json
import math

import datasets
import pytest
import torch
import torch.nn.functional as F

from trainers.data.tokenizers import train_tokenizer
from trainers.evaluation.context import (
    CONCEPTS,
    CONSTANT,
    EARLIER,
    FULL,
    HALF,
    LAST,
    NOTHING,
    OPTIMISED,
    OTHER,
    ContextReader,
    Scores,
    context_results,
    context_scores,
    optimised_scores,
    round_trip,
)
from trainers.evaluation.context_data import ContextData, earlier_tokens, make_context_data, make_question_data
from trainers.evaluation.reading_cost import read_and_write, reading_cost

from ..conftest import TEXTS
from ..trainers.kit import make_model
from .kit import refusal, run_here


@pytest.fixture(scope="module")
def model(tokenizer):
    found = make_model("causal_lm", tokenizer, decoder_target="both").eval()
    found.tokenizer = tokenizer
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return found


@pytest.fixture(scope="module")
def texts():
    return datasets.Dataset.from_dict({"text": [" ".join(TEXTS[number % 4 :] + TEXTS) for number in range(12)]})


@pytest.fixture(scope="module")
def data(texts, tokenizer):
    return make_context_data("toy", texts, "text", tokenizer, 16, 8, 6, 4)


def test_data(data, texts, tokenizer):
    assert data.prefixes.shape == (6, 16) and data.suffixes.shape == data.earlier.shape == (6, 8)
    whole = tokenizer(texts[0]["text"], add_special_tokens=False)["input_ids"]
    ids = torch.cat([data.prefixes, data.suffixes], dim=1).tolist()
    assert any(whole[start : start + 23] == ids[0][1:] for start in range(len(whole)))
    with pytest.raises(ValueError, match="fewer than two pieces of 900 tokens"):
        make_context_data("toy", texts, "text", tokenizer, 800, 100, 6, 4)


def test_words_that_only_memory_knows(tokenizer):
    text = "The lazy dog sleeps; a ship sailed. The dog sailed"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    prefix = len(tokenizer("The lazy dog sleeps; a ship sailed.", add_special_tokens=False)["input_ids"])
    last = prefix - len(tokenizer("The lazy dog sleeps; a", add_special_tokens=False)["input_ids"])
    flags = earlier_tokens(ids, tokenizer, prefix, last)
    marked = tokenizer.decode([token for token, flag in zip(ids[prefix:], flags, strict=True) if flag])
    assert marked.lower().replace(" ", "") == "thedog"  # "sailed" is among the last tokens, too


def test_losses_by_what_is_known(model, data):
    scores = context_scores(model, data, 4, batch_size=4)
    losses = {name: found.losses for name, found in scores.items()}
    ways = {NOTHING, FULL, LAST, CONCEPTS, OTHER, CONSTANT, HALF}
    assert losses.keys() == ways and all(values.shape == (6, 8) for values in losses.values())
    ids = torch.cat([data.prefixes, data.suffixes], dim=1)
    with torch.no_grad():
        logits = model.reader.lm(input_ids=ids).logits[:, 15:-1]
        output = model(data.prefixes, labels=data.suffixes, concept_num=4, continuation=True)
    expected = F.cross_entropy(logits.mT, data.suffixes, reduction="none")
    torch.testing.assert_close(losses[FULL], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores[FULL].right, logits.argmax(dim=-1) == data.suffixes)
    assert losses[CONCEPTS].mean() == pytest.approx(float(output.loss), abs=1e-4)
    # Half: the concepts of the older text, and its last tokens as the first ones that are written.
    with torch.no_grad():
        older, recent = data.prefixes[:, :-2], data.prefixes[:, -2:]
        labels = torch.cat([recent, data.suffixes], dim=1)
        logits = model(older, labels=labels, concept_num=2, continuation=True).logits[:, 2:]
    expected = F.cross_entropy(logits.mT, data.suffixes, reduction="none")
    torch.testing.assert_close(losses[HALF], expected, atol=1e-4, rtol=1e-4)
    scores[FULL] = Scores(losses[FULL] - 2, scores[FULL].right)  # as if random weights gained by it
    losses[FULL] = scores[FULL].losses
    shares = context_results(data, scores, "16 tokens as 4")
    kept = {r.system: r.value for r in shares if r.metric == "context kept" and r.task == "toy"}
    assert kept[NOTHING] == 0 and kept[FULL] == pytest.approx(1)
    means = {name: float(values.mean()) for name, values in losses.items()}
    expected = (means[NOTHING] - means[CONCEPTS]) / (means[NOTHING] - means[FULL])
    assert kept[CONCEPTS] == pytest.approx(expected, rel=1e-4)
    assert any(EARLIER in result.task for result in shares) == bool(data.earlier.any())


def test_another_text_is_never_the_own_one(model):
    few = ContextData("few", *(torch.randint(5, 61, (3, count)) for count in (16, 8)), torch.ones(3, 8).bool())
    scores = context_scores(model, few, 4, batch_size=2)
    pairs = zip(scores[CONCEPTS].losses, scores[OTHER].losses, strict=True)
    assert not any(torch.allclose(own, other) for own, other in pairs)
    worse = scores[NOTHING]._replace(losses=scores[NOTHING].losses + 1)
    shares = context_results(few, scores | {FULL: worse}, "16 tokens as 4")
    assert all(math.isnan(result.value) for result in shares if result.metric == "context kept")


def test_the_ceiling_is_nearer_to_the_whole_prefix(model, data):
    def distance(losses):
        return float((losses - whole).abs().mean())

    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    scores = context_scores(model, data, 4, batch_size=6)
    whole = scores[FULL].losses
    found = optimised_scores(model, data, 4, batch_size=3, steps=200)
    assert distance(found.losses) < 0.5 * distance(scores[CONCEPTS].losses)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_text_written_again(model, data):
    found = round_trip(model, data.prefixes, 4, batch_size=4)
    right = (model.write_again(data.prefixes, concept_num=4) == data.prefixes).float().mean()
    assert found["tokens right"] == pytest.approx(float(right)) and 0 <= found["texts right"] <= 1


def test_questions(model, texts, tokenizer):
    """Only the tokens of answers are measured, whatever pads them."""
    answers = [" ".join(text.split()[: 1 + number % 3]) for number, text in enumerate(texts["text"])]
    rows = texts.add_column("title", answers)
    options = {"tokenizer": tokenizer, "prefix": 16, "count": 6, "last": 4}
    data = make_question_data("toy", rows, "text", "\n{title} Title:", "title", **options)
    assert data.prefixes.shape == (6, 16) and data.asks and data.suffixes.shape == data.counted.shape
    found = [tokenizer.decode(row[used]) for row, used in zip(data.suffixes, data.counted, strict=True)]
    assert {text.strip() for text in found} <= {answer.strip() for answer in answers}
    scores = context_scores(model, data, 4, batch_size=4)
    results = {(r.metric, r.system): r.value for r in context_results(data, scores, "16 tokens as 4") if r.primary}
    row, used = 2, data.counted[2]
    ids = torch.cat([data.prefixes[row], data.suffixes[row]])[None]
    with torch.no_grad():
        logits = model.reader.lm(input_ids=ids).logits[0, 15:-1]
    expected = F.cross_entropy(logits[used], data.suffixes[row][used], reduction="none")
    torch.testing.assert_close(scores[FULL].losses[row][used], expected, atol=1e-4, rtol=1e-4)
    whole = scores[FULL].losses[data.counted].double().mean()
    assert results["loss", FULL] == pytest.approx(float(whole))
    assert results["answers right", FULL] == 0  # random weights
    perfect = scores[FULL]._replace(right=data.counted)
    right = context_results(data, scores | {FULL: perfect}, "16 tokens as 4")
    assert [r.value for r in right if (r.metric, r.system) == ("answers right", FULL)] == [1]
    with pytest.raises(ValueError, match="must name columns as {name}, of text, title"):
        make_question_data("toy", rows, "text", "{query}?", "title", **options)


def test_cost(model):
    results = {(r.metric, r.system): r.value for r in reading_cost(model, [32], 4)}
    assert results["MiB of cache", "times better by concepts"] == pytest.approx(32 / 9)
    config = model.reader.lm.config
    size = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 32 * 4 / 2**20
    assert results["MiB of cache", "tokens"] == pytest.approx(size)
    assert all(value > 0 for value in results.values())
    reader = ContextReader(model, 4)
    low = copy.deepcopy(model).to(torch.bfloat16)
    sizes = {r.system: r.value for r in reading_cost(low, [32], 4) if r.metric == "MiB of cache"}
    assert sizes["tokens"] == pytest.approx(size / 2)
    read_and_write(model.reader.lm, lambda: reader.full(torch.randint(5, 61, (1, 7))))


@pytest.mark.parametrize("precision", [[], ["--bf16", "true"]])
def test_the_script(precision, model, texts, tokenizer, tmp_path, monkeypatch, capsys):
    seen, scores = set(), ContextReader.scores

    def watched(*args):
        seen.add(torch.is_autocast_enabled("cpu"))
        return scores(*args)

    monkeypatch.setattr(ContextReader, "scores", watched)
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "data").mkdir()
    texts.to_parquet(tmp_path / "data" / "validation.parquet")
    run_here(
        "run_context.py", tmp_path, monkeypatch, "--model_name_or_path", "model", "--dataset_name", "data",
        "--prefix_length", "16", "--suffix_length", "8", "--ratios", "4", "8", "--max_eval_samples", "6",
        "--optimise", "2", "--round_trip_length", "8", "--round_trip_ratios", "2", "--cost_lengths", "32",
        "--output_dir", "out", *precision,
    )  # fmt: skip
    report = json.loads((tmp_path / "out" / "results.json").read_text())
    assert seen == {bool(precision)}
    assert {OPTIMISED, CONCEPTS} <= {result["system"] for result in report["results"]}
    assert (tmp_path / "out" / "context.png").is_file()
    assert "context kept" in (tmp_path / "out" / "README.md").read_text()
    assert "as a reader" in capsys.readouterr().out


def test_prefixes_begin_as_texts_do(texts, tokenizer):
    special = train_tokenizer(TEXTS * 4, 320, 64)
    data = make_context_data("toy", texts, "text", special, 16, 8, 6, 4)
    assert data.opening == 1 and data.prefixes.shape == (6, 16) and data.suffixes.shape == (6, 8)
    assert set(data.prefixes[:, 0].tolist()) == {special.cls_token_id}
    assert not torch.isin(data.prefixes[:, 1:], torch.tensor(special.all_special_ids)).any()
    # Few long texts among many short ones are found.
    mixed = datasets.Dataset.from_dict({"text": ["short"] * 200 + texts["text"][:3] + ["short"] * 200})
    assert len(make_context_data("mixed", mixed, "text", tokenizer, 16, 8, 4, 4).prefixes) == 3


@pytest.mark.parametrize(
    "options, said",
    [
        (["--prefix_length", "48", "--ratios", "2"], "are 24 concepts, but the model has"),
        (["--prefix_length", "400"], "give a --prefix_length of at most that"),
        (["--prefix_length", "16", "--answer_column", "titel"], "titel"),
    ],
)
def test_what_cannot_be_measured_is_told_first(model, texts, options, said, tmp_path, monkeypatch):
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "data").mkdir()
    texts.to_parquet(tmp_path / "data" / "validation.parquet")
    lengths = ["--cost_lengths", "16", "--suffix_length", "8"]
    assert said in refusal(
        "run_context.py", tmp_path, monkeypatch, "--model_name_or_path", "model", "--dataset_name", "data",
        *lengths, *options,
    )  # fmt: skip


def test_models_without_a_reader_are_refused(tokenizer, tmp_path, monkeypatch):
    make_model("perceiver_posonly_mlm", tokenizer).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    said = refusal("run_context.py", tmp_path, monkeypatch, "--model_name_or_path", "model")
    assert said.startswith("model has no reader")
