# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Classifiers from checkpoints: which type, which weights are new, which tokenizer; token ids and batches."""

import shutil
from dataclasses import replace

import pytest
import torch
import transformers
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from trainers.data.tokenizers import train_tokenizer
from trainers.fine_tuning import TASKS, TaskData
from trainers.fine_tuning.classifiers import CLASSIFIERS, Checkpoint, classifier_type_of, through_concepts

from ..conftest import TEXTS
from ..trainers.kit import make_model


HEADS = {
    "perceiver_cls": ["classifier.bias", "classifier.weight", "concept_scorer.bias", "concept_scorer.weight",
                      "pool_norm.weight"],
    "perceiver_decoder_cls": ["classifier.bias", "classifier.weight", "pre_pool_norm.weight"],
    "perceiver_pair_cls": ["classifier.bias", "classifier.weight", "pool_norm.weight"],
    "bert-type": ["classifier.bias", "classifier.weight"],
}  # fmt: skip


@pytest.mark.parametrize("source", ["concept", "recursive", "bert"])
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_only_the_head_is_new_and_a_saved_type_is_kept(source, kind, checkpoints, tokenizer, tmp_path):
    path = str(checkpoints[source])
    if (kind == "bert-type") != (source == "bert"):
        own = "bert-type" if source == "bert" else "perceiver_decoder_cls"
        with pytest.raises(ValueError, match=f"checkpoint, which {kind} cannot load; its type is {own}"):
            Checkpoint(path, kind)
        return
    checkpoint = Checkpoint(path, kind)
    model, new = checkpoint.load(TASKS["mnli"], seed=1)
    assert new == HEADS[kind]
    assert type(model).__name__.startswith("Recursive") == (source == "recursive")
    assert (model.num_labels, model.config.id2label[2]) == (3, "contradiction")

    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = Checkpoint(str(tmp_path))
    assert again.classifier_type == kind
    assert again.load(TASKS["mnli"], seed=2)[1] == []  # the head, too, is that of the checkpoint
    score, new = again.load(TASKS["stsb"], seed=2)
    assert new == ["classifier.bias", "classifier.weight"]  # of another shape
    assert (score.num_labels, score.config.problem_type) == (1, "regression")

    untrained = [replace(checkpoint, untrained=True).load(TASKS["mnli"], seed)[0].state_dict() for seed in (1, 1, 2)]
    assert untrained[0].keys() == model.state_dict().keys()
    matrices = [
        name
        for name, value in untrained[0].items()
        if value.ndim == 2
        and value.std() > 0
        and not torch.equal(value, torch.eye(*value.shape))
        and not name.endswith(("query_bias", "key_bias"))
    ]  # those that are drawn
    for name in matrices:
        assert torch.equal(untrained[0][name], untrained[1][name])
        assert not torch.equal(untrained[0][name], untrained[2][name])
    assert not any(
        torch.equal(untrained[0][name], model.state_dict()[name]) for name in matrices if "class" not in name
    )


def test_the_type_of_a_checkpoint(checkpoints):
    found = {name: classifier_type_of(AutoConfig.from_pretrained(path)) for name, path in checkpoints.items()}
    assert found == {
        "concept": "perceiver_decoder_cls", "recursive": "perceiver_decoder_cls", "bert": "bert-type"
    }  # fmt: skip
    with pytest.raises(ValueError, match="'nowhere' cannot be read"):
        Checkpoint("nowhere")


@pytest.mark.parametrize("recursive", [False, True])
def test_without_a_decoder_of_the_text_the_concepts_are_pooled(recursive, tokenizer, tmp_path):
    """Of continuations, and of encoders alone; a saved classifier stays what it is."""
    model = make_model("recursive_mlm" if recursive else "prefix_diffusion", tokenizer)
    if not recursive:
        model.save_pretrained(tmp_path / "prefix")
        assert classifier_type_of(AutoConfig.from_pretrained(tmp_path / "prefix")) == "perceiver_cls"
    model.encoder.save_pretrained(tmp_path / "encoder")
    assert classifier_type_of(AutoConfig.from_pretrained(tmp_path / "encoder")) == "perceiver_cls"
    tokenizer.save_pretrained(tmp_path / "encoder")
    assert Checkpoint(str(tmp_path / "encoder")).load(TASKS["mrpc"], 0)[1] == HEADS["perceiver_cls"]
    if not recursive:
        tokenizer.save_pretrained(tmp_path / "prefix")
        asked, _ = Checkpoint(str(tmp_path / "prefix"), "perceiver_decoder_cls").load(TASKS["mrpc"], 0)
        asked.save_pretrained(tmp_path / "asked")
        assert classifier_type_of(AutoConfig.from_pretrained(tmp_path / "asked")) == "perceiver_decoder_cls"
        assert through_concepts(asked)


def test_the_untrained_classifier_keeps_what_tokens_weigh(tokenizer, tmp_path):
    """Frequencies of words are no training, in fine-tuning as in every other evaluation."""
    model = make_model("perceiver_posonly_mlm", tokenizer)
    model.base_model.token_weights.weights.uniform_()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for kind in ("perceiver_cls", "perceiver_decoder_cls", "perceiver_pair_cls"):
        untrained = replace(Checkpoint(str(tmp_path), kind), untrained=True).load(TASKS["mrpc"], 1)[0]
        assert torch.equal(untrained.encoder.token_weights.weights, model.base_model.token_weights.weights)
        assert not torch.equal(untrained.get_input_embeddings().weight, model.get_input_embeddings().weight)


def test_tokens_around_the_concepts_are_asked_for(checkpoints):
    path = str(checkpoints["recursive"])
    for asked, alone in ((None, True), (False, True), (True, False)):
        model, _ = Checkpoint(path, reads_tokens=asked).load(TASKS["mrpc"], 0)
        assert through_concepts(model) == alone
    model, _ = Checkpoint(str(checkpoints["concept"]), reads_tokens=True).load(TASKS["mrpc"], 0)
    assert through_concepts(model)  # its decoder takes no tokens
    assert through_concepts(Checkpoint(str(checkpoints["bert"])).load(TASKS["mrpc"], 0)[0]) is None


@pytest.mark.parametrize(("source", "part"), [("bert", "encoder.layer.0"), ("concept", "decoder.")])
def test_checkpoints_without_encoder_or_decoder_are_refused(source, part, checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints[source], tmp_path / "part")
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if part not in name}
    assert kept.keys() < weights.keys()
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="does not hold the .*would be random"):
        Checkpoint(str(folder)).load(TASKS["mrpc"], seed=0)


def test_only_the_tokenizer_of_the_checkpoint_is_taken(checkpoints, tokenizer, tmp_path):
    train_tokenizer(TEXTS[::-1] * 4, vocab_size=300, max_length=64).save_pretrained(tmp_path / "other")
    for source in ("bert", "concept"):
        path = str(checkpoints[source])
        with pytest.raises(ValueError, match="is not that of the checkpoint .*: it has another vocabulary"):
            Checkpoint(path, tokenizer_name=str(tmp_path / "other"))
        bare = shutil.copytree(path, tmp_path / source, ignore=shutil.ignore_patterns("tokenizer*"))
        with pytest.raises(ValueError, match="Give --tokenizer_name"):  # no default one, none that knows no word
            Checkpoint(str(bare))
        assert Checkpoint(str(bare), tokenizer_name=path).tokenizer.get_vocab() == tokenizer.get_vocab()
    larger = transformers.AutoTokenizer.from_pretrained(checkpoints["concept"])
    larger.add_tokens(["<a>"])
    larger.save_pretrained(tmp_path / "concept")
    with pytest.raises(ValueError, match="The tokenizer has 321 tokens, the checkpoint only 320"):
        Checkpoint(str(tmp_path / "concept"))
    without_padding = transformers.AutoTokenizer.from_pretrained(checkpoints["concept"])
    without_padding.pad_token = None
    without_padding.save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="no padding token"):
        Checkpoint(str(tmp_path / "bert"))


def test_pairs_and_cosines_need_what_they_compare(checkpoints, tmp_path):
    pair = Checkpoint(str(checkpoints["concept"]), "perceiver_pair_cls")
    assert pair.load(TASKS["stsb"], 0)[1] == ["pool_norm.weight"]
    with pytest.raises(ValueError, match="compares two texts, but cola has one"):
        pair.load(TASKS["cola"], 0)
    unscaled = replace(TASKS["stsb"], score_range=None)
    for task, chosen in ((TASKS["mrpc"], "classifier"), (unscaled, "classifier"), (TASKS["stsb"], "cosine")):
        model, _ = pair.load(task, 0)
        assert model.config.pair_similarity == chosen and (model.classifier is None) == (chosen == "cosine")
        model.save_pretrained(tmp_path / chosen)
        pair.tokenizer.save_pretrained(tmp_path / chosen)
    asked = replace(pair, pair_similarity="classifier").load(TASKS["stsb"], 0)[0]
    assert asked.config.pair_similarity == "classifier"
    # What compares pairs already goes on comparing scores in its own way.
    for chosen in ("classifier", "cosine"):
        again = Checkpoint(str(tmp_path / chosen)).load(TASKS["stsb"], 0)[0]
        assert again.config.pair_similarity == chosen
    classes, new = Checkpoint(str(tmp_path / "cosine")).load(TASKS["mrpc"], 0)
    assert classes.config.pair_similarity == "classifier" and new == ["classifier.bias", "classifier.weight"]


def test_lengths_and_token_types_that_a_model_takes(checkpoints, tokenizer, tmp_path):
    bert, concept = (Checkpoint(str(checkpoints[name])) for name in ("bert", "concept"))
    assert (bert.max_length, replace(bert, max_length=20).max_length) == (64, 20)
    config = transformers.XLNetConfig(vocab_size=len(tokenizer), d_model=16, n_head=2, d_inner=16, n_layer=1)
    config.pad_token_id = tokenizer.pad_token_id
    config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert Checkpoint(str(tmp_path), max_length=20).max_length == 20  # its own limit is -1
    for checkpoint, takes in ((bert, True), (concept, False)):
        checkpoint.tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
        assert ("token_type_ids" in checkpoint.collate([{"text_a": "a", "text_b": "b"}])) == takes


ROWS = {"text_a": TEXTS, "text_b": TEXTS[::-1], "label": [0, 1, 0, 1]}


def test_joint_texts_equal_those_of_the_tokenizer(checkpoints, tokenizer):
    rows, concept = Dataset.from_dict(ROWS), str(checkpoints["concept"])
    batch = Checkpoint(concept, max_length=500).collate(list(rows))
    expected = tokenizer(TEXTS, TEXTS[::-1], padding=True, truncation=True, max_length=64, return_tensors="pt")
    for name in ("input_ids", "attention_mask"):
        assert torch.equal(batch[name], expected[name])
    assert batch["labels"].tolist() == [0, 1, 0, 1] and batch["labels"].dtype == torch.long
    lengths = sorted(map(len, tokenizer(TEXTS, TEXTS[::-1])["input_ids"]))
    short = Checkpoint(concept, max_length=lengths[1])
    batch = short.collate(list(rows))
    assert set(batch) == {"input_ids", "attention_mask", "labels"} and batch["input_ids"].shape[1] == lengths[1]
    data = TaskData(TASKS["mrpc"], "rows", rows, rows, "", {"validation": rows})
    assert short.truncated_share(data) == sum(length > lengths[1] for length in lengths) / 4
    assert Checkpoint(concept).truncated_share(data) == sum(length > 64 for length in lengths) / 4


def test_separate_texts_are_padded_separately(checkpoints, tokenizer):
    rows = Dataset.from_dict({"text_a": TEXTS[:2], "text_b": ["a", "a b c"], "label": [0.5, 1.0]})
    pair = Checkpoint(str(checkpoints["concept"]), "perceiver_pair_cls", max_length=12)
    data = TaskData(TASKS["stsb"], "rows", None, None, "", {"validation": rows})
    assert pair.truncated_share(data) == 1  # the first texts are longer
    batch = pair.collate(list(rows))
    for side, texts in (("_a", TEXTS[:2]), ("_b", ["a", "a b c"])):
        expected = tokenizer(texts, truncation=True, max_length=12, padding=True, return_tensors="pt")
        for name in ("input_ids", "attention_mask"):
            assert torch.equal(batch[f"{name}{side}"], expected[name])
    assert set(batch) == {f"{name}{side}" for name in ("input_ids", "attention_mask") for side in ("_a", "_b")} | {
        "labels"
    }
    assert batch["labels"].dtype == torch.float32
