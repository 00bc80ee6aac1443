# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What single concepts of a recursive encoder do over its iterations: which facts the concept of a fact reads, and which
answers are lost without it.

F facts, K iterations, S steps.
"""

from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from ..evaluation.plots import make_figure, save_picture
from .data import Batch, make_batch
from .problems import Fact
from .systems import answer_logits


SHOWN = 6  # iterations in the picture


class ConceptMaps(NamedTuple):
    """
    Args:
        attention: [K, S, S], in iteration k, how much of the attention of a concept whose answer takes s steps lies on
            each concept of the same answer that takes t steps.
        lost: [K, S, S], share of the answers of s steps that are wrong at the end if the state of a concept of the
            same answer that takes t steps is zero after iteration k.
        lost_elsewhere: [K], share of the answers that differ from that of the concept which are then wrong.
    """

    attention: torch.Tensor
    lost: torch.Tensor
    lost_elsewhere: torch.Tensor


@contextmanager
def without_each(model, iteration: int):
    """Within, after this iteration concept j of text j of a batch is zero."""
    calls = 0

    def clear(module, arguments, state):
        nonlocal calls
        calls += 1
        if calls != iteration:
            return state
        index = torch.arange(len(state), device=state.device)
        state = state.clone()
        state[index, index] = 0
        return state

    handle = model.encoder.iteration_mean.register_forward_hook(clear)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def map_concepts(model, problems: list[list[Fact]], tokenizer, iterations: int) -> ConceptMaps:
    """
    Means over problems in which every fact has a concept.

    Args:
        model: a recursive encoder with its decoder, in eval mode.
    """
    steps = max(fact.steps for fact in problems[0])
    sums = {name: torch.zeros(iterations, steps, steps, dtype=torch.float64) for name in ("attention", "lost")}
    pairs, elsewhere, others = torch.zeros(steps, steps, dtype=torch.float64), torch.zeros(iterations), 0
    implementation = model.config._attn_implementation
    for facts in problems:
        batch = make_batch([facts], tokenizer).to(model.device)
        model.set_attn_implementation("eager")
        encoded = model.encoder(
            batch.input_ids,
            concept_num=len(facts),
            num_iterations=iterations,
            output_attentions=True,
            return_dict=True,
        )
        model.set_attn_implementation(implementation)
        attention = torch.stack([weights[0].mean(dim=0) for weights in encoded.attentions]).cpu()  # [K, F, F]
        lost = lost_answers(model, batch, iterations)
        place, answers = batch.steps[0].cpu(), batch.answers[0].cpu()
        scored = (place > 0)[:, None] & (place > 0)
        same = (answers[:, None] == answers) & scored
        index = ((place[:, None] - 1) * steps + place - 1)[same]
        pairs.view(-1).index_add_(0, index, torch.ones(len(index), dtype=torch.float64))
        for name, values in (("attention", attention), ("lost", lost.double())):
            sums[name].view(iterations, -1).index_add_(1, index, values[:, same].double())
        elsewhere += lost[:, scored & ~same].sum(dim=1)
        others += int((scored & ~same).sum())
    means = {name: total / pairs.clamp(min=1) for name, total in sums.items()}
    return ConceptMaps(**means, lost_elsewhere=elsewhere / max(others, 1))


def lost_answers(model, batch: Batch, iterations: int) -> torch.Tensor:
    """Of one problem: whether the answer of fact i, right with all concepts, is wrong without concept j after
    iteration k, bool [K, F, F] (k, i, j)."""
    facts, lost = batch.steps.shape[1], []
    right = (answer_logits(model, batch, [iterations])[0].argmax(dim=-1) == batch.answers)[0]
    copies = Batch(*(part.expand(facts, -1) for part in batch))
    for iteration in range(1, iterations + 1):
        with without_each(model, iteration):
            given = answer_logits(model, copies, [iterations])[0].argmax(dim=-1)  # [j, i]
        lost.append((given != batch.answers).T & right[:, None])
    return torch.stack(lost).cpu()


def plot_concepts(maps: ConceptMaps, title: str, path: Path) -> None:
    """Attention in iterations, and answers lost without a concept after them, by steps of both concepts."""
    count = min(SHOWN, len(maps.attention))
    figure, _ = make_figure(1, title, width=2.1 * count + 1, height=5.2)
    figure.clear()
    figure.suptitle(title)
    rows = figure.subplots(2, count, squeeze=False, sharex=True, sharey=True)
    steps = maps.attention.shape[1]
    edges = (0.5, steps + 0.5)
    for axes_row, values, label, colours in (
        (rows[0], maps.attention, "reads, iteration", "Blues"),
        (rows[1], maps.lost, "lost without it after iteration", "Oranges"),
    ):
        for number, axes in enumerate(axes_row):
            image = axes.imshow(values[number], origin="lower", extent=(*edges, *edges), vmin=0, vmax=1, cmap=colours)
            axes.set_title(f"{label} {number + 1}", fontsize="x-small")
            axes.tick_params(labelsize=7)
        figure.colorbar(image, ax=list(axes_row), shrink=0.8)
        axes_row[0].set_ylabel("steps of the answer", fontsize="small")
    for axes in rows[1]:
        axes.set_xlabel("steps of the other concept", fontsize="x-small")
    save_picture(figure, path)
