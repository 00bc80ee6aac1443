# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The networks that are compared on generated problems: a recursive encoder, and others of equal parameters or depth.

B problems, F facts, N tokens, C concepts, K iterations, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel

from modeling_concept import (
    ConceptEncoderConfig,
    ConceptEncoderForMaskedLM,
    RecursiveConceptEncoderConfig,
    RecursiveConceptEncoderForMaskedLM,
)

from .data import Batch


RECURSIVE = "recursive"


@dataclass(frozen=True)
class NetworkSizes:
    """
    Sizes that all networks share.

    Args:
        vocab_size, pad_token_id, mask_token_id: of the tokenizer.
        facts, tokens: of the longest problem that is read.
        hidden_size, num_attention_heads: of every layer.
        iterations: K in training at most: of a recursive encoder, the depth of which others have as layers.
        layer: kind of concept layer.
    """

    vocab_size: int
    pad_token_id: int
    mask_token_id: int
    facts: int
    tokens: int
    hidden_size: int = 64
    num_attention_heads: int = 2
    iterations: int = 9
    layer: str = "content"

    def concept_options(self) -> dict:
        """Options of concept models: a concept for each fact, which starts as the mean of its words."""
        return {
            "vocab_size": self.vocab_size, "pad_token_id": self.pad_token_id, "mask_token_id": self.mask_token_id,
            "hidden_size": self.hidden_size, "num_attention_heads": self.num_attention_heads,
            "intermediate_size": 2 * self.hidden_size, "concept_num": self.facts,
            "max_sequence_length": self.tokens, "encoder_type": self.layer, "concept_start": "segment",
            "concept_mean": "free", "decoder_type": "position", "num_decoder_layers": 1,
        }  # fmt: skip


def make_recursive(sizes: NetworkSizes) -> PreTrainedModel:
    """One layer, repeated."""
    return RecursiveConceptEncoderForMaskedLM(
        RecursiveConceptEncoderConfig(**sizes.concept_options(), num_iterations=sizes.iterations)
    )


def make_standard(sizes: NetworkSizes, layers: int) -> PreTrainedModel:
    """Layers with weights of their own."""
    return ConceptEncoderForMaskedLM(ConceptEncoderConfig(**sizes.concept_options(), num_hidden_layers=layers))


def make_bert(sizes: NetworkSizes) -> PreTrainedModel:
    """BERT of two layers: but for its positions it has about as many weights as the recursive encoder and its
    decoder."""
    return BertForMaskedLM(
        BertConfig(
            vocab_size=sizes.vocab_size, pad_token_id=sizes.pad_token_id, hidden_size=sizes.hidden_size,
            num_attention_heads=sizes.num_attention_heads, intermediate_size=4 * sizes.hidden_size,
            num_hidden_layers=2, max_position_embeddings=sizes.tokens, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )  # fmt: skip


SYSTEMS: dict[str, Callable[[NetworkSizes], PreTrainedModel]] = {
    RECURSIVE: make_recursive,
    "standard": lambda sizes: make_standard(sizes, 1),
    "deep": lambda sizes: make_standard(sizes, sizes.iterations),
    "bert": make_bert,
}

# How the systems are called in tables.
TITLES = {
    RECURSIVE: "recursive",
    "standard": "standard, equal parameters (1 layer)",
    "deep": "standard, equal depth",
    "bert": "BERT, equal parameters",
}


def answer_logits(
    model: PreTrainedModel, batch: Batch, iterations: list[int] | None = None, concepts: int | None = None
) -> list[torch.Tensor]:
    """
    Logits [B, F, V] of the answers; of a recursive encoder after each number of `iterations`.

    Args:
        concepts: C; one for each fact by default.
    """
    ids = batch.input_ids
    if not hasattr(model, "encoder"):
        return [batch.at_questions(model(input_ids=ids).logits)]
    count = {"concept_num": concepts or batch.steps.shape[1]}
    if not model.config.is_recursive:
        return [batch.at_questions(model(input_ids=ids, **count).logits)]
    encoded = model.encoder(ids, num_iterations=max(iterations), output_hidden_states=True, return_dict=True, **count)
    logits = []
    for number in iterations:
        last = number == max(iterations)
        states = encoded.last_hidden_state if last else model.encoder.finish(encoded.hidden_states[number])
        outputs = type(encoded)(last_hidden_state=states, lengths=encoded.lengths)
        logits.append(batch.at_questions(model(input_ids=ids, encoder_outputs=outputs, return_logits=True).logits))
    return logits
