# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Concepts of a document as a search index: C vectors that give the MaxSim scores which all of its N token vectors give.
This file imports nothing of the package, since it travels with saved models.

B documents, N tokens of a document, C concepts, E width of vectors.
"""

import shutil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling


# Rounds of spherical k-means after Ward's clustering. Assignments hardly change after these.
ROUNDS = 3


class ConceptPooling(BaseTokenPooling):
    """
    C concepts of a document's token vectors, for the last place in a [`MultiVectorEncoder`], whose queries keep all of
    their token vectors.

    Tokens are assigned to concepts by Ward's clustering and then by rounds of spherical k-means (Dhillon & Modha
    2001); a concept is the mean of its tokens, scaled to length 1. A document of fewer than C tokens keeps one vector
    a token, and a concept without tokens is left out.

    Args:
        num_vectors: C, unless a call gives another one.
        tokens_per_concept: N / C instead of a fixed C, so that a long text has more concepts.
        tasks: as in [`BaseTokenPooling`].

    Raises:
        ValueError: C or N / C is below 1, or a call gives both.
    """

    config_keys = ["num_vectors", "tokens_per_concept", "tasks"]
    forward_kwargs = {"task", "num_vectors", "tokens_per_concept"}

    def __init__(self, num_vectors: int | None = 8, tokens_per_concept: int | None = None, tasks=None):
        super().__init__(tasks=tasks)
        self.num_vectors = num_vectors if tokens_per_concept is None else None
        self.tokens_per_concept = tokens_per_concept
        self.drawn_vectors = None  # C in training mode, where a loss draws it
        self.count_concepts(torch.ones(1, dtype=torch.long))  # raises for a wrong number

    def count_concepts(self, lengths, num_vectors: int | None = None, tokens_per_concept: int | None = None):
        """Number of concepts [B] of documents of `lengths` [B] tokens, at most one a token; a number or a ratio given
        here takes the place of the module's own."""
        if num_vectors is None and tokens_per_concept is None:
            drawn = self.drawn_vectors if self.training else None
            num_vectors, tokens_per_concept = (drawn, None) if drawn else (self.num_vectors, self.tokens_per_concept)
        if (num_vectors is None) == (tokens_per_concept is None):
            raise ValueError("Give num_vectors or tokens_per_concept, not both.")
        given = tokens_per_concept if num_vectors is None else num_vectors
        if given < 1:
            raise ValueError(f"num_vectors and tokens_per_concept are at least 1, not {given}.")
        wanted = -(-lengths // tokens_per_concept) if num_vectors is None else torch.full_like(lengths, num_vectors)
        return torch.minimum(wanted, lengths)

    def forward(
        self,
        features: dict[str, torch.Tensor],
        task: str | None = None,
        num_vectors: int | None = None,
        tokens_per_concept: int | None = None,
    ) -> dict[str, torch.Tensor]:
        """`token_embeddings` [B, N, E] -> [B, C, E] and `attention_mask` [B, N] -> [B, C], of documents."""
        if not self.applies_to(task):
            return features
        vectors, mask = features["token_embeddings"], features["attention_mask"].bool()
        counts = self.count_concepts(mask.sum(dim=1), num_vectors, tokens_per_concept)
        concepts, kept = self.make_concepts(vectors, mask, counts)
        return {**features, "token_embeddings": concepts, "attention_mask": kept}

    def pool_one(self, embedding: torch.Tensor, **kwargs) -> torch.Tensor:
        """[N, E] -> [C, E]."""
        mask = torch.ones(1, len(embedding), dtype=torch.bool, device=embedding.device)
        concepts, kept = self.make_concepts(embedding[None], mask, self.count_concepts(mask.sum(dim=1), **kwargs))
        return concepts[0, kept[0]]

    def make_concepts(self, vectors, mask, counts):
        """Concepts [B, C, E], and whether each exists [B, C], of vectors [B, N, E] of length 1 with a mask [B, N]."""
        with torch.autocast(vectors.device.type, enabled=False):  # half precision would merge clusters
            assignment = assign_tokens(vectors.detach().float(), mask, counts)
            concepts = F.normalize(assignment.transpose(1, 2) @ vectors.float(), dim=-1)
        return concepts.to(vectors.dtype), assignment.any(dim=1)

    def save(self, output_path: str, *args, safe_serialization: bool = True, **kwargs) -> None:
        """As in [`Module`]; beside `modules.json` it writes this file, where `trust_remote_code=True` finds it."""
        super().save(output_path)
        code, target = Path(__file__), Path(output_path).parent / Path(__file__).name
        if not target.exists() or not target.samefile(code):
            shutil.copyfile(code, target)


@torch.no_grad()
def assign_tokens(vectors: torch.Tensor, mask: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """
    The concept of each token, one-hot [B, N, C], zero at padding.

    Args:
        vectors: [B, N, E], of length 1; mask: [B, N].
        counts: number of concepts [B], at most that of the tokens; C is the largest.
    """
    size = int(counts.max())
    if not size:  # texts without tokens
        return vectors.new_zeros(*mask.shape, 0)
    nearest = torch.zeros(mask.shape, dtype=torch.long)
    for row, kept, count, labels in zip(vectors.cpu(), mask.cpu(), counts.tolist(), nearest, strict=True):
        labels[kept] = ward_clusters(row[kept], count)
    nearest = nearest.to(vectors.device)
    for _ in range(ROUNDS):
        assignment = F.one_hot(nearest, size).to(vectors.dtype) * mask[..., None]
        means = F.normalize(assignment.transpose(1, 2) @ vectors, dim=-1)
        missing = ~assignment.any(dim=1, keepdim=True)
        nearest = (vectors @ means.transpose(1, 2)).masked_fill(missing, -2).argmax(dim=-1)
    return F.one_hot(nearest, size).to(vectors.dtype) * mask[..., None]


def ward_clusters(vectors: torch.Tensor, count: int) -> torch.Tensor:
    """The cluster [N] of each vector [N, E] of length 1 among at most `count`, by Ward's linkage of cosine distances
    as in [`HierarchicalTokenPooling`]."""
    if count < 2 or len(vectors) <= count:
        return torch.arange(len(vectors)).clamp(max=max(count - 1, 0))
    distances = squareform((1 - vectors @ vectors.T).clamp(0, 2).numpy(), checks=False)
    return torch.from_numpy(fcluster(linkage(distances, "ward"), count, "maxclust").astype(np.int64) - 1)
