# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Filling masked positions step by step, the most confident first (Chang et al. 2022; Nie et al. 2025).

B batch, N tokens, S positions of the canvas (the text or continuation that is filled), M masked positions,
V vocabulary.
"""

from collections.abc import Callable
from functools import partial

import torch

from .decoder_concept import Memory
from .positions_concept import check_inputs


class ConceptGenerationMixin:
    """Infilling and continuation for models with a decoder and a language-model head."""

    @classmethod
    def can_generate(cls) -> bool:
        """False: `generate` below is not that of transformers' `GenerationMixin`, for which transformers asks."""
        return False

    def generate(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        max_new_tokens: int = 0,
        num_steps: int = 10,
        temperature: float = 0.0,
        concept_num: int | None = None,
        num_iterations: int | None = None,
        generator: torch.Generator | None = None,
        token_type_ids: torch.LongTensor | None = None,
    ) -> torch.LongTensor:
        """
        Fill every `mask_token_id` of `input_ids`, and write `max_new_tokens` more after each text.

        Each step predicts all masked positions, draws a token for each, and keeps those whose own probability is
        highest. The text is encoded anew at each step, as it fills. No mask and no padding is ever drawn. Runs in eval
        mode.

        Args:
            input_ids: [B, N]; a model of continuations takes texts without masks.
            attention_mask: [B, N], 0 at padding.
            max_new_tokens: length of the continuation.
            num_steps: steps in which masked positions are filled; fewer where fewer positions are masked.
            temperature: of the draw; 0 takes the most probable token.
            concept_num, num_iterations: as in [`ConceptEncoder`].
            generator: source of randomness on the model's device.
            token_type_ids: [B, N], as tokenizers give them; without effect.

        Returns:
            [B, N + max_new_tokens] token ids; shorter texts of a batch keep their padding at the end.

        Raises:
            ValueError: there is no mask token; nothing is to be written; the result would be too long; a model of
                continuations is given masks; a number is out of range.
        """
        if max_new_tokens < 0 or num_steps < 1 or not temperature >= 0:
            raise ValueError("max_new_tokens and temperature must be at least 0, and num_steps at least 1.")
        check_inputs(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        input_ids = input_ids.long()
        attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask.long()
        has_masks = self.check_canvas(input_ids, attention_mask, max_new_tokens)
        if max_new_tokens:
            input_ids, attention_mask = align_left(input_ids, attention_mask)
        encode = partial(self.encoder, concept_num=concept_num, num_iterations=num_iterations, return_dict=True)
        draw = partial(draw_tokens, temperature=temperature, generator=generator)
        fill = partial(self.fill, num_steps=num_steps, encode=encode, draw=draw)
        with self.inference_mode():
            if has_masks or not max_new_tokens:
                input_ids = fill(input_ids, attention_mask)
            if not max_new_tokens:
                return input_ids
            new = input_ids.new_full((input_ids.shape[0], max_new_tokens), self.config.mask_token_id)
            if self.config.decoder_target == "text":
                return fill(*append(input_ids, attention_mask, new))
            prefix = self.prepare_memory(encode(input_ids, attention_mask), continues=True)
            return append(input_ids, attention_mask, fill(new, torch.ones_like(new), prefix))[0]

    def check_canvas(self, input_ids, attention_mask, max_new_tokens: int) -> bool:
        """Whether the texts hold masks; ValueError, as in `generate`, for texts that cannot be written on."""
        mask_id = self.config.mask_token_id
        if mask_id is None:
            raise ValueError("Generation needs config.mask_token_id, the id of the tokenizer's mask token.")
        has_masks = bool(((input_ids == mask_id) & attention_mask.bool()).any())
        if self.config.decoder_target == "continuation" and (has_masks or not max_new_tokens):
            raise ValueError(
                f"{type(self).__name__} writes continuations: give texts without mask tokens, and max_new_tokens."
            )
        if input_ids.shape[1] + max_new_tokens > self.config.max_sequence_length:
            raise ValueError(
                f"{input_ids.shape[1]} tokens and {max_new_tokens} new ones exceed max_sequence_length "
                f"{self.config.max_sequence_length}."
            )
        return has_masks

    def fill(self, canvas, attention_mask, prefix: Memory | None = None, *, num_steps: int, encode: Callable, draw):
        """Replace every mask of `canvas` [B, S], the continuation of the text in `prefix`, or else a text that
        `encode` reads anew in each step."""
        canvas = canvas.clone()
        for steps_left in range(num_steps, 0, -1):
            masked = (canvas == self.config.mask_token_id) & attention_mask.bool()
            if not masked.any():
                break
            memory = prefix or self.prepare_memory(encode(canvas, attention_mask))
            remaining = masked.sum(dim=1)
            index = masked.int().argsort(dim=1, descending=True, stable=True)[:, : int(remaining.max())]
            chosen = masked.gather(1, index)  # [B, most], False where a row has fewer masks
            hidden = self.decode(memory, self.make_targets(canvas, attention_mask), index)[chosen]
            tokens, confidence = draw(self.token_logits(hidden).float())

            scores = torch.full(index.shape, -1.0, device=canvas.device).masked_scatter(chosen, confidence)
            drawn = torch.zeros_like(index).masked_scatter(chosen, tokens)
            rank = scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1, stable=True)
            keep = chosen & (rank < (remaining[:, None] + steps_left - 1) // steps_left)
            canvas.scatter_(1, index, torch.where(keep, drawn, canvas.gather(1, index)))
        return canvas


def draw_tokens(logits, temperature: float, generator: torch.Generator | None):
    """Tokens [M] drawn from `logits` [M, V], and the probability of each under the model."""
    probabilities = logits.softmax(dim=-1)
    if temperature == 0:
        tokens = logits.argmax(dim=-1)
    else:
        scores = (logits - logits.amax(dim=-1, keepdim=True)) / temperature
        tokens = torch.multinomial(scores.softmax(dim=-1), 1, generator=generator)[:, 0]
    return tokens, probabilities.gather(1, tokens[:, None])[:, 0]


def align_left(input_ids, attention_mask):
    """Move padding to the end of each row."""
    order = attention_mask.bool().int().argsort(dim=1, descending=True, stable=True)
    return input_ids.gather(1, order), attention_mask.gather(1, order)


def append(input_ids, attention_mask, block):
    """Write `block` [B, S] after the last token of each row of [B, N]; padding stays at the end."""
    input_ids = torch.cat([input_ids, block], dim=1)
    return align_left(input_ids, torch.cat([attention_mask, torch.ones_like(block)], dim=1))
