# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What every table has beside its runs. A baseline is a function from a trained row to the folder of what stands in for
it; a new one is a function and a line in `BASELINES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    HfArgumentParser,
    Trainer,
    TrainingArguments,
    set_seed,
)

from ..analysis import load_checkpoint
from ..data import load_text, text_column
from ..pieces import PieceMaker, make_pieces
from ..results import BAG_OF_WORDS, UNTRAINED
from ..untrained import untrained_like
from .subjects import CONCEPTS, SENTENCES, WORDS
from .table import Row, pretraining_arguments


BERT = "BERT, masked LM"


@dataclass(frozen=True)
class Baseline:
    """
    Args:
        name: in tables.
        kind: of the subject.
        make: writes a checkpoint into a folder: of a row, the folder in which that was trained, and a seed.
    """

    name: str
    kind: str
    make: Callable[[Row, Path, int, Path], None] | None = None


def make_untrained(row: Row, trained: Path, seed: int, folder: Path) -> None:
    """The network of the row as it is before training."""
    model = load_checkpoint(str(trained))
    untrained = untrained_like(model, seed)
    untrained.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)


def make_bert(row: Row, trained: Path, seed: int, folder: Path) -> None:
    """
    BERT with the row's width, heads, layers and vocabulary, trained by masked LM (15 %) on as many tokens of the same
    text, with the row's batch size; at half of its learning rate, as post-norm layers want less.
    """
    config = load_checkpoint(str(trained)).config
    tokenizer = AutoTokenizer.from_pretrained(trained)
    parser = HfArgumentParser(pretraining_arguments(), allow_abbrev=False)
    _, data_args, arguments = parser.parse_args_into_dataclasses(row.words(folder, seed))
    raw = load_text(
        data_args.dataset_name, data_args.dataset_config_name, data_args.train_file, data_args.validation_file,
        validation_split_percentage=data_args.validation_split_percentage, seed=seed, cache_dir=data_args.cache_dir,
    )["train"]  # fmt: skip
    maker = PieceMaker(
        tokenizer,
        data_args.max_seq_length,
        data_args.short_piece_probability,
        data_args.line_by_line,
        seed,
        data_args.rare_text_share,
    )
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
        train_dataset=make_pieces(raw, text_column(raw, data_args.text_column), maker),
        processing_class=tokenizer,
    )  # fmt: skip
    trainer.train()
    trainer.save_model()


BASELINES: dict[str, Baseline] = {
    "untrained": Baseline(UNTRAINED, CONCEPTS, make_untrained),
    "bert": Baseline(BERT, SENTENCES, make_bert),
    "tfidf": Baseline(BAG_OF_WORDS, WORDS),
}
