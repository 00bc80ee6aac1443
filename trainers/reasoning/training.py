# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Training on generated problems by transformers' Trainer: short problems first, longer ones when these are answered.

B problems, F facts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

import torch
import torch.nn.functional as F
from transformers import Trainer, TrainerCallback
from transformers.hf_argparser import HfArg
from transformers.trainer_callback import ExportableState

from ..checked_args import CheckedTrainingArguments
from ..evaluation.results import choose_trackers
from ..objectives.noise import make_key, uniform
from ..safe_checkpoints import SafeCheckpointsMixin
from ..utils.limits import check_at_least
from .data import Batch, make_batch
from .problems import ProblemTask
from .systems import answer_logits


MEMORY = 0.9  # of the running mean of that share


@dataclass
class ProblemTrainingArguments(CheckedTrainingArguments):
    """[`TrainingArguments`] with the defaults of ten minutes on a core, and the course of lessons."""

    without_effect = {
        **CheckedTrainingArguments.without_effect,
        "resume_from_checkpoint": "the same command resumes what its --output_dir holds",
        "num_train_epochs": "problems are generated; --max_steps counts",
        "eval_strategy": "the trained networks are evaluated",
        "metric_for_best_model": "the last weights are used",
        "label_smoothing_factor": "answers are right or wrong",
        "push_to_hub": "push_to_hub.py pushes a saved folder",
    }

    seeds: list[int] | None = HfArg(default=None, help="Each system is trained with each seed; --seed by default.")
    trained_steps: int = HfArg(default=8, help="Facts from which the longest answers in training follow.")
    extra_iterations: int = HfArg(
        default=4, help="K in training is the number of steps and at most so many iterations more."
    )
    learned_share: float = HfArg(
        default=0.8, help="Share of right answers to the longest questions at which they become longer."
    )

    output_dir: str | None = HfArg(default=None, help="Folder of the runs; outputs/reasoning_<task> by default.")
    max_steps: int = HfArg(default=2500, help="Optimizer steps.")
    per_device_train_batch_size: int = HfArg(default=64, help="Problems in a batch.")
    per_device_eval_batch_size: int = HfArg(default=64, help="Problems in a batch of evaluation.")
    learning_rate: float | None = HfArg(default=None, help="Peak rate; that of the task by default.")
    lr_scheduler_type: str = HfArg(default="warmup_stable_decay", help="Learning-rate schedule.")
    lr_scheduler_kwargs: dict | str | None = HfArg(
        default=None, help="Options of the schedule; decay over the last fifth by default."
    )
    warmup_steps: float = HfArg(default=50, help="Warm-up steps, or their share when below 1.")
    weight_decay: float = HfArg(default=0.01, help="Weight decay on matrices.")
    adam_beta2: float = HfArg(default=0.98, help="Second beta of AdamW.")
    logging_steps: float = HfArg(default=100, help="Log every so many steps.")
    logging_nan_inf_filter: bool = HfArg(default=False, help="Hide losses that are not finite.")
    save_steps: float = HfArg(default=500, help="Save every so many steps.")
    save_total_limit: int | None = HfArg(default=1, help="Checkpoints to keep.")
    remove_unused_columns: bool = HfArg(default=False, help="Data have no columns.")
    report_to: list[str] = HfArg(default_factory=lambda: ["none"], help="wandb, tensorboard, trackio, all or none.")

    def __post_init__(self):
        given = self.output_dir
        if self.lr_scheduler_kwargs is None and self.lr_scheduler_type == "warmup_stable_decay":
            self.lr_scheduler_kwargs = {"num_decay_steps": max(1, self.max_steps // 5)}
        super().__post_init__()
        self.output_dir = given and self.output_dir  # transformers sets "trainer_output"; the task is not known yet
        choose_trackers(self.report_to)
        check_at_least(self, trained_steps=1, extra_iterations=1, learned_share=0, max_steps=1)

    def for_task(self, task: ProblemTask) -> "ProblemTrainingArguments":
        """With the rate of the task where none is given."""
        return self if self.learning_rate is not None else replace(self, learning_rate=task.learning_rate)

    @property
    def most_iterations(self) -> int:
        """The largest K in training."""
        return self.trained_steps + self.extra_iterations


class Lesson(NamedTuple):
    """Problems of a training step: `steps` of the longest answers, and `iterations` K."""

    steps: int
    iterations: int


class Curriculum(TrainerCallback, ExportableState):
    """
    The course of lessons. Half of the steps have problems with the longest answers so far, the others shorter ones;
    when the longest are answered, they become longer. Saved in checkpoints.

    Args:
        seed: of the draws.
        most_steps: of the longest answers at the end.
        learned: share of right answers to the longest questions at which they become longer.
        extra_iterations: K is at most so many larger than the number of steps.
    """

    def __init__(self, seed: int, most_steps: int, learned: float, extra_iterations: int):
        self.seed, self.most_steps, self.learned, self.extra_iterations = seed, most_steps, learned, extra_iterations
        self.longest, self.answered, self.heard = 1, 0.0, []

    def state(self) -> dict:
        return {"args": {}, "attributes": {"longest": self.longest, "answered": self.answered}}

    def on_train_begin(self, args, state, control, **kwargs):
        """Go on where the checkpoint of a resumed run was."""
        saved = (state.stateful_callbacks or {}).get(type(self).__name__, {})
        for name, value in saved.get("attributes", {}).items():
            setattr(self, name, value)

    def lesson(self, step: int) -> Lesson:
        """Of optimizer step `step`."""
        draws = [float(uniform(make_key(self.seed, step, number))) for number in range(3)]
        steps = self.longest if draws[0] < 0.5 else 1 + int(draws[1] * self.longest)
        return Lesson(steps, steps + 1 + int(draws[2] * self.extra_iterations))

    def hear(self, lesson: Lesson, right: float) -> None:
        """`right`: share of right answers to the longest questions of a batch."""
        if lesson.steps == self.longest:
            self.heard.append(right)

    def on_step_end(self, args, state, control, **kwargs):
        if self.heard:
            self.answered = MEMORY * self.answered + (1 - MEMORY) * fmean(self.heard)
            self.heard = []
        if self.answered > self.learned and self.longest < self.most_steps:
            self.longest, self.answered = self.longest + 1, 0.0


class ProblemNumbers(torch.utils.data.Dataset):
    """The numbers of the problems; a problem is made from its number when the lesson is known."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


def collate_numbers(numbers: list[int]) -> dict[str, torch.Tensor]:
    return {"numbers": torch.tensor(numbers)}


class ProblemTrainer(SafeCheckpointsMixin, Trainer):
    """
    [`Trainer`] on generated problems. Problems depend on the seed, their number and the lesson alone, so that a
    resumed run equals an uninterrupted one.

    Args:
        model: one of `SYSTEMS`.
        task: whose problems are solved.
        names: all names.
        concepts: C by the number of facts.
        processing_class: its tokenizer.
    """

    def __init__(
        self, model, args: ProblemTrainingArguments, *, task: ProblemTask, names: list[str],
        concepts: Callable[[int], int], processing_class,
    ):  # fmt: skip
        args = args.for_task(task)
        self.task, self.names, self.concepts = task, names, concepts
        self.curriculum = Curriculum(args.seed, args.trained_steps, args.learned_share, args.extra_iterations)
        count = args.max_steps * args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        super().__init__(
            model, args, data_collator=collate_numbers, train_dataset=ProblemNumbers(count),
            processing_class=processing_class, callbacks=[self.curriculum],
        )  # fmt: skip
        self.model_accepts_loss_kwargs = False  # the loss is a mean over the batch, and batches are equally large

    def make_problems(self, numbers: list[int], lesson: Lesson) -> Batch:
        problems = [self.task.problem(self.args.seed, number, lesson.steps, self.names) for number in numbers]
        return make_batch(problems, self.processing_class).to(self.args.device)

    def log(self, logs, *args, **kwargs):
        """With the course of the lessons."""
        if "loss" in logs:
            logs |= {"longest": self.curriculum.longest, "answered": round(self.curriculum.answered, 4)}
        super().log(logs, *args, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The mean loss of the answers."""
        lesson = self.curriculum.lesson(self.state.global_step)
        batch = self.make_problems(inputs["numbers"].tolist(), lesson)
        (logits,) = answer_logits(model, batch, [lesson.iterations], self.concepts(batch.steps.shape[1]))
        with torch.no_grad():
            longest = (logits.argmax(dim=-1) == batch.answers)[batch.steps == lesson.steps]
            right = self.accelerator.reduce(longest.float().mean(), reduction="mean")
        self.curriculum.hear(lesson, float(right))
        loss = F.cross_entropy(logits.flatten(0, 1), batch.answers.flatten())
        return (loss, {"logits": logits}) if return_outputs else loss
