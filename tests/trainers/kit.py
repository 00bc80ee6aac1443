# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Small models, batches and trainers for the tests of training."""

import os
import re
import sys

import torch

from trainers import ConceptTrainer, ConceptTrainingArguments
from trainers.model_types import MODEL_TYPES, find_model_type, model_type_for
from trainers.objectives import OBJECTIVES
from trainers.objectives.noise import Noise
from trainers.objectives.vocabulary import CleanBatch, Vocabulary

from ..modeling.zoo import make_config


ALL_LOSSES = "t_regs_mst:0.1,orthogonality:0.1,soft_orthogonality:0.1,uniformity:0.1,t_regs_nearest:0.1"
MIXTURE = "masked_lm:0.3,prefix_diffusion:0.4,masked_diffusion:0.3,+distillation:0.1"

# Every objective, and everything at once, but for what compares texts, which depends on the batches of a step.
RUNS = [(name, None) for name in OBJECTIVES if name != "contrastive"] + [
    ("denoising", ALL_LOSSES),
    (MIXTURE, "t_regs_mst:0.01,uniformity:0.1"),
]


def objective_options(name, teacher):
    """What must be given to an objective, beside its defaults."""
    return {"teacher": str(teacher)} if name == "distillation" else {}


def make_objective(name, teacher, **options):
    return OBJECTIVES[name](**objective_options(name, teacher), **options)


def clean_batch(tokenizer, rows) -> CleanBatch:
    """Texts, token ids, as an objective gets them."""
    rows = [list(row) for row in rows]
    batch = tokenizer.pad({"input_ids": rows}, return_tensors="pt", padding_side="right")
    return CleanBatch(batch["input_ids"], batch["attention_mask"], Vocabulary.of(tokenizer))


def step_noise(batch: CleanBatch, seed=0, step=0) -> Noise:
    rows, width = batch.input_ids.shape
    return Noise.for_step(seed, step, torch.arange(rows), rows, width)


def text_noise(batch: CleanBatch, seed=0) -> Noise:
    return Noise.for_texts(batch.input_ids, batch.attention_mask, seed)


def make_model(model_type, tokenizer, seed=0, **options):
    """A small model of a model type, the same for the same seed."""
    torch.manual_seed(seed)
    kind = find_model_type(model_type)
    sizes = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "max_sequence_length": 64}
    options = {**sizes, "mask_token_id": tokenizer.mask_token_id, **options}
    return kind.model_class(make_config(kind.model_class, **options))


def make_trainer(tokenizer, pieces, folder, model_type=None, model=None, teacher=None, eval_dataset=None, **options):
    """A trainer of a small model that suits the objective, which evaluates on `pieces` unless another set is given;
    `options` are training arguments."""
    defaults = {
        "use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "eval_strategy": "no",
        "logging_steps": 1, "per_device_train_batch_size": 4, "max_steps": 2, "warmup_steps": 0,
    }  # fmt: skip
    if re.search(r"\bdistillation", options.get("objective") or ""):
        defaults["teacher"] = str(teacher)
    arguments = ConceptTrainingArguments(output_dir=str(folder), **{**defaults, **options})
    default = MODEL_TYPES[model_type].objective if model_type else "denoising"
    mixture = arguments.make_mixture(default)
    if model is None:
        needed = {"decoder_target": "both"} if mixture.decoder_target == "both" else {}
        if mixture.mean_only:
            needed["concept_mean"] = "free"
        model = make_model(model_type or model_type_for(mixture), tokenizer, **needed)
    return ConceptTrainer(
        model, arguments, objective=mixture, processing_class=tokenizer, train_dataset=pieces,
        eval_dataset=pieces if eval_dataset is None else eval_dataset,
    )  # fmt: skip


def step_losses(trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def leave_process_group():
    """The end of a script under torchrun, when all that it checks has been checked; it does not return.

    No process goes before the last one is done, and none runs the interpreter's teardown: threads of gloo that still
    live there end a process by `std::terminate` now and then, which says nothing of what the script is about.
    """
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
