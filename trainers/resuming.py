# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The record that a run keeps beside its checkpoints, and the resumption of a run: it takes from the record what is not
given, and any difference to the record is refused by name.
"""

import hashlib
import json
from dataclasses import asdict, fields
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from .checkpoints import CheckpointError, find_checkpoint
from .data.data_arguments import DataTrainingArguments
from .model_arguments import ModelArguments
from .models.loading import RUN_RECORD, read_config, read_record
from .training_args import ConceptTrainingArguments


# Values of a configuration that do not describe the network, or that transformers takes from the tokenizer when
# training begins.
NOT_COMPARED = {
    "_name_or_path", "architectures", "auto_map", "bos_token_id", "dtype", "eos_token_id", "pad_token_id",
    "transformers_version", "use_cache",
}  # fmt: skip

# Options of the model that the record does not hold: its tokenizer is beside it.
NOT_RECORDED = ("tokenizer_name", "trust_remote_code")


def check_model(checkpoint: str | Path, model) -> None:
    """
    Compare class and configuration of `model` with those of a checkpoint.

    Raises:
        ValueError: the checkpoint's configuration cannot be read; a CheckpointError where they differ.
    """
    saved, own = read_config(str(checkpoint)), model.config
    compare(checkpoint, {"class": saved.architectures}, {"class": [type(model).__name__]})
    values = [json.loads(config.to_json_string(use_diff=False)) for config in (saved, own)]
    compare(checkpoint, *({k: v for k, v in config.items() if k not in NOT_COMPARED} for config in values))


def check_record(checkpoint: str | Path, record: dict) -> None:
    """
    Compare `record`, of the run that is to be resumed, with that of a checkpoint; entries that one of them lacks are
    left.

    Raises:
        CheckpointError: they differ, or the checkpoint's record cannot be read.
    """
    saved, own = read_record(str(checkpoint)), json.loads(json.dumps(record))
    for name in own:  # one by one, as entries that follow from others come last
        if name in saved:
            compare(checkpoint, {name: saved[name]}, {name: own[name]})


def compare(checkpoint, saved: dict, own: dict) -> None:
    """CheckpointError where values of a checkpoint differ from those of the run that is to be resumed."""
    if differing := differences(saved, own):
        raise CheckpointError(
            f"The checkpoint {checkpoint} was made with {'; with '.join(differing[:3])}: resume it with the options "
            "of its run, or start a new run from its model by --model_name_or_path."
        )


def differences(saved: dict, own: dict) -> list[str]:
    """Values that differ, each as "name value, not value", within dicts by their own entries."""
    differing = []
    for name in own:
        if isinstance(saved.get(name), dict) and isinstance(own[name], dict):
            shared = saved[name].keys() & own[name].keys()
            differing += differences(saved[name], {key: own[name][key] for key in own[name] if key in shared})
        elif saved.get(name) != own[name]:
            differing.append(f"{name} {shown(saved.get(name))}, not {shown(own[name])}")
    return differing


def shown(value) -> str:
    """A value in an error message."""
    if isinstance(value, list):
        return ", ".join(map(shown, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value)


def resume_options(
    model_args: ModelArguments, data_args: DataTrainingArguments, training_args: ConceptTrainingArguments
) -> str | None:
    """
    The checkpoint from which the run is resumed, None for a new run. Options of the model, the objective and
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
        raise ValueError("--resume_from_checkpoint last needs --output_dir, the folder of the run.")
    checkpoint = find_checkpoint(training_args.output_dir, resume)
    if training_args.output_dir is None:
        training_args.output_dir = str(Path(checkpoint).parent)
    record = read_record(checkpoint)
    if "model_type" not in record:
        raise ValueError(
            f"{RUN_RECORD} of {checkpoint} does not say how its model started, as that of run_pretraining.py does: "
            "start a new run from it by --model_name_or_path."
        )
    for option in fields(ModelArguments):
        if option.name in record and not model_args.given(option.name):
            setattr(model_args, option.name, record[option.name])
    if data_args.max_seq_length is None:
        data_args.max_seq_length = record["max_seq_length"]
    check_record(checkpoint, start_record(model_args, data_args, training_args))
    if training_args.objective is None:
        training_args.objective = record["objective"]
        for name, value in chain.from_iterable(options.items() for options in record["objectives"].values()):
            if getattr(training_args, name) is None:
                setattr(training_args, name, value)
    return checkpoint


def start_record(
    model_args: ModelArguments, data_args: DataTrainingArguments, training_args: ConceptTrainingArguments
) -> dict[str, Any]:
    """The entries of a record on the start of a run: options of the model, longest text, and the seeds."""
    options = {name: value for name, value in asdict(model_args).items() if name not in NOT_RECORDED}
    seeds = {"seed": training_args.seed, "data_seed": training_args.data_seed}
    return {**options, "max_seq_length": data_args.max_seq_length, **seeds}


def describe_rows(data) -> str:
    """An entry by which training data can be compared: the number of rows, and of data sets and lists, which always
    give the same rows, a digest of some of them."""
    if not hasattr(data, "__len__"):
        return "a stream"
    digest = ""
    if isinstance(data, Dataset | list) and len(data):
        rows = data.with_format(None) if isinstance(data, Dataset) else data
        chosen = [rows[round(place)] for place in torch.linspace(0, len(rows) - 1, 64).tolist()]
        text = json.dumps(chosen, default=lambda value: getattr(value, "tolist", lambda: type(value).__name__)())
        digest = f" ({hashlib.sha256(text.encode()).hexdigest()[:12]})"
    return f"{len(data):,} rows{digest}"
