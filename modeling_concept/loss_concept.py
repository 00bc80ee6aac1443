# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Cross-entropy of a linear head without [M, V] logits in memory.

M supervised positions, H hidden, V vocabulary.
"""

import torch
import torch.nn.functional as F


# Logits held at once, in elements: 2^24 float32 are 64 MiB.
CHUNK_ELEMENTS = 1 << 24


class LinearCrossEntropy(torch.autograd.Function):
    """
    Sum over rows of weight · cross-entropy, in chunks of rows whose gradient is computed as soon as their logits are:
    three matrix products a row instead of the four of recomputation, and never more than one chunk of logits.
    """

    @staticmethod
    def forward(ctx, hidden, table, labels, weights):
        compute = torch.get_autocast_dtype(hidden.device.type) if _autocasts(hidden) else hidden.dtype
        rows = max(1, CHUNK_ELEMENTS // table.shape[0])
        matrix = table.to(compute)
        needs_hidden, needs_table = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        hidden_grad = torch.empty_like(hidden) if needs_hidden else None
        table_grad = torch.zeros_like(table, dtype=torch.float32) if needs_table else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, hidden.shape[0], rows):
                span = slice(start, start + rows)
                chunk = hidden[span].to(compute)
                logits = (chunk @ matrix.T).float()
                normaliser = logits.logsumexp(dim=-1, keepdim=True)
                target = labels[span, None]
                total += ((normaliser - logits.gather(1, target))[:, 0] * weights[span]).sum()
                if needs_hidden or needs_table:
                    logits.sub_(normaliser).exp_()  # now the probabilities
                    logits.scatter_add_(1, target, -torch.ones_like(normaliser))
                    gradient = logits.mul_(weights[span, None]).to(compute)
                    if needs_hidden:
                        hidden_grad[span] = (gradient @ matrix).to(hidden.dtype)
                    if needs_table:
                        table_grad += gradient.T @ chunk
        ctx.save_for_backward(hidden_grad, table_grad)
        ctx.table_dtype = table.dtype
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, scale):
        hidden_grad, table_grad = ctx.saved_tensors
        return (
            None if hidden_grad is None else hidden_grad * scale.to(hidden_grad.dtype),
            None if table_grad is None else (table_grad * scale).to(ctx.table_dtype),
            None,
            None,
        )


def head_loss(head, hidden, labels, weights, normaliser):
    """
    Weighted mean negative log-likelihood in nats.

    Args:
        head: the language-model head; a plain `nn.Linear` without bias takes the chunked path.
        hidden: [M, H] at supervised positions.
        labels: [M].
        weights: [M] float32, one a position.
        normaliser: number or scalar tensor by which the weighted sum is divided (at least 1).

    Returns:
        Scalar float32; 0, with zero gradients, when M is 0.
    """
    normaliser = torch.as_tensor(normaliser, dtype=torch.float32, device=hidden.device).clamp(min=1)
    if type(head) is torch.nn.Linear and head.bias is None and not torch.compiler.is_compiling():
        return LinearCrossEntropy.apply(hidden, head.weight, labels, weights) / normaliser
    losses = F.cross_entropy(head(hidden).float(), labels, reduction="none")
    return (losses * weights).sum() / normaliser


def _autocasts(tensor) -> bool:
    return torch.is_autocast_enabled(tensor.device.type)
