# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Checkpoints that are complete or not there, checked before a run goes on from them, and runs that go on exactly.

A checkpoint is written into the folder `.checkpoint-staging` of the run and renamed when its last byte is on disk; one
that goes away is renamed into that folder first. A run that is killed at any moment leaves complete checkpoints and at
most that folder, which the next run clears.
"""

import errno
import hashlib
import json
import os
import pickle
import re
import shutil
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from .data import first_line


MANIFEST = "checkpoint_manifest.json"
STAGING = ".checkpoint-staging"


class CheckpointError(ValueError):
    """A checkpoint could not be written, or cannot be resumed from."""


class TrainingDivergedError(ArithmeticError):
    """The loss or the gradient is not finite."""


class RunInterrupted(KeyboardInterrupt, SystemExit):
    """A signal ended the run after a checkpoint; unhandled, it ends the process with the signal's exit code."""

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.code = 128 + number


def _sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on disk rather than in memory, so that a power cut spares them."""
    if os.name != "posix":  # Windows opens no folder, and no file for reading to this end
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # the file system has no such promise to give
            raise
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_manifest(folder: Path) -> None:
    """Write the size in bytes and SHA-256 of each file of `folder` into its manifest; all of it reaches the disk."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            files[path.relative_to(folder).as_posix()] = {"size": path.stat().st_size, "sha256": _sha256(path)}
        _sync(path)
    (folder / MANIFEST).write_text(json.dumps({"files": files}, separators=(",", ":")))
    _sync(folder / MANIFEST)
    _sync(folder)


def _manifest_flaw(folder: Path) -> str | None:
    """What `folder` has not in common with its manifest."""
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
        if not files:
            return f"{MANIFEST} names no file"
        for name, entry in files.items():
            path, size = folder / name, entry["size"]
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != size:
                return f"{name} has {path.stat().st_size} bytes instead of {size}"
            if _sha256(path) != entry["sha256"]:
                return f"the content of {name} is not what was written"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} cannot be read"
    return None


def _opening_flaw(folder: Path) -> str | None:
    """What cannot be opened in a `folder` without manifest."""
    if not (folder / TRAINER_STATE_NAME).is_file():
        return f"{TRAINER_STATE_NAME} is missing"
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        try:
            if path.suffix == ".safetensors":
                with safe_open(path, "pt"):  # compares the file's size with its header
                    pass
            elif path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix in (".pt", ".pth", ".bin"):
                with zipfile.ZipFile(path) as archive:
                    if part := archive.testzip():
                        return f"{name} has another checksum than was written, in {part}"
        except Exception as error:  # damaged files raise of every kind
            return f"{name} cannot be read ({error})"
    return None


def _flaw(folder: Path) -> str | None:
    try:
        return (_manifest_flaw if (folder / MANIFEST).exists() else _opening_flaw)(folder)
    except OSError as error:
        return f"{Path(error.filename or folder).name} cannot be read ({error.strerror})"


def _step(folder: Path) -> int | None:
    match = re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)", folder.name)
    return int(match[1]) if match else None


def list_checkpoints(run_dir: str | os.PathLike) -> list[Path]:
    """The folders `checkpoint-<step>` of a run, by step."""
    found = [path for path in Path(run_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.is_dir()]
    return sorted((path for path in found if _step(path) is not None), key=_step)


def newest_sound(run_dir: str | os.PathLike, before: float = float("inf")) -> Path | None:
    """The checkpoint of a run with the highest step below `before` that has no flaw."""
    earlier = [path for path in list_checkpoints(run_dir) if _step(path) < before]
    return next((path for path in reversed(earlier) if _flaw(path) is None), None)


def way_on(run_dir: str | os.PathLike, before: int) -> str:
    """What to do when the step `before` of a run is lost, as the end of a sentence."""
    remaining = newest_sound(run_dir, before)
    if remaining is None:
        return "start again, for there is no sound checkpoint before it"
    return f"resume from the last sound checkpoint before it, {remaining}"


def verify_checkpoint(path: str | os.PathLike) -> None:
    """
    Check all files of a checkpoint against its manifest, or, where it has none, that they can be opened.

    Raises:
        CheckpointError: a file is damaged or missing; names the newest sound checkpoint before, if there is one.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise CheckpointError(
            f"There is no checkpoint {path}; resume_from_checkpoint is 'last' or the folder of a checkpoint."
        )
    if flaw := _flaw(folder):
        step = _step(folder)
        go_on = "give another" if step is None else way_on(folder.parent, step)
        raise CheckpointError(f"The checkpoint {path} is damaged: {flaw}; {go_on}.")


def _has_optimizer(folder: Path) -> bool:
    """Whether a checkpoint was written with the state of its optimizer, by one process, FSDP or DeepSpeed."""
    names = {path.name for path in folder.iterdir()}
    with suppress(OSError, ValueError, KeyError, TypeError):  # no manifest, or one that verification will report
        names |= set(json.loads((folder / MANIFEST).read_text())["files"])
    return any(name.startswith(("optimizer", "global_step")) for name in names)


def find_checkpoint(output_dir: str | os.PathLike, resume: bool | str | os.PathLike) -> str:
    """
    The checkpoint to resume from, verified.

    Args:
        output_dir: folder of the run.
        resume: True or "last" for the one with the highest step there, or the path of a checkpoint.

    Raises:
        CheckpointError: there is none, it is damaged, or it holds only a model. An older one is named, never taken.
    """
    if resume is True or resume == "last":
        found = list_checkpoints(output_dir)
        if not found:
            raise CheckpointError(
                f"There is no checkpoint to resume from in {output_dir}: start without resume_from_checkpoint, or "
                "give the output_dir of the run that is to go on."
            )
        resume = found[-1]
    folder = Path(resume)
    if inner := list_checkpoints(folder):
        raise CheckpointError(f"{folder} is the folder of a run, not a checkpoint; give its last one, {inner[-1]}.")
    if folder.is_dir() and not _has_optimizer(folder):
        raise CheckpointError(
            f"{folder} holds no optimizer to go on with (save_only_model, or the end of a run); start a new run from "
            "its model instead: --model_name_or_path."
        )
    verify_checkpoint(folder)
    return str(resume)


def clear_staging(run_dir: str | os.PathLike) -> None:
    """Remove what a killed run left half done; a checkpoint that it was about to replace is put back."""
    staging = Path(run_dir) / STAGING
    for old in list_checkpoints(staging / "replaced"):
        if not (staging.parent / old.name).exists():
            os.replace(old, staging.parent / old.name)
    if staging.exists():
        shutil.rmtree(staging)


def _move_away(folders: list[Path], staging: Path) -> None:
    staging.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        os.replace(folder, staging / folder.name)


def discard(folders: list[Path], run_dir: Path) -> None:
    """Remove checkpoints so that none is ever seen half removed."""
    _move_away(folders, run_dir / STAGING)
    clear_staging(run_dir)


def publish(staged: Path, final: Path) -> None:
    """Give a complete checkpoint its name, in the place of another of that name."""
    if final.exists():
        _move_away([final], final.parent / STAGING / "replaced")
    os.replace(staged, final)
    _sync(final.parent)


def writing_reason(error: BaseException, staged: Path) -> str | None:
    """Why the system did not write, in its words; None for an error of another kind."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, SafetensorError):
        return str(error)
    if not (isinstance(error, RuntimeError) and re.search("inline_container|PytorchStreamWriter", str(error))):
        return None
    # torch's writer does not tell the system's error. Writing on where it stopped meets the same one.
    files = sorted((path for path in staged.rglob("*") if path.is_file()), key=os.path.getmtime)
    try:
        for path in files[-1:]:
            with open(path, "ab") as stream:
                stream.write(bytes(1 << 20))
    except OSError as system_error:
        return system_error.strerror
    return str(error)


@contextmanager
def reading(checkpoint: str | os.PathLike):
    """What goes wrong while the state of a checkpoint is read becomes a CheckpointError of one sentence."""
    try:
        yield
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"The checkpoint {checkpoint} holds something else than tensors and numbers, which is not read, as it "
            "may run code."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            f"The checkpoint {checkpoint} does not fit this run ({type(error).__name__}: {first_line(error)}); resume "
            "it with the options of its run."
        ) from error
