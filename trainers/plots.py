# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The picture of a pretraining run."""

from pathlib import Path

import torch
from matplotlib.figure import Figure

from .metrics import singular_spectrum
from .plain_text import picture_text


TRAINED, UNTRAINED, EVALUATED, NEUTRAL = "#1b6ca8", "#c8553d", "#2a9d5c", "#777777"


def plot_run(
    log_history: list[dict],
    trained: torch.Tensor | None,
    untrained: torch.Tensor | None,
    unigram: float,
    title: str,
    path: Path,
) -> None:
    """
    Loss and reconstruction accuracy over steps, and the singular-value spectrum of the text-dependent part of the
    concepts before and after training.

    Args:
        log_history: of the Trainer's state.
        trained, untrained: concepts [T, C, H] of the same texts; None leaves the spectrum empty.
        unigram: entropy of the token frequencies, nats per token: the loss of a model that ignores the text.
        title: of the picture.
        path: PNG file to write.
    """
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    loss_axes, accuracy_axes, spectrum_axes = figure.subplots(1, 3)
    figure.suptitle(picture_text(title))

    for key, label, style in (
        ("loss", "train", {"color": TRAINED, "linewidth": 1.3}),
        ("eval_loss", "evaluation", {"color": EVALUATED, "marker": "o"}),
    ):
        points = [(entry["step"], entry[key]) for entry in log_history if key in entry]
        if points:
            loss_axes.plot(*zip(*points, strict=True), label=label, **style)
    loss_axes.axhline(unigram, color=NEUTRAL, linestyle="--", label=f"unigram entropy {unigram:.2f}")
    loss_axes.set(xlabel="optimizer step", ylabel="loss (nats per label)", title="Loss")
    loss_axes.set_ylim(bottom=0)

    for key, label, color in (
        ("eval_reconstruction_accuracy", "token accuracy of reconstruction", TRAINED),
        ("eval_content_fraction", "content fraction", EVALUATED),
    ):
        points = [(entry["step"], entry[key]) for entry in log_history if key in entry]
        if points:
            accuracy_axes.plot(*zip(*points, strict=True), label=label, color=color, marker="o")
    accuracy_axes.set(xlabel="optimizer step", ylim=(0, 1.03), title="Held-out text")

    for concepts, label, color in ((untrained, "untrained", UNTRAINED), (trained, "trained", TRAINED)):
        if concepts is None:
            continue
        values = singular_spectrum(concepts)
        spectrum_axes.plot(range(1, len(values) + 1), values, label=label, color=color, marker=".")
    spectrum_axes.set(
        xlabel="singular value",
        ylabel="relative to the largest",
        ylim=(0, 1.03),
        title="Spectrum of a text's concepts",
    )
    for axes in (loss_axes, accuracy_axes, spectrum_axes):
        axes.grid(alpha=0.25)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
