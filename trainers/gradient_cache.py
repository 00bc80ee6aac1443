# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Losses over all texts of a step that is split (gradient caching, Gao et al. 2021): the first of two passes."""

from dataclasses import replace

import torch

from .distributed import gather_objects, gather_rows, process_index
from .step import StepBatch, StepPlan
from .training_model import TrainingModel


def plan_joint_losses(training_model: TrainingModel, wrapped, batches: list[StepBatch], plan: StepPlan) -> StepPlan:
    """
    First of two passes over a step that is split: joint losses over all its texts, and their gradients at what each
    batch gives to them (gradient caching, Gao et al. 2021), which are written into the batches.

    Args:
        training_model: the module, and `wrapped`, the same behind accelerate's wrappers.
        batches: of this process.
        plan: of the step.

    Returns:
        The plan with the values of the joint losses.
    """
    with torch.no_grad():
        found = [wrapped(batch, plan, represents=True) for batch in batches]
    own = {
        name: [torch.cat(parts) for parts in zip(*(batch[name] for batch in found if name in batch), strict=True)]
        for name in sorted({name for batch in found for name in batch})
    }
    # Processes may hold different objectives: what each has must be known before anything is exchanged.
    seen = {name: ([tuple(t.shape) for t in own[name]], sum(name in batch for batch in found)) for name in own}
    everywhere = gather_objects(seen)
    leaves, starts, holders = {}, {}, {}
    for name in sorted({name for process in everywhere for name in process}):
        shapes = next(process[name][0] for process in everywhere if name in process)
        holders[name] = sum(process[name][1] for process in everywhere if name in process)
        rows = [process[name][0][0][0] if name in process else 0 for process in everywhere]
        device = next(training_model.parameters()).device
        tensors = own.get(name) or [torch.zeros(0, *shape[1:], device=device) for shape in shapes]
        leaves[name] = [gather_rows(tensor, rows).detach().requires_grad_() for tensor in tensors]
        starts[name] = sum(rows[: process_index()])
    with torch.enable_grad():
        losses = training_model.joint_losses(leaves, plan)
    for loss_name, (name, loss) in losses.items():
        gradients = torch.autograd.grad(loss, leaves[name], allow_unused=True, retain_graph=True)
        gradients = [torch.zeros_like(x) if g is None else g for x, g in zip(leaves[name], gradients, strict=True)]
        place = starts[name]
        for batch, representation in zip(batches, found, strict=True):
            count = len(representation[name][0]) if name in representation else 0
            batch.gradients[loss_name] = [gradient[place : place + count] for gradient in gradients]
            place += count
    if training_model.training:
        for name in leaves:
            if name != "concepts":
                training_model.mixture.objectives[name].after_step(training_model.head(name), leaves[name][0].detach())
    values = {loss_name: loss.detach() for loss_name, (_, loss) in losses.items()}
    return replace(plan, joint=values, holders={loss_name: holders[name] for loss_name, (name, _) in losses.items()})
