# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Reconstruction from fewer concepts, and without single concepts.

T texts, N tokens, C concepts.
"""

from contextlib import contextmanager

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
def without_concepts(model, index: int | slice):
    """Within, the decoder of `model` gets zeros instead of these concepts."""

    def replace(module, arguments, output):
        concepts = output.last_hidden_state.clone()
        concepts[:, index] = 0
        return type(output)(**{**output, "last_hidden_state": concepts})

    handle = model.encoder.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def correct_tokens(model, ids: torch.Tensor, batch_size: int, without: int | slice = slice(0)) -> torch.Tensor:
    """Whether each token of `ids` [T, N], without padding, is reconstructed when the concepts `without` are zero, bool
    [T, N]; by default with all concepts."""
    with without_concepts(model, without):
        batches = id_batches(model, ids.tolist(), batch_size)
        return torch.cat([(model.reconstruct_ids(**batch) == batch["input_ids"]).cpu() for batch in batches])


def kept_counts(concept_num: int) -> list[int]:
    """Numbers of concepts at which reconstruction is measured, in descending order from C."""
    return sorted({max(1, round(share * concept_num)) for share in KEPT}, reverse=True)


def reconstruct_sample(model, sample: Sample, batch_size: int, **options) -> dict[str, float]:
    """`accuracy` (share of tokens) and `exact` (share of texts) of reconstructing the texts; `options` of
    `reconstruct_ids`."""
    batches = id_batches(model, sample.ids.tolist(), batch_size)
    found = reconstruction_metrics(model, batches, model.tokenizer.all_special_ids, **options)
    return {"accuracy": found["reconstruction_accuracy"], "exact": found["exact_match"]}


def measure_compression(networks: dict, sample: Sample, batch_size: int) -> dict:
    """
    Reconstruction under compression into fewer concepts.

    Args:
        networks: `trained` and possibly `untrained`, with a decoder of the text.
        sample: the texts.
        batch_size: texts at a time.

    Returns:
        Of each network, and of `most_frequent_token`, `accuracy` (share of tokens) and `exact` (share of texts).
        kept: the same on 128 of the texts by number of `concepts`.
        drop_one: as in [`drop_one`], for 32 of the concepts.
    """
    model, few = networks["trained"], sample.take(KEPT_TEXTS)
    count = model.config.concept_num
    tokens = sample.ids[~sample.vocabulary.special[sample.ids]]
    return {
        **{key: reconstruct_sample(network, sample, batch_size) for key, network in networks.items()},
        "most_frequent_token": {"accuracy": float(tokens.bincount().max() / len(tokens)), "exact": 0.0},
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
    intact, tokens = correct_tokens(model, few.ids, batch_size) * counted, counted.sum(dim=0)
    drops = []
    for index in tqdm(concepts, desc="drop one concept", leave=False):
        drops.append((intact - correct_tokens(model, few.ids, batch_size, index) * counted).sum(dim=0))
    return {
        "concepts": concepts,
        "texts": len(few.ids),
        "drop": [float(drop.sum() / tokens.sum()) for drop in drops],
        "drop_by_position": [(drop / tokens.clamp(min=1)).tolist() for drop in drops],
    }
