# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Started by torchrun: the runs of a plan with as many processes as there are, and what they found as JSON."""

import json
import os
import sys
from pathlib import Path

import datasets
import torch
import transformers
from transformers import AutoTokenizer

from tests.trainers.kit import leave_process_group, make_trainer


def main(path):
    plan = json.loads(Path(path).read_text())
    folder = Path(plan["folder"])
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    pieces = datasets.load_from_disk(folder / "pieces")
    found = []
    for number, (objective, losses) in enumerate(plan["runs"]):
        trainer = make_trainer(
            tokenizer, pieces, folder / f"run_{number}", teacher=plan["teacher"], objective=objective,
            concept_losses=losses, max_steps=3, optim="sgd", learning_rate=0.1, ddp_backend="gloo",
            per_device_train_batch_size=8 // int(os.environ["WORLD_SIZE"]), per_device_eval_batch_size=3,
            concept_metric_samples=0, save_strategy="no" if number else "steps", save_steps=1,
            save_total_limit=3,
        )  # fmt: skip
        trainer.train()
        entries = [entry for entry in trainer.state.log_history if "loss" in entry]
        metrics = trainer.evaluate()
        found.append(
            {
                "run": [objective, losses],
                "loss": [entry["loss"] for entry in entries],
                "grad_norm": [entry["grad_norm"] for entry in entries],
                "terms": {k: v for entry in entries for k, v in entry.items() if k.startswith("loss/")},
                "eval": {k: v for k, v in metrics.items() if k.endswith("loss") or "accuracy" in k},
            }
        )
    if trainer.is_world_process_zero():
        (folder / f"found_{trainer.accelerator.num_processes}.json").write_text(json.dumps(found))
    if torch.distributed.is_initialized():
        leave_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
