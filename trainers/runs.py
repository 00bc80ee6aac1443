# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Names and places of runs, and what ends them from outside."""

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import contextmanager
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


# By these a folder is that of a run; beside them, what else a pretraining run writes.
RUN_MARKS = ("config.json", "trainer_state.json", "training_args.bin", "checkpoint-*")
RUN_FILES = (
    *RUN_MARKS, "README.md", "*_results.json", "training.png", "model*.safetensors", "tokenizer*", "*_concept.py"
)  # fmt: skip

# In the folder of a run while it trains: host, process and its start.
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
    if config.concept_position_type in ("sinusoidal", "learned"):
        sizes += f"_pos{config.concept_position_type}"
    return f"{prefix}_{sizes}_{(now or datetime.now()):%Y%m%d_%H%M%S}"


def readable_names(paths: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """For each path or Hub id its last part, with as many parts before it as make the name differ from those of the
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
    """A name as that of one folder: `../a b` becomes `.._a_b`. ValueError for a name of several lines, or of marks
    alone, as `..` is."""
    if not name.isprintable() or not re.search(r"\w", name):
        raise ValueError(f"The name {name!r} must be one line of printable characters with a letter or digit.")
    return re.sub(r"[^\w.,+=-]+", "_", name)


def make_folder(path: str | Path, kind: str) -> None:
    """Make the folder `path` for something of this kind; ValueError if it cannot be written into."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise ValueError(f"The {kind} folder {path} cannot be written into: {error.strerror or error}.") from error


def check_output_dir(path: str | Path, writes: Iterable[str] = RUN_FILES, resumes: bool | None = None) -> None:
    """
    Make the folder of a run or of results, before any work is done for it.

    Args:
        writes: patterns of the files that it will get; none of them may be there.
        resumes: whether the run that is there goes on; None where no run could.

    Raises:
        ValueError: the folder holds such a file, or cannot be written into.
    """
    folder = Path(path)
    if not str(path).isprintable():
        raise ValueError(f"The folder --output_dir {str(path)!r} must be one line of printable characters.")
    make_folder(folder, "output")
    held = sorted({found.name for pattern in writes for found in folder.glob(pattern)})
    run = [name for name in held if any(fnmatch(name, mark) for mark in RUN_MARKS)]
    if resumes or not held:
        return
    found = f"a run ({run[0]})" if run else f"{' and '.join(held[:3])}, which would be overwritten"
    way_on = ", or go on with it by --resume_from_checkpoint last" if run and resumes is not None else ""
    raise ValueError(f"The output folder {path} already holds {found}; choose another --output_dir{way_on}.")


@contextmanager
def run_lock(path: str | os.PathLike):
    """
    The lock of a run's folder. The system frees it when the process ends, however it ends; its content names the
    process, and decides where the file system has no locks.

    Raises:
        ValueError: a living process holds it.
    """
    lock = Path(path) / LOCK
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "a+", encoding="utf-8") as stream:
        free = _lock_file(stream)
        stream.seek(0)
        try:
            holder = json.loads(stream.read())
        except ValueError:  # new, or not written yet
            holder = {}
        if not free or _is_alive(holder):
            raise ValueError(
                f"Another run trains in {path} (process {holder.get('pid')} on {holder.get('host')}); choose another "
                "output_dir, or wait for its end."
            )
        stream.truncate(0)
        json.dump({"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}, stream)
        stream.flush()
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _lock_file(stream) -> bool:
    """False when another process has the lock of a file."""
    if fcntl is None:
        return True
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _started(pid: int) -> float | None:
    """When a process of this machine was started, None for one that is not there."""
    import psutil  # which accelerate needs

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def _is_alive(holder: dict) -> bool:
    """Whether the process that a lock names runs on this machine; another one may have got its number since."""
    if holder.get("host") != socket.gethostname():
        return False
    started = _started(holder["pid"])
    return started is not None and abs(started - holder.get("started", started)) < 1


class Stopped(BaseException):
    """The first signal came while [`StopSignals`] had `raises` set."""


class StopSignals:
    """
    While it is entered, the first SIGTERM or SIGINT is noted in `received`, and the next one does what it would have
    done. Only the main thread can take signals; one that is ignored stays so. Where `raises` is set, the first one
    also raises [`Stopped`].
    """

    def __init__(self):
        self.received, self.raises, self._since, self._previous = 0, False, 0.0, {}
        # Launchers of several processes pass on what a terminal has sent to all of them already.
        self._same = 1.0 if int(os.environ.get("WORLD_SIZE", 1)) > 1 else 0.0

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
        elif time.monotonic() - self._since >= self._same:
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
