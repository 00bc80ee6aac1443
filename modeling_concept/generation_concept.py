# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Filling masked positions step by step, the most confident first (Chang et al. 2022; Nie et al. 2025).

B batch, N tokens, S positions of the canvas (the text or block that is filled), M masked positions, V vocabulary.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from transformers.generation import TopKLogitsWarper, TopPLogitsWarper

from .outputs_concept import ConceptEncoderOutput
from .positions_concept import check_inputs
from .text_concept import check_number


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
        top_k: int = 0,
        top_p: float = 1.0,
        block_length: int | None = None,
        refresh_concepts: bool = True,
        concept_num: int | None = None,
        num_iterations: int | None = None,
        generator: torch.Generator | None = None,
        token_type_ids: torch.LongTensor | None = None,
    ) -> torch.LongTensor:
        """
        Fill every `mask_token_id` of `input_ids`, and write `max_new_tokens` more after each text.

        Each step predicts all masked positions, draws a token for each, and keeps those whose own probability is
        highest. No mask and no padding is ever drawn. Runs in eval mode.

        Args:
            input_ids: [B, N]; a model of continuations takes texts without masks.
            attention_mask: [B, N], 0 at padding.
            max_new_tokens: length of the continuation.
            num_steps: steps for each block of masked positions; fewer where fewer positions are masked.
            temperature: of the draw; 0 takes the most probable token.
            top_k, top_p: restrict the draw, as in transformers; 0 and 1.0 do not.
            block_length: number of tokens to continue by before the text is encoded again; None for all at once.
            refresh_concepts: encode the text anew at each step, as it fills. Concepts of a continuation's prefix do
                not change within a block, so their keys and values are computed once there.
            concept_num, num_iterations: as in [`ConceptEncoder`].
            generator: source of randomness on the model's device.
            token_type_ids: [B, N], as tokenizers give them; without effect.

        Returns:
            [B, N + max_new_tokens] token ids; shorter texts of a batch keep their padding at the end.

        Raises:
            ValueError: there is no mask token; nothing is to be written; the result would be too long; a model of
                continuations is given masks; a number is out of range.
        """
        check_number("max_new_tokens", max_new_tokens, 0)
        check_number("num_steps", num_steps, 1)
        check_number("block_length", 1 if block_length is None else block_length, 1)
        sampler = Sampler(self.config, temperature, top_k, top_p, generator)
        check_inputs(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        input_ids = input_ids.long()
        attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask.long()
        has_masks = self.check_canvas(input_ids, attention_mask, max_new_tokens)
        if max_new_tokens:
            input_ids, attention_mask = align_left(input_ids, attention_mask)
        if input_ids.shape[0] == 0:
            return input_ids.new_empty(0, input_ids.shape[1] + max_new_tokens)
        writing = Writing(num_steps, sampler, refresh_concepts, concept_num, num_iterations)
        with self.inference_mode():
            if has_masks or not max_new_tokens:
                input_ids = self.fill(input_ids, attention_mask, writing)
            while max_new_tokens > 0:
                count = min(block_length or max_new_tokens, max_new_tokens)
                input_ids, attention_mask = self.continue_by(count, input_ids, attention_mask, writing)
                max_new_tokens -= count
        return input_ids

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

    def continue_by(self, count: int, input_ids, attention_mask, writing: "Writing"):
        """Texts [B, N] and their mask with `count` new tokens each."""
        block = input_ids.new_full((input_ids.shape[0], count), self.config.mask_token_id)
        if self.config.decoder_target == "text":
            input_ids, attention_mask = append(input_ids, attention_mask, block)
            return self.fill(input_ids, attention_mask, writing), attention_mask
        prefix = self.encoder(input_ids, attention_mask, **writing.encoder_options)
        return append(input_ids, attention_mask, self.fill(block, torch.ones_like(block), writing, prefix))

    def fill(self, canvas, attention_mask, writing: "Writing", prefix: ConceptEncoderOutput | None = None):
        """Replace every mask of `canvas` [B, S]; with `prefix`, the canvas is the continuation of that text."""
        canvas, memory = canvas.clone(), None
        if prefix is not None:
            memory = self.prepare_memory(prefix, continues=True)
        for steps_left in range(writing.num_steps, 0, -1):
            masked = (canvas == self.config.mask_token_id) & attention_mask.bool()
            remaining = masked.sum(dim=1)
            most = int(remaining.max())
            if most == 0:
                break
            if memory is None or (writing.refresh_concepts and prefix is None):
                memory = self.prepare_memory(self.encoder(canvas, attention_mask, **writing.encoder_options))
            index = masked.int().argsort(dim=1, descending=True, stable=True)[:, :most]
            chosen = masked.gather(1, index)  # [B, most], False where a row has fewer masks
            hidden = self.decode(memory, self.make_targets(canvas, attention_mask), index)[chosen]
            tokens, confidence = writing.sampler(self.lm_head(hidden).float())

            scores = torch.full(index.shape, -1.0, device=canvas.device).masked_scatter(chosen, confidence)
            drawn = torch.zeros_like(index).masked_scatter(chosen, tokens)
            rank = scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1, stable=True)
            keep = chosen & (rank < (remaining[:, None] + steps_left - 1) // steps_left)
            canvas.scatter_(1, index, torch.where(keep, drawn, canvas.gather(1, index)))
        return canvas


class Sampler:
    """Draws tokens from logits [M, V]; returns them with the probability of each under the model."""

    def __init__(self, config, temperature, top_k, top_p, generator):
        check_number("temperature", temperature, 0, whole=False)
        check_number("top_k", top_k, 0)
        check_number("top_p", top_p, 0, 1, whole=False)
        self.forbidden = [i for i in (config.mask_token_id, config.pad_token_id) if i is not None]
        # Clipped to divisors of float32: the least is as good as 0, the greatest makes all tokens equal.
        limits = torch.finfo(torch.float32)
        self.temperature = temperature and min(max(temperature, limits.tiny), limits.max)
        self.generator = generator
        self.warpers = ([TopKLogitsWarper(top_k)] if top_k > 0 else []) + (
            [TopPLogitsWarper(top_p)] if top_p < 1 else []
        )

    def __call__(self, logits):
        logits[:, self.forbidden] = -torch.inf
        probabilities = F.softmax(logits, dim=-1)
        if self.temperature == 0:
            tokens = logits.argmax(dim=-1)
        else:
            scores = (logits - logits.amax(dim=-1, keepdim=True)) / self.temperature
            for warper in self.warpers:
                scores = warper(None, scores)
            tokens = torch.multinomial(F.softmax(scores, dim=-1), 1, generator=self.generator)[:, 0]
        return tokens, probabilities.gather(1, tokens[:, None])[:, 0]


class Writing(NamedTuple):
    """Arguments of `generate` for every block of masked positions."""

    num_steps: int
    sampler: Sampler
    refresh_concepts: bool
    concept_num: int | None
    num_iterations: int | None

    @property
    def encoder_options(self) -> dict:
        return {"concept_num": self.concept_num, "num_iterations": self.num_iterations, "return_dict": True}


def align_left(input_ids, attention_mask):
    """Move padding to the end of each row."""
    order = attention_mask.bool().int().argsort(dim=1, descending=True, stable=True)
    return input_ids.gather(1, order), attention_mask.gather(1, order)


def append(input_ids, attention_mask, block):
    """Write `block` [B, S] after the last token of each row of [B, N]; padding stays at the end."""
    input_ids = torch.cat([input_ids, block], dim=1)
    return align_left(input_ids, torch.cat([attention_mask, torch.ones_like(block)], dim=1))
