# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The divergence in chunks against its definition."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trainers.objectives import divergence as module
from trainers.objectives.divergence import divergence


def by_definition(head, found, targets, labels, weight):
    found, targets = (F.log_softmax(head(part).double(), dim=-1) for part in (found, targets))
    loss = F.kl_div(found, targets.detach(), reduction="sum", log_target=True)
    return loss + weight * F.nll_loss(found, labels, reduction="sum")


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("trained", [("found",), ("found", "head"), ("head",)])
def test_value_and_gradients(bias, weight, trained, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 3 * 30)  # chunks of 3 and a last one of 1
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    head, labels = nn.Linear(8, 30, bias=bias), torch.randint(30, (7,), generator=generator)
    found, targets = draw(7, 8).requires_grad_("found" in trained), draw(7, 8).requires_grad_(True)
    head.requires_grad_("head" in trained)
    leaves = [part for part in (found, *head.parameters()) if part.requires_grad]
    expected = by_definition(head, found, targets, labels, weight)
    value = divergence(head, found, targets, labels, weight)
    torch.testing.assert_close(value, expected.float())
    gradients = torch.autograd.grad(3 * value, leaves)
    for gradient, wanted in zip(gradients, torch.autograd.grad(3 * expected, leaves), strict=True):
        torch.testing.assert_close(gradient, wanted)
    with torch.no_grad():
        assert not divergence(head, found, targets, labels, weight).requires_grad


def test_products_in_lower_precision_and_no_tokens():
    head, found, targets = nn.Linear(16, 50, bias=False), torch.randn(5, 16), torch.randn(5, 16)
    found.requires_grad_(True)
    exact = divergence(head, found, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = divergence(head, found, targets)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, exact, rtol=0.05, atol=0.01)
    value.backward()
    assert found.grad.dtype == torch.float32 and head.weight.grad.dtype == torch.float32
    assert divergence(head, found[:0], targets[:0]).item() == 0
    same = divergence(head, found, found)
    assert same.item() == pytest.approx(0, abs=1e-6)
