# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What conversion says to checkpoints that it cannot convert; those that it can are tested beside the models."""

import pytest
import torch
from safetensors.torch import save_file

from .kit import refusal


KNOWN = '{"architectures": ["ConceptEncoderForMaskedLMPerceiver"], "hidden_size": 8, "num_attention_heads": 2}'


@pytest.mark.parametrize(
    ("config", "weights", "message"),
    [
        (None, {}, "there is no config.json"),
        ("{", {}, "config.json cannot be read: "),
        ('{"auto_map": {}}', {}, "it is a checkpoint of this package already"),
        ("{}", None, "Error while deserializing"),
        ("{}", {"some.weight": torch.ones(2)}, "it is no checkpoint of a known class of the original"),
        (
            KNOWN,
            {"concept_scorer.weight": torch.ones(2), "x": torch.ones(2)},
            "Missing key(s) in state_dict",
        ),
    ],
    ids=["no config", "no JSON", "ours", "broken weights", "other weights", "unknown weight"],
)
def test_what_is_no_original_gets_one_sentence_and_no_folder(config, weights, message, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    if config is not None:
        (tmp_path / "a" / "config.json").write_text(config)
    if weights:
        save_file(weights, tmp_path / "a" / "model.safetensors")
    else:
        (tmp_path / "a" / "model.safetensors").write_bytes(b"abc" * 9)
    given = ["--model_name_or_path", "a", "--output_dir", "out"]
    said = refusal("convert_original_checkpoint.py", tmp_path, monkeypatch, *given)
    assert said.startswith("The checkpoint 'a' cannot be converted: ") and message in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("output", "message"), [("full", "already holds x")])
def test_the_output_is_a_new_folder(output, message, shared, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    source = shared / "original_checkpoints" / "perceiver_cls"
    given = ["--model_name_or_path", source, "--output_dir", output]
    assert message in refusal("convert_original_checkpoint.py", tmp_path, monkeypatch, *given)
