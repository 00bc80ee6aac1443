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

from ..noise import Noise
from ..vocabulary import CleanBatch
from .base import Objective, ObjectiveOutput, check_share


@dataclass
class Alignment(Objective):
    """
    One minus the cosine between a linear map of a text's sentence vector and the vector that a frozen teacher gives
    it.

    Args:
        teacher: Hub id or folder of any SentenceTransformer.
        student_hidden_share: largest share of the tokens hidden from the student, drawn per text.
    """

    mean_only: ClassVar[bool] = True

    teacher: str = "sentence-transformers/all-MiniLM-L6-v2"
    student_hidden_share: float = 0.0

    def __post_init__(self):
        check_share("student_hidden_share", self.student_hidden_share)
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ValueError("The objective 'alignment' needs sentence-transformers: pip install it.") from error
        try:
            self._teacher = SentenceTransformer(self.teacher).eval().requires_grad_(False)
        except (OSError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise ValueError(f"The teacher {self.teacher!r} cannot be read: {reason}") from error
        self._width = self._teacher.encode(["width"], show_progress_bar=False).shape[1]

    def for_evaluation(self):
        return self

    def make_head(self, config):
        return nn.Linear(config.hidden_size, self._width)

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        """`targets` [B, D] beside the text."""
        texts = batch.vocabulary.tokenizer.batch_decode(batch.input_ids, skip_special_tokens=True)
        device = batch.input_ids.device
        self._teacher.to(device)
        targets = self._teacher.encode(
            texts, batch_size=len(texts), convert_to_tensor=True, show_progress_bar=False, device=str(device)
        )
        hidden = (noise.per_token() < noise.per_text() * self.student_hidden_share) & ~batch.special
        return {
            "input_ids": torch.where(hidden, batch.vocabulary.mask_token_id, batch.input_ids),
            "attention_mask": batch.attention_mask,
            "targets": targets.float(),
        }

    def items(self, inputs):
        return torch.tensor(float(len(inputs["input_ids"])), device=inputs["input_ids"].device)

    def run(self, reader, head, inputs, items):
        encoded = reader.encode(inputs["input_ids"], inputs["attention_mask"])
        vectors = head(encoded.pooler_output).float()
        distance = 1 - F.cosine_similarity(vectors, inputs["targets"], dim=-1)
        return ObjectiveOutput(encoded.last_hidden_state, reader.layers(encoded), distance.sum() / items)
