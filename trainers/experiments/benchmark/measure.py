# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Time, memory and floating-point operations of steps."""

import ctypes
import platform
import re
import time
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from modeling_concept.loss_concept import linear_cross_entropy

from .systems import SYSTEMS, Shape, encode, trains


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def interleave(
    steps: dict[str, Callable[[int], None]], warmup: int, rounds: int, device: str, seconds: float = float("inf")
) -> dict[str, list[float]]:
    """
    Time steps alternately, A B A B …, so that other load on the machine affects all of them. Before each timed step
    the same is run untimed, so that caches and memory are not those of another system.

    Args:
        steps: by name; each is called with the number of the round.
        warmup: rounds before the timed ones.
        rounds: timed rounds; after three of them none starts later than `seconds` after the first.

    Returns:
        Seconds of each timed round, by name.
    """
    times, first = {name: [] for name in steps}, time.perf_counter()
    for number in range(warmup + rounds):
        if number == warmup:
            first = time.perf_counter()
        if number >= warmup + 3 and time.perf_counter() - first > seconds:
            break
        for name, step in steps.items():
            step(number)
            synchronise(device)
            start = time.perf_counter()
            step(number)
            synchronise(device)
            times[name].append(time.perf_counter() - start)
    return {name: values[warmup:] for name, values in times.items()}


class Step:
    """
    One step of a system: encoding without gradients, or forward, backward and an AdamW update.

    Args:
        system: name in `SYSTEMS`, or such a pair.
        task: name in `TASKS`.
        dtype: float32, or the type of autocast. Autocast is entered in each step, since it caches cast weights.
    """

    def __init__(
        self, system: str | tuple, shape: Shape, task: str, dtype: torch.dtype = torch.float32, device: str = "cpu"
    ):
        torch.manual_seed(0)
        build, self.loss = SYSTEMS[system] if isinstance(system, str) else system
        self.trains, self.dtype, self.device = trains(task), dtype, device
        self.module = build(shape, task).train(self.trains).to(device)
        self.optimizer = torch.optim.AdamW(self.module.parameters(), 1e-4, fused=True) if self.trains else None

    def gradients(self, inputs: dict, encodes_with_gradients: bool = False) -> None:
        """The step without the update."""
        casts = self.dtype != torch.float32
        with torch.autocast(self.device, self.dtype) if casts else nullcontext():
            if not self.trains:
                with torch.set_grad_enabled(encodes_with_gradients):
                    encode(self.module, inputs)
                return
            loss = self.loss(self.module, inputs)
        loss.backward()

    def __call__(self, inputs: dict) -> None:
        self.gradients(inputs)
        if self.trains:
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)

    def flops(self, inputs: dict) -> int:
        """Floating-point operations of matrix products and attention kernels, two per multiply-add, without the
        optimizer. Scores that the backward pass of a kernel computes again are counted again."""
        with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
            # With gradients, because torch's fast path of nn.MultiheadAttention has no formula.
            self.gradients(inputs, encodes_with_gradients=True)
        self.module.zero_grad(set_to_none=True)
        return counter.get_total_flops()


def attention_flops(query, key, value, *args, out_shape=None, **kwargs) -> int:
    return sdpa_flop_count(query, key, value)


def attention_backward_flops(gradient, query, key, value, *args, out_shape=None, **kwargs) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


def head_flops(hidden, table, labels, weights, shift, compute, needs_hidden, needs_table, out_val=None) -> int:
    """Products of supervised rows with the table: logits and, where needed, both gradients."""
    return 2 * int(weights.count_nonzero()) * table.numel() * (1 + needs_hidden + needs_table)


head_flops._get_raw = True  # the counter then passes tensors instead of shapes

# torch's counter lacks the attention kernels of CPUs and the package's own operator.
FORMULAS = {
    linear_cross_entropy._opoverload.overloadpacket: head_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward_flops,
}


@contextmanager
def peak_memory(device):
    """Yields an empty list, which after the code within holds its peak memory in MiB above the memory in use before:
    allocated memory on CUDA, else resident memory of the process on Linux, else None."""
    peak = []
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        peak.append((torch.cuda.max_memory_allocated(device) - before) / 2**20)
    elif (reset := Path("/proc/self/clear_refs")).exists():
        if hasattr(ctypes.CDLL(None), "malloc_trim"):
            ctypes.CDLL(None).malloc_trim(0)  # else memory that the C library keeps would be reused and not counted
        reset.write_text("5")
        before = resident_memory("VmRSS")
        yield peak
        peak.append(max(0.0, resident_memory("VmHWM") - before))  # the kernel counts in steps
    else:
        yield peak
        peak.append(None)


def resident_memory(kind: str) -> float:
    """Resident memory in MiB: `VmRSS` now, `VmHWM` the peak since the last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


def peak_of_step(step: Callable[[], object], device: str = "cpu") -> float | None:
    """Peak memory of a step in MiB beyond the memory in use before it, None where the operating system does not report
    it. The step runs once before the measurement, so that lasting memory, such as the optimizer's state, exists."""
    step()
    with peak_memory(device) as peaks:
        step()
        synchronise(device)
    return peaks[0]


def machine_name(device: str) -> str:
    """The GPU, or the CPU and the number of threads."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)", info.read_text() if info.exists() else "", re.MULTILINE)
    return f"{found[1] if found else platform.processor()}, {torch.get_num_threads()} threads"
