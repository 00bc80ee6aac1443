# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Exchange between the processes of a run, or nothing where there is only one."""

import os

import torch.distributed as dist
from accelerate.utils import gather_object


def is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def check_processes(args) -> None:
    """ValueError where several processes were started, but each would train alone by these training arguments."""
    started = int(os.environ.get("WORLD_SIZE", 1))
    if started > 1 and args.world_size == 1:
        raise ValueError(
            f"{started} processes were started, but without a GPU for each they would train alone: add --use_cpu."
        )


def process_index() -> int:
    return dist.get_rank() if is_distributed() else 0


def print_once(text: str) -> None:
    """Print a text in the first process only."""
    if process_index() == 0:
        print(text, flush=True)


def gather_objects(value) -> list:
    """`value` of every process, in their order."""
    return gather_object([value]) if is_distributed() else [value]
