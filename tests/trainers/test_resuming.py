# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""A run that goes on from a checkpoint is the same run; its folder is its own; a signal ends it with a checkpoint."""

import json
import os
import pickle
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
import transformers
from transformers import TrainerCallback, TrainingArguments

from trainers.checkpoints import (
    CheckpointError,
    RunInterrupted,
    find_checkpoint,
    list_checkpoints,
    verify_checkpoint,
    write_manifest,
)
from trainers.utils.runs import LOCK, StopSignals, run_lock

from .kit import make_model, make_trainer, step_losses
from .test_checkpoints import At, assert_same, steps, straight  # noqa: F401 (a fixture)
from .test_checkpoints import make_trainer as make_safe_trainer


MIXTURE = "masked_lm:0.3,prefix_diffusion:0.4,masked_diffusion:0.3,+contrastive:0.1"
SAVING = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}


# Who writes


def test_a_process_that_is_not_the_writer_writes_nothing_but_its_own_state(tokenizer, pieces, tmp_path, monkeypatch):
    """Whatever a run calls to write, in a process that transformers tells not to."""
    trainer = make_trainer(tokenizer, pieces, tmp_path, **{**SAVING, "save_steps": 1, "eval_strategy": "steps"})
    monkeypatch.setattr(TrainingArguments, "should_save", False)
    monkeypatch.setattr(trainer, "is_world_process_zero", lambda: False)
    trainer.train()
    trainer.save_model()
    trainer.save_state()
    trainer.save_metrics("eval", trainer.evaluate())
    trainer.create_model_card()
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {"rng_state.pth", "loss_since_log_0.json"}


# Whose checkpoint it is


@pytest.fixture(scope="module")
def finished(tokenizer, pieces, tmp_path_factory):
    """A finished run with two checkpoints; its folder is not to be changed."""
    trainer = make_trainer(tokenizer, pieces, tmp_path_factory.mktemp("finished"), **SAVING)
    trainer.train()
    trainer.save_model()
    trainer.save_state()
    return trainer


def test_a_tied_head_is_not_missing(finished, monkeypatch):
    told = []
    monkeypatch.setattr(transformers.trainer.logger, "warning", told.append)
    finished._load_from_checkpoint(str(list_checkpoints(finished.args.output_dir)[-1]))
    assert told == []


@pytest.fixture
def folder(finished, tmp_path):
    return Path(shutil.copytree(finished.args.output_dir, tmp_path / "run"))


@pytest.mark.parametrize(
    ("options", "model", "sentence"),
    [
        ({"objective": "masked_lm"}, {}, 'objective "denoising", not "masked_lm"'),
        ({"deletion_rate": 0.3}, {}, r"deletion_rate \[0.0, 0.2\], not \[0.3\]"),
        ({}, {"hidden_size": 16}, "hidden_size 32, not 16"),
        ({}, {"concept_num": 3}, "concept_num 6, not 3"),
        ({}, {"hidden_dropout_prob": 0.2}, "hidden_dropout_prob 0.0, not 0.2"),
        (
            {},
            {"model_type": "perceiver_mlm"},
            r'class "ConceptEncoderForMaskedLMPerceiverPosOnly", not "ConceptEncoderFor',
        ),
        (
            {},
            {"model_type": "recursive_mlm"},
            r'class "ConceptEncoderForMaskedLMPerceiverPosOnly", not "RecursiveConcept',
        ),
        ({"concept_losses": "vicreg:0.1"}, {}, r'concept_losses \[\], not \["vicreg"\]'),
        ({"optim": "adafactor"}, {}, 'optimizer "adamw_torch_fused", not "adafactor"'),
        ({"weight_decay": 0.0}, {}, "weight_decay 0.01, not 0.0"),
        ({"learning_rate": 0.1}, {}, r"learning_rate 0.\d+, not 0.1"),
        ({"adam_beta2": 0.9}, {}, "adam_beta2 0.95, not 0.9"),
        ({"gradient_accumulation_steps": 2}, {}, "total_train_batch_size 4, not 8"),
        ({"per_device_train_batch_size": 2}, {}, "total_train_batch_size 4, not 2"),
        ({"seed": 3}, {}, "seed 42, not 3"),
        ({"length_schedule": "8,0.5:40"}, {}, 'length_schedule null, not "8,0.5:40"'),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_run_is_refused_with_both_values(
    options, model, sentence, finished, tokenizer, pieces, tmp_path
):
    model = make_model(**{"model_type": "perceiver_posonly_mlm", "tokenizer": tokenizer, **model})
    trainer = make_trainer(tokenizer, pieces, tmp_path, model=model, **{**SAVING, **options})
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    for call in (trainer.check_resume, trainer.train):
        with pytest.raises(CheckpointError, match=f"was made with .*{sentence}.*options of its run") as raised:
            call(f"{finished.args.output_dir}/checkpoint-2")
        assert "\n" not in str(raised.value)
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    assert list(tmp_path.iterdir()) == []


def test_weights_of_concept_losses_belong_to_the_run(tokenizer, pieces, tmp_path):
    make_trainer(tokenizer, pieces, tmp_path, concept_losses="uniformity:0.1", **SAVING).train()
    with pytest.raises(CheckpointError, match="uniformity 0.1, not 0.2"):
        make_trainer(tokenizer, pieces, tmp_path, concept_losses="uniformity:0.2", **SAVING).check_resume("last")


@pytest.mark.parametrize("kind", ["data set", "list"])
def test_a_run_does_not_go_on_with_other_data(kind, finished, tokenizer, pieces, tmp_path):
    checkpoint = f"{finished.args.output_dir}/checkpoint-2"
    for rows, sentence in (
        (pieces.select(range(9)), "train_text"),
        (pieces.select([*range(15), 0]), "train_text"),
        (pieces.to_iterable_dataset(), 'train_rows 16, not "a stream"'),
    ):
        data = rows.to_list() if kind == "list" and not sentence.endswith('stream"') else rows
        with pytest.raises(CheckpointError, match=sentence):
            make_trainer(tokenizer, data, tmp_path, **SAVING).train(resume_from_checkpoint=checkpoint)
    same = pieces.to_list() if kind == "list" else pieces.with_format("numpy")
    make_trainer(tokenizer, same, tmp_path, **SAVING).check_resume(checkpoint)


def test_a_step_may_be_split_in_another_way(finished, folder, tokenizer, pieces):
    resumed = make_trainer(
        tokenizer, pieces, folder, per_device_train_batch_size=2, gradient_accumulation_steps=2, **SAVING
    )
    resumed.train(resume_from_checkpoint=folder / "checkpoint-2")
    assert step_losses(resumed) == pytest.approx(step_losses(finished), rel=1e-5)


def test_checkpoints_of_another_run_are_kept(finished, folder, tokenizer, pieces, tmp_path):
    """Also where the run would go on from a checkpoint that lies elsewhere."""
    (tmp_path / "other").mkdir()
    elsewhere = shutil.copytree(folder / "checkpoint-2", tmp_path / "other" / "checkpoint-2")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("checkpoint-*/*")}
    for resume in (None, False, elsewhere):
        with pytest.raises(ValueError, match=f"{folder} already holds checkpoint-2; .*resume_from_checkpoint"):
            make_trainer(tokenizer, pieces, folder, **SAVING).train(resume_from_checkpoint=resume)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("checkpoint-*/*")} == before
    make_trainer(tokenizer, pieces, tmp_path / "new", **SAVING).train(resume_from_checkpoint=elsewhere)


def test_what_a_record_does_not_tell_is_not_compared(finished, folder, tokenizer, pieces):
    """Checkpoints of earlier versions have no optimizer in it."""
    path = folder / "checkpoint-2" / "training_run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({name: record[name] for name in ("objective", "objectives", "concept_losses")}))
    write_manifest(path.parent)
    resumed = make_trainer(tokenizer, pieces, folder, **SAVING)
    resumed.train(resume_from_checkpoint=path.parent)
    assert step_losses(resumed) == step_losses(finished)


def test_the_folder_of_a_run_and_models_alone_are_no_checkpoints(finished, folder, tokenizer, pieces, tmp_path):
    trainer = make_trainer(tokenizer, pieces, tmp_path / "new", **SAVING)
    with pytest.raises(CheckpointError, match=f"{folder} is damaged: .* it is no checkpoint of a run"):
        trainer.train(resume_from_checkpoint=folder)
    alone = make_trainer(tokenizer, pieces, tmp_path / "alone", save_only_model=True, **SAVING)
    alone.train()
    with pytest.raises(CheckpointError, match="checkpoint-4 holds no state of the optimizer .*save_only_model"):
        alone.train(resume_from_checkpoint="last")


@pytest.mark.parametrize("name", ["training_run.json", "training_state.pt", "config.json"])
def test_a_checkpoint_that_another_trainer_wrote_is_refused(name, folder, tokenizer, pieces):
    (folder / "checkpoint-4" / name).unlink()
    write_manifest(folder / "checkpoint-4")
    with pytest.raises(ValueError, match=f"checkpoint-4.*{name}"):
        make_trainer(tokenizer, pieces, folder, **SAVING).train(resume_from_checkpoint="last")


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("evil",))


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "training_state.pt", "rng_state.pth"])
def test_code_in_a_checkpoint_is_not_run(name, folder, tokenizer, pieces, monkeypatch):
    monkeypatch.chdir(folder)
    torch.save({"param_groups": Evil()}, folder / "checkpoint-2" / name)
    write_manifest(folder / "checkpoint-2")
    with pytest.raises(pickle.UnpicklingError):
        make_trainer(tokenizer, pieces, folder, **SAVING).train(resume_from_checkpoint=folder / "checkpoint-2")
    assert not Path("evil").exists()


# The same run


@pytest.mark.parametrize("end", ["within an epoch", "at the end of one"])
def test_resuming_a_finished_run_makes_no_step(end, tmp_path):
    options = {"max_steps": 8} if end == "within an epoch" else {}
    options |= {"save_total_limit": 2, "lr_scheduler_type": "constant", "logging_steps": 3}
    whole = make_safe_trainer(tmp_path, **options)
    found = whole.train()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = make_safe_trainer(tmp_path, **options)
    result = again.train(resume_from_checkpoint="last")
    assert result.global_step == again.state.global_step == whole.state.global_step
    assert result.training_loss == pytest.approx(found.training_loss, rel=1e-12)
    assert_same(again, whole)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_sums_of_objectives_go_on(tokenizer, pieces, tmp_path):
    """Means over the steps since the last log, of which some lie before the checkpoint."""
    options = {"objective": MIXTURE, "concept_losses": "vicreg:0.1", "max_steps": 8, "logging_steps": 4}
    options |= {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    options |= {"save_strategy": "steps", "save_steps": 3, "save_total_limit": None}
    whole = make_trainer(tokenizer, pieces, tmp_path, **options)
    expected = whole.train()
    resumed = make_trainer(tokenizer, pieces, tmp_path, **options)
    found = resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert found.training_loss == expected.training_loss
    logs = [
        [{k: v for k, v in entry.items() if "loss" in k} for entry in trainer.state.log_history]
        for trainer in (whole, resumed)
    ]
    assert logs[0] == logs[1] and len(logs[0]) == 3


def test_sums_begin_with_the_run(tokenizer, pieces, tmp_path):
    """Nothing is left of what the same trainer did before, such as steps after the last log or without memory."""
    trainer = make_trainer(tokenizer, pieces, tmp_path, max_steps=3, logging_steps=2)
    for _ in range(2):
        trainer.train()
        (entry,) = [entry for entry in trainer.state.log_history if "loss" in entry]
        assert entry["loss/denoising"] == pytest.approx(entry["loss"])


def test_a_run_without_a_step_is_an_error(tokenizer, pieces, tmp_path):
    trainer = make_trainer(
        tokenizer, pieces, tmp_path, per_device_train_batch_size=1000, dataloader_drop_last=True, save_strategy="epoch"
    )
    with pytest.raises(ValueError, match="No step was made, as the training data gave no batch of 1000 rows"):
        trainer.train()
    assert list(tmp_path.iterdir()) == []


# Two runs in one folder


def hold(folder, ready, leave):
    with run_lock(folder):
        os.write(ready, b"1")
        os.read(leave, 1)


def test_the_second_run_in_a_folder_is_refused_and_the_first_goes_on(tmp_path):
    """Also when it would resume, and nothing of the first is cleared."""
    make_safe_trainer(tmp_path).train()
    (tmp_path / ".checkpoint-staging").mkdir()
    (ready, started), (leave, end) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        hold(tmp_path, started, leave)
        os._exit(0)
    os.read(ready, 1)
    sentence = f"Another run trains in {tmp_path}; choose another output_dir"
    for resume in (None, "last"):
        trainer = make_safe_trainer(tmp_path)
        for call in (trainer.train, trainer.check_resume):
            with pytest.raises(ValueError, match=sentence):
                call(resume)
    assert (tmp_path / ".checkpoint-staging").is_dir() and (tmp_path / LOCK).is_file()
    os.write(end, b"1")
    os.waitpid(child, 0)
    make_safe_trainer(tmp_path).train(resume_from_checkpoint="last")
    assert not (tmp_path / LOCK).exists() and not (tmp_path / ".checkpoint-staging").exists()


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    child = os.fork()
    if child == 0:
        hold_lock = run_lock(tmp_path)
        hold_lock.__enter__()
        os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / LOCK).exists()
    with run_lock(tmp_path):
        with pytest.raises(ValueError, match="Another run trains"), run_lock(tmp_path):
            pass
    assert not (tmp_path / LOCK).exists()


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_after_the_step_with_a_checkpoint(number, straight, tmp_path, capsys):  # noqa: F811
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    options = {"eval_strategy": "steps", "eval_steps": 1, "save_total_limit": 1, "load_best_model_at_end": True}
    trainer = make_safe_trainer(tmp_path / "run", callback=At(5, lambda: signal.raise_signal(number)), **options)
    with pytest.raises(SystemExit) as raised:
        trainer.train()
    assert isinstance(raised.value, (RunInterrupted, KeyboardInterrupt)) and raised.value.code == 128 + number
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert capsys.readouterr().err.strip().splitlines()[-1] == (
        f"{number.name} ended the run at step 5 of 10; resume from {tmp_path}/run/checkpoint-5 by "
        "resume_from_checkpoint='last'."
    )
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"checkpoint-4", "checkpoint-5"}
    resumed = make_safe_trainer(tmp_path / "run")
    resumed.train(resume_from_checkpoint=find_checkpoint(tmp_path / "run", "last"))
    assert_same(resumed, straight)


def test_a_signal_ends_an_evaluation_at_once(straight, tmp_path):  # noqa: F811
    seen = []

    class Interrupts(TrainerCallback):
        def on_prediction_step(self, args, state, control, **kwargs):
            seen.append(state.global_step)
            if len(seen) == 6:
                signal.raise_signal(signal.SIGTERM)

    options = {"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 1}
    trainer = make_safe_trainer(tmp_path, callback=Interrupts(), **options)
    with pytest.raises(RunInterrupted, match="SIGTERM ended the run at step 4 of 10; resume from .*checkpoint-4"):
        trainer.train()
    assert seen == [2, 2, 2, 2, 4, 4] and steps(tmp_path) == [2, 4]
    resumed = make_safe_trainer(tmp_path)
    resumed.train(resume_from_checkpoint="last")
    assert_same(resumed, straight)


def test_the_second_signal_ends_the_run_at_once(tmp_path):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as raised:
        make_safe_trainer(tmp_path, callback=At(5, twice)).train()
    assert not isinstance(raised.value, RunInterrupted)
    assert steps(tmp_path) == [2, 4] and not (tmp_path / LOCK).exists()


def test_a_process_ends_with_the_exit_code_of_the_signal(tokenizer, pieces, tmp_path):
    """Without a model or card that looks finished."""

    class Ends(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        trainer = make_trainer(tokenizer, pieces, tmp_path, **SAVING)
        trainer.add_callback(Ends())
        try:
            trainer.train()
            trainer.save_model()
        except SystemExit as error:
            os._exit(error.code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-2", "checkpoint-3"}
    verify_checkpoint(tmp_path / "checkpoint-3")
    make_trainer(tokenizer, pieces, tmp_path, **SAVING).train(resume_from_checkpoint="last")


def test_signals_are_left_alone_where_they_cannot_or_must_not_be_taken(tmp_path):
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup and shells do for what runs in the background
    try:
        with StopSignals() as signals:
            signal.raise_signal(signal.SIGINT)
            assert not signals.received and signal.getsignal(signal.SIGTERM) == signals._note
        thread = threading.Thread(target=lambda: make_safe_trainer(tmp_path, max_steps=1).train())
        thread.start()
        thread.join()
        assert steps(tmp_path) == [1]
    finally:
        signal.signal(signal.SIGINT, previous)


def test_what_a_launcher_passes_on_is_no_second_signal(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    moments = iter([10.0, 10.1, 12.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signals.received == signal.SIGINT
