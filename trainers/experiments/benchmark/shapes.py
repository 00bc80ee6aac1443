# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Sizes of the compared models, tasks, and the random texts that all systems get.

B texts, N tokens.
"""

from dataclasses import dataclass

import torch

from ...objectives import Denoising, MaskedDiffusion, MaskedLM
from ...objectives.base import TokenObjective
from ...objectives.noise import Noise
from ...objectives.vocabulary import CleanBatch, Vocabulary


PAD, MASK, FIRST_WORD = 0, 1, 5


@dataclass(frozen=True)
class Shape:
    """Sizes that all systems share: width, layers, vocabulary, tokens per text, concepts."""

    hidden_size: int
    num_hidden_layers: int
    vocab_size: int
    length: int
    concept_num: int

    @property
    def heads(self) -> int:
        """Attention heads of width 64."""
        return max(1, self.hidden_size // 64)

    def __str__(self):
        return f"N={self.length:,}, C={self.concept_num:,}"


@dataclass(frozen=True)
class Task:
    """
    Args:
        title: shown in tables.
        objective: adds noise and labels; None for encoding without gradients.
        model_type: of this package, trained by the objective.
    """

    title: str
    objective: TokenObjective | None = None
    model_type: str | None = None


# The noise is the original's: 15 % masked, 60 % deleted, t from 0.3 to 1 with self-normalised weights.
TASKS = {
    "encode": Task("encoding"),
    "masked_lm": Task("training, masked LM 15 %", MaskedLM(mlm_probability=0.15), "perceiver_mlm"),
    "denoising": Task(
        "training, dense TSDAE", Denoising(deletion_rate=[0.0, 0.6], supervised_share=1.0), "perceiver_posonly_mlm"
    ),
    "denoising_share": Task(
        f"training, TSDAE, ours with {Denoising.supervised_share:.0%} of the labels",
        Denoising(deletion_rate=[0.0, 0.6]), "perceiver_posonly_mlm",
    ),
    "diffusion": Task(
        "training, diffusion", MaskedDiffusion(t_min=0.3, elbo_weighting="self_normalised", clean_encoder=True),
        "diffusion_mlm",
    ),
}  # fmt: skip


def make_vocabulary(size: int) -> Vocabulary:
    """Of `size` ids, without a tokenizer."""
    return Vocabulary(size, MASK, PAD, torch.arange(size) < FIRST_WORD)


def make_inputs(task: Task, shape: Shape, tokens: int, seed: int, device) -> dict[str, torch.Tensor]:
    """
    `input_ids` and `attention_mask` [B, N] of random texts, and for training the labels and noise of the objective, so
    that drawing noise is not timed.

    Args:
        tokens: about B·N; B is at least 1.
    """
    rows = max(1, round(tokens / shape.length))
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(FIRST_WORD, shape.vocab_size, (rows, shape.length), generator=generator)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if task.objective is not None:
        clean = CleanBatch(ids, inputs["attention_mask"], make_vocabulary(shape.vocab_size))
        inputs = task.objective(clean, Noise.for_step(seed, 0, torch.arange(rows), rows, shape.length))
    return {name: value.to(device) for name, value in inputs.items()}
