# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Scripts of examples/, as a user starts them, and what they say to bad input."""

import os
import runpy
import subprocess
import sys

import datasets
import pytest
import transformers

from ..conftest import ROOT


SCRIPTS = ROOT / "examples"


def run_script(name, folder, *arguments):
    """A script in a folder, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, str(SCRIPTS / name), *map(str, arguments)],
        capture_output=True, text=True, cwd=folder, env=environment, timeout=300,
    )  # fmt: skip


def run_here(name, folder, monkeypatch, *arguments):
    """A script in a folder, in this process, as imports take seconds; its progress is shown."""
    transformers.logging.enable_progress_bar()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
    runpy.run_path(str(SCRIPTS / name), run_name="__main__")


def refusal(name, folder, monkeypatch, *arguments) -> str:
    """What a script says to arguments that it refuses: one sentence, and no traceback."""
    with pytest.raises(SystemExit) as raised:
        run_here(name, folder, monkeypatch, *arguments)
    assert isinstance(raised.value.code, str), "a script ends with a sentence, which is the exit code's place"
    return raised.value.code.strip().splitlines()[-1]
