# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What changes from step to step: depth, number of concepts, length of texts, weight of concept losses. B texts,
N tokens, R parts."""

import math
from dataclasses import dataclass

import torch

from .objectives.noise import make_key, uniform


MAX_ITERATIONS = 16
DEPTH_SPREAD = 0.5  # standard deviation of the logarithm of the depth's rate


@dataclass
class StepSchedule:
    """
    Args:
        seed: of the draws.
        mean_iterations: of a recursive encoder: the depth of each step is drawn around this mean (log-normal Poisson,
            Geiping et al. 2025). None: always the configured one.
        lengths: (share of the training, longest text in tokens), in order.
        warmup_steps: over which the factor on concept losses rises linearly to 1.
        concept_nums: numbers of concepts, of which each step draws one. None: always the configured one.
    """

    seed: int
    mean_iterations: float | None = None
    lengths: tuple[tuple[float, int], ...] = ()
    warmup_steps: int = 0
    concept_nums: tuple[int, ...] = ()

    def check(self, config) -> None:
        """ValueError if a model of this configuration cannot follow it."""
        if self.mean_iterations is not None and not hasattr(config, "num_iterations"):
            raise ValueError("mean_iterations needs a recursive encoder, such as --model_type recursive_mlm.")
        if self.concept_nums and not 1 <= min(self.concept_nums) <= max(self.concept_nums) <= config.concept_num:
            raise ValueError(f"concept_nums must lie between 1 and the model's {config.concept_num} concepts.")
        if self.lengths and max(length for _, length in self.lengths) > config.max_sequence_length:
            raise ValueError(
                f"length_schedule goes beyond max_sequence_length {config.max_sequence_length} of the model."
            )

    def encoder_options(self, step: int) -> dict[str, int]:
        """`num_iterations` and `concept_num` of step `step`, equal on every process; without those that do not
        change."""
        options = {}
        if self.concept_nums:
            place = uniform(make_key(self.seed, step, 3)) * len(self.concept_nums)
            options["concept_num"] = self.concept_nums[int(place)]
        if self.mean_iterations is not None:
            generator = torch.Generator().manual_seed(int(make_key(self.seed, step, 2)) & 0x7FFFFFFF)
            deviation = DEPTH_SPREAD * torch.randn((), generator=generator)
            rate = math.log(self.mean_iterations) - DEPTH_SPREAD**2 / 2 + deviation
            drawn = int(torch.poisson(rate.exp(), generator=generator)) + 1
            options["num_iterations"] = min(drawn, MAX_ITERATIONS)
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
    items = [item.rpartition(":") for item in (text or "").split(",") if item.strip()]
    lengths = tuple((float(share or 0), int(tokens)) for share, _, tokens in items)
    shares = [share for share, _ in lengths]
    if lengths and (
        shares[0] != 0 or shares != sorted(set(shares)) or shares[-1] >= 1 or min(n for _, n in lengths) < 4
    ):
        raise ValueError("length_schedule starts at 0, rises below 1, with at least 4 tokens: 512,0.5:2048,0.8:8192.")
    return lengths
