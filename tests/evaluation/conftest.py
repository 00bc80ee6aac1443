# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Texts for analyses: sentences made of few words, so that some words are of middle frequency."""

import random

import pytest
import torch

from trainers.evaluation.analysis.probes import WORD
from trainers.evaluation.analysis.sample import Sample
from trainers.objectives.vocabulary import Vocabulary

from ..conftest import TEXTS


WORDS = [word for text in TEXTS for word in sorted(set(WORD.findall(text.lower()))) if len(word) > 3]


def make_sentences(count: int = 600) -> list[str]:
    draw, weights = random.Random(0), [1 / (rank + 1) for rank in range(len(WORDS))]
    return [" ".join(draw.choices(WORDS, weights, k=9)) + "." for _ in range(count)]


@pytest.fixture(scope="session")
def sample(tokenizer):
    """72 texts of 24 tokens."""
    rows = tokenizer(make_sentences(), add_special_tokens=False)["input_ids"]
    stream = [token for row in rows for token in row]
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    pieces = [[cls, *stream[22 * place : 22 * place + 22], sep] for place in range(72)]
    return Sample(torch.tensor(pieces), Vocabulary.of(tokenizer))
