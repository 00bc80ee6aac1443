# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The pictures of an analysis, as SVG that follows the reader's light or dark colours.

T texts, N tokens, C concepts, H hidden.
"""

import base64
import io
from dataclasses import dataclass

import matplotlib
import torch
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from ..metrics import singular_spectrum
from ..plots import EVALUATED, TRAINED
from ..plots import UNTRAINED as UNTRAINED_COLOR
from ..results import BAG_OF_WORDS, MAJORITY, UNTRAINED
from .attention import Attention
from .geometry import concept_similarity
from .probes import POOLINGS, SHUFFLED


# Colours in which a figure is drawn, each with what it becomes on light and on dark ground.
PALETTE = {
    "#010203": ("#1d2733", "#e4e9f0"),  # text and axes
    "#a1a2a3": ("#8793a1", "#7f8b9a"),  # what is of minor weight
    "#d1d2d3": ("#dfe4ea", "#323b47"),  # grid
    TRAINED: ("#1f6fb2", "#5aa9e6"),
    UNTRAINED_COLOR: ("#c8553d", "#f08a6c"),
    EVALUATED: ("#23875a", "#57c48c"),
}
INK, MINOR, GRID = list(PALETTE)[:3]

# From nothing at all to a colour that stands out on light and on dark ground.
STRONG, NEGATIVE = "#2f86d6", "#e0703f"
SEQUENTIAL = LinearSegmentedColormap.from_list("strength", [(*to_rgb(STRONG), 0.0), (*to_rgb(STRONG), 1.0)])
DIVERGING = LinearSegmentedColormap.from_list(
    "sign",
    [
        (0.0, (*to_rgb(NEGATIVE), 1.0)),
        (0.5, (*to_rgb(NEGATIVE), 0.0)),
        (0.5, (*to_rgb(STRONG), 0.0)),
        (1.0, (*to_rgb(STRONG), 1.0)),
    ],
)

STYLE = {
    "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "grid.color": GRID, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10,
    "axes.titleweight": "bold", "font.size": 9, "legend.frameon": False, "legend.fontsize": 8, "axes.linewidth": 0.8,
    "axes.axisbelow": True, "svg.fonttype": "path", "svg.hashsalt": "concepts",
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """`source` is a `data:` address; `alternative` says in words what is seen, `caption` how to read it."""

    source: str
    alternative: str
    caption: str


class Drawing:
    """A figure in the report's style: `with Drawing(...) as axes`, as often as needed, then `source`."""

    def __init__(self):
        with matplotlib.rc_context(STYLE):
            self.figure = Figure(figsize=(3.8, 2.9), layout="constrained")
            self.axes = self.figure.subplots()

    def __enter__(self):
        self.context = matplotlib.rc_context(STYLE)
        self.context.__enter__()
        return self.axes

    def __exit__(self, *error):
        self.context.__exit__(*error)

    @property
    def source(self) -> str:
        with matplotlib.rc_context(STYLE):
            return image_source(self.figure)


def image_source(figure: Figure) -> str:
    """A figure as a `data:` address of an SVG image."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, dpi=200, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    light, dark = [], []
    for number, (drawn, (on_light, on_dark)) in enumerate(PALETTE.items()):
        svg = svg.replace(drawn, f"var(--c{number})")
        light.append(f"--c{number}:{on_light}")
        dark.append(f"--c{number}:{on_dark}")
    style = f"<style>svg{{{';'.join(light)}}}@media(prefers-color-scheme:dark){{svg{{{';'.join(dark)}}}}}</style>"
    svg = svg[svg.index("<svg") :]
    opened = svg.index(">") + 1
    svg = svg[:opened] + style + svg[opened:]
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def heat_map(values, colors, low: float, high: float, label: str, points=None, **labels) -> str:
    """Image of `values` [C, X] by concept; `points` are marked in each row, `labels` are those of the axes."""
    drawing = Drawing()
    with drawing as axes:
        image = axes.imshow(values, cmap=colors, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
        if points is not None:
            axes.plot(points, range(len(points)), ".", color=INK, markersize=3)
        axes.set(**{"ylabel": "concept", **labels})
        axes.spines[["top", "right"]].set_visible(True)
        bar = drawing.figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02, label=label)
        bar.solids.set_rasterized(True)
        bar.outline.set_visible(False)
    return drawing.source


def similarity_pictures(concepts: torch.Tensor) -> dict[str, Picture]:
    """Cosines between concepts [T, C, H]: as they are, and of the part that depends on the text."""
    cosines = {
        "similarity": concept_similarity(concepts),
        "content_similarity": concept_similarity(concepts - concepts.mean(dim=0)),
    }
    captions = {
        "similarity": "Mean cosine between the concepts of a text, as they are. Colour off the diagonal: concepts "
        "that resemble each other, though perhaps only in what all texts have in common.",
        "content_similarity": "The same for what depends on the text. Blue off the diagonal: concepts that say the "
        "same.",
    }
    others = {name: values[~torch.eye(len(values), dtype=torch.bool)] for name, values in cosines.items()}
    # The diagonal is 1; the colours are for what lies beside it.
    high = max([0.2, *(float(values.abs().max()) for values in others.values() if len(values))])
    found = {}
    for name, values in cosines.items():
        mean = float(others[name].mean()) if len(others[name]) else 0.0
        found[name] = Picture(
            heat_map(values, DIVERGING, -high, high, "mean cosine", xlabel="concept"),
            f"Heat map of cosines between {len(values)} concepts, {mean:.2f} on average.",
            captions[name],
        )
    return found


def spectrum_picture(trained: torch.Tensor, untrained: torch.Tensor | None) -> Picture:
    """Singular values of the text-dependent part of a text's concepts [T, C, H]."""
    noise = torch.randn(trained.shape, generator=torch.Generator().manual_seed(0))
    fresh = [] if untrained is None else [(untrained, "untrained", UNTRAINED_COLOR, "-")]
    drawing = Drawing()
    with drawing as axes:
        for concepts, label, color, style in (
            (noise, "independent noise", MINOR, "--"),
            *fresh,
            (trained, "trained", TRAINED, "-"),
        ):
            values = singular_spectrum(concepts)
            axes.plot(range(1, len(values) + 1), values, style, color=color, label=label, linewidth=1.8)
        axes.set(xlabel="singular value", ylabel="relative to the largest", ylim=(0, 1.04))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="y")
        axes.legend()
    return Picture(
        drawing.source,
        "Singular values of a text's concepts beside those of independent noise, falling from 1.",
        "Singular values of what depends on the text, averaged over texts. The closer to the dashed line of "
        "independent noise, the more directions are in use.",
    )


def attention_pictures(attention: dict[str, Attention]) -> dict[str, Picture]:
    """Mean attention of each concept over token positions, with the concepts' places, `trained` and `untrained`."""
    maps = {key: each.maps.mean(dim=0) for key, each in attention.items()}
    # A few strong positions, such as a special token, must not leave the rest pale.
    high = float(torch.quantile(torch.stack(list(maps.values())), 0.995))
    found = {}
    for key, values in maps.items():
        each = attention[key]
        place = "has its address" if each.addressed else "has the centre of its attention"
        found[f"attention_{key}"] = Picture(
            heat_map(values, SEQUENTIAL, 0, high, "share of attention", each.places, xlabel="token position"),
            f"Heat map of attention by concept and token position, {key}: concepts reach "
            f"{float(each.distance().mean()):.1f} tokens on average.",
            f"{key.capitalize()}: mean attention of each concept (row) over the positions of a text, averaged over "
            f"layers. Dots: where a concept {place}.",
        )
    return found


def probe_pictures(analysis) -> dict[str, Picture]:
    """Scores of each probe beside their controls: full colour for the mean concept, pale for all concepts."""
    systems = {analysis.name: TRAINED, UNTRAINED: UNTRAINED_COLOR, BAG_OF_WORDS: EVALUATED, SHUFFLED: MINOR}
    labels = {analysis.name: "trained", BAG_OF_WORDS: "bag of words"}
    scores = {"r2": "R²", "auc": "pairs of texts told apart (AUC)", "accuracy": "accuracy"}
    found = {}
    for name, question in analysis.questions.items():
        values = {
            (result.task.rsplit(", ", 1)[1], result.system): result
            for result in analysis.probes
            if result.task.startswith(f"probe: {name}, ")
        }
        chance = values[POOLINGS[0], MAJORITY]
        present = {system: color for system, color in systems.items() if (POOLINGS[0], system) in values}
        drawing = Drawing()
        with drawing as axes:
            for row, (system, color) in enumerate(present.items()):
                # A bag of words has no concepts to pool.
                poolings = POOLINGS[:1] if system == BAG_OF_WORDS else POOLINGS
                height = 0.8 / len(poolings)
                for half, pooling in enumerate(poolings):
                    result, place = values[pooling, system], row - 0.4 + height * (half + 0.5)
                    axes.barh(place, result.value, 0.95 * height, color=color, alpha=0.5 if half else 1.0)
                    axes.errorbar(result.value, place, xerr=result.spread, color=INK, linewidth=0.9)
            axes.axvline(chance.value, color=INK, linestyle=":", linewidth=1.2)
            axes.set_yticks(range(len(present)), [labels.get(system, system) for system in present])
            axes.invert_yaxis()
            axes.set(xlim=(min(0.0, chance.value), 1.03), xlabel=scores[chance.metric])
            axes.grid(axis="x")
        scored = ", ".join(
            f"{values[POOLINGS[0], system].value:.2f} {labels.get(system, system)}" for system in present
        )
        found[f"probe: {name}"] = Picture(
            drawing.source, f"Bars of scores: {scored}, {chance.value:.2f} by chance.", question
        )
    return found


def compression_pictures(compression: dict) -> dict[str, Picture]:
    """Token accuracy against bits per token, against noise, and where it falls without a concept."""
    ablation, whole = compression["ablation"], compression["kept"][0]["accuracy"]
    bits, noise = Drawing(), Drawing()
    with bits as axes:
        for key, label, color, mark in (
            ("kept", "fewer concepts", TRAINED, "o"),
            ("rounded", "all concepts, rounded", EVALUATED, "s"),
        ):
            points = sorted((entry["bits_per_token"], entry["accuracy"]) for entry in compression[key])
            axes.plot(*zip(*points, strict=True), color=color, marker=mark, markersize=4, label=label)
        axes.axvline(compression["token_bits"], color=MINOR, linestyle="--")
        axes.annotate(
            "a token id", (compression["token_bits"], 0.5), (3, 0), textcoords="offset points", color=MINOR,
            rotation=90, va="center",
        )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="bits per token")
    with noise as axes:
        points = [(0.0, whole), *((entry["strength"], entry["accuracy"]) for entry in compression["disturbed"])]
        axes.plot(*zip(*points, strict=True), color=TRAINED, marker="o", markersize=4, label="concepts with noise")
        axes.set(xlabel="noise, relative to the concept")
    for drawing in (bits, noise):
        with drawing as axes:
            for system, color in {"most_frequent_token": MINOR, "untrained": UNTRAINED_COLOR}.items():
                if system not in compression:
                    continue
                value, label = compression[system]["accuracy"], system.replace("_", " ")
                axes.axhline(value, color=color, linestyle=":", label=label)
            axes.set(ylabel="token accuracy", ylim=(-0.02, 1.04))
            axes.grid(axis="y")
            axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=2)
    lost = sum(ablation["drop"]) / len(ablation["drop"])
    step = max(1, len(ablation["concepts"]) // 8)
    places = list(range(0, len(ablation["concepts"]), step))
    return {
        "compression": Picture(
            bits.source,
            f"Token accuracy against bits per token, from {whole:.1%} with nothing taken away.",
            "Accuracy when fewer concepts are made (32 bits a component), and when all are made but rounded.",
        ),
        "noise": Picture(
            noise.source,
            "Token accuracy against noise on the concepts: "
            + ", ".join(f"{entry['accuracy']:.0%} at {entry['strength']:g}" for entry in compression["disturbed"]),
            "Accuracy when noise is added, as a multiple of each concept's size.",
        ),
        "ablation": Picture(
            heat_map(
                torch.tensor(ablation["drop_by_position"]), SEQUENTIAL, 0, 1, "fall of accuracy",
                xlabel="token position", ylabel="concept taken away", yticks=places,
                yticklabels=[str(ablation["concepts"][place]) for place in places],
            ),
            "Heat map of the fall of accuracy at each token position when one concept is set to zero; on average "
            f"{lost:.1%} of all tokens are lost with a concept.",
            "What is lost when one concept is set to zero. A diagonal: each concept keeps its own stretch of text.",
        ),
    }  # fmt: skip


def make_pictures(analysis, concepts: dict[str, torch.Tensor], attention: dict[str, Attention]) -> dict[str, Picture]:
    """
    The pictures of a report, by name.

    Args:
        analysis: the [`Analysis`].
        concepts, attention: `trained` and, where there is one, `untrained`, concepts being [T, C, H].
    """
    pictures = {
        **similarity_pictures(concepts["trained"]),
        "spectrum": spectrum_picture(concepts["trained"], concepts.get("untrained")),
        **attention_pictures(attention),
        **probe_pictures(analysis),
    }
    if analysis.compression is not None:
        pictures |= compression_pictures(analysis.compression)
    return pictures
