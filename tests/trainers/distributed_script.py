# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Started by accelerate: what several processes do together, and what they found as JSON. One start, as imports take
most of the time."""

import copy
import json
import os
import sys
from pathlib import Path

import datasets
import torch
import transformers
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from transformers import AutoTokenizer

from tests.conftest import TEXTS
from tests.trainers.kit import RUNS, clean_batch, leave_process_group, make_model, make_trainer, step_noise
from trainers.losses.terms import make_weighting, parse_terms
from trainers.objectives import Contrastive, Denoising, Mixture, PrefixDiffusion
from trainers.training_model import StepBatch, TrainingModel


try:
    from torch.distributed.fsdp import fully_shard
except ImportError:  # before torch 2.6
    from torch.distributed._composable.fsdp import fully_shard


def train_all(folder, teacher, tokenizer, pieces, processes=1):
    """Every run with as many processes as there are; the first saves at each step. The last, whose loss depends on the
    batches of a step, is evaluated before its training."""
    found = []
    for number, (objective, losses) in enumerate([*RUNS, ("contrastive", "vicreg/content:0.1")]):
        trainer = make_trainer(
            tokenizer, pieces, folder / f"run_{number}", teacher=teacher, objective=objective,
            concept_losses=losses, max_steps=3, optim="sgd", learning_rate=0.1,
            ddp_backend="gloo" if processes > 1 else None, per_device_train_batch_size=8 // processes,
            per_device_eval_batch_size=3, concept_metric_samples=0, save_strategy="no" if number else "steps",
            save_steps=1, save_total_limit=3, softmax_samples=8,
        )  # fmt: skip
        compares_texts = trainer.training_model.compares_texts
        metrics = trainer.evaluate() if compares_texts else None
        trainer.train()
        assert trainer.accelerator.num_processes == processes
        entries = [entry for entry in trainer.state.log_history if "loss" in entry and not compares_texts]
        metrics = metrics or trainer.evaluate()
        found.append(
            {
                "run": [objective, losses],
                "loss": [entry["loss"] for entry in entries],
                "grad_norm": [entry["grad_norm"] for entry in entries],
                "terms": {k: v for entry in entries for k, v in entry.items() if k.startswith("loss/")},
                "eval": {k: v for k, v in metrics.items() if k.endswith("loss") or "accuracy" in k},
            }
        )
    return found


def read_a_stream(folder, tokenizer):
    """Which texts of a stream this process trains on."""
    stream = datasets.load_dataset(str(folder / "shards"), streaming=True)["train"]
    trainer = make_trainer(tokenizer, stream, folder / "streamed", max_steps=4, ddp_backend="gloo")
    seen = []
    plan_step = trainer.plan_step

    def spy(batches):
        seen.extend(token for batch in batches for token in batch["input_ids"][:, 1].tolist())
        return plan_step(batches)

    trainer.plan_step = spy
    trainer.train()
    return seen


def shard_a_step(tokenizer):
    """A step of the training model, sharded by FSDP2 over the processes, against the same whole; returns the share of
    the parameters that a process holds."""
    objectives = {"denoising": Denoising(), "prefix_diffusion": PrefixDiffusion(), "contrastive": Contrastive()}
    mixture = Mixture(objectives, {"denoising": 0.5, "prefix_diffusion": 0.5}, {"contrastive": 0.1})
    terms = parse_terms("vicreg:0.1")
    torch.manual_seed(0)
    model = make_model("prefix_diffusion", tokenizer, decoder_target="both")
    whole = TrainingModel(model, mixture, terms, make_weighting("fixed", terms))
    sharded = copy.deepcopy(whole)
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    for module in sharded.modules():
        if type(module).__name__ in sharded._no_split_modules:
            fully_shard(module, mesh=mesh)
    fully_shard(sharded, mesh=mesh)

    clean = clean_batch(tokenizer, tokenizer(TEXTS * 2)["input_ids"])
    inputs = mixture.assign(clean, step_noise(clean))
    items = {name: objectives[name].items(value) for name, value in inputs.items()}
    batch, found = StepBatch(inputs, items, mixture.weights(set(inputs)), texts=8), []
    for module in (whole, sharded):
        result = module(batch)
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
    return sum(sizes) / len(sizes)


def main(folder, teacher):
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    pieces = datasets.load_from_disk(folder / "pieces")
    found = {
        "runs": train_all(folder, teacher, tokenizer, pieces, int(os.environ["WORLD_SIZE"])),
        "seen": read_a_stream(folder, tokenizer),
        "share": shard_a_step(tokenizer),
    }
    (folder / f"found_{torch.distributed.get_rank()}.json").write_text(json.dumps(found))
    leave_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
