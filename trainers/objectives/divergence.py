# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Divergence between the predictions of one linear head from two kinds of states, without [M, V] logits in memory.

M tokens, R width of the states, V vocabulary.
"""

import torch
import torch.nn.functional as F
from torch import nn

from modeling_concept.loss_concept import CHUNK_ELEMENTS


class Divergence(torch.autograd.Function):
    """[`divergence`], in chunks whose gradient is computed as soon as their logits are: a third of the time of
    recomputation on a CPU."""

    @staticmethod
    def forward(ctx, found, targets, table, bias, labels, likelihood_weight, compute, needs):
        weight = likelihood_weight
        matrix, shift = table.to(compute), None if bias is None else bias.to(compute)
        needs_found, needs_table, needs_bias = needs
        found_grad = torch.zeros_like(found) if needs_found else None
        table_grad = torch.zeros_like(table, dtype=torch.float32) if needs_table else None
        bias_grad = torch.zeros_like(bias, dtype=torch.float32) if needs_bias else None
        total = torch.zeros((), dtype=torch.float32, device=found.device)
        with torch.autocast(found.device.type, enabled=False):
            for rows in torch.arange(len(found), device=found.device).split(max(1, CHUNK_ELEMENTS // len(table))):
                states = found[rows].to(compute)
                ours, theirs = (
                    F.log_softmax(F.linear(part, matrix, shift).float(), dim=-1)
                    for part in (states, targets[rows].to(compute))
                )
                chosen = None if labels is None else labels[rows, None]
                if weight:
                    total -= weight * ours.gather(1, chosen).sum()
                probabilities = theirs.exp()
                total += theirs.sub_(ours).mul_(probabilities).sum()
                if not any(needs):
                    continue
                gradient = ours.exp_().mul_(1 + weight).sub_(probabilities)
                if weight:
                    gradient.scatter_add_(1, chosen, torch.full_like(gradient[:, :1], -weight))
                if needs_bias:
                    bias_grad += gradient.sum(dim=0)
                gradient = gradient.to(compute)
                if needs_found:
                    found_grad[rows] = (gradient @ matrix).to(found.dtype)
                if needs_table:
                    table_grad += gradient.T @ states
        ctx.save_for_backward(found_grad, table_grad, bias_grad)
        ctx.dtypes = [None if part is None else part.dtype for part in (found, table, bias)]
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, scale):
        gradients = (
            None if part is None else (part * scale).to(dtype)
            for part, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        )
        found, table, bias = gradients
        return found, None, table, bias, None, None, None, None


def divergence(head: nn.Linear, found, targets, labels=None, likelihood_weight: float = 0.0):
    """
    Sum over tokens of KL(targets ‖ found), and of the weighted negative log-likelihoods of labels.

    Args:
        head: from states to logits; its matrix products are of autocast's dtype, where that is on.
        found: states [M, R] whose predictions are compared.
        targets: states [M, R] of the predictions that they shall equal, which are constants: no gradient flows through
            them.
        labels: [M], tokens of the vocabulary.
        likelihood_weight: weight of their negative log-likelihood from `found`.

    Returns:
        Scalar float32, in nats; 0 without tokens.
    """
    kind = found.device.type
    compute = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else found.dtype
    given = (found, head.weight, head.bias)
    needs = tuple(torch.is_grad_enabled() and part is not None and part.requires_grad for part in given)
    return Divergence.apply(found, targets.detach(), head.weight, head.bias, labels, likelihood_weight, compute, needs)


__all__ = ["divergence"]
