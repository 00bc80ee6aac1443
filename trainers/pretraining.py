# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
A pretraining run, from its options to checkpoint, results and card: the body of `examples/run_pretraining.py`, also as
`python -m trainers.pretraining`.
"""

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from rich.table import Table
from transformers import PreTrainedModel, set_seed

from .data.data_arguments import DataTrainingArguments
from .data.texts import iterate_texts
from .data.token_frequency import unigram_entropy
from .evaluation.analysis.lost_words import lost_words
from .evaluation.plots import plot_run
from .evaluation.text_kinds import KIND_TEXTS, kinds_markdown, reconstruct_kinds
from .model_arguments import ModelArguments
from .models.reader import text_tokenizer
from .publishing.model_card import RunFacts, hub_id, known_as, make_card, result_rows
from .resuming import resume_options, start_record
from .starting import plan_start
from .trainer import ConceptTrainer
from .training_args import ConceptTrainingArguments
from .utils.errors import first_line
from .utils.plain_text import one_line, screen
from .utils.runs import check_output_dir, folder_name, git_state, run_name
from .utils.script import command_line, parse_arguments, run_script
from .validation import without_prefix


PRETRAINING_ARGUMENTS = (ModelArguments, DataTrainingArguments, ConceptTrainingArguments)


def pretrain(
    model_args: ModelArguments, data_args: DataTrainingArguments, training_args: ConceptTrainingArguments
) -> ConceptTrainer:
    """
    Train a model, evaluate it before and after, and write checkpoint, results, picture and card.

    Raises:
        ValueError: options or data that no run can be made of; as far as possible before anything takes long.
    """
    started, console = time.time(), screen(110)
    trainer, model, sentences = prepare(model_args, data_args, training_args)
    args, facts, first = trainer.args, trainer.facts, trainer.is_world_process_zero()
    if first:
        about = f"objective {trainer.mixture.describe()} {trainer.mixture.options()} on {args.device}"
        console.print(f"{facts.name}: {type(model).__name__}, {model.num_parameters():,} parameters, {about}")
        console.print(f"unigram entropy of the training text: {facts.unigram:.3f} nats per token")
    if args.do_train:
        if args.do_eval:
            metrics = trainer.predict(trainer.eval_dataset, metric_key_prefix="eval").metrics
            facts = replace(facts, untrained=without_prefix(metrics, "eval"))
            check_best_metric(args.metric_for_best_model, facts.untrained)
        facts = replace(facts, training=train(trainer))
    if args.do_eval:
        metrics = trainer.evaluate() | {"unigram_entropy": facts.unigram}
        trainer.save_metrics("eval", metrics)
        facts = replace(facts, trained=without_prefix(metrics, "eval"))
    if first:
        if args.do_eval:
            if sentences and model.can_reconstruct:  # not a decoder of continuations alone
                texts = model.reconstruct(sentences, truncation=True)
                facts = replace(facts, examples=list(zip(sentences, texts, strict=True)))
            show_results(trainer, facts, console)
        if args.do_train:
            write_card(trainer, model, facts, console)
        console.print(f"total time: {time.time() - started:.0f} s")
        if args.do_train:
            folder = json.dumps(args.output_dir)
            print(f"\nfrom transformers import {model.auto_class}")
            print(f"model = {model.auto_class}.from_pretrained({folder}, trust_remote_code=True)")
    if args.push_to_hub:
        trainer.push_to_hub()
    return trainer


def check_best_metric(name: str | None, metrics: dict) -> None:
    """ValueError before the training if `metric_for_best_model` is none of the metrics of an evaluation."""
    if name is not None and name.removeprefix("eval_") not in metrics:
        raise ValueError(f"metric_for_best_model {name!r} is none of the evaluation's metrics: {sorted(metrics)}.")


def prepare(model_args, data_args, training_args) -> tuple[ConceptTrainer, PreTrainedModel, list[str]]:
    """Trainer, model, and held-out sentences of the run that the options describe; all options are checked first."""
    transformers.logging.set_verbosity(training_args.get_process_log_level())
    set_seed(training_args.seed)
    checkpoint = resume_options(model_args, data_args, training_args)
    if not training_args.do_train and model_args.model_name_or_path is None:
        raise ValueError("Without training a checkpoint is evaluated: give --model_name_or_path, or also --do_train.")
    start = plan_start(model_args, training_args, data_args.max_seq_length, checkpoint)
    data_args.max_seq_length = start.max_seq_length
    seed = training_args.seed if training_args.data_seed is None else training_args.data_seed
    with training_args.main_process_first(desc="reading texts"):
        texts, column = data_args.read_texts(seed)
    tokenizer = start.make_tokenizer(iterate_texts(texts["train"], column, limit=100_000))
    model, loaded = start.make_model(tokenizer)
    if loaded is not None and training_args.process_index == 0:
        print(loaded)
    model.tokenizer = tokenizer
    args, name = training_args, run_name(model_args.model_type, start.mixture.describe(), model.config)
    args.run_name = args.run_name or name
    args.output_dir = args.output_dir or str(Path("outputs") / folder_name(args.run_name))
    check_output_dir(args.output_dir, resumes=checkpoint is not None)
    with training_args.main_process_first(desc="tokenizing"):
        data = data_args.cut_texts(texts, column, text_tokenizer(model, tokenizer), seed)
    trainer = ConceptTrainer(
        model, training_args, objective=start.mixture, processing_class=tokenizer, train_dataset=data["train"],
        eval_dataset=data["validation"],
    )  # fmt: skip
    trainer.start_record = start_record(model_args, data_args, training_args)
    trainer.check_resume(training_args.resume_from_checkpoint)
    unigram = unigram_entropy(trainer.token_counts, text_tokenizer(model, tokenizer).all_special_ids)
    trainer.facts = card_facts(model_args, data_args, training_args, start.mixture, unigram, column)
    return trainer, model, held_out_sentences(texts["validation"], column)


def card_facts(model_args, data_args, training_args, mixture, unigram: float, column: str) -> RunFacts:
    """Facts for the card that are known before the training."""
    sources = [source.strip().partition(":")[0] for source in (data_args.dataset_name or "").split(",") if source]
    embedded = not sources and data_args.train_file is None
    known = map(known_as, [*sources, *([data_args.train_file] if data_args.train_file else [])])
    bases = model_args.model_name_or_path, model_args.init_encoder_from, model_args.backbone, model_args.reader
    return RunFacts(
        name=training_args.run_name,
        repo_id=training_args.hub_model_id or Path(training_args.output_dir).resolve().name,
        mixture=mixture,
        data="the embedded corpus (excerpts of 100 classic books)" if embedded else ", ".join(known),
        text_column=None if embedded else column,
        data_ids=tuple(filter(hub_id, sources)),
        base_model=next(filter(hub_id, bases), None),
        language="en" if embedded else None,
        command=command_line("examples/run_pretraining.py", shared=True),
        unigram=unigram,
        license="apache-2.0" if embedded else None,
    )


def held_out_sentences(texts, column: str) -> list[str]:
    """At most three sentences of ordinary length from different places of the validation text."""
    sentences = []
    for text in iterate_texts(texts, column, limit=1000):
        middle = text[len(text) // 3 :]
        sentences += re.findall(r"(?<=[.!?] )[A-Z][^.!?\n]{40,150}[.!?](?=\s)", middle)[:1]
        if len(sentences) == 3:
            break
    return sentences


def train(trainer: ConceptTrainer) -> dict[str, object]:
    """Train, and write the model; facts of the training for the card."""
    result = trainer.train(resume_from_checkpoint=trainer.args.resume_from_checkpoint)
    trainer.save_model()
    trainer.save_metrics("train", result.metrics)
    trainer.save_state()
    pieces = f"{len(trainer.train_dataset):,}" if hasattr(trainer.train_dataset, "__len__") else "streamed"
    return {
        "optimizer steps": trainer.state.global_step,
        "training pieces": pieces,
        "training time": f"{result.metrics['train_runtime']:.0f} s on {trainer.args.device}",
        **git_state(),
    }


def show_results(trainer: ConceptTrainer, facts: RunFacts, console) -> None:
    """Print the table of results, and reconstructions."""
    table = Table(title=f"Held-out text, step {trainer.state.global_step:,}")
    for heading in ("metric", "trained" if trainer.args.do_train else "as it is", "untrained"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for row in result_rows(facts):
        table.add_row(*row)
    table.add_row("unigram entropy (nats per token)", f"{facts.unigram:.3f}", "")
    console.print(table)
    for text, reconstruction in facts.examples:
        console.print(f"held out      {one_line(text)}", soft_wrap=True)
        console.print(f"reconstructed {one_line(reconstruction)}\n", soft_wrap=True)


def write_card(trainer: ConceptTrainer, model, facts: RunFacts, console) -> None:
    """Write the card of a finished run with its picture."""
    kinds, count = None, min(KIND_TEXTS, trainer.args.concept_metric_samples)
    if trainer.args.do_eval and count and model.can_reconstruct:
        kinds = kinds_markdown(reconstruct_kinds(model, count))
    picture = draw(trainer, model, facts, console)
    trainer.card = make_card(model, trainer.args, replace(facts, picture=picture, kinds=kinds))
    trainer.create_model_card()
    console.print(f"checkpoint and card: {trainer.args.output_dir}", soft_wrap=True)


def draw(trainer: ConceptTrainer, model, facts: RunFacts, console) -> str | None:
    """The name of the picture of a run in its folder. Without one the card is written all the same."""
    path = Path(trainer.args.output_dir) / "training.png"
    try:
        lost = lost_words(model, facts.examples[0][0]) if facts.examples else None
        plot_run(trainer.state.log_history, facts.untrained, lost, facts.unigram, facts.name, path)
    except Exception as error:
        console.print(f"The picture could not be drawn: {first_line(error)}", soft_wrap=True)
        return None
    return path.name


def main():
    """Pretrain by the options of the command line."""
    torch.set_float32_matmul_precision("high")
    pretrain(*parse_arguments(*PRETRAINING_ARGUMENTS))


if __name__ == "__main__":
    run_script(main)
