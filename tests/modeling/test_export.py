# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Exported models take batches and lengths that the example did not have, with gradients on or off."""

import warnings

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnxruntime.quantization import quantize_dynamic
from torch.export import Dim
from transformers.exporters.exporter_dynamo import DynamoConfig, DynamoExporter

from .zoo import ENCODER_LAYERS, classifier, language_model, random_batch, stir


SMALL = {"num_hidden_layers": 1, "num_decoder_layers": 1}


def by_torch(model, batch):
    sizes = {0: Dim("batch", min=1, max=64), 1: Dim("length", min=1, max=48)}
    shapes = dict.fromkeys(batch, sizes)
    return torch.export.export(model, (), kwargs=batch, dynamic_shapes=shapes, strict=False)


def by_transformers(model, batch):
    return DynamoExporter().export(model, batch, config=DynamoConfig(dynamic=True)).program


# By whom, with gradients, as in a process that did not ask for less, or without, and of what.
EXPORTS = {
    **{
        f"{kind} encoder": (by_torch, True, lambda kind=kind: language_model(encoder_type=kind, **SMALL).encoder)
        for kind in ENCODER_LAYERS
    },
    "masked language model": (by_transformers, False, lambda: language_model(decoder="diffusion", **SMALL)),
    "classifier": (by_torch, False, lambda: classifier("ViaDecoder", "perceiver0-recursive", **SMALL)),
}


def assert_same_outputs(exported, model, rows, length):
    batch = random_batch(rows, length, padding=(0, 1, 2))
    found = exported(**batch)
    found, expected = (output[0] if isinstance(output, tuple) else output for output in (found, model(**batch)))
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(found[name], value, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("name", EXPORTS)
def test_export_with_free_batch_and_length(name):
    export, gradients, make = EXPORTS[name]
    model, batch = stir(make()), random_batch()
    with torch.set_grad_enabled(gradients):
        program = export(model, batch)
    for rows, length in ((3, 13), (1, 5), (5, 48)):
        assert_same_outputs(program.module(), model, rows, length)


def test_an_onnx_file_takes_other_batches(tmp_path):
    """As in examples/README.md."""
    encoder, batch = stir(language_model(**SMALL).encoder), random_batch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(by_torch(encoder, batch), dynamo=True, verbose=False).save(tmp_path / "encoder.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx")
    for rows, length in ((3, 13), (1, 5), (5, 48)):
        other = random_batch(rows, length, padding=(0, 1, 2))
        concepts, vectors = session.run(None, {name: value.numpy() for name, value in other.items()})[:2]
        expected = encoder(**other)
        torch.testing.assert_close(torch.tensor(concepts), expected.last_hidden_state, atol=5e-5, rtol=1e-4)
        torch.testing.assert_close(torch.tensor(vectors), expected.pooler_output, atol=5e-5, rtol=1e-4)
    quantize_dynamic(tmp_path / "encoder.onnx", tmp_path / "encoder.int8.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "encoder.int8.onnx")
    concepts = torch.tensor(session.run(None, {name: value.numpy() for name, value in batch.items()})[0])
    assert F.cosine_similarity(concepts, encoder(**batch).last_hidden_state, dim=-1).min() > 0.95


def test_a_traced_encoder_takes_other_batches():
    encoder, batch = stir(language_model(**SMALL).encoder).requires_grad_(False), random_batch()

    def concepts(input_ids, attention_mask):
        return encoder(input_ids, attention_mask).last_hidden_state

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(concepts, tuple(batch.values()))
        for rows, length in ((3, 13), (1, 13), (5, 13), (2, 20)):
            other = random_batch(rows, length, padding=(0, 1, 2)).values()
            torch.testing.assert_close(traced(*other), concepts(*other), atol=5e-5, rtol=1e-4)
