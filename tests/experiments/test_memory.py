# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Peak memory."""

import pytest
import torch

from trainers.experiments.benchmark.measure import peak_memory


def test_peak_memory_includes_temporary_tensors():
    torch.zeros(30 * 2**18).sum()  # freed again: not counted below
    with peak_memory("cpu") as found:
        (torch.ones(32 * 2**18) * 2).sum()  # two tensors of 32 MiB at once
    assert found[0] == pytest.approx(64, abs=4)
    with peak_memory("cpu") as found:
        torch.ones(2**18)
    assert found[0] < 4
