# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Started by torchrun: a step of the training model, sharded by FSDP2 over the processes, against the same whole."""

import copy
import json
import sys

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh

from tests.conftest import TEXTS
from tests.trainers.kit import clean_batch, leave_process_group, make_model, step_noise
from trainers.loss_terms import make_weighting, parse_terms
from trainers.objectives import Contrastive, Denoising, Mixture, PrefixDiffusion
from trainers.step import StepBatch, StepPlan
from trainers.tokenizer_training import train_tokenizer
from trainers.training_model import TrainingForms, TrainingModel


try:
    from torch.distributed.fsdp import fully_shard
except ImportError:  # before torch 2.6
    from torch.distributed._composable.fsdp import fully_shard


def main(path):
    torch.distributed.init_process_group("gloo")
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(TEXTS * 4, vocab_size=320, max_length=64)
    objectives = {"denoising": Denoising(), "prefix_diffusion": PrefixDiffusion(), "contrastive": Contrastive()}
    mixture = Mixture(objectives, {"denoising": 0.5, "prefix_diffusion": 0.5}, {"contrastive": 0.1})
    terms = parse_terms("vicreg:0.1", None, {})
    torch.manual_seed(0)
    model = make_model("prefix_diffusion", tokenizer, decoder_target="both")
    whole = TrainingModel(model, mixture, terms, make_weighting("fixed", terms), TrainingForms())
    sharded = copy.deepcopy(whole)
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    for module in sharded.modules():
        if type(module).__name__ in sharded._no_split_modules:
            fully_shard(module, mesh=mesh)
    fully_shard(sharded, mesh=mesh)

    clean = clean_batch(tokenizer, tokenizer(TEXTS * 2)["input_ids"])
    inputs = mixture.assign(clean, step_noise(clean))
    items = {name: objectives[name].items(value) for name, value in inputs.items()}
    plan, found = StepPlan(items, mixture.weights(set(inputs)), texts=8), []
    for module in (whole, sharded):
        result = module(StepBatch(inputs), plan)
        result["loss"].backward()
        gradients = {
            name: value.grad.full_tensor() if hasattr(value.grad, "full_tensor") else value.grad
            for name, value in module.named_parameters()
        }
        found.append((result["loss"].detach(), gradients))
    torch.testing.assert_close(found[1][0], found[0][0])
    assert set(found[0][1]) == set(found[1][1])
    for name, value in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], value, atol=1e-6, rtol=1e-4, msg=name)
    state = get_model_state_dict(sharded, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if torch.distributed.get_rank() == 0:
        plain = model.state_dict()
        saved = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
        assert all(torch.equal(saved[name], plain[name]) for name in plain)
        sizes = [value.to_local().numel() / value.numel() for value in sharded.parameters()]
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"parameters": len(sizes), "share": sum(sizes) / len(sizes)}, file)
    leave_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
