# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""How the task's loss and the concept losses become one."""

import torch
import torch.nn as nn


class FixedWeighting(nn.Module):
    """
    task + sum of w·L.

    Args:
        weights: of the concept losses, by name.
    """

    learns_weights = False  # whether the given weights are ignored

    def __init__(self, weights: dict[str, float]):
        super().__init__()
        self.names = list(weights)
        self.register_buffer("given", torch.tensor(list(weights.values())), persistent=False)

    def factors(self) -> torch.Tensor:
        """Factors of the task and of each concept loss, [1 + number of concept losses]."""
        return torch.cat([self.given.new_ones(1), self.given])

    def constant(self) -> torch.Tensor | float:
        """A summand of the loss of a step."""
        return 0.0

    def forward(self, task, losses: dict[str, torch.Tensor], warmup: float, share: float):
        """
        Args:
            task: this batch's part of the task's mean loss over the step.
            losses: this batch's parts of the concept losses of the step, by name.
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


class KendallGalWeighting(FixedWeighting):
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


WEIGHTINGS: dict[str, type[FixedWeighting]] = {"fixed": FixedWeighting, "kendall_gal": KendallGalWeighting}
