# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The record that a run keeps beside its checkpoints, and the resumption of a run: it takes from the record what is not
given, and any difference to the record is refused by name.
"""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset

from .checkpoints import CheckpointError, find_checkpoint
from .data.data_arguments import DataTrainingArguments
from .data.texts import column_names
from .data.token_frequency import order_digest
from .model_arguments import ModelArguments
from .models.loading import read_config, read_record
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
    """CheckpointError where class and configuration of `model` are not those of a checkpoint."""
    saved, own = read_config(str(checkpoint)), model.config
    # Further names are those of classes that can load a part of it.
    compare(checkpoint, {"class": (saved.architectures or [None])[0]}, {"class": type(model).__name__})
    values = [json.loads(config.to_json_string(use_diff=False)) for config in (saved, own)]
    compare(checkpoint, *({k: v for k, v in config.items() if k not in NOT_COMPARED} for config in values))


def check_record(checkpoint: str | Path, record: dict) -> None:
    """CheckpointError where `record`, of the run that is to be resumed, differs from that of a checkpoint; entries
    that one of them lacks are left."""
    saved, own = flat(read_record(str(checkpoint))), flat(json.loads(json.dumps(record)))
    compare(checkpoint, saved, {name: value for name, value in own.items() if name in saved})


def compare(checkpoint, saved: dict, own: dict) -> None:
    """CheckpointError where a value of a checkpoint differs from that of the run that is to be resumed."""
    for name, value in own.items():
        if saved.get(name) != value:
            raise CheckpointError(
                f"The checkpoint {checkpoint} was made with {name} {json.dumps(saved.get(name))}, not "
                f"{json.dumps(value)}: resume it with the options of its run, or start a new run from its model by "
                "--model_name_or_path."
            )


def flat(values: dict, prefix: str = "") -> dict:
    """The entries of a dict and of dicts within it."""
    entries = {}
    for name, value in values.items():
        entries |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return entries


def resume_options(
    model_args: ModelArguments, data_args: DataTrainingArguments, training_args: ConceptTrainingArguments
) -> str | None:
    """The checkpoint from which the run is resumed, None for a new run. Options of the model, the objective and
    `max_seq_length` that are not given become those of its run; so does the folder of the run. ValueError where there
    is no such checkpoint, it is damaged, or its run was started with other options."""
    resume = training_args.resume_from_checkpoint
    if not resume:
        return None
    if not training_args.do_train:
        raise ValueError(
            "--resume_from_checkpoint goes on with training; a checkpoint is evaluated by --model_name_or_path."
        )
    checkpoint = find_checkpoint(training_args.output_dir or ".", resume)
    training_args.output_dir = training_args.output_dir or str(Path(checkpoint).parent)
    record = read_record(checkpoint)
    for option in fields(ModelArguments):
        if option.name in record and not model_args.given(option.name):
            setattr(model_args, option.name, record[option.name])
    if data_args.max_seq_length is None:
        data_args.max_seq_length = record.get("max_seq_length")
    check_record(checkpoint, start_record(model_args, data_args, training_args))
    if training_args.objective is None:
        training_args.objective = record["objective"]
        for options in record["objectives"].values():
            for name, value in options.items():
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


def describe_rows(data) -> dict[str, Any]:
    """Entries by which training data can be compared: a digest of tokens and their order, and the number of rows."""
    entries = {"train_rows": len(data) if hasattr(data, "__len__") else "a stream"}
    data = Dataset.from_list(data) if isinstance(data, list) else data
    if isinstance(data, Dataset | IterableDataset) and "input_ids" in column_names(data):
        return {"train_text": order_digest(data), **entries}
    return entries
