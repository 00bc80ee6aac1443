# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""transformers' training arguments without options that have no effect."""

import math
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import ClassVar

from transformers import TrainingArguments

from .distributed import check_processes


# The least value of numbers that transformers takes as they come; other limits are its own business.
LEAST = {
    "learning_rate": 0, "weight_decay": 0, "warmup_steps": 0, "max_grad_norm": 0, "adam_epsilon": 0,
    "per_device_train_batch_size": 1, "per_device_eval_batch_size": 1, "gradient_accumulation_steps": 1,
    "dataloader_num_workers": 0, "seed": 0, "seeds": 0, "data_seed": 0, "learning_rates": 0, "num_iterations": 1,
    "early_stopping_patience": 1, "eval_steps": 0, "eval_delay": 0, "concept_noise": 0, "step_supervision": 0,
    "concept_loss_warmup_steps": 0, "gradient_balance_steps": 1, "max_iterations": 1, "backprop_iterations": 1,
    "mean_iterations": 1, "loss_weight": 0, "concept_metric_samples": 0,
}  # fmt: skip


@dataclass
class CheckedTrainingArguments(TrainingArguments):
    """
    [`TrainingArguments`] of which each option has an effect. A subclass names in `without_effect` those that its
    training does not read, each with the reason, and in `read_by` those that only one step reads; another value than
    the default is then an error.

    As in the scripts of transformers, naming any of `do_train`, `do_eval` and `do_predict` runs those that are named;
    naming none, or only what is not to run, runs training and evaluation but for that. They are bool after
    initialisation.

    Raises:
        ValueError: an option without effect, a number that is not finite or too small, no pass over the data,
            processes that would train alone.
    """

    without_effect: ClassVar[dict[str, str]] = {
        "local_rank": "torchrun and accelerate launch tell each process its rank by themselves",
    }
    read_by: ClassVar[dict[str, tuple[str, ...]]] = {}

    do_train: bool = field(default=None, metadata={"help": "Train; with --do_eval, by default."})
    do_eval: bool = field(default=None, metadata={"help": "Evaluate; with --do_train, by default."})
    do_predict: bool = field(default=None, metadata={"help": "Write predictions for the test split or --test_file."})

    def __post_init__(self):
        steps = {name: getattr(self, name) for name in ("do_train", "do_eval", "do_predict")}
        default = not any(steps.values())
        steps = {name: name != "do_predict" and default if given is None else given for name, given in steps.items()}
        if not any(steps.values()):
            raise ValueError("Nothing is left to do: --do_train, --do_eval and --do_predict are all off.")
        left = {name: f"nothing asks for --{step}" for step, on in steps.items() if not on
                for name in self.read_by.get(step, ())}  # fmt: skip
        for option in fields(self):
            value, least = getattr(self, option.name), LEAST.get(option.name, -math.inf)
            if reason := (self.without_effect | left).get(option.name):
                default = option.default if option.default_factory is MISSING else option.default_factory()
                if value != default and not (option.name.startswith("do_") and value is False):
                    raise ValueError(f"--{option.name} has no effect here: {reason}.")
            numbers = [number for number in (value if isinstance(value, list) else [value])
                       if isinstance(number, int | float) and not isinstance(number, bool)]  # fmt: skip
            for number in numbers:
                if not math.isfinite(number):
                    raise ValueError(f"--{option.name} must be a finite number, not {number}.")
                if number < least:
                    raise ValueError(f"--{option.name} must be at least {least}, not {number}.")
        if self.max_steps < 1 and self.max_steps != -1:
            raise ValueError(
                f"--max_steps must be at least 1, not {self.max_steps}; without it --num_train_epochs counts, and "
                "--do_train false trains nothing."
            )
        if self.save_strategy == "steps" and self.save_steps <= 0:
            raise ValueError(
                f"--save_steps must be positive, not {self.save_steps}; --save_strategy no saves nothing."
            )
        for name in self._VALID_DICT_FIELDS:
            value = getattr(self, name)
            if isinstance(value, str) and not value.startswith("{") and not Path(value).is_file():
                raise ValueError(f'--{name} takes values by name, {{"name": value}}, or their file, not {value!r}.')
        if steps["do_train"] and self.max_steps <= 0 and self.num_train_epochs <= 0:
            raise ValueError(
                f"--num_train_epochs must be positive, not {self.num_train_epochs}; --do_train false trains nothing."
            )
        super().__post_init__()
        check_processes(self)
        # transformers turns evaluation on where there is a strategy for it.
        self.do_train, self.do_eval, self.do_predict = steps.values()
