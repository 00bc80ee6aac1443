# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What stands in a line of the table: a concept checkpoint, another encoder of sentences, or words without any model.

T texts, D width of vectors.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch

from ..analysis import load_checkpoint
from ..similarity import (
    OWN,
    POOLINGS,
    bag_of_words_vectors,
    concept_vectors,
    load_encoder,
    load_sentence_model,
    mean_of_first,
    sentence_model_vectors,
    token_vectors,
)


CONCEPTS, SENTENCES, WORDS = "concepts", "sentences", "words"

# Of the mean of the concepts that have no segment.
GLOBAL = "global concepts"

BATCH_SIZE = 128


@dataclass(frozen=True)
class Subject:
    """
    Args:
        name: in tables.
        kind: `concepts`, `sentences` (anything that sentence-transformers loads) or `words` (tf-idf).
        path: checkpoint, folder or Hub id; empty for words.
        folder: where its results are kept.
        help_from: what it has beside the text.
        seed: of its training.
    """

    name: str
    kind: str
    path: str
    folder: Path
    help_from: str = ""
    seed: int | None = None

    @cached_property
    def encoder(self):
        """The concept encoder, or the SentenceTransformer."""
        return load_encoder(self.path) if self.kind == CONCEPTS else load_sentence_model(self.path)

    @cached_property
    def reader(self):
        """The concept model with its decoder and head, where it has them."""
        return load_checkpoint(self.path)

    def vectors(self, texts: list[str]) -> torch.Tensor:
        """[T, D], dense, or sparse for words."""
        return self.poolings(texts)[OWN]

    def poolings(self, texts: list[str]) -> dict[str, torch.Tensor]:
        """Its vectors and, where it has concepts without a segment, the means of these."""
        if self.kind == WORDS:
            return {OWN: bag_of_words_vectors(texts)}
        if self.kind == SENTENCES:
            return {OWN: sentence_model_vectors(self.encoder, BATCH_SIZE, texts)}
        poolings, count = {OWN: POOLINGS[OWN]}, self.encoder.config.global_concept_num
        if count:
            poolings[GLOBAL] = partial(mean_of_first, count)
        return concept_vectors(self.encoder, poolings, BATCH_SIZE, texts)

    def forward(self, texts: list[str]) -> None:
        """Encode in one batch, so that operations can be counted."""
        if self.kind == CONCEPTS:
            tokens = self.encoder.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
            self.encoder(tokens["input_ids"], tokens["attention_mask"])
        else:
            self.encoder(self.encoder.preprocess(texts))

    def token_vectors(self, texts: list[str]) -> torch.Tensor | None:
        """Means of rows of the token table; None where there are no concepts above it."""
        return token_vectors(self.encoder, texts) if self.kind == CONCEPTS else None
