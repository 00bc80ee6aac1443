# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Positions of tokens and concepts: text layout from the attention mask, one segment of the text per concept, and rotary
encoding.

B batch, N tokens, C concepts, L positions, H hidden, D head size.
"""

import math
from typing import NamedTuple

import torch
import torch.nn as nn

from .layers_concept import make_linear


# RoPE distance between neighbouring concepts, at which they differ clearly at the first frequencies of the base.
SEGMENT_STRIDE = 4.0


class TextLayout(NamedTuple):
    """Positions [B or 1, N] and lengths [B or 1] in tokens, and which tokens may be read (bool [B, N], or None)."""

    positions: torch.Tensor
    lengths: torch.Tensor
    visible: torch.Tensor | None


def check_inputs(input_ids, inputs_embeds=None, **others) -> None:
    """
    Check that inputs fit each other; compiled, exported and traced code skips it.

    Raises:
        ValueError: not exactly one of `input_ids` and `inputs_embeds`; they are no [B, N] and [B, N, E]; ids are no
            whole numbers; another input is neither None nor [B, N], nor [1, N] for all texts (which labels and their
            weights may not be).
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise ValueError("Give exactly one of input_ids and inputs_embeds.")
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return
    name, given, axes = ("input_ids", input_ids, 2) if inputs_embeds is None else ("inputs_embeds", inputs_embeds, 3)
    if not isinstance(given, torch.Tensor) or given.dim() != axes:
        said = f"of shape {list(given.shape)}" if isinstance(given, torch.Tensor) else f"a {type(given).__name__}"
        raise ValueError(f"{name} must be a tensor [texts, tokens{', width' * (axes == 3)}], not {said}.")
    # A list of no tokens becomes a tensor of no whole numbers.
    if inputs_embeds is None and input_ids.dtype not in (torch.int64, torch.int32) and input_ids.numel():
        raise ValueError(f"input_ids must be of dtype torch.long, not {input_ids.dtype}.")
    texts, tokens = given.shape[:2]
    for other, value in others.items():
        rows = (texts,) if other in ("labels", "loss_weights") else (texts, 1)
        if value is not None and tuple(value.shape) not in ((count, tokens) for count in rows):
            raise ValueError(
                f"{other} must be of shape {[texts, tokens]}, as are the texts and tokens of {name}, not of "
                f"{list(value.shape)}."
            )


def text_layout(attention_mask, token_count: int, hidden_tokens, device) -> TextLayout:
    """
    Derive the layout of a batch of texts.

    A text runs from its first to its last attended token, from which positions count, so that padding on either side
    and holes inside change neither positions nor length. An empty text has length 1 and nothing to read.

    Args:
        attention_mask: [B, N], non-zero at real tokens, or None when all are.
        token_count: N.
        hidden_tokens: bool [B, N], real tokens that must not be read (masked ones), or None.
        device: where to make positions when there is no mask.
    """
    if attention_mask is None or token_count == 0:
        positions = torch.arange(token_count, device=device)[None]
        lengths = torch.full((1,), max(token_count, 1), device=device)
        visible = None if hidden_tokens is None else ~hidden_tokens
    else:
        attended = attention_mask.bool()
        index = torch.arange(token_count, device=attended.device)[None]
        first = attended.int().argmax(dim=1, keepdim=True)
        last = torch.where(attended, index, -1).amax(dim=1, keepdim=True)
        positions = (index - first).clamp(min=0)
        lengths = (last - first + 1).clamp(min=1).squeeze(1)
        visible = attended if hidden_tokens is None else attended & ~hidden_tokens
    return TextLayout(positions, lengths, visible)


class Segments(NamedTuple):
    """
    A text of `lengths` [B or 1] tokens in `count` segments of whole tokens, one per concept: token p of N lies in
    segment floor(p·C/N), and lengths of segments differ by one token at most. Where there are fewer tokens than
    concepts, each token has a segment of its own and the last concepts have none.
    """

    lengths: torch.Tensor
    count: int

    @property
    def used(self):
        """Number [B or 1, 1] of segments with tokens."""
        return self.lengths[:, None].clamp(max=self.count)

    def first_token(self, segment):
        """Position of the first token of each segment [B or 1, L]."""
        return -(-segment * self.lengths[:, None] // self.used)

    def locate(self, positions):
        """Segment of token `positions` [B or 1, L], and offset inside it from 0; segments continue after the text."""
        segment = positions * self.used // self.lengths[:, None]
        return segment, positions - self.first_token(segment)

    def means(self, states, layout: TextLayout):
        """Mean [B, C, H] of the visible token states [B, N, H] of each segment; zero where nothing is visible."""
        index = torch.arange(self.count, device=states.device)[None, :, None]
        members = self.locate(layout.positions)[0][:, None, :] == index
        if layout.visible is not None:
            members = members & layout.visible[:, None, :]
        shares = members / members.sum(dim=-1, keepdim=True).clamp(min=1)
        return shares.to(states.dtype) @ states

    def concept_places(self):
        """Positions [B or 1, C] of concepts for rotary encoding, which counts segments: distances between concepts and
        their tokens are then the same in texts of all lengths."""
        index = torch.arange(self.count, device=self.lengths.device, dtype=torch.float32)[None]
        return SEGMENT_STRIDE * index.expand(self.lengths.shape[0], -1)

    def token_places(self, positions):
        """Positions [B or 1, L] of tokens for rotary encoding, those of their concepts."""
        return SEGMENT_STRIDE * self.locate(positions)[0].float()

    def offset_features(self, positions, harmonics: int):
        """
        Fourier features [B or 1, L, 2·harmonics] of the segment offsets of token `positions` [B or 1, L]. They
        distinguish 2·harmonics offsets; those of longer segments are scaled to this range.
        """
        period = 2 * harmonics
        longest = -(-self.lengths[:, None] // self.used)
        offset = self.locate(positions)[1] * (period / longest).clamp(max=1)
        multiples = 2 * math.pi / period * torch.arange(1, harmonics + 1, device=positions.device)
        angles = offset[:, :, None] * multiples
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class SegmentOffsetEmbedding(nn.Module):
    """
    Embedding of the offset of a position inside its segment. Keys alone tell a concept which tokens lie in its
    segment; with this embedding their order is learned in a few hundred steps.
    """

    def __init__(self, config):
        super().__init__()
        self.harmonics = config.offset_harmonics
        self.projection = make_linear(2 * config.offset_harmonics, config.hidden_size)

    def forward(self, positions, segments: Segments, dtype):
        """`positions` [B or 1, L] -> summand of states [B or 1, L, H] of type `dtype`."""
        return self.projection(segments.offset_features(positions, self.harmonics).to(dtype))


def mean_of_visible(states, layout: TextLayout, weights=None):
    """Mean [B, 1, H] of the visible token states [B, N, H], each times its weight [B, N] where `weights` are given;
    zero where nothing is visible."""
    if layout.visible is None and weights is None:
        return states.mean(dim=1, keepdim=True)
    count = states.shape[1]
    if layout.visible is not None:
        count = layout.visible.sum(dim=1)[:, None, None].clamp(min=1).to(states.dtype)
        weights = layout.visible if weights is None else layout.visible * weights
    return weights[:, None, :].to(states.dtype) @ states / count


class Rotary(NamedTuple):
    """Cosines [B or 1, 1, L, D], those of each half of the channels, and sines [B or 1, 1, L, D/2]."""

    cos: torch.Tensor
    sin: torch.Tensor


def make_rotary(positions: torch.Tensor, head_size: int, theta: float, dtype: torch.dtype) -> Rotary:
    """Rotary encoding (Su et al. 2021) of real-valued `positions` [B, L]: channel pair i turns by p·theta^(-2i/D)."""
    exponent = torch.arange(0, head_size, 2, device=positions.device, dtype=torch.float32) / head_size
    angles = positions.float()[:, None, :, None] * torch.exp(-exponent * math.log(theta))
    cos = angles.cos().to(dtype)
    return Rotary(torch.cat([cos, cos], dim=-1), angles.sin().to(dtype))


class ApplyRotary(torch.autograd.Function):
    """Channel i of the first and of the second half of `states` [..., D] rotated together, with products summed in
    place: plain operations make five tensors, and a training step on CPU takes 1.07 to 1.16 times as long."""

    @staticmethod
    def forward(ctx, states, cos, sin):
        ctx.save_for_backward(cos, sin)
        ctx.dtype = states.dtype
        first, second = states.chunk(2, dim=-1)
        half = first.shape[-1]
        turned = states * cos
        # By `narrow`, since torch.export refuses to change in place what `chunk` gives.
        turned.narrow(-1, 0, half).addcmul_(second, sin, value=-1)
        turned.narrow(-1, half, half).addcmul_(first, sin)
        return turned

    @staticmethod
    def backward(ctx, gradient):
        cos, sin = ctx.saved_tensors
        return ApplyRotary.apply(gradient, cos, -sin).to(ctx.dtype), None, None


def apply_rotary(states: torch.Tensor, rotary: Rotary | None) -> torch.Tensor:
    """Rotate channel i of the first and of the second half of `states` [B, heads, L, D] together."""
    return states if rotary is None else ApplyRotary.apply(states, *rotary)
