# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Distillation of a frozen sentence encoder, from plain text alone.

B texts, R parts of them, N tokens, H hidden, D width of the teacher.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn as nn
import torch.nn.functional as F

from .base import Objective, option
from .noise import Noise
from .vocabulary import CleanBatch, cut_texts


SHORTEST_PART = 16  # tokens, special ones among them
TEACHER = "teacher_"  # before the names of its inputs


@dataclass
class Distillation(Objective):
    """
    One minus the cosine between a text's sentence vector and that of a frozen teacher, plus, weighted, the mean of the
    same over the states of the text's tokens.

    Where the widths differ, the sentence vector is compared through a linear map; else the vectors come to lie in the
    teacher's space. In training, all texts of a step are cut into parts, if possible after sentences, of at most a
    length that is log-uniform between `SHORTEST_PART` and twice the tokenizer's longest text, since most sentences are
    short; in the steps where it is longer than that, texts stay whole.
    """

    mean_only: ClassVar[bool] = True
    reads_any_tokens: ClassVar[bool] = True

    teacher: str = option("sentence-transformers/all-MiniLM-L6-v2", "Hub id or folder of any SentenceTransformer.")
    token_state_weight: float = option(
        0.0, "Weight of the states of tokens; needs the teacher's tokenizer and width, and a mean that is not free."
    )

    def __post_init__(self):
        from sentence_transformers import SentenceTransformer

        if self.token_state_weight < 0:
            raise ValueError(f"token_state_weight must not be negative, as {self.token_state_weight} is.")
        self._teacher = SentenceTransformer(self.teacher).eval().requires_grad_(False)
        self._width = self._teacher.encode(["width"], show_progress_bar=False).shape[1]

    def check(self, config):
        if self.token_state_weight and (config.concept_mean == "free" or config.hidden_size != self._width):
            raise ValueError(
                f"token_state_weight needs token states of the teacher's width {self._width}, whose mean is that of "
                f"the concepts: set hidden_size {self._width} and a concept_mean that is not free, or give it up."
            )

    def make_head(self, config):
        return None if config.hidden_size == self._width else nn.Linear(config.hidden_size, self._width)

    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        """Texts or parts [R, N], and the teacher's inputs: the same tokens where the vocabularies agree."""
        self._teacher.to(batch.input_ids.device)
        tokenizer, longest = batch.vocabulary.tokenizer, batch.vocabulary.tokenizer.model_max_length
        place = noise.per_step()
        if place is not None and longest > SHORTEST_PART:
            length = round(SHORTEST_PART * (2 * longest / SHORTEST_PART) ** float(place))
            batch = cut_texts(batch, min(length, longest), batch.vocabulary.sentence_ends)[0]
        inputs = batch.encoder_inputs
        encoders = batch.vocabulary.encoder_tokenizer or tokenizer
        agrees = encoders.get_vocab() == self._teacher.tokenizer.get_vocab()
        if agrees and inputs["input_ids"].shape[1] <= self._teacher.max_seq_length:
            features = inputs
        elif self.token_state_weight:
            raise ValueError(
                "token_state_weight needs the teacher's tokenizer, which --backbone or --tokenizer_name brings, and "
                f"texts of at most its {self._teacher.max_seq_length} tokens (--max_seq_length)."
            )
        else:
            texts = tokenizer.batch_decode(batch.input_ids, skip_special_tokens=True)
            features = self._teacher.preprocess(texts)
        features = {f"{TEACHER}{name}": value for name, value in features.items() if torch.is_tensor(value)}
        return inputs | {name: value.to(batch.input_ids.device) for name, value in features.items()}

    def items(self, inputs):
        return torch.tensor(float(len(inputs["input_ids"])), device=inputs["input_ids"].device)

    def makes_concepts(self, config):
        return config.concept_mean == "free"

    def encode(self, model, inputs, **options):
        """Without concepts where sentence vectors do not need them: token states and sentence vectors."""
        if self.makes_concepts(model.config):
            return super().encode(model, inputs, **options)
        return model.base_model.get_sentence_features(inputs["input_ids"], inputs["attention_mask"])

    def loss(self, model, head, encoded, inputs, items):
        features = {name.removeprefix(TEACHER): value for name, value in inputs.items() if name.startswith(TEACHER)}
        with torch.no_grad():  # here, and not in the call, in the precision of the training
            targets = self._teacher(features)
        vectors = encoded.pooler_output if head is None else head(encoded.pooler_output)
        loss = distances(vectors, targets["sentence_embedding"]).sum()
        if self.token_state_weight:
            mask = inputs["attention_mask"]
            states = distances(encoded.last_hidden_state, targets["token_embeddings"]) * mask
            loss = loss + self.token_state_weight * (states.sum(dim=1) / mask.sum(dim=1)).sum()
        return loss / items


def distances(vectors: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """One minus the cosine of vectors [..., D] and their targets [..., D]."""
    return 1 - F.cosine_similarity(vectors.float(), targets.float(), dim=-1)
