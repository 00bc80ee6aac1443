# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
How much text comes back from concepts that were made fewer, taken away, rounded or disturbed.

B texts of a batch, T texts, N tokens, C concepts, H hidden.
"""

import math
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import torch
from tqdm.auto import tqdm

from ..metrics import reconstruction_metrics
from .sample import Sample, spread


BITS = (8, 6, 4, 3, 2)
NOISE = (0.1, 0.2, 0.5, 1.0)
KEPT = (1, 3 / 4, 1 / 2, 1 / 4, 1 / 8)

# Texts that the curves are measured on, and texts and concepts, at most, of the ablation, which reads every text once
# a concept.
CURVE_TEXTS, ABLATION_TEXTS, ABLATED = 128, 32, 32

# Bits that hold the scale of a rounded concept.
SCALE_BITS = 16


def can_reconstruct(model) -> bool:
    """Whether the model has a decoder of the text that was encoded and, where that is shown one, a mask token."""
    if getattr(model, "lm_head", None) is None or model.config.decoder_target == "continuation":
        return False
    return not model.decoder.reads_tokens or model.config.mask_token_id is not None


@contextmanager
def edited_concepts(model, edit: Callable[[torch.Tensor], torch.Tensor]):
    """Within, all that reads the concepts [B, C, H] of `model` gets `edit(concepts)` instead."""

    def replace(module, arguments, output):
        return type(output)(**{**output, "last_hidden_state": edit(output.last_hidden_state)})

    handle = model.encoder.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def rounded(concepts: torch.Tensor, bits: int) -> torch.Tensor:
    """Each concept rounded to `bits` bits a component, on an even symmetric grid up to its largest component."""
    levels = 2 ** (bits - 1) - 1
    scale = concepts.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12) / levels
    return (concepts / scale).round() * scale


def disturbed(concepts: torch.Tensor, strength: float, seed: int = 0) -> torch.Tensor:
    """Concepts with Gaussian noise, `strength` times as long as each concept on average."""
    generator = torch.Generator(concepts.device).manual_seed(seed)
    noise = torch.randn(concepts.shape, generator=generator, device=concepts.device, dtype=concepts.dtype)
    return concepts + strength * noise * concepts.square().mean(dim=-1, keepdim=True).sqrt()


def without(concepts: torch.Tensor, index: int) -> torch.Tensor:
    """Concepts of which one is zero."""
    concepts = concepts.clone()
    concepts[:, index] = 0
    return concepts


def kept_counts(concept_num: int) -> list[int]:
    """Numbers of concepts at which reading is measured, all of them first."""
    return sorted({max(1, round(share * concept_num)) for share in KEPT}, reverse=True)


def read_back(model, sample: Sample, batch_size: int, **options) -> dict[str, float]:
    """`accuracy` (share of tokens) and `exact` (share of texts) of reading the texts from their concepts; `options`
    of `reconstruct_ids`."""
    asked = SimpleNamespace(device=model.device, reconstruct_ids=partial(model.reconstruct_ids, **options))
    parts = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in sample.ids.split(batch_size)]
    found = reconstruction_metrics(asked, parts, sample.tokenizer.all_special_ids)
    return {"accuracy": found["reconstruction_accuracy"], "exact": found["exact_match"]}


def measure_compression(model, untrained, sample: Sample, batch_size: int) -> dict:
    """
    Reconstruction under compression.

    Args:
        model, untrained: with a decoder of the text; `untrained` may be None.
        sample: the texts.
        batch_size: texts at a time.

    Returns:
        trained, untrained (where there is one), most_frequent_token: `accuracy` (share of tokens) and `exact` (share
            of texts).
        kept: the same, on 128 of the texts as the others below, by number of concepts made (`concepts`). rounded: by
            `bits` a component. disturbed: by `strength` of noise. The first two with `bits_per_token`; concepts that
            are not rounded count 32 bits a component.
        token_bits: log2 of the vocabulary, which names a token without any model.
        ablation: on 32 of the texts, `concepts` taken away one by one, the fall of accuracy at each position
            (`drop_by_position`, [C, N]) and over all (`drop`).

    Raises:
        ValueError: the model has no decoder of the text.
    """
    if not can_reconstruct(model):
        raise ValueError(f"{type(model).__name__} has no decoder of the text that is encoded.")
    config, length = model.config, sample.ids.shape[1]
    counts = kept_counts(config.concept_num)
    chosen = spread(config.concept_num, ABLATED).tolist()
    few = sample.take(CURVE_TEXTS)
    progress = tqdm(total=len(counts) + len(BITS) + len(NOISE) + len(chosen) + 3, desc="compression", leave=False)

    def read(reader, texts=few, **options):
        found = read_back(reader, texts, batch_size, **options)
        progress.update()
        return found

    def read_edited(edit):
        with edited_concepts(model, edit):
            return read(model)

    def bits_per_token(concepts, bits):
        return concepts * (config.hidden_size * bits + (SCALE_BITS if bits in BITS else 0)) / length

    result = {
        "trained": read(model, sample),
        **({} if untrained is None else {"untrained": read(untrained, sample)}),
        "most_frequent_token": {"accuracy": most_frequent_share(sample), "exact": 0.0},
        "token_bits": math.log2(config.vocab_size),
        "kept": [
            {"concepts": count, "bits_per_token": bits_per_token(count, 32), **read(model, concept_num=count)}
            for count in counts
        ],
        "rounded": [
            {"bits": bits, "bits_per_token": bits_per_token(config.concept_num, bits),
             **read_edited(partial(rounded, bits=bits))}
            for bits in BITS
        ],
        "disturbed": [
            {"strength": strength, **read_edited(partial(disturbed, strength=strength))} for strength in NOISE
        ],
        "ablation": ablation(model, sample, chosen, batch_size, progress),
    }  # fmt: skip
    progress.close()
    return result


def ablation(model, sample: Sample, chosen: list[int], batch_size: int, progress=None) -> dict:
    """The fall of accuracy at each position when one of the concepts `chosen` is zero: `drop_by_position` [C, N], over
    the texts, and `drop` [C] over all positions, on so many `texts` of the sample, `ABLATION_TEXTS` at most."""
    few = sample.take(ABLATION_TEXTS)
    counted = (~few.vocabulary.special[few.ids]).float()

    def hits():
        found = [
            (model.reconstruct_ids(ids, torch.ones_like(ids)) == ids).cpu()
            for ids in few.ids.to(model.device).split(batch_size)
        ]
        if progress is not None:
            progress.update()
        return torch.cat(found) * counted

    whole, drops = hits(), []
    for index in chosen:
        with edited_concepts(model, partial(without, index=index)):
            drops.append(whole - hits())
    texts = counted.sum(dim=0)
    return {
        "concepts": chosen,
        "texts": len(few.ids),
        "drop": [float(drop.sum() / texts.sum()) for drop in drops],
        "drop_by_position": [(drop.sum(dim=0) / texts.clamp(min=1)).tolist() for drop in drops],
    }


def most_frequent_share(sample: Sample) -> float:
    """Share of the tokens, special ones aside, that are the commonest one."""
    counts = torch.bincount(sample.ids.flatten(), minlength=sample.vocabulary.size)
    counts[sample.vocabulary.special] = 0
    return float(counts.max() / counts.sum())
