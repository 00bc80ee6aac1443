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
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import torch
import transformers
from accelerate.utils import broadcast_object_list
from rich.table import Table
from rich.text import Text
from transformers import set_seed

from trainers import ConceptTrainer, ConceptTrainingArguments
from trainers.data import FILE_FORMATS, as_texts, column_names, first_line, iterate_texts, load_text, text_column
from trainers.distributed import process_index
from trainers.model_arguments import MAX_SEQ_LENGTH, ModelArguments
from trainers.model_card import RunFacts, hub_id, known_as, make_card, result_rows
from trainers.objectives import Contrastive, Mixture
from trainers.pieces import (
    RARE_TEXT_SHARE,
    SHORT_PIECE_PROBABILITY,
    PairMaker,
    PieceMaker,
    make_pairs,
    make_pieces,
    whole_pairs,
)
from trainers.plain_text import one_line, screen
from trainers.plots import plot_run
from trainers.resuming import describe_text, resume_options, start_record
from trainers.runs import check_output_dir, folder_name, git_state, run_name
from trainers.script import command_line, parse_arguments, run_script
from trainers.starting import plan_start
from trainers.text_kinds import KIND_TEXTS, kinds_markdown, read_back_kinds
from trainers.token_frequency import inverse_frequency, order_digest, token_counts, unigram_entropy


logger = logging.getLogger(__name__)


@dataclass
class DataTrainingArguments:
    """Which text, and how it is cut."""

    dataset_name: str | None = field(
        default=None, metadata={"help": "Hub id or local folder; the embedded corpus by default."}
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    dataset_revision: str | None = field(
        default=None, metadata={"help": "Branch, tag or commit of the data set at the Hub: refs/convert/parquet."}
    )
    train_file: str | None = field(
        default=None, metadata={"help": f"Training text, ending in {', '.join(FILE_FORMATS)} (and .gz, if packed)."}
    )
    validation_file: str | None = field(default=None, metadata={"help": "Validation text; its format may be another."})
    text_column: str | None = field(
        default=None, metadata={"help": "Column of text; 'text', or the only column of texts, by default."}
    )
    streaming: bool = field(default=False, metadata={"help": "Stream the data; needs --max_steps."})
    validation_split_percentage: float = field(
        default=5, metadata={"help": "Part of train used for validation where there is none."}
    )
    pair_column: str | None = field(
        default=None,
        metadata={"help": "Column of texts that mean the same as those of --text_column, for contrastive pairs."},
    )
    max_seq_length: int | None = field(
        default=None,
        metadata={"help": f"Longest piece of text in tokens; by default the checkpoint's limit, or {MAX_SEQ_LENGTH}."},
    )
    short_piece_probability: float = field(
        default=SHORT_PIECE_PROBABILITY, metadata={"help": "Share of pieces of random shorter length."}
    )
    rare_text_share: float = field(
        default=RARE_TEXT_SHARE,
        metadata={
            "help": "Share of training pieces made of what is rare in running text: characters of many scripts, long "
            "numbers, code, one word many times."
        },
    )
    line_by_line: bool = field(default=False, metadata={"help": "Keep the rows of the data apart."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only so many training pieces."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many validation pieces."})
    preprocessing_num_workers: int | None = field(default=None, metadata={"help": "Processes that cut text."})
    cache_dir: str | None = field(default=None, metadata={"help": "Where data sets are cached."})

    def __post_init__(self):
        for name in ("max_train_samples", "max_eval_samples", "preprocessing_num_workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}.")
        for option in fields(self):
            of_pieces = option.name in ("rare_text_share", "short_piece_probability", "line_by_line")
            if self.pair_column is not None and of_pieces and getattr(self, option.name) != option.default:
                raise ValueError(f"{option.name} has no effect on pairs of texts; leave it out with --pair_column.")


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


def read_data(data_args, seed) -> tuple[dict, str]:
    """Texts of both splits, and the column that holds them."""
    raw = load_text(
        data_args.dataset_name, data_args.dataset_config_name, data_args.train_file, data_args.validation_file,
        data_args.streaming, data_args.validation_split_percentage, seed, data_args.cache_dir,
        revision=data_args.dataset_revision,
    )  # fmt: skip
    column = text_column(raw["train"], data_args.text_column)
    if process_index() == 0:
        print(f"Text: column {column!r} of {', '.join(column_names(raw['train']))}.")
    if data_args.pair_column == column:
        raise ValueError(f"--pair_column {column} is the column of the text itself; give another one.")
    splits = {split: raw[split] for split in ("train", "validation")}
    columns = [column]
    if data_args.pair_column is not None:
        columns.append(data_args.pair_column)
        splits = {split: whole_pairs(rows, *columns, split) for split, rows in splits.items()}
    return {split: as_texts(rows, columns, name=f"{split} text") for split, rows in splits.items()}, column


def make_data(data_args, raw, column, tokenizer, seed) -> dict:
    """Tokenized texts of both splits."""
    data = {}
    for split, shares, limit in (
        ("train", (data_args.short_piece_probability, data_args.rare_text_share), data_args.max_train_samples),
        ("validation", (0.0, 0.0), data_args.max_eval_samples),
    ):
        workers = data_args.preprocessing_num_workers
        if data_args.pair_column is not None:
            maker = PairMaker(tokenizer, data_args.max_seq_length)
            data[split] = make_pairs(raw[split], column, data_args.pair_column, maker, workers)
        else:
            short, rare = shares
            maker = PieceMaker(tokenizer, data_args.max_seq_length, short, data_args.line_by_line, seed, rare)
            data[split] = make_pieces(raw[split], column, maker, workers)
        if limit is not None:
            data[split] = data[split].take(limit)
        if next(iter(data[split]), None) is None:
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
    if training_args.push_to_hub and not training_args.do_train:
        raise ValueError("--push_to_hub pushes what is trained; a checkpoint is pushed by examples/push_to_hub.py.")
    if data_args.streaming and training_args.max_steps <= 0:
        raise ValueError("A streamed data set has no known length: give --max_steps.")
    checkpoint = resume_options(model_args, data_args, training_args)
    if not training_args.do_train and model_args.model_name_or_path is None:
        raise ValueError("Without training a checkpoint is evaluated: give --model_name_or_path, or also --do_train.")
    start = plan_start(model_args, training_args, data_args.max_seq_length, checkpoint)
    model_type, mixture, data_args.max_seq_length = start.model_type, start.mixture, start.max_seq_length
    if mixture.reads_pairs != (data_args.pair_column is not None):
        raise ValueError("--pair_column and the objective contrastive with --views pairs belong together: give both.")
    seed = training_args.seed if training_args.data_seed is None else training_args.data_seed
    with training_args.main_process_first(desc="reading texts"):
        raw, column = read_data(data_args, seed)
    tokenizer = start.make_tokenizer(iterate_texts(raw["train"], column, limit=100_000))
    model, loaded = start.make_model(tokenizer)
    if loaded is not None and training_args.process_index == 0:
        print(loaded)
    model.tokenizer = tokenizer
    name = training_args.run_name or run_name(model_type, mixture.describe(), model.config)
    training_args.run_name = name
    folder = folder_name(name)
    if training_args.output_dir is None:
        training_args.output_dir = str(Path("outputs") / folder)
    check_output_dir(training_args.output_dir, resumes=bool(training_args.resume_from_checkpoint))
    with training_args.main_process_first(desc="tokenizing"):
        data = make_data(data_args, raw, column, tokenizer, seed)
    found = [None, None]
    if training_args.process_index == 0:
        found = [token_counts(data["train"], model.config.vocab_size), order_digest(data["train"])]
    counts, order = broadcast_object_list(found)
    unigram = unigram_entropy(counts, tokenizer.all_special_ids)
    if model_args.base is None and model.config.token_weighting and model_args.sif_smoothing > 0:
        weights = inverse_frequency(counts, model_args.sif_smoothing, tokenizer.all_special_ids)
        model.base_model.token_weights.weights.copy_(weights)
    trainer = ConceptTrainer(
        model, training_args, objective=mixture, processing_class=tokenizer, train_dataset=data["train"],
        eval_dataset=data["validation"],
    )  # fmt: skip
    trainer.start_record = {
        **start_record(model_args, data_args, training_args),
        "train_text": describe_text(counts, None if data_args.streaming else len(data["train"])),
        "train_order": order,
    }
    trainer.check_resume(training_args.resume_from_checkpoint)
    trainer.facts = make_facts(name, model_args, data_args, training_args, mixture, unigram, column)
    return Run(name, data_args, training_args, mixture, raw, column, model, trainer, unigram)


def make_facts(name, model_args, data_args, training_args, mixture, unigram, column) -> RunFacts:
    """What the card says of the run before it has results."""
    sources = [source.strip().partition(":")[0] for source in (data_args.dataset_name or "").split(",") if source]
    embedded = not sources and data_args.train_file is None
    files = [] if data_args.train_file is None else [data_args.train_file]
    named = ", ".join(map(known_as, [*sources, *files]))
    bases = model_args.model_name_or_path, model_args.init_encoder_from, model_args.backbone
    return RunFacts(
        name=name,
        repo_id=training_args.hub_model_id or Path(training_args.output_dir).resolve().name,
        mixture=mixture,
        data="the embedded corpus (excerpts of 100 classic books)" if embedded else named,
        text_column=None if embedded else column,
        data_ids=tuple(filter(hub_id, sources)),
        base_model=next(filter(hub_id, bases), None),
        language=training_args.language or ("en" if embedded else None),
        command=command_line("examples/run_pretraining.py", shared=True),
        unigram=unigram,
        license="apache-2.0" if embedded else None,
    )


def draw(run: Run, untrained_concepts, console) -> str | None:
    """The name of the picture of a run in its folder. Without one the card is written all the same."""
    path = Path(run.training_args.output_dir) / "training.png"
    try:
        plot_run(
            run.trainer.state.log_history, run.trainer.concepts(), untrained_concepts, run.unigram, run.name, path
        )
    except Exception as error:
        console.print(f"The picture could not be drawn: {first_line(error)}", soft_wrap=True)
        return None
    console.print(f"picture: {path}", soft_wrap=True)
    return path.name


def read_back(run: Run) -> list[tuple[str, str]]:
    """Held-out sentences with what is read from their concepts."""
    if run.model.config.decoder_target not in ("text", "both"):
        return []
    sentences = held_out_sentences(run.raw, run.column)
    return list(zip(sentences, run.model.reconstruct(sentences, truncation=True), strict=True)) if sentences else []


def kinds_of_text(run: Run) -> str | None:
    """How much of each kind of text comes back, for the card."""
    count = min(KIND_TEXTS, run.training_args.concept_metric_samples)
    if count == 0 or run.model.config.decoder_target not in ("text", "both"):
        return None
    return kinds_markdown(read_back_kinds(run.model, count, show_progress=not run.training_args.disable_tqdm))


def show(run: Run, facts: RunFacts, console) -> None:
    """The table of results, and what comes back of sentences."""
    table = Table(title=f"Held-out text, step {run.trainer.state.global_step:,}")
    for heading in ("metric", "trained" if run.training_args.do_train else "as it is", "untrained"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for row in result_rows(facts):
        table.add_row(*row)
    table.add_row("unigram entropy (nats per token)", f"{run.unigram:.3f}", "")
    console.print(table)
    for text, read in facts.examples:
        console.print(Text.assemble(("held out ", "dim"), one_line(text)), soft_wrap=True)
        console.print(Text.assemble(("read back ", "dim"), one_line(read), "\n"), soft_wrap=True)


def check_steps(run: Run) -> None:
    """ValueError for data of which no batch can be made, or none of two texts where texts are compared."""
    data, args = run.trainer.train_dataset, run.training_args
    batch = args.train_batch_size * args.world_size
    compared = batch * args.gradient_accumulation_steps
    if not run.data_args.streaming:
        compared = min(compared, len(data))
    for name, objective in run.mixture.objectives.items():
        if compared < 2 and isinstance(objective, Contrastive) and not objective.queue_size:
            raise ValueError(f"The objective {name} compares the texts of a step, which has one: give larger batches.")
    if not run.data_args.streaming and args.dataloader_drop_last and len(data) < batch:
        raise ValueError(
            f"No step can be trained: {len(data):,} training pieces are fewer than the {batch:,} of a batch, and "
            "--dataloader_drop_last leaves out what is less."
        )


def train(run: Run) -> dict[str, object]:
    """Train, and write the model; what the card says of it."""
    trainer, args = run.trainer, run.training_args
    result = trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    steps = trainer.state.global_step
    if steps == 0:
        raise ValueError("No step was trained, as the training data gave no batch; nothing was saved.")
    trainer.save_model()
    trainer.save_metrics("train", result.metrics)
    trainer.save_state()
    return {
        "optimizer steps": steps,
        "training pieces": "streamed" if run.data_args.streaming else f"{len(trainer.train_dataset):,}",
        "training time": f"{result.metrics['train_runtime']:.0f} s on {args.device}",
        **git_state(),
    }


def main():
    started, console = time.time(), screen(110)
    run = prepare()
    trainer, args = run.trainer, run.training_args
    first = trainer.is_world_process_zero()
    if first:
        console.print(
            Text.assemble(
                (one_line(run.name), "bold"),
                f": {type(run.model).__name__}, {run.model.num_parameters():,} parameters, objective "
                f"{run.mixture.describe()} {run.mixture.options()} on {args.device}\n"
                f"unigram entropy of the training text: {run.unigram:.3f} nats per token",
            )
        )
    untrained, untrained_concepts, training, metrics = {}, None, {}, {}
    if args.do_train:
        check_steps(run)
        if args.do_eval:
            before = trainer.evaluation_loop(trainer.get_eval_dataloader(), "Untrained", True).metrics
            untrained = {key.removeprefix("eval_"): value for key, value in before.items()}
            untrained_concepts = trainer.concepts()
        training = train(run)
    if args.do_eval:
        metrics = trainer.evaluate()
        metrics["unigram_entropy"] = run.unigram
        trainer.save_metrics("eval", metrics)
    if first:
        trained = {key.removeprefix("eval_"): value for key, value in metrics.items()}
        examples = read_back(run) if args.do_eval else []
        facts = replace(trainer.facts, trained=trained, untrained=untrained, training=training, examples=examples)
        if args.do_eval:
            show(run, facts, console)
        if args.do_train:
            picture = draw(run, untrained_concepts, console)
            facts = replace(facts, picture=picture, kinds=kinds_of_text(run) if args.do_eval else None)
            trainer.card = make_card(run.model, args, facts)
            trainer.create_model_card()
            console.print(f"checkpoint and card: {args.output_dir}", soft_wrap=True)
        console.print(f"total time: {time.time() - started:.0f} s")
    if first and args.do_train:
        print("\nfrom transformers import AutoModelForMaskedLM")
        print(f"model = AutoModelForMaskedLM.from_pretrained({json.dumps(args.output_dir)}, trust_remote_code=True)")
    if args.push_to_hub:
        trainer.push_to_hub()


if __name__ == "__main__":
    torch.set_float32_matmul_precision("high")
    run_script(main)
