# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The models that a table compares: concept encoders, other sentence encoders and tf-idf, and how the baselines among
them are made from the first row.

T texts, D width of vectors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
    set_seed,
)

from ...evaluation.bag_of_words import bag_of_words_vectors
from ...evaluation.results import BAG_OF_WORDS, UNTRAINED
from ...evaluation.similarity import load_sentence_model, sentence_model_vectors
from ...models.loading import load_model, read_config
from ...models.untrained import untrained_like
from .table import Row, parse_words


CONCEPTS, SENTENCES, WORDS = "concepts", "sentences", "words"

BATCH_SIZE = 128


@dataclass(frozen=True)
class EvaluatedModel:
    """
    Args:
        name: shown in tables.
        kind: `concepts`, `sentences` (a model of sentence-transformers) or `words` (tf-idf).
        path: checkpoint, folder or Hub id; empty for words.
        folder: holds its results.
        help_from: help beside the text, such as pairs or a teacher.
        make: writes the checkpoint unless it exists; None where there is nothing to make.
    """

    name: str
    kind: str
    path: str
    folder: Path
    help_from: str = ""
    make: Callable[[], None] | None = None

    @cached_property
    def network(self):
        """The concept model, with its decoder and head where it has them, or the SentenceTransformer."""
        return load_model(self.path) if self.kind == CONCEPTS else load_sentence_model(self.path)

    def vectors(self, texts: list[str]) -> torch.Tensor:
        """[T, D], sparse for words."""
        if self.kind == WORDS:
            return bag_of_words_vectors(texts)
        if self.kind == SENTENCES:
            return sentence_model_vectors(self.network, BATCH_SIZE, texts)
        return self.network.encode(texts, BATCH_SIZE, truncation=True, show_progress_bar=True).concepts.mean(dim=1)


def make_untrained(row: Row, trained: Path, seed: int, folder: Path) -> None:
    """The row's network before training."""
    model = load_model(str(trained))
    untrained_like(model, seed).save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)


def make_bert(row: Row, trained: Path, seed: int, folder: Path) -> None:
    """
    BERT with the row's width, heads, layers and vocabulary, trained by masked LM (15 %) on as many tokens of the same
    text with the row's batch size, at half of its learning rate, which suits post-norm layers.
    """
    config = read_config(str(trained))
    tokenizer = AutoTokenizer.from_pretrained(trained)
    _, data_args, arguments = parse_words(row.words)
    data_args.max_seq_length = config.max_sequence_length
    texts, column = data_args.read_texts(seed)
    pieces = data_args.cut_texts(texts, column, tokenizer, seed)["train"]
    set_seed(seed)
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=config.vocab_size, hidden_size=config.hidden_size, num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads, intermediate_size=config.intermediate_size,
            max_position_embeddings=config.max_sequence_length, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip
    trainer = Trainer(
        model,
        TrainingArguments(
            output_dir=str(folder), max_steps=row.steps, seed=seed, report_to=[], disable_tqdm=True,
            per_device_train_batch_size=arguments.per_device_train_batch_size,
            gradient_accumulation_steps=arguments.gradient_accumulation_steps,
            learning_rate=arguments.learning_rate / 2, lr_scheduler_type="cosine", warmup_steps=0.05,
            weight_decay=0.01, adam_beta2=0.95, logging_steps=100, save_strategy="no",
        ),
        data_collator=DataCollatorForLanguageModeling(tokenizer),
        train_dataset=pieces,
        processing_class=tokenizer,
    )  # fmt: skip
    trainer.train()
    trainer.save_model()


# By name: the name in tables, the kind of [`EvaluatedModel`], and the function that writes the checkpoint, if there is
# one, into a folder from a row, the folder of its run and a seed.
BASELINES: dict[str, tuple[str, str, Callable[[Row, Path, int, Path], None] | None]] = {
    "untrained": (UNTRAINED, CONCEPTS, make_untrained),
    "bert": ("BERT, masked LM", SENTENCES, make_bert),
    "tfidf": (BAG_OF_WORDS, WORDS, None),
}
