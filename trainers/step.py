# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""An optimizer step, which may be split into batches over accumulation and processes."""

from dataclasses import dataclass, field

import torch


@dataclass
class StepPlan:
    """
    What all batches of an optimizer step have in common.

    Args:
        items: of the whole step, by objective; 1 where there is none.
        weights: of each objective's mean loss; none for those without items.
        texts: of the whole step, whose concepts the concept losses see.
        splits: into how many batches the step is split, over accumulation and processes.
        warmup: factor on concept losses.
        seed: of this step.
        encoder_options: `concept_num`, `num_iterations`.
        joint: by name of a joint loss, its value over the whole step; empty where the step is one batch.
        holders: by name of a joint loss, how many batches have texts for it.
    """

    items: dict[str, torch.Tensor]
    weights: dict[str, float]
    texts: float = 1.0
    splits: int = 1
    warmup: float = 1.0
    seed: int = 0
    encoder_options: dict[str, int] = field(default_factory=dict)
    joint: dict[str, torch.Tensor] = field(default_factory=dict)
    holders: dict[str, int] = field(default_factory=dict)


@dataclass
class StepBatch:
    """
    One batch of a step.

    Args:
        inputs: of each objective, by name.
        seed: of its dropout, where the step is computed in two passes.
        measures: whether gradients at the concepts are measured.
        gradients: by name of a joint loss, its gradient at what this batch gave to it: a list of tensors.
    """

    inputs: dict[str, dict[str, torch.Tensor]]
    seed: int = 0
    measures: bool = False
    gradients: dict[str, list[torch.Tensor]] = field(default_factory=dict)
