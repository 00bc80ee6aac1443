# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Attention of concepts, the words of one text that each concept attends to, and those that are lost without it.

T texts, B texts of a batch, N tokens, W words, C concepts.
"""

import torch

from ..encoding import id_batches
from .compression import correct_tokens


# Words that a concept attends to most.
MOST_ATTENDED = 3


def mean_attention(model, ids: torch.Tensor, batch_size: int) -> torch.Tensor:
    """
    Cross-attention of the encoder, averaged over texts, heads and layers.

    Args:
        ids: [T, N], token ids without padding.
        batch_size: texts at a time.

    Returns:
        [C, N], the weight at each position; rows sum to 1.
    """
    encoder, total = model.base_model, 0
    implementation = encoder.config._attn_implementation
    encoder.set_attn_implementation("eager")  # others do not return their weights
    try:
        with encoder.inference_mode():
            for batch in id_batches(model, ids.tolist(), batch_size):
                layers = encoder(**batch, output_attentions=True).cross_attentions  # of [B, heads, C, N]
                means = [layer.float().mean(dim=1).sum(dim=0) for layer in layers]
                total = total + torch.stack(means).mean(dim=0).cpu()
    finally:
        encoder.set_attn_implementation(implementation)
    return total / len(ids)


def words_of_text(model, text: str) -> tuple[torch.Tensor, list[str], list[list[int]]]:
    """Token ids [1, N] of a text, truncated to the length of the model, its W words, and the positions of each word's
    tokens; needs a fast tokenizer."""
    tokenizer, limit = model.tokenizer, model.config.max_sequence_length
    encoded = tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
    words, ids = encoded.word_ids(), encoded["input_ids"]
    numbers = dict.fromkeys(word for word in words if word is not None)
    positions = [[place for place, word in enumerate(words) if word == number] for number in numbers]
    return ids, [tokenizer.decode(ids[0, places]).strip() for places in positions], positions


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
    right = torch.cat([correct_tokens(model, ids, 1, index) for index in range(model.config.concept_num)])
    lost = correct_tokens(model, ids, 1) & ~right  # [C, N]
    return words, torch.stack([lost[:, group].any(dim=1) for group in positions], dim=1)


def concepts_of_text(model, text: str) -> dict:
    """
    The concepts of a text in words.

    Args:
        model: with a fast tokenizer.
        text: truncated to the length of the model.

    Returns:
        `words`: W words of the text. `attends`: for each of the C concepts the words that it attends to most. Of a
        model with a decoder of the text, `reconstruction`: from all concepts, and `lost`: the words that are not
        reconstructed without each concept.

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
    if model.can_reconstruct:
        found["reconstruction"] = model.reconstruct(text, truncation=True)[0]
        lost = lost_words(model, text)[1]
        found["lost"] = [[words[place] for place in row.nonzero().flatten().tolist()] for row in lost]
    return found
