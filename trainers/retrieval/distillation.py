# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
MaxSim of all token vectors, learned for C concepts without labels.

Q queries of T tokens in sum, D documents of N tokens, C concepts, E width of vectors.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from .concept_pooling import ConceptPooling
from .retriever import ConceptRetriever


class MaxSimDistillationLoss(nn.Module):
    """
    The concepts of a step's documents are to give the queries the scores that all token vectors give: the
    Kullback-Leibler divergence between the softmaxes over documents of a query's mean MaxSim. The teacher are the
    retriever's own token vectors, before its pooling, without gradient.

    Args:
        model: the retriever.
        temperature: of both softmaxes.
    """

    def __init__(self, model: ConceptRetriever, temperature: float):
        super().__init__()
        self.model, self.temperature = model, temperature

    def forward(self, sentence_features, labels=None) -> torch.Tensor:
        """`sentence_features` are those of Q queries, and of columns of documents; each query is scored with all
        documents. `labels` are not read."""
        queries = self.model(dict(sentence_features[0]), task="query")
        asked = queries["attention_mask"].bool()
        tokens, owner = queries["token_embeddings"].float()[asked], torch.nonzero(asked)[:, 0]
        given, wanted = [], []
        for features in sentence_features[1:]:
            found = self.model(dict(features), task="document")
            given.append(best_match(tokens, found["token_embeddings"], found["attention_mask"]))
            with torch.no_grad():
                wanted.append(best_match(tokens, found["all_token_embeddings"], found["all_attention_mask"]))
        scores = (mean_by_owner(torch.cat(parts, dim=1), owner, len(asked)) for parts in (given, wanted))
        given, wanted = (F.log_softmax(part / self.temperature, dim=1) for part in scores)
        return F.kl_div(given, wanted, log_target=True, reduction="batchmean")


class NestedBudgets(nn.Module):
    """
    A loss for one model of several numbers of concepts, of which each step draws one (Matryoshka: Kusupati et al.
    2022).

    Args:
        loss: of sentence-transformers' form.
        pooling: of the model that the loss trains.
        num_vectors: numbers of concepts.
    """

    def __init__(self, loss: nn.Module, pooling: ConceptPooling, num_vectors: list[int]):
        super().__init__()
        self.loss, self.num_vectors = loss, num_vectors
        self._pooling = (pooling,)  # in a tuple, since the parameters are those of the model

    def forward(self, sentence_features, labels=None) -> torch.Tensor:
        # It stays until the next step, since losses that cache gradients encode again in the backward pass.
        self._pooling[0].drawn_vectors = self.num_vectors[int(torch.randint(len(self.num_vectors), ()))]
        return self.loss(sentence_features, labels)


def best_match(tokens: torch.Tensor, vectors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The largest dot product [T, D] of query tokens [T, E] with the vectors [D, C, E] of each document."""
    with torch.autocast(tokens.device.type, enabled=False):  # differences of scores are small
        products = torch.einsum("te,dce->tdc", tokens, vectors.float())
    return products.masked_fill(~mask, float("-inf")).amax(dim=-1)


def mean_by_owner(values: torch.Tensor, owner: torch.Tensor, count: int) -> torch.Tensor:
    """Means [Q, D] over the tokens of each query of values [T, D]; `owner` [T] is the query of a token."""
    sums = values.new_zeros(count, values.shape[1]).index_add(0, owner, values)
    return sums / torch.bincount(owner, minlength=count).clamp(min=1)[:, None]
