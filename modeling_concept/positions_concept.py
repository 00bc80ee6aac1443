# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Where tokens and concepts stand: text layout from the attention mask, addresses of concepts, rotary and sinusoidal
encodings, and the segments that concepts start from.

B batch, N tokens, C concepts, A addressed concepts, H hidden, D head size.
"""

import math
from typing import NamedTuple

import torch


class TextLayout(NamedTuple):
    """Positions [B or 1, N] and lengths [B or 1] in tokens, and which tokens may be read (bool [B, N], or None)."""

    positions: torch.Tensor
    lengths: torch.Tensor
    visible: torch.Tensor | None


def text_layout(attention_mask, position_ids, token_count: int, hidden_tokens, device) -> TextLayout:
    """
    Derive the layout of a batch of texts.

    A text runs from its first to its last attended token, so that padding on either side and holes inside change
    neither positions nor length. An empty text has length 1 and nothing to read.

    Args:
        attention_mask: [B, N], non-zero at real tokens, or None when all are.
        position_ids: [B, N] or None to count from the first attended token.
        token_count: N.
        hidden_tokens: bool [B, N], real tokens that must not be read (masked ones), or None.
        device: where to make positions when there is no mask.
    """
    if attention_mask is None:
        positions = torch.arange(token_count, device=device)[None]
        lengths = torch.full((1,), token_count, device=device)
        visible = None if hidden_tokens is None else ~hidden_tokens
    else:
        attended = attention_mask.bool()
        index = torch.arange(token_count, device=attended.device)[None]
        first = attended.int().argmax(dim=1, keepdim=True)
        last = torch.where(attended, index, -1).amax(dim=1, keepdim=True)
        positions = (index - first).clamp(min=0)
        lengths = (last - first + 1).clamp(min=1).squeeze(1)
        visible = attended if hidden_tokens is None else attended & ~hidden_tokens
    return TextLayout(positions if position_ids is None else position_ids, lengths, visible)


def concept_addresses(lengths: torch.Tensor, concept_num: int, global_concept_num: int) -> torch.Tensor:
    """
    Token positions [B, C] at which concepts stand: A addressed ones at (a + 1/2)·N/A - 1/2, evenly through the text;
    global ones at its centre, the place from which no token is far.
    """
    global_num = min(global_concept_num, concept_num)
    lengths = lengths.float()[:, None]
    centre = ((lengths - 1) / 2).expand(-1, global_num)
    addressed_num = max(concept_num - global_num, 1)
    index = torch.arange(concept_num - global_num, device=lengths.device, dtype=torch.float32)[None]
    return torch.cat([centre, (index + 0.5) * lengths / addressed_num - 0.5], dim=1)


def concept_spacing(lengths: torch.Tensor, concept_num: int, global_concept_num: int) -> torch.Tensor:
    """Tokens [B] from one address to the next."""
    return lengths.float() / max(concept_num - global_concept_num, 1)


def phase_features(positions: torch.Tensor, spacing: torch.Tensor, harmonics: int) -> torch.Tensor:
    """
    Where `positions` [B or 1, L] stand between two addresses that are `spacing` [B or 1] tokens apart: sines and
    cosines of the harmonics of that phase, [B or 1, L, 2·harmonics].
    """
    phase = (positions.float() + 0.5) / spacing[:, None]
    multiples = 2 * math.pi * torch.arange(1, harmonics + 1, device=positions.device)
    angles = phase[:, :, None] * multiples
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def segment_means(states, layout: TextLayout, addressed_num: int):
    """
    Mean of the visible token states in each of `addressed_num` equal segments of the text, weighted by the share of
    a token that lies inside: every segment has a value, also where there are more concepts than tokens.

    `states` [B, N, H] -> [B, A, H]; zero where a segment holds nothing visible. O(A·N·H).
    """
    lengths = layout.lengths.float()[:, None, None]
    start = torch.arange(addressed_num, device=states.device, dtype=torch.float32)[None, :, None]
    start, width = start * lengths / addressed_num, lengths / addressed_num
    token = layout.positions.float()[:, None, :]
    weights = (torch.minimum(token + 1, start + width) - torch.maximum(token, start)).clamp(min=0)
    weights = weights * (token < lengths)
    if layout.visible is not None:
        weights = weights * layout.visible[:, None, :]
    weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-6)
    return weights.to(states.dtype).expand(states.shape[0], -1, -1) @ states


def mean_of_visible(states, layout: TextLayout):
    """Mean [B, 1, H] of the visible token states [B, N, H]; zero where nothing is visible."""
    if layout.visible is None:
        return states.mean(dim=1, keepdim=True)
    weights = layout.visible[:, None, :].to(states.dtype)
    return weights @ states / weights.sum(dim=-1, keepdim=True).clamp(min=1)


class Rotary(NamedTuple):
    """Cosines and sines [B or 1, 1, L, D] of rotary position encoding."""

    cos: torch.Tensor
    sin: torch.Tensor


def make_rotary(positions: torch.Tensor, head_size: int, theta: float, dtype: torch.dtype) -> Rotary:
    """Rotary encoding (Su et al. 2021) of real-valued `positions` [B, L]: channel pair i turns by p·theta^(-2i/D)."""
    exponent = torch.arange(0, head_size, 2, device=positions.device, dtype=torch.float32) / head_size
    angles = positions.float()[:, None, :, None] * torch.exp(-exponent * math.log(theta))
    angles = torch.cat([angles, angles], dim=-1)
    return Rotary(angles.cos().to(dtype), angles.sin().to(dtype))


class Turn(torch.autograd.Function):
    """
    Channel c of the first half and channel c of the second, of `states` [..., D], turned together: multiplied and
    summed in place, forwards and backwards, where written-out rotary encoding makes five tensors.
    """

    @staticmethod
    def forward(ctx, states, cos, sin):
        ctx.save_for_backward(cos, sin)
        ctx.dtype = states.dtype
        first, second = states.chunk(2, dim=-1)
        sin_first, sin_second = sin.chunk(2, dim=-1)
        turned = states * cos
        turned_first, turned_second = turned.chunk(2, dim=-1)
        turned_first.addcmul_(second, sin_first, value=-1)
        turned_second.addcmul_(first, sin_second)
        return turned

    @staticmethod
    def backward(ctx, gradient):
        cos, sin = ctx.saved_tensors
        return Turn.apply(gradient, cos, -sin).to(ctx.dtype), None, None


def apply_rotary(states: torch.Tensor, rotary: Rotary | None) -> torch.Tensor:
    """Turn `states` [B, heads, L, D]."""
    return states if rotary is None else Turn.apply(states, *rotary)


def sinusoid(positions: torch.Tensor, width: int) -> torch.Tensor:
    """Interleaved sinusoidal encoding (Vaswani et al. 2017) of `positions` [L] -> [L, width]."""
    half = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32)
    angles = positions.float()[:, None] * torch.exp(-half * math.log(10000.0) / width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]
