# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The learning rate and weight decay of each parameter."""

from collections.abc import Mapping

import torch.nn as nn
from transformers.trainer_pt_utils import get_parameter_names


def parameter_groups(
    model: nn.Module, weight_decay: float, learning_rate: float, own_rates: Mapping[nn.Parameter, float]
) -> list[dict]:
    """
    Groups that hold each trainable parameter of `model` once, those of the main learning rate first: schedulers report
    the rate of the first group.

    Args:
        model: frozen parameters are left out, tied ones counted once.
        weight_decay: of matrices (two dimensions or more) that are, by their names, no bias and no part of a norm; the
            rest has none.
        learning_rate: of all parameters without one of their own.
        own_rates: learning rates of single parameters.

    Returns:
        Dicts with `params`, `lr`, `weight_decay`, as optimizers take them.
    """
    decaying = set(get_parameter_names(model, [nn.LayerNorm], ["bias", "norm"]))
    groups = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = weight_decay if name in decaying and parameter.dim() >= 2 else 0.0
            groups.setdefault((own_rates.get(parameter, learning_rate), decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in sorted(groups.items(), key=lambda item: item[0][0] != learning_rate)
    ]
