# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
A reader writes the text itself from its concepts.

B texts, N tokens.
"""

from dataclasses import dataclass

import torch

from .continuation import ReaderObjective
from .noise import Noise
from .vocabulary import CleanBatch


@dataclass
class Autoencoding(ReaderObjective):
    """The encoder sees a text, the reader predicts its tokens, one after the other (as in ICAE, Ge et al. 2024)."""

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        ids, mask = batch.input_ids, batch.attention_mask
        return {"input_ids": ids, "attention_mask": mask, **self.targets(ids, mask, batch.vocabulary)}
