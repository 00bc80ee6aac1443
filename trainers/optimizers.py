# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The learning rate and weight decay of each parameter, and the schedule with a final decay."""

import math
from collections.abc import Iterable

import torch.nn as nn
from transformers.trainer_pt_utils import get_parameter_names


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    learning_rate: float,
    own_rates: Iterable[tuple[Iterable[nn.Parameter], float]] = (),
) -> list[dict]:
    """
    Groups that hold each trainable parameter of `model` once, those of the main learning rate first: schedulers report
    the rate of the first group.

    Args:
        model: frozen parameters are left out, tied ones counted once.
        weight_decay: of matrices (two dimensions or more) that are, by their names, no bias and no part of a norm; the
            rest has none.
        learning_rate: of all parameters without one of their own.
        own_rates: parameters with a learning rate of their own.

    Returns:
        Dicts with `params`, `lr`, `weight_decay`, as optimizers take them.

    Raises:
        ValueError: a parameter has two rates of its own, or nothing is trainable.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {}
    for parameters, rate in own_rates:
        for parameter in parameters:
            if rates.setdefault(id(parameter), rate) != rate:
                name = names[id(parameter)]
                raise ValueError(f"{name} is given two learning rates, {rates[id(parameter)]} and {rate}; give one.")
    decaying = set(get_parameter_names(model, [nn.LayerNorm], ["bias", "norm"]))
    groups = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = weight_decay if name in decaying and parameter.dim() >= 2 else 0.0
            groups.setdefault((rates.get(id(parameter), learning_rate), decay), []).append(parameter)
    if not groups:
        raise ValueError("The model has no trainable parameter.")
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in sorted(groups.items(), key=lambda item: item[0][0] != learning_rate)
    ]


def wsd_defaults(num_training_steps: int, lr_scheduler_kwargs: dict | None = None) -> dict:
    """
    Arguments of transformers' schedule `warmup_stable_decay`: decay over the last 20 % of the steps as 1 - sqrt
    (Hägele et al. 2024), unless `lr_scheduler_kwargs` give other values.
    """
    decay_steps = math.ceil(0.2 * num_training_steps)
    return {"num_decay_steps": decay_steps, "decay_type": "1-sqrt", **(lr_scheduler_kwargs or {})}
