# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Losses over all texts of a step that is split into batches (gradient caching, Gao et al. 2021)."""

import torch

from .training_model import StepBatch, TrainingModel
from .utils.distributed import gather_objects, gather_rows, process_index


def cache_joint_losses(training_model: TrainingModel, wrapped, batches: list[StepBatch]) -> None:
    """
    The first of two passes over a step: computes the joint losses over all its texts, and their gradients at each
    batch's share of the arguments. Values are written into the plan, gradients into the batches.

    Args:
        training_model: the module, and `wrapped`, the same behind accelerate's wrappers.
        batches: of this process, in training mode.
    """
    with torch.no_grad():
        arguments = [wrapped(batch, represents=True) for batch in batches]
    own = {
        name: torch.cat([batch[name] for batch in arguments if name in batch])
        for name in sorted({name for batch in arguments for name in batch})
    }
    # Processes may hold different objectives: names and shapes must be known before tensors are exchanged.
    everywhere = gather_objects(
        {name: (tuple(own[name].shape), sum(name in batch for batch in arguments)) for name in own}
    )
    device = next(training_model.parameters()).device
    leaves, starts, holders = {}, {}, {}
    for name in sorted({name for process in everywhere for name in process}):
        shape = next(process[name][0] for process in everywhere if name in process)
        holders[name] = sum(process[name][1] for process in everywhere if name in process)
        rows = [process[name][0][0] if name in process else 0 for process in everywhere]
        tensor = own[name] if name in own else torch.zeros(0, *shape[1:], device=device)
        leaves[name] = gather_rows(tensor, rows).detach().requires_grad_()
        starts[name] = sum(rows[: process_index()])
    with torch.enable_grad():
        losses = training_model.joint_losses(leaves)
    plan = batches[0].plan
    for loss_name, (name, loss) in losses.items():
        (gradient,) = torch.autograd.grad(loss, leaves[name])
        place = starts[name]
        for batch, argument in zip(batches, arguments, strict=True):
            count = len(argument[name]) if name in argument else 0
            batch.gradients[loss_name] = gradient[place : place + count]
            place += count
        plan.joint[loss_name], plan.holders[loss_name] = loss.detach(), holders[name]
