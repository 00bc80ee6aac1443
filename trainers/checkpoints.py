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
import math
import os
import re
import shutil
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR


MANIFEST = "checkpoint_manifest.json"
STAGING = ".checkpoint-staging"
LOSS_SINCE_LOG = "loss_since_log_{}.json"


class CheckpointError(ValueError):
    """A checkpoint could not be written, or cannot be resumed from."""


class TrainingDivergedError(ArithmeticError):
    """The loss or the gradient is not finite."""


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


def _way_on(run_dir: str | os.PathLike, before: int) -> str:
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
        way_on = "give another" if step is None else _way_on(folder.parent, step)
        raise CheckpointError(f"The checkpoint {path} is damaged: {flaw}; {way_on}.")


def find_checkpoint(output_dir: str | os.PathLike, resume: bool | str | os.PathLike) -> str:
    """
    The checkpoint to resume from, verified.

    Args:
        output_dir: folder of the run.
        resume: True or "last" for the one with the highest step there, or the path of a checkpoint.

    Raises:
        CheckpointError: there is none, or it is damaged. An older one is named, never taken.
    """
    if resume is True or resume == "last":
        found = list_checkpoints(output_dir)
        if not found:
            raise CheckpointError(
                f"There is no checkpoint to resume from in {output_dir}: start without resume_from_checkpoint, or "
                "give the output_dir of the run that is to go on."
            )
        resume = found[-1]
    verify_checkpoint(resume)
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


def _discard(folders: list[Path], run_dir: Path) -> None:
    """Remove checkpoints so that none is ever seen half removed."""
    _move_away(folders, run_dir / STAGING)
    clear_staging(run_dir)


def _publish(staged: Path, final: Path) -> None:
    """Give a complete checkpoint its name, in the place of another of that name."""
    if final.exists():
        _move_away([final], final.parent / STAGING / "replaced")
    os.replace(staged, final)
    _sync(final.parent)


def _writing_reason(error: BaseException, staged: Path) -> str | None:
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


class SafeCheckpointsMixin:
    """
    For subclasses of [`transformers.Trainer`], before it among the bases: atomic, verified checkpoints, resumed runs
    that equal uninterrupted ones bit for bit, and an end to training that has diverged.

    Resumption is exact as long as data set and collator draw no random numbers. Set `logging_nan_inf_filter=False`:
    the filter hides losses that are not finite.
    """

    _staging: Path | None = None

    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        """
        As in [`Trainer`], with what a killed run left behind cleared, and the checkpoint verified.

        Args:
            resume_from_checkpoint: True or "last", or the path of a checkpoint.

        Raises:
            CheckpointError: as in [`find_checkpoint`]; or a checkpoint cannot be written.
            TrainingDivergedError: the loss or the gradient is not finite.
        """
        if self.args.should_save:
            clear_staging(self.args.output_dir)
        self.accelerator.wait_for_everyone()
        if resume_from_checkpoint:
            resume_from_checkpoint = find_checkpoint(self.args.output_dir, resume_from_checkpoint)
        if self.args.device.type == "cpu":
            # With several processes it is "cpu:0", onto which torch.load does not load in transformers 5.5.
            self.args.__dict__["_setup_devices"] = torch.device("cpu")
        self._grad_norms, self._checked_step = 0.0, None
        return super().train(resume_from_checkpoint or None, *args, **kwargs)

    # Writing

    def _get_output_dir(self, trial):
        return super()._get_output_dir(trial) if self._staging is None else str(self._staging)

    def _push_from_checkpoint(self, checkpoint_folder):
        if self._staging is None:  # else it does not have its name yet
            super()._push_from_checkpoint(checkpoint_folder)

    def _save_checkpoint(self, model, trial):
        run_dir = Path(self._get_output_dir(trial))
        final = run_dir / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        self._staging = run_dir / STAGING
        staged = self._staging / final.name
        try:
            super()._save_checkpoint(model, trial)
            if self.state.best_global_step:
                best = run_dir / f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}"
                if best == final or best.exists():
                    self.state.best_model_checkpoint = str(best)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self.state.save_to_json(str(staged / TRAINER_STATE_NAME))  # again: the best checkpoint has a new name
                write_manifest(staged)
                _publish(staged, final)
        except BaseException as error:
            reason = _writing_reason(error, staged)
            if self.args.should_save:
                clear_staging(run_dir)
            if reason is None:
                raise
            step = self.state.global_step
            raise CheckpointError(
                f"The checkpoint of step {step} could not be written to {final} ({reason}); put that right, then "
                f"{_way_on(run_dir, step)}."
            ) from error
        finally:
            self._staging = None
        if self.args.should_save:
            self._rotate(run_dir, final)
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(final))
        self.accelerator.wait_for_everyone()

    def _rotate(self, run_dir: Path, newest: Path) -> None:
        """Keep `save_total_limit` checkpoints, the newest and the best among them."""
        limit, surplus = self.args.save_total_limit, []
        if limit is not None and limit > 0:
            kept = {newest.name, Path(self.state.best_model_checkpoint or newest).name}
            # By time, since a run that went on from an earlier checkpoint may have later ones beside it.
            found = sorted(list_checkpoints(run_dir), key=os.path.getmtime)
            count = max(0, len(found) - max(limit, len(kept)))
            surplus = [path for path in found if path.name not in kept][:count]
        _discard(surplus, run_dir)

    def _finalize_training(self, trial, *args, **kwargs):
        best = self.state.best_model_checkpoint
        if self.args.should_save and self.args.save_total_limit == 1 and best is not None and Path(best).is_dir():
            # transformers removes all but the best here, and could be killed at it.
            run_dir = Path(self._get_output_dir(trial))
            _discard([path for path in list_checkpoints(run_dir) if path.name != Path(best).name], run_dir)
        return super()._finalize_training(trial, *args, **kwargs)

    # Going on

    def get_train_dataloader(self):
        """As in [`Trainer`]; the order depends on seed and epoch alone."""
        self._order = torch.Generator()
        # The seed of the process would do for accelerate, but other code may have set it since.
        self.accelerator.dataloader_config.data_seed = self._data_seed
        return super().get_train_dataloader()

    @property
    def _data_seed(self) -> int:
        return self.args.seed if self.args.data_seed is None else self.args.data_seed

    def _get_train_sampler(self, *args, **kwargs):
        sampler = super()._get_train_sampler(*args, **kwargs)
        if isinstance(sampler, LengthGroupedSampler):  # would draw from the process's generator
            sampler.generator = self._order
        return sampler

    def _run_epoch(self, *args, epoch, **kwargs):
        self._order.manual_seed(self._data_seed + epoch)
        if self._checked_step is None:
            self._checked_step = self.state.global_step
        super()._run_epoch(*args, epoch=epoch, **kwargs)

    def _save_rng_state(self, output_dir):
        super()._save_rng_state(output_dir)
        # Losses are logged as means over steps; those since the last log are part of the state.
        kept = {"loss": float(self._tr_loss), "logged_step": self._globalstep_last_logged}
        Path(output_dir, LOSS_SINCE_LOG.format(self.args.process_index)).write_text(json.dumps(kept))

    def _load_rng_state(self, checkpoint):
        super()._load_rng_state(checkpoint)
        path = Path(checkpoint, LOSS_SINCE_LOG.format(self.args.process_index))
        if path.is_file():  # not in checkpoints of transformers' own
            kept = json.loads(path.read_text())
            self._globalstep_last_logged = kept["logged_step"]
            self._tr_loss += kept["loss"]
            self._total_loss_scalar -= kept["loss"]  # which is of the steps of this call alone

    # Divergence

    def _maybe_log_save_evaluate(self, tr_loss, grad_norm, *args, **kwargs):
        # With a gradient scaler, steps with infinite gradients are left out; the weights stay as they were.
        if grad_norm is not None and not self.accelerator.optimizer_step_was_skipped:
            self._grad_norms = self._grad_norms + grad_norm  # what is not finite stays in a sum
        control = self.control
        due = control.should_log or control.should_evaluate or control.should_save or control.should_training_stop
        if due or self.args.device.type == "cpu":  # elsewhere each look at a number waits for the device
            self._check_finite(tr_loss)
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, *args, **kwargs)

    def _check_finite(self, tr_loss: torch.Tensor) -> None:
        """TrainingDivergedError unless the losses since the last log and all gradients since the last check are."""
        step = self.state.global_step
        sums = {"loss": tr_loss, "gradient": self._grad_norms}
        infinite = [name for name, value in sums.items() if not math.isfinite(float(value))]
        since, self._checked_step, self._grad_norms = self._checked_step + 1, step, 0.0
        if infinite:
            when = f"at step {step}" if since >= step else f"between steps {since} and {step}"
            way_on = _way_on(self._get_output_dir(None), since)
            raise TrainingDivergedError(
                f"Training diverged {when}, where {' and '.join(infinite)} ceased to be finite; {way_on}, with a "
                "lower learning_rate or max_grad_norm, a longer warm-up, or bf16 in place of fp16."
            )
