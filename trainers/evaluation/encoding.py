# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Concepts of rows of token ids. `model.encode` is the same for strings.

T texts, B texts of a batch, N tokens, C concepts, H hidden.
"""

from collections.abc import Iterator, Sequence

import torch
from tqdm.auto import tqdm

from modeling_concept.text_concept import MAX_TOKENS_PER_BATCH, length_batches


def id_batches(model, rows: Sequence[Sequence[int]], batch_size: int) -> Iterator[dict[str, torch.Tensor]]:
    """
    Padded batches of rows of token ids, in order.

    Args:
        model: a concept model with a tokenizer.
        rows: T rows of token ids.
        batch_size: B.

    Returns:
        `input_ids` and `attention_mask` [B, N] on the model's device.
    """
    for start in range(0, len(rows), batch_size):
        ids = [list(row) for row in rows[start : start + batch_size]]
        batch = model.tokenizer.pad({"input_ids": ids}, padding_side="right", return_tensors="pt")
        yield {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}


def encode_ids(model, rows: Sequence[Sequence[int]], batch_size: int, description: str | None = None) -> torch.Tensor:
    """Concepts [T, C, H] (float32, CPU) of T rows of token ids, encoded in batches of similar length of at most
    `batch_size` rows; `description` is that of the progress bar, and there is none without it."""
    encoder = model.base_model
    batches = length_batches([len(row) for row in rows], batch_size, MAX_TOKENS_PER_BATCH)
    encoded = []
    with encoder.inference_mode():
        for places in tqdm(batches, desc=description, leave=False, disable=description is None):
            batch = model.pad([list(rows[place]) for place in places])
            encoded.append(encoder(**batch).last_hidden_state.float().cpu())
    order = torch.tensor([place for places in batches for place in places])
    return torch.cat(encoded)[order.argsort()]
