# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Every option of the training arguments has an effect or is refused."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
import transformers
from transformers import HfArgumentParser, TrainingArguments

from trainers import ConceptTrainingArguments
from trainers.fine_tuning.training import FineTuningArguments

from ..conftest import ROOT


CLASSES = [ConceptTrainingArguments, FineTuningArguments]
every_class = pytest.mark.parametrize("arguments", CLASSES)


def names_read() -> set[str]:
    """The training arguments that code reads: transformers' Trainer and what it calls, and this package."""
    folder = Path(transformers.__file__).parent
    files = [*folder.glob("trainer*.py"), *folder.glob("integrations/*.py"), folder / "training_args.py"]
    files += [*(ROOT / "trainers").rglob("*.py"), *(ROOT / "examples").glob("*.py")]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files)
    aliases = re.findall(r'\("(\w+)", "\w+"\)', code)  # that become another argument
    return {*re.findall(r"(?<=args\.)\w+|(?<=self\.)\w+", code), *aliases}


def test_an_inherited_option_is_read_or_refused():
    """A new one of transformers that nothing reads fails here."""
    inherited, read = {option.name for option in fields(TrainingArguments)}, names_read()
    for arguments in CLASSES:
        assert inherited - read - set(arguments.without_effect) == set()


def other(option):
    """Another value than the default."""
    default = option.default if option.default_factory is MISSING else option.default_factory()
    if isinstance(default, bool) or "bool" in str(option.type):
        return not default
    return {int: 7, float: 0.5}.get(type(default), ["x"] if "list" in str(option.type) else "x")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(arguments, name) for arguments in CLASSES for name in arguments.without_effect
     if name in {option.name for option in fields(arguments)}],
)  # fmt: skip
def test_an_option_without_effect_is_refused_with_the_reason(arguments, name):
    (option,) = (option for option in fields(arguments) if option.name == name)
    reason = re.escape(arguments.without_effect[name])
    with pytest.raises(ValueError, match=f"^--{name} has no effect here: {reason}.$"):
        arguments(output_dir="x", report_to="none", use_cpu=True, **{name: other(option)})


@every_class
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": float("nan")}, "--learning_rate must be at least 0, not nan"),
        ({"learning_rate": -1.0}, "--learning_rate must be at least 0, not -1.0"),
        ({"per_device_train_batch_size": 0}, "--per_device_train_batch_size must be at least 1, not 0"),
        ({"per_device_eval_batch_size": -3}, "--per_device_eval_batch_size must be at least 1, not -3"),
        ({"gradient_accumulation_steps": 0}, "--gradient_accumulation_steps must be at least 1, not 0"),
        ({"num_train_epochs": 0.0}, "--num_train_epochs must be positive, not 0.0"),
        ({"max_steps": 0}, "--max_steps must be positive, not 0"),
        ({"save_strategy": "steps", "save_steps": -1}, "--save_steps must be positive, not -1"),
        ({"do_train": False, "do_eval": False}, "Nothing is left to do"),
    ],
)
def test_impossible_values(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        arguments(output_dir="x", report_to="none", use_cpu=True, **options)


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("concept_metric_samples", -1, 0), ("concept_loss_warmup_steps", -1, 0), ("mean_iterations", 0.0, 1),
     ("data_seed", -1, 0)],
)  # fmt: skip
def test_numbers_of_pretraining_that_are_too_small(name, value, least):
    with pytest.raises(ValueError, match=f"--{name} must be at least {least}, not {value}"):
        ConceptTrainingArguments(report_to="none", use_cpu=True, **{name: value})


@every_class
@pytest.mark.parametrize(
    ("words", "steps"),
    [
        ([], (True, True)),
        (["--do_train"], (True, False)),
        (["--do_eval"], (False, True)),
        (["--do_train", "false"], (False, True)),
        (["--do_eval", "false"], (True, False)),
        (["--do_train", "--do_eval"], (True, True)),
        (["--do_train", "false", "--do_eval", "true"], (False, True)),
    ],
)
def test_what_is_named_is_run(arguments, words, steps):
    given = ["--output_dir", "x", "--report_to", "none", "--use_cpu", "true", *words]
    (args,) = HfArgumentParser(arguments).parse_args_into_dataclasses(given)
    assert (args.do_train, args.do_eval, args.do_predict) == (*steps, False)


def test_predictions_beside_what_is_named():
    for options, steps in (
        ({"do_predict": True}, (False, False, True)),
        ({"do_predict": True, "do_train": True}, (True, False, True)),
    ):
        args = FineTuningArguments(output_dir="x", report_to="none", use_cpu=True, **options)
        assert (args.do_train, args.do_eval, args.do_predict) == steps
