# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Vectors far apart along their minimum spanning tree (Mordacq et al. 2025, T-REGS, arXiv 2510.23484).

G groups of S vectors, H hidden, E edges of a group.
"""

import torch

from .base import ConceptLoss, unit_vectors


# A tree is no longer than S - 1 mean distances, thus than sqrt(2) S s for norms s of x. Against weight * (s - 1)²,
# free vectors outgrow the sphere by less than 0.71 / weight; at 5 that is 14 %.
SPHERE_WEIGHT = 5.0

# Closer pairs count as duplicates: the gradient of their distance is undefined or noise.
DUPLICATE_DISTANCE = 1e-6


class TRegs(ConceptLoss):
    """
    The paper's: with x = vectors / sqrt(H), minus the length of the Euclidean minimum spanning tree of x divided by S,
    plus 5 * mean (|x| - 1)². The paper's term of invariance between views is no part of it.

    It is at most 5, at zero vectors. Duplicates are pushed apart along a direction of their own. Finding the edges
    takes S² H operations and S² memory per group.
    """

    def vectors_loss(self, vectors: torch.Tensor) -> torch.Tensor:
        vectors = vectors / vectors.shape[-1] ** 0.5
        edges = distances_between(vectors, *minimum_spanning_tree(pairwise_distances(vectors)))
        sphere = (vectors.norm(dim=-1) - 1).square().mean()
        return SPHERE_WEIGHT * sphere - edges.sum(dim=1).mean() / vectors.shape[1]

    def upper_bound(self, width: int) -> float:
        return SPHERE_WEIGHT


class TRegsNearest(ConceptLoss):
    """
    The original system's `t_regs_mst`: minus the mean distance of each direction to the nearest other one. It ignores
    norms and the distances between groups of neighbours, and is at most 0.
    """

    def vectors_loss(self, vectors: torch.Tensor) -> torch.Tensor:
        units = unit_vectors(vectors)
        return -distances_between(units, *nearest_neighbours(pairwise_distances(units))).mean()

    def upper_bound(self, width: int) -> float:
        return 0.0


@torch.no_grad()
def pairwise_distances(vectors: torch.Tensor) -> torch.Tensor:
    """Distances [G, S, S] between `vectors` [G, S, H], without gradient."""
    # By differences: matrix products do not separate duplicates from vectors 3e-4 apart, or 0.03 with TF32.
    return torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")


@torch.no_grad()
def minimum_spanning_tree(distances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The two ends of the edges of a minimum spanning tree of each group (Prim 1957).

    Args:
        distances: [G, S, S], symmetric.

    Returns:
        Indices [G, S - 1] of the end that was in the tree first and of the one that the edge adds.
    """
    groups, size, _ = distances.shape
    group = torch.arange(groups, device=distances.device)
    outside = torch.ones_like(distances[:, 0], dtype=torch.bool)
    outside[:, 0] = False
    # Of every vector outside: distance to the tree, and the vector of the tree that is so near.
    gap = distances[:, 0]
    anchor = torch.zeros_like(gap, dtype=torch.long)
    anchors, added = [], []
    for _ in range(size - 1):
        new = gap.masked_fill(~outside, torch.inf).argmin(dim=1)
        anchors.append(anchor[group, new])
        added.append(new)
        outside[group, new] = False
        row = distances[group, new]
        anchor = torch.where(row < gap, new[:, None], anchor)
        gap = torch.minimum(row, gap)
    return torch.stack(anchors, dim=1), torch.stack(added, dim=1)


@torch.no_grad()
def nearest_neighbours(distances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices [G, S] of every vector, and of the nearest other one by `distances` [G, S, S]."""
    size = distances.shape[1]
    own = torch.eye(size, dtype=torch.bool, device=distances.device)
    nearest = distances.masked_fill(own, torch.inf).argmin(dim=2)
    return torch.arange(size, device=distances.device).expand_as(nearest), nearest


def distances_between(vectors: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """
    Distances [G, E] between the `vectors` [G, S, H] with the indices `first` and `second` [G, E], with gradients.

    A distance is the difference's component along its own direction, which also has the distance's gradient. For
    duplicates the direction is one that depends on the two indices alone.
    """
    difference = vectors.take_along_dim(first[..., None], 1) - vectors.take_along_dim(second[..., None], 1)
    with torch.no_grad():
        length = difference.norm(dim=-1, keepdim=True)
        push = index_directions(first, vectors.shape[-1]) - index_directions(second, vectors.shape[-1])
        push = push / push.norm(dim=-1, keepdim=True)
        push = torch.where((push * difference).sum(dim=-1, keepdim=True) < 0, -push, push)
        near = length < DUPLICATE_DISTANCE
        along = torch.where(near, push, difference / length.clamp(min=DUPLICATE_DISTANCE))
    return (difference * along).sum(dim=-1)


def index_directions(index: torch.Tensor, width: int) -> torch.Tensor:
    """A vector [..., width] for every `index` [...], no two alike: sines, index + 1 radians a step."""
    steps = torch.arange(1, width + 1, device=index.device)
    return torch.sin((index[..., None] + 1) * steps)
