# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints: complete or not there, checked before use; runs that go on bit for bit, or end with a sentence."""

import json
import math
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
import torch
import torch.nn as nn
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.utils import is_torch_greater_or_equal

from trainers import checkpoints, safe_checkpoints
from trainers.checkpoints import (
    MANIFEST,
    STAGING,
    CheckpointError,
    RunInterrupted,
    clear_staging,
    find_checkpoint,
    list_checkpoints,
    verify_checkpoint,
)
from trainers.safe_checkpoints import SafeCheckpointsMixin
from trainers.utils.errors import TrainingDivergedError
from trainers.utils.runs import LOCK


pytestmark = pytest.mark.skipif(
    not is_torch_greater_or_equal("2.6"), reason="transformers resumes with torch 2.6 or newer"
)

EPOCH, STEPS = 5, 10  # steps in an epoch, and in the two epochs of a run


class SafeTrainer(SafeCheckpointsMixin, Trainer):
    pass


class Regressor(nn.Module):
    """With dropout, so that losses depend on the state of the generator."""

    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Dropout(0.3), nn.Linear(width, 1))

    def forward(self, input_ids, labels):
        return {"loss": (self.layers(input_ids) - labels).square().mean()}


def make_trainer(folder, kind=SafeTrainer, width=8, callback=None, **options):
    generator = torch.Generator().manual_seed(1)
    rows = [
        {"input_ids": torch.randn(6, generator=generator), "labels": torch.randn(1, generator=generator)}
        for _ in range(4 * EPOCH)
    ]
    defaults = {
        "per_device_train_batch_size": 4, "num_train_epochs": 2, "learning_rate": 0.05, "save_strategy": "steps",
        "save_steps": 2, "logging_steps": 1, "logging_nan_inf_filter": False, "use_cpu": True, "report_to": "none",
        "disable_tqdm": True, "dataloader_pin_memory": False, "remove_unused_columns": False,
    }  # fmt: skip
    arguments = TrainingArguments(output_dir=str(folder), **{**defaults, **options})
    torch.manual_seed(0)
    return kind(
        model=Regressor(width), args=arguments, train_dataset=rows, eval_dataset=rows[:4],
        callbacks=[callback] if callback else None,
    )  # fmt: skip


def losses(trainer):
    return {entry["step"]: entry["loss"] for entry in trainer.state.log_history if "loss" in entry}


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def assert_same(found, expected):
    assert losses(found) == losses(expected)
    for name, value in weights(expected).items():
        assert torch.equal(weights(found)[name], value), name


def steps(folder):
    return [int(path.name.split("-")[1]) for path in list_checkpoints(folder)]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """An uninterrupted run with a checkpoint at each step."""
    trainer = make_trainer(tmp_path_factory.mktemp("straight"), save_steps=1)
    trainer.train()
    return trainer


@pytest.fixture
def copy(straight, tmp_path):
    """The run's folder, to be damaged."""
    return Path(shutil.copytree(straight.args.output_dir, tmp_path / "run"))


# Other processes. They come from a server that has the imports behind it and has not run autograd, which a process
# forked from this one could not use.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["trainers", "tests.trainers.test_checkpoints"])


@pytest.fixture(scope="module", autouse=True)
def server():
    forkserver.ensure_running()  # it imports while the first tests run


def _call(connection, function, arguments):
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    connection.send(function(*arguments))
    os._exit(0)  # taking process groups down may block


def start(function, *arguments):
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_call, args=(sender, function, arguments))
    process.start()
    sender.close()
    return process, receiver


def finish(process, receiver):
    """Exit code of the process, and what its function returned."""
    try:
        result = receiver.recv() if receiver.poll(60) else None
    except EOFError:
        result = None
    process.join(60)
    return process.exitcode, result


class At(TrainerCallback):
    """Does something at the end of a step."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.action()


def die():
    os.kill(os.getpid(), signal.SIGKILL)


# Going on


@pytest.mark.parametrize("step", [1, 4, EPOCH, 8])
def test_a_resumed_run_equals_the_uninterrupted_one(step, straight, tmp_path):
    trainer = make_trainer(tmp_path, save_strategy="no")
    torch.manual_seed(99)  # the order may not hang on the state that other code leaves
    trainer.train(resume_from_checkpoint=f"{straight.args.output_dir}/checkpoint-{step}")
    assert_same(trainer, straight)
    torch.testing.assert_close(
        trainer.optimizer.state_dict()["state"], straight.optimizer.state_dict()["state"], rtol=0, atol=0
    )


@pytest.mark.parametrize(
    "options",
    [
        {"dataloader_num_workers": 2},
        {"dataloader_num_workers": 1, "dataloader_persistent_workers": True},
        {"train_sampling_strategy": "group_by_length"},
        {"gradient_accumulation_steps": 2, "num_train_epochs": 4},
        {"logging_steps": 4, "save_steps": 3},  # saved between logs
        {"eval_strategy": "steps", "eval_steps": 3, "save_steps": 3},
        {"save_strategy": "epoch", "eval_strategy": "epoch"},
        {"optim": "sgd", "lr_scheduler_type": "cosine", "warmup_steps": 3},
    ],
    ids=str,
)
def test_resumption_is_exact_with_other_arguments(options, tmp_path):
    whole = make_trainer(tmp_path, **options)
    whole.train()
    found = list_checkpoints(tmp_path)
    trainer = make_trainer(tmp_path, **options)
    trainer.train(resume_from_checkpoint=str(found[(len(found) - 1) // 2]))
    assert_same(trainer, whole)
    assert losses(whole)


@pytest.mark.parametrize("strategy", ["steps", "epoch"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_resumption_of_a_stream_is_exact(strategy, accumulation, tmp_path):
    """Also where the stream has ended before the run, and begun anew."""
    shuffled = datasets.Dataset.from_dict({"number": list(range(20))}).to_iterable_dataset().shuffle(1, buffer_size=8)

    def make():
        options = {"max_steps": 2 * EPOCH + 1, "save_steps": 1, "save_strategy": strategy}
        trainer = make_trainer(tmp_path, gradient_accumulation_steps=accumulation, **options)
        rows = list(trainer.train_dataset)
        trainer.train_dataset = shuffled.map(lambda row: rows[row["number"] % len(rows)], remove_columns="number")
        return trainer

    whole = make()
    whole.train()
    found = steps(tmp_path)
    assert len(found) >= (2 if strategy == "epoch" else 2 * EPOCH)
    for step in found[1:-1:3]:
        trainer = make()
        trainer.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        assert_same(trainer, whole)


@pytest.mark.parametrize("step", [3, 6, 9, STEPS])
def test_the_mean_loss_of_a_resumed_run_is_over_all_its_steps(step, straight, tmp_path):
    whole = make_trainer(tmp_path, logging_steps=4, save_steps=3).train()
    assert whole.training_loss == whole.metrics["train_loss"]
    assert whole.training_loss == pytest.approx(sum(losses(straight).values()) / STEPS, rel=1e-6)
    trainer = make_trainer(tmp_path, logging_steps=4, save_steps=3)
    found = trainer.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
    assert found.training_loss == found.metrics["train_loss"] == pytest.approx(whole.training_loss, rel=1e-12)
    assert trainer.state.log_history[-1]["train_loss"] == found.training_loss


# Killed


class DiesWriting(SafeTrainer):
    """Killed in the second checkpoint, half way through a file or just before a function of the module."""

    moment: str

    def _save_optimizer_and_scheduler(self, output_dir):
        super()._save_optimizer_and_scheduler(output_dir)
        if self.moment == "half a file" and self.state.global_step == 4:
            path = Path(output_dir, "optimizer.pt")
            os.truncate(path, path.stat().st_size // 2)
            die()

    def _save_checkpoint(self, model, trial):
        if self.state.global_step == 4 and self.moment in ("file_digest", "publish", "discard"):
            module = checkpoints if self.moment == "file_digest" else safe_checkpoints
            setattr(module, self.moment, lambda *args: die())
        super()._save_checkpoint(model, trial)


def run_and_die(folder, moment):
    if isinstance(moment, int):
        make_trainer(folder, callback=At(moment, die)).train()
    DiesWriting.moment = moment
    make_trainer(folder, kind=DiesWriting, save_total_limit=1).train()


@pytest.mark.parametrize("moment", [1, 8, "half a file", "file_digest", "publish", "discard"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(moment, straight, tmp_path):
    code, _ = finish(*start(run_and_die, tmp_path, moment))
    assert code == -signal.SIGKILL
    expected = {1: [], 8: [2, 4, 6], "discard": [2, 4]}.get(moment, [2])
    assert steps(tmp_path) == expected
    for path in list_checkpoints(tmp_path):
        verify_checkpoint(path)
    others = {path.name for path in tmp_path.iterdir()} - {path.name for path in list_checkpoints(tmp_path)}
    assert LOCK in others and others <= {STAGING, LOCK}
    assert (tmp_path / STAGING).exists() == isinstance(moment, str)
    trainer = make_trainer(tmp_path)
    trainer.train(resume_from_checkpoint="last" if expected else None)
    assert_same(trainer, straight)
    assert not (tmp_path / STAGING).exists() and not (tmp_path / LOCK).exists()


WATCHERS = []
sys.addaudithook(lambda event, arguments: [watcher(event) for watcher in WATCHERS])


@contextmanager
def watched(folder, spare):
    """
    At every change of a folder (as Python's audit events tell it, before it is made), what a kill at this moment would
    leave: only valid checkpoints, and, once the next run has begun, none lost.
    """
    events, best = [], [0]

    def look(event):
        if event not in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"):
            return
        WATCHERS.clear()
        events.append(event)
        assert {path.name for path in folder.iterdir() if path not in list_checkpoints(folder)} <= {STAGING, LOCK}
        for path in list_checkpoints(folder):
            verify_checkpoint(path)
        later = Path(shutil.copytree(folder, spare))
        clear_staging(later)
        best[0] = max(best[0], *steps(later), 0)
        assert not best[0] or steps(later)
        assert not (later / STAGING).exists()
        shutil.rmtree(later)
        WATCHERS.append(look)

    WATCHERS.append(look)
    try:
        yield events
    finally:
        WATCHERS.clear()


def test_at_each_moment_of_saving_rotating_and_replacing_checkpoints_are_complete(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    options = {"save_steps": 1, "max_steps": 2, "save_total_limit": 1}
    with watched(folder, tmp_path / "spare") as events:
        make_trainer(folder, **{**options, "save_total_limit": 2}).train()
        assert steps(folder) == [1, 2]
        make_trainer(folder, **options).train(resume_from_checkpoint=f"{folder}/checkpoint-1")  # replaces checkpoint-2
        assert steps(folder) == [2]
        best = {"eval_strategy": "steps", "eval_steps": 1, "load_best_model_at_end": True, "learning_rate": 2.0}
        make_trainer(folder, **{**options, **best, "max_steps": 5}).train(resume_from_checkpoint="last")
    assert {"open", "os.rename", "os.remove", "os.mkdir", "shutil.rmtree"} <= set(events)
    assert len(steps(folder)) == 1


# Not written


class FullDisk(TrainerCallback):
    def __init__(self, limit):
        self.limit = limit

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 3:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, self.limit))


def run_into_limit(folder, limit):
    try:
        make_trainer(folder, width=4096, callback=FullDisk(limit)).train()
    except Exception as error:
        return repr(error)


@pytest.mark.parametrize("limit, reason", [(200_000, "inline_container"), (100_000, "File too large")])
def test_a_file_that_does_not_fit_leaves_the_earlier_checkpoint(limit, reason, tmp_path):
    code, message = finish(*start(run_into_limit, tmp_path, limit))
    assert code == 0 and reason in message
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]
    verify_checkpoint(tmp_path / "checkpoint-2")


def test_a_full_disk_leaves_the_earlier_checkpoints(tmp_path):
    size = 1_000_000  # one checkpoint of 0.4 MB and a part of the next but one
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(tmp_path)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        trainer = make_trainer(tmp_path, width=4096)
        with pytest.raises(Exception, match="No space|inline_container|write"):
            trainer.train()
        assert steps(tmp_path) == [2, 4]
        assert len(list(tmp_path.iterdir())) == 2
        verify_checkpoint(tmp_path / "checkpoint-4")
        # Room is made.
        shutil.rmtree(tmp_path / "checkpoint-2")
        whole = make_trainer(tmp_path / "none", width=4096, save_strategy="no")
        whole.train()
        again = make_trainer(tmp_path, width=4096, save_total_limit=1)
        again.train(resume_from_checkpoint=True)
        assert_same(again, whole)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_nothing_is_left_of_a_checkpoint_that_cannot_be_written(tmp_path):
    class Fails(SafeTrainer):
        def _save_scaler(self, output_dir):
            raise self.error

    trainer = make_trainer(tmp_path, kind=Fails)
    for error in (PermissionError(13, "Permission denied"), RuntimeError("of another kind"), KeyboardInterrupt()):
        trainer.error = error
        with pytest.raises(type(error)):
            trainer.train()
        assert list(tmp_path.iterdir()) == []


# Damaged


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_found(copy, data):
    folder = copy / "checkpoint-10"
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    content = path.read_bytes()
    kind = data.draw(st.sampled_from(["flipped", "truncated", "missing"]))
    place = data.draw(st.integers(0, len(content) - 1))
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(content[:place])
    else:
        flipped = content[place] ^ (1 << data.draw(st.integers(0, 7)))
        path.write_bytes(content[:place] + bytes([flipped]) + content[place + 1 :])
    try:
        with pytest.raises(CheckpointError) as caught:
            find_checkpoint(copy, "last")
        assert path.name in str(caught.value) or path.name == MANIFEST
        assert f"resume from the latest valid checkpoint before it, {copy}/checkpoint-9." in str(caught.value)
        assert folder.exists()
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize(
    "name, damage, flaw",
    [
        (
            "model.safetensors",
            lambda path: os.truncate(path, 50),
            "the content of model.safetensors is not what was written",
        ),
        ("optimizer.pt", lambda path: path.unlink(), r"optimizer.pt cannot be read \(No such file or directory\)"),
        (
            "scheduler.pt",
            lambda path: path.write_bytes(bytes(path.stat().st_size)),
            "the content of scheduler.pt is not what was written",
        ),
    ],
)
def test_training_does_not_go_on_from_a_damaged_checkpoint(name, damage, flaw, copy):
    damage(copy / "checkpoint-10" / name)
    damage(copy / "checkpoint-9" / name)
    trainer = make_trainer(copy)
    for resume in (True, "last", copy / "checkpoint-10"):
        with pytest.raises(CheckpointError, match=f"checkpoint-10 is damaged: {flaw}; resume .*, .*checkpoint-8\\."):
            trainer.train(resume_from_checkpoint=resume)
    assert steps(copy)[-3:] == [8, 9, 10]
    for path in list_checkpoints(copy):
        (path / name).unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match="start again, because there is no valid checkpoint before it"):
        find_checkpoint(copy, True)


def test_checkpoints_without_a_manifest_are_refused(tmp_path):
    """Those of transformers' own Trainer, which may be half written."""
    make_trainer(tmp_path, kind=Trainer, max_steps=4).train()
    with pytest.raises(CheckpointError, match=f"checkpoint-4 is damaged: {MANIFEST} cannot be read .*; start again"):
        find_checkpoint(tmp_path, "last")


def test_there_may_be_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=f"no checkpoint to resume from in {tmp_path}: start without"):
        find_checkpoint(tmp_path, "last")
    with pytest.raises(CheckpointError, match="checkpoint-7 is damaged: .*No such file"):
        find_checkpoint(tmp_path, tmp_path / "checkpoint-7")


# Best, rotated, pushed


@pytest.mark.parametrize("limit", [None, 1, 2])
def test_the_best_checkpoint_is_kept_and_loaded(limit, tmp_path):
    options = {"eval_strategy": "steps", "eval_steps": 1, "save_steps": 1, "load_best_model_at_end": True}
    values = [5.0, 4.0, 1.0, 2.0, 3.0, 4.0, 2.0, 2.0, 2.0, 9.0]

    class Scripted(SafeTrainer):
        def evaluate(self, **kwargs):
            return {"eval_loss": values[self.state.global_step - 1]}

        def _rotate(self, run_dir, newest):
            super()._rotate(run_dir, newest)
            kept.append(steps(run_dir))
            saved = json.loads((newest / "trainer_state.json").read_text())["best_model_checkpoint"]
            assert (
                saved == self.state.best_model_checkpoint == f"{tmp_path}/checkpoint-{min(self.state.global_step, 3)}"
            )

    kept = []
    trainer = make_trainer(tmp_path, kind=Scripted, save_total_limit=limit, **options)
    trainer.train()
    assert trainer.state.best_model_checkpoint == f"{tmp_path}/checkpoint-3"
    best = list(range(1, 11)) if limit is None else [3] if limit == 1 else [3, 10]
    assert steps(tmp_path) == best
    if limit == 1:
        assert kept == [[1], [2], [3], [3, 4], [3, 5], [3, 6], [3, 7], [3, 8], [3, 9], [3, 10]]
    other = make_trainer(tmp_path)
    other._load_from_checkpoint(str(tmp_path / "checkpoint-3"))
    for name, value in weights(other).items():
        assert torch.equal(weights(trainer)[name], value)


def test_rotation_keeps_what_transformers_keeps(tmp_path):
    for limit in (1, 3):
        folders = {kind: tmp_path / f"{kind.__name__} {limit}" for kind in (SafeTrainer, Trainer)}
        for kind, folder in folders.items():
            make_trainer(folder, kind=kind, save_total_limit=limit, save_steps=1, max_steps=5).train()
        assert steps(folders[SafeTrainer]) == steps(folders[Trainer])


def test_a_run_from_an_earlier_checkpoint_replaces_later_ones(straight, copy):
    damaged = copy / "checkpoint-7" / "model.safetensors"
    damaged.unlink()
    trainer = make_trainer(copy, save_steps=1)
    trainer.train(resume_from_checkpoint=str(copy / "checkpoint-6"))
    assert steps(copy) == list(range(1, 11))
    assert damaged.read_bytes() == Path(straight.args.output_dir, "checkpoint-7", "model.safetensors").read_bytes()
    verify_checkpoint(damaged.parent)


def test_checkpoints_are_pushed_when_they_have_their_name(tmp_path):
    pushed = []

    class Pushes(Trainer):
        def _push_from_checkpoint(self, checkpoint_folder):
            verify_checkpoint(checkpoint_folder)
            pushed.append(checkpoint_folder)

    class SafePushes(SafeCheckpointsMixin, Pushes):
        pass

    trainer = make_trainer(tmp_path, kind=SafePushes, max_steps=4)
    trainer.args.push_to_hub = True
    trainer.train()
    assert pushed == [f"{tmp_path}/checkpoint-2", f"{tmp_path}/checkpoint-4"]


def test_the_manifest_names_all_files(straight):
    folder = Path(straight.args.output_dir) / "checkpoint-1"
    entries = json.loads((folder / MANIFEST).read_text())["files"]
    assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"} < set(entries)
    assert set(entries) == {path.name for path in folder.iterdir()} - {MANIFEST}


# Diverged


class Diverges(SafeTrainer):
    """At step 5, from a loss or a gradient that is not finite."""

    def compute_loss(self, model, inputs, *args, **kwargs):
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        if self.state.global_step == 4 and model.training:
            if self.what == "gradient":
                loss.register_hook(lambda gradient: gradient * float("inf"))
            else:
                loss = loss * float(self.what)
        return loss

    def evaluate(self, *args, **kwargs):
        assert self.state.global_step < 5
        return super().evaluate(*args, **kwargs)


@pytest.mark.parametrize(
    "what, filtered, sentence",
    [
        ("nan", False, "loss and gradient ceased to be finite"),
        ("inf", False, "loss and gradient ceased to be finite"),
        ("nan", True, "gradient ceased to be finite"),
        ("gradient", False, "gradient ceased to be finite"),
    ],
)
def test_divergence_ends_the_run_before_anything_is_saved(what, filtered, sentence, tmp_path):
    options = {"save_steps": 1, "eval_strategy": "steps", "eval_steps": 1, "logging_nan_inf_filter": filtered}
    trainer = make_trainer(tmp_path, kind=Diverges, **options)
    trainer.what = what
    with pytest.raises(
        TrainingDivergedError, match=f"diverged by step 5, where {sentence}; resume .*/checkpoint-4. A lower"
    ):
        trainer.train()
    assert steps(tmp_path) == [1, 2, 3, 4]
    verify_checkpoint(tmp_path / "checkpoint-4")
    with pytest.raises(TrainingDivergedError, match="by step 5"):
        trainer.train(resume_from_checkpoint="last")


def test_divergence_without_a_checkpoint(tmp_path):
    trainer = make_trainer(tmp_path, kind=Diverges, save_strategy="no")
    trainer.what = "nan"
    with pytest.raises(TrainingDivergedError, match="start again, because .* A lower max_grad_norm"):
        trainer.train()


class Scalar:
    """A number on an accelerator: adding to it is free, reading it waits."""

    reads = 0

    def __init__(self, value):
        self.value = value

    def __radd__(self, other):
        return Scalar(getattr(other, "value", other) + self.value)

    __add__ = __radd__

    def __float__(self):
        Scalar.reads += 1
        return self.value


class Steps:
    def _maybe_log_save_evaluate(self, *args):
        pass


class StepsOnAccelerator(SafeCheckpointsMixin, Steps):
    def __init__(self, folder):
        self.args = SimpleNamespace(device=SimpleNamespace(type="cuda"))
        self.accelerator = SimpleNamespace(optimizer_step_was_skipped=False)
        self.control = transformers.TrainerControl()
        self.state = SimpleNamespace(global_step=0)
        self._grad_norms = 0.0
        self._get_output_dir = lambda trial: folder

    def step(self, gradient=1.0, loss=1.0, skipped=False, **due):
        self.state.global_step += 1
        self.accelerator.optimizer_step_was_skipped = skipped
        self.control = transformers.TrainerControl(**due)
        self._maybe_log_save_evaluate(Scalar(loss), None if gradient is None else Scalar(gradient))


def test_accelerators_are_waited_for_only_when_something_is_due(tmp_path):
    steps = StepsOnAccelerator(tmp_path)
    Scalar.reads = 0
    for _ in range(3):
        steps.step()
    assert Scalar.reads == 0
    for due in ("should_log", "should_save", "should_evaluate", "should_training_stop"):
        Scalar.reads = 0
        steps.step(**{due: True})
        assert Scalar.reads == 2
    steps.step(gradient=float("nan"))
    steps.step()
    with pytest.raises(TrainingDivergedError, match="by step 10, where gradient ceased to be finite"):
        steps.step(should_log=True) if steps.state.global_step == 9 else None


def test_steps_that_a_gradient_scaler_skips_are_no_divergence(tmp_path):
    steps = StepsOnAccelerator(tmp_path)
    steps.step(gradient=float("inf"), skipped=True, should_save=True)
    steps.step(gradient=float("nan"), skipped=True)
    steps.step(gradient=None)
    steps.step(should_save=True)
    with pytest.raises(TrainingDivergedError, match="by step 5, where loss ceased to be finite"):
        steps.step(gradient=float("inf"), loss=math.nan, skipped=True, should_log=True)


# Several processes


def train_twice(rank, port, folder):
    """Losses of a run of two processes, of runs that go on from its first and second epoch, and of one that a signal
    to the second process has ended."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }  # fmt: skip
    options = {"per_device_train_batch_size": 2, "ddp_backend": "gloo", "save_steps": 1}
    best = {"eval_strategy": "steps", "eval_steps": 1, "load_best_model_at_end": True, "save_total_limit": 1}
    whole = make_trainer(f"{folder}/whole", **options)
    whole.train()
    found = [losses(whole)]
    for step in (3, EPOCH, 7):
        resumed = make_trainer(f"{folder}/resumed", **{**options, "save_strategy": "no"})
        resumed.train(resume_from_checkpoint=f"{folder}/whole/checkpoint-{step}")
        found.append(losses(resumed))
    make_trainer(f"{folder}/best", **options, **best).train()
    ends = At(4, lambda: signal.raise_signal(signal.SIGTERM) if rank == 1 else None)
    try:
        make_trainer(f"{folder}/stopped", callback=ends, **{**options, "save_steps": 3}).train()
    except RunInterrupted as error:
        assert error.code == 128 + signal.SIGTERM and steps(f"{folder}/stopped") == [3, 4]
        again = make_trainer(f"{folder}/stopped", **{**options, "save_strategy": "no"})
        again.train(resume_from_checkpoint="last")
        found.append(losses(again))
    return found


def test_two_processes_save_and_resume(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    results = [finish(*started) for started in [start(train_twice, rank, port, str(tmp_path)) for rank in (0, 1)]]
    assert [code for code, _ in results] == [0, 0]
    for _, (whole, *resumed) in results:
        assert len(whole) == STEPS
        assert resumed == [whole] * 4
    for path in list_checkpoints(tmp_path / "whole"):
        verify_checkpoint(path)
        assert {"rng_state_0.pth", "rng_state_1.pth"} < set(json.loads((path / MANIFEST).read_text())["files"])
    assert len(steps(tmp_path / "best")) == 1
    assert not (tmp_path / "whole" / STAGING).exists()
