# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The compared systems, with equal width, layers, heads, vocabulary and lengths.

Feed-forward blocks follow each design: 3·H gated here, 4·H in BERT, 1.5·H gated in ModernBERT, H in Perceiver, 4·H
gated in the original; parameters are therefore reported. Dropout is 0 in all but the original, which has 0.1.
Attention is PyTorch's scaled dot product wherever transformers uses it, that is, not in Perceiver.

B texts, N tokens, H hidden, M masked tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    ModernBertConfig,
    ModernBertForMaskedLM,
    ModernBertModel,
    PerceiverConfig,
    PerceiverForMaskedLM,
    PerceiverModel,
)
from transformers.models.perceiver.modeling_perceiver import PerceiverTextPreprocessor

from modeling_concept import ConceptEncoder, ConceptEncoderConfig

from ...model_types import find_model_type
from ...objectives import Mixture
from ...training_model import StepBatch, StepPlan, TrainingModel
from .original import ORIGINALS, build_original, original_loss
from .shapes import MASK, PAD, TASKS, Shape


@dataclass(frozen=True)
class System:
    """
    Args:
        name: shown in tables.
        build: makes a module from a shape and a name in `TASKS`: an encoder for "encode", otherwise a model with a
            loss.
        encode: maps an encoder and inputs to hidden states.
        loss: maps a module and inputs to a scalar.
        tasks: tasks on which it can be trained.
        has_concepts: whether its cost depends on the number of concepts.
    """

    name: str
    build: Callable[..., nn.Module]
    encode: Callable[[nn.Module, dict], torch.Tensor]
    loss: Callable[[nn.Module, dict], torch.Tensor]
    tasks: tuple[str, ...] = ("masked_lm",)
    has_concepts: bool = False

    def make(self, shape: Shape, task: str) -> nn.Module:
        """The module for a task."""
        return self.build(shape, task).train(task != "encode")


def common(shape: Shape) -> dict:
    """Values that all configurations of transformers share."""
    return {
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_attention_heads": shape.heads,
        "max_position_embeddings": shape.length,
        "pad_token_id": PAD,
    }


def states(module, inputs):
    return module(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state


# This package.


def build_concept(shape: Shape, task: str, **options) -> nn.Module:
    config = ConceptEncoderConfig(
        **common(shape), intermediate_size=3 * shape.hidden_size, concept_num=shape.concept_num, mask_token_id=MASK,
        **options,
    )  # fmt: skip
    if task == "encode":
        return ConceptEncoder(config)
    kind = find_model_type(TASKS[task].model_type)
    return TrainingModel(kind.model_class(config), Mixture.of(TASKS[task].objective))


def concept_loss(module: TrainingModel, inputs):
    """The loss as the Trainer computes it."""
    ((name, objective),) = module.mixture.objectives.items()
    plan = StepPlan({name: objective.items(inputs)}, {name: 1.0}, texts=float(len(inputs["input_ids"])))
    return module(StepBatch(plan, {name: inputs}))["loss"]


# transformers.


def build_bert(shape: Shape, task: str) -> nn.Module:
    config = BertConfig(
        **common(shape), intermediate_size=4 * shape.hidden_size, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return BertModel(config, add_pooling_layer=False) if task == "encode" else BertForMaskedLM(config)


def bert_loss(module: BertForMaskedLM, inputs):
    """The model's own loss with the head applied to masked tokens only, [M, H]."""
    hidden, labels = states(module.bert, inputs).flatten(0, 1), inputs["labels"].flatten()
    rows = (labels != -100).nonzero()[:, 0]
    return F.cross_entropy(module.cls(hidden[rows]), labels[rows])


def build_modernbert(shape: Shape, task: str) -> nn.Module:
    config = ModernBertConfig(
        **common(shape), intermediate_size=3 * shape.hidden_size // 2, sparse_prediction=True, bos_token_id=None,
        eos_token_id=None, cls_token_id=None, sep_token_id=None,
    )  # fmt: skip
    return ModernBertModel(config) if task == "encode" else ModernBertForMaskedLM(config)


def modernbert_loss(module: ModernBertForMaskedLM, inputs):
    return module(**inputs).loss


def build_perceiver(shape: Shape, task: str) -> nn.Module:
    config = PerceiverConfig(
        vocab_size=shape.vocab_size, max_position_embeddings=shape.length, d_model=shape.hidden_size,
        d_latents=shape.hidden_size, num_latents=shape.concept_num, num_blocks=1,
        num_self_attends_per_block=shape.num_hidden_layers, num_self_attention_heads=shape.heads,
        num_cross_attention_heads=shape.heads, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    if task == "encode":
        return PerceiverModel(config, input_preprocessor=PerceiverTextPreprocessor(config))
    return PerceiverForMaskedLM(config)


def perceiver_states(module: PerceiverModel, inputs):
    return module(inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state


def perceiver_loss(module: PerceiverForMaskedLM, inputs):
    """The model's own loss with the head applied to masked tokens only; its decoder always computes all positions."""
    decoded = module.perceiver(inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits  # [B, N, H]
    labels = inputs["labels"].flatten()
    rows = (labels != -100).nonzero()[:, 0]
    table = module.perceiver.input_preprocessor.embeddings
    logits = module.embedding_decoder(decoded.flatten(0, 1)[rows][None], embedding_layer=table)[0]
    return F.cross_entropy(logits, labels[rows])


CONCEPT = System(
    "concept", build_concept, states, concept_loss, tuple(task for task in TASKS if task != "encode"), True
)
SYSTEMS = {
    system.name: system
    for system in (
        CONCEPT,
        System("bert", build_bert, states, bert_loss),
        System("modernbert", build_modernbert, states, modernbert_loss),
        System("perceiver", build_perceiver, perceiver_states, perceiver_loss, has_concepts=True),
        System("original", build_original, states, original_loss, tuple(ORIGINALS), has_concepts=True),
        replace(CONCEPT, name="concept-shared", build=partial(build_concept, share_key_values=True)),
    )
}
PEERS = [name for name in SYSTEMS if not name.startswith("concept")]
