# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What an objective is: from a batch of clean texts and a source of noise to inputs, and from these to a loss.

B texts, N tokens, S target positions, C concepts, H hidden.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
import torch.nn as nn

from ..noise import Noise
from ..vocabulary import CleanBatch


@dataclass
class ObjectiveOutput:
    """
    Args:
        concepts: [rows, C, H] that the loss was computed from.
        layers: the concepts after each layer, [rows, C, H] each, where they were asked for.
        loss: sum of the losses of this batch over the `items` given; None for a joint objective.
        vectors: [B, …] that a joint objective compares across all texts of the step.
    """

    concepts: torch.Tensor
    layers: tuple[torch.Tensor, ...] = ()
    loss: torch.Tensor | None = None
    vectors: torch.Tensor | None = None


class Reader(Protocol):
    """How an objective reaches the model: see [`TrainingModel`]."""

    def encode(self, input_ids, attention_mask):
        """Concepts of texts [B, N], as a ConceptEncoderOutput."""

    def read(self, encoded, inputs: dict, items, continuation: bool):
        """Loss of reading `inputs` from concepts: a sum over `items`."""

    def layers(self, encoded) -> tuple[torch.Tensor, ...]:
        """Normalised concepts after each layer, where concept losses ask for them; else none."""


@dataclass
class Objective(ABC):
    """
    What is hidden from the model and what it must predict. A subclass is a dataclass whose fields are its options.

    The loss of an optimizer step is the mean over all its items: supervised tokens, texts, whatever `items` counts.
    """

    mean_only: ClassVar[bool] = False  # whether it sees nothing of the concepts but their mean
    reads_pairs: ClassVar[bool] = False  # whether it needs two texts that mean the same

    @abstractmethod
    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        """Inputs of `run`."""

    @abstractmethod
    def items(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """How many items, a float scalar tensor, the loss of `inputs` is a sum over."""

    @abstractmethod
    def run(self, reader: Reader, head: nn.Module | None, inputs: dict, items) -> ObjectiveOutput:
        """
        Args:
            reader: the model.
            head: result of `make_head`.
            inputs: result of the call.
            items: of the whole optimizer step, by which the sum of losses is divided.
        """

    def for_evaluation(self) -> "Objective":
        """The objective as the evaluation loss measures it."""
        return self

    def make_head(self, config) -> nn.Module | None:
        """What is trained beside the model and not saved with it."""
        return None

    def check(self, config) -> None:  # noqa: B027
        """ValueError if a model of this configuration cannot be trained so."""

    def metrics(self, loss: float, vectors: torch.Tensor | None) -> dict[str, float]:
        """Further numbers of an evaluation: from its mean loss, and the vectors [T, …] of a joint objective."""
        return {}


@dataclass
class TokenObjective(Objective):
    """
    Tokens are read back from concepts. The call gives arguments of the model's `forward`: `labels` [B, S] name every
    position that counts in the mean (-100 elsewhere), `loss_weights` [B, S] what each weighs.
    """

    continuation: ClassVar[bool] = False  # whether what is read follows the encoded text
    needs_token_queries: ClassVar[bool] = False  # whether it makes no sense without a decoder that reads tokens

    def items(self, inputs):
        return (inputs["labels"] != -100).sum().float()

    def check(self, config):
        name, kind, target = type(self).__name__, config.decoder_type, "continuation" if self.continuation else "text"
        if self.needs_token_queries and kind not in ("diffusion", "token_position"):
            raise ValueError(
                f"{name} needs a decoder that reads tokens (diffusion or token_position), not {kind!r}; choose "
                "another --model_type, which starts from a checkpoint of this one by --init_encoder_from."
            )
        if config.decoder_target not in (target, "both"):
            raise ValueError(
                f"{name} reads a {target}, but the model's decoder_target is {config.decoder_target!r}: it must be "
                f'"{target}" or "both".'
            )

    def run(self, reader, head, inputs, items):
        encoded = reader.encode(inputs["input_ids"], inputs["attention_mask"])
        loss = reader.read(encoded, inputs, items, self.continuation)
        return ObjectiveOutput(encoded.last_hidden_state, reader.layers(encoded), loss)


@dataclass
class JointObjective(Objective):
    """The texts of a step are compared with each other: `run` gives the vectors, `joint_loss` their loss."""

    @abstractmethod
    def joint_loss(self, head: nn.Module | None, vectors: torch.Tensor) -> torch.Tensor:
        """Mean loss, a scalar, from the vectors [T, …] of all texts of the step."""

    def after_step(self, head: nn.Module | None, vectors: torch.Tensor) -> None:  # noqa: B027
        """What is kept of a step's vectors [T, …] for later steps."""


def check_share(name: str, value: float) -> None:
    """ValueError unless `value` lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is a share between 0 and 1, not {value}.")


def compact(input_ids: torch.Tensor, keep: torch.Tensor, pad_token_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The kept tokens of `input_ids` [B, N] (bool `keep`), moved together; ids and attention mask [B, most kept]."""
    counts = keep.sum(dim=1)
    order = keep.int().argsort(dim=1, descending=True, stable=True)[:, : max(int(counts.max()), 1)]
    mask = torch.arange(order.shape[1], device=keep.device) < counts[:, None]
    return torch.where(mask, input_ids.gather(1, order), pad_token_id), mask.long()


def two_spans(batch: CleanBatch, noise: Noise, least: float, most: float) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Cut each text in two at a share of its tokens between `least` and `most`. Both spans keep the special tokens by
    which the tokenizer opens and closes a text.

    Returns:
        ids and attention mask [2B, N'], first spans before second ones.
    """
    inner, ends = inner_tokens(batch)
    count = inner.sum(dim=1, keepdim=True)
    share = least + (most - least) * noise.per_text()
    cut = (share * count).round().clamp(min=1).minimum((count - 1).clamp(min=1))
    first = inner & (inner.cumsum(dim=1) <= cut)
    keep = torch.cat([first | ends, (inner & ~first) | ends])
    return compact(batch.input_ids.repeat(2, 1), keep, batch.vocabulary.pad_token_id)


def two_crops(batch: CleanBatch, noise: Noise, shortest: float) -> tuple[torch.Tensor, torch.Tensor]:
    """
    A part of the first half and a part of the second half of each text, both with the special tokens by which the
    tokenizer opens and closes a text. Lengths, between a share `shortest` of the half and all of it, and places are
    drawn for each on its own: parts whose lengths sum to the text's would find each other by length alone.

    Returns:
        ids and attention mask [2B, N'], crops of first halves before those of second ones.
    """
    inner, ends = inner_tokens(batch)
    order = inner.cumsum(dim=1) - 1
    count = inner.sum(dim=1, keepdim=True)
    half, kept = count // 2, []
    for start, size in ((torch.zeros_like(half), half), (half, count - half)):
        length = (size * (shortest + (1 - shortest) * noise.per_text())).round().clamp(min=1)
        offset = start + (noise.per_text() * (size - length + 1)).floor().clamp(min=0)
        kept.append(inner & (order >= offset) & (order < offset + length) | ends)
    return compact(batch.input_ids.repeat(2, 1), torch.cat(kept), batch.vocabulary.pad_token_id)


def inner_tokens(batch: CleanBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """bool [B, N] twice: the text itself, and the special tokens by which the tokenizer opens and closes it."""
    places = torch.arange(batch.input_ids.shape[1], device=batch.input_ids.device)
    last = batch.real.sum(dim=1, keepdim=True) - 1
    ends = batch.special & ((places == 0) | (places == last)) & batch.real
    return batch.real & ~ends, ends
