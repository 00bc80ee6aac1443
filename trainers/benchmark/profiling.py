# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Where the time of a training step goes, by kinds of operators.

V vocabulary.
"""

import torch
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from .measure import Step, synchronise
from .shapes import TASKS, Shape, make_inputs
from .suite import Settings
from .systems import SYSTEMS


# Kinds by parts of operators' names; the first that fits. An operator that fits none before "head" and has a dimension
# V among its inputs belongs to the head, and so do gradients of a table that the head shares. Batched products and
# softmax are of attention where it is no kernel of its own; all other products are of linear layers.
KINDS = {
    "optimizer": ("adam", "Optimizer"),
    "attention": ("scaled_dot_product", "flash_attention", "efficient_attention", "aten::bmm", "aten::baddbmm",
                  "aten::_softmax", "aten::_safe_softmax"),
    "embedding": ("embedding",),
    "head": (),
    "linear layers": ("aten::mm", "aten::addmm", "aten::linear", "mkldnn", "mkl_linear"),
    "norms, elementwise": ("norm", "aten::add", "aten::mul", "aten::sub", "aten::div", "aten::neg", "aten::copy_",
                           "aten::silu", "aten::gelu", "aten::sum", "aten::mean", "aten::cat", "aten::fill_",
                           "aten::zero_", "aten::bernoulli", "aten::pow", "aten::rsqrt", "aten::native_", "aten::exp",
                           "aten::where", "RootMeanSquare", "UnitLength", "Turn", "conv", "Convolution"),
}  # fmt: skip
OTHER = "other"
STEPS = 3  # that are profiled


def kind_of(name: str, shapes: list, vocab_size: int) -> str:
    """Of an operator `name` with inputs of `shapes`."""
    for kind, parts in KINDS.items():
        if kind == "head":
            if any(isinstance(shape, list) and vocab_size in shape for shape in shapes):
                return kind
        elif any(part in name for part in parts):
            return kind
    return OTHER


def profile_step(system: str, shape: Shape, task: str, settings: Settings) -> dict[str, float]:
    """Seconds by kind, each operator without those that it calls, of a training step: the mean of some, after two
    others."""
    torch.manual_seed(0)
    inputs = make_inputs(TASKS[task], shape, settings.tokens_of(task), settings.padding, 0, settings.device)
    step = Step(SYSTEMS[system], SYSTEMS[system].make(shape, task), True, settings.dtype, settings.device)
    for _ in range(2):
        step(inputs)
    on_cuda = settings.device == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with profile(activities=activities, record_shapes=True) as profiler:
        for _ in range(STEPS):
            step(inputs)
        synchronise(settings.device)
    seconds = dict.fromkeys([*KINDS, OTHER], 0.0)
    for event in profiler.key_averages(group_by_input_shape=True):
        spent = event.self_device_time_total if on_cuda else event.self_cpu_time_total
        seconds[kind_of(event.key, event.input_shapes, shape.vocab_size)] += spent / (1e6 * STEPS)
    return seconds


def profile_table(title: str, columns: dict[str, dict[str, float]]) -> Table:
    """Shares of each system's time, a line for each kind, and all of it in ms."""
    table = Table(title=title, caption="By operators' names; the head is what has the vocabulary as a dimension.")
    for name in ("kind", *columns):
        table.add_column(name, justify="left" if name == "kind" else "right")
    for kind in (*KINDS, OTHER):
        table.add_row(kind, *(f"{found[kind] / sum(found.values()):.1%}" for found in columns.values()))
    table.add_section()
    table.add_row("all, ms", *(f"{1e3 * sum(found.values()):,.1f}" for found in columns.values()))
    return table
