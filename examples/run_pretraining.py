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

Arguments may also stand in a JSON file, given first; what follows it on the command line goes before it:

    accelerate launch --config_file examples/accelerate_configs/ddp.yaml \
        examples/run_pretraining.py examples/configs/todo_10_tsdae.json --max_steps 1000
"""

import json
import logging
import re
import sys
import time
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from rich.console import Console
from rich.table import Table
from transformers import AutoConfig, AutoTokenizer, set_seed

from trainers import ConceptTrainer, ConceptTrainingArguments
from trainers.backbone import backbone_options, load_backbone, read_backbone, train_backbone
from trainers.checkpoints import CheckpointError, TrainingDivergedError
from trainers.data import (
    PairMaker,
    PieceMaker,
    first_line,
    iterate_texts,
    load_text,
    make_pairs,
    make_pieces,
    text_column,
)
from trainers.model_card import RunFacts, make_card, result_rows
from trainers.model_types import DEFAULT_MODEL_TYPE, MODEL_TYPES, find_model_type, model_type_for
from trainers.objectives import Mixture
from trainers.plots import plot_run
from trainers.runs import check_output_dir, git_state, run_name
from trainers.script import command_line, parse_arguments
from trainers.token_frequency import inverse_frequency, token_counts, unigram_entropy
from trainers.tokenizer_training import SPECIAL_TOKENS, train_tokenizer


logger = logging.getLogger(__name__)


@dataclass
class ModelArguments:
    """Which model, and its sizes; sizes are ignored with `--model_name_or_path`, which has its own."""

    model_type: str | None = field(
        default=None,
        metadata={
            "help": f"One of {sorted(MODEL_TYPES)}; the checkpoint's own, or what suits the objective, by default."
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
    backbone: str | None = field(
        default=None,
        metadata={
            "help": "Llama-like or BERT-like model (Hub id or folder) whose token table, and first --backbone_layers "
            "layers, lie below the concepts: HuggingFaceTB/SmolLM2-135M. Its tokenizer is the default one."
        },
    )
    backbone_layers: int = field(default=0, metadata={"help": "Layers taken from the backbone, beside its table."})
    backbone_training: str = field(
        default="full",
        metadata={"help": "How the backbone is trained: full, frozen or lora (needs peft)."},
    )
    lora_rank: int = field(default=8, metadata={"help": "Rank of LoRA updates of the backbone."})
    sif_smoothing: float = field(
        default=0.003,
        metadata={
            "help": "In the mean of the concepts, that of the token embeddings, tokens weigh a / (a + p), p being the "
            "token's share of the training text and a this number; special tokens weigh nothing. 0: all weigh the "
            "same, as they do above layers of a backbone. Not used with concept_mean=free or --model_name_or_path."
        },
    )
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
    pair_column: str | None = field(
        default=None,
        metadata={"help": "Column of texts that mean the same as those of --text_column, for contrastive pairs."},
    )
    max_seq_length: int = field(default=64, metadata={"help": "Longest piece of text in tokens."})
    vocab_size: int = field(default=4096, metadata={"help": "Vocabulary of a tokenizer trained from the data."})
    lower_case: bool = field(
        default=False, metadata={"help": "Whether a tokenizer trained from the data reads capitals as small letters."}
    )
    special_ends: bool = field(
        default=False,
        metadata={"help": "Whether a tokenizer trained from the data puts [CLS] before and [SEP] after each text."},
    )
    short_piece_probability: float = field(default=0.1, metadata={"help": "Share of pieces of random shorter length."})
    line_by_line: bool = field(default=False, metadata={"help": "Keep the rows of the data apart."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only so many training pieces."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many validation pieces."})
    preprocessing_num_workers: int | None = field(default=None, metadata={"help": "Processes that cut text."})
    cache_dir: str | None = field(default=None, metadata={"help": "Where data sets are cached."})


def make_tokenizer(model_args, data_args, raw, column):
    """The tokenizer asked for, the checkpoint's, or a new one; padding and mask token are added where missing."""
    name = model_args.tokenizer_name or model_args.model_name_or_path or model_args.backbone
    if name is None:
        texts = iterate_texts(raw["train"], column, limit=100_000)
        return train_tokenizer(
            texts, data_args.vocab_size, data_args.max_seq_length, data_args.lower_case, data_args.special_ends
        )
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


def choose_model_type(model_args, training_args) -> str:
    """The model type asked for, the checkpoint's own, or what suits the objective."""
    if model_args.model_type is not None:
        find_model_type(model_args.model_type)
        return model_args.model_type
    if model_args.model_name_or_path is None:
        return model_type_for(training_args.make_mixture(MODEL_TYPES[DEFAULT_MODEL_TYPE].objective))
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


def read_overrides(text: str | None, config_class) -> dict:
    """Configuration values from `name=value,name=value`; ValueError for a name that is none of them."""
    found, known = {}, {option.name for option in fields(config_class)}
    for item in filter(None, (text or "").split(",")):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or name not in known:
            close = get_close_matches(name, known, 3)
            raise ValueError(f"config_overrides: {item!r} is no name=value of the configuration; near it are {close}.")
        plain = {"none": "null", "true": "true", "false": "false"}.get(value.lower(), value)
        try:
            found[name] = json.loads(plain)
        except ValueError:
            found[name] = value
    return found


def make_model(name, model_args, data_args, tokenizer, mixture):
    """A new model of the type `name` that the objectives of `mixture` can train, or the checkpoint to go on from."""
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
    backbone, backbone_values = None, {"token_embedding_dim": model_args.token_embedding_dim}
    vocab_size = len(tokenizer)
    if model_args.backbone is not None:
        backbone = read_backbone(model_args.backbone, model_args.backbone_layers)
        backbone_values, vocab_size = backbone_options(backbone), max(vocab_size, backbone.vocab_size)
    values = {
        **kind.config,
        **backbone_values,
        "decoder_target": "both" if mixture.decoder_target == "both" else None,
        **({"concept_mean": "free"} if mixture.mean_only else {}),
        "vocab_size": vocab_size,
        "max_sequence_length": data_args.max_seq_length,
    }
    for option in ("encoder_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                   "concept_num", "num_decoder_layers"):  # fmt: skip
        values[option] = getattr(model_args, option)
    for token in ("pad", "mask", "cls", "sep", "unk", "bos", "eos"):
        values[f"{token}_token_id"] = getattr(tokenizer, f"{token}_token_id")
    config_class = kind.model_class.config_class
    values |= read_overrides(model_args.config_overrides, config_class)
    given_mean = values.get("concept_mean", config_class.concept_mean) == "embeddings"
    weighs = model_args.sif_smoothing > 0 and given_mean and values.get("backbone_config") is None
    config = config_class(**{"token_weighting": weighs} | values)
    model = kind.model_class(config)
    if backbone is not None:
        load_backbone(model, backbone)
        train_backbone(model, model_args.backbone_training, model_args.lora_rank)
    return model


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


def make_data(data_args, raw, column, tokenizer, seed) -> dict:
    """Tokenized texts of both splits."""
    data = {}
    for split, share, limit in (
        ("train", data_args.short_piece_probability, data_args.max_train_samples),
        ("validation", 0.0, data_args.max_eval_samples),
    ):
        workers = data_args.preprocessing_num_workers
        if data_args.pair_column is not None:
            maker = PairMaker(tokenizer, data_args.max_seq_length)
            data[split] = make_pairs(raw[split], column, data_args.pair_column, maker, workers)
        else:
            maker = PieceMaker(tokenizer, data_args.max_seq_length, share, data_args.line_by_line, seed)
            data[split] = make_pieces(raw[split], column, maker, workers)
        if limit is not None:
            data[split] = data[split].take(limit)
        if not data_args.streaming and len(data[split]) == 0:
            raise ValueError(f"The {split} text has no token.")
        if data_args.pair_column is not None and not data_args.streaming:
            cut = sum(data[split]["cut_tokens"])
            if cut:
                logger.warning("%s tokens of %s pairs lie beyond max_seq_length and were cut.", f"{cut:,}", split)
            data[split] = data[split].remove_columns("cut_tokens")
    if data_args.streaming:
        data["train"] = data["train"].shuffle(seed=seed, buffer_size=10_000)
    return data


@dataclass
class Run:
    """What is ready to be trained."""

    name: str
    data_args: DataTrainingArguments
    training_args: ConceptTrainingArguments
    mixture: Mixture
    raw: object
    column: str
    model: object
    trainer: ConceptTrainer
    unigram: float


def prepare() -> Run:
    """Everything that may be wrong with what the user gave, before anything takes long."""
    model_args, data_args, training_args = parse_arguments(
        ModelArguments, DataTrainingArguments, ConceptTrainingArguments
    )
    transformers.logging.set_verbosity(training_args.get_process_log_level())
    set_seed(training_args.seed)
    if model_args.sif_smoothing < 0:
        raise ValueError(
            f"sif_smoothing must be positive, or 0 for tokens that all weigh the same, not {model_args.sif_smoothing}."
        )
    if data_args.streaming and training_args.max_steps <= 0:
        raise ValueError("A streamed data set has no known length: give --max_steps.")
    model_type = choose_model_type(model_args, training_args)
    mixture = training_args.make_mixture(find_model_type(model_type).objective)
    seed = training_args.seed if training_args.data_seed is None else training_args.data_seed
    raw = load_text(
        data_args.dataset_name, data_args.dataset_config_name, data_args.train_file, data_args.validation_file,
        data_args.streaming, data_args.validation_split_percentage, seed, data_args.cache_dir,
    )  # fmt: skip
    column = text_column(raw["train"], data_args.text_column)
    tokenizer = make_tokenizer(model_args, data_args, raw, column)
    model = make_model(model_type, model_args, data_args, tokenizer, mixture)
    model.tokenizer = tokenizer
    mixture.check(model.config)
    name = training_args.run_name or run_name(model_type, mixture.describe(), model.config)
    training_args.run_name = name
    if training_args.output_dir is None:
        training_args.output_dir = str(Path("outputs") / name)
    check_output_dir(training_args.output_dir, resumes=bool(training_args.resume_from_checkpoint))
    with training_args.main_process_first(desc="tokenizing"):
        data = make_data(data_args, raw, column, tokenizer, seed)
    counted = data["train"].take(100_000) if data_args.streaming else data["train"]
    counts = token_counts((row["input_ids"] for row in counted), model.config.vocab_size)
    unigram = unigram_entropy(counts, tokenizer.all_special_ids)
    if model_args.model_name_or_path is None and model.config.token_weighting and model_args.sif_smoothing > 0:
        weights = inverse_frequency(counts, model_args.sif_smoothing, tokenizer.all_special_ids)
        model.base_model.token_weights.weights.copy_(weights)
    trainer = ConceptTrainer(
        model, training_args, objective=mixture, processing_class=tokenizer, train_dataset=data["train"],
        eval_dataset=data["validation"],
    )  # fmt: skip
    trainer.facts = make_facts(name, data_args, training_args, mixture, unigram)
    return Run(name, data_args, training_args, mixture, raw, column, model, trainer, unigram)


def make_facts(name, data_args, training_args, mixture, unigram) -> RunFacts:
    """What the card says of the run before it has results."""
    local = data_args.dataset_name is None or Path(data_args.dataset_name).exists()
    embedded = data_args.dataset_name is None and data_args.train_file is None
    return RunFacts(
        name=name,
        repo_id=(training_args.hub_model_id if training_args.push_to_hub else None) or training_args.output_dir,
        mixture=mixture,
        data=data_args.dataset_name or data_args.train_file or "the embedded corpus (excerpts of 100 classic books)",
        data_id=None if local else data_args.dataset_name,
        command=command_line("examples/run_pretraining.py"),
        unigram=unigram,
        license="apache-2.0" if embedded else None,
    )


def report(run: Run, result, metrics, untrained, untrained_concepts, console) -> None:
    """Picture, card and table of a finished run."""
    data_args, training_args, trainer, model = run.data_args, run.training_args, run.trainer, run.model
    folder = Path(training_args.output_dir)
    picture = folder / "training.png"
    plot_run(trainer.state.log_history, trainer.concepts(), untrained_concepts, run.unigram, run.name, picture)
    sentences = held_out_sentences(run.raw, run.column)
    examples = []
    if sentences and model.config.decoder_target in ("text", "both"):
        examples = list(zip(sentences, model.reconstruct(sentences, truncation=True), strict=True))
    facts = replace(
        trainer.facts,
        trained={key.removeprefix("eval_"): value for key, value in metrics.items()},
        untrained=untrained,
        training={
            "optimizer steps": trainer.state.global_step,
            "training pieces": "streamed" if data_args.streaming else f"{len(trainer.train_dataset):,}",
            "training time": f"{result.metrics['train_runtime']:.0f} s on {training_args.device}",
            **git_state(),
        },
        examples=examples,
        picture=picture.name,
    )
    trainer.card = make_card(model, training_args, facts)
    trainer.create_model_card()

    table = Table(title=f"Held-out text, step {trainer.state.global_step:,}")
    for heading in ("metric", "trained", "untrained"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for row in result_rows(facts):
        table.add_row(*row)
    table.add_row("unigram entropy (nats per token)", f"{run.unigram:.3f}", "")
    console.print(table)
    for text, read in examples:
        console.print(f"[dim]held out[/] {text}\n[dim]read back[/] {read}\n", highlight=False, soft_wrap=True)
    console.print(f"checkpoint and card: {folder}\npicture: {picture}")


def main():
    started = time.time()
    console = Console(width=110)
    try:
        run = prepare()
    except StrictDataclassError as error:  # of a configuration; its cause is the sentence
        sys.exit(first_line(error.__cause__ or error))
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    trainer, training_args = run.trainer, run.training_args
    if trainer.is_world_process_zero():
        console.print(
            f"[bold]{run.name}[/]: {type(run.model).__name__}, {run.model.num_parameters():,} parameters, objective "
            f"{run.mixture.describe()} {run.mixture.options()} on {training_args.device}\n"
            f"unigram entropy of the training text: {run.unigram:.3f} nats per token",
            highlight=False,
        )
    before = trainer.evaluation_loop(trainer.get_eval_dataloader(), "Untrained", True).metrics
    untrained = {key.removeprefix("eval_"): value for key, value in before.items()}
    untrained_concepts = trainer.concepts()
    try:
        result = trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
    except (CheckpointError, TrainingDivergedError) as error:
        sys.exit(str(error))
    trainer.save_model()
    trainer.save_metrics("train", result.metrics)
    trainer.save_state()
    metrics = trainer.evaluate()
    metrics["unigram_entropy"] = run.unigram
    trainer.save_metrics("eval", metrics)
    if trainer.is_world_process_zero():
        report(run, result, metrics, untrained, untrained_concepts, console)
        console.print(f"total time: {time.time() - started:.0f} s\n")
        print("from transformers import AutoModelForMaskedLM")
        folder = training_args.output_dir
        print(f'model = AutoModelForMaskedLM.from_pretrained("{folder}", trust_remote_code=True)')
    if training_args.push_to_hub:
        trainer.push_to_hub()


if __name__ == "__main__":
    torch.set_float32_matmul_precision("high")
    main()
