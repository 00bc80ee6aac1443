# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Concept losses: each against a formula written again in loops, and what constants that ignore the text can gain.

B texts, C concepts, H hidden; groups of vectors [S, H].
"""

import itertools
import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.sparse.csgraph import minimum_spanning_tree as scipy_tree
from scipy.spatial.distance import cdist
from scipy.stats import norm

from trainers.concept_losses import CONCEPT_LOSSES, PARTS, SCOPES, sigreg
from trainers.concept_losses.t_regs import distances_between, minimum_spanning_tree, pairwise_distances


EVERY_LOSS = pytest.mark.parametrize("name", CONCEPT_LOSSES)
EVERY_SCOPE = pytest.mark.parametrize("scope", [None, *SCOPES])
EVERY_PART = pytest.mark.parametrize("part", PARTS)

DIRECTIONS = 3


def make(name, **options):
    return CONCEPT_LOSSES[name](**options)


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


def uniformity(vectors, temperature=2.0):
    return np.mean([math.exp(-temperature * (2 - 2 * cosine)) for cosine in cosines_of_pairs(vectors)])


def tree_length(vectors):
    # A zero would be no edge to scipy; longer by one each, the edges of the tree are the same.
    return scipy_tree(cdist(vectors, vectors) + 1).sum() - (len(vectors) - 1)


def t_regs(vectors, weight=5.0):
    points = vectors / math.sqrt(vectors.shape[1])
    sphere = np.mean([(np.linalg.norm(point) - 1) ** 2 for point in points])
    return weight * sphere - tree_length(points) / len(points)


def t_regs_nearest(vectors):
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return -np.mean([min(np.linalg.norm(a - b) for b in np.delete(units, i, 0)) for i, a in enumerate(units)])


def sigreg_statistic(vectors):
    def integrand(t, projections):
        return abs(np.exp(1j * t * projections).mean() - math.exp(-t * t / 2)) ** 2 * math.exp(-t * t / 2)

    axes = torch.randn(vectors.shape[1], DIRECTIONS, generator=seeded()).double().numpy()
    axes /= np.linalg.norm(axes, axis=0)
    return np.mean([2 * quad(integrand, 0, 10, args=(vectors @ axis,), limit=200)[0] for axis in axes.T])


REFERENCES = [
    ("orthogonality", {}, lambda vectors: np.mean(np.square(cosines_of_pairs(vectors)))),
    (
        "soft_orthogonality",
        {"soft_ortho_threshold": 0.2},
        lambda vectors: np.mean([max(0, abs(cosine) - 0.2) ** 2 for cosine in cosines_of_pairs(vectors)]),
    ),
    ("uniformity", {}, uniformity),
    ("uniformity", {"uniformity_temperature": 0.5}, lambda vectors: uniformity(vectors, 0.5)),
    ("variance", {}, variance),
    ("covariance", {}, covariance),
    ("vicreg", {}, lambda vectors: variance(vectors) + covariance(vectors)),
    ("combined", {}, lambda vectors: variance(vectors) + uniformity(vectors)),
    ("t_regs_mst", {}, t_regs),
    ("t_regs_mst", {"t_regs_sphere_weight": 0.3}, lambda vectors: t_regs(vectors, 0.3)),
    ("t_regs_mst", {"t_regs_form": "nearest"}, t_regs_nearest),
    ("sigreg", {"sigreg_directions": DIRECTIONS}, sigreg_statistic),
]

GROUPS = {
    "sample": lambda concepts: list(concepts),
    "batch": lambda concepts: [concepts[:, c] for c in range(concepts.shape[1])],
    "flat": lambda concepts: [concepts.reshape(-1, concepts.shape[2])],
    "pooled": lambda concepts: [concepts.mean(axis=1)],
}


def reference(formula, concepts, scope):
    return np.mean([formula(vectors) for vectors in GROUPS[scope](concepts)])


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name, options, formula", REFERENCES)
def test_raw_equals_the_formula(name, options, formula, scope):
    concepts = 0.8 * torch.randn(5, 4, 6)
    found = make(name, **options)(concepts, scope, generator=seeded())
    assert found.dtype == torch.float32 and found.shape == ()
    assert float(found) == pytest.approx(reference(formula, concepts.double().numpy(), scope), rel=2e-5, abs=2e-6)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name, options, formula", REFERENCES)
def test_content_equals_the_formula(name, options, formula, scope):
    concepts = torch.randn(5, 4, 6) + torch.randn(4, 6)
    loss = make(name, **options)
    array = concepts.double().numpy()
    content = array - array.mean(axis=0)
    share = 5 / 4 * (content**2).sum() / (array**2).sum()
    assert 0.2 < share < 0.8
    expected = share * reference(formula, content, scope) + (1 - share) * loss.worst(6)
    found = loss(concepts, scope, part="content", generator=seeded())
    assert float(found) == pytest.approx(expected, rel=2e-5, abs=2e-6)


# --- Every loss.


@EVERY_LOSS
def test_every_option_is_described(name):
    for option in fields(CONCEPT_LOSSES[name]):
        assert f"        {option.name}: " in CONCEPT_LOSSES[name].__doc__.split("Args:")[1]


@EVERY_SCOPE
@EVERY_LOSS
def test_constants_have_the_worst_content(name, scope):
    """Four copies: their mean is exact, so nothing at all depends on the text."""
    loss = make(name)
    for constants in (torch.randn(3, 8), spread_constants(8, 8), torch.zeros(3, 8)):
        found = loss(constants.expand(4, -1, -1), scope, part="content", generator=seeded())
        assert torch.equal(found, torch.tensor(loss.worst(8)))


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
@given(concepts=concept_batches(), seed=st.integers(0, 100))
def test_nothing_is_worse_than_worst(name, concepts, seed):
    loss = make(name)
    bound = loss.worst(concepts.shape[-1]) + 1e-5 * max(1, loss.worst(concepts.shape[-1]))
    assert float(loss(concepts, part="content", generator=seeded(seed))) <= bound
    for scope in SCOPES:
        assert float(loss(concepts, scope, generator=seeded(seed))) <= bound


@EVERY_LOSS
def test_content_is_better_than_none(name):
    loss = make(name)
    assert float(loss(torch.randn(8, 4, 16), part="content", generator=seeded())) < loss.worst(16)


@EVERY_PART
@EVERY_SCOPE
@EVERY_LOSS
def test_order_of_texts_does_not_matter(name, scope, part):
    concepts = torch.randn(6, 4, 8)
    loss = make(name)
    one, other = (loss(batch, scope, part, seeded()) for batch in (concepts, concepts[torch.randperm(6)]))
    assert float(one) == pytest.approx(float(other), rel=1e-5, abs=1e-6)


@EVERY_PART
@EVERY_SCOPE
@EVERY_LOSS
def test_gradients_are_finite(name, scope, part):
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
        value = make(name)(concepts, scope, part, seeded())
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(concepts.grad).all()
        assert concepts.grad.norm() < 1e5


@EVERY_LOSS
def test_gradient_of_random_concepts_reaches_every_text(name):
    concepts = torch.randn(4, 3, 8, requires_grad=True)
    make(name)(concepts, part="content", generator=seeded()).backward()
    assert (concepts.grad.norm(dim=-1) > 0).all()


@EVERY_PART
@EVERY_LOSS
def test_computed_in_float32(name, part):
    concepts = torch.randn(4, 3, 8).bfloat16()
    loss = make(name)
    expected = loss(concepts.float(), part=part, generator=seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(concepts, part=part, generator=seeded())
    assert torch.equal(found, expected)


@EVERY_LOSS
def test_random_numbers_come_from_the_generator_alone(name):
    concepts = torch.randn(4, 3, 8)
    concepts[:, 1] = concepts[:, 0]
    before = torch.get_rng_state()
    one, same = (make(name)(concepts, generator=seeded(5)) for _ in range(2))
    assert torch.equal(one, same)
    assert torch.equal(torch.get_rng_state(), before)


@EVERY_LOSS
def test_what_cannot_be_compared_is_refused(name):
    loss = make(name)
    with pytest.raises(ValueError, match="two texts or more"):
        loss(torch.randn(1, 4, 8), part="content")
    for scope, shape in (("sample", (4, 1, 8)), ("batch", (1, 4, 8)), ("flat", (1, 1, 8)), ("pooled", (1, 4, 8))):
        with pytest.raises(ValueError, match="at least two vectors"):
            loss(torch.randn(shape), scope)
    with pytest.raises(ValueError, match=r"\[B, C, H\]"):
        loss(torch.randn(4, 8))
    with pytest.raises(ValueError, match="scope 'text'"):
        loss(torch.randn(4, 3, 8), "text")
    with pytest.raises(ValueError, match="part 'all'"):
        loss(torch.randn(4, 3, 8), part="all")


@pytest.mark.parametrize(
    "name, option, value",
    [
        ("soft_orthogonality", "soft_ortho_threshold", 1.0),
        ("uniformity", "uniformity_temperature", 0.0),
        ("combined", "uniformity_temperature", -1.0),
        ("t_regs_mst", "t_regs_form", "tree"),
        ("t_regs_mst", "t_regs_sphere_weight", -1.0),
        ("sigreg", "sigreg_directions", 0),
    ],
)
def test_impossible_options_are_refused(name, option, value):
    with pytest.raises(ValueError, match=option):
        make(name, **{option: value})


# --- Constants that satisfy the raw form, so that it is no sign of content.


def spread_constants(count, width):
    """Orthogonal constants of norm sqrt(H)."""
    return torch.linalg.qr(torch.randn(width, count)).Q.T * width**0.5


def crossed_constants(width):
    """2H constants of norm sqrt(H), both ways along every axis: mean 0, covariance near 1."""
    axes = torch.eye(width) * width**0.5
    return torch.cat([axes, -axes])


def normal_constants():
    """Constants that are quantiles of the normal distribution."""
    return torch.tensor(norm.ppf((np.arange(256) + 0.5) / 256), dtype=torch.float32)[:, None]


SATISFYING = [
    ("orthogonality", None, lambda: spread_constants(6, 16), 1e-12),
    ("soft_orthogonality", None, lambda: spread_constants(6, 16), 0),
    ("uniformity", None, lambda: spread_constants(6, 16), math.exp(-4) + 1e-6),
    ("variance", None, lambda: crossed_constants(8), 0),
    ("covariance", None, lambda: crossed_constants(8), 1e-12),
    ("vicreg", None, lambda: crossed_constants(8), 1e-12),
    ("combined", None, lambda: crossed_constants(8), math.exp(-4) + 1e-6),
    ("t_regs_mst", None, lambda: spread_constants(6, 16), -math.sqrt(2) * 5 / 6 + 1e-5),
    ("sigreg", "flat", normal_constants, 1e-4),
]


@pytest.mark.parametrize("name, scope, constants, value", SATISFYING)
def test_constants_satisfy_the_raw_form_alone(name, scope, constants, value):
    loss = make(name)
    concepts = constants().expand(4, -1, -1)
    assert float(loss(concepts, scope, generator=seeded())) <= value
    assert torch.equal(loss(concepts, scope, "content", seeded()), torch.tensor(loss.worst(concepts.shape[-1])))


@pytest.mark.parametrize("name, scope, constants, value", SATISFYING)
def test_only_losses_that_cannot_reach_zero_are_positive(name, scope, constants, value):
    loss = make(name)
    assert loss.positive == (name in ("uniformity", "combined"))
    if loss.positive:
        opposite = torch.tensor([[3.0], [-3.0]]).expand(8, 2, 1)  # variance 9, cosines -1
        assert float(loss(opposite)) == pytest.approx(math.exp(-4 * loss.uniformity_temperature))
    else:
        assert value <= 1e-4


WORST = [
    ("orthogonality", {}, [[3.0, 4.0], [-3.0, -4.0]]),
    ("soft_orthogonality", {"soft_ortho_threshold": 0.3}, [[3.0, 4.0], [-3.0, -4.0]]),
    ("uniformity", {}, [[3.0, 4.0], [3.0, 4.0]]),
    ("variance", {}, [[3.0, 4.0], [3.0, 4.0]]),
    ("covariance", {}, [[1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]),
    ("vicreg", {}, [[1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]),
    ("vicreg", {}, [[1.0], [1.0]]),
    ("combined", {}, [[3.0, 4.0], [3.0, 4.0]]),
    ("t_regs_mst", {"t_regs_sphere_weight": 2.0}, [[0.0, 0.0], [0.0, 0.0]]),
    ("t_regs_mst", {"t_regs_form": "nearest"}, [[3.0, 4.0], [3.0, 4.0]]),
    ("sigreg", {}, [[1.0], [1.0]]),
]


@pytest.mark.parametrize("name, options, vectors", WORST)
def test_worst_is_reached(name, options, vectors):
    loss = make(name, **options)
    vectors = torch.tensor(vectors)
    assert float(loss(vectors.expand(1, -1, -1), "sample")) == pytest.approx(loss.worst(vectors.shape[1]), abs=1e-5)


# --- Single losses.


@EVERY_PART
def test_combined_is_the_sum_of_two_scopes(part):
    concepts = torch.randn(5, 4, 8) + torch.randn(4, 8)
    apart = make("variance")(concepts, "flat", part) + make("uniformity")(concepts, "sample", part)
    assert torch.equal(make("combined")(concepts, part=part), apart)
    for scope in SCOPES:
        both = make("variance")(concepts, scope, part) + make("uniformity")(concepts, scope, part)
        assert torch.equal(make("combined")(concepts, scope, part), both)


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
@pytest.mark.parametrize("form", ["mst", "nearest"])
def test_t_regs_pushes_duplicates_apart(form, gap):
    base = torch.randn(2, 4, 16)
    base[:, 1] = base[:, 2] = base[:, 0]
    base[:, 1] += gap
    concepts = base.clone().requires_grad_()
    make("t_regs_mst", t_regs_form=form)(concepts).backward()
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
    assert 1.1 < float(scales[values.argmin()]) < 1 + 0.71 / loss.t_regs_sphere_weight


def test_sigreg_knows_the_normal_and_does_not_grow_with_the_batch():
    loss = make("sigreg")
    # The expected statistic of n independent normal vectors is a constant over n.
    constant = math.sqrt(2 * math.pi) - math.sqrt(2 * math.pi / 3)
    for count in (100, 400):
        values = [float(loss(torch.randn(count, 1, 32), generator=seeded(seed))) for seed in range(10)]
        assert np.mean(values) == pytest.approx(constant / count, rel=0.15)
    equal = torch.full((50, 1, 32), 0.5)
    few, many = (float(loss(equal[:count], generator=seeded())) for count in (5, 50))
    assert few == pytest.approx(many, rel=1e-5)


def test_sigreg_draws_new_directions_from_the_generator():
    loss, concepts, generator = make("sigreg", sigreg_directions=4), torch.randn(6, 3, 8), seeded()
    first, second = (float(loss(concepts, generator=generator)) for _ in range(2))
    assert first != second
    assert float(loss(concepts, generator=seeded())) == first
    torch.manual_seed(0)
    assert float(loss(concepts)) == pytest.approx(first)  # torch's own generator, where none is given


def test_sigreg_in_chunks_is_the_same(monkeypatch):
    concepts = torch.randn(6, 3, 8, requires_grad=True)
    results = []
    for numbers in (sigreg.CHUNK_NUMBERS, 6 * sigreg.POINTS * 100, 1):
        monkeypatch.setattr(sigreg, "CHUNK_NUMBERS", numbers)
        value = make("sigreg")(concepts, generator=seeded())
        results.append((value, *torch.autograd.grad(value, concepts)))
    for value, gradient in results[1:]:
        torch.testing.assert_close(value, results[0][0])
        torch.testing.assert_close(gradient, results[0][1])
