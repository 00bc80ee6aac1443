# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Reading long texts with concept encoders and other models, at once or in windows, and what it costs.

T texts, W windows of a text, C concepts, H hidden.
"""

import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from sentence_transformers import SentenceTransformer
from tqdm.auto import tqdm

from .collator import ConceptDataCollator
from .memory import peak_memory
from .pieces import special_ends
from .plain_text import picture_text
from .plots import NEUTRAL


class Passage(NamedTuple):
    """A text or its beginning, and its tokens without special ones."""

    text: str
    ids: list[int]


def passages(tokenizer, texts: list[str], lengths: list[int]) -> dict[int, list[Passage]]:
    """The first tokens of texts, so many that with the special ones they are `lengths`; needs a fast tokenizer."""
    special = tokenizer.num_special_tokens_to_add()
    found = {length: [] for length in lengths}
    for text in texts:
        encoding = tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, truncation=True, max_length=max(lengths)
        )
        ids, offsets = encoding["input_ids"], encoding["offset_mapping"]
        for length, beginnings in found.items():
            kept = ids[: length - special]
            beginnings.append(Passage(text[: offsets[len(kept) - 1][1]] if kept else "", kept))
    return found


def even_windows(count: int, room: int) -> list[slice]:
    """The fewest windows of at most `room` that cover `count` tokens, all of the same length but for one token, so
    that no window is a short rest."""
    windows = max(1, -(-count // room))
    bounds = [count * number // windows for number in range(windows + 1)]
    return [slice(*ends) for ends in zip(bounds, bounds[1:])]


class ConceptReader:
    """
    Reads passages with a concept model: at once where the model is long enough, else in windows, each encoded on its
    own.

    Args:
        name: of the system; model: a concept encoder; tokenizer: its own.
        window: tokens of a window with the special ones; the model's `max_sequence_length` when None.
        batch_size: windows at a time.

    Raises:
        ValueError: a window that is longer than the model allows, or has no room for text.
    """

    def __init__(self, name: str, model, tokenizer, window: int | None = None, batch_size: int = 64):
        limit, special = model.config.max_sequence_length, tokenizer.num_special_tokens_to_add()
        self.window = limit if window is None else window
        if not special < self.window <= limit:
            raise ValueError(
                f"--window must lie between {special + 1} and max_sequence_length {limit}, not be {window}."
            )
        self.name, self.model, self.batch_size = name, model.eval(), batch_size
        self.room, self.ends = self.window - special, special_ends(tokenizer)
        self.collator, self.device = ConceptDataCollator(tokenizer), model.device

    @torch.no_grad()
    def __call__(self, passage: Passage) -> torch.Tensor:
        """Concepts [W, C, H], float32 on the CPU."""
        before, after = self.ends
        rows = [[*before, *passage.ids[part], *after] for part in even_windows(len(passage.ids), self.room)]
        found = []
        for start in range(0, len(rows), self.batch_size):
            batch = self.collator.pad(rows[start : start + self.batch_size])
            batch = {name: value.to(self.device) for name, value in batch.items()}
            found.append(self.model(**batch).last_hidden_state.float().cpu())
        return torch.cat(found)


class SentenceReader:
    """Reads passages with a SentenceTransformer, in windows where it takes fewer tokens."""

    def __init__(self, name: str, model: SentenceTransformer, batch_size: int = 64):
        self.name, self.model, self.batch_size, self.device = name, model, batch_size, model.device
        self.window = model.max_seq_length

    def __call__(self, passage: Passage) -> torch.Tensor:
        """Vectors [W, 1, H], float32 on the CPU."""
        texts = [passage.text]
        if self.window is not None:
            tokenizer = self.model.tokenizer
            room = self.window - tokenizer.num_special_tokens_to_add()
            offsets = tokenizer(
                passage.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )["offset_mapping"]  # fmt: skip
            parts = [offsets[part] for part in even_windows(len(offsets), room)]
            texts = [passage.text[part[0][0] : part[-1][1]] if part else "" for part in parts]
        vectors = self.model.encode(texts, batch_size=self.batch_size, show_progress_bar=False, convert_to_tensor=True)
        return vectors.float().cpu()[:, None]


class Cost(NamedTuple):
    """Of reading one document: seconds (median), peak memory in MiB beside the model's own, and of how many documents;
    memory is None where the system does not tell."""

    seconds: float
    memory: float | None
    documents: int


def read_all(
    readers: list, texts: dict[int, list[Passage]], special: int, keep: bool, progress: tqdm
) -> tuple[dict[tuple[str, int], list[torch.Tensor]], dict[tuple[str, int], Cost]]:
    """
    Concepts of texts, and what it costs to read one: the memory of the first text that has the full length, the time
    of the others. Readers and lengths take turns at each text, so that another load on the machine bears on all alike.

    Args:
        readers: with a name each.
        texts: the beginnings of T texts, by length in tokens.
        special: how many of these tokens are special ones, which passages do not hold.
        keep: whether all concepts are needed; else their mean [1, 1, H] stands for them.
        progress: counts readings.

    Returns:
        By name of the reader and length: T tensors [W, C, H]; and the cost, where two texts or more are so long.
    """
    longest = texts[max(texts)]
    found = {(reader.name, length): {} for length in texts for reader in readers}
    seconds, memory = {job: [] for job in found}, {}
    for place in sorted(range(len(longest)), key=lambda place: -len(longest[place].ids)):
        for length, beginnings in texts.items():
            text = beginnings[place]
            is_full = len(text.ids) == length - special
            for reader in readers:
                job = (reader.name, length)
                if is_full and job not in memory:
                    with peak_memory(reader.device) as peak:
                        concepts = reader(text)
                    memory[job] = peak[0]
                else:
                    start = time.perf_counter()
                    concepts = reader(text)
                    if is_full:
                        seconds[job].append(time.perf_counter() - start)
                found[job][place] = concepts if keep else concepts.mean(dim=(0, 1), keepdim=True)
                progress.update()
    costs = {job: Cost(median(times), memory[job], len(times)) for job, times in seconds.items() if times}
    return {job: [read[place] for place in range(len(read))] for job, read in found.items()}, costs


def plot_costs(costs: dict[str, dict[int, Cost]], title: str, path: Path) -> None:
    """Time and memory of reading one document against its tokens, a line for each system, and one that grows as the
    tokens do; PNG."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    figure.suptitle(picture_text(title))
    lengths = sorted({length for by_length in costs.values() for length in by_length})
    for axes, field, label in zip(
        figure.subplots(1, 2), ("seconds", "memory"), ("seconds", "peak memory (MiB beside the model)")
    ):
        drawn = False
        for system, by_length in costs.items():
            points = {length: getattr(cost, field) for length, cost in by_length.items() if getattr(cost, field)}
            if points:
                drawn = True
                (line,) = axes.plot(points.keys(), points.values(), marker="o", label=picture_text(system))
                ends = (min(points), max(points))
                axes.plot(
                    ends, [points[ends[0]] * end / ends[0] for end in ends], ":", color=line.get_color(), linewidth=1
                )
        axes.plot([], [], ":", color=NEUTRAL, linewidth=1, label="in proportion to the tokens")
        axes.set(xscale="log", yscale="log" if drawn else "linear", xlabel="tokens")
        axes.set_title(label, fontsize="medium")
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=130)
