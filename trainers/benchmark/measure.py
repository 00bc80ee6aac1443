# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Seconds, memory and floating-point operations of steps, and the peak of the machine."""

import multiprocessing
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles

import torch
import torch.nn as nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from tqdm.auto import tqdm

from modeling_concept.loss_concept import linear_cross_entropy

from ..memory import peak_memory
from ..optimizers import make_optimizer, parameter_groups
from ..training_model import TrainingModel
from .systems import System


# Square products, in rows; and seconds that are spent on each.
PRODUCTS = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192)}
PRODUCT_SECONDS = 0.3


def spread(values: list[float]) -> float:
    """Half the distance between the quartiles; 0 for a single value."""
    if len(values) == 1:
        return 0.0
    first, _, third = quantiles(values, method="inclusive")
    return (third - first) / 2


def synchronise(device) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def interleave(
    steps: dict[str, Callable[[int], None]],
    warmup: int,
    rounds: int,
    device,
    progress: tqdm | None = None,
    seconds: float = float("inf"),
    least: int = 3,
) -> dict[str, list[float]]:
    """
    Time steps in turns, A B A B …, so that another load on the machine bears on all alike.

    Args:
        steps: by name; each is called with the number of the round.
        warmup: rounds that are not counted.
        rounds: those that are; none starts later than `seconds` after the first, once there are `least`.
        progress: counts steps.

    Returns:
        Seconds of each round, by name.
    """
    found, began = {name: [] for name in steps}, time.perf_counter()
    for number in range(warmup + rounds):
        if number == warmup:
            began = time.perf_counter()
        if number >= warmup + least and time.perf_counter() - began > seconds:
            if progress is not None:
                progress.update((warmup + rounds - number) * len(steps))
            break
        for name, step in steps.items():
            synchronise(device)
            start = time.perf_counter()
            step(number)
            synchronise(device)
            if number >= warmup:
                found[name].append(time.perf_counter() - start)
            if progress is not None:
                progress.update()
    return found


class Step:
    """
    Encoding without gradients, or forward, backward and an optimizer step of AdamW, of a system.

    Args:
        system: of which `module` was made, for encoding or training as `trains` says.
        dtype: float32, or what the forward pass is cast to; autocast is entered anew in each step, since it keeps cast
            weights as long as it lasts.
    """

    def __init__(self, system: System, module: nn.Module, trains: bool, dtype: torch.dtype, device):
        self.system, self.module, self.trains, self.dtype = system, module.to(device), trains, dtype
        self.device_type = torch.device(device).type
        self.optimizer = None
        if trains:
            self.optimizer = make_optimizer(parameter_groups(module, 0.01, 1e-4), fused=system.fused)

    def compile(self) -> None:
        """In place: what the Trainer compiles of a concept model in training, otherwise the encoder."""
        if isinstance(self.module, TrainingModel):
            self.module.compile_parts()
        else:
            self.system.encoder(self.module).compile()

    def gradients(self, inputs: dict, encodes_with_gradients: bool = False) -> None:
        """The step without its optimizer."""
        with ExitStack() as stack:
            stack.enter_context(self.system.context())
            if self.dtype != torch.float32:
                stack.enter_context(torch.autocast(self.device_type, self.dtype))
            if not self.trains:
                with torch.set_grad_enabled(encodes_with_gradients):
                    self.system.encode(self.module, inputs)
                return
            loss = self.system.loss(self.module, inputs)
        loss.backward()

    def __call__(self, inputs: dict) -> None:
        self.gradients(inputs)
        if self.trains:
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)

    def flops(self, inputs: dict) -> int:
        """
        Floating-point operations of matrix products and attention kernels, two for each multiplication with addition;
        the optimizer is none of them. In the backward pass of a kernel, scores that it computes again are counted.
        """
        with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
            # With gradients, as torch's fast path of nn.MultiheadAttention has no formula.
            self.gradients(inputs, encodes_with_gradients=True)
        if self.trains:
            self.optimizer.zero_grad(set_to_none=True)
        return counter.get_total_flops()


def attention_flops(query, key, value, *args, out_shape=None, **kwargs) -> int:
    return sdpa_flop_count(query, key, value)


def attention_backward_flops(gradient, query, key, value, *args, out_shape=None, **kwargs) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


def head_flops(hidden, table, labels, weights, compute, needs_hidden, needs_table, out_val=None) -> int:
    """Products of supervised rows with the table: logits and, where wanted, both gradients."""
    return 2 * int(weights.count_nonzero()) * table.numel() * (1 + needs_hidden + needs_table)


head_flops._get_raw = True  # the counter then gives tensors, not shapes

# torch's counter knows the attention kernels of CUDA only, and not the package's own operator.
FORMULAS = {
    linear_cross_entropy._opoverload.overloadpacket: head_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward_flops,
}


def matmul_peak(dtype: torch.dtype, device) -> float:
    """Most floating-point operations a second of square matrix products, which stand for what the machine can do."""
    best = 0.0
    for size in PRODUCTS[torch.device(device).type]:
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        left @ right
        synchronise(device)
        seconds, end = [], time.perf_counter() + PRODUCT_SECONDS
        while not seconds or time.perf_counter() < end:
            start = time.perf_counter()
            left @ right
            synchronise(device)
            seconds.append(time.perf_counter() - start)
        best = max(best, 2 * size**3 / min(seconds))
        if min(seconds) > PRODUCT_SECONDS:
            break  # a dtype that the machine hardly knows; the next size would take eight times as long
    return best


def peak_of_step(make_step: Callable[..., Callable[[], object]], *args, device="cpu") -> float | None:
    """
    Most memory in MiB in use at once during a step, beyond what was in use before it, measured in a process of its
    own, so that nothing that other systems left behind is used again without being counted.

    Args:
        make_step: function of a module; from `args`, which can be pickled, to a step. The step is taken once before,
            so that what stays, such as the optimizer's state, is there.

    Returns:
        None where the operating system does not tell.
    """
    # A server without threads of torch's own, which do not survive a fork.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_peak_here, torch.get_num_threads(), make_step, args, device).result()


def _peak_here(threads: int, make_step, args, device) -> float | None:
    torch.set_num_threads(threads)
    step = make_step(*args)
    step()
    with peak_memory(device) as found:
        step()
        synchronise(device)
    return found[0]


def machine_facts(device) -> dict:
    """Names and versions by which numbers of two machines are told apart."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    facts = {
        "device": torch.device(device).type,
        "cpu": names[0] if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    }
    if facts["device"] == "cuda":
        facts |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return facts
