# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The launch recipes: every option exists, and a small model of the same kind can be trained so."""

import json
import sys

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from examples import run_pretraining
from modeling_concept import ConceptEncoderConfig
from trainers import ConceptTrainingArguments
from trainers.model_types import find_model_type
from trainers.script import parse_arguments
from trainers.training_model import TrainingModel

from ..conftest import ROOT
from ..trainers.kit import make_model


CONFIGS = sorted((ROOT / "examples" / "configs").glob("*.json"))
ACCELERATE = sorted((ROOT / "examples" / "accelerate_configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipes_are_valid(path, tokenizer, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_pretraining.py", str(path), "--bf16", "false", "--report_to", "none"])
    model_args, data_args, training_args = parse_arguments(
        run_pretraining.ModelArguments, run_pretraining.DataTrainingArguments, ConceptTrainingArguments
    )
    assert set(json.loads(path.read_text())) <= {*vars(model_args), *vars(data_args), *vars(training_args)}
    assert model_args.hidden_size % model_args.num_attention_heads == 0
    mixture = training_args.make_mixture(find_model_type(model_args.model_type).objective)
    both = {"decoder_target": "both"} if mixture.decoder_target == "both" else {}
    model = make_model(model_args.model_type, tokenizer, encoder_type=model_args.encoder_type, **both)
    terms = training_args.make_terms()
    TrainingModel(model, mixture, terms, training_args.make_weighting(terms), training_args.make_forms())
    schedule = training_args.make_schedule()
    assert all(length <= data_args.max_seq_length for _, length in schedule.lengths)
    if not schedule.lengths:
        schedule.check(model.config)


def test_every_todo_of_the_experiment_list_has_its_recipe():
    names = {path.stem for path in CONFIGS}
    for number in ("7", "8", "10", "10b", "11", "11b", "13", "14"):
        assert any(name.startswith(f"todo_{number}_") for name in names), number
    readme = (ROOT / "README.md").read_text()
    assert all(f"{name}.json" in readme for name in names)


@pytest.mark.parametrize("path", ACCELERATE, ids=lambda path: path.stem)
def test_accelerate_reads_its_configurations(path):
    config = load_config_from_file(str(path))
    given = yaml.safe_load(path.read_text())
    assert config.distributed_type.value == given["distributed_type"]
    assert config.num_processes == given["num_processes"]


def test_overrides_are_values_of_the_configuration():
    text = "decoder_mixer_type=window, timestep_scale=none,initializer_range=2e-2,qk_norm=False,global_concept_num=2"
    assert run_pretraining.read_overrides(text, ConceptEncoderConfig) == {
        "decoder_mixer_type": "window", "timestep_scale": None, "initializer_range": 0.02, "qk_norm": False,
        "global_concept_num": 2,
    }  # fmt: skip
    assert run_pretraining.read_overrides(None, ConceptEncoderConfig) == {}
