# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Ways to put texts of different lengths into batches: their padding and time.

T texts, B batch, N tokens.
"""

from statistics import median

import torch

from modeling_concept.text_concept import MAX_TOKENS_PER_BATCH, length_batches

from ...evaluation.results import Result
from .measure import interleave
from .systems import FIRST_WORD, PAD, Shape, build_concept


LONGEST = 2048  # tokens; lengths are log-uniform from a 64th of it
TEXTS = 256


def in_order(lengths: list[int], batch_size: int) -> list[list[int]]:
    """The places of the texts of each batch, as they come."""
    places = list(range(len(lengths)))
    return [places[start : start + batch_size] for start in range(0, len(places), batch_size)]


WAYS = {
    "32 texts as they come": lambda lengths: in_order(lengths, 32),
    "32 texts of similar length": lambda lengths: length_batches(lengths, 32),
    f"the same, at most {MAX_TOKENS_PER_BATCH:,} tokens (default)": (
        lambda lengths: length_batches(lengths, 32, MAX_TOKENS_PER_BATCH)
    ),
    "at most 8,192 tokens": lambda lengths: length_batches(lengths, len(lengths), 8192),
}


def padding_share(lengths: list[int], batches: list[list[int]]) -> float:
    """Share of the positions of all batches that are padding."""
    positions = sum(len(places) * max(lengths[place] for place in places) for places in batches)
    return 1 - sum(lengths) / positions


def time_batches(base: Shape, device: str, longest: int = LONGEST, texts: int = TEXTS) -> list[Result]:
    """Padding, and microseconds per token, of encoding texts of random lengths in each of `WAYS`, timed alternately;
    `base` gives all sizes but the length."""
    generator = torch.Generator().manual_seed(0)
    lengths = (longest * 64 ** -torch.rand(texts, generator=generator)).long().tolist()
    rows = [torch.randint(FIRST_WORD, base.vocab_size, (length,), generator=generator) for length in lengths]
    shape = Shape(base.hidden_size, base.num_hidden_layers, base.vocab_size, longest, base.concept_num)
    model = build_concept(shape, "encode").eval().to(device)

    @torch.no_grad()
    def encode_all(batches):
        for places in batches:
            ids = torch.nn.utils.rnn.pad_sequence(
                [rows[place] for place in places], batch_first=True, padding_value=-1
            )
            ids, mask = ids.masked_fill(ids < 0, PAD), (ids >= 0).long()
            model(ids.to(device), mask.to(device))

    batches = {name: way(lengths) for name, way in WAYS.items()}
    steps = {name: lambda number, parts=parts: encode_all(parts) for name, parts in batches.items()}
    times, results = interleave(steps, 1, 3, device), []
    task = f"encoding, {texts} texts of {longest // 64} to {longest:,} tokens"
    for name, parts in batches.items():
        add = [("padding", padding_share(lengths, parts)), ("µs per token", 1e6 * median(times[name]) / sum(lengths))]
        results += [Result(task, f"C={base.concept_num}", metric, name, value, None) for metric, value in add]
    return results
