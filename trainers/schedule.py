# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What changes from step to step: number of concepts, depth, length of texts, weight of concept losses."""

import math
from dataclasses import dataclass

import torch

from .noise import make_key, uniform


@dataclass
class StepSchedule:
    """
    Args:
        seed: of the draws.
        matryoshka: numbers of concepts, one of which is drawn for each step, so that the first concepts hold what
            matters most (Kusupati et al. 2022). Empty: always all.
        mean_iterations: of a recursive encoder: the depth of each step is drawn around this mean (log-normal Poisson,
            Geiping et al. 2025). None: always the configured one.
        max_iterations: largest depth drawn.
        lengths: (share of the training, longest text in tokens), in order.
        warmup_steps: over which concept losses come in, linearly.
    """

    seed: int
    matryoshka: tuple[int, ...] = ()
    mean_iterations: float | None = None
    max_iterations: int = 16
    lengths: tuple[tuple[float, int], ...] = ()
    warmup_steps: int = 0

    def check(self, config) -> None:
        """ValueError if a model of this configuration cannot follow it."""
        if self.matryoshka and not (1 <= min(self.matryoshka) <= max(self.matryoshka) <= config.concept_num):
            raise ValueError(
                f"matryoshka {list(self.matryoshka)}: numbers of concepts lie between 1 and concept_num "
                f"{config.concept_num}."
            )
        if self.mean_iterations is not None and not hasattr(config, "num_iterations"):
            raise ValueError("mean_iterations needs a recursive encoder, such as --model_type recursive_mlm.")
        if self.lengths and max(length for _, length in self.lengths) > config.max_sequence_length:
            raise ValueError(
                f"length_schedule goes beyond max_sequence_length {config.max_sequence_length} of the model."
            )

    def encoder_options(self, step: int) -> dict[str, int]:
        """`concept_num` and `num_iterations` of step `step`, the same on every process."""
        options = {}
        if self.matryoshka:
            place = float(uniform(make_key(self.seed, step, 1)))
            options["concept_num"] = self.matryoshka[int(place * len(self.matryoshka))]
        if self.mean_iterations is not None:
            generator = torch.Generator().manual_seed(int(make_key(self.seed, step, 2)) & 0x7FFFFFFF)
            spread = 0.5
            rate = math.log(self.mean_iterations) - spread**2 / 2 + spread * torch.randn((), generator=generator)
            drawn = int(torch.poisson(rate.exp(), generator=generator)) + 1
            options["num_iterations"] = min(drawn, self.max_iterations)
        return options

    def length(self, progress: float) -> int | None:
        """Longest text in tokens after a share `progress` of the training; None where there is no schedule."""
        passed = [length for start, length in self.lengths if start <= progress]
        return passed[-1] if passed else None

    def warmup(self, step: int) -> float:
        """Factor on concept losses."""
        return min(1.0, step / self.warmup_steps) if self.warmup_steps > 0 else 1.0


def parse_lengths(text: str | None) -> tuple[tuple[float, int], ...]:
    """(share, tokens) from `512,0.5:2048,0.8:8192`; ValueError for anything else."""
    found = []
    for item in filter(None, (item.strip() for item in (text or "").split(","))):
        share, colon, tokens = item.rpartition(":")
        try:
            found.append((float(share) if colon else 0.0, int(tokens)))
        except ValueError:
            raise ValueError(f"length_schedule: {item!r} must be share:tokens, as in 0.5:2048.") from None
    shares = [share for share, _ in found]
    if found and (shares[0] != 0 or shares != sorted(set(shares)) or shares[-1] >= 1 or min(n for _, n in found) < 4):
        raise ValueError("length_schedule starts at 0, rises below 1, with at least 4 tokens: 512,0.5:2048,0.8:8192.")
    return tuple(found)


def parse_numbers(name: str, text: str | None) -> tuple[int, ...]:
    """Integers from `8,16,32`; ValueError for anything else."""
    try:
        return tuple(int(item) for item in (text or "").split(",") if item.strip())
    except ValueError:
        raise ValueError(f"{name}: {text!r} must be numbers with commas between, as in 8,16,32.") from None
