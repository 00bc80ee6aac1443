# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Peak memory."""

import ctypes
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def peak_memory(device):
    """
    Measure the peak memory of the code within.

    Yields:
        An empty list, which afterwards holds the peak in MiB above the memory in use before: allocated memory on CUDA,
        else resident memory of the process on Linux, else None.
    """
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
