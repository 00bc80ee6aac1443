# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Contrastive learning of text vectors (SimCSE, Gao et al. 2021; crops after Izacard et al. 2022).

B texts of a batch, T texts that are compared, N tokens, H hidden.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F

from .base import JointObjective, option
from .noise import Noise
from .vocabulary import CleanBatch, compact


VIEWS = ("crops", "dropout")

TEMPERATURE = 0.05
SHORTEST_CROP = 0.4  # of half a text
HIDDEN_SHARE = 0.5  # of the tokens of a crop, at most


@dataclass
class Contrastive(JointObjective):
    """
    Two views of a text must be nearer to each other than to the views of all other texts of the batch (symmetric
    InfoNCE).

    Crops are a part of each half of a text, with up to half of their tokens hidden. The vectors are centred over the
    batch before cosines are taken: otherwise training starts by making all vectors equal and hardly recovers.
    """

    mean_only: ClassVar[bool] = True

    views: str = option(
        "crops",
        "crops: a part of each half of a text; dropout: two draws of dropout, which the model must have.",
    )

    def __post_init__(self):
        if self.views not in VIEWS:
            raise ValueError(f"Unknown views {self.views!r}; choose one of {list(VIEWS)}.")

    def check(self, config):
        if self.views == "dropout" and not config.hidden_dropout_prob:
            raise ValueError(
                'Without dropout the two views of views="dropout" are equal: set hidden_dropout_prob in '
                "--config_overrides, or choose other views."
            )

    def for_evaluation(self):
        return replace(self, views="crops")  # dropout is off in evaluation

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask` [2B, N]: first views, then second ones."""
        if self.views == "dropout":
            return {"input_ids": batch.input_ids.repeat(2, 1), "attention_mask": batch.attention_mask.repeat(2, 1)}
        ids, mask = two_crops(batch, noise, SHORTEST_CROP)
        keys = torch.cat([noise.fold_in(view).keys for view in ("first view", "second view")])
        views = Noise(keys, ids.shape[1])
        hidden = views.per_token() < views.per_text() * HIDDEN_SHARE
        special = batch.vocabulary.special[ids] | (mask == 0)
        return {
            "input_ids": torch.where(hidden & ~special, batch.vocabulary.mask_token_id, ids),
            "attention_mask": mask,
        }

    def items(self, inputs):
        return torch.tensor(len(inputs["input_ids"]) / 2, device=inputs["input_ids"].device)

    def vectors(self, encoded):
        """Sentence vectors [B, 2, H] of the two views."""
        return torch.stack(encoded.pooler_output.float().chunk(2), dim=1)

    def directions(self, vectors: torch.Tensor) -> torch.Tensor:
        """Centred unit vectors [T, 2, H] of `vectors` [T, 2, H]."""
        return F.normalize(vectors - vectors.mean(dim=(0, 1)), dim=-1)

    def joint_loss(self, vectors):
        with torch.autocast(vectors.device.type, enabled=False):
            first, second = self.directions(vectors.float()).unbind(dim=1)
            scores = first @ second.T / TEMPERATURE
            labels = torch.arange(len(first), device=first.device)
            return (F.cross_entropy(scores, labels) + F.cross_entropy(scores.T, labels)) / 2

    def metrics(self, loss, vectors):
        if len(vectors) < 2:  # a text alone always finds itself
            return {}
        first, second = self.directions(vectors.float()).unbind(dim=1)
        right = (first @ second.T).argmax(dim=1) == torch.arange(len(first))
        return {"retrieval_accuracy": float(right.float().mean()), "retrieval_candidates": len(first)}


def two_crops(batch: CleanBatch, noise: Noise, shortest: float) -> tuple[torch.Tensor, torch.Tensor]:
    """
    A part of the first half and a part of the second half of each text, both with the special tokens that open and
    close the text. Lengths, between a share `shortest` of the half and all of it, and places are independent: crops
    whose lengths sum to the text's could be matched by length alone.

    Returns:
        ids and attention mask [2B, N'], crops of first halves before those of second ones.
    """
    places = torch.arange(batch.input_ids.shape[1], device=batch.input_ids.device)
    last = batch.real.sum(dim=1, keepdim=True) - 1
    ends = batch.special & ((places == 0) | (places == last)) & batch.real
    inner = batch.real & ~ends
    order = inner.cumsum(dim=1) - 1
    count = inner.sum(dim=1, keepdim=True)
    half, kept = count // 2, []
    for start, size in ((torch.zeros_like(half), half), (half, count - half)):
        length = (size * (shortest + (1 - shortest) * noise.per_text())).round().clamp(min=1)
        offset = start + (noise.per_text() * (size - length + 1)).floor().clamp(min=0)
        kept.append(inner & (order >= offset) & (order < offset + length) | ends)
    return compact(batch.input_ids.repeat(2, 1), torch.cat(kept), batch.vocabulary.pad_token_id)
