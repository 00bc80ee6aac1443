# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The first layers of a pretrained model, which read the tokens before the concepts do.

B batch, N tokens, E width of the pretrained model.
"""

import inspect
from typing import Any

import torch
import torch.nn as nn
from transformers import AutoModel

from .configuration_concept import make_backbone_config
from .positions_concept import TextLayout


# Names, by architecture, of the norm after the last layer and of the table of absolute positions.
FINAL_NORMS = ("norm", "final_norm", "final_layer_norm", "ln_f")
POSITION_TABLES = ("position_embeddings", "wpe")


class NoTable(nn.Module):
    """In place of the pretrained model's token table, since the concept model has its own. Some architectures
    initialise `weight` by name."""

    def __init__(self):
        super().__init__()
        self.weight = torch.empty(0)


class PretrainedTokens(nn.Module):
    """
    The layers that `config.backbone_config` describes, without token table, final norm and pooler. Attention is causal
    if the pretrained model's is, and ignores hidden tokens; positions count from the first attended token.

    Args:
        backbone_config: transformers configuration with `model_type`.
        attn_implementation: that of the concept model.
        max_length: longest text in tokens.
        dropout: that of the concept model, in place of each of the pretrained model's own.

    Raises:
        ValueError: the architecture is unknown or does not take embeddings, mask and positions; `max_length` tokens
            do not fit into its table of positions.
    """

    def __init__(
        self, backbone_config: dict[str, Any], attn_implementation: str, max_length: int, dropout: float = 0.0
    ):
        super().__init__()
        config = make_backbone_config(backbone_config, dropout)
        # "sdpa" is the concept model's default. The backbone then takes its own default, as it may have no sdpa.
        own_choice = attn_implementation == "sdpa"
        model = AutoModel.from_config(config, attn_implementation=None if own_choice else attn_implementation)
        unknown = {"inputs_embeds", "attention_mask", "position_ids"} - set(
            inspect.signature(model.forward).parameters
        )
        if unknown:
            raise ValueError(
                f"A backbone of type {config.model_type!r} does not take {sorted(unknown)}; choose a Llama-like or "
                "BERT-like one."
            )
        model.set_input_embeddings(NoTable())
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        for name in FINAL_NORMS:
            if hasattr(model, name):
                setattr(model, name, nn.Identity())
        self.model = model

        self.first_position = 0
        for name, module in model.named_modules():
            if isinstance(module, nn.Embedding) and name.endswith(POSITION_TABLES):
                if module.padding_idx is not None:  # as in RoBERTa: positions begin after padding's row
                    self.first_position = module.padding_idx + 1
                places = module.num_embeddings - self.first_position
                if max_length > places:
                    raise ValueError(
                        f"max_sequence_length {max_length} is more than the {places} positions that the backbone "
                        f"({config.model_type}) has; set max_sequence_length to at most {places}."
                    )

    def forward(self, states, layout: TextLayout):
        """Rows of the token table `states` [B, N, E] -> token states [B, N, E], undefined at hidden tokens."""
        visible = layout.visible
        if visible is None:
            # Without a mask, transformers would take positions that restart for several texts in a row.
            visible = states.new_ones(states.shape[:2], dtype=torch.bool)
        readable = visible | ~visible.any(dim=1, keepdim=True)  # a softmax over no token is nan
        positions = layout.positions.expand(states.shape[0], -1) + self.first_position
        return self.model(
            inputs_embeds=states, attention_mask=readable.long(), position_ids=positions
        ).last_hidden_state
