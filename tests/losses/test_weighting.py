# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""How losses become one: the formulas, and that parts of a step add up."""

import math

import pytest
import torch

from trainers.losses import CONCEPT_LOSSES
from trainers.losses.terms import make_weighting, parse_terms
from trainers.losses.weighting import WEIGHTINGS, KendallGalWeighting


LOSSES = {"a": torch.tensor(2.0), "b": torch.tensor(0.5)}
GIVEN = {"a": 0.1, "b": 0.4}


def total(weighting, task=3.0, losses=LOSSES, warmup=1.0, share=1.0):
    return float(weighting(torch.tensor(task), losses, warmup, share).detach())


def test_fixed_is_the_weighted_sum():
    assert total(WEIGHTINGS["fixed"](GIVEN)) == pytest.approx(3 + 0.2 + 0.2)
    assert total(WEIGHTINGS["fixed"](GIVEN), warmup=0.5) == pytest.approx(3 + 0.1 + 0.1)
    assert total(WEIGHTINGS["fixed"]({}), losses={}) == 3


def test_kendall_gal_is_its_formula_and_its_optimum():
    weighting = KendallGalWeighting(dict.fromkeys(GIVEN, 1.0))
    with torch.no_grad():
        weighting.log_variances.copy_(torch.tensor([0.3, -0.2, 1.0]))
    values, numbers = [3.0, 2.0, 0.5], [0.3, -0.2, 1.0]
    expected = sum(0.5 * math.exp(-s) * value + 0.5 * s for s, value in zip(numbers, values, strict=True))
    assert total(weighting) == pytest.approx(expected)
    optimizer = torch.optim.SGD(weighting.parameters(), lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        weighting(torch.tensor(3.0), LOSSES, 1.0, 1.0).backward()
        optimizer.step()
    assert weighting.factors().tolist() == pytest.approx([0.5 / value for value in values], rel=1e-3)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_parts_of_a_step_add_up(name):
    weighting = WEIGHTINGS[name](GIVEN)
    parts = [total(weighting, 1.0, {n: v / 3 for n, v in LOSSES.items()}, share=1 / 3) for _ in range(3)]
    assert sum(parts) == pytest.approx(total(weighting), rel=1e-6)
    assert set(weighting.shown()) == {"task", "a", "b"}


@pytest.mark.parametrize("name", CONCEPT_LOSSES)
def test_kendall_gal_takes_only_losses_that_stay_above_zero(name):
    terms = parse_terms(name)
    if CONCEPT_LOSSES[name].positive:
        make_weighting("kendall_gal", terms)
    else:
        with pytest.raises(ValueError, match="that loss can reach zero or below"):
            make_weighting("kendall_gal", terms)
    with pytest.raises(ValueError, match="zero or below"):
        make_weighting("kendall_gal", parse_terms(f"{name}/content"))
