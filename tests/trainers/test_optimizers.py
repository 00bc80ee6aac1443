# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Parameter groups, Muon and AdamW as one optimizer, and the schedule with a final decay."""

import copy
import io
import math

import pytest
import torch
import torch.nn as nn
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import AdamW
from transformers import PreTrainedModel, Trainer, TrainingArguments, get_scheduler

import modeling_concept as models
from trainers.optimizers import (
    CombinedOptimizer,
    hidden_matrices,
    make_optimizer,
    parameter_groups,
    wsd_defaults,
)

from ..modeling.zoo import CLASSIFIERS, DECODER_NAMES, ENCODERS, OWN_ENCODERS, classifier, language_model, make_config


needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon needs torch 2.9")


def every_model():
    """One model of each public class, and of each encoder and decoder."""
    classes = [
        value for value in vars(models).values() if isinstance(value, type) and issubclass(value, PreTrainedModel)
    ]
    for model_class in classes:
        yield model_class.__name__, lambda kind=model_class: kind(make_config(kind.config_class))
    for encoder in ENCODERS:
        for decoder in DECODER_NAMES:
            for tied in (True, False):
                options = {"tie_word_embeddings": tied}
                if encoder in OWN_ENCODERS:
                    options["concept_anchors"] = not tied
                yield (
                    f"{encoder}-{decoder}-{tied}",
                    lambda encoder=encoder, decoder=decoder, options=options: language_model(
                        encoder, decoder, **options
                    ),
                )
        for kind in CLASSIFIERS:
            yield f"{encoder}-{kind}", lambda encoder=encoder, kind=kind: classifier(kind, encoder)


MODELS = dict(every_model())


def by_name(model, groups):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(parameter)]: group for group in groups for parameter in group["params"]}


@pytest.mark.parametrize("name", MODELS)
def test_groups_of_every_model_are_sensible(name):
    model = MODELS[name]()
    groups = parameter_groups(model, 0.1, 1e-3, muon=True)
    found = by_name(model, groups)
    assert sorted(found) == sorted(name for name, _ in model.named_parameters())
    assert sum(len(group["params"]) for group in groups) == len(found)
    decaying = set(Trainer.get_decay_parameter_names(None, model))
    linears = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    parameters = dict(model.named_parameters())
    for name, group in found.items():
        parameter = parameters[name]
        assert (group["weight_decay"] == 0.1) == (name in decaying and parameter.dim() > 1)
        hidden = id(parameter) in linears and "lm_head" not in name and "token_embeddings" not in name
        assert group["hidden_matrices"] == hidden
        if hidden:
            assert parameter.dim() == 2 and name.endswith("weight")
        if any(part in name for part in ("embeddings", "norm", "bias", "convolution", "scale", "concept_embed")):
            assert not group["hidden_matrices"]
    assert any(group["hidden_matrices"] for group in groups)
    assert not any(group["hidden_matrices"] for group in parameter_groups(model, 0.1, 1e-3))


def test_the_head_is_no_hidden_matrix_tied_or_not():
    for tied in (True, False):
        model = language_model(tie_word_embeddings=tied)
        assert (model.lm_head.weight is model.get_input_embeddings().weight) == tied
        assert not any(matrix is model.lm_head.weight for matrix in hidden_matrices(model))
        assert list(map(id, hidden_matrices(nn.Sequential(model)))) == list(map(id, hidden_matrices(model)))
        assert by_name(model, parameter_groups(model, 0.1, 1.0))["encoder.embeddings.token_embeddings.weight"]
    twins = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3), "table": nn.Embedding(4, 3)})
    twins["b"].weight = twins["a"].weight
    assert len(hidden_matrices(twins)) == 1
    twins["c"] = nn.Linear(3, 4)
    twins["c"].weight = twins["table"].weight
    assert len(hidden_matrices(twins)) == 1
    assert sum(len(group["params"]) for group in parameter_groups(twins, 0.1, 1.0)) == 5


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_groups_hold_each_trainable_parameter_once(data):
    model = MODELS["ConceptEncoderForMaskedDiffusion"]()
    parameters = list(model.parameters())
    numbers = st.integers(0, len(parameters) - 1)
    for number in data.draw(st.sets(numbers)):
        parameters[number].requires_grad_(False)
    own = data.draw(st.dictionaries(numbers, st.sampled_from([1e-4, 1e-3, 2e-3])))
    decay = data.draw(st.sampled_from([0.0, 0.1]))
    rates = [([parameters[number]], rate) for number, rate in own.items()]
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    if not trainable:
        with pytest.raises(ValueError, match="no trainable parameter"):
            parameter_groups(model, decay, 1e-3, rates)
        return
    groups = parameter_groups(model, decay, 1e-3, rates, muon=data.draw(st.booleans()))
    held = [parameter for group in groups for parameter in group["params"]]
    assert sorted(map(id, held)) == sorted(map(id, trainable))
    for group in groups:
        for parameter in group["params"]:
            number = next(n for n, candidate in enumerate(parameters) if candidate is parameter)
            assert group["lr"] == own.get(number, 1e-3)
    keys = [(group["lr"], group["weight_decay"], group["hidden_matrices"]) for group in groups]
    assert len(set(keys)) == len(keys)
    # The main rate first.
    main = [group["lr"] == 1e-3 for group in groups]
    assert main == sorted(main, reverse=True)


def test_own_rates_are_checked():
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    groups = by_name(model, parameter_groups(model, 0.1, 1e-3, [(model[0].parameters(), 1e-5)]))
    assert {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()} == {
        "0.weight": (1e-5, 0.1), "0.bias": (1e-5, 0.0), "1.weight": (1e-3, 0.0), "1.bias": (1e-3, 0.0),
    }  # fmt: skip
    assert len(parameter_groups(model, 0.1, 1e-3, [(model.parameters(), 1e-5)] * 2)) == 2
    with pytest.raises(ValueError, match="0.weight is given two learning rates, 1e-05 and 0.0001; give one"):
        parameter_groups(model, 0.1, 1e-3, [(model[0].parameters(), 1e-5), (model.parameters(), 1e-4)])
    with pytest.raises(ValueError, match=r"A parameter \[1\] with its own learning rate is not the model's"):
        parameter_groups(model, 0.1, 1e-3, [([nn.Parameter(torch.ones(1))], 1e-5)])


# Muon and AdamW as one


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.wide = nn.Linear(6, 16)
        self.norm = nn.LayerNorm(16)
        self.back = nn.Linear(16, 6, bias=False)
        self.queries = nn.Parameter(torch.randn(4, 6))

    def forward(self, ids):
        hidden = self.back(torch.tanh(self.norm(self.wide(self.table(ids))))) @ self.queries.T
        return {"loss": hidden.square().mean() + hidden.mean()}


RATE, DECAY = 0.02, 0.1


def make_pair(fused=None):
    torch.manual_seed(0)
    net = Net()
    groups = parameter_groups(net, DECAY, RATE, [([net.queries], RATE / 4)], muon=True)
    return net, make_optimizer(groups, "muon", betas=(0.8, 0.9), eps=1e-7, momentum=0.9, fused=fused)


def train(net, optimizer, scheduler=None, count=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        net(torch.randint(11, (5,), generator=generator))["loss"].backward()
        optimizer.step()
        net.zero_grad()
        if scheduler is not None:
            scheduler.step()
    return {name: value.detach().clone() for name, value in net.named_parameters()}


class Both:
    """Two optimizers, one after the other."""

    def __init__(self, *optimizers):
        self.optimizers = optimizers

    def step(self):
        for optimizer in self.optimizers:
            optimizer.step()


def assert_equal(found, expected):
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@needs_muon
@pytest.mark.parametrize("fused", [None, True])
def test_a_step_is_that_of_muon_and_that_of_adamw(fused):
    net, optimizer = make_pair(fused)
    found = train(net, optimizer)
    torch.manual_seed(0)
    net = Net()
    muon = torch.optim.Muon(
        [net.wide.weight, net.back.weight], lr=RATE, weight_decay=DECAY, momentum=0.9, adjust_lr_fn="match_rms_adamw"
    )
    adamw = AdamW(
        [
            {"params": [net.table.weight]},
            {"params": [net.wide.bias, net.norm.weight, net.norm.bias], "weight_decay": 0.0},
            {"params": [net.queries], "lr": RATE / 4},
        ],
        lr=RATE, weight_decay=DECAY, betas=(0.8, 0.9), eps=1e-7, fused=fused,
    )  # fmt: skip

    assert_equal(found, train(net, Both(muon, adamw)))


@needs_muon
def test_muons_update_has_the_size_of_adamws():
    """Liu et al. 2025: the root mean square of an update is 0.2 to 0.4 of the learning rate, whatever the shape."""
    torch.manual_seed(0)
    for rows, columns in ((32, 128), (128, 32), (64, 64)):
        layer = nn.Linear(columns, rows, bias=False)
        before = layer.weight.detach().clone()
        layer.weight.grad = torch.randn(rows, columns)
        make_optimizer(parameter_groups(layer, 0.0, 1e-3, muon=True), "muon").step()
        size = (layer.weight - before).square().mean().sqrt() / 1e-3
        assert 0.15 < size < 0.3


@needs_muon
@pytest.mark.parametrize("fused", [None, True])
def test_a_loaded_optimizer_goes_on_exactly(fused):
    net, optimizer = make_pair(fused)
    scheduler = get_scheduler("linear", optimizer, 2, 10)
    train(net, optimizer, scheduler)
    stream = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, stream)
    stream.seek(0)
    state = torch.load(stream, weights_only=True)

    other, loaded = make_pair(fused)
    other_scheduler = get_scheduler("linear", loaded, 2, 10)
    train(other, loaded, seed=5)
    other.load_state_dict(net.state_dict())
    loaded.load_state_dict(state["optimizer"])
    other_scheduler.load_state_dict(state["scheduler"])
    assert_equal(train(other, loaded, other_scheduler, seed=1), train(net, optimizer, scheduler, seed=1))
    assert [group["lr"] for group in loaded.param_groups] == [group["lr"] for group in optimizer.param_groups]
    assert repr(loaded.state_dict()) == repr(optimizer.state_dict())


@needs_muon
def test_groups_and_state_are_the_optimizers_own():
    net, optimizer = make_pair()
    for _ in range(2):
        own = [group for part in optimizer.optimizers for group in part.param_groups]
        assert len(own) == len(optimizer.param_groups) == 4
        assert all(group is other for group, other in zip(own, optimizer.param_groups))
        assert all(part.state is optimizer.state for part in optimizer.optimizers)
        train(net, optimizer, count=1)
        assert set(optimizer.state) == set(net.parameters())
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    with pytest.raises(RuntimeError, match="cannot be added to a CombinedOptimizer; make it from all groups"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]})


def test_optimizers_that_have_stepped_are_combined_with_their_state():
    def make():
        torch.manual_seed(0)
        net = Net()
        return net, [AdamW(net.wide.parameters(), lr=0.1), AdamW(net.norm.parameters(), lr=0.2)]

    net, (first, second) = make()
    train(net, first, count=2)
    combined = train(net, CombinedOptimizer([first, second]), count=2, seed=1)
    net, (first, second) = make()
    train(net, first, count=2)
    assert_equal(train(net, Both(first, second), count=2, seed=1), combined)


@needs_muon
def test_a_closure_is_called_once_with_gradients():
    net, optimizer = make_pair()
    calls = []

    def closure():
        optimizer.zero_grad()
        loss = net(torch.arange(5))["loss"]
        loss.backward()
        calls.append(loss)
        return loss

    assert optimizer.step(closure) is calls[0] and len(calls) == 1
    assert make_pair()[1].step() is None


@needs_muon
@pytest.mark.parametrize("name", ["linear", "cosine", "warmup_stable_decay", "constant_with_warmup"])
def test_schedules_change_all_groups(name):
    net, optimizer = make_pair()
    optimizer = Accelerator(cpu=True).prepare(optimizer)
    assert isinstance(optimizer, AcceleratedOptimizer)
    initial = [group["lr"] for group in optimizer.param_groups]
    assert sorted(set(initial)) == [RATE / 4, RATE]
    options = wsd_defaults(10) if name == "warmup_stable_decay" else {}
    scheduler = get_scheduler(name, optimizer, 4, 10, options)
    for step in range(8):
        factors = {round(group["lr"] / rate, 12) for group, rate in zip(optimizer.param_groups, initial)}
        assert len(factors) == 1
        if step < 4:
            assert factors == {step / 4}
        parts = [group for part in optimizer.optimizer.optimizers for group in part.param_groups]
        assert [group["lr"] for group in parts] == [group["lr"] for group in optimizer.param_groups]
        before = {name: value.detach().clone() for name, value in net.named_parameters()}
        after = train(net, optimizer, scheduler, count=1, seed=step)
        moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
        assert moved == (set(after) if step else set())


@needs_muon
def test_transformers_trainer_resumes_exactly(tmp_path):
    rows = [{"ids": torch.tensor([number % 11, number % 7])} for number in range(12)]

    class MuonTrainer(Trainer):
        def create_optimizer(self, model=None):
            if self.optimizer is None:
                groups = parameter_groups(self.model, 0.1, self.args.learning_rate, muon=True)
                self.optimizer = make_optimizer(groups, "muon")
            return self.optimizer

    def run(**options):
        torch.manual_seed(0)
        arguments = TrainingArguments(
            output_dir=str(tmp_path), per_device_train_batch_size=2, max_steps=6, save_steps=3, logging_steps=1,
            learning_rate=0.01, lr_scheduler_type="cosine", warmup_steps=2, use_cpu=True, report_to="none",
            disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = MuonTrainer(model=Net(), args=arguments, train_dataset=rows)
        trainer.train(**options)
        return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], trainer.model.state_dict()

    (whole, weights), (resumed, other) = run(), run(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert len(whole) == 6 and resumed == whole
    assert_equal(other, weights)


@needs_muon
def test_optimizers_are_asked_for_correctly(monkeypatch):
    net = Net()
    adamw = make_optimizer(parameter_groups(net, 0.1, 1e-3))
    assert type(adamw) is AdamW and adamw.param_groups[0]["betas"] == (0.9, 0.95)
    assert type(make_optimizer(parameter_groups(net, 0.1, 1e-3, muon=True))) is AdamW
    with pytest.raises(ValueError, match="matrix_optimizer is 'adamw' or 'muon', not 'lion'"):
        make_optimizer(parameter_groups(net, 0.1, 1e-3), "lion")
    with pytest.raises(ValueError, match=r"needs groups of hidden matrices: parameter_groups\(\.\.\., muon=True\)"):
        make_optimizer(parameter_groups(net, 0.1, 1e-3), "muon")
    monkeypatch.delattr(torch.optim, "Muon")
    monkeypatch.setattr(torch, "__version__", "2.5.1")
    with pytest.raises(ValueError, match="matrix_optimizer='muon' needs torch 2.9 or newer; this is 2.5.1"):
        make_optimizer(parameter_groups(net, 0.1, 1e-3, muon=True), "muon")


# The schedule


@settings(deadline=None)
@given(steps=st.integers(20, 400), warmup=st.integers(0, 15))
def test_the_last_fifth_decays_as_one_minus_square_root(steps, warmup):
    layer = nn.Linear(1, 1)
    optimizer = AdamW(layer.parameters(), lr=1.0)
    scheduler = get_scheduler("warmup_stable_decay", optimizer, warmup, steps, wsd_defaults(steps))
    decay = -(-steps // 5)
    for step in range(steps + 1):
        if step < warmup:
            expected = step / warmup
        elif step <= steps - decay:
            expected = 1.0
        else:
            expected = 1 - math.sqrt((step - (steps - decay)) / decay)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected, abs=1e-9)
        optimizer.step()
        scheduler.step()


def test_arguments_of_the_schedule_win():
    given_ones = {"num_decay_steps": 7, "decay_type": "cosine", "min_lr_ratio": 0.1}
    assert wsd_defaults(100, given_ones) == given_ones
    assert wsd_defaults(101, {"warmup_type": "cosine"}) == {
        "num_decay_steps": 21, "decay_type": "1-sqrt", "warmup_type": "cosine",
    }  # fmt: skip
    assert wsd_defaults(10) == wsd_defaults(10, None) == wsd_defaults(10, {})
