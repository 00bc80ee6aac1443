# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Pretrain a concept encoder.

    python examples/run_pretraining.py

needs no argument and no network: it trains a small encoder on the embedded corpus in a few minutes on two CPU cores.
On other data and in other sizes, for instance:

    python examples/run_pretraining.py --model_type perceiver_mlm --dataset_name Salesforce/wikitext \
        --dataset_config_name wikitext-103-raw-v1 --tokenizer_name answerdotai/ModernBERT-base \
        --hidden_size 512 --num_hidden_layers 6 --num_attention_heads 8 --intermediate_size 1536 \
        --concept_num 128 --max_seq_length 512 --learning_rate 5e-4 --bf16

All arguments may also stand in one JSON file, given as the only argument.
"""

import logging
import re
import shlex
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from rich.console import Console
from rich.table import Table
from transformers import AutoConfig, AutoTokenizer, HfArgumentParser, set_seed

from trainers import ConceptTrainer, ConceptTrainingArguments
from trainers.data import PieceMaker, first_line, iterate_texts, load_text, make_pieces, text_column
from trainers.metrics import unigram_entropy
from trainers.model_card import RunFacts, make_card, result_rows
from trainers.model_types import MODEL_TYPES, find_model_type
from trainers.plots import plot_run
from trainers.runs import check_output_dir, git_state, run_name
from trainers.tokenizer_training import SPECIAL_TOKENS, train_tokenizer


logger = logging.getLogger(__name__)


@dataclass
class ModelArguments:
    """Which model, and its sizes; sizes are ignored with `--model_name_or_path`, which has its own."""

    model_type: str | None = field(
        default=None,
        metadata={
            "help": f"One of {sorted(MODEL_TYPES)}; perceiver_posonly_mlm, or the checkpoint's own, by default."
        },
    )
    model_name_or_path: str | None = field(default=None, metadata={"help": "Checkpoint to go on from."})
    tokenizer_name: str | None = field(
        default=None, metadata={"help": "Tokenizer; the checkpoint's, or one trained from the data, by default."}
    )
    encoder_type: str = field(default="perceiver", metadata={"help": "Kind of concept layer: perceiver, bixt, slot."})
    hidden_size: int = field(default=128, metadata={"help": "Width of concepts."})
    token_embedding_dim: int | None = field(default=None, metadata={"help": "Width of the token table, if another."})
    num_hidden_layers: int = field(default=2, metadata={"help": "Concept layers (iterations of recursive_mlm)."})
    num_attention_heads: int = field(default=4, metadata={"help": "Attention heads."})
    intermediate_size: int = field(default=384, metadata={"help": "Inner width of feed-forward blocks."})
    concept_num: int = field(default=16, metadata={"help": "Number of concepts."})
    num_decoder_layers: int = field(default=2, metadata={"help": "Decoder layers."})
    config_overrides: str | None = field(
        default=None, metadata={"help": "Further configuration values: name=value,name=value."}
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code of the tokenizer's repository."})


@dataclass
class DataTrainingArguments:
    """Which text, and how it is cut."""

    dataset_name: str | None = field(
        default=None, metadata={"help": "Hub id or local folder; the embedded corpus by default."}
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    train_file: str | None = field(default=None, metadata={"help": "Training text: txt, json(l), csv or parquet."})
    validation_file: str | None = field(default=None, metadata={"help": "Validation text, of the same format."})
    text_column: str | None = field(default=None, metadata={"help": "Column of text; 'text' or the first by default."})
    streaming: bool = field(default=False, metadata={"help": "Stream the data; needs --max_steps."})
    validation_split_percentage: float = field(
        default=5, metadata={"help": "Part of train used for validation where there is none."}
    )
    max_seq_length: int = field(default=64, metadata={"help": "Longest piece of text in tokens."})
    vocab_size: int = field(default=4096, metadata={"help": "Vocabulary of a tokenizer trained from the data."})
    short_piece_probability: float = field(default=0.1, metadata={"help": "Share of pieces of random shorter length."})
    line_by_line: bool = field(default=False, metadata={"help": "Keep the rows of the data apart."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only so many training pieces."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many validation pieces."})
    preprocessing_num_workers: int | None = field(default=None, metadata={"help": "Processes that cut text."})
    cache_dir: str | None = field(default=None, metadata={"help": "Where data sets are cached."})


def parse_arguments():
    parser = HfArgumentParser((ModelArguments, DataTrainingArguments, ConceptTrainingArguments))
    if len(sys.argv) == 2 and sys.argv[1].endswith(".json"):
        return parser.parse_json_file(sys.argv[1])
    return parser.parse_args_into_dataclasses()


def make_tokenizer(model_args, data_args, raw, column):
    """The tokenizer asked for, the checkpoint's, or a new one; padding and mask token are added where missing."""
    name = model_args.tokenizer_name or model_args.model_name_or_path
    if name is None:
        texts = iterate_texts(raw["train"], column, limit=100_000)
        return train_tokenizer(texts, data_args.vocab_size, data_args.max_seq_length)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=model_args.trust_remote_code)
    except (OSError, ValueError) as error:
        raise ValueError(f"The tokenizer of {name!r} cannot be read: {first_line(error)}") from error
    missing = {name: SPECIAL_TOKENS[name] for name in ("pad_token", "mask_token") if getattr(tokenizer, name) is None}
    if missing and model_args.model_name_or_path is None:
        logger.warning("The tokenizer has no %s; added.", " and no ".join(missing))
        tokenizer.add_special_tokens(missing)
    tokenizer.model_max_length = data_args.max_seq_length
    return tokenizer


def choose_model_type(model_args) -> str:
    """The model type asked for, the checkpoint's own, or the default."""
    if model_args.model_type is not None or model_args.model_name_or_path is None:
        name = model_args.model_type or "perceiver_posonly_mlm"
        find_model_type(name)
        return name
    try:
        config = AutoConfig.from_pretrained(model_args.model_name_or_path)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"The checkpoint {model_args.model_name_or_path!r} cannot be read: {first_line(error)}"
        ) from error
    saved = (config.architectures or [None])[0]
    for name, kind in MODEL_TYPES.items():
        if kind.model_class.__name__ == saved:
            return name
    raise ValueError(f"Pretraining cannot go on from {saved}; give --model_type, one of {sorted(MODEL_TYPES)}.")


def make_model(name, model_args, data_args, tokenizer):
    """A new model of the type `name`, or the checkpoint to go on from."""
    if model_args.model_name_or_path is not None:
        model = find_model_type(name).model_class.from_pretrained(model_args.model_name_or_path)
        if data_args.max_seq_length > model.config.max_sequence_length:
            raise ValueError(
                f"max_seq_length {data_args.max_seq_length} is more than the checkpoint's max_sequence_length "
                f"{model.config.max_sequence_length}."
            )
        if len(tokenizer) > model.config.vocab_size:
            raise ValueError(
                f"The tokenizer has {len(tokenizer)} tokens, the checkpoint only {model.config.vocab_size}; use the "
                "checkpoint's own tokenizer."
            )
        return model
    kind = find_model_type(name)
    config = kind.model_class.config_class(
        **kind.config,
        vocab_size=len(tokenizer),
        max_sequence_length=data_args.max_seq_length,
        **{
            option: getattr(model_args, option)
            for option in (
                "encoder_type", "hidden_size", "token_embedding_dim", "num_hidden_layers", "num_attention_heads",
                "intermediate_size", "concept_num", "num_decoder_layers",
            )
        },
        **{
            f"{token}_token_id": getattr(tokenizer, f"{token}_token_id")
            for token in ("pad", "mask", "cls", "sep", "unk", "bos", "eos")
        },
    )  # fmt: skip
    if model_args.config_overrides:
        config.update_from_string(model_args.config_overrides)
        config.validate()
    return kind.model_class(config)


def held_out_sentences(raw, column, count=3) -> list[str]:
    """Sentences of ordinary length from different places of the validation text."""
    found = []
    for text in iterate_texts(raw["validation"], column, limit=1000):
        middle = text[len(text) // 3 :]
        sentences = re.findall(r"(?<=[.!?] )[A-Z][^.!?\n]{40,150}[.!?](?=\s)", middle)
        found += sentences[:1]
        if len(found) == count:
            break
    return found


def main():
    started = time.time()
    console = Console(width=110)
    try:
        model_args, data_args, training_args = parse_arguments()
        transformers.logging.set_verbosity(training_args.get_process_log_level())
        set_seed(training_args.seed)
        if data_args.streaming and training_args.max_steps <= 0:
            raise ValueError("A streamed data set has no known length: give --max_steps.")
        model_type = choose_model_type(model_args)
        objective_name = training_args.objective or find_model_type(model_type).objective
        objective = training_args.make_objective(objective_name)
        raw = load_text(
            data_args.dataset_name, data_args.dataset_config_name, data_args.train_file, data_args.validation_file,
            data_args.streaming, data_args.validation_split_percentage, training_args.data_seed or training_args.seed,
            data_args.cache_dir,
        )  # fmt: skip
        column = text_column(raw["train"], data_args.text_column)
        tokenizer = make_tokenizer(model_args, data_args, raw, column)
        model = make_model(model_type, model_args, data_args, tokenizer)
        model.tokenizer = tokenizer
        name = training_args.run_name or run_name(model_type, objective_name, model.config)
        training_args.run_name = name
        if training_args.output_dir is None:
            training_args.output_dir = str(Path("outputs") / name)
        check_output_dir(training_args.output_dir, resumes=bool(training_args.resume_from_checkpoint))

        seed = training_args.data_seed or training_args.seed
        pieces = {}
        for split, share in (("train", data_args.short_piece_probability), ("validation", 0.0)):
            maker = PieceMaker(tokenizer, data_args.max_seq_length, share, data_args.line_by_line, seed)
            pieces[split] = make_pieces(raw[split], column, maker, data_args.preprocessing_num_workers)
        for split, limit in (("train", data_args.max_train_samples), ("validation", data_args.max_eval_samples)):
            if limit is not None:
                pieces[split] = pieces[split].take(limit)
            if not data_args.streaming and len(pieces[split]) == 0:
                raise ValueError(f"The {split} text has no token.")
        if data_args.streaming:
            pieces["train"] = pieces["train"].shuffle(seed=seed, buffer_size=10_000)
        counted = pieces["train"].take(100_000) if data_args.streaming else pieces["train"]
        unigram = unigram_entropy(
            (row["input_ids"] for row in counted), model.config.vocab_size, tokenizer.all_special_ids
        )
        trainer_parts = {
            "args": training_args, "objective": objective, "processing_class": tokenizer,
            "train_dataset": pieces["train"], "eval_dataset": pieces["validation"],
        }  # fmt: skip
        trainer = ConceptTrainer(model=model, **trainer_parts)
    except StrictDataclassError as error:  # of a configuration; its cause is the sentence
        sys.exit(first_line(error.__cause__ or error))
    except (ValueError, OSError) as error:
        sys.exit(str(error))

    device = training_args.device
    console.print(
        f"[bold]{name}[/]: {type(model).__name__}, {model.num_parameters():,} parameters, objective {objective} on "
        f"{device}\nunigram entropy of the training text: {unigram:.3f} nats per token",
        highlight=False,
    )
    # The same network before training. A checkpoint that training goes on from is not untrained.
    twin = model if model_args.model_name_or_path is None else type(model)(model.config).to(device)
    twin_trainer = trainer if twin is model else ConceptTrainer(model=twin, **trainer_parts)
    untrained = twin_trainer.evaluation_loop(twin_trainer.get_eval_dataloader(), "Untrained", True).metrics
    untrained = {key.removeprefix("eval_"): value for key, value in untrained.items()}
    untrained_concepts = twin_trainer.concepts()
    del twin, twin_trainer

    resume = training_args.resume_from_checkpoint
    result = trainer.train(resume_from_checkpoint=True if resume in ("last", "true", "True") else resume)
    trainer.save_model()
    trainer.save_metrics("train", result.metrics)
    trainer.save_state()
    metrics = trainer.evaluate()
    metrics["unigram_entropy"] = unigram
    trainer.save_metrics("eval", metrics)
    if not trainer.is_world_process_zero():
        return

    trained = {key.removeprefix("eval_"): value for key, value in metrics.items()}
    folder = Path(training_args.output_dir)
    picture = folder / "training.png"
    plot_run(trainer.state.log_history, trainer.concepts(), untrained_concepts, unigram, name, picture)
    sentences = held_out_sentences(raw, column)
    examples = []
    if sentences and model.config.decoder_target == "text":
        examples = list(zip(sentences, model.reconstruct(sentences, truncation=True), strict=True))
    hub_id = training_args.hub_model_id if training_args.push_to_hub else None
    facts = RunFacts(
        name=name,
        repo_id=hub_id or str(folder),
        objective=objective,
        objective_name=objective_name,
        data=data_args.dataset_name or data_args.train_file or "the embedded corpus (excerpts of 100 classic books)",
        data_id=data_args.dataset_name
        if data_args.dataset_name and not Path(data_args.dataset_name).exists()
        else None,
        command="python " + shlex.join(["examples/run_pretraining.py", *sys.argv[1:]]),
        unigram=unigram,
        trained=trained,
        untrained=untrained,
        training={
            "optimizer steps": trainer.state.global_step,
            "training pieces": "streamed" if data_args.streaming else f"{len(pieces['train']):,}",
            "training time": f"{result.metrics['train_runtime']:.0f} s on {device}",
            **git_state(),
        },
        examples=examples,
        picture=picture.name,
        license="apache-2.0" if data_args.dataset_name is None and data_args.train_file is None else None,
    )
    trainer.card = make_card(model, training_args, facts)
    trainer.create_model_card()

    table = Table(title=f"Held-out text, step {trainer.state.global_step:,}")
    for heading in ("metric", "trained", "untrained"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for row in result_rows(facts):
        table.add_row(*row)
    table.add_row("unigram entropy (nats per token)", f"{unigram:.3f}", "")
    console.print(table)
    for text, read in examples:
        console.print(f"[dim]held out[/] {text}\n[dim]read back[/] {read}\n", highlight=False, soft_wrap=True)
    console.print(f"checkpoint and card: {folder}\npicture: {picture}\ntotal time: {time.time() - started:.0f} s\n")
    print("from transformers import AutoModelForMaskedLM")
    print(f'model = AutoModelForMaskedLM.from_pretrained("{folder}", trust_remote_code=True)')
    if training_args.push_to_hub:
        trainer.push_to_hub()


if __name__ == "__main__":
    torch.set_float32_matmul_precision("high")
    main()
