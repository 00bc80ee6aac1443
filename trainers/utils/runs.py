# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Names and folders of runs, the lock of a folder, and signals that end a run."""

import hashlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterable
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout


# The files that a pretraining run writes.
RUN_FILES = (
    "config.json", "trainer_state.json", "training_args.bin", "checkpoint-*", "README.md", "*_results.json",
    "training.png", "model*.safetensors", "tokenizer*", "*_concept.py",
)  # fmt: skip

# In the folder of a run while it trains.
LOCK = ".run-lock.json"


def run_name(model_type: str, objective: str, config, now: datetime | None = None) -> str:
    """
    Name of a pretraining run as in the experiment list: `perceiver_mlm_H512L6C128_20260208_211633`,
    `diffusion_H512L6C128D2_…`, `prefix_diffusion_H512L6C128D2_…`, `tsdae_posonly_BiXTH512L6C128_…`; with `_mix` after
    the model type where `objective` (as in `--objective`) names several.
    """
    sizes = f"H{config.hidden_size}L{config.num_hidden_layers}C{config.concept_num}"
    prefix = model_type
    if objective == "masked_diffusion":
        prefix = "diffusion"
    if objective in ("masked_diffusion", "prefix_diffusion"):
        sizes += f"D{config.num_decoder_layers}"
    elif "," in objective:
        prefix += "_mix"
    elif objective == "denoising" and model_type == "perceiver_posonly_mlm":
        prefix = "tsdae_posonly"
    if config.encoder_type != "perceiver":
        sizes = {"bixt": "BiXT"}.get(config.encoder_type, config.encoder_type) + sizes
    if config.token_embedding_dim != config.hidden_size:
        sizes += f"_T{config.token_embedding_dim}"
    return f"{prefix}_{sizes}_{(now or datetime.now()):%Y%m%d_%H%M%S}"


def readable_names(paths: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """A name for each path or Hub id: its last part, with as many parts before it as are needed to tell it from the
    other paths and from `taken`."""
    parts = {path: Path(os.path.abspath(path) if Path(path).exists() else path).parts for path in paths}
    names = {}
    for path, own in parts.items():
        others = [other for name, other in parts.items() if name != path] + [(name,) for name in taken]
        endings = (own[-count:] for count in range(1, len(own) + 1))
        ending = next((e for e in endings if all(e != other[-len(e) :] for other in others)), own)
        names[path] = "/".join(ending)
    return names


def folder_name(name: str) -> str:
    """A name as that of one folder: `../a b` becomes `.._a_b`. ValueError for a name of several lines, or without a
    letter or digit, such as `..`."""
    if not name.isprintable() or not re.search(r"\w", name):
        raise ValueError(f"The name {name!r} must be one line of printable characters with a letter or digit.")
    return re.sub(r"[^\w.,+=-]+", "_", name)


def check_output_dir(path: str | Path, writes: Iterable[str] = RUN_FILES, resumes: bool | None = None) -> None:
    """
    Create the folder of a run or of results before any work is done for it. ValueError if it holds a file of one of
    the patterns `writes`; `resumes` says whether a run there is resumed, and is None where none can be.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    held = sorted({found.name for pattern in writes for found in folder.glob(pattern)})
    if held and not resumes:
        resume = "" if resumes is None else ", or resume the run there by --resume_from_checkpoint last"
        raise ValueError(f"The output folder {path} already holds {held[0]}; choose another --output_dir{resume}.")


def file_digest(*paths: Path) -> str:
    """The SHA-256 of the contents of files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


@contextmanager
def run_lock(path: str | os.PathLike):
    """The lock of a run's folder, which the system frees when the process ends, however it ends; ValueError where
    another process holds it."""
    lock = FileLock(Path(path) / LOCK)
    Path(path).mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(f"Another run trains in {path}; choose another output_dir, or wait for its end.") from error
    try:
        yield
    finally:
        (Path(path) / LOCK).unlink(missing_ok=True)
        lock.release()


class Stopped(BaseException):
    """The first signal came while [`StopSignals`] had `raises` set."""


class StopSignals:
    """
    A context in which the first SIGTERM or SIGINT is only noted in `received`, or, where `raises` is set, also raises
    [`Stopped`]; the next one has its usual effect. Only the main thread can handle signals. A signal that the process
    ignores stays ignored.
    """

    def __init__(self):
        self.received, self.raises, self._since, self._previous = 0, False, 0.0, {}
        # Launchers of several processes repeat a signal that a terminal has already sent to all of them.
        self._repeated_within = 1.0 if int(os.environ.get("WORLD_SIZE", 1)) > 1 else 0.0

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous = {}

    def _note(self, number, frame):
        if not self.received:
            self.received, self._since = number, time.monotonic()
            if self.raises:
                raise Stopped
        elif time.monotonic() - self._since >= self._repeated_within:
            self.__exit__()
            signal.raise_signal(number)


def git_state() -> dict[str, str | bool]:
    """Commit, branch, tag, and whether anything is uncommitted in the current folder; empty outside a checkout."""

    def git(*arguments):
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {
            "git_commit": git("rev-parse", "HEAD"),
            "git_branch": git("rev-parse", "--abbrev-ref", "HEAD"),
            "git_tag": git("describe", "--tags", "--always"),
            "git_dirty": bool(git("status", "--porcelain")),
        }
    except (OSError, subprocess.CalledProcessError):
        return {}
