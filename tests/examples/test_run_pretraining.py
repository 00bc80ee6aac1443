# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The pretraining script as a user runs it."""

import functools
import json
import re
import shutil
import sys
from types import SimpleNamespace

import datasets
import pytest
import transformers
from huggingface_hub import ModelCard
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoModelForMaskedLM, BertConfig, BertModel

from trainers import ConceptTrainer, pretraining
from trainers.model_types import MODEL_TYPES

from ..conftest import TEXTS
from .kit import refusal, run_here, run_script


SMALL = [
    "--hidden_size", "32", "--intermediate_size", "32", "--max_steps", "4",
    "--concept_num", "4", "--max_seq_length", "16", "--per_device_train_batch_size", "4", "--max_eval_samples", "20",
    "--logging_steps", "2", "--report_to", "none", "--max_train_samples", "40",
]  # fmt: skip


@pytest.fixture
def text_files(tmp_path):
    for name in ("train", "valid"):
        (tmp_path / f"{name}.txt").write_text("\n".join(TEXTS * 20), encoding="utf-8")
    return ["--train_file", str(tmp_path / "train.txt"), "--validation_file", str(tmp_path / "valid.txt")]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The script in this process."""
    return functools.partial(run_here, "run_pretraining.py", tmp_path, monkeypatch)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_model_type_ends_with_a_checkpoint_a_card_and_a_picture(model_type, text_files, tmp_path, run, capsys):
    run("--model_type", model_type, *text_files, *SMALL)
    printed = capsys.readouterr()
    (folder,) = (tmp_path / "outputs").iterdir()
    writes_on = MODEL_TYPES[model_type].objective in ("prefix_diffusion", "continuation")
    read = "suffix_shuffled_loss_gap" if writes_on else "reconstruction_accuracy"
    for word in ("unigram entropy", "content_fraction", "content_erank", "duplicate_share", "ref_rank", read,
                 "trust_remote_code=True", "untrained", str(folder.name)):  # fmt: skip
        assert word in printed.out, word
    assert "it/s" in printed.err  # the progress bar
    assert (folder / "training.png").stat().st_size > 10_000
    card = (folder / "README.md").read_text()
    assert "model-index" in card and MODEL_TYPES[model_type].model_class.__name__ in card
    assert ("texts of each kind | tokens right" in card) == (read == "reconstruction_accuracy")
    results = json.loads((folder / "all_results.json").read_text())
    assert {"train_loss", "eval_loss", "unigram_entropy", f"eval_{read}"} <= set(results)
    lines = printed.out.strip().splitlines()[-2:]
    model_class = MODEL_TYPES[model_type].model_class
    assert lines[0] == f"from transformers import {model_class.auto_class}"
    model = getattr(transformers, model_class.auto_class).from_pretrained(folder)
    assert type(model) is model_class
    assert AutoModel.from_pretrained(folder).encode(TEXTS, truncation=True).concepts.shape == (4, 4, 32)


def test_going_on_resuming_and_one_json_file(text_files, tmp_path, run, monkeypatch):
    first = [*text_files, *SMALL, "--output_dir", "first"]
    run(*first, "--save_steps", "2", "--save_total_limit", "2")
    assert "already holds" in refusal("run_pretraining.py", tmp_path, monkeypatch, *first)
    run(*first, "--resume_from_checkpoint", "last")
    names = iter([*text_files, *SMALL])
    options = {name.removeprefix("--"): next(names) for name in names}
    options = {name: int(value) if value.isdigit() else value for name, value in options.items()}
    options |= {"model_name_or_path": "first", "output_dir": "second"}
    (tmp_path / "run.json").write_text(json.dumps(options))
    run("run.json", "--max_steps", "3")
    assert json.loads((tmp_path / "second" / "trainer_state.json").read_text())["global_step"] == 3


def test_several_objectives_and_losses_in_one_run(text_files, tmp_path):
    """In a process of its own, as users start it."""
    objective = "denoising:0.4,prefix_diffusion:0.6,+contrastive:0.1"
    done = run_script(
        "run_pretraining.py", tmp_path, *text_files, "--objective", objective, *SMALL, "--vocab_size", "300",
        "--concept_losses", "vicreg:0.01", "--train_sampling_strategy", "group_by_length", "--output_dir", "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    words = "prefix_diffusion_nelbo contrastive_retrieval_accuracy suffix_shuffled_loss_gap shuffled_loss_gap"
    for word in words.split():
        assert word in done.stdout, word
    card = (tmp_path / "run" / "README.md").read_text()
    assert objective in card and "vicreg:0.01" in card


def test_a_backbone_below_the_concepts(text_files, tokenizer, tmp_path, run):
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    saving = ["--save_steps", "2", "--save_total_limit", "2", "--output_dir", "run"]
    arguments = [*text_files, *SMALL, *saving, "--backbone", "bert", "--backbone_layers", "1"]
    run(*arguments, "--backbone_training", "lora")
    whole = json.loads((tmp_path / "run" / "all_results.json").read_text())["eval_loss"]
    model, info = AutoModelForMaskedLM.from_pretrained(tmp_path / "run", output_loading_info=True)
    assert model.config.backbone_config["num_hidden_layers"] == 1 and not info["unexpected_keys"]
    shutil.rmtree(tmp_path / "run" / "checkpoint-4")
    arguments += ["--backbone_training", "lora", "--resume_from_checkpoint", "last"]
    run(*arguments)
    assert json.loads((tmp_path / "run" / "all_results.json").read_text())["eval_loss"] == whole


def test_streaming_and_a_tokenizer_of_others(text_files, tmp_path, shared, run):
    tokenizer = shared / "data" / "tokenizers" / "smollm2"
    run(*text_files, *SMALL, "--streaming", "--tokenizer_name", tokenizer, "--output_dir", "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["mask_token_id"] == 49152 and config["vocab_size"] == 49153


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model_type", "gpt"], "Unknown model type 'gpt'; choose one of"),
        (["--num_attention_heads", "5"], "not divisible by num_attention_heads 5"),
        (["--config_overrides", "num_attention_heads=5"], "not divisible by num_attention_heads 5"),
        (["--config_overrides", "decoder_conv=7"], "'decoder_conv' is no name=value of the configuration"),
        (["--config_overrides", "decoder_target=net"], "decoder_target"),
        (["--train_file", "nowhere.txt"], "nowhere.txt cannot be read"),
        (["--objective", "gpt"], "Unknown objective 'gpt'; choose one of"),
        (["--t_min", "0.5"], "has no option ['t_min']"),
        (["--backbone", "nowhere"], "nowhere"),
        (["nothing.json"], "nothing.json cannot be read"),
        (["--run_name", "a\nb"], "must be one line of printable characters"),
        (["--config_overrides", "offset_harmonics=0"], "offset_harmonics must be at least 1"),
        (["--deletion_rate", "1.5"], "deletion_rate is a share between 0 and 1"),
        (["--model_name_or_path", "nowhere"], "nowhere"),
        (["--encoder_type", "gpt"], "Unknown encoder_type 'gpt'; choose one of"),
        (["--objective", "contrastive", "--views", "pairs"], "Unknown views 'pairs'"),
        (["--prefix_min", "0.3"], "write --prefix_share with both ends of its range"),
        (["--loss_weight", "0.02"], "There is no option --loss_weight; give each concept loss its weight"),
        (["--matryoshka", "4,8"], "There is no option --matryoshka; the package no longer has it"),
        (["--revision", "main"], "There is no option --revision; did you mean --dataset_revision or"),
        (["--resume_from_checkpoint", "last", "--do_train", "false"], "is evaluated by --model_name_or_path"),
        (["--dataset_revision", "main"], "Give --dataset_name, with its configuration and revision"),
        (["--config_overrides", "pad_token_id=5"], "pad_token_id is that of the tokenizer"),
        (["--config_overrides", "max_sequence_length=8"], "tokens is longer than max_sequence_length 8"),
        (["--run_name", ".."], "The name '..' must be one line of printable characters with a letter or digit"),
        (["--do_eval"], "Without training a checkpoint is evaluated: give --model_name_or_path"),
        (["--model_name_or_path", "file.txt"], "The checkpoint 'file.txt' cannot be read"),
    ],
)
def test_bad_input_gets_one_sentence(arguments, message, tmp_path, monkeypatch):
    (tmp_path / "file.txt").write_text("a b")
    assert message in refusal("run_pretraining.py", tmp_path, monkeypatch, *arguments, *SMALL)


DOCUMENTS = "doc_id,content,lang\n" + "".join(f'doc-{n:05d},"{text}",en\n' for n, text in enumerate(TEXTS * 20))


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (DOCUMENTS, [], "Which column holds the text? --text_column doc_id | content | lang."),
        (DOCUMENTS, ["--streaming"], "No column holds texts"),
        ("text\n" + '""\n' * 9, [], "'text' holds Value('float64'), not texts"),
        (
            "text\n" + '""\n' * 9,
            ["--streaming", "--validation_file", "train.csv"],
            "'text' holds Value('null')",
        ),
        ("text\n" + "a b\n" * 9, ["--max_eval_samples", "-1"], "max_eval_samples must be at least 1, not -1"),
        ("text\n" + "a b\n" * 99, ["--metric_for_best_model", "f1"], "'f1' is none of the evaluation's metrics: ["),
        (
            "text\n" + "a b\n" * 9,
            ["--dataloader_drop_last", "true", "--per_device_train_batch_size", "99"],
            "the training data gave no batch of 99 rows",
        ),
        (
            DOCUMENTS,
            ["--text_column", "content", "--validation_file", "words.txt"],
            "There is no column 'content' in the validation text; the columns are ['text']",
        ),
        ("text\none row\n", [], "test_size=1 should be either positive and smaller than the number of samples 1"),
        ("text,more\n" + '"a b",c,\n' * 9, [], "Rows of train.csv have more fields than its header"),
    ],
)
def test_data_that_cannot_be_trained_on_get_one_sentence(content, arguments, message, tmp_path, monkeypatch):
    (tmp_path / "train.csv").write_text(content)
    (tmp_path / "words.txt").write_text("a b")
    arguments = ["--train_file", "train.csv", *SMALL, *arguments]
    assert message in refusal("run_pretraining.py", tmp_path, monkeypatch, *arguments)


def test_the_column_is_printed_and_missing_texts_are_counted(tmp_path, monkeypatch, capsys, caplog):
    """They are known before anything is refused for another reason."""
    (tmp_path / "train.csv").write_text(DOCUMENTS + "doc-99999,,en\n")
    arguments = ["--train_file", "train.csv", "--validation_file", "train.csv", "--text_column", "content", *SMALL]
    options = ["--per_device_train_batch_size", "999", "--dataloader_drop_last", "true"]
    refusal("run_pretraining.py", tmp_path, monkeypatch, *arguments, *options)
    assert "Text: column 'content' of doc_id, content, lang." in capsys.readouterr().out
    assert "1 texts of the train text are missing and count as empty." in caplog.text


def test_a_run_of_no_step_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "train.txt").write_text("\n".join(TEXTS))
    make_loader = ConceptTrainer.get_train_dataloader
    monkeypatch.setattr(
        ConceptTrainer, "get_train_dataloader", lambda self: DataLoader(make_loader(self).dataset.select([]))
    )
    arguments = ["--train_file", "train.txt", "--validation_file", "train.txt", *SMALL, "--output_dir", "run"]
    assert "No step was made" in refusal("run_pretraining.py", tmp_path, monkeypatch, *arguments)
    assert not list((tmp_path / "run").glob("*.safetensors"))


def test_a_tokenizer_of_another_vocabulary_is_told(text_files, tmp_path, shared, monkeypatch, run):
    run(*text_files, *SMALL, "--output_dir", "first", "--max_steps", "1")
    tokenizer = shared / "data" / "tokenizers" / "smollm2"
    arguments = ["--model_name_or_path", "first", "--tokenizer_name", tokenizer, "--max_seq_length", "16"]
    said = refusal("run_pretraining.py", tmp_path, monkeypatch, *text_files, *arguments)
    assert "is not that of the checkpoint 'first': it has another vocabulary" in said


def main_of_the_script(monkeypatch, folder, *arguments):
    """The script in this process."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
    monkeypatch.setattr(sys, "argv", ["run_pretraining.py", *map(str, arguments)])
    pretraining.main()


def test_a_picture_that_fails_loses_nothing_and_evaluation_alone_trains_nothing(
    text_files, tmp_path, monkeypatch, capsys
):
    def plot_run(*arguments):
        assert (tmp_path / "outputs" / "a_b_x_" / "model.safetensors").is_file()
        assert (tmp_path / "outputs" / "a_b_x_" / "eval_results.json").is_file()
        raise RuntimeError("no canvas")

    monkeypatch.setattr(pretraining, "plot_run", plot_run)
    main_of_the_script(monkeypatch, tmp_path, *text_files, *SMALL, "--run_name", r"a[/b] $x$")
    printed = capsys.readouterr().out
    assert "The picture could not be drawn: no canvas" in printed and r"a[/b] $x$: Concept" in printed
    (folder,) = (tmp_path / "outputs").iterdir()
    card = ModelCard.load(folder / "README.md")
    assert card.data.language is None and card.data.datasets is None and "training.png" not in card.text
    assert "Data: train.txt, column `text`." in card.text and str(tmp_path) not in str(card)
    assert not any("untrained" in entry.metric_name for entry in card.data.eval_results)

    evaluated = ["--model_name_or_path", folder, "--do_train", "false", "--output_dir", "evaluated"]
    main_of_the_script(monkeypatch, tmp_path, *text_files, "--max_eval_samples", "20", *evaluated)
    assert "as it is" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "evaluated").iterdir()} == {"all_results.json", "eval_results.json"}
    losses = [
        json.loads((place / "eval_results.json").read_text())["eval_loss"]
        for place in (folder, tmp_path / "evaluated")
    ]
    assert losses[0] == pytest.approx(losses[1])


@pytest.mark.parametrize("name", ["README.md", "eval_results.json", "checkpoint-3"])
def test_what_a_folder_holds_is_not_overwritten(name, text_files, tmp_path, monkeypatch):
    (tmp_path / name).write_text("mine")
    said = refusal("run_pretraining.py", tmp_path, monkeypatch, *text_files, *SMALL, "--output_dir", ".")
    assert f"The output folder . already holds {name}" in said
    assert (tmp_path / name).read_text() == "mine" and not (tmp_path / "config.json").exists()


def test_data_of_which_no_batch_can_be_made(text_files, tmp_path, monkeypatch):
    batch = ["--per_device_train_batch_size", "1000", "--dataloader_drop_last", "true", "--output_dir", "out"]
    said = refusal("run_pretraining.py", tmp_path, monkeypatch, *text_files, *SMALL, *batch)
    assert "No step was made" in said and list((tmp_path / "out").iterdir()) == []


def test_what_belongs_to_a_checkpoint_is_read_from_it(text_files, tmp_path, monkeypatch):
    """A run goes on with its own tokenizer, sizes and objective though none is given, from the start that it had; with
    other text, another seed, tokenizer or optimizer it is refused."""

    def call(function, *arguments):
        return function("run_pretraining.py", tmp_path, monkeypatch, *arguments)

    base = [*SMALL, *text_files, "--output_dir", "base", "--max_steps", "1", "--eval_strategy", "no"]
    call(run_here, *base, "--model_type", "perceiver_mlm")
    training = [*text_files, "--max_steps", "4", "--max_train_samples", "40", "--max_eval_samples", "20",
                "--per_device_train_batch_size", "4", "--report_to", "none", "--save_steps", "2", "--eval_strategy",
                "no"]  # fmt: skip
    start = ["--model_type", "recursive_mlm", "--model_name_or_path", "base", "--objective", "denoising",
             "--deletion_rate", "0.4"]  # fmt: skip
    call(run_here, *training, *start, "--output_dir", "first")
    resumed = [*training, "--resume_from_checkpoint", "first/checkpoint-2"]
    call(run_here, *resumed, "--output_dir", "second")
    cards = [(tmp_path / name / "README.md").read_text() for name in ("first", "second")]
    rows = [re.findall(r"^\| (?:loss|shuffled_loss_gap|content_\w+) \|.*", card, flags=re.MULTILINE) for card in cards]
    assert rows[0] == rows[1] and len(rows[0]) == 4  # trained and untrained
    tokenizers = [(tmp_path / name / "tokenizer.json").read_bytes() for name in ("base", "first", "second")]
    assert len(set(tokenizers)) == 1
    record = json.loads((tmp_path / "second" / "training_run.json").read_text())
    assert record["model_name_or_path"] == "base" and record["objectives"]["denoising"]["deletion_rate"] == [0.4]
    assert type(AutoModelForMaskedLM.from_pretrained(tmp_path / "second")).__name__.startswith("Recursive")

    (tmp_path / "other.txt").write_text("\n".join(text.upper() for text in TEXTS * 20), encoding="utf-8")
    for arguments, message in (
        (["--seed", "7"], "made with seed 42, not 7"),
        (["--train_file", "other.txt"], "made with train_text"),
        (["--lower_case"], "made with lower_case false, not true"),
        (["--hidden_size", "64"], "made with hidden_size 32, not 64"),
        (["--objective", "masked_lm"], 'made with objective "denoising", not "masked_lm"'),
        (["--deletion_rate", "0.5"], "deletion_rate [0.4], not [0.5]"),
        (["--optim", "adafactor"], 'made with optimizer "adamw_torch_fused", not "adafactor"'),
        (["--max_seq_length", "8"], "made with max_seq_length 16, not 8"),
        (["--model_name_or_path", "first"], 'made with model_name_or_path "base", not "first"'),
    ):
        assert message in call(refusal, *resumed, "--output_dir", "third", *arguments)


def test_the_card_names_each_data_set_and_the_model_that_weights_are_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run_pretraining.py"])
    (tmp_path / "texts" / "own").mkdir(parents=True)

    def facts(dataset_name=None, train_file=None, **bases):
        bases = {"model_name_or_path": None, "init_encoder_from": None, "backbone": None, "reader": None, **bases}
        data = SimpleNamespace(dataset_name=dataset_name, train_file=train_file)
        training = SimpleNamespace(hub_model_id=None, output_dir="outputs/run", run_name="run")
        return pretraining.card_facts(SimpleNamespace(**bases), data, training, None, 1.0, "body")

    found = facts("me/a:part, texts/own,b", backbone="me/smol")
    assert (found.data_ids, found.data, found.text_column) == (("me/a", "b"), "me/a, own, b", "body")
    assert (found.base_model, found.language, found.license, found.repo_id) == ("me/smol", None, None, "run")
    assert facts(reader="me/reader").base_model == "me/reader"
    found = facts(train_file="texts/own/a.txt", model_name_or_path="texts/own")
    assert (found.data_ids, found.data, found.base_model, found.language) == ((), "a.txt", None, None)
    assert (facts().language, facts().data_ids, facts().license) == ("en", (), "apache-2.0")  # the embedded corpus
