# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Measure time, memory and parameters of encoding and of a training step, compared with BERT, ModernBERT and Perceiver of
transformers and with the original's models, all with the same width, layers, vocabulary, texts and head.

    python examples/run_benchmark.py

times all systems alternately (A B A B …) in one process, on a GPU if there is one, and reports ratios. Weights and
texts are random. Absolute numbers hold for one machine at one time; ratios carry over better.

    python examples/run_benchmark.py --sentence_models outputs/… sentence-transformers/all-MiniLM-L6-v2

times `SentenceTransformer.encode` of trained models instead, on texts of the embedded corpus (`--lengths 16 256`).

    python examples/run_benchmark.py --suite gpu

checks the fast paths on a GPU, measures tokens per second in bfloat16 in at most eight minutes, and writes the table
of `model_cards/speed.md`.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tqdm.auto import tqdm
from transformers.hf_argparser import HfArg

from trainers.evaluation.results import Result, results_folder, results_table, write_results
from trainers.experiments.benchmark.batches import time_batches
from trainers.experiments.benchmark.gpu import read_card, run_suite, write_card
from trainers.experiments.benchmark.measure import machine_name
from trainers.experiments.benchmark.precision import check_installed, time_precisions
from trainers.experiments.benchmark.sentence_models import time_sentence_models
from trainers.experiments.benchmark.suite import group_results, plan_groups, run_group, write_report
from trainers.experiments.benchmark.systems import PEERS, Shape, trains
from trainers.utils.plain_text import screen
from trainers.utils.runs import check_output_dir
from trainers.utils.script import parse_arguments, run_facts, run_script


CARD = Path(__file__).resolve().parent.parent / "model_cards" / "speed.md"
PARTS = ["encode", "train", "original", "scale", "batches", "precision"]
TOKENS = {"cpu": 4096, "cuda": 65_536}  # per step


@dataclass
class Arguments:
    """What is compared."""

    output_dir: str | None = HfArg(
        default=None, help="Folder for the report; outputs/benchmark_<sizes>_<time> by default."
    )
    hidden_size: int = HfArg(default=512, help="Width of all systems; a multiple of 64, or less.")
    num_hidden_layers: int = HfArg(default=6, help="Layers of all encoders.")
    vocab_size: int = HfArg(default=50_368, help="Size of the vocabulary.")
    concept_num: int = HfArg(
        default=128, help="Concepts; encoding is also measured with a number that grows with the text."
    )
    lengths: list[int] = HfArg(default_factory=lambda: [128, 512, 2048, 8192], help="Tokens per text in encoding.")
    train_lengths: list[int] = HfArg(
        default_factory=lambda: [512, 2048], help="Tokens per text in training; `original` takes the first."
    )
    tokens_per_step: int | None = HfArg(default=None, help="Tokens per step of encoding; 4,096, on CUDA 65,536.")
    train_tokens_per_step: int | None = HfArg(default=None, help="Tokens per training step; 4,096, on CUDA 65,536.")
    peers: list[str] = HfArg(default_factory=PEERS.copy, help="Systems to compare with.", metadata={"choices": PEERS})
    parts: list[str] = HfArg(
        default_factory=PARTS.copy, metadata={"choices": PARTS},
        help="Encoding, training by masked LM, training by denoising beside the original's way, encoding of one text "
        "of 512 to 65,536 tokens, of texts of different lengths in several kinds of batches, in lower precision on a "
        "CPU (needs onnxruntime and onnxscript).",
    )  # fmt: skip
    bf16: bool = HfArg(
        default=False, help="bfloat16 instead of float32: by autocast, and as the weights of sentence models."
    )
    sentence_models: list[str] = HfArg(
        default_factory=list,
        help="SentenceTransformers, folders or Hub ids, whose encoding is timed instead, against the first.",
    )
    suite: str | None = HfArg(
        default=None, metadata={"choices": ["gpu"]},
        help="Instead, what a GPU does in eight minutes, written into --card.",
    )  # fmt: skip
    card: str = HfArg(default=str(CARD), help="Card with the table of GPUs.")


def time_trained(args: Arguments, dtype: torch.dtype, device: str) -> None:
    """Time the models of `--sentence_models`, print and write the results."""
    folder = Path(args.output_dir or results_folder("benchmark", args.sentence_models[0]))
    check_output_dir(folder, ("results.json",))
    tokens = args.tokens_per_step or TOKENS[device]
    results = time_sentence_models(args.sentence_models, sorted(set(args.lengths)), tokens, dtype, device)
    machine = machine_name(device)
    screen(140).print(results_table(results, f"Encoding, {dtype}, {machine}"))
    print(f"results: {write_results(folder / 'results.json', results, run_facts(args, {'machine': machine}))}")


def run_gpu(args: Arguments, device: str) -> None:
    """Run the suite for a GPU, print its table and write it into the card."""
    if device != "cuda":
        raise ValueError("--suite gpu needs a GPU that torch can use, and there is none.")
    read_card(Path(args.card))
    base = Shape(args.hidden_size, args.num_hidden_layers, args.vocab_size, args.lengths[0], args.concept_num)
    tokens = args.tokens_per_step or TOKENS[device]
    table = run_suite(base, sorted(set(args.lengths)), sorted(set(args.train_lengths)), tokens, device)
    write_card(Path(args.card), table)
    print(f"{table}\n\ncard: {args.card}")


def main():
    (args,) = parse_arguments(Arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.suite:
        run_gpu(args, device)
        return
    dtype = torch.bfloat16 if args.bf16 else torch.float32
    if args.sentence_models:
        time_trained(args, dtype, device)
        return
    if "precision" in args.parts:
        check_installed()
    lengths, train_lengths = sorted(set(args.lengths)), sorted(set(args.train_lengths))
    base = Shape(args.hidden_size, args.num_hidden_layers, args.vocab_size, train_lengths[0], args.concept_num)
    name = f"H{args.hidden_size}L{args.num_hidden_layers}"
    folder = Path(args.output_dir or results_folder("benchmark", name))
    check_output_dir(folder, ("results.json", "README.md", "cost.png"))

    machine = machine_name(device)
    title = f"Cost of concept models, {name}; {machine}"
    timings, results = [], []

    def report(found: list[Result]) -> Path:
        """Write all results so far, so that a run that is stopped keeps them; returns the path of the report."""
        results.extend(found)
        facts = {"machine": machine, "timings": [asdict(timing) for timing in timings]}
        write_results(folder / "results.json", results, run_facts(args, facts))
        return write_report(folder, title, results, timings, args.concept_num)

    for task, shape, systems in tqdm(plan_groups(args.parts, base, lengths, train_lengths, args.peers), desc="time"):
        tokens = args.train_tokens_per_step if trains(task) else args.tokens_per_step
        measured = run_group(task, shape, systems, tokens or TOKENS[device], dtype, device)
        timings += measured
        path = report(group_results(measured))
    if "batches" in args.parts:
        path = report(time_batches(base, device))
    if "precision" in args.parts:
        path = report(time_precisions(base, train_lengths, args.tokens_per_step or TOKENS["cpu"]))
    print(f"{path.read_text(encoding='utf-8')}\nreport: {path}")


if __name__ == "__main__":
    run_script(main)
