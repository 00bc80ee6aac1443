# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What the Trainer evaluates is what it was given; data with text; arguments that it cannot use; progress bars."""

import math

import datasets
import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from tqdm.auto import tqdm
from transformers import BertConfig, BertForMaskedLM

import modeling_concept
import trainers.safe_checkpoints
from trainers import ConceptTrainer, ConceptTrainingArguments
from trainers.data.pieces import PieceMaker, make_pieces
from trainers.data.tokenizers import train_tokenizer
from trainers.objectives import OBJECTIVES

from ..conftest import TEXTS
from ..modeling.zoo import make_config
from .kit import make_model, make_trainer, step_losses


def numbers(metrics, prefix):
    """Metrics without their prefix and without times."""
    names = [name for name in metrics if name.startswith(f"{prefix}_")]
    found = {name.removeprefix(f"{prefix}_"): metrics[name] for name in names}
    return {name: value for name, value in found.items() if not name.endswith(("time", "second"))}


@pytest.fixture(scope="module")
def junk(tokenizer):
    """Texts that say the same, so that nothing depends on them."""
    return datasets.Dataset.from_dict({"input_ids": [tokenizer(TEXTS[0])["input_ids"]] * 6})


# Which data


def test_metrics_are_those_of_the_set_that_is_evaluated(tokenizer, pieces, junk, tmp_path):
    """As the evaluation set of a Trainer, given to `evaluate`, to `predict`, in a dict, or where there is no other."""
    as_own = make_trainer(tokenizer, pieces, tmp_path, eval_dataset=junk)
    expected = numbers(as_own.evaluate(), "eval")
    assert expected["content_fraction"] == pytest.approx(0, abs=1e-5) and abs(expected["shuffled_loss_gap"]) < 1e-5
    own = make_trainer(tokenizer, pieces, tmp_path)
    before = numbers(own.evaluate(), "eval")
    assert before["content_fraction"] > 0.1
    assert numbers(own.evaluate(junk, metric_key_prefix="test"), "test") == pytest.approx(expected)
    assert numbers(own.predict(junk).metrics, "test") == pytest.approx(expected)
    assert numbers(own.evaluate(), "eval") == pytest.approx(before)
    sets = own.evaluate({"a": pieces, "b": junk})
    assert numbers(sets, "eval_a") == pytest.approx(before) and numbers(sets, "eval_b") == pytest.approx(expected)
    persistent = {"dataloader_num_workers": 1, "dataloader_persistent_workers": True}
    workers = make_trainer(tokenizer, pieces, tmp_path, eval_dataset={"a": pieces, "b": pieces}, **persistent)
    workers.evaluate()
    assert numbers(workers.evaluate(junk), "eval") == pytest.approx(expected)
    none = ConceptTrainer(own.model, own.args, processing_class=tokenizer)
    assert numbers(none.evaluate(junk), "eval") == pytest.approx(expected)


def test_several_evaluation_sets(tokenizer, pieces, junk, tmp_path):
    sets = {"a": pieces, "b": junk}
    options = {"eval_strategy": "steps", "eval_steps": 1, "max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    options |= {"load_best_model_at_end": True, "metric_for_best_model": "eval_b_loss", "greater_is_better": False}
    trainer = make_trainer(tokenizer, pieces, tmp_path, eval_dataset=sets, **options)
    trainer.train()
    entries = [entry for entry in trainer.state.log_history if any(name.startswith("eval_") for name in entry)]
    assert [next(name for name in entry if name.endswith("_loss")) for entry in entries] == [
        "eval_a_loss", "eval_b_loss"
    ] * 2  # fmt: skip
    assert all("eval_b_shuffled_loss_gap" in entry for entry in entries[1::2])
    assert trainer.state.best_metric == min(entry["eval_b_loss"] for entry in entries[1::2])
    assert f"{trainer.state.max_steps} of {trainer.state.max_steps}" in str(trainer.draft_card())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_single_text_leaves_out_what_compares_texts(objective, tokenizer, pieces, tmp_path, teacher):
    """What is left is that text's own; a loss that compares texts is not a number."""
    trainer = make_trainer(
        tokenizer, pieces, tmp_path, teacher=teacher, objective=objective, eval_dataset=pieces.select([3])
    )
    metrics = trainer.evaluate()
    compared = {"content_fraction", "shuffled_loss_gap", "suffix_shuffled_loss_gap", "retrieval_accuracy"}
    assert not {f"eval_{name}" for name in compared} & set(metrics)
    assert math.isnan(metrics["eval_loss"]) == (objective == "contrastive")
    trainer.train()


# Text


class Rows(torch.utils.data.Dataset):
    """As torch has them."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, place):
        return self.rows[place]


def test_text_is_cut_as_the_pretraining_script_cuts_it(tokenizer, tmp_path):
    texts = datasets.Dataset.from_dict({"text": TEXTS * 8, "source": ["book"] * 32})
    trainer = make_trainer(tokenizer, texts, tmp_path, max_steps=2)
    found = {"train": trainer.train_dataset, "validation": trainer.eval_dataset}
    for split, share in (("train", 0.1), ("validation", 0.0)):
        maker = PieceMaker(tokenizer, 64, share, False, trainer.args.seed)
        assert found[split]["input_ids"] == make_pieces(texts, "text", maker)["input_ids"]
    trainer.train()
    assert all(map(math.isfinite, step_losses(trainer)))
    expected = numbers(trainer.evaluate(), "eval")
    formats = [texts.with_format(name) for name in ("numpy", "torch", "pandas", "arrow")]
    for data in [texts, texts.to_iterable_dataset(), *formats]:
        assert numbers(trainer.evaluate(data, metric_key_prefix="test"), "test")["loss"] == pytest.approx(
            expected["loss"]
        )


def test_rows_that_are_padded_already_are_read_without_their_padding(tokenizer, tmp_path):
    plain, padded = (
        datasets.Dataset.from_dict(dict(tokenizer(TEXTS, **options)))
        for options in ({}, {"padding": "max_length", "max_length": 60})
    )
    results = [numbers(make_trainer(tokenizer, rows, tmp_path).evaluate(), "eval") for rows in (plain, padded)]
    assert results[0] == results[1]


@pytest.mark.parametrize("given", ["train", "eval", "dict", "evaluate", "predict"])
def test_data_without_text_are_refused_with_their_columns(given, tokenizer, pieces, tmp_path):
    wrong = datasets.Dataset.from_dict({"sentence": TEXTS, "label": [0] * 4})
    sentence = r"needs a column input_ids of token ids, or a column text, but the data have \['sentence', 'label'\]"
    with pytest.raises(ValueError, match=sentence):
        if given == "train":
            make_trainer(tokenizer, wrong, tmp_path, eval_dataset=pieces)
        elif given in ("eval", "dict"):
            make_trainer(tokenizer, pieces, tmp_path, eval_dataset={"a": wrong} if given == "dict" else wrong)
        else:
            getattr(make_trainer(tokenizer, pieces, tmp_path), given)(wrong)


def test_rows_that_cannot_be_read_are_refused(tokenizer, pieces, tmp_path):
    with pytest.raises(ValueError, match="no row, or no token of text"):
        make_trainer(tokenizer, datasets.Dataset.from_dict({"text": ["", ""]}), tmp_path)
    with pytest.raises(ValueError, match="no row, or no token of text"):
        make_trainer(tokenizer, pieces, tmp_path, eval_dataset=pieces.select([]))


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ([2, 9999], "has the token ids 2 to 9999, but those of the tokenizer go from 0 to 319"),
        ([2, -100], "has the token ids -100 to 2, but those of"),
        ([], "A row has no token; leave it out"),
    ],
    ids=["beyond the vocabulary", "negative", "empty"],
)
def test_rows_without_ids_of_the_vocabulary_are_refused(row, sentence, tokenizer, pieces, tmp_path):
    rows = [{"input_ids": [2, 3, 4]}] * 3 + [{"input_ids": row}]
    with pytest.raises(ValueError, match=sentence):
        make_trainer(tokenizer, Rows(rows), tmp_path, eval_dataset=pieces).train()


@pytest.mark.parametrize("format", ["numpy", "torch", "pandas", "arrow", None])
def test_rows_are_read_in_every_format(format, tokenizer, pieces, tmp_path):
    expected = numbers(make_trainer(tokenizer, pieces, tmp_path).evaluate(), "eval")
    given = pieces.with_format(format) if format else pieces.with_transform(lambda rows: rows)
    assert numbers(make_trainer(tokenizer, given, tmp_path).evaluate(), "eval") == expected


def test_sets_that_are_not_there_are_refused(tokenizer, pieces, tmp_path):
    trainer = make_trainer(tokenizer, pieces, tmp_path, eval_dataset={"a": pieces})
    with pytest.raises(KeyError, match="zzz"):
        trainer.evaluate("zzz")


# Arguments


def wrong_arguments(tokenizer):
    lora = LoraConfig(target_modules="all-linear", r=2)
    bert = BertForMaskedLM(
        BertConfig(vocab_size=99, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    )
    return {
        "no model": ({"model": None}, "not NoneType"),
        "peft": (
            {"model": get_peft_model(make_model("perceiver_mlm", tokenizer), lora)},
            "concept models with a decoder, not PeftModel",
        ),
        "bert": ({"model": bert}, "concept models with a decoder, not BertForMaskedLM"),
        "encoder": (
            {"model": modeling_concept.ConceptEncoder(make_config())},
            "concept models with a decoder, not ConceptEncoder",
        ),
        "another tokenizer": (
            {"processing_class": train_tokenizer(TEXTS * 4, vocab_size=400, max_length=64)},
            "The tokenizer is not that of the model: it has 3.. tokens, the model 320",
        ),
    }


def test_arguments_that_cannot_be_used_are_refused(tokenizer, pieces, tmp_path):
    arguments = ConceptTrainingArguments(output_dir=str(tmp_path / "run"), report_to="none", use_cpu=True)
    right = {"model": make_model("perceiver_posonly_mlm", tokenizer), "args": arguments}
    right |= {"processing_class": tokenizer, "train_dataset": pieces, "eval_dataset": pieces}
    for name, (wrong, sentence) in wrong_arguments(tokenizer).items():
        with pytest.raises(ValueError, match=sentence) as raised:
            ConceptTrainer(**{**right, **wrong})
        assert "\n" not in str(raised.value), name
    for name in ("compute_metrics", "compute_loss_func", "data_collator", "model_init", "optimizers"):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
            ConceptTrainer(**right, **{name: None})
    arguments.train_sampling_strategy = "batch_rebalance"
    with pytest.raises(ValueError, match="batch_rebalance is not supported"):
        ConceptTrainer(**right)
    assert not (tmp_path / "run").exists()


def test_an_undefined_metric_of_the_best_model_is_told(tokenizer, pieces, tmp_path, monkeypatch):
    """Also that weights are tied is no news."""
    told = []
    for module in (trainers.safe_checkpoints, transformers.trainer):
        monkeypatch.setattr(module.logger, "warning", lambda text, *values: told.append(text % values))
    options = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    options |= {"load_best_model_at_end": True, "metric_for_best_model": "loss", "objective": "contrastive"}
    for count, sentences in ((2, []), (1, ["No evaluation gave a number loss: the model is that of the last step."])):
        make_trainer(tokenizer, pieces, tmp_path / f"{count}", eval_dataset=pieces.take(count), **options).train()
        assert told == sentences


# Progress


def test_bars_have_names_and_end_with_what_they_show(tokenizer, pieces, tmp_path, capsys):
    trainer = make_trainer(
        tokenizer,
        pieces,
        tmp_path,
        disable_tqdm=False,
        per_device_eval_batch_size=4,
        eval_strategy="steps",
        eval_steps=1,
    )
    progress = trainer.callback_handler.callbacks[-1]
    trainer.evaluation_loop(trainer.get_eval_dataloader(), "Untrained", True)
    assert progress.prediction_bar is None
    shown = capsys.readouterr().err
    assert "evaluation: 100%" in shown and "4/4" in shown
    assert all("evaluation:" in tick for tick in shown.split("\r") if "%|" in tick)
    trainer.train()
    assert progress.prediction_bar is progress.training_bar is None
    shown = capsys.readouterr().err
    assert "training: 100%" in shown and "2/2" in shown and " 0it [" not in shown


def test_bars_that_tqdm_itself_turned_off_end_no_run(tokenizer, pieces, tmp_path, monkeypatch):
    """What TQDM_DISABLE=1 does to each bar."""
    for bar in ("transformers.trainer_callback.tqdm", "trainers.trainer.tqdm"):
        monkeypatch.setattr(bar, lambda *args, **kwargs: tqdm(*args, **{**kwargs, "disable": True}))
    trainer = make_trainer(tokenizer, pieces, tmp_path, disable_tqdm=False, eval_strategy="steps", eval_steps=1)
    trainer.evaluate()
    trainer.train()
    assert trainer.state.global_step == trainer.state.max_steps
