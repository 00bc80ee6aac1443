# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The one reader of checkpoints."""

import pytest
import torch
from transformers import BertConfig

from modeling_concept import ConceptEncoder
from trainers.models.loading import load_model, load_weights, read_config

from ..trainers.kit import make_model


@pytest.fixture
def checkpoint(tokenizer, tmp_path):
    model = make_model("perceiver_mlm", tokenizer)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path, model


def test_a_language_model_comes_with_its_decoder_and_an_encoder_alone(checkpoint):
    path, model = checkpoint
    for encoder_only, expected in ((False, model), (True, model.encoder)):
        loaded = load_model(str(path), encoder_only)
        assert type(loaded) is type(expected) and not loaded.training and loaded._tokenizer is not None
        for name, value in loaded.state_dict().items():
            assert torch.equal(value, expected.state_dict()[name]), name


def test_errors_name_the_checkpoint(checkpoint, tmp_path):
    path, _ = checkpoint
    with pytest.raises(ValueError, match="The checkpoint 'nowhere' cannot be read: "):
        load_model("nowhere")
    BertConfig().save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="holds a model of the type 'bert', not a concept encoder"):
        load_model(str(tmp_path / "bert"))
    assert read_config(str(tmp_path / "bert"), concepts=False).model_type == "bert"
    (path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="The checkpoint .* cannot be read: "):
        load_model(str(path))
    (path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match="The checkpoint .* cannot be read as ConceptEncoder: "):
        load_weights(ConceptEncoder, str(path))
