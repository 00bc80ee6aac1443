# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Tokens that stand for the vocabulary in the softmax of a training step (sampled softmax, Bengio & Senécal 2008; Jean et
al. 2015).

V vocabulary, K sampled tokens.
"""

import torch

from modeling_concept.loss_concept import SampledVocabulary

from .noise import mix, uniform


SAMPLE_KEY = 3  # keeps its random numbers apart from those of a step's noise and depth


def sample_vocabulary(labels: torch.Tensor, count: int, key: torch.Tensor) -> SampledVocabulary | None:
    """
    The labels of a step, each counted once, and `count` other tokens, which count for all others: the normaliser is
    an unbiased estimate, and each label competes with the other labels of the step.

    Args:
        labels: bool [V], the tokens that are labels in the step, over all its batches and processes.
        count: number of other tokens; 0 for the whole vocabulary.
        key: int64 scalar, which chooses them.

    Returns:
        K = labels + `count` tokens; None where these would be all.
    """
    others = len(labels) - int(labels.sum())
    if not 0 < count < others:
        return None
    order = uniform(mix(key + torch.arange(len(labels), device=labels.device))).masked_fill(labels, 2)
    weights = labels.float()
    weights[order.topk(count, largest=False).indices] = others / count
    ids = weights.nonzero().squeeze(1)
    return SampledVocabulary(ids, weights[ids])
