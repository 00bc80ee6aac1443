# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What is timed: sizes of a model, tasks, and the random texts that all systems are given alike.

B texts, N tokens.
"""

from dataclasses import dataclass

import torch

from ..noise import Noise
from ..objectives import Denoising, MaskedDiffusion, MaskedLM
from ..objectives.base import TokenObjective
from ..vocabulary import WORD_TABLES, CleanBatch, Vocabulary


PAD, MASK, FIRST_WORD = 0, 1, 5


@dataclass(frozen=True)
class Shape:
    """Sizes that systems have in common: width, layers, vocabulary, tokens of a text, concepts."""

    hidden_size: int
    num_hidden_layers: int
    vocab_size: int
    length: int
    concept_num: int

    @property
    def heads(self) -> int:
        """Heads of 64, in all systems."""
        return max(1, self.hidden_size // 64)

    def __str__(self):
        return f"N={self.length:,}, C={self.concept_num:,}"


@dataclass(frozen=True)
class Task:
    """
    Args:
        title: as tables show it.
        objective: that hides tokens and names labels; None where texts are only encoded, without gradients.
        model_type: of this package that is trained by it.
    """

    title: str
    objective: TokenObjective | None = None
    model_type: str | None = None


# Noise is what the original's is: 15 % masked, 60 % deleted, t from 0.3 to 1 with its normalisation.
TASKS = {
    "encode": Task("encoding"),
    "masked_lm": Task("training, masked LM 15 %", MaskedLM(mlm_probability=0.15), "perceiver_mlm"),
    "denoising": Task(
        "training, dense TSDAE", Denoising(deletion_rate=0.6, supervised_share=1.0), "perceiver_posonly_mlm"
    ),
    "denoising_share": Task(
        f"training, TSDAE, ours with {Denoising.supervised_share:.0%} of the labels", Denoising(deletion_rate=0.6),
        "perceiver_posonly_mlm",
    ),
    "diffusion": Task(
        "training, diffusion", MaskedDiffusion(t_min=0.3, elbo_weighting="self_normalised", clean_encoder=True),
        "diffusion_mlm",
    ),
    "diffusion_draws": Task(
        "training, diffusion, 4 draws a text", MaskedDiffusion(num_draws=4, clean_encoder=True), "diffusion_mlm"
    ),
}  # fmt: skip


def make_vocabulary(size: int) -> Vocabulary:
    """Of `size` ids without words, which objectives that mask single tokens do not ask for."""
    special = torch.arange(size) < FIRST_WORD
    return Vocabulary(size, MASK, PAD, special, *[special] * len(WORD_TABLES), tokenizer=None)


def make_texts(shape: Shape, tokens: int, padding: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Random ids and attention mask [B, N] int64, as many texts as make about `tokens` real tokens, at least one.

    Args:
        padding: mean share of padding, at the ends; lengths lie evenly between (1 - 2·padding)·N and N.
    """
    rows = max(1, round(tokens / (shape.length * (1 - padding))))
    shares = 1 - 2 * padding * (torch.arange(rows) + 0.5) / rows
    lengths = (shape.length * shares).round().long()
    mask = (torch.arange(shape.length) < lengths[:, None]).long()
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(FIRST_WORD, shape.vocab_size, mask.shape, generator=generator)
    return torch.where(mask.bool(), ids, PAD), mask


def make_inputs(task: Task, shape: Shape, tokens: int, padding: float, seed: int, device) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask` [B, N], and for training what the objective adds: its noise is drawn here and
    not in the steps that are timed. Several draws of noise for a text count as so many texts in `tokens`."""
    ids, mask = make_texts(shape, tokens // getattr(task.objective, "num_draws", 1), padding, seed)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if task.objective is not None:
        clean = CleanBatch(ids, mask, make_vocabulary(shape.vocab_size))
        inputs = task.objective(clean, Noise.for_step(seed, 0, torch.arange(len(ids)), len(ids), shape.length))
    return {name: value.to(device) for name, value in inputs.items()}


def count_tokens(inputs: dict[str, torch.Tensor]) -> int:
    """Real tokens of the texts: padding is none."""
    return int(inputs["attention_mask"].sum())
