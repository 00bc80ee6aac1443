# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Atomic checkpoints, exact resumption and an orderly end for any Trainer."""

import json
import math
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, has_length
from transformers.utils import logging

from .checkpoints import (
    STAGING,
    RunInterrupted,
    clear_staging,
    discard,
    find_checkpoint,
    list_checkpoints,
    publish,
    recovery_hint,
    write_manifest,
)
from .utils.distributed import is_distributed
from .utils.errors import TrainingDivergedError
from .utils.runs import Stopped, StopSignals, check_output_dir, run_lock


logger = logging.get_logger(__name__)

# A file of each process in a checkpoint: sums of losses that logs are means of, and the place in the data.
LOSS_SINCE_LOG = "loss_since_log_{}.json"


class SafeCheckpointsMixin:
    """
    For subclasses of [`transformers.Trainer`], before it among the bases: atomic, verified checkpoints, resumed runs
    that equal uninterrupted ones bit for bit, and an error when training diverges. SIGTERM and SIGINT end the run
    after the current step, with a checkpoint; a second signal ends it at once.

    Resumption is exact as long as data set and collator draw no random numbers. Set `logging_nan_inf_filter=False`:
    the filter hides losses that are not finite.
    """

    _staging: Path | None = None
    _signals = StopSignals()  # notes nothing until it is entered

    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        """
        As in [`Trainer`], after removing what a killed run left and verifying the checkpoint.

        Args:
            resume_from_checkpoint: True or "last", or the path of a checkpoint.

        Raises:
            CheckpointError: as in [`check_resume`].
            TrainingDivergedError: the loss or the gradient is not finite.
            RunInterrupted: SIGTERM or SIGINT was received.
            ValueError: the folder holds another run or its checkpoints, or the data gave no step.
        """
        resume_from_checkpoint = self.check_resume(resume_from_checkpoint)
        with self._folder_lock(), StopSignals() as self._signals:
            if self.args.should_save:
                clear_staging(self.args.output_dir)
            self.accelerator.wait_for_everyone()
            if self.args.device.type == "cpu":
                # transformers loads onto this device; of several processes it is "cpu:0", which torch.load refuses.
                self.args.__dict__["_setup_devices"] = torch.device("cpu")
            self._grad_norms, self._saved_step = 0.0, None
            self._checkpoint = resume_from_checkpoint
            return super().train(resume_from_checkpoint, *args, **kwargs)

    def check_resume(self, resume_from_checkpoint) -> str | None:
        """The verified checkpoint that `train` would resume from, or None for a new run; errors as in `train`, which
        calls this. A script may call it before any long work."""
        folder = self.args.output_dir
        with self._folder_lock():
            checkpoint = find_checkpoint(folder, resume_from_checkpoint) if resume_from_checkpoint else None
            own = checkpoint is not None and Path(checkpoint).resolve().parent == Path(folder).resolve()
            if self.args.should_save:
                check_output_dir(folder, (f"{PREFIX_CHECKPOINT_DIR}-*",), resumes=own)
        return checkpoint

    def _folder_lock(self):
        """The lock of the run's folder in the process that writes; where it is taken, the launcher ends the others."""
        return run_lock(self.args.output_dir) if self.args.should_save else nullcontext()

    # Writing

    def _get_output_dir(self, trial):
        """While a checkpoint is written, the folder in which transformers places it."""
        return super()._get_output_dir(trial) if self._staging is None else str(self._staging)

    def _push_from_checkpoint(self, checkpoint_folder):
        """Not before the checkpoint has its final name."""
        if self._staging is None:
            super()._push_from_checkpoint(checkpoint_folder)

    def _save_checkpoint(self, model, trial):
        """Write the checkpoint of this step atomically, then remove and push as the arguments say."""
        run_dir = Path(self._get_output_dir(trial))
        final = run_dir / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        self._staging = run_dir / STAGING
        staged = self._staging / final.name
        try:
            super()._save_checkpoint(model, trial)
            if self.state.best_model_checkpoint == str(staged):
                self.state.best_model_checkpoint = str(final)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self.state.save_to_json(str(staged / TRAINER_STATE_NAME))  # with the final name
                write_manifest(staged)
                publish(staged, final)
        except BaseException:
            if self.args.should_save:
                clear_staging(run_dir)
            raise
        finally:
            self._staging = None
        self._saved_step = self.state.global_step
        if self.args.should_save:
            self._rotate(run_dir, final)
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(final))
        self.accelerator.wait_for_everyone()

    def _rotate(self, run_dir: Path, newest: Path) -> None:
        """Keep `save_total_limit` checkpoints, the newest and the best among them."""
        limit = self.args.save_total_limit
        kept = {newest.name, Path(self.state.best_model_checkpoint or newest).name}
        # By time, because a run resumed from an earlier checkpoint may have later ones beside it.
        found = sorted(list_checkpoints(run_dir), key=os.path.getmtime)
        count = max(0, len(found) - max(limit, len(kept))) if limit else 0
        discard([path for path in found if path.name not in kept][:count], run_dir)

    def _finalize_training(self, trial, *args, **kwargs):
        """As in [`Trainer`], whose removal of all but the best checkpoint is not atomic and is done here before."""
        best = self.state.best_model_checkpoint
        if self.args.should_save and self.args.save_total_limit == 1 and best is not None and Path(best).is_dir():
            run_dir = Path(self._get_output_dir(trial))
            discard([path for path in list_checkpoints(run_dir) if path.name != Path(best).name], run_dir)
        self._restore_sums()
        if self.args.load_best_model_at_end and best is None:
            logger.warning(
                "No evaluation gave a number %s: the model is that of the last step.", self.args.metric_for_best_model
            )
        output = super()._finalize_training(trial, *args, **kwargs)
        return output._replace(training_loss=output.metrics["train_loss"])

    # Resumption

    def get_train_dataloader(self):
        """As in [`Trainer`]; the order of the data depends on seed and epoch alone."""
        args = self.args
        self._order, self._data_seed = torch.Generator(), args.seed if args.data_seed is None else args.data_seed
        self.accelerator.dataloader_config.data_seed = self._data_seed
        return super().get_train_dataloader()

    def _get_train_sampler(self, *args, **kwargs):
        """As in [`Trainer`], whose sampler by length would draw from the process's generator."""
        sampler = super()._get_train_sampler(*args, **kwargs)
        if isinstance(sampler, LengthGroupedSampler):
            sampler.generator = self._order
        return sampler

    def _init_training_state(self, *args, **kwargs):
        """As in [`Trainer`], which does not know in which pass over a stream a checkpoint was written."""
        start = super()._init_training_state(*args, **kwargs)
        self._saved_sums = saved = None
        if self._checkpoint:
            path = Path(self._checkpoint, LOSS_SINCE_LOG.format(self.args.process_index))
            self._saved_sums = saved = json.loads(path.read_text())
        if saved is not None and not has_length(self.train_dataset):
            batches = saved["epoch_steps"] * self.args.gradient_accumulation_steps
            start = saved["epoch"], 0 if self.args.ignore_data_skip else batches
        self._first_epoch, self._first_batch = start
        return start

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """As in [`Trainer`], without the batches at the end of a stream that do not fill a step: transformers would
        add their gradient to that of the next step."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if len(batches) < num_batches and not has_length(self.train_dataset):
            return [], None
        return batches, items

    def _run_epoch(self, *args, epoch, **kwargs):
        """As in [`Trainer`], with sums of losses and the order of the data restored; no step after the last one."""
        self._restore_sums()
        passed = self._first_batch // self.args.gradient_accumulation_steps if epoch == self._first_epoch else 0
        self._epoch, self._epoch_start = epoch, self.state.global_step - passed
        if self.state.global_step >= self.state.max_steps:  # the checkpoint is the end of its run
            self.control.should_training_stop = True
            return
        self._order.manual_seed(self._data_seed + epoch)
        super()._run_epoch(*args, epoch=epoch, **kwargs)

    def _save_rng_state(self, output_dir):
        """With the sums of losses, which each process has of its own, too."""
        super()._save_rng_state(output_dir)
        path = Path(output_dir, LOSS_SINCE_LOG.format(self.args.process_index))
        path.write_text(json.dumps(self._sums()))

    def _sums(self) -> dict:
        """The sums of losses since the last log and until then, and the pass over the data with its steps so far."""
        ended = self.control.should_save and self.args.save_strategy == "epoch"
        place = (self._epoch + 1, 0) if ended else (self._epoch, self.state.global_step - self._epoch_start)
        sums = {"loss": float(self._tr_loss), "total": float(self._total_loss_scalar)}
        return {**sums, "logged_step": self._globalstep_last_logged, "epoch": place[0], "epoch_steps": place[1]}

    def _add_sums(self, saved: dict) -> None:
        """Restore the values of [`_sums`]."""
        self._globalstep_last_logged = saved["logged_step"]
        self._tr_loss += saved["loss"]
        self._total_loss_scalar += saved["total"]

    def _restore_sums(self) -> None:
        """Once, after transformers has set its sums to zero."""
        saved, self._saved_sums = self._saved_sums, None
        if saved is not None:
            self._add_sums(saved)

    def log(self, logs, *args, **kwargs):
        """As in [`Trainer`]; `train_loss` is the mean over all steps of the run, not only those of this call."""
        if "train_loss" in logs:
            logs["train_loss"] = self._total_loss_scalar / max(self.state.global_step, 1)
        super().log(logs, *args, **kwargs)

    # Signals

    def _signal(self) -> int:
        """The signal that any of the processes received, 0 for none."""
        number = self._signals.received
        if is_distributed():
            found = torch.tensor(number, device=self.args.device)
            torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
            number = int(found)
        return number

    def _stop_at(self, number: int, model, trial) -> None:
        """End the run with a checkpoint of this step, because of the signal `number`."""
        step, folder = self.state.global_step, self._get_output_dir(trial)
        if self._saved_step != step:
            self._save_checkpoint(model, trial)
        message = (
            f"{signal.Signals(number).name} ended the run at step {step:,} of {self.state.max_steps:,}; resume from "
            f"{folder}/{PREFIX_CHECKPOINT_DIR}-{step} by resume_from_checkpoint='last'."
        )
        if self.is_world_process_zero():
            print(message, file=sys.stderr, flush=True)
        raise RunInterrupted(message, number)

    # Evaluation

    def _evaluate(self, *args, **kwargs):
        """As in [`Trainer`], without effect on the random numbers of training. A signal ends the evaluation at once,
        unless other processes would then wait for this one."""
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        self._signals.raises = not is_distributed()
        try:
            with torch.random.fork_rng(devices):
                return super()._evaluate(*args, **kwargs)
        finally:
            self._signals.raises = False

    # Divergence

    def _maybe_log_save_evaluate(self, tr_loss, grad_norm, model=None, trial=None, *args, **kwargs):
        """As in [`Trainer`], after a check for divergence; after a signal, only the checkpoint and the end."""
        # A gradient scaler skips steps with infinite gradients; the weights stay as they were.
        if grad_norm is not None and not self.accelerator.optimizer_step_was_skipped:
            self._grad_norms = self._grad_norms + grad_norm  # a sum with a value that is not finite is not finite
        if self.state.global_step == 0:
            raise ValueError(
                f"No step was made, as the training data gave no batch of {self.args.train_batch_size} rows; give "
                "more text, or a smaller per_device_train_batch_size."
            )
        control = self.control
        due = control.should_log or control.should_evaluate or control.should_save or control.should_training_stop
        number = self._signal()
        if due or number or self.args.device.type == "cpu":  # reading a number from an accelerator waits for it
            self._check_finite(tr_loss)
        if number:
            control.should_evaluate = False
        try:
            super()._maybe_log_save_evaluate(tr_loss, grad_norm, model, trial, *args, **kwargs)
        except Stopped:
            number = self._signals.received
        if number:
            self._stop_at(number, model, trial)

    def _check_finite(self, tr_loss: torch.Tensor) -> None:
        """TrainingDivergedError for a loss since the last log, or a gradient since the last check, that is not
        finite."""
        step = self.state.global_step
        sums = {"loss": tr_loss, "gradient": self._grad_norms}
        infinite = [name for name, value in sums.items() if not math.isfinite(float(value))]
        self._grad_norms = 0.0
        if infinite:  # since the last check, which every checkpoint has passed
            raise TrainingDivergedError(
                f"Training diverged by step {step}, where {' and '.join(infinite)} ceased to be finite; "
                f"{recovery_hint(self._get_output_dir(None), step)}. A lower max_grad_norm, or bf16 in place of fp16 "
                "may help; in a new run also a lower learning_rate, or a longer warm-up."
            )
