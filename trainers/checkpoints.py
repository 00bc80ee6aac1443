# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The folders of checkpoints: atomic writing and removal, verification, and the choice of one to resume from.

A checkpoint is written into the folder `.checkpoint-staging` of the run and renamed once its last byte is on disk. An
old checkpoint is renamed into that folder before it is removed. A run that is killed at any moment leaves complete
checkpoints and at most that folder, which the next run removes.
"""

import errno
import json
import os
import re
import shutil
from pathlib import Path

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from .utils.runs import file_digest


MANIFEST = "checkpoint_manifest.json"
STAGING = ".checkpoint-staging"


class CheckpointError(ValueError):
    """The run cannot resume from a checkpoint."""


class RunInterrupted(KeyboardInterrupt, SystemExit):
    """A signal ended the run after a checkpoint; unhandled, it ends the process with the signal's exit code."""

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.code = 128 + number


def _sync(path: Path) -> None:
    """Flush the content of a file, or the names in a folder, to the disk."""
    if os.name != "posix":  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # the file system does not support it
            raise
    finally:
        os.close(descriptor)


def write_manifest(folder: Path) -> None:
    """Write the SHA-256 of each file of `folder` into its manifest, and flush all of them to disk."""
    (folder / MANIFEST).unlink(missing_ok=True)
    paths = sorted(folder.rglob("*"))
    files = {path.relative_to(folder).as_posix(): {"sha256": file_digest(path)} for path in paths if path.is_file()}
    (folder / MANIFEST).write_text(json.dumps({"files": files}))
    for path in (*paths, folder / MANIFEST, folder):
        _sync(path)


def _validation_error(folder: Path) -> str | None:
    """The first difference between a checkpoint and its manifest, without which it was not written completely."""
    try:
        for name, entry in json.loads((folder / MANIFEST).read_text())["files"].items():
            if file_digest(folder / name) != entry["sha256"]:
                return f"the content of {name} is not what was written"
    except OSError as error:
        return f"{Path(error.filename or folder).name} cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} cannot be read"
    return None


def _step(folder: Path) -> int | None:
    match = re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)", folder.name)
    return int(match[1]) if match else None


def list_checkpoints(run_dir: str | os.PathLike) -> list[Path]:
    """The folders `checkpoint-<step>` of a run, by step."""
    found = [path for path in Path(run_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.is_dir()]
    return sorted((path for path in found if _step(path) is not None), key=_step)


def recovery_hint(run_dir: str | os.PathLike, before: int) -> str:
    """How to continue a run whose step `before` is lost, as the end of a sentence."""
    for path in reversed(list_checkpoints(run_dir)):
        if _step(path) < before and _validation_error(path) is None:
            return f"resume from the latest valid checkpoint before it, {path}"
    return "start again, because there is no valid checkpoint before it"


def verify_checkpoint(path: str | os.PathLike) -> None:
    """Compare all files of a checkpoint with its manifest; CheckpointError for one that is damaged or missing, with
    the latest valid checkpoint before."""
    folder = Path(path)
    if error := _validation_error(folder):
        step = _step(folder)
        hint = "it is no checkpoint of a run" if step is None else recovery_hint(folder.parent, step)
        raise CheckpointError(f"The checkpoint {path} is damaged: {error}; {hint}.")


def find_checkpoint(output_dir: str | os.PathLike, resume: bool | str | os.PathLike) -> str:
    """
    The checkpoint to resume from, verified: that with the highest step in the folder of the run where `resume` is True
    or "last", or that of the path `resume`.

    Raises:
        CheckpointError: there is none, it is damaged, or it holds only a model. The message names an older one, which
            is never taken silently.
    """
    if resume is True or resume == "last":
        found = list_checkpoints(output_dir)
        if not found:
            raise CheckpointError(
                f"There is no checkpoint to resume from in {output_dir}: start without resume_from_checkpoint, or "
                "give the output_dir of the run to resume."
            )
        resume = found[-1]
    folder = Path(resume)
    verify_checkpoint(folder)
    # A single file, or a folder of FSDP or DeepSpeed.
    if not any(path.name.startswith(("optimizer", "global_step")) for path in folder.iterdir()):
        raise CheckpointError(
            f"{folder} holds no state of the optimizer (save_only_model); start a new run from its model instead: "
            "--model_name_or_path."
        )
    return str(resume)


def clear_staging(run_dir: str | os.PathLike) -> None:
    """Remove incomplete checkpoints that a killed run left."""
    if (staging := Path(run_dir) / STAGING).exists():
        shutil.rmtree(staging)


def discard(folders: list[Path], run_dir: Path) -> None:
    """Remove checkpoints; none is ever visible half removed."""
    (run_dir / STAGING).mkdir(parents=True, exist_ok=True)
    for folder in folders:
        os.replace(folder, run_dir / STAGING / f"removed-{folder.name}")
    clear_staging(run_dir)


def publish(staged: Path, final: Path) -> None:
    """Give a complete checkpoint its name, in the place of an older one of that name."""
    if final.exists():
        os.replace(final, staged.with_name(f"removed-{final.name}"))
    os.replace(staged, final)
    _sync(final.parent)
