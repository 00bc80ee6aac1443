# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
A reader writes the text itself from its concepts.

B texts, N tokens.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .continuation import ReaderObjective
from .noise import Noise
from .vocabulary import CleanBatch, compact


@dataclass
class Autoencoding(ReaderObjective):
    """The encoder sees a text, the reader predicts its tokens, one after the other, and that it ends (as in ICAE, Ge
    et al. 2024). Special tokens are left out: a reader begins and ends texts by itself."""

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        ids, mask = compact(batch.input_ids, ~batch.special, batch.vocabulary.pad_token_id)
        inputs = batch.encoder_inputs
        if (end := batch.vocabulary.end_token_id) is None:
            return inputs | self.targets(ids, mask, batch.vocabulary)
        place = mask.sum(dim=1, keepdim=True)
        ids, mask = (F.pad(part, (0, 1)).scatter(1, place, value) for part, value in ((ids, end), (mask, 1)))
        targets = self.targets(ids, mask, batch.vocabulary)
        return inputs | targets | {"labels": targets["labels"].scatter(1, place, end)}
