# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Training of the rows of a table, each in a process of its own, so that one that fails leaves the others alone."""

import os
import re
import subprocess
import sys
from pathlib import Path

from .table import PRETRAINING, Row


RESULTS = "eval_results.json"  # written when a run has ended


def is_trained(folder: Path) -> bool:
    return (folder / RESULTS).is_file()


def train_row(row: Row, folder: Path, seed: int, threads: int) -> None:
    """
    Train one row, or go on with it where it was interrupted; what it prints goes to `training.log` in its folder.

    Raises:
        RuntimeError: the run failed; with the last line that it printed.
    """
    if is_trained(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    words = row.words(folder, seed) + ["--report_to", "none", "--disable_tqdm", "true"]
    if any(folder.glob("checkpoint-*")):
        words += ["--resume_from_checkpoint", "last"]
    log = folder / "training.log"
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    with log.open("a", encoding="utf-8") as stream:
        ended = subprocess.run(
            [sys.executable, "-u", str(PRETRAINING), *words], stdout=stream, stderr=subprocess.STDOUT, env=environment
        )
    if ended.returncode:
        text = log.read_text(encoding="utf-8", errors="replace")
        lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
        raise RuntimeError(f"{lines[-1] if lines else f'exit status {ended.returncode}'} (see {log})")
