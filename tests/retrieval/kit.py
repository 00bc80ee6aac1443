# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Small models and documents for the tests of search."""

import random

import torch
import transformers
from datasets import Dataset

from trainers.retrieval.documents import Documents

from ..conftest import TEXTS


WORDS = " ".join(TEXTS).split()

# Texts of 3 to 12 words.
MIXED = [" ".join(random.Random(number).sample(WORDS, 3 + number % 10)) for number in range(30)]


def save_bert(folder, tokenizer, seed=0, **options) -> str:
    """A folder with a small BERT, the same for the same seed."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, **options}
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id, **sizes
    )
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def documents(texts=MIXED, **columns) -> Documents:
    return Documents("mixed", Dataset.from_dict({"text": list(texts), **columns}))
