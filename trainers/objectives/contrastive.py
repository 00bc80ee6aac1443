# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Contrastive learning of text vectors (SimCSE, Gao et al. 2021; crops after Izacard et al. 2022).

B texts of a batch, T texts of a step, N tokens, H hidden, P projected, Q queued vectors.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..noise import Noise
from ..vocabulary import CleanBatch
from .base import JointObjective, ObjectiveOutput, check_share, two_crops


VIEWS = ("crops", "dropout", "pairs")


class ContrastiveHead(nn.Module):
    """H -> H -> P, discarded after training (Chen et al. 2020), and the queue [Q, P] of earlier vectors."""

    def __init__(self, hidden_size: int, width: int, queue_size: int):
        super().__init__()
        self.projector = nn.Sequential(
            nn.Linear(hidden_size, hidden_size), nn.GELU(), nn.Linear(hidden_size, width or hidden_size)
        )
        if not width:
            self.projector = nn.Identity()
        self.register_buffer("queue", torch.zeros(queue_size, width or hidden_size))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    def forward(self, vectors):
        """[B, H] -> [B, P], float32."""
        return self.projector(vectors).float()

    @torch.no_grad()
    def push(self, vectors):
        """Put `vectors` [T, P] before those in the queue."""
        size = self.queue.shape[0]
        self.queue.copy_(torch.cat([vectors, self.queue])[:size])
        self.filled.copy_((self.filled + len(vectors)).clamp(max=size))


@dataclass
class Contrastive(JointObjective):
    """
    Two views of a text must be nearer to each other than to the views of all other texts of the optimizer step
    (symmetric InfoNCE), whatever the batches in which the step is computed.

    Cosines are those of vectors minus their mean over the step: else the shortest way to a lower loss is, at first,
    one vector for all texts, from which training hardly comes back.

    Args:
        views: "crops": a part of each half of a text; "dropout": the text twice under other dropout (needs a model
            with hidden_dropout_prob); "pairs": the text and the one given with it (--pair_column).
        shortest_crop: length of a crop as a share of half the text, at least; drawn for each crop on its own.
        hidden_share: largest share of the tokens hidden from each view, drawn per view.
        temperature: of the softmax over cosines.
        projector_dim: width of the discarded projection; 0 compares the sentence vectors themselves.
        queue_size: vectors of earlier steps that serve as further negatives.
        centred: see above.
    """

    mean_only: ClassVar[bool] = True

    views: str = "crops"
    shortest_crop: float = 0.4
    hidden_share: float = 0.0
    temperature: float = 0.05
    projector_dim: int = 128
    queue_size: int = 0
    centred: bool = True

    def __post_init__(self):
        check_share("hidden_share", self.hidden_share)
        check_share("shortest_crop", self.shortest_crop)
        if self.views not in VIEWS:
            raise ValueError(f"Unknown views {self.views!r}; choose one of {list(VIEWS)}.")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, not {self.temperature}.")
        if self.queue_size < 0 or self.projector_dim < 0:
            raise ValueError("queue_size and projector_dim cannot be negative.")

    def check(self, config):
        if self.views == "dropout" and not config.hidden_dropout_prob:
            raise ValueError(
                'Without dropout the two views of views="dropout" are one: set hidden_dropout_prob in '
                "--config_overrides, or choose other views."
            )

    @property
    def reads_pairs(self) -> bool:
        return self.views == "pairs"

    def for_evaluation(self):
        # Dropout is off in evaluation; parts of a text are the nearest measure of the same thing.
        return replace(self, views="crops") if self.views == "dropout" else self

    def make_head(self, config):
        return ContrastiveHead(config.hidden_size, self.projector_dim, self.queue_size)

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask` [2B, N]: first views, then second ones."""
        if self.views == "crops":
            ids, mask = two_crops(batch, noise, self.shortest_crop)
        elif self.views == "dropout":
            ids, mask = batch.input_ids.repeat(2, 1), batch.attention_mask.repeat(2, 1)
        elif batch.pair_input_ids is None:
            raise ValueError('views="pairs" needs data with pairs of texts: give --pair_column.')
        else:
            width = max(batch.input_ids.shape[1], batch.pair_input_ids.shape[1])
            ids = _widen([batch.input_ids, batch.pair_input_ids], width, batch.vocabulary.pad_token_id)
            mask = _widen([batch.attention_mask, batch.pair_attention_mask], width, 0)
        if self.hidden_share:
            keys = torch.cat([noise.salted(view).keys for view in ("first view", "second view")])
            views = Noise(keys, ids.shape[1])
            hidden = views.per_token() < views.per_text() * self.hidden_share
            special = batch.vocabulary.special[ids] | (mask == 0)
            ids = torch.where(hidden & ~special, batch.vocabulary.mask_token_id, ids)
        return {"input_ids": ids, "attention_mask": mask}

    def items(self, inputs):
        return torch.tensor(len(inputs["input_ids"]) / 2, device=inputs["input_ids"].device)

    def run(self, reader, head, inputs, items):
        encoded = reader.encode(inputs["input_ids"], inputs["attention_mask"])
        first, second = head(encoded.pooler_output).chunk(2)
        return ObjectiveOutput(
            encoded.last_hidden_state, reader.layers(encoded), vectors=torch.stack([first, second], dim=1)
        )

    def directions(self, vectors):
        """Unit vectors [T, 2, P] of `vectors` [T, 2, P]."""
        vectors = vectors.float()
        if self.centred:
            vectors = vectors - vectors.mean(dim=(0, 1))
        return F.normalize(vectors, dim=-1)

    def joint_loss(self, head, vectors):
        """`vectors` [T, 2, P] -> scalar; their directions then enter the queue in training."""
        first, second = self.directions(vectors).unbind(dim=1)
        similarity = first @ second.T
        # A copy: the queue changes before the backward pass.
        queue = head.queue[: int(head.filled)].clone() if self.queue_size and head.training else first[:0]
        labels = torch.arange(len(first), device=first.device)
        loss = sum(
            F.cross_entropy(torch.cat([scores, view @ queue.T], dim=1) / self.temperature, labels)
            for view, scores in ((first, similarity), (second, similarity.T))
        )
        return loss / 2

    def after_step(self, head, vectors):
        if self.queue_size:
            head.push(self.directions(vectors.detach())[:, 1])

    def metrics(self, loss, vectors):
        if len(vectors) < 2:  # a text alone is always found
            return {}
        first, second = self.directions(vectors).unbind(dim=1)
        found = (first @ second.T).argmax(dim=1) == torch.arange(len(first))
        return {"retrieval_accuracy": float(found.float().mean()), "retrieval_candidates": len(first)}


def _widen(parts, width, value):
    return torch.cat([F.pad(part, (0, width - part.shape[1]), value=value) for part in parts])
