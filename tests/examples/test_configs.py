# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The launch recipes: every option exists, the numbers are the list's, and a small model is trained so."""

import json
import math
import sys

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from transformers import LlamaConfig, LlamaForCausalLM

from examples.convert_original_checkpoint import make_model
from trainers import ConceptTrainer
from trainers.model_types import find_model_type
from trainers.pretraining import PRETRAINING_ARGUMENTS
from trainers.starting import plan_start
from trainers.utils.script import parse_arguments

from ..conftest import ROOT


CONFIGS = sorted((ROOT / "examples" / "configs").glob("*.json"))
LISTED = [path for path in CONFIGS if not path.stem.startswith("reader")]  # of the experiment list
ACCELERATE = sorted((ROOT / "examples" / "accelerate_configs").glob("*.yaml"))


SMALL = [
    "--hidden_size", "32", "--num_hidden_layers", "2", "--num_attention_heads", "2", "--intermediate_size", "32",
    "--concept_num", "4", "--max_seq_length", "64", "--per_device_train_batch_size", "4", "--max_steps", "2",
    "--warmup_steps", "0", "--save_strategy", "no", "--eval_strategy", "no", "--bf16", "false", "--report_to", "none",
    "--dataloader_num_workers", "0", "--disable_tqdm", "true", "--use_cpu", "--concept_metric_samples", "8",
]  # fmt: skip


def read_recipe(path, monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", ["run_pretraining.py", str(path), *options])
    return parse_arguments(*PRETRAINING_ARGUMENTS)


@pytest.fixture(scope="module")
def small_parts(tokenizer, tmp_path_factory):
    """Options that stand for what the recipes read from the Hub, or that are too large for a small model."""
    folder = tmp_path_factory.mktemp("parts")
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=96, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    names = ("tokenizer_name", "backbone", "reader")
    return {name: [f"--{name}", str(folder)] for name in names} | {"concept_nums": ["--concept_nums", "2", "4"]}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_small_model_is_trained_by_each_recipe(path, tokenizer, pieces, small_parts, tmp_path, monkeypatch):
    recipe = json.loads(path.read_text())
    parts = [word for name, words in small_parts.items() if name in recipe for word in words]
    lengths = ["--length_schedule", "16,0.6:32,0.9:64"] if "length_schedule" in recipe else []
    options = [*SMALL, *parts, *lengths, "--output_dir", str(tmp_path)]
    model_args, data_args, training_args = read_recipe(path, monkeypatch, *options)
    assert set(recipe) <= {*vars(model_args), *vars(data_args), *vars(training_args)}
    start = plan_start(model_args, training_args, data_args.max_seq_length)
    model, _ = start.make_model(start.make_tokenizer([]))
    model.tokenizer = tokenizer
    trainer = ConceptTrainer(
        model, training_args, objective=start.mixture, processing_class=tokenizer, train_dataset=pieces,
        eval_dataset=pieces,
    )  # fmt: skip
    start_loss = trainer.evaluate()["eval_loss"]
    assert start_loss < 2 * math.log(len(tokenizer))
    trainer.train()
    assert trainer.state.global_step == 2


@pytest.mark.parametrize("path", LISTED, ids=lambda path: path.stem)
def test_recipes_have_the_numbers_of_the_list(path, monkeypatch):
    """Epochs of one sample for each document; evaluation that does not grow with the data."""
    model_args, data_args, training_args = read_recipe(path, monkeypatch, "--bf16", "false", "--report_to", "none")
    assert model_args.hidden_size % model_args.num_attention_heads == 0
    assert model_args.concept_num == 128 and training_args.bf16 is False
    assert data_args.max_eval_samples <= 4096
    recipe = json.loads(path.read_text())
    assert recipe["report_to"] == "wandb" and recipe["ddp_timeout"] >= 6 * 3600
    samples = (
        training_args.max_steps * 4 * recipe["per_device_train_batch_size"] * recipe["gradient_accumulation_steps"]
    )
    passes = {"JeanKaddour/minipile": 20 * 1_000_000, "HuggingFaceFW/fineweb-edu": samples}
    assert samples == pytest.approx(passes.get(recipe["dataset_name"], 10 * 15_000_000), rel=1e-3)


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.stem.startswith("original")])
def test_the_preset_of_the_original_is_what_its_checkpoints_become(path):
    recipe = json.loads(path.read_text())
    given = {**recipe, **recipe["config_overrides"]}
    kind = find_model_type(recipe["model_type"])
    preset = kind.config_class(
        **{name: value for name, value in given.items() if name in kind.config_class.own_options()}
    )
    diffusion = given.get("decoder_type") == "diffusion"
    there = {name: given[name] for name in ("hidden_size", "num_hidden_layers", "intermediate_size", "concept_num")}
    there |= {"tie_word_embeddings": not diffusion, "use_bixt": False, "decoder_posonly": False}
    layers = [f"decoder.layers.{layer}.weight" for layer in range(2 * diffusion)]
    name = "ConceptEncoderForMaskedDiffusion" if diffusion else "ConceptEncoderForMaskedLMPerceiver"
    converted = make_model(there, name, layers).config
    assert kind.model_class.choose_parts(preset).to_dict() == converted.to_dict()


def test_every_todo_of_the_experiment_list_has_its_recipe():
    names = {path.stem for path in CONFIGS}
    for number in ("7", "8", "10", "10b", "11", "11b", "13", "14"):
        assert any(name.startswith(f"todo_{number}_") for name in names), number
    table = (ROOT / "examples" / "configs" / "README.md").read_text()
    assert all(f"`{name}.json`" in table for name in names)


@pytest.mark.parametrize("path", ACCELERATE, ids=lambda path: path.stem)
def test_accelerate_reads_its_configurations(path):
    config = load_config_from_file(str(path))
    given = yaml.safe_load(path.read_text())
    assert config.distributed_type.value == given["distributed_type"]
    assert config.num_processes == given["num_processes"]
