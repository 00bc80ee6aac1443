# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Models and losses of the original implementation: dropout 0.1, keys and values projected in each layer, and logits of
all tokens where the original computes them. Its concept losses, which cost almost nothing, are left out.

B texts, N tokens, V vocabulary.
"""

import torch.nn.functional as F

from modeling_concept import (
    OriginalConceptEncoder,
    OriginalConceptEncoderConfig,
    OriginalConceptEncoderForMaskedLM,
)

from .shapes import MASK, PAD, Shape


# The decoder, its layers, and whether the head shares the token table, by task.
ORIGINALS = {
    "masked_lm": ("token_position", 1, True),
    "denoising": ("position", 1, True),
    "denoising_share": ("position", 1, True),
    "diffusion": ("diffusion", 2, False),
}


def build_original(shape: Shape, task: str) -> OriginalConceptEncoder | OriginalConceptEncoderForMaskedLM:
    """The encoder for "encode", otherwise the model with the decoder of the task."""
    decoder_type, num_decoder_layers, tied = ORIGINALS.get(task, (None, 1, False))
    config = OriginalConceptEncoderConfig(
        vocab_size=shape.vocab_size, hidden_size=shape.hidden_size, num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.heads, intermediate_size=4 * shape.hidden_size, concept_num=shape.concept_num,
        max_sequence_length=shape.length, pad_token_id=PAD, mask_token_id=MASK, decoder_type=decoder_type,
        num_decoder_layers=num_decoder_layers, tie_word_embeddings=tied,
    )  # fmt: skip
    return OriginalConceptEncoder(config) if task == "encode" else OriginalConceptEncoderForMaskedLM(config)


def original_loss(model: OriginalConceptEncoderForMaskedLM, inputs):
    """
    The original's loss, a scalar. Masked LM: the head is applied to masked tokens only. TSDAE: deleted tokens are
    masked keys, and logits [B, N, V] of all tokens are computed. Diffusion: label smoothing 0.1, and weights 1/t
    divided by their sum.
    """
    ids, labels, kind = inputs["input_ids"], inputs["labels"], model.config.decoder_type
    mask = inputs["attention_mask"] * (ids != MASK) if kind == "position" else inputs["attention_mask"]
    memory = model.prepare_memory(model.encoder(ids, mask))
    targets = model.make_targets(inputs.get("decoder_input_ids", ids), None, inputs.get("timesteps"))
    states = model.decode(memory, targets)
    if kind == "position":
        return F.cross_entropy(model.lm_head(states).flatten(0, 1), labels.flatten(), ignore_index=-100)
    chosen = labels != -100
    logits, labels = model.lm_head(states[chosen]), labels[chosen]
    if kind == "token_position":
        return F.cross_entropy(logits, labels)
    losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=0.1)
    weights = (1 / targets.timesteps.clamp(min=0.1))[:, None].expand_as(chosen)[chosen]
    return (losses * weights).sum() / weights.sum()
