# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The compared systems, with equal width, layers, heads, vocabulary and lengths, their tasks, and the random texts that
all of them get.

Feed-forward blocks follow each design: 3·H gated here, 4·H in BERT, 1.5·H gated in ModernBERT, H in Perceiver, 4·H
gated in the original; parameters are therefore reported. Dropout is 0 in all but the original, which has 0.1.
Attention is PyTorch's scaled dot product wherever transformers uses it, that is, not in Perceiver.

B texts, N tokens, H hidden, M masked tokens, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers import AutoModel, AutoModelForMaskedLM, BertConfig, ModernBertConfig, PerceiverConfig
from transformers.models.perceiver.modeling_perceiver import PerceiverTextPreprocessor

from modeling_concept import ConceptEncoderConfig, OriginalConceptEncoderConfig

from ...objectives import Denoising, MaskedLM, Mixture
from ...objectives.base import TokenObjective
from ...objectives.noise import Noise, make_key
from ...objectives.sampled_softmax import sample_vocabulary
from ...objectives.vocabulary import CleanBatch, Vocabulary
from ...training_args import ConceptTrainingArguments
from ...training_model import StepBatch, TrainingModel


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
    def common(self) -> dict:
        """Values that all configurations have; attention heads are 64 wide."""
        return {
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": max(1, self.hidden_size // 64),
            "max_position_embeddings": self.length,
            "pad_token_id": PAD,
        }

    def __str__(self):
        return f"N={self.length:,}, C={self.concept_num:,}"


class Task(NamedTuple):
    """Title in tables, objective that adds noise and labels (None for encoding without gradients), decoder, and number
    of tokens beside the labels in the softmax of concept models (0: all)."""

    title: str
    objective: TokenObjective | None = None
    decoder_type: str | None = None
    softmax_samples: int = 0


# The noise is the original's: 15 % masked, 60 % deleted.
TASKS = {
    "encode": Task("encoding"),
    "encode_one": Task("encoding one text"),
    "masked_lm": Task("training, masked LM 15 %", MaskedLM(mlm_probability=0.15), "token_position"),
    "denoising": Task(
        "training, dense TSDAE", Denoising(deletion_rate=[0.0, 0.6], supervised_share=1.0), "position"
    ),
    "denoising_default": Task(
        "training, TSDAE, ours with its defaults: half of the labels, a sampled softmax",
        Denoising(deletion_rate=[0.0, 0.6]), "position", ConceptTrainingArguments.softmax_samples,
    ),
}  # fmt: skip


def make_inputs(task: str, shape: Shape, tokens: int, seed: int, device) -> dict[str, torch.Tensor]:
    """
    `input_ids` and `attention_mask` [B, N] of random texts, and for training the labels and noise of the objective, so
    that drawing noise is not timed.

    Args:
        tokens: about B·N; B is at least 1.
    """
    rows, objective = max(1, round(tokens / shape.length)), TASKS[task].objective
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(FIRST_WORD, shape.vocab_size, (rows, shape.length), generator=generator)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if objective is not None:
        vocabulary = Vocabulary(shape.vocab_size, MASK, PAD, torch.arange(shape.vocab_size) < FIRST_WORD)
        clean = CleanBatch(ids, inputs["attention_mask"], vocabulary)
        inputs = objective(clean, Noise.for_step(seed, 0, torch.arange(rows), rows, shape.length))
    return {name: value.to(device) for name, value in inputs.items()}


def trains(task: str) -> bool:
    return TASKS[task].objective is not None


def make_model(config, task: str, **options) -> nn.Module:
    """An encoder, made with `options`, or for training a masked LM."""
    return AutoModelForMaskedLM.from_config(config) if trains(task) else AutoModel.from_config(config, **options)


def encode(module, inputs):
    """Hidden states of an encoder."""
    return module(inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state


# This package.


def build_concept(shape: Shape, task: str, **options) -> nn.Module:
    config = ConceptEncoderConfig(
        **shape.common, intermediate_size=3 * shape.hidden_size, concept_num=shape.concept_num, mask_token_id=MASK,
        decoder_type=TASKS[task].decoder_type, **options,
    )  # fmt: skip
    model = make_model(config, task)
    return TrainingModel(model, Mixture({task: TASKS[task].objective}, {task: 1.0})) if trains(task) else model


class LowPrecision(nn.Module):
    """An encoder as `encode(…, dtype="bfloat16")` runs it."""

    def __init__(self, shape: Shape, task: str):
        super().__init__()
        self.model = build_concept(shape, task)

    def forward(self, input_ids, attention_mask):
        with torch.autocast(input_ids.device.type, torch.bfloat16):
            return self.model(input_ids, attention_mask)


def concept_loss(module: TrainingModel, inputs):
    """The loss as the Trainer computes it."""
    ((name, objective),) = module.mixture.objectives.items()
    texts, count = float(len(inputs["input_ids"])), TASKS[name].softmax_samples
    if count and module.training:
        labels = torch.zeros(module.model.config.vocab_size, dtype=torch.bool, device=inputs["labels"].device)
        labels[inputs["labels"][inputs["labels"] != -100]] = True
        inputs = inputs | {"sampled_vocabulary": sample_vocabulary(labels, count, make_key(0, device=labels.device))}
    return module(StepBatch({name: inputs}, {name: objective.items(inputs)}, {name: 1.0}, texts))["loss"]


# transformers.


def build_bert(shape: Shape, task: str) -> nn.Module:
    config = BertConfig(
        **shape.common, intermediate_size=4 * shape.hidden_size, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return make_model(config, task, add_pooling_layer=False)


def bert_loss(module, inputs):
    """The model's own loss with the head applied to masked tokens only, [M, H]."""
    chosen = inputs["labels"] != -100
    return F.cross_entropy(module.cls(encode(module.bert, inputs)[chosen]), inputs["labels"][chosen])


def build_modernbert(shape: Shape, task: str) -> nn.Module:
    config = ModernBertConfig(
        **shape.common, intermediate_size=3 * shape.hidden_size // 2, sparse_prediction=True, bos_token_id=None,
        eos_token_id=None, cls_token_id=None, sep_token_id=None,
    )  # fmt: skip
    return make_model(config, task)


def modernbert_loss(module, inputs):
    return module(**inputs).loss


def build_perceiver(shape: Shape, task: str) -> nn.Module:
    heads = shape.common["num_attention_heads"]
    config = PerceiverConfig(
        vocab_size=shape.vocab_size, max_position_embeddings=shape.length, d_model=shape.hidden_size,
        d_latents=shape.hidden_size, num_latents=shape.concept_num, num_blocks=1,
        num_self_attends_per_block=shape.num_hidden_layers, num_self_attention_heads=heads,
        num_cross_attention_heads=heads, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return make_model(config, task, input_preprocessor=PerceiverTextPreprocessor(config))


def perceiver_loss(module, inputs):
    """The model's own loss with the head applied to masked tokens only; its decoder always computes all positions."""
    decoded = module.perceiver(inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits  # [B, N, H]
    chosen = inputs["labels"] != -100
    table = module.perceiver.input_preprocessor.embeddings
    logits = module.embedding_decoder(decoded[chosen][None], embedding_layer=table)[0]
    return F.cross_entropy(logits, inputs["labels"][chosen])


# The original implementation: dropout 0.1, keys and values projected in each layer, and logits of all tokens where the
# original computes them. Its concept losses, which cost almost nothing, are left out.


def build_original(shape: Shape, task: str) -> nn.Module:
    config = OriginalConceptEncoderConfig(
        **shape.common, intermediate_size=4 * shape.hidden_size, concept_num=shape.concept_num, mask_token_id=MASK,
        decoder_type=TASKS[task].decoder_type, tie_word_embeddings=True,
    )  # fmt: skip
    return make_model(config, task)


def original_loss(model, inputs):
    """The original's loss. Masked LM: the head is applied to masked tokens only. TSDAE: deleted tokens are masked
    keys, and logits [B, N, V] of all tokens are computed."""
    ids, mask, labels = inputs["input_ids"], inputs["attention_mask"], inputs["labels"]
    dense = model.config.decoder_type == "position"
    memory = model.prepare_memory(model.encoder(ids, mask * (ids != MASK) if dense else mask))
    decoded = model.decode(memory, model.make_targets(inputs.get("decoder_input_ids", ids), None))
    if dense:
        return F.cross_entropy(model.lm_head(decoded).flatten(0, 1), labels.flatten(), ignore_index=-100)
    chosen = labels != -100
    return F.cross_entropy(model.lm_head(decoded[chosen]), labels[chosen])


# By name: a function from a shape and a name in `TASKS` to a module, an encoder or for training a model with a loss,
# and one from such a model and inputs to the loss.
SYSTEMS: dict[str, tuple[Callable[[Shape, str], nn.Module], Callable[[nn.Module, dict], torch.Tensor]]] = {
    "concept": (build_concept, concept_loss),
    "bert": (build_bert, bert_loss),
    "modernbert": (build_modernbert, modernbert_loss),
    "perceiver": (build_perceiver, perceiver_loss),
    "original": (build_original, original_loss),
    "concept-bf16": (LowPrecision, concept_loss),  # encodes only
}
PEERS = [name for name in SYSTEMS if not name.startswith("concept")]
