# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Cross-entropy of a linear head without [M, V] logits in memory, over the vocabulary or a sample of it.

M supervised positions, H hidden, V vocabulary, K sampled tokens.
"""

import re
from typing import NamedTuple

import torch
import torch.nn.functional as F


# Logits held at once, in elements: 2^24 float32 are 64 MiB.
CHUNK_ELEMENTS = 1 << 24
# Remote code may be loaded beside this package: each copy of this file registers an operator of its own.
OPERATOR = re.sub(r"\W", "_", __name__) + "::linear_cross_entropy"


class SampledVocabulary(NamedTuple):
    """
    The tokens of a softmax that stands for one over the vocabulary, every label among them. `ids`: [K], ascending.
    `weights`: [K], float32: by how many tokens each counts in the normaliser.
    """

    ids: torch.Tensor
    weights: torch.Tensor


def cross_entropy_in_chunks(
    hidden: torch.Tensor,
    table: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    shift: torch.Tensor | None,
    compute: torch.dtype,
    needs_hidden: bool,
    needs_table: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Sum over rows of weight · cross-entropy of `hidden @ table.T`, in chunks of rows whose gradient is computed as soon
    as their logits are: three matrix products a row instead of the four of recomputation, and never more than one
    chunk of logits. Rows of weight 0 cost nothing.

    Args:
        hidden: [M, H]; table: [V, H]; labels: [M]; weights: [M], float32.
        shift: [V], float32, added to the logits; None for nothing.
        compute: dtype of the matrix products.
        needs_hidden, needs_table: which gradients are wanted; the others are empty.

    Returns:
        The sum (float32 scalar), its gradients by `hidden` (of its dtype) and by `table` (float32).
    """
    span = max(1, CHUNK_ELEMENTS // table.shape[0])
    matrix = table.to(compute)
    hidden_grad = torch.zeros_like(hidden) if needs_hidden else hidden.new_empty(0)
    table_grad = torch.zeros_like(table, dtype=torch.float32) if needs_table else table.new_empty(0)
    total = torch.zeros((), dtype=torch.float32, device=hidden.device)
    with torch.autocast(hidden.device.type, enabled=False):
        for rows in weights.nonzero().squeeze(1).split(span):
            chunk, target, weight = hidden[rows].to(compute), labels[rows, None], weights[rows, None]
            logits = (chunk @ matrix.T).float()
            logits = logits if shift is None else logits.add_(shift)
            highest = logits.amax(dim=-1, keepdim=True)
            chosen = logits.gather(1, target)
            mass = logits.sub_(highest).exp_().sum(dim=-1, keepdim=True)
            total += ((mass.log() + highest - chosen) * weight).sum()
            if needs_hidden or needs_table:
                gradient = logits.mul_(weight / mass).scatter_add_(1, target, -weight).to(compute)
                if needs_hidden:
                    hidden_grad[rows] = (gradient @ matrix).to(hidden.dtype)
                if needs_table and compute == torch.float32:
                    table_grad.addmm_(gradient.T, chunk)
                elif needs_table:
                    table_grad += gradient.T @ chunk
    return total, hidden_grad, table_grad


# An operator of its own, so that compiled code runs it as it is.
linear_cross_entropy = torch.library.custom_op(OPERATOR, cross_entropy_in_chunks, mutates_args=())


@linear_cross_entropy.register_fake
def _(hidden, table, labels, weights, shift, compute, needs_hidden, needs_table):
    hidden_grad = torch.empty_like(hidden) if needs_hidden else hidden.new_empty(0)
    table_grad = torch.empty_like(table, dtype=torch.float32) if needs_table else table.new_empty(0)
    return hidden.new_empty((), dtype=torch.float32), hidden_grad, table_grad


def _keep(ctx, inputs, output):
    ctx.save_for_backward(output[1], output[2])
    ctx.table_dtype = inputs[1].dtype
    ctx.needs = inputs[6:]


@torch.autograd.function.once_differentiable
def _backward(ctx, scale, hidden_scale, table_scale):
    hidden_grad, table_grad = ctx.saved_tensors
    hidden_grad = hidden_grad * scale.to(hidden_grad.dtype) if ctx.needs[0] else None
    table_grad = (table_grad * scale).to(ctx.table_dtype) if ctx.needs[1] else None
    return hidden_grad, table_grad, None, None, None, None, None, None


linear_cross_entropy.register_autograd(_backward, setup_context=_keep)


def head_loss(head, hidden, labels, weights, normaliser, sample: SampledVocabulary | None = None):
    """
    Weighted mean negative log-likelihood in nats.

    Args:
        head: the language-model head; a plain `nn.Linear` without bias takes the chunked path.
        hidden: [M, H].
        labels: [M], all in range.
        weights: [M] float32, one a position; 0 at positions that are not supervised.
        normaliser: number or scalar tensor by which the weighted sum is divided (at least 1).
        sample: tokens that stand for the vocabulary; None for all of it. Labels of weight 0 need not be among them.

    Returns:
        Scalar float32; 0, with zero gradients, when no position is supervised.
    """
    shift = None
    if sample is not None:
        labels = torch.searchsorted(sample.ids, labels).clamp(max=len(sample.ids) - 1)
        shift = sample.weights.log()
    normaliser = torch.as_tensor(normaliser, dtype=torch.float32, device=hidden.device).clamp(min=1)
    if type(head) is torch.nn.Linear and head.bias is None:
        kind, table = hidden.device.type, head.weight if sample is None else head.weight[sample.ids]
        compute = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        needs = [torch.is_grad_enabled() and tensor.requires_grad for tensor in (hidden, table)]
        return linear_cross_entropy(hidden, table, labels, weights, shift, compute, *needs)[0] / normaliser
    if not torch.compiler.is_compiling():
        rows = weights.nonzero().squeeze(1)
        hidden, labels, weights = hidden[rows], labels[rows], weights[rows]
    logits = head(hidden).float()
    logits = logits if sample is None else logits[:, sample.ids] + shift
    losses = F.cross_entropy(logits, labels, reduction="none")
    return (losses * weights).sum() / normaliser
