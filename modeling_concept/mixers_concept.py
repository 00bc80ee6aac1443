# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Token-mixing layers of cost O(N·w), below the concepts or between a decoder's target positions.

B batch, N tokens, H hidden, D head size, W window reach, K blocks of W tokens.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention_concept import ConceptAttention
from .layers_concept import FeedForward, make_linear, make_norm
from .positions_concept import Rotary


class DepthwiseConvolution(torch.autograd.Function):
    """
    `values` [B, N, H] convolved with `taps` [W, H], W odd, each channel with its own; zeros beyond the ends.

    Products are summed in place, forwards and backwards: for a few taps several times faster than nn.Conv1d(groups=H),
    and without its transposes.
    """

    @staticmethod
    def forward(ctx, values, taps):
        ctx.save_for_backward(values, taps)
        return sum_of_shifts(values, taps)

    @staticmethod
    def backward(ctx, gradient):
        values, taps = ctx.saved_tensors
        shifted = shifts(values, len(taps))
        taps_gradient = torch.stack([(part * gradient).flatten(0, 1).sum(dim=0) for part in shifted])
        return sum_of_shifts(gradient, taps.flip(0)).to(values.dtype), taps_gradient.to(taps.dtype)


def shifts(values, width: int) -> list[torch.Tensor]:
    """`width` views [B, N, H] of `values`: position n holds what stands at n - width // 2, …, n + width // 2."""
    padded = F.pad(values, (0, 0, width // 2, width // 2))
    return [padded[:, place : place + values.shape[1]] for place in range(width)]


def sum_of_shifts(values, taps):
    first, *others = shifts(values, len(taps))
    total = first * taps[0]
    for part, tap in zip(others, taps[1:], strict=True):
        total.addcmul_(part, tap)
    return total


class ConvolutionMixer(GradientCheckpointingLayer):
    """Gated depthwise convolution: x + O(conv(a) * act(b)), [a, b] = I(norm(x)). Masked tokens contribute nothing."""

    def __init__(self, config, width: int, gain: float):
        super().__init__()
        hidden = config.hidden_size
        self.norm = make_norm(config)
        self.in_proj = make_linear(hidden, 2 * hidden, config.use_bias)
        self.convolution = nn.Parameter(torch.empty(width, hidden))
        self.out_proj = make_linear(hidden, hidden, config.use_bias, gain)

    def init_own_parameters(self, constant_std):
        init.normal_(self.convolution, std=constant_std or self.convolution.shape[0] ** -0.5)

    def forward(self, states, visible=None, rotary: Rotary | None = None):
        """`states` [B, N, H], `visible` bool [B, N] or None -> [B, N, H]."""
        values, gate = self.in_proj(self.norm(states)).chunk(2, dim=-1)
        if visible is not None:
            values = values * visible[:, :, None]
        mixed = DepthwiseConvolution.apply(values, self.convolution)
        return states + self.out_proj(mixed * F.silu(gate))


class WindowMixer(GradientCheckpointingLayer):
    """Sliding-window self-attention, `width` tokens to each side, and a feed-forward block.

    Blocks of W tokens attend to themselves and both neighbours, so the cost is O(N·W) with any attention kernel.
    """

    def __init__(self, config, width: int, gain: float):
        super().__init__()
        self.width = width
        self.norm = make_norm(config)
        self.attention = ConceptAttention(config, gain)
        self.feed_forward_norm = make_norm(config)
        self.feed_forward = FeedForward(config, gain=gain)

    def forward(self, states, visible=None, rotary: Rotary | None = None):
        """`states` [B, N, H], `visible` bool [B, N] or None -> [B, N, H]."""
        normed, attention = self.norm(states), self.attention
        query = attention.project_queries(normed, rotary)
        key, value = attention.project_states(normed, rotary)
        (batch, length), width = states.shape[:2], self.width
        # One block more than there are tokens for: the sizes then have one form for every exported length.
        blocks = (length - 1) // width + 2
        index = torch.arange(3 * width, device=states.device)
        offset = index[None, :] - width - index[:width, None]  # key position minus query position
        place = width * torch.arange(blocks, device=states.device)[:, None] + index - width  # [K, 3W]
        inside, place = (place >= 0) & (place < length), place.clamp(min=0, max=length - 1)

        def in_blocks(tensor, place):  # [B, heads, N, D] -> [B·K, heads, W or 3W, D]
            return tensor.transpose(1, 2)[:, place].flatten(0, 1).transpose(1, 2)

        readable = inside.expand(batch, -1, -1) if visible is None else visible[:, place] & inside
        # A position always reads itself, so that no softmax is empty.
        mask = ((offset.abs() <= width) & readable[:, :, None, :]) | (offset == 0)
        context = F.scaled_dot_product_attention(
            in_blocks(query, place[:, width : 2 * width]),
            in_blocks(key, place),
            in_blocks(value, place),
            attn_mask=mask.flatten(0, 1)[:, None],
            dropout_p=attention.dropout if self.training else 0.0,
            scale=attention.scaling,
        )
        context = context.transpose(1, 2).reshape(batch, blocks * width, -1)
        states = states + attention.o_proj(context.index_select(1, torch.arange(length, device=states.device)))
        return states + self.feed_forward(self.feed_forward_norm(states))


TOKEN_MIXERS = {"conv": ConvolutionMixer, "window": WindowMixer}
