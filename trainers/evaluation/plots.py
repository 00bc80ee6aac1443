# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Pictures: the style that all of them share, and the picture of a pretraining run."""

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ..utils.plain_text import picture_text


TRAINED, UNTRAINED, EVALUATED, NEUTRAL = "#1b6ca8", "#c8553d", "#2a9d5c", "#777777"
# Ticks of a logit axis of shares; values beyond the outer ticks are drawn at them.
SHARES = (0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)


def make_figure(panels: int = 1, title: str = "", width: float = 4.6, height: float = 4.2):
    """A [`matplotlib.figure.Figure`] with panels side by side, each `width` times `height` inches, and the list of
    their axes."""
    figure = Figure(figsize=(panels * width, height), layout="constrained")
    figure.suptitle(picture_text(title))
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def style_axes(axes: Axes, legend: bool = True) -> None:
    """A pale grid, no upper and right edge, and, unless `legend` is false, a legend where something is labelled."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if legend and axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize="small")


def save_picture(figure: Figure, path: Path) -> None:
    """Write a PNG file."""
    figure.savefig(path, dpi=130)


def scale_shares(axis) -> None:
    """Make `axis` a logit axis, on which 99 % and 99.9 % are about as far apart as 90 % and 99 %. Values are to be
    limited by [`clip_share`] first."""
    name = axis.axis_name
    axis.axes.set(**{f"{name}scale": "logit", f"{name}lim": (SHARES[0], 1 - (1 - SHARES[-1]) / 3)})
    labels = [f"{100 * share:g} %" for share in SHARES]
    axis.set_ticks(SHARES, [f"≤ {labels[0]}", *labels[1:-1], f"≥ {labels[-1]}"])
    axis.set_tick_params(labelsize=8)  # the outer labels are long
    axis.set_minor_locator(NullLocator())


def clip_share(share: float) -> float:
    """A share limited to what the axis of [`scale_shares`] shows."""
    return min(max(share, SHARES[0]), SHARES[-1])


def plot_run(
    log_history: list[dict],
    untrained: dict[str, float] | None,
    lost: tuple[list[str], torch.Tensor] | None,
    unigram: float,
    title: str,
    path: Path,
) -> None:
    """
    The picture of a pretraining run: the loss over steps, the reconstruction of held-out text over steps, and the
    words of a held-out sentence that are lost without each concept.

    Args:
        log_history: of the Trainer's state.
        untrained: metrics before the first step, without prefix.
        lost: W words and the matrix [C, W] of [`lost_words`]; None leaves this panel out.
        unigram: entropy of the token frequencies, nats per token: the loss of a model that ignores the text.
        title: of the picture.
        path: PNG file to write.
    """
    figure, panels = make_figure(2 if lost is None else 3, title, width=5, height=4.6)
    evaluated = [{f"eval_{name}": value for name, value in (untrained or {}).items()} | {"step": 0}, *log_history]

    def draw(axes, entries, key, label, clip=float, **style):
        points = [(entry["step"], clip(entry[key])) for entry in entries if key in entry]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, **style)

    draw(panels[0], log_history, "loss", "training", color=TRAINED, linewidth=1.3)
    draw(panels[0], evaluated, "eval_loss", "held-out text", color=EVALUATED, marker="o", markersize=4)
    panels[0].axhline(unigram, color=NEUTRAL, linestyle="--", label=f"ignoring the text ({unigram:.2f})")
    panels[0].set(xlabel="optimizer step", ylabel="nats per label", title="Loss")
    panels[0].set_ylim(bottom=0)

    for key, label, color in (
        ("eval_reconstruction_accuracy", "tokens reconstructed from the concepts", TRAINED),
        ("eval_exact_match", "texts reconstructed without an error", EVALUATED),
        ("eval_content_fraction", "concept energy that depends on the text", TRAINED),
    ):
        # The last one stands for models that do not reconstruct texts.
        if key != "eval_content_fraction" or not panels[1].lines:
            draw(panels[1], evaluated, key, label, clip_share, color=color, marker="o", markersize=4)
    scale_shares(panels[1].yaxis)
    panels[1].set(xlabel="optimizer step", title="Held-out text")
    for axes in panels[:2]:
        style_axes(axes)
    if lost is not None:
        draw_lost_words(panels[2], *lost)
    save_picture(figure, path)


def draw_lost_words(axes: Axes, words: list[str], lost: torch.Tensor) -> None:
    """A matrix with a row for each word and a column for each concept; a filled cell is a word that is not
    reconstructed when the concept is set to zero."""
    axes.imshow(lost.T.float(), cmap=ListedColormap(["white", TRAINED]), vmin=0, vmax=1, aspect="auto")
    axes.set_yticks(range(len(words)), [picture_text(word) for word in words], fontsize=7)
    axes.set_yticks([place + 0.5 for place in range(len(words) - 1)], minor=True)
    axes.set_xticks([place + 0.5 for place in range(len(lost) - 1)], minor=True)
    axes.grid(which="minor", color="#e6e6e6", linewidth=0.5)
    axes.tick_params(which="both", length=0)
    axes.set(xlabel="concept set to zero", title="Words lost without a concept")
