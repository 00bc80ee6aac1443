# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Measure time, memory and parameters of encoding and of a training step, compared with BERT, ModernBERT and Perceiver of
transformers and with the original's models, all with the same width, layers, vocabulary, texts and head.

    python examples/run_benchmark.py

times all systems alternately (A B A B …) in one process, on a GPU if there is one, and reports ratios. Weights and
texts are random. Absolute numbers hold for one machine at one time; ratios carry over better.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from tqdm.auto import tqdm

from trainers.evaluation.results import results_folder, write_results
from trainers.experiments.benchmark.measure import machine_facts, matmul_peak
from trainers.experiments.benchmark.report import write_report
from trainers.experiments.benchmark.shapes import Shape
from trainers.experiments.benchmark.suite import Settings, memory_results, plan_groups, run_group, time_results
from trainers.experiments.benchmark.systems import PEERS
from trainers.utils.limits import check_at_least
from trainers.utils.runs import check_output_dir
from trainers.utils.script import parse_arguments, run_facts, run_script


PARTS = ("encode", "train", "original", "memory")
# Warm-up rounds, timed rounds and tokens per step.
SIZES = {"cpu": (0, 5, 4096), "cuda": (10, 20, 65_536)}


@dataclass
class Arguments:
    """What is compared."""

    output_dir: str | None = field(
        default=None, metadata={"help": "Folder for the report; outputs/benchmark_<sizes>_<time> by default."}
    )
    hidden_size: int = field(default=512, metadata={"help": "Width of all systems; a multiple of 64, or less."})
    num_hidden_layers: int = field(default=6, metadata={"help": "Layers of all encoders."})
    vocab_size: int = field(default=50_368, metadata={"help": "Size of the vocabulary."})
    concept_num: int = field(
        default=128, metadata={"help": "Concepts; encoding is also measured with a number that grows with the text."}
    )
    lengths: list[int] = field(
        default_factory=lambda: [128, 512, 2048, 8192], metadata={"help": "Tokens per text in encoding."}
    )
    train_lengths: list[int] = field(
        default_factory=lambda: [512, 2048],
        metadata={"help": "Tokens per text in training; `original` takes the first, `memory` the last."},
    )
    tokens_per_step: int | None = field(
        default=None, metadata={"help": "Tokens per step of encoding; 4,096, on CUDA 65,536."}
    )
    train_tokens_per_step: int | None = field(
        default=None, metadata={"help": "Tokens per training step; 4,096, on CUDA 65,536."}
    )
    peers: list[str] = field(default_factory=lambda: list(PEERS), metadata={"help": ", ".join(PEERS) + "."})
    parts: list[str] = field(default_factory=lambda: list(PARTS), metadata={"help": ", ".join(PARTS) + "."})
    bf16: bool = field(default=False, metadata={"help": "bfloat16 by autocast instead of float32."})

    def __post_init__(self):
        for name, known in (("peers", PEERS), ("parts", PARTS)):
            if unknown := [value for value in getattr(self, name) if value not in known]:
                raise ValueError(f"--{name}: unknown {unknown[0]!r}; choose of {list(known)}.")
        check_at_least(self, num_hidden_layers=1, concept_num=1, lengths=8, train_lengths=8, vocab_size=16)


def main():
    (args,) = parse_arguments(Arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    warmup, rounds, tokens = SIZES[device]
    settings = Settings(
        args.tokens_per_step or tokens, args.train_tokens_per_step or tokens, warmup, rounds,
        torch.bfloat16 if args.bf16 else torch.float32, device,
    )  # fmt: skip
    lengths, train_lengths = sorted(set(args.lengths)), sorted(set(args.train_lengths))
    base = Shape(args.hidden_size, args.num_hidden_layers, args.vocab_size, train_lengths[0], args.concept_num)
    name = f"H{args.hidden_size}L{args.num_hidden_layers}"
    folder = Path(args.output_dir or results_folder("benchmark", name))
    check_output_dir(folder, ("results.json", "README.md", "cost.png"))
    groups = plan_groups(args.parts, base, lengths, train_lengths, args.peers)

    peak = matmul_peak(settings.dtype, device)
    timings, results = [], []
    for group in tqdm(groups, desc="time"):
        measured = run_group(group, settings)
        timings += measured
        results += time_results(measured, peak)
    if "memory" in args.parts:
        results += memory_results(replace(base, length=train_lengths[-1]), args.peers, settings)

    facts = machine_facts(device)
    title = f"Cost of concept models, {name}; {facts.get('gpu', facts['cpu'])}, {facts['threads']} threads"
    facts |= {"matmul_gflop_per_second": peak / 1e9, "timings": [asdict(timing) for timing in timings]}
    write_results(folder / "results.json", results, run_facts(args, facts))
    path, text = write_report(folder, title, results, timings, args.concept_num)
    print(f"{text}\nreport: {path}")


if __name__ == "__main__":
    run_script(main)
