# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What is written for speed gives the losses and gradients of what is written plainly."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import modeling_flash_attention_utils

from modeling_concept import layers_concept
from modeling_concept.layers_concept import RMSNorm, RootMeanSquare, UnitLength, unit_length
from modeling_concept.positions_concept import apply_rotary, make_rotary

from .zoo import DECODER_NAMES, MASK, OWN_ENCODERS, language_model, random_batch, stir


def assert_same_with_gradients(fast, plain, *inputs, atol=1e-5):
    """Results and gradients of two functions of `inputs`."""
    found, expected = fast(*inputs), plain(*inputs)
    torch.testing.assert_close(found, expected, atol=atol, rtol=1e-5)
    weights = torch.randn_like(found)
    ours, theirs = (torch.autograd.grad((value * weights).sum(), inputs) for value in (found, expected))
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=1e-5)


shapes = st.tuples(st.integers(1, 3), st.integers(0, 4), st.integers(1, 9))


def written_out_rotary(states, rotary):
    """The plain form of `apply_rotary`."""
    (first, second), cos = states.chunk(2, dim=-1), rotary.cos.chunk(2, dim=-1)[0]
    return torch.cat([first * cos - second * rotary.sin, second * cos + first * rotary.sin], dim=-1)


@given(rows=st.integers(1, 3), length=st.integers(0, 4), half=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_rotary_encoding_equals_its_formula(rows, length, half, seed):
    """Also its second derivatives, and of transposed states."""
    torch.manual_seed(seed)
    states = torch.randn(rows, length, 2, 2 * half, dtype=torch.float64).transpose(1, 2).requires_grad_()
    rotary = make_rotary(10 * torch.rand(rows, length), 2 * half, 100.0, torch.float64)
    assert_same_with_gradients(lambda x: apply_rotary(x, rotary), lambda x: written_out_rotary(x, rotary), states)
    torch.autograd.gradgradcheck(lambda x: apply_rotary(x, rotary), states)


@given(shape=shapes, size=st.sampled_from([1e-3, 1.0, 1e3]), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_rms_norm_equals_torch(shape, size, seed):
    torch.manual_seed(seed)
    states = (size * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    weight = torch.randn(shape[-1], dtype=torch.float64, requires_grad=True)
    assert_same_with_gradients(
        lambda x, w: RootMeanSquare.apply(x, w, 1e-6),
        lambda x, w: F.rms_norm(x, x.shape[-1:], w, 1e-6),
        states,
        weight,
    )


@given(shape=shapes, size=st.sampled_from([0.0, 1e-3, 1.0, 1e3]), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_unit_length_equals_torch(shape, size, seed):
    """Also of vectors of zeros, and of transposed ones."""
    torch.manual_seed(seed)
    states = (size * torch.randn(shape, dtype=torch.float64)).transpose(0, 1).requires_grad_()
    assert_same_with_gradients(
        lambda x: UnitLength.apply(x, 1e-4), lambda x: F.normalize(x, dim=-1, eps=1e-4), states, atol=1e-9
    )


def test_rotary_encoding_of_low_precision():
    """Under autocast, states of bfloat16 are turned by angles of float32."""
    states = torch.randn(2, 3, 4, 8, dtype=torch.bfloat16, requires_grad=True)
    rotary = make_rotary(torch.arange(4)[None], 8, 100.0, torch.float32)
    turned = apply_rotary(states, rotary)
    torch.testing.assert_close(turned, apply_rotary(states.float(), rotary))
    turned.sum().backward()
    assert states.grad.dtype == torch.bfloat16


def test_norms_of_low_precision_and_frozen_norms():
    """bfloat16, with weights of float32 as under autocast or without, is left to torch; so is a norm that does not
    learn, as far as its weight goes."""
    states, norm = torch.randn(2, 5, 8, requires_grad=True), RMSNorm(8, eps=1e-6)
    low = states.bfloat16()
    torch.testing.assert_close(unit_length(low), F.normalize(low, dim=-1))
    for given_norm in (norm, RMSNorm(8, eps=1e-6).bfloat16()):
        torch.testing.assert_close(given_norm(low), torch.nn.RMSNorm.forward(given_norm, low))
    assert norm(states).grad_fn.name().startswith(RootMeanSquare.__name__)  # float32 is not
    assert unit_length(states).grad_fn.name().startswith(UnitLength.__name__)
    norm.weight.requires_grad_(False)
    norm(states).sum().backward()
    assert norm.weight.grad is None and states.grad is not None


@pytest.mark.parametrize("decoder", DECODER_NAMES)
@pytest.mark.parametrize("encoder", OWN_ENCODERS)
@pytest.mark.parametrize("width", [0, 7])
def test_a_fast_step_equals_a_plain_one(encoder, decoder, width, monkeypatch):
    """Kernels of attention and norms, sparse positions and the loss in chunks, against eager attention, torch's norms,
    and cross-entropy of all logits."""
    model = stir(language_model(encoder, decoder, decoder_conv_width=width)).train()
    batch = random_batch()
    chosen = (torch.rand(batch["input_ids"].shape) < 0.4) & (batch["attention_mask"] == 1)
    labels = torch.where(chosen, batch["input_ids"], -100)
    inputs = {
        "input_ids": torch.where(chosen, MASK, batch["input_ids"]),
        "attention_mask": batch["attention_mask"],
        "continuation": False,
    }

    def step(loss_of):
        model.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    def plain_loss():
        logits = model(**inputs).logits
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)

    fast = step(lambda: model(**inputs, labels=labels).loss)
    model.set_attn_implementation("eager")
    monkeypatch.setattr(layers_concept, "composed_by_torch", lambda states: False)
    plain = step(plain_loss)
    assert len(fast[1]) > 20
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-5)


# -- flash attention, whose kernels need CUDA


def flash_reference(query, key, value, causal=False, softmax_scale=None, **options):
    """Attention of [B, Q, heads, D] to [B, K, heads, D], as the kernel gives it."""
    parts = (part.transpose(1, 2) for part in (query, key, value))
    return F.scaled_dot_product_attention(*parts, scale=softmax_scale).transpose(1, 2)


def flash_varlen_reference(query, key, value, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, **options):
    """Attention of packed queries [ΣQ, heads, D] to the packed keys [ΣK, heads, D] of the same text."""
    assert cu_seqlens_q[-1] == len(query) and cu_seqlens_k[-1] == len(key)
    queries, keys = cu_seqlens_q.diff().tolist(), cu_seqlens_k.diff().tolist()
    assert max(queries) == max_seqlen_q and max(keys) == max_seqlen_k
    parts = zip(query.split(queries), key.split(keys), value.split(keys), strict=True)
    options = {name: options[name] for name in ("softmax_scale",) if name in options}
    return torch.cat([flash_reference(q[None], k[None], v[None], **options)[0] for q, k, v in parts])


@pytest.mark.parametrize("recursive", [False, True])
def test_flash_attention_reads_packed_keys(recursive, monkeypatch):
    """Texts of different lengths, padded on either side, with holes, and an empty one: concepts and gradients are
    those of the reference path."""
    processed = {"softmax_scale", "max_seqlen_q", "max_seqlen_k", "causal"}

    def kwargs(query_length, key_length, is_causal, softmax_scale=None, **given):
        values = {"causal": is_causal, "softmax_scale": softmax_scale, **given}
        return {name: value for name, value in values.items() if name in processed and value is not None}

    functions = (flash_reference, flash_varlen_reference, None, None, None), (kwargs, kwargs)
    monkeypatch.setattr(modeling_flash_attention_utils, "lazy_import_flash_attention", lambda *args: functions)
    encoder = stir(language_model(encoder=f"perceiver0-{'recursive' if recursive else 'stack'}").encoder)
    batch = random_batch(5, 13, padding=(0, 4, 0, 0, 13))
    batch["attention_mask"][2, :5] = 0
    batch["attention_mask"][3, 4:7] = 0
    found = {}
    for name in ("sdpa", "flash_attention_2"):
        encoder.config._attn_implementation = name  # the check for a GPU is left out
        encoder.zero_grad()
        concepts = encoder(**batch).last_hidden_state
        concepts.square().sum().backward()
        found[name] = concepts, [p.grad for p in encoder.parameters() if p.grad is not None]
    torch.testing.assert_close(*found.values(), atol=1e-4, rtol=1e-4)
    assert encoder(**random_batch(2, 7), output_attentions=False).last_hidden_state.isfinite().all()
