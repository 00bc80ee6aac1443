# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Concepts of rows of token ids. `model.encode` is the same for strings.

T texts, B texts of a batch, N tokens, C concepts, H hidden.
"""

from collections.abc import Iterator, Sequence

import torch
from tqdm.auto import tqdm


def id_batches(
    model, rows: Sequence[Sequence[int]], batch_size: int, description: str | None = None
) -> Iterator[dict[str, torch.Tensor]]:
    """
    Padded batches of rows of token ids, in order.

    Args:
        model: a concept model with a tokenizer.
        rows: T rows of token ids.
        batch_size: B.
        description: of the progress bar; there is none without it.

    Returns:
        `input_ids` and `attention_mask` [B, N] on the model's device.
    """
    starts = range(0, len(rows), batch_size)
    for start in tqdm(starts, desc=description, leave=False, disable=description is None):
        ids = [list(row) for row in rows[start : start + batch_size]]
        batch = model.tokenizer.pad({"input_ids": ids}, padding_side="right", return_tensors="pt")
        yield {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}


def encode_ids(model, rows: Sequence[Sequence[int]], batch_size: int, description: str | None = None) -> torch.Tensor:
    """Concepts [T, C, H] (float32, CPU) of rows of token ids; arguments as in [`id_batches`]."""
    encoder = model.base_model
    with encoder.inference_mode():
        batches = id_batches(model, rows, batch_size, description)
        return torch.cat([encoder(**batch).last_hidden_state.float().cpu() for batch in batches])
