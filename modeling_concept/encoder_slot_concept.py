# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Slot-attention concept layer (Locatello et al. 2020): concepts compete for tokens.

B batch, N tokens, C concepts, D head size.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .attention_concept import ConceptAttention
from .encoder_perceiver_concept import ConceptEncoderLayer


@dataclass
class SlotOptions:
    """
    `encoder_options` of encoder type "slot".

    Args:
        competing_heads: share of the heads, from the first, in which concepts compete; the others attend as usual.
        epsilon: added to the competition's weights before they are normalised over tokens.
    """

    competing_heads: float = 1.0
    epsilon: float = 1e-8


class SlotAttention(ConceptAttention):
    """Softmax over concepts, then each concept's weights are renormalised over the tokens that it may read."""

    def __init__(self, config, options: SlotOptions, projects_states: bool):
        super().__init__(config, projects_states=projects_states, identity=config.identity_init)
        if not 0 <= options.competing_heads <= 1:
            raise ValueError(f"competing_heads is a share between 0 and 1, not {options.competing_heads}.")
        self.options = options
        self.competing = round(options.competing_heads * self.num_heads)

    def attend(self, query, key, value, key_mask):
        scores = (query @ key.transpose(-1, -2) * self.scaling).float()
        keys = None if key_mask is None else key_mask.keys[:, None, None, :]
        competing = scores[:, : self.competing].softmax(dim=-2) + self.options.epsilon
        usual = scores[:, self.competing :]
        if keys is not None:
            competing = competing * keys
            usual = usual.masked_fill(~keys, torch.finfo(scores.dtype).min)
        competing = competing / competing.sum(dim=-1, keepdim=True)
        weights = torch.cat([competing, usual.softmax(dim=-1)], dim=1).to(value.dtype)
        dropped = F.dropout(weights, self.dropout, self.training)
        return (dropped @ value).transpose(1, 2), weights


class SlotEncoderLayer(ConceptEncoderLayer):
    """[`ConceptEncoderLayer`] with [`SlotAttention`] to the tokens."""

    options_class = SlotOptions

    def make_cross_attention(self, config):
        return SlotAttention(config, self.options, projects_states=not config.share_key_values)
