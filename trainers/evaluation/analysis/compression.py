# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Reconstruction from fewer concepts, and without single concepts.

B texts of a batch, T texts, N tokens, C concepts, H hidden.
"""

from collections.abc import Callable
from contextlib import contextmanager
from functools import partial

import torch
from tqdm.auto import tqdm

from ..encoding import id_batches
from ..metrics import reconstruction_metrics
from .sample import Sample, evenly_spaced


KEPT = (1, 3 / 4, 1 / 2, 1 / 4, 1 / 8)

# Texts for fewer concepts, and at most so many texts and concepts of `drop_one`, which reconstructs all of its texts
# once per concept.
KEPT_TEXTS, DROP_ONE_TEXTS, DROP_ONE_CONCEPTS = 128, 32, 32


@contextmanager
def edited_concepts(model, edit: Callable[[torch.Tensor], torch.Tensor]):
    """Within, the decoder of `model` gets `edit(concepts)` instead of the concepts [B, C, H]."""

    def replace(module, arguments, output):
        return type(output)(**{**output, "last_hidden_state": edit(output.last_hidden_state)})

    handle = model.encoder.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def without(concepts: torch.Tensor, index: int) -> torch.Tensor:
    """Concepts of which one is set to zero."""
    concepts = concepts.clone()
    concepts[:, index] = 0
    return concepts


def kept_counts(concept_num: int) -> list[int]:
    """Numbers of concepts at which reconstruction is measured, in descending order from C."""
    return sorted({max(1, round(share * concept_num)) for share in KEPT}, reverse=True)


def reconstruct_sample(model, sample: Sample, batch_size: int, **options) -> dict[str, float]:
    """`accuracy` (share of tokens) and `exact` (share of texts) of reconstructing the texts; `options` of
    `reconstruct_ids`."""
    batches = id_batches(model, sample.ids.tolist(), batch_size)
    found = reconstruction_metrics(model, batches, sample.tokenizer.all_special_ids, **options)
    return {"accuracy": found["reconstruction_accuracy"], "exact": found["exact_match"]}


def measure_compression(model, untrained, sample: Sample, batch_size: int) -> dict:
    """
    Reconstruction under compression into fewer concepts.

    Args:
        model, untrained: with a decoder of the text; `untrained` may be None.
        sample: the texts.
        batch_size: texts at a time.

    Returns:
        trained, untrained (if there is one), most_frequent_token: `accuracy` (share of tokens) and `exact` (share of
            texts).
        kept: the same on 128 of the texts by number of `concepts`.
        drop_one: as in [`drop_one`], for 32 of the concepts.
    """
    few, count = sample.take(KEPT_TEXTS), model.config.concept_num
    networks = {"trained": model} | ({} if untrained is None else {"untrained": untrained})
    return {
        **{key: reconstruct_sample(network, sample, batch_size) for key, network in networks.items()},
        "most_frequent_token": {"accuracy": most_frequent_share(sample), "exact": 0.0},
        "kept": [
            {"concepts": kept, **reconstruct_sample(model, few, batch_size, concept_num=kept)}
            for kept in tqdm(kept_counts(count), desc="fewer concepts", leave=False)
        ],
        "drop_one": drop_one(model, sample, evenly_spaced(count, DROP_ONE_CONCEPTS).tolist(), batch_size),
    }


def drop_one(model, sample: Sample, concepts: list[int], batch_size: int) -> dict:
    """
    Loss of accuracy when one concept is set to zero.

    Args:
        concepts: indices of concepts, each of which is dropped in turn.

    Returns:
        `concepts`; number of `texts`, at most `DROP_ONE_TEXTS` of the sample; `drop_by_position` [C, N], fall of the
        share of correct tokens at each position; `drop` [C], over all positions.
    """
    few = sample.take(DROP_ONE_TEXTS)
    counted = (~few.vocabulary.special[few.ids]).float()

    def correct():
        batches = id_batches(model, few.ids.tolist(), batch_size)
        return torch.cat([(model.reconstruct_ids(**batch) == batch["input_ids"]).cpu() for batch in batches]) * counted

    intact, drops, texts = correct(), [], counted.sum(dim=0)
    for index in tqdm(concepts, desc="drop one concept", leave=False):
        with edited_concepts(model, partial(without, index=index)):
            drops.append((intact - correct()).sum(dim=0))
    return {
        "concepts": concepts,
        "texts": len(few.ids),
        "drop": [float(drop.sum() / texts.sum()) for drop in drops],
        "drop_by_position": [(drop / texts.clamp(min=1)).tolist() for drop in drops],
    }


def most_frequent_share(sample: Sample) -> float:
    """Share of the most frequent token among all tokens that are not special."""
    counts = torch.bincount(sample.ids.flatten(), minlength=sample.vocabulary.size)
    counts[sample.vocabulary.special] = 0
    return float(counts.max() / counts.sum())
