# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""From pieces of tokens to a noised batch. B batch, N tokens."""

import zlib
from array import array

import torch

from .objectives import CleanBatch, Noise, Objective


class FreshNoise(Noise):
    """New numbers at every call, from torch's generator: for training."""

    def __init__(self, rows, width: int):
        self.shape = (len(rows), width)

    def per_text(self):
        return torch.rand(self.shape[0], 1)

    def per_token(self):
        return torch.rand(self.shape)

    def spread(self):
        count = self.shape[0]
        return (torch.rand(1, 1) + torch.arange(count)[:, None] / count) % 1


class FixedNoise(Noise):
    """
    Numbers that depend on a seed and on the text of each row alone: the same masks and noise levels at every
    evaluation, in whatever batch, order or process a text comes.
    """

    def __init__(self, rows, width: int, seed: int):
        self.lengths, self.width = [len(row) for row in rows], width
        self.generators = [
            torch.Generator().manual_seed(zlib.crc32(array("q", row).tobytes(), seed & 0xFFFFFFFF)) for row in rows
        ]

    def per_text(self):
        return torch.stack([torch.rand(1, generator=generator) for generator in self.generators])

    def per_token(self):
        result = torch.zeros(len(self.lengths), self.width)
        for row, (length, generator) in enumerate(zip(self.lengths, self.generators, strict=True)):
            result[row, :length] = torch.rand(length, generator=generator)
        return result

    def spread(self):
        return self.per_text()


class ConceptDataCollator:
    """
    Pads pieces to the longest of the batch and applies an objective.

    Args:
        tokenizer: with padding and mask token.
        objective: what is hidden and predicted.
        seed: None for training (fresh noise from torch's generator); a number for evaluation (noise that depends on
            it and on each text alone).
        pad_to_multiple_of: as in transformers.

    Raises:
        ValueError: the tokenizer has no padding or no mask token.
    """

    def __init__(
        self, tokenizer, objective: Objective, seed: int | None = None, pad_to_multiple_of: int | None = None
    ):
        for name in ("pad_token", "mask_token"):
            if getattr(tokenizer, name) is None:
                raise ValueError(f"The tokenizer has no {name}; add one with tokenizer.add_special_tokens.")
        self.tokenizer, self.objective, self.seed = tokenizer, objective, seed
        self.pad_to_multiple_of = pad_to_multiple_of

    def __call__(self, examples) -> dict[str, torch.Tensor]:
        """`examples`: dicts with `input_ids`, lists of token ids -> keyword arguments of a model, [B, N] each."""
        rows = [example["input_ids"] for example in examples]
        batch = self.pad(rows)
        width = batch.input_ids.shape[1]
        noise = FreshNoise(rows, width) if self.seed is None else FixedNoise(rows, width, self.seed)
        return self.objective(batch, noise)

    def pad(self, rows) -> CleanBatch:
        padded = self.tokenizer.pad(
            {"input_ids": rows}, return_tensors="pt", pad_to_multiple_of=self.pad_to_multiple_of
        )
        ids, mask = padded["input_ids"], padded["attention_mask"]
        special = torch.isin(ids, torch.tensor(self.tokenizer.all_special_ids)) | (mask == 0)
        return CleanBatch(ids, mask, special, self.tokenizer.mask_token_id, len(self.tokenizer))
