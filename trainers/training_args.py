# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Training arguments: transformers', the choice of objectives and concept losses, and all their options."""

from dataclasses import dataclass, field, fields, make_dataclass

from transformers.hf_argparser import HfArg

from .checked_args import CheckedTrainingArguments
from .evaluation.results import choose_trackers
from .losses import CONCEPT_LOSSES
from .losses.weighting import WEIGHTINGS
from .objectives import OBJECTIVES, Mixture, parse_mixture
from .schedule import StepSchedule, parse_lengths


def objective_options() -> list[tuple]:
    """One optional argument for each option of each objective; None leaves it to the objective."""
    owners, arguments = {}, {}
    for name, objective in OBJECTIVES.items():
        for option in fields(objective):
            default = " ".join(map(str, option.default)) if isinstance(option.default, tuple) else str(option.default)
            owners.setdefault(option.name, {}).setdefault(default, []).append(name)
            # Objectives may share an option and differ in its default.
            named = "; ".join(f"{', '.join(names)}: default {own}" for own, names in owners[option.name].items())
            text = f"{option.metadata['help']} ({named})"
            help_text = text.replace("%", "%%")  # argparse takes % for a format
            arguments[option.name] = option.name, option.type | None, field(default=None, metadata={"help": help_text})
    return list(arguments.values())


ObjectiveArguments = make_dataclass("ObjectiveArguments", objective_options())
ObjectiveArguments.__module__ = __name__
ObjectiveArguments.__doc__ = "The options of all objectives, made from their fields: a new objective brings its own."


def read_objectives(text: str) -> tuple[dict[str, float], dict[str, float]]:
    """Shares and weights of [`parse_mixture`]; ValueError for an unknown objective."""
    parts, auxiliary = parse_mixture(text)
    if unknown := [name for name in parts | auxiliary if name not in OBJECTIVES]:
        raise ValueError(f"Unknown objective {unknown[0]!r}; choose one of {sorted(OBJECTIVES)}.")
    return parts, auxiliary


@dataclass
class ConceptTrainingArguments(ObjectiveArguments, CheckedTrainingArguments):
    """
    [`TrainingArguments`] with the defaults of a short pretraining run, the objectives and the concept losses.

    Raises:
        ValueError: an unknown name, an impossible value, or an option of something that was not chosen.
    """

    without_effect = {
        **CheckedTrainingArguments.without_effect,
        "do_predict": "there is nothing to predict; encode, reconstruct and complete are methods of the model",
        "label_smoothing_factor": "the loss of an objective is a likelihood, which smoothed labels would change",
        "enable_jit_checkpoint": "SIGTERM always leaves a checkpoint",
        "average_tokens_across_devices": "a loss is always the mean over the labels of all processes",
    }

    objective: str | None = HfArg(
        default=None,
        help=f"One of {sorted(OBJECTIVES)}, or several with their shares of the texts: "
        "denoising:0.6,prefix_diffusion:0.4; with + before it an objective has all texts, and a weight: "
        "+contrastive:0.1. By default the model type's own.",
    )
    concept_losses: str | None = HfArg(
        default=None,
        help=f"Losses on concepts with weights: vicreg:0.01,t_regs_mst:0.01; of {sorted(CONCEPT_LOSSES)}. "
        "After a name may stand /content: only the text-dependent part of the concepts.",
    )
    loss_weighting: str = HfArg(
        default="fixed",
        help=f"How concept losses are weighted: one of {sorted(WEIGHTINGS)}; the latter takes no weights.",
    )
    concept_loss_warmup_steps: int = HfArg(
        default=0, help="Steps over which the weight of concept losses rises to its value."
    )
    softmax_samples: int = HfArg(
        default=1024,
        help="Tokens in the softmax of a training step beside those that are labels in it, drawn at random; 0 for the "
        "whole vocabulary, as in evaluation.",
    )
    mean_iterations: float | None = HfArg(
        default=None, help="Recursive: the depth of each step is drawn around this mean."
    )
    concept_nums: list[int] | None = HfArg(
        default=None, help="Numbers of concepts, of which each step draws one: 8 16 32. All by default."
    )
    length_schedule: str | None = HfArg(
        default=None, help="Longest text by share of the training: 512,0.5:2048,0.8:8192."
    )
    backbone_learning_rate: float | None = HfArg(
        default=None, help="Learning rate of a pretrained backbone; the common one by default."
    )
    reader_learning_rate: float | None = HfArg(
        default=None, help="Learning rate of a reader without its adapter; the common one by default."
    )
    embedding_learning_rate: float | None = HfArg(
        default=None,
        help="Learning rate of the token table; by default a quarter of the common one where the mean of the "
        "concepts is the mean of its rows, as a high rate hurts sentence similarity; the common one elsewhere, "
        "also for a decoder of continuations alone, which learns slowly at a low rate.",
    )
    concept_metric_samples: int = HfArg(
        default=256, help="Evaluation texts for concept and reconstruction metrics; 0 omits them."
    )

    output_dir: str | None = HfArg(
        default=None, help="Folder of the run; outputs/<run name> by default. Must not hold a run yet."
    )
    per_device_train_batch_size: int = HfArg(default=32, help="Batch size per device in training.")
    per_device_eval_batch_size: int = HfArg(default=64, help="Batch size per device in evaluation.")
    learning_rate: float = HfArg(default=2e-3, help="Peak learning rate; 2e-3 suits hidden size 128.")
    num_train_epochs: float = HfArg(default=1.25, help="Passes over the training pieces.")
    weight_decay: float = HfArg(default=0.01, help="Weight decay on matrices.")
    optim: str = HfArg(default="adamw_torch_fused", help="Optimizer.")
    adam_beta2: float = HfArg(default=0.95, help="Second beta of AdamW.")
    lr_scheduler_type: str = HfArg(default="cosine", help="Learning-rate schedule.")
    warmup_steps: float = HfArg(default=0.05, help="Warm-up steps, or their share when below 1.")
    eval_strategy: str = HfArg(default="steps", help="When to evaluate.")
    eval_steps: float | None = HfArg(default=0.25, help="Evaluate every so many steps, or this share.")
    logging_steps: float = HfArg(default=20, help="Log every so many steps.")
    logging_nan_inf_filter: bool = HfArg(default=False, help="Hide losses that are not finite.")
    save_steps: float = HfArg(default=0.5, help="Save every so many steps, or this share of all.")
    save_total_limit: int | None = HfArg(default=2, help="Checkpoints to keep.")
    report_to: list[str] = HfArg(
        default_factory=lambda: ["none"], help="Trackers: wandb, tensorboard, trackio, all or none."
    )
    hub_private_repo: bool = HfArg(
        default=True, help="Whether a repository made by --push_to_hub is private; false publishes it."
    )
    remove_unused_columns: bool = HfArg(default=False, help="The collator chooses its columns.")

    def __post_init__(self):
        unnamed = self.output_dir is None
        super().__post_init__()
        choose_trackers(self.report_to)
        if self.objective is not None:
            read_objectives(self.objective)
        if unnamed:
            self.output_dir = None  # not transformers' "trainer_output": the run's name is not known yet
        if self.accelerator_config.dispatch_batches is None:
            self.accelerator_config.dispatch_batches = False  # every process reads its own part of a stream
        if self.device.type == "cpu":
            self.dataloader_pin_memory = False  # nothing to pin for; torch would warn

    def token_table_rate(self, config) -> float | None:
        """Learning rate of the token table of a network of this configuration; None for the common one."""
        if self.embedding_learning_rate is not None:
            return self.embedding_learning_rate
        given_mean = config.concept_mean != "free" and config.backbone_config is None
        return self.learning_rate / 4 if given_mean and config.decoder_target != "continuation" else None

    def make_mixture(self, default: str) -> Mixture:
        """The chosen objectives, or `default`, with the given options; ValueError for an option of none of them."""
        parts, auxiliary = read_objectives(self.objective or default)
        own = {name: {option.name for option in fields(OBJECTIVES[name])} for name in parts | auxiliary}
        given = {option.name: getattr(self, option.name) for option in fields(ObjectiveArguments)}
        given = {name: value for name, value in given.items() if value is not None}
        known = set().union(*own.values())
        if foreign := sorted(set(given) - known):
            raise ValueError(
                f"The objective {'+'.join(own)!r} has no option {foreign}; its options are {sorted(known)}."
            )
        objectives = {
            name: OBJECTIVES[name](**{option: value for option, value in given.items() if option in options})
            for name, options in own.items()
        }
        return Mixture(objectives, parts, auxiliary)

    def make_schedule(self) -> StepSchedule:
        """What changes from step to step."""
        lengths = parse_lengths(self.length_schedule)
        numbers = tuple(self.concept_nums or ())
        return StepSchedule(self.seed, self.mean_iterations, lengths, self.concept_loss_warmup_steps, numbers)
