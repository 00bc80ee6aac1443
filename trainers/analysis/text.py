# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Which words of one text each concept attends to and holds.

N tokens, W words, C concepts.
"""

from functools import partial

import torch

from .attention import read_attention
from .compression import can_reconstruct, edited_concepts, without
from .probes import split_words
from .sample import Sample


# Words that a concept attends to most.
MOST = 3


def concepts_of_text(model, vocabulary, text: str) -> dict:
    """
    A text as its concepts see it.

    Args:
        model: with a tokenizer.
        vocabulary: of that tokenizer.
        text: cut where it is longer than the model reads.

    Returns:
        `words`: W words of the text. `read`: what is read back from all concepts, None where the model cannot read a
        text back. `concepts`: for each of the C its number (`concept`), the words that it attends to most (`attends`),
        and those that no longer come back when it is set to zero (`holds`, None where nothing is read back), in the
        order of the text.

    Raises:
        ValueError: a text without a token.
    """
    tokenizer = model.tokenizer
    encoded = tokenizer(text, truncation=True, max_length=model.config.max_sequence_length, return_tensors="pt")
    ids = encoded["input_ids"]
    inner = ~vocabulary.special[ids[0]]
    if not inner.any():
        raise ValueError(f"--text {text!r} has no token.")
    places = inner.nonzero().flatten().tolist()
    starts = vocabulary.word_starts(ids)[0, inner].tolist()
    groups = split_words(places, starts)  # [W] of the places of a word's tokens
    words = [tokenizer.decode(ids[0, group]).strip() for group in groups]

    weights = read_attention(model, Sample(ids, vocabulary, "text"), 1, "attention: text").weights[0]  # [C, N]
    by_word = torch.stack([weights[:, group].sum(dim=1) for group in groups], dim=1)  # [C, W]
    most = by_word.topk(min(MOST, len(groups)), dim=1).indices.sort(dim=1).values.tolist()
    concepts = [
        {"concept": number, "attends": [words[place] for place in chosen], "holds": None}
        for number, chosen in enumerate(most)
    ]
    read = None
    if can_reconstruct(model):
        given = ids.to(model.device)
        found = model.reconstruct_ids(given, torch.ones_like(given))
        read = tokenizer.decode(found[0, inner.to(given.device)]).strip()
        right = (found == given)[0]
        for number, concept in enumerate(concepts):
            with edited_concepts(model, partial(without, index=number)):
                kept = (model.reconstruct_ids(given, torch.ones_like(given)) == given)[0]
            lost = (right & ~kept).tolist()
            concept["holds"] = [word for word, group in zip(words, groups, strict=True) if any(lost[n] for n in group)]
    return {"words": words, "read": read, "concepts": concepts}
