# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The systems that are compared, with equal width, layers, heads, vocabulary and lengths. A variant of a system is the
same record with other options.

Feed-forward blocks are each design's own: 3·H gated here, 4·H in BERT, 1.5·H gated in ModernBERT, H in Perceiver, 4·H
gated in the original's way; so parameters are reported. Dropout is 0, as the concept models have it, in all but the
original's way, which has 0.1. Attention is PyTorch's scaled dot product wherever transformers has it, which is not so
in Perceiver.

B texts, N tokens, H hidden, M masked tokens.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

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

from ..loss_terms import make_weighting
from ..model_types import find_model_type
from ..objectives import Mixture
from ..step import StepBatch, StepPlan
from ..training_model import TrainingForms, TrainingModel
from .original import ORIGINALS, build_original, original_loss
from .shapes import MASK, PAD, TASKS, Shape


@dataclass(frozen=True)
class System:
    """
    Args:
        name: as tables show it.
        build: from a shape, a name in `TASKS` and `options` to a module: for "encode" an encoder alone, else one that
            has a loss.
        encode: from an encoder and inputs to its states.
        loss: from a module and inputs to a scalar.
        encoder: the part of such a module that `--torch_compile` compiles; in training, concept models are compiled
            as the Trainer does it.
        tasks: that it can be trained on.
        has_concepts: whether the number of concepts makes a difference.
        options: of the configuration, beside the shape.
        fused: whether AdamW is one kernel; else it is a loop over parameters.
        compiled: whether that is compiled.
        context: entered around each forward and backward pass.
    """

    name: str
    build: Callable[..., nn.Module]
    encode: Callable[[nn.Module, dict], torch.Tensor]
    loss: Callable[[nn.Module, dict], torch.Tensor]
    encoder: Callable[[nn.Module], nn.Module]
    tasks: tuple[str, ...] = ("masked_lm",)
    has_concepts: bool = False
    options: dict = field(default_factory=dict)
    fused: bool = True
    compiled: bool = False
    context: Callable[[], AbstractContextManager] = nullcontext

    def make(self, shape: Shape, task: str) -> nn.Module:
        """ValueError if it has no such task."""
        if task != "encode" and task not in self.tasks:
            raise ValueError(f"{self.name} cannot be trained on {task!r}, only on {list(self.tasks)}.")
        return self.build(shape, task, **self.options).train(task != "encode")


def common(shape: Shape) -> dict:
    """What transformers' configurations have in common."""
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


def concept_config(shape: Shape, **options) -> ConceptEncoderConfig:
    return ConceptEncoderConfig(
        **common(shape), intermediate_size=3 * shape.hidden_size, concept_num=shape.concept_num, mask_token_id=MASK,
        **options,
    )  # fmt: skip


def build_concept(shape: Shape, task: str, **options) -> nn.Module:
    config = concept_config(shape, **options)
    if task == "encode":
        return ConceptEncoder(config)
    kind = find_model_type(TASKS[task].model_type)
    mixture = Mixture.of(TASKS[task].objective)
    return TrainingModel(kind.model_class(config), mixture, [], make_weighting("fixed", []), TrainingForms())


def concept_loss(module: TrainingModel, inputs):
    """As the Trainer computes it."""
    ((name, objective),) = module.mixture.objectives.items()
    plan = StepPlan({name: objective.items(inputs)}, {name: 1.0}, texts=float(len(inputs["input_ids"])))
    return module(StepBatch({name: inputs}), plan)["loss"]


def dense_concept_loss(module: TrainingModel, inputs):
    """The same number where all weights are one, from logits of all positions and `F.cross_entropy`."""
    given = {name: value for name, value in inputs.items() if name not in ("labels", "loss_weights")}
    logits = module.model(**given).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), inputs["labels"].flatten(), ignore_index=-100)


# transformers.


def build_bert(shape: Shape, task: str) -> nn.Module:
    config = BertConfig(
        **common(shape), intermediate_size=4 * shape.hidden_size, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return BertModel(config, add_pooling_layer=False) if task == "encode" else BertForMaskedLM(config)


def bert_loss(module: BertForMaskedLM, inputs):
    """The model's own loss, but its head sees the states of masked tokens alone, [M, H]."""
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
    """The model's own loss, but its head sees the states of masked tokens alone; its decoder has no way to leave
    positions out."""
    decoded = module.perceiver(inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits  # [B, N, H]
    labels = inputs["labels"].flatten()
    rows = (labels != -100).nonzero()[:, 0]
    table = module.perceiver.input_preprocessor.embeddings
    logits = module.embedding_decoder(decoded.flatten(0, 1)[rows][None], embedding_layer=table)[0]
    return F.cross_entropy(logits, labels[rows])


CONCEPT = System(
    "concept", build_concept, states, concept_loss, lambda module: getattr(module, "model", module).base_model,
    tuple(task for task in TASKS if task != "encode"), has_concepts=True,
)  # fmt: skip

SYSTEMS = {
    "concept": CONCEPT,
    "bert": System("bert", build_bert, states, bert_loss, lambda module: module.base_model),
    "modernbert": System("modernbert", build_modernbert, states, modernbert_loss, lambda module: module.base_model),
    "perceiver": System(
        "perceiver", build_perceiver, perceiver_states, perceiver_loss, lambda module: module.base_model,
        has_concepts=True,
    ),
    "original": System(
        "original", build_original, states, original_loss, lambda module: module.base_model, tuple(ORIGINALS),
        has_concepts=True,
    ),
}  # fmt: skip
SYSTEMS["concept-shared"] = System(
    **{**vars(CONCEPT), "name": "concept-shared", "options": {"share_key_values": True}}
)
PEERS = [name for name in SYSTEMS if not name.startswith("concept")]


def count_parameters(module: nn.Module, vocab_size: int) -> tuple[int, int]:
    """Parameters, shared ones once; and those that are neither an `nn.Embedding` nor have a row for each token of the
    vocabulary."""
    tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    parameters = list(module.parameters())
    others = [p.numel() for p in parameters if id(p) not in tables and p.shape[:1] != (vocab_size,)]
    return sum(p.numel() for p in parameters), sum(others)
