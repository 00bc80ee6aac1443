# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""How much memory something takes at most."""

import ctypes
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def peak_memory(device):
    """
    Yields a list that holds, afterwards, the most memory in MiB that was in use at once beyond what was in use
    before: PyTorch's own count on CUDA, else the peak of the process's resident memory as Linux tells it; None on
    other systems.
    """
    found = []
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield found
        found.append((torch.cuda.max_memory_allocated(device) - before) / 2**20)
        return
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        yield found
        found.append(None)
        return
    if hasattr(ctypes.CDLL(None), "malloc_trim"):
        # Memory that the C library kept from earlier work would be used again without being counted.
        ctypes.CDLL(None).malloc_trim(0)
    reset.write_text("5")
    before = resident("VmRSS")
    yield found
    found.append(max(0.0, resident("VmHWM") - before))  # the kernel counts in steps


def resident(kind: str) -> float:
    """MiB of `VmRSS`, in memory now, or `VmHWM`, the most since the last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024
