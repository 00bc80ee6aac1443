# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""How a Trainer writes its checkpoints, goes on from them, and ends early."""

import json
import math
import os
import signal
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, has_length
from transformers.utils import logging

from .checkpoints import (
    STAGING,
    CheckpointError,
    RunInterrupted,
    TrainingDivergedError,
    clear_staging,
    discard,
    find_checkpoint,
    list_checkpoints,
    publish,
    reading,
    way_on,
    write_manifest,
    writing_reason,
)
from .distributed import gather_objects, is_distributed
from .runs import Stopped, StopSignals, check_output_dir, run_lock


logger = logging.get_logger(__name__)

# Of each process, in a checkpoint.
LOSS_SINCE_LOG = "loss_since_log_{}.json"


class SafeCheckpointsMixin:
    """
    For subclasses of [`transformers.Trainer`], before it among the bases: atomic, verified checkpoints, resumed runs
    that equal uninterrupted ones bit for bit, and an end to training that has diverged. SIGTERM and SIGINT end the
    run after the current step, with a checkpoint; a second one ends it at once.

    Resumption is exact as long as data set and collator draw no random numbers. Set `logging_nan_inf_filter=False`:
    the filter hides losses that are not finite.
    """

    _staging: Path | None = None
    _signals = StopSignals()  # which notes nothing until it is entered

    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        """
        As in [`Trainer`], with what a killed run left behind cleared, and the checkpoint verified.

        Args:
            resume_from_checkpoint: True or "last", or the path of a checkpoint.

        Raises:
            CheckpointError: as in [`check_resume`]; or a checkpoint cannot be written.
            TrainingDivergedError: the loss or the gradient is not finite.
            RunInterrupted: SIGTERM or SIGINT came.
            ValueError: another run is in the folder, or its checkpoints are, or the data gave no step.
        """
        resume_from_checkpoint = self.check_resume(resume_from_checkpoint)
        with self._alone_in_folder(), StopSignals() as self._signals:
            if self.args.should_save:
                clear_staging(self.args.output_dir)
            self.accelerator.wait_for_everyone()
            if self.args.device.type == "cpu":
                # With several processes it is "cpu:0", onto which torch.load does not load in transformers 5.5.
                self.args.__dict__["_setup_devices"] = torch.device("cpu")
            self._grad_norms, self._checked_step, self._saved_step, self._unknown_steps = 0.0, None, None, 0
            self._checkpoint = resume_from_checkpoint
            try:
                return super().train(resume_from_checkpoint, *args, **kwargs)
            finally:
                self.is_in_train = False

    def check_resume(self, resume_from_checkpoint) -> str | None:
        """
        The checkpoint that `train` would go on from, verified; None where it starts anew. `train` calls this, and a
        script may do so before anything takes long.

        Raises:
            CheckpointError: as in [`find_checkpoint`].
            ValueError: another run is in the folder, or its checkpoints are.
        """
        folder, checkpoint = self.args.output_dir, None
        with self._alone_in_folder():
            if resume_from_checkpoint:
                checkpoint = find_checkpoint(folder, resume_from_checkpoint)
            own = checkpoint is not None and Path(checkpoint).resolve().parent == Path(folder).resolve()
            self._on_writer(lambda: check_output_dir(folder, (f"{PREFIX_CHECKPOINT_DIR}-*",), resumes=own))
        return checkpoint

    def _on_writer(self, call) -> None:
        """Call a function in the process that writes; every process raises the ValueError that it raises."""
        refusal = None
        if self.args.should_save:
            try:
                call()
            except ValueError as error:
                refusal = str(error)
        for found in filter(None, gather_objects(refusal)):
            raise ValueError(found)

    @contextmanager
    def _alone_in_folder(self):
        """The lock of the run's folder, held by the process that writes; every process learns when it is taken."""
        with ExitStack() as stack:
            self._on_writer(lambda: stack.enter_context(run_lock(self.args.output_dir)))
            yield

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
                publish(staged, final)
        except BaseException as error:
            reason = writing_reason(error, staged)
            if self.args.should_save:
                clear_staging(run_dir)
            if reason is None:
                raise
            step = self.state.global_step
            raise CheckpointError(
                f"The checkpoint of step {step} could not be written to {final} ({reason}); put that right, then "
                f"{way_on(run_dir, step)}."
            ) from error
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
        limit, surplus = self.args.save_total_limit, []
        if limit is not None and limit > 0:
            kept = {newest.name, Path(self.state.best_model_checkpoint or newest).name}
            # By time, since a run that went on from an earlier checkpoint may have later ones beside it.
            found = sorted(list_checkpoints(run_dir), key=os.path.getmtime)
            count = max(0, len(found) - max(limit, len(kept)))
            surplus = [path for path in found if path.name not in kept][:count]
        discard(surplus, run_dir)

    def _finalize_training(self, trial, *args, **kwargs):
        best = self.state.best_model_checkpoint
        if self.args.should_save and self.args.save_total_limit == 1 and best is not None and Path(best).is_dir():
            # transformers removes all but the best here, and could be killed at it.
            run_dir = Path(self._get_output_dir(trial))
            discard([path for path in list_checkpoints(run_dir) if path.name != Path(best).name], run_dir)
        self._restore_sums()
        if self.state.global_step == self._first_step > 0:
            logger.warning("The run had made all its %s steps; none was left to train.", f"{self._first_step:,}")
        if self.args.load_best_model_at_end and best is None:
            logger.warning(
                "No evaluation gave a number %s: the model is that of the last step.", self.args.metric_for_best_model
            )
        output = super()._finalize_training(trial, *args, **kwargs)
        return output._replace(training_loss=output.metrics["train_loss"])

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

    def _init_training_state(self, max_steps, *args, **kwargs):
        """As in [`Trainer`], which compares steps given as shares of all steps with those of the checkpoint. Of a
        stream, which may end before the run does, the checkpoint knows the pass over it."""
        names = ("logging_steps", "eval_steps", "save_steps")
        given = {name: getattr(self.args, name) for name in names}
        for name, value in given.items():
            if value is not None and value < 1:
                setattr(self.args, name, math.ceil(max_steps * value))
        try:
            found = super()._init_training_state(max_steps, *args, **kwargs)
        finally:
            for name, value in given.items():
                setattr(self.args, name, value)
        self._first_step, self._kept = self.state.global_step, None
        if not has_length(self.train_dataset) and "epoch" in (kept := self._read_sums()):
            batches = kept["epoch_steps"] * self.args.gradient_accumulation_steps
            found = kept["epoch"], 0 if self.args.ignore_data_skip else batches
        self._first_epoch, self._first_batch = found
        return found

    def _read_sums(self) -> dict:
        """What [`_sums`] gave when the checkpoint was written; empty for those of transformers' own."""
        path = Path(self._checkpoint or "", LOSS_SINCE_LOG.format(self.args.process_index))
        if self._checkpoint is None or not path.is_file():
            return {}
        with reading(self._checkpoint):
            return json.loads(path.read_text())

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """As in [`Trainer`], but the rest at the end of a stream that does not fill a step is left out: transformers
        makes no step of it, and its gradient would join that of the next one."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if len(batches) < num_batches and not has_length(self.train_dataset):
            return [], None
        return batches, items

    def _run_epoch(self, *args, epoch, **kwargs):
        self._restore_sums()
        passed = self._first_batch // self.args.gradient_accumulation_steps if epoch == self._first_epoch else 0
        self._epoch, self._epoch_start = epoch, self.state.global_step - passed
        if self.state.global_step >= self.state.max_steps:  # the checkpoint is the end of its run
            self.control.should_training_stop = True
            return
        self._order.manual_seed(self._data_seed + epoch)
        if self._checked_step is None:
            self._checked_step = self.state.global_step
        super()._run_epoch(*args, epoch=epoch, **kwargs)

    def _save_rng_state(self, output_dir):
        super()._save_rng_state(output_dir)
        path = Path(output_dir, LOSS_SINCE_LOG.format(self.args.process_index))  # each process has its own
        path.write_text(json.dumps(self._sums()))

    def _sums(self) -> dict:
        """Sums that logs are means of: of the steps since the last log, and of all steps until then; and the pass over
        the data, with its steps."""
        ended = self.control.should_save and self.args.save_strategy == "epoch"
        place = (self._epoch + 1, 0) if ended else (self._epoch, self.state.global_step - self._epoch_start)
        return {
            **dict(zip(("epoch", "epoch_steps"), place, strict=True)),
            "loss": float(self._tr_loss), "logged_step": self._globalstep_last_logged,
            "total": float(self._total_loss_scalar),
        }  # fmt: skip

    def _add_sums(self, kept: dict) -> None:
        """Put back what `_sums` gave."""
        self._globalstep_last_logged = kept["logged_step"]
        self._tr_loss += kept["loss"]
        self._total_loss_scalar += kept.get("total", 0.0)
        self._unknown_steps = 0 if "total" in kept else kept["logged_step"]

    def _restore_sums(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            self._add_sums(kept)

    def _load_from_checkpoint(self, checkpoint, *args, **kwargs):
        with reading(checkpoint):
            return super()._load_from_checkpoint(checkpoint, *args, **kwargs)

    def _load_optimizer_and_scheduler(self, checkpoint):
        if checkpoint is None:
            return super()._load_optimizer_and_scheduler(checkpoint)
        rates = [group.get("initial_lr") for group in self.optimizer.param_groups]
        options = set().union(*self.optimizer.param_groups)
        with reading(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)
            if missing := options.difference(*self.optimizer.param_groups):  # of another kind of optimizer
                raise KeyError(*sorted(missing))
        self._kept = self._read_sums() or None
        if self._kept is None:
            self._unknown_steps = self.state.global_step
        self._set_rates(rates)

    def _set_rates(self, rates: list[float | None]) -> None:
        """Learning rates as the arguments have them; the saved ones came with the optimizer's state."""
        groups = self.optimizer.param_groups
        for group, rate in zip(groups, rates, strict=True):
            saved = group.get("initial_lr")
            if rate is not None and saved and rate != saved:
                group["lr"] *= rate / saved
                group["initial_lr"] = rate
        if hasattr(self.lr_scheduler, "base_lrs"):
            self.lr_scheduler.base_lrs = [group.get("initial_lr", group["lr"]) for group in groups]
            self.lr_scheduler._last_lr = [group["lr"] for group in groups]

    def _load_rng_state(self, checkpoint):
        if checkpoint is not None:
            with reading(checkpoint):
                super()._load_rng_state(checkpoint)

    def log(self, logs, *args, **kwargs):
        """As in [`Trainer`]; `train_loss` is the mean over all steps of the run whose losses are known."""
        if "train_loss" in logs:
            logs["train_loss"] = self._total_loss_scalar / max(self.state.global_step - self._unknown_steps, 1)
        super().log(logs, *args, **kwargs)

    # Signals

    def _signal(self) -> int:
        """The signal that came to any of the processes, 0 for none."""
        number = self._signals.received
        if is_distributed():
            found = torch.tensor(number, device=self.args.device)
            torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
            number = int(found)
        return number

    def _stop_at(self, number: int, model, trial) -> None:
        """End the run with a checkpoint of this step, because of the signal `number`."""
        step, run_dir = self.state.global_step, Path(self._get_output_dir(trial))
        final = run_dir / f"{PREFIX_CHECKPOINT_DIR}-{step}"
        if self._saved_step != step:
            self._save_checkpoint(model, trial)
        message = (
            f"{signal.Signals(number).name} ended the run at step {step:,} of {self.state.max_steps:,}; {final} is "
            "kept, go on from it by resume_from_checkpoint='last'."
        )
        if self.is_world_process_zero():
            print(message, file=sys.stderr, flush=True)
        raise RunInterrupted(message, number)

    # Evaluation

    def _evaluate(self, *args, **kwargs):
        """As in [`Trainer`]; the random numbers of training do not depend on it. A signal ends it at once, unless
        there are other processes, which would wait for this one."""
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        self._signals.raises = not is_distributed()
        try:
            with torch.random.fork_rng(devices):
                return super()._evaluate(*args, **kwargs)
        finally:
            self._signals.raises = False

    # Divergence

    def _maybe_log_save_evaluate(self, tr_loss, grad_norm, model=None, trial=None, *args, **kwargs):
        # With a gradient scaler, steps with infinite gradients are left out; the weights stay as they were.
        if grad_norm is not None and not self.accelerator.optimizer_step_was_skipped:
            self._grad_norms = self._grad_norms + grad_norm  # what is not finite stays in a sum
        if self.state.global_step == 0:
            raise ValueError(
                f"No step was made, as the training data gave no batch of {self.args.train_batch_size} rows; give "
                "more text, or a smaller per_device_train_batch_size."
            )
        control = self.control
        due = control.should_log or control.should_evaluate or control.should_save or control.should_training_stop
        number = self._signal()
        if due or number or self.args.device.type == "cpu":  # elsewhere each look at a number waits for the device
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
        """TrainingDivergedError unless the losses since the last log and all gradients since the last check are."""
        step = self.state.global_step
        sums = {"loss": tr_loss, "gradient": self._grad_norms}
        infinite = [name for name, value in sums.items() if not math.isfinite(float(value))]
        since, self._checked_step, self._grad_norms = self._checked_step + 1, step, 0.0
        if infinite:
            when = f"at step {step}" if since >= step else f"between steps {since} and {step}"
            go_on = way_on(self._get_output_dir(None), since)
            raise TrainingDivergedError(
                f"Training diverged {when}, where {' and '.join(infinite)} ceased to be finite; {go_on}, with a "
                "lower learning_rate or max_grad_norm, a longer warm-up, or bf16 in place of fp16."
            )
