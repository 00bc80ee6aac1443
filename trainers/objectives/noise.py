# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Random numbers that are a function of keys, not of the order in which they are drawn.

The noise of a text depends only on the seed, the optimizer step and the text's index in that step: not on how the
step is split into batches and processes, nor on whether the run was interrupted. In evaluation it depends on the text
alone.

B texts of a batch, N tokens.
"""

import torch


# SplitMix64 (Steele, Lea & Flood 2014), its constants as signed 64-bit integers. Products wrap around.
GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
SECOND = 0x94D049BB133111EB - (1 << 64)


def _shift(values: torch.Tensor, count: int) -> torch.Tensor:
    return (values >> count) & ((1 << (64 - count)) - 1)  # torch's shift keeps the sign


def mix(values: torch.Tensor) -> torch.Tensor:
    """A random-looking int64 for each int64."""
    values = values * GOLDEN + GOLDEN
    values = (values ^ _shift(values, 30)) * FIRST
    values = (values ^ _shift(values, 27)) * SECOND
    return values ^ _shift(values, 31)


def make_key(*numbers: int, device=None) -> torch.Tensor:
    """Scalar int64 key of some integers, in their order."""
    key = torch.zeros((), dtype=torch.int64, device=device)
    for number in numbers:
        key = mix(key + (number & 0x7FFFFFFFFFFFFFFF))
    return key


def uniform(keys: torch.Tensor) -> torch.Tensor:
    """A float32 in [0, 1) for each int64 key, with 24 random bits."""
    return _shift(mix(keys), 40).float() / (1 << 24)


def text_keys(input_ids: torch.Tensor, attention_mask: torch.Tensor, seed: int) -> torch.Tensor:
    """Keys [B] that depend on a seed and on each text's tokens, but not on padding at its end."""
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    parts = mix(mix(input_ids.long()) + places) * attention_mask.long()
    return mix(parts.sum(dim=1) + make_key(seed, device=input_ids.device))


class Noise:
    """
    Uniform numbers for a batch. Every call gives new ones; equal keys give equal sequences of them.

    Args:
        keys: int64 [B], one per text.
        width: N.
        places: [B] index of each text in the optimizer step, and `count`, the number of texts in the step: with them
            `antithetic` and `low_discrepancy` are even over the step. None where texts must be independent.
        step_key: int64 scalar, equal for all texts of the step.
    """

    def __init__(self, keys, width: int, places=None, count: int = 1, step_key=None):
        self.keys, self.width, self.places, self.count, self.step_key = keys, width, places, count, step_key
        self.calls = 0

    @classmethod
    def for_step(cls, seed: int, step: int, places: torch.Tensor, count: int, width: int) -> "Noise":
        """For the texts with the indices `places` [B] among the `count` texts of optimizer step `step`."""
        step_key = make_key(seed, step, device=places.device)
        return cls(mix(step_key + places), width, places, count, step_key)

    @classmethod
    def for_texts(cls, input_ids, attention_mask, seed: int) -> "Noise":
        """For evaluation: depends on the texts [B, N] alone."""
        return cls(text_keys(input_ids, attention_mask, seed), input_ids.shape[1])

    def _next(self, keys):
        self.calls += 1
        return mix(keys + self.calls)

    def per_text(self) -> torch.Tensor:
        """[B, 1]."""
        return uniform(self._next(self.keys))[:, None]

    def per_token(self) -> torch.Tensor:
        """[B, N]."""
        places = torch.arange(self.width, device=self.keys.device)
        return uniform(mix(self._next(self.keys))[:, None] + places)

    def antithetic(self) -> torch.Tensor:
        """[B, 1], evenly spaced over the texts of the step; as `per_text` where there is no step."""
        if self.places is None:
            return self.per_text()
        return (uniform(self._next(self.step_key)) + self.places[:, None] / self.count) % 1

    def per_step(self) -> torch.Tensor | None:
        """Scalar, the same for all texts of the step; None where there is no step."""
        return None if self.step_key is None else uniform(self._next(self.step_key))

    def low_discrepancy(self) -> torch.Tensor:
        """[B], even over every run of consecutive texts of the step (additive golden-ratio sequence)."""
        if self.places is None:
            return self.per_text()[:, 0]
        return (uniform(self._next(self.step_key)) + self.places * 0.6180339887498949) % 1

    def rows(self, chosen) -> "Noise":
        """For a part of the texts: `chosen` indexes them."""
        places = None if self.places is None else self.places[chosen]
        return Noise(self.keys[chosen], self.width, places, self.count, self.step_key)

    def parts(self, rows, places, width: int) -> "Noise":
        """For parts of texts, [R] each: the row of the text, and the part's place in it from 0 to 1."""
        keys = mix(self.keys[rows] + (places * 65536).long())
        return Noise(keys, width, self.places[rows] + places, self.count, self.step_key)

    def fold_in(self, name: str) -> "Noise":
        """Independent numbers for the same texts, for the consumer `name`."""
        folded = make_key(*name.encode(), device=self.keys.device)
        step_key = None if self.step_key is None else mix(self.step_key + folded)
        return Noise(mix(self.keys + folded), self.width, self.places, self.count, step_key)
