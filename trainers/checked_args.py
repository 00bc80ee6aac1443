# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""transformers' training arguments without options that have no effect."""

from dataclasses import MISSING, dataclass, fields
from typing import ClassVar

from transformers import TrainingArguments
from transformers.hf_argparser import HfArg

from .utils.distributed import check_processes
from .utils.limits import check_at_least


# The least value of numbers that transformers takes as they come; other limits are its own business.
LEAST = {
    "learning_rate": 0, "weight_decay": 0, "warmup_steps": 0, "max_grad_norm": 0, "adam_epsilon": 0,
    "per_device_train_batch_size": 1, "per_device_eval_batch_size": 1, "gradient_accumulation_steps": 1,
    "dataloader_num_workers": 0, "seed": 0, "seeds": 0, "data_seed": 0, "learning_rates": 0, "num_iterations": 1,
    "early_stopping_patience": 1, "eval_steps": 0, "eval_delay": 0,
    "concept_loss_warmup_steps": 0, "mean_iterations": 1, "concept_metric_samples": 0,
    "softmax_samples": 0,
}  # fmt: skip

STEPS = ("do_train", "do_eval", "do_predict")


@dataclass
class CheckedTrainingArguments(TrainingArguments):
    """
    [`TrainingArguments`] of which each option has an effect. A subclass names in `without_effect` those that its
    training does not read, each with the reason; another value than the default is then a ValueError, as are a number
    that is too small and processes that would train alone.

    As in the scripts of transformers, naming any of `do_train`, `do_eval` and `do_predict` runs those that are named;
    naming none, or only what is not to run, runs training and evaluation but for that.
    """

    without_effect: ClassVar[dict[str, str]] = {
        "local_rank": "torchrun and accelerate launch give each process its rank",
    }

    do_train: bool = HfArg(default=None, help="Train; with --do_eval, by default.")
    do_eval: bool = HfArg(default=None, help="Evaluate; with --do_train, by default.")
    do_predict: bool = HfArg(default=None, help="Write predictions for the test split or --test_file.")

    def __post_init__(self):
        steps = self.chosen_steps()
        self.check_effects()
        self.check_numbers(train=steps["do_train"])
        super().__post_init__()
        check_processes(self)
        # transformers turns evaluation on where there is a strategy for it.
        self.do_train, self.do_eval, self.do_predict = steps.values()

    def chosen_steps(self) -> dict[str, bool]:
        """Which of `STEPS` are run; ValueError if none is."""
        given = {name: getattr(self, name) for name in STEPS}
        named = any(given.values())
        steps = {name: (name != "do_predict" and not named) if on is None else on for name, on in given.items()}
        if not any(steps.values()):
            raise ValueError("Nothing is left to do: --do_train, --do_eval and --do_predict are all off.")
        return steps

    def check_effects(self) -> None:
        """ValueError for an option that no step reads."""
        reasons = self.without_effect
        for option in fields(self):
            default = option.default if option.default_factory is MISSING else option.default_factory()
            value = getattr(self, option.name)
            off = option.name in STEPS and value is False
            if option.name in reasons and value != default and not off:
                raise ValueError(f"--{option.name} has no effect here: {reasons[option.name]}.")

    def check_numbers(self, train: bool) -> None:
        """ValueError for a number that is too small."""
        check_at_least(self, **{name: least for name, least in LEAST.items() if hasattr(self, name)})
        for name, read in (
            ("max_steps", self.max_steps != -1),
            ("save_steps", self.save_strategy == "steps"),
            ("num_train_epochs", train and self.max_steps == -1),
        ):
            if read and not getattr(self, name) > 0:
                raise ValueError(f"--{name} must be positive, not {getattr(self, name)}.")
