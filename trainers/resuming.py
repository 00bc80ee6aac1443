# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What a run records beside its checkpoints, what a run that goes on takes from that record, and what both must have in
common. Another value is refused by name.
"""

import hashlib
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers.utils import cached_file

from .checkpoints import CheckpointError, find_checkpoint, list_checkpoints
from .data import first_line
from .model_arguments import ModelArguments
from .training_args import ConceptTrainingArguments


# Beside weights and configuration in a checkpoint: objectives, concept losses and optimizer of its run.
RUN_RECORD = "training_run.json"

# Values of a configuration that say nothing of the network, or that transformers takes from the tokenizer when
# training begins.
NOT_COMPARED = {
    "_name_or_path", "architectures", "auto_map", "bos_token_id", "dtype", "eos_token_id", "pad_token_id",
    "transformers_version", "use_cache",
}  # fmt: skip

# Options of the model that the record does not hold: its tokenizer is beside it.
NOT_RECORDED = ("tokenizer_name", "trust_remote_code")


def read_record(path: str) -> dict[str, Any]:
    """What the Trainer recorded of the run that made a checkpoint; empty where there is no such file."""
    try:
        file = cached_file(
            path,
            RUN_RECORD,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        return {} if file is None else json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{RUN_RECORD} of {path!r} cannot be read: {first_line(error)}") from error


def check_model(checkpoint: str | Path, model) -> None:
    """
    Compare class and configuration of `model` with those of a checkpoint.

    Raises:
        CheckpointError: they differ, or the checkpoint's configuration cannot be read.
    """
    own, path = model.config, Path(checkpoint, "config.json")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        _compare(checkpoint, {"class": raw.get("architectures")}, {"class": [type(model).__name__]})
        saved = type(own).from_dict(raw)
    except CheckpointError:
        raise
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read: {first_line(error)}") from error
    values = [json.loads(config.to_json_string(use_diff=False)) for config in (saved, own)]
    _compare(checkpoint, *({k: v for k, v in found.items() if k not in NOT_COMPARED} for found in values))


def check_record(checkpoint: str | Path, record: dict) -> None:
    """
    Compare `record`, of the run that is to go on, with that of a checkpoint; entries that one of them lacks are left.

    Raises:
        CheckpointError: they differ, or the checkpoint's record cannot be read.
    """
    path = Path(checkpoint, RUN_RECORD)
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        both = [name for name in record if name in saved]  # those that follow from others come last
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read: {first_line(error)}") from error
    own = json.loads(json.dumps(record))
    for name in both:
        _compare(checkpoint, {name: saved[name]}, {name: own[name]})


def differences(saved: dict, own: dict) -> list[str]:
    """What differs, each as "name value, not value", within dicts by their own entries."""
    found = []
    for name in own:
        if isinstance(saved.get(name), dict) and isinstance(own[name], dict):
            shared = saved[name].keys() & own[name].keys()
            found += differences(saved[name], {key: own[name][key] for key in own[name] if key in shared})
        elif saved.get(name) != own[name]:
            found.append(f"{name} {_shown(saved.get(name))}, not {_shown(own[name])}")
    return found


def _shown(value) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value)


def _compare(checkpoint, saved: dict, own: dict) -> None:
    if found := differences(saved, own):
        raise CheckpointError(
            f"The checkpoint {checkpoint} was made with {'; with '.join(found[:3])}: resume it with the options of "
            "its run, or start a new run from its model by --model_name_or_path."
        )


def resume_options(model_args: ModelArguments, data_args, training_args: ConceptTrainingArguments) -> str | None:
    """
    The checkpoint that the run goes on from, None for a new run. Options of the model, the objective and
    `max_seq_length` that are not given become those of its run; so does the folder of the run.

    Raises:
        ValueError: there is no such checkpoint, it is damaged, or its run was started with other options.
    """
    resume = training_args.resume_from_checkpoint
    if not resume:
        return None
    if not training_args.do_train:
        raise ValueError(
            "--resume_from_checkpoint goes on with training; a checkpoint is evaluated by --model_name_or_path."
        )
    if training_args.output_dir is None and resume == "last":
        raise ValueError("--resume_from_checkpoint last needs --output_dir, the folder of the run that is to go on.")
    checkpoint = find_checkpoint(training_args.output_dir, resume)
    if training_args.output_dir is None:
        if Path(checkpoint) not in list_checkpoints(Path(checkpoint).parent):
            raise ValueError(
                f"--resume_from_checkpoint {checkpoint} is no checkpoint-<step> in the folder of its run: give "
                "--output_dir, the folder in which the run is to go on."
            )
        training_args.output_dir = str(Path(checkpoint).parent)
    record = read_record(checkpoint)
    if "model_type" not in record:
        raise ValueError(
            f"The checkpoint {checkpoint} does not say how its model started (run_pretraining.py records that): start "
            "a new run from it by --model_name_or_path."
        )
    for option in fields(ModelArguments):
        if option.name in record and not model_args.given(option.name):
            setattr(model_args, option.name, record[option.name])
    if data_args.max_seq_length is None:
        data_args.max_seq_length = record["max_seq_length"]
    check_record(checkpoint, start_record(model_args, data_args, training_args))
    if training_args.objective is None:
        training_args.objective = record["objective"]
        for options in record["objectives"].values():
            for name, value in options.items():
                if getattr(training_args, name) is None:
                    setattr(training_args, name, value)
    return checkpoint


def start_record(model_args: ModelArguments, data_args, training_args: ConceptTrainingArguments) -> dict[str, Any]:
    """What a checkpoint records of the start of its run: options of the model, longest text, and the seeds."""
    options = {name: value for name, value in asdict(model_args).items() if name not in NOT_RECORDED}
    seeds = {"seed": training_args.seed, "data_seed": training_args.data_seed}
    return {**options, "max_seq_length": data_args.max_seq_length, **seeds}


def describe_rows(data) -> str:
    """A line that tells training data apart: the number of rows, and of data sets and lists, which always give the
    same rows, a digest of some of them."""
    if not hasattr(data, "__len__"):
        return "a stream"
    digest = ""
    if isinstance(data, Dataset | list) and len(data):
        rows = data.with_format(None) if isinstance(data, Dataset) else data
        chosen = [rows[round(place)] for place in torch.linspace(0, len(rows) - 1, 64).tolist()]
        text = json.dumps(chosen, default=lambda value: getattr(value, "tolist", lambda: type(value).__name__)())
        digest = f" ({hashlib.sha256(text.encode()).hexdigest()[:12]})"
    return f"{len(data):,} rows{digest}"


def describe_text(counts: torch.Tensor, pieces: int | None) -> str:
    """A line that tells training texts apart: number of pieces (None in a stream) and of tokens, and a digest of how
    often each token occurs, `counts` [V]."""
    digest = hashlib.sha256(counts.long().numpy().tobytes()).hexdigest()[:12]
    return f"{'a stream' if pieces is None else f'{pieces:,} pieces'} of {int(counts.sum()):,} tokens ({digest})"
