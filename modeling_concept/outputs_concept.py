# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Inputs that all models share, and outputs. B batch, N tokens, C concepts, H hidden, V vocabulary; S target tokens of
a decoder."""

from dataclasses import dataclass
from typing import TypedDict

import torch
from transformers.utils import ModelOutput


class EncoderInputs(TypedDict, total=False):
    """Arguments that every model passes on to [`ConceptEncoder`], which describes them."""

    token_type_ids: torch.LongTensor | None
    inputs_embeds: torch.FloatTensor | None
    concept_num: int | None
    num_iterations: int | None


@dataclass
class ConceptEncoderOutput(ModelOutput):
    """
    Args:
        last_hidden_state: concepts [B, C, H].
        pooler_output: sentence vectors [B, H], the mean of the concepts.
        hidden_states: initial concepts and those after each layer, the last ones normalised; layers + 1 of [B, C, H].
        attentions: weights of concept self-attention, one [B, heads, C, C] a layer (eager attention only).
        cross_attentions: weights of concepts over tokens, one [B, heads, C, N] a layer (where they are made).
        lengths: text lengths [B or 1] in tokens.
    """

    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    cross_attentions: tuple[torch.FloatTensor, ...] | None = None
    lengths: torch.Tensor | None = None


@dataclass
class ConceptMaskedLMOutput(ModelOutput):
    """
    Args:
        loss: scalar; weighted negative log-likelihood in nats over the normaliser, see `forward`.
        logits: [B, S, V]; None in training with labels, unless `return_logits`.
        concepts: [B, C, H].
        pooler_output: [B, H].
        hidden_states, attentions, cross_attentions: of the encoder.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    concepts: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    cross_attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class ConceptSeq2SeqLMOutput(ConceptMaskedLMOutput):
    """
    Args:
        logits: [B, S, V] of the reader; position i is about the token that follows those up to i.

    The others as in [`ConceptMaskedLMOutput`].
    """


@dataclass
class ConceptClassifierOutput(ModelOutput):
    """
    Args:
        loss: scalar.
        logits: [B, num_labels]; [B, 1] for a cosine.
        concepts: [B, C, H]; for sentence pairs [2, B, C, H].
        hidden_states, attentions, cross_attentions: of the encoder; for pairs those of the first sentence.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    concepts: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    cross_attentions: tuple[torch.FloatTensor, ...] | None = None


__all__ = ["ConceptClassifierOutput", "ConceptEncoderOutput", "ConceptMaskedLMOutput", "ConceptSeq2SeqLMOutput"]
