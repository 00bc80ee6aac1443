# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The models that a table compares: concept encoders, other sentence encoders, and tf-idf.

T texts, D width of vectors.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from ...evaluation.bag_of_words import bag_of_words_vectors
from ...evaluation.similarity import load_sentence_model, sentence_model_vectors, token_vectors
from ...models.loading import load_model
from .table import Row


CONCEPTS, SENTENCES, WORDS = "concepts", "sentences", "words"

BATCH_SIZE = 128


@dataclass(frozen=True)
class EvaluatedModel:
    """
    Args:
        name: shown in tables.
        kind: `concepts`, `sentences` (a model of sentence-transformers) or `words` (tf-idf).
        path: checkpoint, folder or Hub id; empty for words.
        folder: holds its results.
        help_from: help beside the text, such as pairs or a teacher.
        seed: of its training.
        row: the run that trains it.
        baseline: name in `BASELINES`.
    """

    name: str
    kind: str
    path: str
    folder: Path
    help_from: str = ""
    seed: int | None = None
    row: Row | None = None
    baseline: str | None = None

    @property
    def title(self) -> str:
        """Its name with the seed."""
        return self.name if self.seed is None else f"{self.name}, seed {self.seed}"

    @cached_property
    def encoder(self):
        """The concept encoder, or the SentenceTransformer."""
        return load_model(self.path, encoder_only=True) if self.kind == CONCEPTS else load_sentence_model(self.path)

    @cached_property
    def language_model(self):
        """The concept model with its decoder and head, where it has them."""
        return load_model(self.path)

    def vectors(self, texts: list[str]) -> torch.Tensor:
        """[T, D], sparse for words."""
        if self.kind == WORDS:
            return bag_of_words_vectors(texts)
        if self.kind == SENTENCES:
            return sentence_model_vectors(self.encoder, BATCH_SIZE, texts)
        return self.encoder.encode(texts, BATCH_SIZE, truncation=True, show_progress_bar=True).concepts.mean(dim=1)

    def token_vectors(self, texts: list[str]) -> torch.Tensor | None:
        """Mean token embeddings [T, D]; None without concepts."""
        return token_vectors(self.encoder, texts) if self.kind == CONCEPTS else None

    def forward(self, texts: list[str]) -> None:
        """Encode the texts in one batch, to count operations."""
        if self.kind == CONCEPTS:
            tokens = self.encoder.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
            self.encoder(tokens["input_ids"], tokens["attention_mask"])
        else:
            self.encoder(self.encoder.preprocess(texts))
