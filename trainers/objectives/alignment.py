# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Alignment of text vectors to a frozen sentence encoder.

B texts, N tokens, H hidden, D width of the teacher.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn as nn
import torch.nn.functional as F

from .base import Objective, option
from .noise import Noise
from .vocabulary import CleanBatch


@dataclass
class Alignment(Objective):
    """One minus the cosine between a linear map of a text's sentence vector and the vector of a frozen teacher."""

    mean_only: ClassVar[bool] = True

    teacher: str = option("sentence-transformers/all-MiniLM-L6-v2", "Hub id or folder of any SentenceTransformer.")

    def __post_init__(self):
        from sentence_transformers import SentenceTransformer

        self._teacher = SentenceTransformer(self.teacher).eval().requires_grad_(False)
        self._width = self._teacher.encode(["width"], show_progress_bar=False).shape[1]

    def make_head(self, config):
        return nn.Linear(config.hidden_size, self._width)

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        """The clean text, and `targets` [B, D]."""
        texts = batch.vocabulary.tokenizer.batch_decode(batch.input_ids, skip_special_tokens=True)
        device = batch.input_ids.device
        self._teacher.to(device)
        targets = self._teacher.encode(
            texts, batch_size=len(texts), convert_to_tensor=True, show_progress_bar=False, device=str(device)
        )
        return {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "targets": targets.float()}

    def items(self, inputs):
        return torch.tensor(float(len(inputs["input_ids"])), device=inputs["input_ids"].device)

    def loss(self, model, head, encoded, inputs, items):
        vectors = head(encoded.pooler_output).float()
        return (1 - F.cosine_similarity(vectors, inputs["targets"], dim=-1)).sum() / items
