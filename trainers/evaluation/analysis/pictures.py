# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The pictures of an analysis. T texts, N tokens, C concepts, H hidden."""

from pathlib import Path

import torch
import torch.nn.functional as F

from ..plots import NEUTRAL, TRAINED, UNTRAINED, make_figure, save_picture, style_axes


def heat_map(axes, values: torch.Tensor, colors: str, low: float, high: float, label: str, **labels) -> None:
    """Draw `values` [C, X], one row per concept; `labels` of the axes."""
    image = axes.imshow(values, cmap=colors, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    axes.set(**{"ylabel": "concept", **labels})
    axes.figure.colorbar(image, ax=axes, label=label)


def plot_geometry(concepts: dict[str, torch.Tensor], path: Path) -> None:
    """Cosines between the text-dependent parts of concepts [T, C, H], and singular values of these parts; `concepts`
    are `trained` and possibly `untrained`."""
    figure, (cosines_axes, spectrum_axes) = make_figure(2)
    trained = concepts["trained"]
    directions = F.normalize(trained - trained.mean(dim=0), dim=-1)
    cosines = torch.einsum("tch,tdh->cd", directions, directions) / len(directions)
    high = max(0.2, float((cosines - torch.eye(len(cosines))).abs().max()))  # the diagonal is 1
    heat_map(cosines_axes, cosines, "RdBu", -high, high, "mean cosine", xlabel="concept")
    noise = torch.randn(trained.shape, generator=torch.Generator().manual_seed(0))
    colors = {"trained": TRAINED, "untrained": UNTRAINED, "independent noise": NEUTRAL}
    for label, values in {**concepts, "independent noise": noise}.items():
        spectra = torch.linalg.svdvals((values - values.mean(dim=0)).double())
        spectrum = (spectra / spectra[:, :1].clamp(min=1e-30)).mean(dim=0)
        spectrum_axes.plot(range(1, len(spectrum) + 1), spectrum, label=label, color=colors[label])
    spectrum_axes.set(xlabel="singular value", ylabel="relative to the largest", ylim=(0, 1.04))
    spectrum_axes.xaxis.get_major_locator().set_params(integer=True)
    style_axes(spectrum_axes)
    save_picture(figure, path)


def plot_attention(attention: dict[str, torch.Tensor], path: Path) -> None:
    """Mean attention [C, N] of each concept by token position, and its centre, `trained` and possibly `untrained`."""
    figure, panels = make_figure(len(attention))
    # A few strong positions, such as a special token, must not leave the rest pale.
    high = float(torch.quantile(torch.stack([*attention.values()]), 0.995))
    for axes, (key, weights) in zip(panels, attention.items(), strict=True):
        heat_map(axes, weights, "Blues", 0, high, "share of attention", xlabel="token position", title=key)
        centres = (weights * torch.arange(weights.shape[1])).sum(dim=1)
        axes.plot(centres, range(len(weights)), ".", color=NEUTRAL, markersize=3)
    save_picture(figure, path)


def plot_compression(compression: dict, path: Path) -> None:
    """Token accuracy by number of concepts, and its fall without single concepts by token position; `compression` as
    [`measure_compression`] returns it."""
    figure, (kept_axes, drop_axes) = make_figure(2)
    points = [(entry["concepts"], entry["accuracy"]) for entry in compression["kept"]]
    kept_axes.plot(*zip(*points, strict=True), color=TRAINED, marker="o", label="trained")
    for key, color in {"untrained": UNTRAINED, "most_frequent_token": NEUTRAL}.items():
        if key in compression:
            kept_axes.axhline(compression[key]["accuracy"], color=color, linestyle=":", label=key.replace("_", " "))
    kept_axes.set(xlabel="concepts", ylabel="token accuracy", ylim=(-0.02, 1.04))
    style_axes(kept_axes)
    drop = compression["drop_one"]
    places = range(0, len(drop["concepts"]), max(1, len(drop["concepts"]) // 8))
    values = torch.tensor(drop["drop_by_position"])
    heat_map(drop_axes, values, "Blues", 0, 1, "fall of accuracy", xlabel="token position", ylabel="dropped concept")
    drop_axes.set_yticks(places, [str(drop["concepts"][place]) for place in places])
    save_picture(figure, path)
