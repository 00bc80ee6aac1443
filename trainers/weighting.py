# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""How the task's loss and the concept losses become one."""

from abc import ABC, abstractmethod

import torch
import torch.nn as nn


class LossWeighting(nn.Module, ABC):
    """
    Args:
        weights: of the concept losses, by name.
    """

    learns_weights = False  # whether the given weights have no part in it
    measures_gradients = False

    def __init__(self, weights: dict[str, float]):
        super().__init__()
        self.names = list(weights)
        self.register_buffer("given", torch.tensor(list(weights.values())), persistent=False)

    @abstractmethod
    def factors(self) -> torch.Tensor:
        """Factors of the task and of each concept loss, [1 + number of concept losses]."""

    def constant(self) -> torch.Tensor | float:
        """What is added to the loss of a step."""
        return 0.0

    def forward(self, task, losses: dict[str, torch.Tensor], warmup: float, share: float):
        """
        Args:
            task: loss of the task, and `losses`, of the concepts, by name: this batch's part of the step's means.
            warmup: factor in [0, 1] on concept losses.
            share: this batch's part of the step.

        Returns:
            Scalar; linear in the losses, so that the parts of a step add up.
        """
        factors = self.factors()
        total = factors[0] * task + share * self.constant()
        for factor, name in zip(factors[1:], self.names, strict=True):
            total = total + warmup * factor * losses[name]
        return total

    def shown(self, warmup: float = 1.0) -> dict[str, float]:
        """The factors by name, for logs, those of concept losses times `warmup`."""
        task, *factors = self.factors().tolist()
        return {"task": task} | {name: warmup * factor for name, factor in zip(self.names, factors, strict=True)}

    def observe(self, task: torch.Tensor, norms: torch.Tensor) -> None:  # noqa: B027
        """Norms of the gradients at the concepts: of the task, a scalar, and of each unweighted concept loss."""


class FixedWeighting(LossWeighting):
    """task + sum of w·L."""

    def factors(self):
        return torch.cat([self.given.new_ones(1), self.given])


class LearnableWeighting(LossWeighting):
    """
    A softmax over learned numbers (the original's form), which starts at the given weights. Minimising the sum moves
    weight to the smallest loss, so the task may be muted: kept for comparison.
    """

    def __init__(self, weights):
        super().__init__(weights)
        start = torch.tensor([1.0, *weights.values()])
        self.logits = nn.Parameter(start.log())
        self.scale = float(start.sum())

    def factors(self):
        return self.logits.softmax(dim=0) * self.scale


class KendallGalWeighting(LossWeighting):
    """
    Sum over task and concept losses of exp(-s)/2·L + s/2, s learned from 0 (Kendall, Gal & Cipolla 2018). At the
    optimum each weight is 1/(2L), so it is unbounded where a loss can reach zero.
    """

    learns_weights = True

    def __init__(self, weights):
        super().__init__(weights)
        self.log_variances = nn.Parameter(torch.zeros(1 + len(weights)))

    def factors(self):
        return 0.5 * torch.exp(-self.log_variances)

    def constant(self):
        return 0.5 * self.log_variances.sum()


class GradientBalancedWeighting(LossWeighting):
    """
    Each concept loss is weighed so that its gradient at the concepts has a given share of the task's: an exponential
    average of w·|g_task|/|g_k|, at most 10.
    """

    measures_gradients = True
    momentum, largest = 0.9, 10.0

    def __init__(self, weights):
        super().__init__(weights)
        self.register_buffer("current", torch.zeros(len(weights)))
        self.register_buffer("observed", torch.zeros((), dtype=torch.bool))

    def factors(self):
        return torch.cat([self.given.new_ones(1), self.current])

    @torch.no_grad()
    def observe(self, task, norms):
        # A loss that is satisfied has no gradient and needs no weight.
        wanted = (self.given * task / norms.clamp(min=1e-12)).clamp(max=self.largest) * (norms > 1e-12)
        self.current.copy_(torch.where(self.observed, self.current.lerp(wanted, 1 - self.momentum), wanted))
        self.observed.fill_(True)


WEIGHTINGS: dict[str, type[LossWeighting]] = {
    "fixed": FixedWeighting,
    "learnable": LearnableWeighting,
    "kendall_gal": KendallGalWeighting,
    "gradient_balanced": GradientBalancedWeighting,
}
