# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""From pieces of tokens to a padded batch. B texts, N tokens."""

import torch


class ConceptDataCollator:
    """
    Pads texts, and those given with them, to the longest of the batch. What is hidden from the model is drawn later,
    by the Trainer, from keys (see `noise.py`).

    Args:
        tokenizer: with a padding token.
        pad_to_multiple_of: as in transformers.
    """

    def __init__(self, tokenizer, pad_to_multiple_of: int | None = None):
        self.tokenizer, self.pad_to_multiple_of = tokenizer, pad_to_multiple_of

    def __call__(self, examples) -> dict[str, torch.Tensor]:
        """`examples`: dicts with lists of token ids `input_ids`, and `pair_input_ids` where there are pairs ->
        `input_ids`, `attention_mask` [B, N], and both with `pair_`."""
        batch = self.pad([example["input_ids"] for example in examples])
        if "pair_input_ids" in examples[0]:
            pairs = self.pad([example["pair_input_ids"] for example in examples])
            batch |= {f"pair_{name}": value for name, value in pairs.items()}
        return batch

    def pad(self, rows) -> dict[str, torch.Tensor]:
        padded = self.tokenizer.pad(
            {"input_ids": [list(row) for row in rows]}, return_tensors="pt", padding_side="right",
            pad_to_multiple_of=self.pad_to_multiple_of,
        )  # fmt: skip
        return {name: padded[name] for name in ("input_ids", "attention_mask")}
