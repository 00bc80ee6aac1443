# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What concepts attend to: cross-attention by token position, and the tokens that get more of it than others in their
place.

T texts, N tokens, L layers (iterations of a recursive encoder), C concepts, V vocabulary.
"""

import re
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from .sample import Sample, batches


# Attention, as a share of a concept's, by which the lift of rare tokens is drawn towards 1.
PRIOR = 0.002

# Tokens to each side of an example.
CONTEXT = 7


@dataclass(frozen=True)
class Attention:
    """
    Cross-attention over texts of one length, averaged over heads.

    Args:
        maps: [L, C, N], mean over texts of the weight at each position; rows sum to 1.
        weights: [T, C, N], mean over layers, each text's own.
        entropy: [L], mean entropy of a concept's weights, nats; at most ln N.
        special_share: [L], share of the weights on special tokens.
        places: [C], where each concept stands, in tokens: its address, or the centre of what it attends to.
        addressed: whether `places` are addresses.
    """

    maps: torch.Tensor
    weights: torch.Tensor
    entropy: torch.Tensor
    special_share: torch.Tensor
    places: torch.Tensor
    addressed: bool

    def distance(self) -> torch.Tensor:
        """Mean distance in tokens between a concept's place and what it attends to, [L, C]."""
        return (self.maps * self.gaps()).sum(dim=-1)

    def uniform_distance(self) -> torch.Tensor:
        """The same for concepts that attend to all tokens alike, [C]."""
        return self.gaps().mean(dim=-1)

    def gaps(self) -> torch.Tensor:
        """Distance in tokens from each concept's place to each position, [C, N]."""
        return (torch.arange(self.maps.shape[-1]) - self.places[:, None]).abs()

    def summary(self) -> dict[str, list[float] | float]:
        """Numbers for a report, one a layer where they are lists."""
        return {
            "entropy": self.entropy.tolist(),
            "tokens_attended": self.entropy.exp().tolist(),
            "distance": self.distance().mean(dim=1).tolist(),
            "uniform_distance": float(self.uniform_distance().mean()),
            "special_share": self.special_share.tolist(),
            "addressed": self.addressed,
        }


@contextmanager
def eager_attention(encoder):
    """Within, attention is computed in the way that keeps its weights."""
    before = encoder.config._attn_implementation
    encoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        encoder.set_attn_implementation(before)


def read_attention(model, sample: Sample, batch_size: int, description: str) -> Attention:
    """Cross-attention of the encoder of `model` over the texts of `sample`."""
    encoder, special = model.base_model, sample.vocabulary.special
    maps = entropy = share = 0
    weights = []
    with eager_attention(encoder), encoder.reading():
        for batch in batches(sample.tokenizer, sample.ids, batch_size, description):
            inputs = {name: value.to(model.device) for name, value in batch.items()}
            output = encoder(**inputs, output_attentions=True)
            # [L, B, C, N] over the heads' mean; entropies are each head's own.
            layers = torch.stack([layer.float().mean(dim=1).cpu() for layer in output.cross_attentions])
            entropy = entropy + torch.stack(
                [torch.special.entr(layer.float()).sum(dim=-1).mean(dim=(1, 2)).sum().cpu()
                 for layer in output.cross_attentions]
            )  # fmt: skip
            maps = maps + layers.sum(dim=1)
            share = share + (layers * special[batch["input_ids"]][None, :, None]).sum(dim=-1).mean(dim=2).sum(dim=1)
            weights.append(layers.mean(dim=0))
    count = len(sample.ids)
    maps = maps / count
    addresses = output.concept_positions
    if addresses is not None:
        places = addresses[0].float().cpu()
    else:
        places = (maps.mean(dim=0) * torch.arange(maps.shape[-1])).sum(dim=-1)
    return Attention(maps, torch.cat(weights), entropy / count, share / count, places, addresses is not None)


@dataclass(frozen=True)
class TokenUse:
    """
    A token in the attention of a concept.

    Args:
        token: as text.
        lift: attention that it gets, over what tokens in the same places get.
        share: of all the attention of the concept.
        count: how often it stands in the texts.
        before, after: text around the occurrence that got most attention.
    """

    token: str
    lift: float
    share: float
    count: int
    before: str
    after: str


def token_profiles(attention: Attention, sample: Sample, top: int = 6) -> dict[str, list]:
    """
    Tokens that attention prefers.

    A concept that stands somewhere attends to whatever token stands there; what it prefers is told by its attention
    to a token over the mean attention to the same positions, summed over the token's occurrences, both with a prior
    that draws rare tokens towards 1. Special tokens are left out.

    Returns:
        concepts: for each of the C concepts its `top` tokens, as [`TokenUse`].
        all: `top` tokens of all concepts together. ignored: those with least attention.
    """
    ids, weights = sample.ids, attention.weights
    expected = weights.mean(dim=0, keepdim=True).expand_as(weights)
    size, flat = sample.vocabulary.size, ids.flatten()
    counts = torch.bincount(flat, minlength=size)

    def by_token(values):  # [T, C, N] -> [C, V]
        sums = values.new_zeros(values.shape[1], size)
        return sums.index_add_(1, flat, values.transpose(0, 1).flatten(1))

    got, due = by_token(weights), by_token(expected)
    shown = ((counts > 0) & ~sample.vocabulary.special).nonzero().flatten()

    def uses(got, due, by_text, prior, total, best_first=True):
        lift = (got + prior) / (due + prior)
        order = shown[lift[shown].argsort(descending=best_first)][:top].tolist()
        return [describe(token, float(lift[token]), float(got[token]) / total, by_text) for token in order]

    def describe(token, lift, share, by_text):
        places = (ids == token).nonzero()
        best = places[by_text[tuple(places.T)].argmax()].tolist()
        text, position = ids[best[0]].tolist(), best[1]
        parts = [text[max(0, position - CONTEXT) : position], [token], text[position + 1 : position + 1 + CONTEXT]]
        before, word, after = (
            re.sub(r"\s+", " ", sample.tokenizer.decode(part, skip_special_tokens=True)) for part in parts
        )
        if word.startswith(" "):
            before, word = before + " ", word.strip()
        return TokenUse(word or "␣", lift, share, int(counts[token]), before, after)

    count = weights.shape[1]
    prior, total = PRIOR * len(ids), len(ids)
    together = (got.sum(dim=0), due.sum(dim=0), weights.sum(dim=1), count * prior, count * total)
    return {
        "concepts": [uses(got[c], due[c], weights[:, c], prior, total) for c in range(count)],
        "all": uses(*together),
        "ignored": uses(*together, best_first=False),
    }
