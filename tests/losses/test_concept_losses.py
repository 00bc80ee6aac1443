# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Concept losses: each against a formula written again in loops, and their values for constants that ignore the text.

B texts, C concepts, H hidden; groups of vectors [S, H].
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import minimum_spanning_tree as scipy_tree
from scipy.spatial.distance import cdist

from trainers.losses import CONCEPT_LOSSES
from trainers.losses.t_regs import SPHERE_WEIGHT, distances_between, minimum_spanning_tree, pairwise_distances


EVERY_LOSS = pytest.mark.parametrize("name", CONCEPT_LOSSES)
RAW_AND_CONTENT = pytest.mark.parametrize("content", [False, True])


def make(name):
    return CONCEPT_LOSSES[name]()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# --- The formulas again, of one group of vectors [S, H].


def cosines_of_pairs(vectors):
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return [units[i] @ units[j] for i in range(len(units)) for j in range(len(units)) if i != j]


def variance(vectors):
    terms = [max(0, 1 - math.sqrt(np.var(column, ddof=1) + 1e-4)) for column in vectors.T]
    return sum(terms) / len(terms)


def covariance(vectors):
    matrix = np.atleast_2d(np.cov(vectors.T))
    return sum(matrix[i, j] ** 2 for i in range(len(matrix)) for j in range(len(matrix)) if i != j) / len(matrix)


def uniformity(vectors):
    return np.mean([math.exp(-2 * (2 - 2 * cosine)) for cosine in cosines_of_pairs(vectors)])


def tree_length(vectors):
    # A zero would be no edge to scipy; longer by one each, the edges of the tree are the same.
    return scipy_tree(cdist(vectors, vectors) + 1).sum() - (len(vectors) - 1)


def t_regs(vectors):
    points = vectors / math.sqrt(vectors.shape[1])
    sphere = np.mean([(np.linalg.norm(point) - 1) ** 2 for point in points])
    return 5 * sphere - tree_length(points) / len(points)


def t_regs_nearest(vectors):
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return -np.mean([min(np.linalg.norm(a - b) for b in np.delete(units, i, 0)) for i, a in enumerate(units)])


REFERENCES = {
    "orthogonality": lambda vectors: np.mean(np.square(cosines_of_pairs(vectors))),
    "soft_orthogonality": lambda vectors: np.mean([max(0, abs(c) - 0.1) ** 2 for c in cosines_of_pairs(vectors)]),
    "uniformity": uniformity,
    "variance": variance,
    "covariance": covariance,
    "vicreg": lambda vectors: variance(vectors) + covariance(vectors),
    "t_regs_mst": t_regs,
    "t_regs_nearest": t_regs_nearest,
}
FLAT = {"variance", "covariance", "vicreg"}  # compare all concepts of all texts, the others those of one text


def reference(name, concepts):
    if name == "combined":
        return reference("variance", concepts) + reference("uniformity", concepts)
    groups = [concepts.reshape(-1, concepts.shape[2])] if name in FLAT else list(concepts)
    return np.mean([REFERENCES[name](vectors) for vectors in groups])


@EVERY_LOSS
def test_raw_equals_the_formula(name):
    concepts = 0.8 * torch.randn(5, 4, 6)
    found = make(name)(concepts)
    assert found.dtype == torch.float32 and found.shape == ()
    assert float(found) == pytest.approx(reference(name, concepts.double().numpy()), rel=2e-5, abs=2e-6)


@EVERY_LOSS
def test_content_equals_the_formula(name):
    concepts = torch.randn(5, 4, 6) + torch.randn(4, 6)
    loss = make(name)
    array = concepts.double().numpy()
    content = array - array.mean(axis=0)
    share = 5 / 4 * (content**2).sum() / (array**2).sum()
    assert 0.2 < share < 0.8
    expected = share * reference(name, content) + (1 - share) * loss.upper_bound(6)
    assert float(loss(concepts, content=True)) == pytest.approx(expected, rel=2e-5, abs=2e-6)


# --- Every loss.


@EVERY_LOSS
def test_constants_have_the_upper_bound_as_content(name):
    """Four copies: their mean is exact, so nothing at all depends on the text."""
    loss = make(name)
    for constants in (torch.randn(3, 8), spread_constants(8, 8), torch.zeros(3, 8)):
        found = loss(constants.expand(4, -1, -1), content=True)
        assert torch.equal(found, torch.tensor(loss.upper_bound(8)))


@st.composite
def concept_batches(draw):
    """Concepts of norms up to sqrt(H): random, on one line or equal in a text, with a share of constants."""
    batch, count, width = draw(st.integers(2, 6)), draw(st.integers(2, 5)), draw(st.integers(2, 9))
    generator = seeded(draw(st.integers(0, 2**31)))

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    content = {
        "random": lambda: random(batch, count, width),
        "collapsed": lambda: random(batch, count, 1) * random(width),
        "signs": lambda: random(batch, count, 1).sign() * random(width),
        "equal in a text": lambda: random(batch, 1, width).expand(-1, count, -1),
        "none": lambda: torch.zeros(batch, count, width),
    }[draw(st.sampled_from(["random", "collapsed", "signs", "equal in a text", "none"]))]()
    constants = random(count, width) if draw(st.booleans()) else random(width)
    share = draw(st.sampled_from([0.0, 0.01, 0.3, 0.7, 1.0]))
    concepts = share * constants + (1 - share) * content
    norms = concepts.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    return concepts / norms * draw(st.sampled_from([0.1, 1])) * width**0.5


@EVERY_LOSS
@settings(max_examples=40, deadline=None)
@given(concepts=concept_batches())
def test_nothing_exceeds_the_upper_bound(name, concepts):
    loss = make(name)
    bound = loss.upper_bound(concepts.shape[-1]) + 1e-5 * max(1, loss.upper_bound(concepts.shape[-1]))
    for content in (False, True):
        assert float(loss(concepts, content)) <= bound


@EVERY_LOSS
def test_content_is_better_than_none(name):
    loss = make(name)
    assert float(loss(torch.randn(8, 4, 16), content=True)) < loss.upper_bound(16)


@RAW_AND_CONTENT
@EVERY_LOSS
def test_order_of_texts_does_not_matter(name, content):
    concepts = torch.randn(6, 4, 8)
    loss = make(name)
    one, other = (loss(batch, content) for batch in (concepts, concepts[torch.randperm(6)]))
    assert float(one) == pytest.approx(float(other), rel=1e-5, abs=1e-6)


@RAW_AND_CONTENT
@EVERY_LOSS
def test_gradients_are_finite(name, content):
    random = torch.randn(4, 3, 8)
    duplicates = random.clone()
    duplicates[:, 1] = duplicates[:, 0]
    duplicates[2] = duplicates[1]
    zeros = random.clone()
    zeros[0, 0] = zeros[2] = 0
    for concepts in (
        random,
        duplicates,
        zeros,
        1e-9 * random,
        torch.zeros(4, 3, 8),
        random[:1].expand(4, -1, -1),
        random + 1e-8 * torch.randn(4, 3, 8),
    ):
        concepts = concepts.clone().requires_grad_()
        value = make(name)(concepts, content)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(concepts.grad).all()
        assert concepts.grad.norm() < 1e5


@EVERY_LOSS
def test_gradient_of_random_concepts_reaches_every_text(name):
    concepts = torch.randn(4, 3, 8, requires_grad=True)
    make(name)(concepts, content=True).backward()
    assert (concepts.grad.norm(dim=-1) > 0).all()


@RAW_AND_CONTENT
@EVERY_LOSS
def test_computed_in_float32(name, content):
    concepts = torch.randn(4, 3, 8).bfloat16()
    loss = make(name)
    expected = loss(concepts.float(), content)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(concepts, content)
    assert torch.equal(found, expected)


@EVERY_LOSS
def test_what_cannot_be_compared_is_refused(name):
    loss = make(name)
    with pytest.raises(ValueError, match="two texts or more"):
        loss(torch.randn(1, 4, 8), content=True)
    with pytest.raises(ValueError, match="compares vectors"):
        loss(torch.randn(1, 1, 8))


# --- Constants that satisfy the raw form, so that it is no sign of content.


def spread_constants(count, width):
    """Orthogonal constants of norm sqrt(H)."""
    return torch.linalg.qr(torch.randn(width, count)).Q.T * width**0.5


def crossed_constants(width):
    """2H constants of norm sqrt(H), both ways along every axis: mean 0, covariance near 1."""
    axes = torch.eye(width) * width**0.5
    return torch.cat([axes, -axes])


SATISFYING = [
    ("orthogonality", lambda: spread_constants(6, 16), 1e-12),
    ("soft_orthogonality", lambda: spread_constants(6, 16), 0),
    ("uniformity", lambda: spread_constants(6, 16), math.exp(-4) + 1e-6),
    ("variance", lambda: crossed_constants(8), 0),
    ("covariance", lambda: crossed_constants(8), 1e-12),
    ("vicreg", lambda: crossed_constants(8), 1e-12),
    ("combined", lambda: crossed_constants(8), math.exp(-4) + 1e-6),
    ("t_regs_mst", lambda: spread_constants(6, 16), -math.sqrt(2) * 5 / 6 + 1e-5),
    ("t_regs_nearest", lambda: spread_constants(6, 16), -math.sqrt(2) + 1e-5),
]


@pytest.mark.parametrize("name, constants, value", SATISFYING)
def test_constants_satisfy_the_raw_form_alone(name, constants, value):
    loss = make(name)
    concepts = constants().expand(4, -1, -1)
    assert float(loss(concepts)) <= value
    assert torch.equal(loss(concepts, content=True), torch.tensor(loss.upper_bound(concepts.shape[-1])))


@pytest.mark.parametrize("name, constants, value", SATISFYING)
def test_only_losses_that_cannot_reach_zero_are_positive(name, constants, value):
    loss = make(name)
    assert loss.positive == (name in ("uniformity", "combined"))
    if loss.positive:
        opposite = torch.tensor([[3.0], [-3.0]]).expand(8, 2, 1)  # variance 9, cosines -1
        assert float(loss(opposite)) == pytest.approx(math.exp(-8))
    else:
        assert value <= 1e-4


REACHING = [
    ("orthogonality", [[3.0, 4.0], [-3.0, -4.0]]),
    ("soft_orthogonality", [[3.0, 4.0], [-3.0, -4.0]]),
    ("uniformity", [[3.0, 4.0], [3.0, 4.0]]),
    ("variance", [[3.0, 4.0], [3.0, 4.0]]),
    ("covariance", [[1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]),
    ("vicreg", [[1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]),
    ("vicreg", [[1.0], [1.0]]),
    ("combined", [[3.0, 4.0], [3.0, 4.0]]),
    ("t_regs_mst", [[0.0, 0.0], [0.0, 0.0]]),
    ("t_regs_nearest", [[3.0, 4.0], [3.0, 4.0]]),
]


@pytest.mark.parametrize("name, vectors", REACHING)
def test_the_upper_bound_is_reached(name, vectors):
    loss = make(name)
    vectors = torch.tensor(vectors)
    assert float(loss(vectors.expand(1, -1, -1))) == pytest.approx(loss.upper_bound(vectors.shape[1]), abs=1e-5)


# --- Single losses.


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_tree_is_minimal(data):
    """Small integer coordinates: many equal distances, and duplicates."""
    groups, size, width = data.draw(st.integers(1, 3)), data.draw(st.integers(2, 9)), data.draw(st.integers(1, 3))
    generator = seeded(data.draw(st.integers(0, 2**31)))
    points = torch.randint(0, 4, (groups, size, width), generator=generator).float()
    first, second = minimum_spanning_tree(pairwise_distances(points))
    lengths = distances_between(points, first, second)
    for group in range(groups):
        reached = {0}
        for a, b in zip(first[group].tolist(), second[group].tolist()):
            assert a in reached and b not in reached
            reached.add(b)
        assert len(reached) == size
        assert float(lengths[group].sum()) == pytest.approx(tree_length(points[group].numpy()), abs=1e-5)


def test_tree_of_vectors_that_hardly_differ():
    points = torch.randn(1, 1, 16) + 1e-4 * torch.randn(1, 40, 16)
    lengths = distances_between(points, *minimum_spanning_tree(pairwise_distances(points)))
    assert float(lengths.sum()) == pytest.approx(tree_length(points[0].double().numpy()), rel=1e-4)


def test_lengths_are_never_negative():
    points = torch.zeros(1, 2, 8)
    points[0, 1, 3] = 5e-7  # a duplicate by measure, so another direction counts than the difference's
    ends = torch.tensor([[0]]), torch.tensor([[1]])
    for first, second in (ends, ends[::-1]):
        assert 0 < float(distances_between(points, first, second)) <= 5e-7
        assert float(distances_between(-points, first, second)) > 0


@pytest.mark.parametrize("gap", [0.0, 1e-7])
@pytest.mark.parametrize("name", ["t_regs_mst", "t_regs_nearest"])
def test_t_regs_pushes_duplicates_apart(name, gap):
    base = torch.randn(2, 4, 16)
    base[:, 1] = base[:, 2] = base[:, 0]
    base[:, 1] += gap
    concepts = base.clone().requires_grad_()
    make(name)(concepts).backward()
    moved = base - 0.1 * concepts.grad
    for one, other in itertools.combinations(range(3), 2):
        before = (base[:, one] - base[:, other]).norm(dim=-1)
        assert ((moved[:, one] - moved[:, other]).norm(dim=-1) > before + 1e-3).all()


def test_duplicates_leave_by_directions_of_their_own():
    points = torch.zeros(1, 6, 12, requires_grad=True)
    pairs = torch.tensor(list(itertools.combinations(range(6), 2))).T
    pushes = []
    for first, second in pairs.T:
        (gradient,) = torch.autograd.grad(distances_between(points, first[None, None], second[None, None]), points)
        assert torch.equal(gradient[0, first], -gradient[0, second])
        pushes.append(gradient[0, first])
    pushes = torch.stack(pushes)
    torch.testing.assert_close(pushes.norm(dim=1), torch.ones(15))
    assert (pairwise_distances(pushes[None])[0] + torch.eye(15) > 0.1).all()


def test_free_vectors_outgrow_the_sphere_by_what_the_weight_says():
    loss = make("t_regs_mst")
    scales = torch.linspace(0.5, 2, 301)
    values = torch.stack([loss(scale * spread_constants(16, 16)[None]) for scale in scales])
    assert 1.1 < float(scales[values.argmin()]) < 1 + 0.71 / SPHERE_WEIGHT
