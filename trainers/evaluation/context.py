# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What a reader knows of a text by its concepts: its loss on what follows, beside the text itself, its last tokens, and
the concepts of other texts; and how well it writes the text again.

T texts, B batch, P prefix tokens, S suffix tokens, C concepts, R width of the reader.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from datasets import Dataset

from modeling_concept.reader_concept import ReaderInputs

from .plots import make_figure, save_picture, style_axes
from .results import Result


NOTHING, BEGINNING, FULL, CONCEPTS = "nothing", "the first token", "the whole prefix", "its concepts"
OTHER, CONSTANT, HALF = "concepts of another text", "mean concepts of all texts", "half concepts, half last tokens"
LAST, OPTIMISED = "its last", "vectors found for the text"
SHOWN = (CONCEPTS, LAST, HALF, OTHER, CONSTANT)  # in the picture
EARLIER = "words seen only before the last tokens"


@dataclass
class ContextData:
    """
    Texts that are cut in two, in tokens of the reader.

    Args:
        name: of the data.
        prefixes: [T, P]; suffixes: [T, S].
        earlier: bool [T, S], True at tokens of words that occur in the prefix, but not in its last C tokens.
    """

    name: str
    prefixes: torch.Tensor
    suffixes: torch.Tensor
    earlier: torch.Tensor

    def first(self, count: int) -> "ContextData":
        """The first `count` texts."""
        return ContextData(
            f"{self.name}, the first {count:,}", self.prefixes[:count], self.suffixes[:count], self.earlier[:count]
        )


def make_context_data(
    name: str, texts: Dataset, column: str, tokenizer, prefix: int, suffix: int, count: int, last: int
) -> ContextData:
    """
    `count` pieces of `prefix` and `suffix` tokens, one of each document, from documents and places that are spread
    evenly; of fewer documents several pieces each.

    Args:
        last: number of the last tokens of the prefix in which a word of `earlier` must not occur.

    Raises:
        ValueError: the texts hold fewer than two such pieces.
    """
    length, pieces = prefix + suffix, []
    rounds = -(-count // max(len(texts), 1))
    places = sorted({round(i) for i in torch.linspace(0, len(texts) - 1, min(len(texts), 4 * count)).tolist()})
    for place in places:
        ids = tokenizer(texts[place][column], add_special_tokens=False)["input_ids"]
        fits = len(ids) // length
        for part in range(min(fits, rounds)):
            start = part * (len(ids) // min(fits, rounds)) if fits > 1 else 0
            pieces.append(ids[start : start + length])
    if len(pieces) < 2:
        raise ValueError(
            f"{name} has fewer than two pieces of {length} tokens; give longer texts, or shorter lengths."
        )
    chosen = sorted({round(i) for i in torch.linspace(0, len(pieces) - 1, min(count, len(pieces))).tolist()})
    ids = torch.tensor([pieces[place] for place in chosen])
    earlier = torch.tensor([earlier_tokens(row, tokenizer, prefix, last) for row in ids.tolist()])
    return ContextData(name, ids[:, :prefix], ids[:, prefix:], earlier)


def earlier_tokens(ids: list[int], tokenizer, prefix: int, last: int) -> list[bool]:
    """For each token after the first `prefix` of `ids` whether it belongs to a word that occurs among those, but not
    among their last `last` ones."""
    before, recent = (
        set(re.findall(r"\w+", tokenizer.decode(part).lower())) for part in (ids[:prefix], ids[prefix - last : prefix])
    )
    parts = [tokenizer.decode([token]) for token in ids[prefix:]]
    text, flags = "".join(parts), [False] * len(parts)
    owner = [number for number, part in enumerate(parts) for _ in part]
    for word in re.finditer(r"\w+", text):
        if word[0].lower() in before - recent:
            for place in range(*word.span()):
                flags[owner[place]] = True
    return flags


class ContextReader:
    """
    Ways in which the reader of a model may know a prefix, each a function from prefixes [B, P] to what it reads.

    Args:
        model: a model with a reader that shares the tokenizer, in eval mode.
        count: C.
    """

    def __init__(self, model, count: int):
        self.model, self.reader, self.count = model, model.reader, count

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
        encoded = self.model.encoder(prefixes, concept_num=count or self.count, return_dict=True)
        return self.reader.prompt(encoded, continues=True)

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

    def suffix_losses(self, prompt: ReaderInputs, suffixes) -> torch.Tensor:
        """Negative log-likelihoods [B, S], in nats, of the tokens `suffixes` [B, S] after `prompt`."""
        head = self.reader.lm.get_output_embeddings()
        rows = zip(self.suffix_states(prompt, suffixes), suffixes, strict=True)
        return torch.stack([F.cross_entropy(head(row).float(), ids, reduction="none") for row, ids in rows])


@torch.no_grad()
def context_losses(model, data: ContextData, count: int, batch_size: int) -> dict[str, torch.Tensor]:
    """Losses [T, S] on the suffixes by what the reader knows of the prefixes."""
    reader = ContextReader(model, count)
    device = model.device
    prefixes, suffixes = data.prefixes.to(device), data.suffixes.to(device)
    mean = torch.stack([reader.concepts(part).inputs_embeds.sum(dim=0) for part in prefixes.split(batch_size)])
    ways = {
        NOTHING: reader.start,
        BEGINNING: reader.beginning,
        FULL: reader.full,
        last_tokens(count): reader.last,
        CONCEPTS: reader.concepts,
        OTHER: reader.concepts,
        CONSTANT: reader.constant(mean.sum(dim=0) / len(prefixes)),
    }
    if count > 1:
        ways[HALF] = reader.half
    losses = {}
    for name, way in ways.items():
        # Another text is one half of the data away.
        shown = prefixes.roll(len(prefixes) // 2, dims=0) if name == OTHER else prefixes
        parts = zip(shown.split(batch_size), suffixes.split(batch_size), strict=True)
        losses[name] = torch.cat([reader.suffix_losses(way(part), written) for part, written in parts]).cpu()
    # Whichever it is less surprised by, so that what is gained over it is no gain over a bad start.
    losses[NOTHING] = min(losses[NOTHING], losses.pop(BEGINNING), key=torch.mean)
    return losses


def last_tokens(count: int) -> str:
    return f"{LAST} {count} tokens"


def context_results(data: ContextData, losses: dict[str, torch.Tensor], setting: str) -> list[Result]:
    """Losses, the share of the context that is kept, (nothing - way) / (nothing - whole prefix) where the whole prefix
    helps, and both for the words that were seen only before the last tokens."""
    results, count = [], len(data.suffixes)
    for where, chosen in (("", torch.ones_like(data.earlier)), (EARLIER, data.earlier)):
        if not chosen.any():
            continue
        means = {name: float(values[chosen].double().mean()) for name, values in losses.items()}
        gain = means[NOTHING] - means[FULL]
        task = f"{data.name}{', ' * bool(where)}{where}"
        for name, value in means.items():
            kept = (means[NOTHING] - value) / gain if gain > 0 else math.nan
            results.append(Result(task, setting, "loss", name, value, count=count, primary=not where))
            results.append(Result(task, setting, "context kept", name, kept, count=count, primary=False))
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
                if result.task == task
                and not math.isnan(result.value)
                and (result.system == way or (way == LAST and result.system.startswith(LAST)))
            )
            if points:
                axes.plot(*zip(*points, strict=True), "o-", color=f"C{number}", label=way)
        axes.set(title=task, xlabel="tokens of the prefix per concept", ylabel="context kept, %")
        axes.set_xscale("log", base=2)
        ticks = sorted({tokens_per_concept(result) for result in kept})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.axhline(0, color="0.7", linewidth=0.8)
        style_axes(axes)
    save_picture(figure, path)


def tokens_per_concept(result: Result) -> float:
    """From a setting such as "128 tokens as 32"."""
    tokens, count = re.fullmatch(r"(\d+) tokens as (\d+)", result.split).groups()
    return int(tokens) / int(count)


# -- the text itself


@torch.no_grad()
def round_trip(model, ids: torch.Tensor, count: int, batch_size: int) -> dict[str, float]:
    """
    How well the reader writes texts `ids` [T, N] again from `count` concepts of each.

    Returns:
        Shares of right tokens when each is predicted after the right ones, and when the reader goes on from its own;
        share of texts that it then writes without an error.
    """
    forced, greedy = [], []
    for part in ids.to(model.device).split(batch_size):
        encoded = model.encoder(part, concept_num=count, return_dict=True)
        logits = model(labels=part, encoder_outputs=encoded, continuation=False, return_logits=True).logits
        forced.append((logits.argmax(dim=-1) == part).cpu())
        greedy.append((model.write_again(part, concept_num=count) == part).cpu())
    right = torch.cat(greedy)
    return {
        "tokens right, given those before": float(torch.cat(forced).double().mean()),
        "tokens right": float(right.double().mean()),
        "texts right": float(right.all(dim=1).double().mean()),
    }


# -- the ceiling


def optimised_losses(
    model, data: ContextData, count: int, batch_size: int, steps: int = 300, rate: float = 0.02
) -> torch.Tensor:
    """
    Losses [T, S] on the suffixes with vectors in place of the concepts that are found for each text by gradient
    descent (Adam, `steps` steps): with them the frozen reader shall predict the suffix as it does with the whole
    prefix. They start as the concepts. What the reader could do if the encoder knew how, and what follows, in advance.
    """
    reader, losses = ContextReader(model, count), []
    head = model.reader.lm.get_output_embeddings()
    frozen = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    model.requires_grad_(False)
    for prefixes, suffixes in zip(data.prefixes.split(batch_size), data.suffixes.split(batch_size), strict=True):
        prefixes, suffixes = prefixes.to(model.device), suffixes.to(model.device)
        with torch.no_grad():
            targets = F.log_softmax(head(reader.suffix_states(reader.full(prefixes), suffixes)).float(), dim=-1)
            prompt = reader.concepts(prefixes)
        vectors = prompt.inputs_embeds.clone().requires_grad_(True)
        scale = vectors.detach().square().mean().sqrt()  # steps are small beside the vectors
        optimizer = torch.optim.Adam([vectors], lr=rate * float(scale))
        for _ in range(steps):
            states = reader.suffix_states(prompt._replace(inputs_embeds=vectors), suffixes)
            found = F.log_softmax(head(states).float(), dim=-1)
            optimizer.zero_grad()
            F.kl_div(found, targets, reduction="batchmean", log_target=True).backward()
            optimizer.step()
        with torch.no_grad():
            losses.append(reader.suffix_losses(prompt._replace(inputs_embeds=vectors), suffixes).cpu())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(frozen[name])
    return torch.cat(losses)
