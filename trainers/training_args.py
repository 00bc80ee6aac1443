# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Training arguments: transformers', the choice of objectives and concept losses, and all their options."""

import re
from dataclasses import dataclass, field, fields, make_dataclass

from .checked_args import CheckedTrainingArguments
from .concept_losses import CONCEPT_LOSSES
from .loss_terms import LossTerm, make_weighting, parse_terms
from .model_card import CardArguments
from .objectives import OBJECTIVES, Mixture, parse_mixture
from .results import choose_trackers
from .runs import git_state
from .schedule import StepSchedule, parse_lengths, parse_numbers
from .training_model import TrainingForms
from .weighting import WEIGHTINGS, LossWeighting


def option_help(option_class: type, name: str) -> str:
    """The lines of the class docstring, or of that of a class above, that describe an option, as argparse takes them:
    it reads % as a format."""
    for above in option_class.__mro__:
        match = re.search(rf"^\s+{name}: (.*?)(?=^\s+\w+: |\Z)", above.__doc__ or "", re.MULTILINE | re.DOTALL)
        if match:
            return " ".join(match[1].split()).replace("%", "%%")
    return ""


def _options(classes: dict[str, type]):
    """One optional argument for each field of each class; None leaves it to the class."""
    found = {}
    for name, option_class in classes.items():
        for option in fields(option_class):
            text = f"{name}: {option_help(option_class, option.name)} (default {option.default})"
            if option.name in found:
                text = f"{found[option.name][2].metadata['help']} {text}"
            found[option.name] = (option.name, option.type | None, field(default=None, metadata={"help": text}))
    return list(found.values())


ObjectiveArguments = make_dataclass("ObjectiveArguments", _options(OBJECTIVES))
ObjectiveArguments.__module__ = __name__
ObjectiveArguments.__doc__ = "The options of all objectives, made from their fields: a new objective brings its own."

ConceptLossArguments = make_dataclass("ConceptLossArguments", _options(CONCEPT_LOSSES))
ConceptLossArguments.__module__ = __name__
ConceptLossArguments.__doc__ = "The options of all concept losses, made from their fields."


@dataclass
class ConceptTrainingArguments(ConceptLossArguments, ObjectiveArguments, CardArguments, CheckedTrainingArguments):
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
        **dict.fromkeys(
            ("prediction_loss_only", "include_for_metrics", "batch_eval_metrics", "eval_do_concat_batches",
             "eval_use_gather_object", "eval_accumulation_steps", "label_names"),
            "an evaluation adds up losses and keeps no outputs",
        ),
    }  # fmt: skip

    objective: str | None = field(
        default=None,
        metadata={
            "help": f"One of {sorted(OBJECTIVES)}, or several with their shares of the texts: "
            "denoising:0.6,prefix_diffusion:0.4; with + before it an objective has all texts, and a weight: "
            "+contrastive:0.1. By default the model type's own."
        },
    )
    concept_losses: str | None = field(
        default=None,
        metadata={
            "help": f"Losses on concepts with weights: vicreg:0.01,t_regs_mst:0.01; of {sorted(CONCEPT_LOSSES)}. "
            "After a name may stand /content (only what depends on the text), /sample /batch /flat /pooled (which "
            "vectors are compared), /all_layers."
        },
    )
    loss_weight: float | None = field(
        default=None, metadata={"help": "One weight, divided among the concept losses that are given without one."}
    )
    loss_weighting: str = field(
        default="fixed", metadata={"help": f"How concept losses are weighed: one of {sorted(WEIGHTINGS)}."}
    )
    concept_loss_warmup_steps: int = field(default=0, metadata={"help": "Steps over which concept losses come in."})
    gradient_balance_steps: int = field(
        default=50, metadata={"help": "gradient_balanced: measure gradients every so many steps."}
    )
    matryoshka: str | None = field(
        default=None, metadata={"help": "Numbers of concepts of which one is drawn for each step: 4,8,16."}
    )
    concept_noise: float = field(
        default=0.0, metadata={"help": "Standard deviation of noise on the concepts that the decoder reads."}
    )
    mean_iterations: float | None = field(
        default=None, metadata={"help": "Recursive: draw the depth of each step around this mean."}
    )
    max_iterations: int = field(default=16, metadata={"help": "Recursive: largest depth drawn."})
    backprop_iterations: int | None = field(
        default=None, metadata={"help": "Recursive: gradients flow through the last so many iterations only."}
    )
    step_supervision: float = field(
        default=0.0, metadata={"help": "Weight of the loss of reading earlier iterations or layers."}
    )
    length_schedule: str | None = field(
        default=None, metadata={"help": "Longest text by share of the training: 512,0.5:2048,0.8:8192."}
    )
    matrix_optimizer: str = field(
        default="adamw", metadata={"help": "Optimizer of hidden matrices: adamw or muon (torch >= 2.9)."}
    )
    backbone_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of a pretrained backbone; the common one by default."}
    )
    embedding_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Learning rate of the token table; by default a quarter of the common one where the mean of the "
            "concepts is that of its rows, which a fast one robs of meaning, and the common one elsewhere: also where "
            "nothing is read but what follows a text, which a slow one hardly learns."
        },
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
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "Hide losses that are not finite."})
    save_strategy: str = field(default="steps", metadata={"help": "When to save a checkpoint."})
    save_steps: float = field(default=0.5, metadata={"help": "Save every so many steps, or this share of all."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints to keep."})
    report_to: list[str] = field(
        default_factory=lambda: ["none"], metadata={"help": "Trackers: wandb, tensorboard, trackio, all or none."}
    )
    hub_private_repo: bool = field(
        default=True, metadata={"help": "Whether a repository made by --push_to_hub is private; false publishes it."}
    )
    prediction_loss_only: bool = field(default=True, metadata={"help": "Keep no logits in evaluation."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "The collator chooses its columns."})

    def __post_init__(self):
        for name in parse_mixture(self.objective or "")[0] | parse_mixture(self.objective or "")[1]:
            if name not in OBJECTIVES:
                raise ValueError(f"Unknown objective {name!r}; choose one of {sorted(OBJECTIVES)}.")
        if self.matrix_optimizer not in ("adamw", "muon"):
            raise ValueError(f"matrix_optimizer must be adamw or muon, not {self.matrix_optimizer!r}.")
        unnamed = self.output_dir is None
        super().__post_init__()
        choose_trackers(self.report_to)
        if unnamed:
            self.output_dir = None  # transformers would say "trainer_output"; the run's name is not known yet
        if self.accelerator_config.dispatch_batches is None:
            self.accelerator_config.dispatch_batches = False  # every process reads its own part of a stream
        if self.device.type == "cpu":
            self.dataloader_pin_memory = False  # nothing to pin for; torch would warn

    def to_dict(self):
        """Also the state of the checkout: trackers log this."""
        return {**super().to_dict(), **git_state()}

    def _given(self, arguments: type, used: set[str], of: str) -> dict[str, object]:
        """Options that the user gave; ValueError for one that nothing chosen has."""
        given = {option.name: getattr(self, option.name) for option in fields(arguments)}
        given = {name: value for name, value in given.items() if value is not None}
        if foreign := sorted(set(given) - used):
            raise ValueError(f"{of} has no option {foreign}; its options are {sorted(used)}.")
        return given

    def token_table_rate(self, config) -> float | None:
        """Learning rate of the token table of a network of this configuration; None for the common one."""
        if self.embedding_learning_rate is not None:
            return self.embedding_learning_rate
        given_mean = config.concept_mean == "embeddings" and config.backbone_config is None
        return self.learning_rate / 4 if given_mean and config.decoder_target != "continuation" else None

    def make_mixture(self, default: str) -> Mixture:
        """The chosen objectives, or `default`, with the options given."""
        parts, beside = parse_mixture(self.objective or default)
        own = {name: {option.name for option in fields(OBJECTIVES[name])} for name in {**parts, **beside}}
        given = self._given(ObjectiveArguments, set().union(*own.values()), f"The objective {'+'.join(own)!r}")
        objectives = {
            name: OBJECTIVES[name](**{option: value for option, value in given.items() if option in options})
            for name, options in own.items()
        }
        return Mixture(objectives, parts, beside)

    def make_terms(self) -> list[LossTerm]:
        """The chosen concept losses with the options given."""
        given = self._given(ConceptLossArguments, {option.name for option in fields(ConceptLossArguments)}, "")
        terms = parse_terms(self.concept_losses, self.loss_weight, given)
        used = {option.name for term in terms for option in fields(term.loss)}
        self._given(ConceptLossArguments, used, f"--concept_losses {self.concept_losses!r}")
        return terms

    def make_weighting(self, terms: list[LossTerm]) -> LossWeighting:
        """The chosen weighting of `terms`."""
        return make_weighting(self.loss_weighting, terms)

    def make_forms(self) -> TrainingForms:
        return TrainingForms(self.concept_noise, self.backprop_iterations, self.step_supervision)

    def make_schedule(self) -> StepSchedule:
        return StepSchedule(
            self.seed, parse_numbers("matryoshka", self.matryoshka), self.mean_iterations, self.max_iterations,
            parse_lengths(self.length_schedule), self.concept_loss_warmup_steps,
        )  # fmt: skip
