# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The pretraining script as a user runs it."""

import json
import shutil

import pytest
from datasets import Dataset
from transformers import AutoModel, AutoModelForMaskedLM, BertConfig, BertModel

from trainers.model_types import MODEL_TYPES

from ..conftest import TEXTS
from .kit import refusal, run_script


SMALL = [
    "--hidden_size", "32", "--intermediate_size", "32", "--vocab_size", "300", "--max_steps", "4",
    "--concept_num", "4", "--max_seq_length", "16", "--per_device_train_batch_size", "4", "--max_eval_samples", "20",
    "--logging_steps", "2", "--report_to", "none", "--max_train_samples", "40",
]  # fmt: skip


@pytest.fixture
def text_files(tmp_path):
    for name in ("train", "valid"):
        (tmp_path / f"{name}.txt").write_text("\n".join(TEXTS * 20), encoding="utf-8")
    return ["--train_file", str(tmp_path / "train.txt"), "--validation_file", str(tmp_path / "valid.txt")]


def run(folder, *arguments):
    return run_script("run_pretraining.py", folder, *arguments)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_model_type_ends_with_a_checkpoint_a_card_and_a_picture(model_type, text_files, tmp_path):
    done = run(tmp_path, "--model_type", model_type, *text_files, *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    (folder,) = (tmp_path / "outputs").iterdir()
    read = "suffix_gain" if model_type == "prefix_diffusion" else "reconstruction_accuracy"
    for word in ("unigram entropy", "content_fraction", "content_erank", "duplicate_share", "ref_rank", read,
                 "trust_remote_code=True", "untrained", str(folder.name)):  # fmt: skip
        assert word in done.stdout, word
    assert "it/s" in done.stderr  # the progress bar
    assert (folder / "training.png").stat().st_size > 10_000
    card = (folder / "README.md").read_text()
    assert "model-index" in card and MODEL_TYPES[model_type].model_class.__name__ in card
    results = json.loads((folder / "all_results.json").read_text())
    assert {"train_loss", "eval_loss", "unigram_entropy", f"eval_{read}"} <= set(results)
    lines = done.stdout.strip().splitlines()[-2:]
    assert lines[0].startswith("from transformers import")
    model = AutoModelForMaskedLM.from_pretrained(folder)
    assert type(model) is MODEL_TYPES[model_type].model_class
    assert AutoModel.from_pretrained(folder).encode(TEXTS, truncation=True).concepts.shape == (4, 4, 32)


def test_going_on_resuming_and_one_json_file(text_files, tmp_path):
    first = run(tmp_path, *text_files, *SMALL, "--output_dir", "first", "--save_steps", "2", "--save_total_limit", "2")
    assert first.returncode == 0, first.stderr[-3000:]
    again = run(tmp_path, *text_files, *SMALL, "--output_dir", "first")
    assert again.returncode != 0 and "already holds a run" in again.stderr
    assert "Traceback" not in again.stderr
    resumed = run(tmp_path, *text_files, *SMALL, "--output_dir", "first", "--resume_from_checkpoint", "last")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    names = iter([*text_files, *SMALL])
    options = {name.removeprefix("--"): next(names) for name in names}
    options = {name: int(value) if value.isdigit() else value for name, value in options.items()}
    options |= {"model_name_or_path": "first", "output_dir": "second"}
    (tmp_path / "run.json").write_text(json.dumps(options))
    second = run(tmp_path, "run.json", "--max_steps", "3")
    assert second.returncode == 0, second.stderr[-3000:]
    assert json.loads((tmp_path / "second" / "trainer_state.json").read_text())["global_step"] == 3


def test_several_objectives_losses_and_pairs_in_one_run(tmp_path):
    rows = {"a": TEXTS * 5, "b": TEXTS[::-1] * 5}
    for name in ("train", "validation"):
        Dataset.from_dict(rows).to_parquet(tmp_path / f"{name}.parquet")
    files = ["--train_file", "train.parquet", "--validation_file", "validation.parquet", "--text_column", "a"]
    objective = "denoising:0.4,prefix_diffusion:0.6,+contrastive:0.1"
    done = run(
        tmp_path, *files, "--pair_column", "b", "--objective", objective, "--views", "pairs", *SMALL,
        "--concept_losses", "vicreg:0.01", "--matrix_optimizer", "muon", "--train_sampling_strategy",
        "group_by_length", "--output_dir", "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "were cut" in done.stderr
    for word in ("prefix_diffusion_nelbo", "contrastive_retrieval_accuracy", "suffix_gain", "concept_gain"):
        assert word in done.stdout, word
    card = (tmp_path / "run" / "README.md").read_text()
    assert objective in card and "vicreg:0.01" in card


def test_a_backbone_below_the_concepts(text_files, tokenizer, tmp_path):
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    saving = ["--save_steps", "2", "--save_total_limit", "2", "--output_dir", "run"]
    arguments = [*text_files, *SMALL, *saving, "--backbone", "bert", "--backbone_layers", "1"]
    done = run(tmp_path, *arguments, "--backbone_training", "lora", "--lora_rank", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    whole = json.loads((tmp_path / "run" / "all_results.json").read_text())["eval_loss"]
    model, info = AutoModelForMaskedLM.from_pretrained(tmp_path / "run", output_loading_info=True)
    assert model.config.backbone_config["num_hidden_layers"] == 1 and not info["unexpected_keys"]
    shutil.rmtree(tmp_path / "run" / "checkpoint-4")
    arguments += ["--backbone_training", "lora", "--lora_rank", "2", "--resume_from_checkpoint", "last"]
    done = run(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "run" / "all_results.json").read_text())["eval_loss"] == whole


def test_streaming_and_a_tokenizer_of_others(text_files, tmp_path, shared):
    tokenizer = shared / "data" / "tokenizers" / "smollm2"
    done = run(tmp_path, *text_files, *SMALL, "--streaming", "--tokenizer_name", tokenizer, "--output_dir", "run")
    assert done.returncode == 0, done.stderr[-3000:]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["mask_token_id"] == 49152 and config["vocab_size"] == 49153


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model_type", "gpt"], "Unknown model type 'gpt'; choose one of"),
        (["--num_attention_heads", "5"], "not divisible by num_attention_heads 5"),
        (["--config_overrides", "num_attention_heads=5"], "not divisible by num_attention_heads 5"),
        (["--config_overrides", "decoder_mixer=conv"], "near it are ['decoder_mixer_type'"),
        (["--config_overrides", "decoder_mixer_type=net"], "decoder_mixer_type"),
        (["--train_file", "nowhere.txt"], "nowhere.txt does not exist"),
        (["--objective", "gpt"], "Unknown objective 'gpt'; choose one of"),
        (["--t_min", "0.5"], "has no option ['t_min']"),
        (["--backbone", "nowhere"], "nowhere"),
        (["nothing.json"], "nothing.json cannot be read"),
        (["--deletion_rate", "1.5"], "deletion_rate is a share between 0 and 1"),
        (["--model_name_or_path", "nowhere"], "nowhere"),
        (["--encoder_type", "gpt"], "Unknown encoder_type 'gpt'; choose one of"),
    ],
)
def test_bad_input_gets_one_sentence(arguments, message, tmp_path, monkeypatch):
    assert message in refusal("run_pretraining.py", tmp_path, monkeypatch, *arguments, *SMALL)


def test_a_tokenizer_larger_than_the_vocabulary_is_told(text_files, tmp_path, shared, monkeypatch):
    first = run(tmp_path, *text_files, *SMALL, "--output_dir", "first", "--max_steps", "1")
    assert first.returncode == 0, first.stderr[-3000:]
    tokenizer = shared / "data" / "tokenizers" / "smollm2"
    arguments = ["--model_name_or_path", "first", "--tokenizer_name", tokenizer, "--max_seq_length", "16"]
    assert "The tokenizer has" in refusal("run_pretraining.py", tmp_path, monkeypatch, *text_files, *arguments)
