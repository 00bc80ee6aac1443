# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""How losses become one: the formulas, and that parts of a step add up."""

import math

import pytest
import torch

from trainers.concept_losses import CONCEPT_LOSSES
from trainers.loss_terms import make_weighting, parse_terms
from trainers.weighting import WEIGHTINGS, GradientBalancedWeighting, KendallGalWeighting, LearnableWeighting


LOSSES = {"a": torch.tensor(2.0), "b": torch.tensor(0.5)}
GIVEN = {"a": 0.1, "b": 0.4}


def total(weighting, task=3.0, losses=LOSSES, warmup=1.0, share=1.0):
    return float(weighting(torch.tensor(task), losses, warmup, share).detach())


def test_fixed_is_the_weighted_sum():
    assert total(WEIGHTINGS["fixed"](GIVEN)) == pytest.approx(3 + 0.2 + 0.2)
    assert total(WEIGHTINGS["fixed"](GIVEN), warmup=0.5) == pytest.approx(3 + 0.1 + 0.1)
    assert total(WEIGHTINGS["fixed"]({}), losses={}) == 3


def test_learnable_starts_at_the_given_weights_and_is_a_softmax():
    weighting = LearnableWeighting(GIVEN)
    assert total(weighting) == pytest.approx(3 + 0.2 + 0.2)
    with torch.no_grad():
        weighting.logits.copy_(torch.tensor([0.0, math.log(2), math.log(3)]))
    assert weighting.factors().tolist() == pytest.approx([1.5 / 6, 1.5 * 2 / 6, 1.5 * 3 / 6])


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


def test_gradients_are_balanced_by_an_average():
    weighting = GradientBalancedWeighting(GIVEN)
    assert weighting.factors().tolist() == [1, 0, 0]
    weighting.observe(torch.tensor(2.0), torch.tensor([0.5, 4.0]))
    assert weighting.factors().tolist() == pytest.approx([1, 0.1 * 2 / 0.5, 0.4 * 2 / 4])
    weighting.observe(torch.tensor(4.0), torch.tensor([0.5, 4.0]))
    assert weighting.factors().tolist() == pytest.approx([1, 0.9 * 0.4 + 0.1 * 0.8, 0.9 * 0.2 + 0.1 * 0.4])
    weighting.observe(torch.tensor(1e6), torch.tensor([1e-3, 0.0]))
    assert weighting.factors()[1] <= 10 and weighting.factors()[2] < 0.3


@pytest.mark.parametrize("name", CONCEPT_LOSSES)
def test_kendall_gal_takes_only_losses_that_stay_above_zero(name):
    terms = parse_terms(name, None, {})
    if CONCEPT_LOSSES[name].positive:
        make_weighting("kendall_gal", terms)
    else:
        with pytest.raises(ValueError, match="that loss can reach zero or below"):
            make_weighting("kendall_gal", terms)
    with pytest.raises(ValueError, match="zero or below"):
        make_weighting("kendall_gal", parse_terms(f"{name}/content", None, {}))


def test_the_original_form_divides_one_weight():
    terms = parse_terms("vicreg t_regs_mst", 0.02, {})
    assert [term.weight for term in terms] == [0.01, 0.01]
    mixed = parse_terms("vicreg:0.5,t_regs_mst,uniformity", 0.02, {})
    assert [term.weight for term in mixed] == [0.5, 0.01, 0.01]


def test_terms_use_every_layer_where_asked():
    layers = [torch.randn(4, 3, 8) for _ in range(3)]
    last, every = parse_terms("uniformity:1,uniformity/all_layers:1", None, {})
    assert float(last(layers, 0)) == pytest.approx(float(last.loss(layers[-1])))
    assert float(every(layers, 0)) == pytest.approx(sum(float(every.loss(layer)) for layer in layers) / 3)
