# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The words of one text that each concept attends to, and those that are lost without it.

N tokens, W words, C concepts.
"""

import torch

from .attention import mean_attention
from .compression import edited_concepts


# Words that a concept attends to most.
MOST_ATTENDED = 3


def words_of_text(model, text: str) -> tuple[torch.Tensor, list[str], list[list[int]]]:
    """Token ids [1, N] of a text, truncated to the length of the model, its W words, and the positions of each word's
    tokens; needs a fast tokenizer."""
    tokenizer, limit = model.tokenizer, model.config.max_sequence_length
    encoded = tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
    groups: dict[int, list[int]] = {}
    for position, word in enumerate(encoded.word_ids()):
        if word is not None:
            groups.setdefault(word, []).append(position)
    ids, positions = encoded["input_ids"], list(groups.values())
    return ids, [tokenizer.decode(ids[0, group]).strip() for group in positions], positions


def lost_words(model, text: str) -> tuple[list[str], torch.Tensor]:
    """
    Set each concept of a text to zero in turn and reconstruct the text from the others.

    Args:
        model: with a decoder of the text and a fast tokenizer.
        text: truncated to the length of the model.

    Returns:
        The W words of the text, and for each concept whether a word is reconstructed from all concepts but not
        without this one, bool [C, W].
    """
    ids, words, positions = words_of_text(model, text)
    count = model.config.concept_num
    # One row without each concept, and a last row with all of them.
    kept = 1 - torch.eye(count + 1, count, device=model.device)
    with edited_concepts(model, lambda concepts: concepts * kept[..., None].to(concepts.dtype)):
        predicted = model.reconstruct_ids(ids.expand(count + 1, -1).to(model.device)).cpu()
    right = predicted == ids
    lost = right[-1] & ~right[:-1]  # [C, N]
    return words, torch.stack([lost[:, group].any(dim=1) for group in positions], dim=1)


def concepts_of_text(model, text: str) -> dict:
    """
    The concepts of a text in words.

    Args:
        model: with a fast tokenizer.
        text: truncated to the length of the model.

    Returns:
        `words`: W words of the text. `reconstruction`: from all concepts. `attends`: for each of the C concepts the
        words that it attends to most. `lost`: those that are not reconstructed without it. `reconstruction` and `lost`
        are None for a model without a decoder of the text.

    Raises:
        ValueError: a text without a word.
    """
    ids, words, positions = words_of_text(model, text)
    if not words:
        raise ValueError(f"--text {text!r} has no word.")
    attention = mean_attention(model, ids, 1)
    by_word = torch.stack([attention[:, group].sum(dim=1) for group in positions], dim=1)  # [C, W]
    most = by_word.topk(min(MOST_ATTENDED, len(words)), dim=1).indices.sort(dim=1).values.tolist()
    found = {"words": words, "attends": [[words[place] for place in places] for places in most]}
    if not model.can_reconstruct:
        return {**found, "reconstruction": None, "lost": None}
    lost = [[words[place] for place in row.nonzero().flatten().tolist()] for row in lost_words(model, text)[1]]
    return {**found, "reconstruction": model.reconstruct(text, truncation=True)[0], "lost": lost}
