# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What concept models cost: time, memory and parameters of encoding and of a training step, beside BERT, ModernBERT and
Perceiver of transformers, and beside concept models written the original's way, all of the same width, layers,
vocabulary, texts and head path.

    python examples/run_benchmark.py

takes turns among them (A B A B …) in one process, on a GPU if there is one, and prints ratios. All weights and texts
are random. Absolute numbers hold for one machine at one time; ratios travel better. A quick look, too small to mean
anything: `--quick true`. Where the time of a step goes: `--profile true`.
"""

from dataclasses import asdict, dataclass, field, replace

import torch
from tqdm.auto import tqdm

from trainers.benchmark.measure import machine_facts, matmul_peak
from trainers.benchmark.profiling import profile_step, profile_table
from trainers.benchmark.report import benchmark_table, plot_timings
from trainers.benchmark.shapes import FIRST_WORD, Shape
from trainers.benchmark.suite import (
    Settings,
    group_steps,
    memory_ratios,
    memory_results,
    own_results,
    plan_groups,
    plan_memory,
    run_group,
    run_memory,
    time_ratios,
)
from trainers.benchmark.systems import PEERS
from trainers.plain_text import screen
from trainers.reporting import ReportingArguments
from trainers.script import parse_arguments, run_facts, run_script


PARTS = ("encode", "train", "original", "memory", "ablation")

# What `--quick true` sets.
QUICK = {
    "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 500, "lengths": [16, 32], "train_lengths": [16, 32],
    "concept_num": 8, "tokens_per_step": 64, "train_tokens_per_step": 64, "rounds": 3,
}  # fmt: skip

# The network that `python examples/run_pretraining.py` trains.
MAIN_JOB = Shape(hidden_size=128, num_hidden_layers=2, vocab_size=4096, length=64, concept_num=16)


@dataclass
class Arguments:
    """What is compared. Options that depend on the device are None until the device is known."""

    hidden_size: int = field(default=512, metadata={"help": "Width of all systems; a multiple of 64, or less."})
    num_hidden_layers: int = field(default=6, metadata={"help": "Layers of all encoders."})
    vocab_size: int = field(default=50_368, metadata={"help": "Size of the vocabulary."})
    concept_num: int = field(default=128, metadata={"help": "Concepts, beside a number that grows with the text."})
    lengths: list[int] = field(
        default_factory=lambda: [128, 512, 2048, 8192], metadata={"help": "Tokens of a text, when encoding."}
    )
    train_lengths: list[int] = field(
        default_factory=lambda: [512, 2048],
        metadata={"help": "The same when training; the first serves `original` and `ablation`, the last `memory`."},
    )
    tokens_per_step: int | None = field(
        default=None, metadata={"help": "Real tokens of a step of encoding, or one text; 4,096, on CUDA 65,536."}
    )
    train_tokens_per_step: int | None = field(
        default=None, metadata={"help": "Real tokens of a training step, or one text; 4,096, on CUDA 65,536."}
    )
    padding: float = field(default=0.0, metadata={"help": "Mean share of padding; the lengths of texts then differ."})
    peers: list[str] = field(default_factory=lambda: list(PEERS), metadata={"help": ", ".join(PEERS) + "."})
    parts: list[str] = field(default_factory=lambda: list(PARTS), metadata={"help": ", ".join(PARTS) + "."})
    dtype: str = field(default="float32", metadata={"help": "float32, or bfloat16 by autocast."})
    torch_compile: bool = field(default=False, metadata={"help": "Compile the encoders of all systems."})
    rounds: int | None = field(default=None, metadata={"help": "Timed turns of each system; 5, on CUDA 20."})
    warmup: int | None = field(
        default=None,
        metadata={"help": "Turns before these, beside one in which operations are counted; 0, on CUDA 10."},
    )
    group_seconds: float = field(
        default=40.0, metadata={"help": "No turn starts so long after the first, once there were three."}
    )
    quick: bool = field(default=False, metadata={"help": "Tiny sizes and few turns instead of those given."})
    profile: bool = field(default=False, metadata={"help": "Only print where the time of a training step goes."})

    def __post_init__(self):
        if self.quick:
            vars(self).update(QUICK)
        for name, known in (("peers", PEERS), ("parts", PARTS)):
            if unknown := [value for value in getattr(self, name) if value not in known]:
                raise ValueError(f"--{name} knows {list(known)}, not {unknown[0]!r}.")
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"--dtype is float32 or bfloat16, not {self.dtype!r}.")
        if self.hidden_size < 2 or self.hidden_size % 2 or (self.hidden_size > 64 and self.hidden_size % 64):
            raise ValueError(f"--hidden_size must be a multiple of 64, or even and less, not {self.hidden_size}.")
        if self.vocab_size <= 2 * FIRST_WORD:
            raise ValueError(f"--vocab_size must be more than {2 * FIRST_WORD}, not {self.vocab_size}.")
        if not 0 <= self.padding < 0.5:
            raise ValueError(f"--padding must be at least 0 and less than 0.5, not {self.padding}.")
        self.lengths, self.train_lengths = sorted(set(self.lengths)), sorted(set(self.train_lengths))
        for name in ("lengths", "train_lengths"):
            if not getattr(self, name) or min(getattr(self, name)) < 8:
                raise ValueError(f"--{name} must be 8 tokens or more, not {getattr(self, name)}.")
        on_cuda = torch.cuda.is_available()
        for name, here, there in (
            ("tokens_per_step", 4096, 65_536),
            ("train_tokens_per_step", 4096, 65_536),
            ("rounds", 5, 20),
            ("warmup", int(self.torch_compile), 10),
        ):
            if getattr(self, name) is None:
                setattr(self, name, there if on_cuda else here)
        for name in ("num_hidden_layers", "concept_num", "tokens_per_step", "train_tokens_per_step", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1, not {getattr(self, name)}.")
        if self.warmup < self.torch_compile:
            least = "1 with --torch_compile" if self.torch_compile else "0"
            raise ValueError(f"--warmup must be at least {least}, not {self.warmup}.")

    def settings(self, device: str) -> Settings:
        return Settings(
            self.tokens_per_step, self.train_tokens_per_step, self.padding, self.warmup, self.rounds,
            self.group_seconds, getattr(torch, self.dtype), self.torch_compile, device,
        )  # fmt: skip


def show_profile(shape: Shape, settings: Settings) -> None:
    """Tables of the sizes asked for and of the main job's."""
    for sizes in (shape, MAIN_JOB):
        columns = {name: profile_step(name, sizes, "denoising", settings) for name in ("concept", "original")}
        title = f"A dense TSDAE step, H{sizes.hidden_size} L{sizes.num_hidden_layers}, {sizes}, V={sizes.vocab_size:,}"
        screen(110).print(profile_table(title, columns))


def main():
    args, reporting = parse_arguments(Arguments, ReportingArguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    settings, facts = args.settings(device), machine_facts(device)
    base = Shape(args.hidden_size, args.num_hidden_layers, args.vocab_size, args.train_lengths[0], args.concept_num)
    if args.profile:
        show_profile(base, settings)
        return
    name = f"H{args.hidden_size}L{args.num_hidden_layers}"
    folder = reporting.folder("benchmark", name, "cost.png")
    groups = plan_groups(
        args.parts, base, args.lengths, args.train_lengths, args.peers, args.torch_compile, device == "cuda"
    )
    longest = replace(base, length=args.train_lengths[-1])
    jobs = plan_memory(longest, args.peers) if "memory" in args.parts else []

    peak = matmul_peak(settings.dtype, device)
    timings, ratios, peaks = [], [], {}
    steps = sum(group_steps(group, settings) for group in groups) + len(jobs)
    with tqdm(total=steps, unit="step") as progress:
        for group in groups:
            found = run_group(group, settings, progress)
            timings += found
            ratios += time_ratios(group, found)
        for task, system, shape in jobs:
            progress.set_postfix_str(f"memory, {task}: {system}")
            peaks[task, system, shape] = run_memory(task, system, shape, settings)
            progress.update()
    ratios += memory_ratios(peaks)

    facts |= {"matmul_gflop_per_second": peak / 1e9, "timings": [asdict(timing) for timing in timings]}
    machine = f"{facts.get('gpu', facts['cpu'])}, threads: {facts['threads']}, {args.dtype}"
    table = benchmark_table(f"Cost of concept models, {name}; {machine}", ratios, timings, peak, args.concept_num)
    screen(70 + 15 * (len(table.columns) - 3)).print(table)

    results = [ratio.result() for ratio in ratios] + own_results(timings, peak) + memory_results(peaks)
    plot_timings(timings, args.concept_num, f"{name}, {machine}", plot := folder / "cost.png")
    written = reporting.report(folder, results, run_facts(args, reporting, facts), "feature-extraction", files=[plot])
    print(f"{written}\n{plot}")


if __name__ == "__main__":
    run_script(main)
