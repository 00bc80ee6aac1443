# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Parameter groups."""

import pytest
import torch.nn as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel, Trainer

import modeling_concept as models
from trainers.optimizers import parameter_groups

from ..modeling.zoo import make_config


CLASSES = [kind for kind in vars(models).values() if isinstance(kind, type) and issubclass(kind, PreTrainedModel)]


def by_name(model, groups):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(parameter)]: group for group in groups for parameter in group["params"]}


@pytest.mark.parametrize("model_class", CLASSES)
def test_groups_of_every_model_are_sensible(model_class):
    model = model_class(make_config(model_class))
    groups = parameter_groups(model, 0.1, 1e-3, {})
    found = by_name(model, groups)
    assert sorted(found) == sorted(name for name, _ in model.named_parameters())
    assert sum(len(group["params"]) for group in groups) == len(found)
    decaying = set(Trainer.get_decay_parameter_names(None, model))
    parameters = dict(model.named_parameters())
    for name, group in found.items():
        parameter = parameters[name]
        assert (group["weight_decay"] == 0.1) == (name in decaying and parameter.dim() > 1)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_groups_hold_each_trainable_parameter_once(data):
    model = models.ConceptEncoderForMaskedDiffusion(make_config())
    parameters = list(model.parameters())
    numbers = st.integers(0, len(parameters) - 1)
    for number in data.draw(st.sets(numbers)):
        parameters[number].requires_grad_(False)
    own = data.draw(st.dictionaries(numbers, st.sampled_from([1e-4, 1e-3, 2e-3])))
    decay = data.draw(st.sampled_from([0.0, 0.1]))
    rates = {parameters[number]: rate for number, rate in own.items()}
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    groups = parameter_groups(model, decay, 1e-3, rates)
    held = [parameter for group in groups for parameter in group["params"]]
    assert sorted(map(id, held)) == sorted(map(id, trainable))
    for group in groups:
        for parameter in group["params"]:
            number = next(n for n, candidate in enumerate(parameters) if candidate is parameter)
            assert group["lr"] == own.get(number, 1e-3)
    keys = [(group["lr"], group["weight_decay"]) for group in groups]
    assert len(set(keys)) == len(keys)
    # The main rate first.
    main = [group["lr"] == 1e-3 for group in groups]
    assert main == sorted(main, reverse=True)


def test_parameters_may_have_rates_of_their_own():
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    groups = by_name(model, parameter_groups(model, 0.1, 1e-3, dict.fromkeys(model[0].parameters(), 1e-5)))
    assert {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()} == {
        "0.weight": (1e-5, 0.1), "0.bias": (1e-5, 0.0), "1.weight": (1e-3, 0.0), "1.bias": (1e-3, 0.0),
    }  # fmt: skip
    assert len(parameter_groups(model, 0.1, 1e-3, dict.fromkeys(model.parameters(), 1e-5))) == 2
