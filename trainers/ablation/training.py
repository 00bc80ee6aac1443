# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Training of the rows of a table, each in a process of its own, so that one that fails leaves the others alone."""

import json
import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

from .table import PRETRAINING, Row


RESULTS = "eval_results.json"  # written when a run has ended

ASKED = "row.json"  # the options that the run was begun with

PATIENCE = 5.0  # seconds between two looks at whether a run is still wanted


def is_trained(folder: Path) -> bool:
    return (folder / RESULTS).is_file()


def train_row(row: Row, folder: Path, seed: int, threads: int) -> None:
    """
    Train one row, or go on with it where it was interrupted; what it prints goes to `training.log` in its folder.

    Raises:
        RuntimeError: the run failed, with the last line that it printed; or the folder holds a run of the same name
            with other options.
    """
    check_begun(row, folder)
    if is_trained(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ASKED).write_text(json.dumps(asked(row), indent=2) + "\n", encoding="utf-8")
    words = row.words(folder, seed) + ["--report_to", "none", "--disable_tqdm", "true"]
    if any(folder.glob("checkpoint-*")):
        words += ["--resume_from_checkpoint", "last"]
    log = folder / "training.log"
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    with log.open("a", encoding="utf-8") as stream:
        status = run_to_its_end([sys.executable, "-u", str(PRETRAINING), *words], stream, environment)
    if status:
        text = log.read_text(encoding="utf-8", errors="replace")
        lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
        raise RuntimeError(f"{lines[-1] if lines else f'exit status {status}'} (see {log})")


def asked(row: Row) -> dict:
    """What makes the run, as JSON gives it back."""
    return json.loads(json.dumps({**row.options, "max_steps": row.steps}))


def check_begun(row: Row, folder: Path) -> None:
    """RuntimeError when the folder holds a run of this name that was begun with other options."""
    if not (folder / ASKED).is_file():
        return
    begun, now = json.loads((folder / ASKED).read_text(encoding="utf-8")), asked(row)
    changed = [name for name in {**begun, **now} if begun.get(name) != now.get(name)]
    if changed:
        name = changed[0]
        raise RuntimeError(
            f"{folder} holds a run with {name} {begun.get(name)!r}, and the row now says {now.get(name)!r}: give the "
            "row another name, or delete that folder."
        )


def run_to_its_end(command: list[str], stream, environment: dict) -> int:
    """The exit status of a command. Where the process that asked this one for it is gone, the command is ended, too:
    whoever starts the table again must not meet runs that nobody waits for."""
    asking = multiprocessing.parent_process()
    with subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment) as process:
        while True:
            try:
                return process.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                if asking is not None and not asking.is_alive():
                    process.terminate()
                    sys.exit(f"{asking.name} is gone")
