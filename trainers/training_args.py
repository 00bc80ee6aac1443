# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Training arguments: transformers', the choice of objective, and every objective's own options."""

import re
from dataclasses import dataclass, field, fields, make_dataclass

from transformers import TrainingArguments

from .objectives import OBJECTIVES, Objective


def option_help(objective_class: type, name: str) -> str:
    """The line of the class docstring that describes an option."""
    match = re.search(rf"^\s+{name}: (.*?)(?=^\s+\w+: |\Z)", objective_class.__doc__, re.MULTILINE | re.DOTALL)
    return " ".join(match[1].split()) if match else ""


def _objective_options():
    """One optional argument for each field of each objective; None leaves it to the objective."""
    found = {}
    for name, objective_class in OBJECTIVES.items():
        for option in fields(objective_class):
            text = f"{name}: {option_help(objective_class, option.name)} (default {option.default})"
            if option.name in found:
                text = f"{found[option.name][2].metadata['help']} {text}"
            found[option.name] = (option.name, option.type | None, field(default=None, metadata={"help": text}))
    return list(found.values())


ObjectiveArguments = make_dataclass("ObjectiveArguments", _objective_options())
ObjectiveArguments.__module__ = __name__
ObjectiveArguments.__doc__ = "The options of all objectives, made from their fields: a new objective brings its own."


@dataclass
class ConceptTrainingArguments(ObjectiveArguments, TrainingArguments):
    """
    [`TrainingArguments`] with the defaults of a short pretraining run, and the objective.

    Raises:
        ValueError: an unknown objective, or an option of another objective than the chosen one.
    """

    objective: str | None = field(
        default=None, metadata={"help": f"One of {sorted(OBJECTIVES)}; by default the model type's own."}
    )
    concept_metric_samples: int = field(
        default=256, metadata={"help": "Evaluation texts for concept and reconstruction metrics; 0 leaves them out."}
    )

    output_dir: str | None = field(
        default=None, metadata={"help": "Folder of the run; outputs/<run name> by default. Must not hold a run yet."}
    )
    per_device_train_batch_size: int = field(default=32, metadata={"help": "Batch size per device in training."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Batch size per device in evaluation."})
    learning_rate: float = field(default=2e-3, metadata={"help": "Peak learning rate; 2e-3 suits hidden size 128."})
    num_train_epochs: float = field(default=1.25, metadata={"help": "Passes over the training pieces."})
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay on matrices."})
    adam_beta2: float = field(default=0.95, metadata={"help": "Second beta of AdamW."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Learning-rate schedule."})
    warmup_steps: float = field(default=0.05, metadata={"help": "Warm-up steps, or their share when below 1."})
    eval_strategy: str = field(default="steps", metadata={"help": "When to evaluate."})
    eval_steps: float | None = field(default=0.25, metadata={"help": "Evaluate every so many steps, or this share."})
    logging_steps: float = field(default=20, metadata={"help": "Log every so many steps."})
    save_strategy: str = field(default="steps", metadata={"help": "When to save a checkpoint."})
    save_steps: float = field(default=0.5, metadata={"help": "Save every so many steps, or this share of all."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints to keep."})
    prediction_loss_only: bool = field(default=True, metadata={"help": "Keep no logits in evaluation."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "The collator chooses its columns."})

    def __post_init__(self):
        if self.objective is not None and self.objective not in OBJECTIVES:
            raise ValueError(f"Unknown objective {self.objective!r}; choose one of {sorted(OBJECTIVES)}.")
        unnamed = self.output_dir is None
        super().__post_init__()
        if unnamed:
            self.output_dir = None  # transformers would say "trainer_output"; the run's name is not known yet
        if self.device.type == "cpu":
            self.dataloader_pin_memory = False  # nothing to pin for; torch would warn

    def make_objective(self, default: str) -> Objective:
        """The chosen objective, or `default`, with the options given."""
        name = self.objective or default
        own = {option.name for option in fields(OBJECTIVES[name])}
        given = {
            option.name: getattr(self, option.name)
            for option in fields(ObjectiveArguments)
            if getattr(self, option.name) is not None
        }
        if foreign := sorted(set(given) - own):
            raise ValueError(f"The objective {name!r} has no option {foreign}; its options are {sorted(own)}.")
        return OBJECTIVES[name](**given)
