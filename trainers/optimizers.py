# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Which parameter is trained by which optimizer, how fast, and with what decay.

Muon (Jordan et al. 2024) orthogonalises the update of a matrix; it is for hidden matrices, with AdamW for all else.
Scaled to the root mean square of AdamW's updates (Liu et al. 2025, Muon is Scalable for LLM Training), both take the
same learning rate and weight decay.
"""

import math
from collections.abc import Iterable

import torch
import torch.nn as nn
from torch.optim import AdamW, Optimizer
from transformers.trainer_pt_utils import get_parameter_names


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The weights [out, in] of all `nn.Linear` of `model`, once each, but language-model heads and what is also an
    embedding; `model` may be a module around a transformers model."""
    modules = list(model.modules())
    heads = [module.get_output_embeddings() for module in modules if hasattr(module, "get_output_embeddings")]
    tables = [module for module in modules if isinstance(module, nn.Embedding)]
    others = {id(module.weight) for module in [*heads, *tables] if module is not None}
    linears = [module for module in modules if isinstance(module, nn.Linear)]
    return list({id(linear.weight): linear.weight for linear in linears if id(linear.weight) not in others}.values())


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    learning_rate: float,
    own_rates: Iterable[tuple[Iterable[nn.Parameter], float]] = (),
    muon: bool = False,
) -> list[dict]:
    """
    Groups that hold each trainable parameter of `model` once, those of the main learning rate first.

    Args:
        model: frozen parameters are left out, tied ones counted once.
        weight_decay: of matrices (two dimensions or more) that are, by their names, no bias and no part of a norm, as
            transformers chooses; the rest has none.
        learning_rate: of all parameters without one of their own.
        own_rates: parameters with a learning rate of their own.
        muon: whether hidden matrices are in groups of their own, with `hidden_matrices` True.

    Returns:
        Dicts with `params`, `lr`, `weight_decay`, `hidden_matrices`, as [`make_optimizer`] takes them.

    Raises:
        ValueError: a parameter with a rate of its own is not the model's or has two, or nothing is trainable.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {}
    for parameters, rate in own_rates:
        for parameter in parameters:
            if id(parameter) not in names:
                raise ValueError(f"A parameter {list(parameter.shape)} with its own learning rate is not the model's.")
            if rates.setdefault(id(parameter), rate) != rate:
                name = names[id(parameter)]
                raise ValueError(f"{name} is given two learning rates, {rates[id(parameter)]} and {rate}; give one.")
    decaying = set(get_parameter_names(model, [nn.LayerNorm], ["bias", "norm"]))
    matrices = {id(parameter) for parameter in hidden_matrices(model)} if muon else set()
    groups = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = rates.get(id(parameter), learning_rate)
            decay = weight_decay if name in decaying and parameter.dim() >= 2 else 0.0
            key = (rate, decay, id(parameter) in matrices)
            groups.setdefault(key, []).append(parameter)
    if not groups:
        raise ValueError("The model has no trainable parameter.")
    # Schedulers report the rate of the first group.
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay, "hidden_matrices": matrix}
        for (rate, decay, matrix), parameters in sorted(groups.items(), key=lambda item: item[0][0] != learning_rate)
    ]


class CombinedOptimizer(Optimizer):
    """
    Several optimizers as one. Its `param_groups` and `state` are theirs, the same objects, so that a scheduler that
    changes one changes the other, and its `state_dict` is that of one optimizer with all groups.

    Args:
        optimizers: with different parameters.
    """

    def __init__(self, optimizers: Iterable[Optimizer]):
        self.optimizers = ()
        optimizers = tuple(optimizers)
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], {})
        self.optimizers = optimizers
        for optimizer in optimizers:
            self.state.update(optimizer.state)
        self._share()

    def _share(self):
        start = 0
        for optimizer in self.optimizers:
            end = start + len(optimizer.param_groups)
            optimizer.__setstate__({"state": self.state, "param_groups": self.param_groups[start:end]})
            start = end

    def add_param_group(self, param_group):
        """RuntimeError once it is made: no optimizer would step the group."""
        if self.optimizers:
            raise RuntimeError("Parameters cannot be added to a CombinedOptimizer; make it from all groups.")
        super().add_param_group(param_group)

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        self._share()

    def step(self, closure=None):
        """One step of each optimizer; returns the loss that `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss


def make_optimizer(
    groups: list[dict],
    matrix_optimizer: str = "adamw",
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    momentum: float = 0.95,
    fused: bool | None = None,
) -> Optimizer:
    """
    The optimizer of `groups`.

    Args:
        groups: of [`parameter_groups`], each with its `lr` and `weight_decay`.
        matrix_optimizer: "adamw" for all, or "muon" for the groups of hidden matrices and AdamW for the others.
        betas, eps: of AdamW.
        momentum: of Muon, with Nesterov's form.
        fused: whether AdamW is one kernel; None leaves it to torch.

    Raises:
        ValueError: another `matrix_optimizer`, a torch without Muon, or no group of hidden matrices for it.
    """
    if matrix_optimizer not in ("adamw", "muon"):
        raise ValueError(f"matrix_optimizer is 'adamw' or 'muon', not {matrix_optimizer!r}.")
    if matrix_optimizer == "adamw":
        return AdamW(groups, betas=betas, eps=eps, fused=fused)
    if not hasattr(torch.optim, "Muon"):
        raise ValueError(f"matrix_optimizer='muon' needs torch 2.9 or newer; this is {torch.__version__}.")
    matrices = [group for group in groups if group["hidden_matrices"]]
    others = [group for group in groups if not group["hidden_matrices"]]
    if not matrices:
        raise ValueError("matrix_optimizer='muon' needs groups of hidden matrices: parameter_groups(..., muon=True).")
    optimizers = [torch.optim.Muon(matrices, momentum=momentum, adjust_lr_fn="match_rms_adamw")]
    if others:
        optimizers.append(AdamW(others, betas=betas, eps=eps, fused=fused))
    return CombinedOptimizer(optimizers)


def wsd_defaults(num_training_steps: int, lr_scheduler_kwargs: dict | None = None) -> dict:
    """
    Arguments of transformers' schedule `warmup_stable_decay`: decay over the last 20 % of the steps as 1 - sqrt
    (Hägele et al. 2024), unless `lr_scheduler_kwargs` say otherwise.
    """
    decay_steps = math.ceil(0.2 * num_training_steps)
    return {"num_decay_steps": decay_steps, "decay_type": "1-sqrt", **(lr_scheduler_kwargs or {})}
