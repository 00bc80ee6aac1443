# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The suite for a GPU: whether its fast paths give what the plain one gives, and tokens per second and the share of the
measured peak of matrix products in bfloat16, for encoding and training.

B texts, N tokens.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from transformers.utils import is_flash_attn_2_available

from ...utils.plain_text import markdown, markdown_table
from .measure import Step, machine_name, synchronise
from .systems import SYSTEMS, Shape, build_concept, concept_loss, encode, make_inputs, trains


# Between these lines the card holds the table.
BEGIN, END = "<!-- gpu: begin -->", "<!-- gpu: end -->"

SECONDS = 420.0  # no row is begun later
ROW_SECONDS, ROUNDS, WARMUP = 4.0, 30, 3
PEAK_SIZE = 8192  # of the square matrices whose product is timed
# Largest difference of concepts from those of float32 on the CPU, of about unit size.
TOLERANCE = {torch.float32: 2e-3, torch.bfloat16: 0.15}


@dataclass(frozen=True)
class Row:
    """One measurement: task, length, system, attention implementation, and whether it is compiled."""

    task: str
    length: int
    system: str
    attention: str = "sdpa"
    compiled: bool = False

    def build(self) -> tuple[Callable, Callable]:
        """Entry of `SYSTEMS`."""
        if self.system != "concept":
            return SYSTEMS[self.system]
        return partial(build_concept, attn_implementation=self.attention), concept_loss


def attentions() -> list[str]:
    """The implementations of attention that can be had."""
    return ["eager", "sdpa", *(["flash_attention_2"] if is_flash_attn_2_available() else [])]


def plan_rows(lengths: list[int], train_lengths: list[int]) -> list[Row]:
    """The rows of the table; what tells most comes first, since time is limited."""
    cases = [("encode", length) for length in lengths] + [("masked_lm", length) for length in train_lengths]
    own = [Row(*case, "concept") for case in cases]
    peers = [Row(*case, peer, "as it is") for case in cases for peer in ("bert", "modernbert", "perceiver")]
    compiled = [Row(*case, "concept", compiled=True) for case in cases]
    others = [Row(*case, "concept", name) for case in cases for name in attentions() if name != "sdpa"]
    return [*own, *peers, *others, *compiled]


def measure_peak(dtype: torch.dtype, device: str, size: int = PEAK_SIZE, rounds: int = 10) -> float:
    """TFLOP per second of products of square matrices."""
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(rounds + WARMUP):
        synchronise(device)
        start = time.perf_counter()
        left @ right
        synchronise(device)
        times.append(time.perf_counter() - start)
    return 2e-12 * size**3 / median(times[WARMUP:])


def measure_row(row: Row, base: Shape, tokens: int, dtype: torch.dtype, device: str) -> tuple[float, float]:
    """Tokens per second, and TFLOP per second, of about `tokens` tokens a step."""
    shape = Shape(base.hidden_size, base.num_hidden_layers, base.vocab_size, row.length, base.concept_num)
    inputs = make_inputs(row.task, shape, tokens, 0, device)
    step = Step(row.build(), shape, row.task, dtype, device)
    operations = step.flops(inputs)
    if row.compiled:
        model = step.module.model if trains(row.task) else step.module
        for part in {model.base_model, model}:
            part.compile()
    times, first = [], time.perf_counter()
    while len(times) < WARMUP + 3 or (len(times) < WARMUP + ROUNDS and time.perf_counter() - first < ROW_SECONDS):
        synchronise(device)
        start = time.perf_counter()
        step(inputs)
        synchronise(device)
        times.append(time.perf_counter() - start)
    seconds = median(times[WARMUP:])
    return int(inputs["attention_mask"].sum()) / seconds, 1e-12 * operations / seconds


def check_paths(device: str, base: Shape, length: int = 96) -> dict[str, float]:
    """
    Largest difference of the concepts on `device`, by implementation of attention and dtype, from those of float32 by
    plain attention on the CPU, for texts of different lengths; and that of the gradients of a training step, as a
    share of their largest.

    Raises:
        RuntimeError: a difference is larger than rounding explains.
    """
    shape, found = Shape(base.hidden_size, base.num_hidden_layers, 997, length, base.concept_num), {}
    inputs = make_inputs("encode", shape, 4 * length, 0, "cpu")
    inputs["attention_mask"][0, length // 3 :] = 0
    inputs["attention_mask"][1, : length // 2] = 0
    torch.manual_seed(0)
    plain = build_concept(shape, "encode", attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in plain.parameters():  # what starts at zero matters, too
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
        expected = encode(plain, inputs)
        given = {name: value.to(device) for name, value in inputs.items()}
        for attention in attentions():
            for dtype in TOLERANCE if attention != "flash_attention_2" else (torch.bfloat16,):
                model = build_concept(shape, "encode", attn_implementation=attention).eval()
                model.load_state_dict(plain.state_dict())
                difference = (encode(model.to(device, dtype), given).cpu().float() - expected).abs().max()
                name = f"{attention}, {str(dtype).removeprefix('torch.')}"
                found[name] = float(difference)
                if not difference <= TOLERANCE[dtype]:
                    raise RuntimeError(f"Concepts by {name} on {device} differ by {float(difference):.3f}.")
    gradients = [training_gradients(shape, where) for where in ("cpu", device)]
    differences = [(one - other).abs().max() / one.abs().max() for one, other in zip(*gradients, strict=True)]
    found["gradients, float32"] = float(max(differences))
    if not found["gradients, float32"] <= TOLERANCE[torch.float32]:
        raise RuntimeError(f"Gradients on {device} differ by {found['gradients, float32']:.3f} of the largest.")
    return found


def training_gradients(shape: Shape, device: str) -> list[torch.Tensor]:
    """Gradients, on the CPU, of a step of TSDAE with its defaults."""
    task = "denoising_default"
    step, inputs = Step("concept", shape, task), make_inputs(task, shape, 4 * shape.length, 0, "cpu")
    step.module.to(device)
    step.device = device
    step.gradients({name: value.to(device) for name, value in inputs.items()})
    return [parameter.grad.cpu() for parameter in step.module.parameters()]


def run_suite(
    base: Shape, lengths: list[int], train_lengths: list[int], tokens: int, device: str, dtype=torch.bfloat16
) -> str:
    """Check the fast paths and measure all rows for which there is time; the table in Markdown."""
    started, differences = time.perf_counter(), check_paths(device, base)
    peak = measure_peak(dtype, device)
    table, left = [], []
    for row in plan_rows(lengths, train_lengths):
        if time.perf_counter() - started > SECONDS:
            left.append(row)
            continue
        try:
            speed, rate = measure_row(row, base, tokens, dtype, device)
            cells = [f"{speed:,.0f}", f"{rate:.1f}", f"{rate / peak:.0%}"]
        except torch.OutOfMemoryError:
            cells = ["out of memory", "", ""]
        what = "encode" if row.task == "encode" else "train, masked LM 15 %"
        attention = f"{row.attention}, compiled" if row.compiled else row.attention
        table.append([what, f"{row.length:,}", row.system, attention, *cells])
        torch.compiler.reset()
        if device == "cuda":
            torch.cuda.empty_cache()
    facts = (
        f"{machine_name(device)}, torch {torch.__version__}, {dtype}, H{base.hidden_size} L{base.num_hidden_layers} "
        f"C{base.concept_num} V{base.vocab_size:,}, {tokens:,} tokens a step; peak of square products "
        f"{peak:.0f} TFLOP/s."
    )
    checks = ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
    headings = ["", "N", "system", "attention", "tokens/s", "TFLOP/s", "of the peak"]
    notes = f"Largest difference of concepts from float32 on the CPU: {checks}."
    if left:
        notes += f" Not measured for want of time: {len(left)} rows."
    return f"{markdown(facts)}\n\n{markdown_table(headings, table)}\n\n{markdown(notes)}"


def read_card(card: Path) -> tuple[str, str]:
    """What stands in the card before and after the table; ValueError if it has no place for one."""
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{card} has no place for the table of GPUs, which are the lines {BEGIN} and {END}.")
    return text.split(BEGIN)[0], text.split(END)[1]


def write_card(card: Path, table: str) -> None:
    """Put the table between the two lines of the card; ValueError if it does not have them."""
    before, after = read_card(card)
    card.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")
