# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Linear layers and norms, feed-forward blocks, and the gated convolution between a decoder's target positions.

The norms have backward passes that read each tensor once or twice. On CPU, PyTorch composes the norms of a dozen
elementwise operations, each with a tensor of its own, and a step spends a tenth of its time on them.

B batch, N tokens, L any length, H hidden, I inner.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer


def make_linear(
    in_features: int, out_features: int, bias: bool = False, init_scale: float = 1.0, identity: bool = False
) -> nn.Linear:
    """A linear layer with its initial values for `_init_weights`: standard deviation init_scale/sqrt(in_features),
    zeros for an `init_scale` of 0, or the identity."""
    layer = nn.Linear(in_features, out_features, bias=bias)
    layer.init_scale, layer.init_identity = init_scale, identity
    return layer


def composed_by_torch(states: torch.Tensor) -> bool:
    """Whether PyTorch has nothing better than elementwise operations: on CPU, unless a compiler joins them. States
    of low precision are left to it, too: it sums their squares in float32."""
    return states.device.type == "cpu" and states.dtype == torch.float32 and not torch.compiler.is_compiling()


class RootMeanSquare(torch.autograd.Function):
    """y = weight · x / sqrt(mean(x²) + eps) of x [L, H] (Zhang and Sennrich 2019)."""

    @staticmethod
    def forward(ctx, states, weight, eps):
        scale = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
        scale = scale.square_().div_(states.shape[-1]).add_(eps).rsqrt_()
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


class RMSNorm(nn.RMSNorm):
    """`nn.RMSNorm` over one axis, with the fast backward pass."""

    def forward(self, states):
        """`states` [L, H] -> [L, H]."""
        if composed_by_torch(states):
            return RootMeanSquare.apply(states, self.weight, self.eps)
        # Kernels want one dtype; under autocast the states may have another one than the weights.
        return F.rms_norm(states, self.normalized_shape, self.weight.to(states.dtype), self.eps)


def make_norm(config) -> RMSNorm:
    """The norm of inner layers."""
    return RMSNorm(config.hidden_size, eps=config.norm_eps)


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


def unit_length(states, eps: float = 1e-12):
    """`F.normalize(states, dim=-1)`, with the fast backward pass."""
    return UnitLength.apply(states, eps) if composed_by_torch(states) else F.normalize(states, dim=-1, eps=eps)


class FeedForward(nn.Module):
    """H -> I -> H (or another width), gated: `act(a) * b` (GEGLU or SwiGLU, Shazeer 2020)."""

    def __init__(self, config, init_scale: float = 1.0, out_features: int | None = None):
        super().__init__()
        inner = config.intermediate_size
        self.up_proj = make_linear(config.hidden_size, 2 * inner)
        self.down_proj = make_linear(inner, out_features or config.hidden_size, init_scale=init_scale)
        self.activation = ACT2FN[config.hidden_act]
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, states):
        """`states` [B, L, H] -> [B, L, H]."""
        gate, states = self.up_proj(states).chunk(2, dim=-1)
        return self.down_proj(self.dropout(self.activation(gate) * states))


class ConvolutionMixer(GradientCheckpointingLayer):
    """Gated depthwise convolution: x + O(conv(a) * silu(b)), [a, b] = I(norm(x)). Masked tokens contribute nothing."""

    def __init__(self, config, width: int, init_scale: float):
        super().__init__()
        hidden = config.hidden_size
        self.norm = make_norm(config)
        self.in_proj = make_linear(hidden, 2 * hidden)
        self.convolution = nn.Parameter(torch.empty(width, hidden))
        self.out_proj = make_linear(hidden, hidden, init_scale=init_scale)

    def init_own_parameters(self):
        init.normal_(self.convolution, std=self.convolution.shape[0] ** -0.5)

    def forward(self, states, visible=None):
        """`states` [B, N, H], `visible` bool [B, N] or None -> [B, N, H]."""
        values, gate = self.in_proj(self.norm(states)).chunk(2, dim=-1)
        if visible is not None:
            values = values * visible[:, :, None]
        width, hidden = self.convolution.shape
        mixed = F.conv1d(values.mT, self.convolution.T[:, None], padding=width // 2, groups=hidden).mT
        return states + self.out_proj(mixed * F.silu(gate))
