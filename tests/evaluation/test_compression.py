# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Compression: edits of concepts, and a model whose concepts are its tokens, so that every number is known."""

from types import SimpleNamespace

import pytest
import torch

from trainers.evaluation.analysis.compression import measure_compression, without_concepts

from ..modeling.zoo import DECODERS, language_model, stir
from ..trainers.kit import make_model


class Copier(torch.nn.Module):
    """Keeps token n in concept n, as its one component; reconstructs 0 where there is no concept."""

    can_reconstruct = True

    def __init__(self, tokenizer, length):
        super().__init__()
        self.encoder = torch.nn.Module()
        self.encoder.forward = lambda ids, count: Output(last_hidden_state=ids[:, :count, None].float())
        self.config = SimpleNamespace(concept_num=length, hidden_size=1, vocab_size=len(tokenizer))
        self.lm_head, self.device, self.length = self, torch.device("cpu"), length
        self.tokenizer = tokenizer

    def reconstruct_ids(self, input_ids, attention_mask=None, concept_num=None):
        count = self.length if concept_num is None else concept_num
        concepts = self.encoder(input_ids, count)["last_hidden_state"][..., 0].round().long()
        return torch.nn.functional.pad(concepts, (0, input_ids.shape[1] - count))


class Output(dict):
    @property
    def last_hidden_state(self):
        return self["last_hidden_state"]


def test_a_copier_is_measured_exactly(tokenizer, sample):
    copier = Copier(tokenizer, 24)
    found = measure_compression({"trained": copier}, sample, 32)
    assert found["trained"] == {"accuracy": 1.0, "exact": 1.0}
    # 22 of 24 tokens count; of the first k, k - 1 do.
    kept = {entry["concepts"]: entry["accuracy"] for entry in found["kept"]}
    assert kept == {24: 1.0, **{count: pytest.approx((count - 1) / 22) for count in (18, 12, 6, 3)}}
    inner = sample.ids[:, 1:-1].flatten()
    assert found["most_frequent_token"]["accuracy"] == pytest.approx(int(torch.bincount(inner).max()) / len(inner))
    drop = found["drop_one"]
    assert drop["concepts"] == list(range(24))
    expected = torch.eye(24)
    expected[0] = expected[-1] = 0
    assert torch.equal(torch.tensor(drop["drop_by_position"]), expected)
    assert drop["drop"][1:-1] == pytest.approx([1 / 22] * 22)


def test_edits():
    concepts, encoder = torch.randn(3, 4, 64), torch.nn.Identity()
    given, model = Output(last_hidden_state=concepts), SimpleNamespace(encoder=encoder)
    with without_concepts(model, 2):
        found = encoder(given)["last_hidden_state"]
    assert torch.equal(found[:, 2], torch.zeros(3, 64)) and concepts[:, 2].abs().min() > 0
    assert torch.equal(found[:, 3], concepts[:, 3])
    assert torch.equal(encoder(given)["last_hidden_state"], concepts)


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_decoder_reads_the_edited_concepts(decoder, tokenizer, sample):
    model = language_model(decoder=decoder, vocab_size=len(tokenizer), mask_token_id=tokenizer.mask_token_id)
    stir(model)  # gates of a diffusion decoder start at zero
    ids = sample.ids[:4]
    plain = model.reconstruct_ids(ids)
    with without_concepts(model, slice(0)):
        assert torch.equal(model.reconstruct_ids(ids), plain)
    with without_concepts(model, slice(None)):
        empty = model.reconstruct_ids(ids)
    assert torch.equal(empty, empty[:1].expand_as(empty)) and not torch.equal(empty, plain)
    assert torch.equal(model.reconstruct_ids(ids), plain)


def test_models_without_a_decoder_of_the_text(tokenizer):
    model = make_model("prefix_diffusion", tokenizer)
    assert not model.can_reconstruct and not model.base_model.can_reconstruct
