# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Next-concept prediction: the concepts of a span predict those of the span that follows.

B texts, N tokens, C concepts, H hidden.
"""

from dataclasses import dataclass

import torch
import torch.nn as nn

from ..noise import Noise
from ..vocabulary import CleanBatch
from .base import Objective, ObjectiveOutput, two_spans


@dataclass
class NextConcept(Objective):
    """
    Mean squared error between the concepts predicted from a text's first part and those of its second part, through
    which no gradient flows. Constants satisfy it: mix it with an objective that reads the text.

    Args:
        predictor_layers: transformer layers of the predictor, which is discarded after training.
    """

    predictor_layers: int = 1

    def __post_init__(self):
        if self.predictor_layers < 1:
            raise ValueError(f"predictor_layers must be at least 1, not {self.predictor_layers}.")

    def make_head(self, config):
        layer = nn.TransformerEncoderLayer(
            config.hidden_size, config.num_attention_heads, config.intermediate_size, 0.0, batch_first=True,
            norm_first=True,
        )  # fmt: skip
        return nn.Sequential(
            nn.TransformerEncoder(layer, self.predictor_layers, enable_nested_tensor=False),
            nn.Linear(config.hidden_size, config.hidden_size),
        )

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask` [2B, N]: first parts, then second ones."""
        ids, mask = two_spans(batch, noise, 0.4, 0.6)
        return {"input_ids": ids, "attention_mask": mask}

    def items(self, inputs):
        return torch.tensor(len(inputs["input_ids"]) / 2, device=inputs["input_ids"].device)

    def run(self, reader, head, inputs, items):
        encoded = reader.encode(inputs["input_ids"], inputs["attention_mask"])
        first, second = encoded.last_hidden_state.chunk(2)
        error = (head(first).float() - second.detach().float()).square().mean(dim=(1, 2))
        return ObjectiveOutput(encoded.last_hidden_state, reader.layers(encoded), error.sum() / items)
