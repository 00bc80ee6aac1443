# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Where tokens and concepts stand: text layout from the attention mask, addresses of concepts, rotary and sinusoidal
encodings, and the segments that concepts start from.

B batch, N tokens, C concepts, A addressed ones of them, L positions, H hidden, D head size.
"""

import math
from typing import NamedTuple

import torch


# How far neighbouring concepts stand apart for rotary encoding: at the base's first frequencies they differ clearly.
SEGMENT_STRIDE = 4.0


class TextLayout(NamedTuple):
    """Positions [B or 1, N] and lengths [B or 1] in tokens, and which tokens may be read (bool [B, N], or None)."""

    positions: torch.Tensor
    lengths: torch.Tensor
    visible: torch.Tensor | None


def check_inputs(input_ids, inputs_embeds=None, **others) -> None:
    """
    Whether inputs fit each other; compiled, exported and traced code does without.

    Raises:
        ValueError: not exactly one of `input_ids` and `inputs_embeds`; they are no [B, N] and [B, N, E]; ids are no
            whole numbers; one of the others that is not None is no [B, N], and no [1, N] for all texts (labels and
            their weights never are).
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
    return TextLayout(positions if position_ids is None else position_ids, lengths, visible)


class Segments(NamedTuple):
    """
    A text of `lengths` [B or 1] tokens in `count` segments of whole tokens, one for each of A addressed concepts:
    token p of N lies in segment floor(p·A/N), and lengths of segments differ by one token at most. Where there are
    fewer tokens than concepts, each has a segment of its own and the last concepts have none. Neither have the first
    `global_num` concepts.
    """

    lengths: torch.Tensor
    count: int
    global_num: int

    @classmethod
    def of(cls, config, lengths, concept_num: int):
        """Those that a configuration gives to texts of `lengths` [B or 1] as `concept_num` concepts, or None."""
        if config.concept_position_type != "addressed":
            return None
        global_num = min(config.global_concept_num, concept_num)
        return cls(lengths, concept_num - global_num, global_num)

    @property
    def used(self):
        """Number [B or 1, 1] of segments with tokens; with global concepts alone the whole text is one."""
        return self.lengths[:, None].clamp(max=max(self.count, 1))

    def first_token(self, segment):
        """Position at which a segment [B or 1, L] begins."""
        return -(-segment * self.lengths[:, None] // self.used)

    def locate(self, positions):
        """Segment and phase, the place within it, counted from 0, of token `positions` [B or 1, L]; they go on behind
        the text."""
        segment = positions * self.used // self.lengths[:, None]
        return segment, positions - self.first_token(segment)

    def bounds(self):
        """First token and the one behind the last of each segment, [B or 1, A]."""
        index = torch.arange(self.count, device=self.lengths.device)[None]
        return self.first_token(index), self.first_token(index + 1)

    def addresses(self):
        """Token positions [B or 1, C] at which concepts stand: the text's centre, or that of their segments."""
        first, behind = self.bounds()
        centre = ((self.lengths.float() - 1) / 2)[:, None].expand(-1, self.global_num)
        return torch.cat([centre, (first + behind - 1) / 2], dim=1)

    def concept_places(self):
        """Places [B or 1, C] of concepts for rotary encoding, which counts segments: distances between concepts and
        their tokens are then the same in texts of all lengths."""
        index = torch.arange(self.count, device=self.lengths.device, dtype=torch.float32)[None]
        index = index.expand(self.lengths.shape[0], -1)
        centre = ((self.used - 1) / 2).expand(-1, self.global_num)
        return SEGMENT_STRIDE * torch.cat([centre, index], dim=1)

    def token_places(self, positions, graded: bool):
        """Places [B or 1, L] of tokens for rotary encoding: those of their segments, or, `graded`, between them."""
        if graded:
            return SEGMENT_STRIDE * ((positions.float() + 0.5) * self.used / self.lengths[:, None] - 0.5)
        return SEGMENT_STRIDE * self.locate(positions)[0].float()

    def phase_features(self, positions, harmonics: int):
        """
        Sines and cosines [B or 1, L, 2·harmonics] of the harmonics of the phases of `positions` [B or 1, L]: as many
        phases are told apart. In segments that are longer than that, phases lie closer.
        """
        period = 2 * harmonics
        longest = -(-self.lengths[:, None] // self.used)
        phase = self.locate(positions)[1] * (period / longest).clamp(max=1)
        multiples = 2 * math.pi / period * torch.arange(1, harmonics + 1, device=positions.device)
        angles = phase[:, :, None] * multiples
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


def segment_means(states, layout: TextLayout, segments: Segments):
    """
    Mean of the visible token states in each segment: `states` [B, N, H] -> [B, A, H], zero where a segment holds
    nothing visible. O(A·N·H).
    """
    first, behind = (bound[:, :, None] for bound in segments.bounds())
    token = layout.positions[:, None, :]
    inside = (token >= first) & (token < behind)
    if layout.visible is not None:
        inside = inside & layout.visible[:, None, :]
    weights = inside.float()
    weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=1)
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
        half = first.shape[-1]
        turned = states * cos
        # By `narrow`, since torch.export refuses to change in place what `chunk` gives.
        turned.narrow(-1, 0, half).addcmul_(second, sin_first, value=-1)
        turned.narrow(-1, half, half).addcmul_(first, sin_second)
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
