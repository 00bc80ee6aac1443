# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
How a model with an encoder and a decoder reads concepts back at token positions.

B batch, S target positions, P chosen ones of them, C concepts, H hidden.
"""

import torch

from .decoder_layers_concept import Memory, Targets
from .outputs_concept import ConceptEncoderOutput


class ConceptDecodingMixin:
    """For models with `encoder`, `decoder` and `config`."""

    def make_targets(self, input_ids, attention_mask, timesteps=None, position_ids=None) -> Targets:
        """
        Targets at tokens `input_ids` [B, S]. Positions count from the first attended one, in a continuation from the
        first token after the encoded text. The noise level of a diffusion decoder is the share of masked tokens
        unless given.
        """
        attended = None if attention_mask is None else attention_mask.bool()
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
            if attended is not None:
                position_ids = (position_ids - attended.int().argmax(dim=1, keepdim=True)).clamp(min=0)
        if timesteps is None and self.config.decoder_type == "diffusion":
            masked = (input_ids == self.config.mask_token_id).float()  # all False where there is no mask token
            real = torch.ones_like(masked) if attended is None else attended.float()
            timesteps = (masked * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)
        return Targets(position_ids, input_ids, attended, timesteps)

    def remember(self, encoded: ConceptEncoderOutput, continues: bool = False) -> Memory:
        """What the decoder reads of the concepts; it holds as long as the concepts do. In a continuation the concepts
        stand before position 0."""
        positions, start = encoded.concept_positions, None
        if continues:
            start = encoded.lengths
            positions = None if positions is None else positions - start.float()[:, None]
        states = self.decoder.read(encoded.last_hidden_state, positions)
        return Memory(states, start, encoded.concept_spacing)

    def decode(self, memory, targets: Targets, index=None):
        """
        States [B, S, H] of the decoder, or [B, P, H] at the places `index` [B, P] of the targets. Where no target
        depends on another, only those are computed.
        """
        table = self.get_input_embeddings()
        if index is None:
            return self.decoder(memory, targets, table)
        if not self.decoder.pointwise:
            states = self.decoder(memory, targets, table)
            return states.gather(1, index[:, :, None].expand(-1, -1, states.shape[-1]))
        targets = targets._replace(
            positions=targets.positions.expand(index.shape[0], -1).gather(1, index),
            input_ids=targets.input_ids.gather(1, index),
            attention_mask=None,  # nothing is mixed
        )
        return self.decoder(memory, targets, table)


def decoder_target_ids(decoder, decoder_input_ids, input_ids, inputs_embeds):
    """
    Token ids [B, N] of the text that a decoder reads back.

    Raises:
        ValueError: the decoder reads tokens and only their embeddings are given.
    """
    if decoder_input_ids is not None:
        return decoder_input_ids
    if input_ids is not None:
        return input_ids
    if decoder.reads_tokens:
        raise ValueError("The decoder reads tokens: with inputs_embeds, give decoder_input_ids too.")
    return torch.zeros(inputs_embeds.shape[:2], dtype=torch.long, device=inputs_embeds.device)
