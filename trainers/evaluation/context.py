# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What a reader knows of a text by its concepts: its loss on what follows, beside the text itself, its last tokens, and
the concepts of other texts; and how well it writes the text again.

T texts, B batch, P prefix tokens, S suffix tokens, C concepts, R width of the reader.
"""

import math
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F

from modeling_concept.outputs_concept import ConceptEncoderOutput
from modeling_concept.reader_concept import ReaderInputs

from ..models.reader import make_vocabulary
from ..objectives.divergence import divergence
from .context_data import ContextData
from .plots import make_figure, save_picture, style_axes
from .results import Result


NOTHING, BEGINNING, FULL, CONCEPTS = "nothing", "the first token", "the whole prefix", "its concepts"
OTHER, CONSTANT, HALF = "concepts of another text", "mean concepts of all texts", "half concepts, half last tokens"
LAST, OPTIMISED = "as many last tokens", "vectors found for the text"
SHOWN = (CONCEPTS, LAST, HALF, OTHER, CONSTANT)  # in the picture
EARLIER = "words seen only before the last tokens"


class ContextReader:
    """
    Ways in which the reader of a model may know a prefix, each a function from prefixes [B, P] to what it reads.

    Args:
        model: a model with a reader, in eval mode.
        count: C.
    """

    def __init__(self, model, count: int):
        self.model, self.reader, self.count = model, model.reader, count
        self.vocabulary = make_vocabulary(model, model.tokenizer)

    def start(self, prefixes) -> ReaderInputs:
        """The start embedding alone."""
        return ReaderInputs(*(part[:, -1:] for part in self.concepts(prefixes)))

    def beginning(self, prefixes) -> ReaderInputs:
        """The token alone with which the reader's texts begin."""
        config = self.reader.lm.config
        token = next((i for i in (config.bos_token_id, config.eos_token_id) if isinstance(i, int)), 0)
        return self.reader.token_prompt(torch.full_like(prefixes[:, :1], token), first=prefixes.shape[1] - 1)

    def full(self, prefixes) -> ReaderInputs:
        return self.reader.token_prompt(prefixes)

    def last(self, prefixes) -> ReaderInputs:
        """The last tokens, as many as there are concepts, at their places."""
        return self.reader.token_prompt(prefixes[:, -self.count :], first=prefixes.shape[1] - self.count)

    def concepts(self, prefixes, count: int | None = None) -> ReaderInputs:
        return self.reader.prompt(self.encode(prefixes, count), continues=True)

    def encode(self, texts, count: int | None = None) -> ConceptEncoderOutput:
        """Output of the encoder for texts [B, N] in tokens of the reader."""
        inputs = self.vocabulary.for_encoder(texts, torch.ones_like(texts))
        return self.model.encoder(**inputs, concept_num=count or self.count, return_dict=True)

    def half(self, prefixes) -> ReaderInputs:
        """Half as many concepts of the older text, then the last tokens as they are."""
        recent = self.count // 2
        return self.reader.append(self.concepts(prefixes[:, :-recent], self.count - recent), prefixes[:, -recent:])

    def constant(self, mean: torch.Tensor) -> Callable[[torch.Tensor], ReaderInputs]:
        """The same concepts [C + 1, R] for all texts."""

        def read(prefixes):
            inputs = self.concepts(prefixes)
            return inputs._replace(inputs_embeds=mean.expand_as(inputs.inputs_embeds))

        return read

    def suffix_states(self, prompt: ReaderInputs, suffixes) -> torch.Tensor:
        """The reader's states [B, S, R] from which it predicts the tokens `suffixes` [B, S] after `prompt`."""
        inputs = self.reader.append(prompt, suffixes[:, :-1])
        return self.reader.states(inputs).last_hidden_state[:, prompt.inputs_embeds.shape[1] - 1 :]

    def scores(self, prompt: ReaderInputs, suffixes) -> "Scores":
        """How the reader predicts the tokens `suffixes` [B, S] after `prompt`."""
        head, losses, right = self.reader.lm.get_output_embeddings(), [], []
        for states, ids in zip(self.suffix_states(prompt, suffixes), suffixes, strict=True):
            logits = head(states).float()
            losses.append(F.cross_entropy(logits, ids, reduction="none"))
            right.append(logits.argmax(dim=-1) == ids)
        return Scores(torch.stack(losses), torch.stack(right))


class Scores(NamedTuple):
    """Negative log-likelihoods [T, S] of tokens, in nats, and whether each is the most probable one, bool [T, S]."""

    losses: torch.Tensor
    right: torch.Tensor

    def first(self, count: int) -> "Scores":
        return Scores(self.losses[:count], self.right[:count])


def join(parts: list[Scores]) -> Scores:
    return Scores(*(torch.cat(values).cpu() for values in zip(*parts, strict=True)))


@torch.no_grad()
def context_scores(model, data: ContextData, count: int, batch_size: int) -> dict[str, Scores]:
    """Scores on the suffixes by what the reader knows of the prefixes."""
    reader = ContextReader(model, count)
    device = model.device
    prefixes, suffixes = data.prefixes.to(device), data.suffixes.to(device)
    mean = torch.stack([reader.concepts(part).inputs_embeds.sum(dim=0) for part in prefixes.split(batch_size)])
    ways = {
        NOTHING: reader.start,
        BEGINNING: reader.beginning,
        FULL: reader.full,
        LAST: reader.last,
        CONCEPTS: reader.concepts,
        OTHER: reader.concepts,
        CONSTANT: reader.constant(mean.sum(dim=0) / len(prefixes)),
    }
    if count > 1:
        ways[HALF] = reader.half
    scores = {}
    for name, way in ways.items():
        # Another text is one half of the data away.
        shown = prefixes.roll(len(prefixes) // 2, dims=0) if name == OTHER else prefixes
        parts = zip(shown.split(batch_size), suffixes.split(batch_size), strict=True)
        scores[name] = join([reader.scores(way(part), written) for part, written in parts])
    # Whichever it is less surprised by, so that what is gained over it is no gain over a bad start.
    scores[NOTHING] = min(scores[NOTHING], scores.pop(BEGINNING), key=lambda found: found.losses[data.counted].mean())
    return scores


def context_results(data: ContextData, scores: dict[str, Scores], setting: str) -> list[Result]:
    """Losses, the share of the context that is kept, (nothing - way) / (nothing - whole prefix) where the whole prefix
    helps, and both for the words that were seen only before the last tokens; of answers to questions the share that is
    right to the last token."""
    results, count = [], len(data.suffixes)
    for where, chosen in (("", data.counted), (EARLIER, data.earlier & data.counted)):
        if not chosen.any():
            continue
        means = {name: float(found.losses[chosen].double().mean()) for name, found in scores.items()}
        gain = means[NOTHING] - means[FULL]
        task = f"{data.name}{', ' * bool(where)}{where}"
        for name, value in means.items():
            kept = (means[NOTHING] - value) / gain if gain > 0 else math.nan
            results.append(Result(task, setting, "loss", name, value, count=count, primary=not where))
            results.append(Result(task, setting, "context kept", name, kept, count=count, primary=False))
    if data.asks:
        for name, found in scores.items():
            share = float((found.right | ~data.counted).all(dim=1).double().mean())
            results.append(Result(data.name, setting, "answers right", name, share, count=count))
    return results


def plot_context(results: list[Result], title: str, path: Path) -> None:
    """Plot the share of the context that is kept against tokens of the prefix per concept, a panel for each task."""
    kept = [result for result in results if result.metric == "context kept"]
    tasks = list(dict.fromkeys(result.task for result in kept))
    figure, panels = make_figure(len(tasks), title, width=4.5, height=4.2)
    for axes, task in zip(panels, tasks, strict=True):
        for number, way in enumerate(SHOWN):
            points = sorted(
                (tokens_per_concept(result), 100 * result.value)
                for result in kept
                if result.task == task and result.system == way and not math.isnan(result.value)
            )
            if points:
                axes.plot(*zip(*points, strict=True), "o-", color=f"C{number}", label=way)
        axes.set(title=textwrap.fill(task, 30), xlabel="tokens of the prefix per concept", ylabel="context kept, %")
        axes.set_xscale("log", base=2)
        ticks = sorted({tokens_per_concept(result) for result in kept})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.axhline(0, color="0.7", linewidth=0.8)
        style_axes(axes, legend=False)
    labelled = panels[0].get_legend_handles_labels()
    # One legend below all panels, where it hides no line.
    figure.legend(*labelled, loc="outside lower center", ncols=2 * len(panels), frameon=False, fontsize="small")
    save_picture(figure, path)


def tokens_per_concept(result: Result) -> float:
    """From a setting such as "128 tokens as 32"."""
    tokens, count = re.fullmatch(r"(\d+) tokens as (\d+)", result.split).groups()
    return int(tokens) / int(count)


# -- the text itself


@torch.no_grad()
def round_trip(model, ids: torch.Tensor, count: int, batch_size: int, opening: int = 0) -> dict[str, float]:
    """
    How well the reader writes texts `ids` [T, N] again from `count` concepts of each, without the `opening` special
    tokens with which they begin.

    Returns:
        Shares of right tokens when each is predicted after the right ones, and when the reader goes on from its own;
        share of texts that it then writes without an error.
    """
    reader, forced, greedy = ContextReader(model, count), [], []
    length = dict.fromkeys(("min_new_tokens", "max_new_tokens"), ids.shape[1] - opening)
    for part in ids.to(model.device).split(batch_size):
        encoded, labels = reader.encode(part), part[:, opening:].contiguous()
        logits = model(labels=labels, encoder_outputs=encoded, continuation=False, return_logits=True).logits
        forced.append((logits.argmax(dim=-1) == labels).cpu())
        with model.copying():
            written = model.generate(encoder_outputs=encoded, continuation=False, **length)
        greedy.append((written == labels).cpu())
    right = torch.cat(greedy)
    return {
        "tokens right, given those before": float(torch.cat(forced).double().mean()),
        "tokens right": float(right.double().mean()),
        "texts right": float(right.all(dim=1).double().mean()),
    }


# -- the ceiling


def optimised_scores(
    model, data: ContextData, count: int, batch_size: int, steps: int = 300, rate: float = 0.02
) -> Scores:
    """
    Scores on the suffixes with vectors in place of the concepts and the start embedding that are found for each text
    by gradient descent (Adam, `steps` steps): with them the frozen reader shall predict the suffix as it does with the
    whole prefix. They start as the concepts. What the reader could do if the encoder knew how, and what follows, in
    advance.
    """
    reader, scores = ContextReader(model, count), []
    head = model.reader.lm.get_output_embeddings()
    frozen = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    model.requires_grad_(False)
    columns = (data.prefixes, data.suffixes, data.counted)
    for part in zip(*(column.to(model.device).split(batch_size) for column in columns), strict=True):
        prefixes, suffixes, counted = part
        with torch.no_grad():
            known = reader.suffix_states(reader.full(prefixes), suffixes)[counted]
            prompt = reader.concepts(prefixes)
        vectors = prompt.inputs_embeds.clone().requires_grad_(True)
        scale = vectors.detach().square().mean().sqrt()  # steps are small beside the vectors
        optimizer = torch.optim.Adam([vectors], lr=rate * float(scale))
        for _ in range(steps):
            states = reader.suffix_states(prompt._replace(inputs_embeds=vectors), suffixes)[counted]
            optimizer.zero_grad()
            (divergence(head, states, known) / len(prefixes)).backward()
            optimizer.step()
        with torch.no_grad():
            scores.append(reader.scores(prompt._replace(inputs_embeds=vectors), suffixes))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(frozen[name])
    return join(scores)
