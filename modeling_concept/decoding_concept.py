# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
How a model with an encoder and a decoder reads concepts back at token positions.

B batch, S target positions, P chosen ones of them, C concepts, H hidden.
"""

from functools import partial

import torch

from .decoder_layers_concept import Memory, Targets
from .decoders_concept import make_decoder
from .outputs_concept import ConceptEncoderOutput
from .positions_concept import Segments, text_layout


class ConceptDecodingMixin:
    """For models with `encoder`, `decoder` and `config`."""

    def make_decoder(self, config):
        return make_decoder(config)

    def resize_token_embeddings(self, *args, **kwargs):
        """As in transformers; a token table of the decoder's own is resized with the encoder's."""
        table = super().resize_token_embeddings(*args, **kwargs)
        own = getattr(self.decoder, "token_embeddings", None)
        if own is not None and own.num_embeddings != table.num_embeddings:
            self.decoder.token_embeddings = self._get_resized_embeddings(own, table.num_embeddings)
        return table

    def make_targets(
        self, input_ids, attention_mask, timesteps=None, position_ids=None, inputs_embeds=None
    ) -> Targets:
        """
        Targets at tokens `input_ids` [B, S], or at tokens known only by their embeddings [B, S, E]. Positions count
        from the first attended one, in a continuation from the first token after the encoded text. The noise level
        of a diffusion decoder is the share of masked tokens unless given.
        """
        attended = None if attention_mask is None else attention_mask.bool()
        given = inputs_embeds if input_ids is None else input_ids
        if position_ids is None:
            position_ids = torch.arange(given.shape[1], device=given.device)[None]
            if attended is not None and given.shape[1] > 0:
                position_ids = (position_ids - attended.int().argmax(dim=1, keepdim=True)).clamp(min=0)
        if timesteps is None and self.config.decoder_type == "diffusion":
            # No token is masked where there is no mask token, and embeddings do not tell.
            unknown = input_ids is None or self.config.mask_token_id is None
            masked = torch.zeros(given.shape[:2], device=given.device)
            masked = masked if unknown else (input_ids == self.config.mask_token_id).float()
            real = torch.ones_like(masked) if attended is None else attended.float()
            timesteps = (masked * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)
        return Targets(position_ids, input_ids, None if input_ids is not None else inputs_embeds, attended, timesteps)

    def make_blank_targets(self, given, attention_mask, position_ids=None) -> Targets:
        """
        Targets at the places of `given`, [B, S] or [B, S, E], that show mask tokens only: a decoder then knows the
        text through the concepts alone.

        Raises:
            ValueError: the decoder reads tokens, and the configuration names no mask token.
        """
        mask_id = self.config.mask_token_id
        if self.decoder.reads_tokens and mask_id is None:
            raise ValueError(
                f"{type(self).__name__} shows mask tokens to a decoder that reads tokens: set config.mask_token_id."
            )
        blank = torch.full(given.shape[:2], mask_id or 0, device=given.device, dtype=torch.long)
        targets = self.make_targets(blank, attention_mask, position_ids=position_ids)
        if targets.timesteps is not None:
            targets = targets._replace(timesteps=torch.ones_like(targets.timesteps))
        return targets

    def remember(self, encoded: ConceptEncoderOutput, continues: bool = False, target_mask=None) -> Memory:
        """
        What the decoder reads of the concepts; it holds as long as the concepts do. In a continuation the concepts
        stand before position 0. With `target_mask` [B·D, S], the attention mask of the text to be read, that text is
        divided into segments, should tokens have been taken out of the one that was encoded.
        """
        concepts, lengths, start = encoded.last_hidden_state, encoded.lengths, None
        if continues:
            start = lengths
        elif target_mask is not None:
            target_mask = target_mask[:: target_mask.shape[0] // concepts.shape[0] or 1]  # one row may serve all texts
            lengths = text_layout(target_mask, None, target_mask.shape[1], None, target_mask.device).lengths
        segments = Segments.of(self.config, lengths, concepts.shape[1])
        return Memory(self.decoder.read(concepts, segments), start, segments)

    def decode(self, memory, targets: Targets, index=None):
        """
        States [B, S, H] of the decoder, or [B, P, H] at the places `index` [B, P] of the targets. Where no target
        depends on another, only those are computed.
        """
        table = self.get_input_embeddings()
        if targets.positions.shape[1] == 0:  # attention kernels take no empty set of queries
            given = targets.inputs_embeds if targets.input_ids is None else targets.input_ids
            return table.weight.new_zeros(given.shape[0], 0, self.config.hidden_size)
        table = partial(table)  # accelerate would move a module among the arguments of an offloaded decoder
        if index is None:
            return self.decoder(memory, targets, table)
        if not self.decoder.pointwise:
            states = self.decoder(memory, targets, table)
            return take_rows(states, index)
        targets = targets._replace(
            positions=targets.positions.expand(index.shape[0], -1).gather(1, index),
            input_ids=None if targets.input_ids is None else targets.input_ids.gather(1, index),
            inputs_embeds=None if targets.inputs_embeds is None else take_rows(targets.inputs_embeds, index),
            attention_mask=None,  # nothing is mixed
        )
        return self.decoder(memory, targets, table)


def repeat_memory(memory: Memory, times: int) -> Memory:
    """Each row of what a decoder keeps, `times` times."""

    def repeat(value):
        if isinstance(value, torch.Tensor):
            return value.repeat_interleave(times, dim=0)
        if isinstance(value, Segments):
            return value._replace(lengths=repeat(value.lengths))
        return value if value is None else [repeat(part) for part in value]

    return memory if times == 1 else Memory(*(repeat(part) for part in memory))


def take_rows(states, index):
    """Rows `index` [B, P] of `states` [B, S, H] -> [B, P, H]."""
    return states.gather(1, index[:, :, None].expand(-1, -1, states.shape[-1]))
