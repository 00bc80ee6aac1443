# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Norms over the last axis whose backward passes read each tensor once or twice. On CPU, PyTorch composes both of a dozen
elementwise operations, each with a tensor of its own; there a step spends a tenth of its time on them.

L any shape, H width of the last axis.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.autograd.function import once_differentiable


def composed_by_torch(states: torch.Tensor) -> bool:
    """Whether PyTorch has nothing better than elementwise operations: on CPU, unless a compiler joins them. States
    of low precision are left to it, too: it sums their squares in float32."""
    return states.device.type == "cpu" and states.dtype == torch.float32 and not torch.compiler.is_compiling()


class RootMeanSquare(torch.autograd.Function):
    """y = weight · x / sqrt(mean(x²) + eps) of x [L, H] (Zhang and Sennrich 2019)."""

    @staticmethod
    def forward(ctx, states, weight, eps):
        scale = (states * states).mean(dim=-1, keepdim=True).add_(eps).rsqrt_()
        ctx.save_for_backward(states, weight, scale)
        return (states * scale).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        states, weight, scale = ctx.saved_tensors
        normed = states * scale
        product = gradient * normed
        weight_gradient = product.flatten(0, -2).sum(dim=0) if ctx.needs_input_grad[1] else None
        inward = (product @ weight).unsqueeze(-1).div_(-states.shape[-1])
        torch.mul(gradient, weight, out=product)
        return product.addcmul_(normed, inward).mul_(scale), weight_gradient, None


class UnitLength(torch.autograd.Function):
    """x / max(|x|, eps) of x [L, H]."""

    @staticmethod
    def forward(ctx, states, eps):
        length = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
        scale = length.clamp(min=eps).reciprocal_()
        normed = states * scale
        ctx.save_for_backward(normed, scale)
        ctx.shortest = 1 / eps
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        normed, scale = ctx.saved_tensors
        inward = (gradient * normed).sum(dim=-1, keepdim=True).neg_()
        inward = inward.masked_fill_(scale >= ctx.shortest, 0)  # what is shorter than eps is scaled by a constant
        return torch.addcmul(gradient, normed, inward).mul_(scale), None


class RMSNorm(nn.RMSNorm):
    """`nn.RMSNorm` over one axis, with the fast backward pass."""

    def forward(self, states):
        """`states` [L, H] -> [L, H]."""
        if composed_by_torch(states):
            return RootMeanSquare.apply(states, self.weight, self.eps)
        return super().forward(states)


def unit_length(states, eps: float = 1e-12):
    """`F.normalize(states, dim=-1)`, with the fast backward pass."""
    return UnitLength.apply(states, eps) if composed_by_torch(states) else F.normalize(states, dim=-1, eps=eps)
