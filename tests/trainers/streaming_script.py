# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Started by torchrun: which texts of a stream this process trains on, as JSON."""

import json
import sys
from pathlib import Path

import datasets
import transformers

from tests.conftest import TEXTS
from tests.trainers.kit import leave_process_group, make_trainer
from trainers.tokenizer_training import train_tokenizer


def main(folder):
    transformers.logging.set_verbosity_error()
    tokenizer = train_tokenizer(TEXTS * 4, vocab_size=320, max_length=64)
    stream = datasets.load_dataset(folder, streaming=True)["train"]
    trainer = make_trainer(tokenizer, stream, Path(folder) / "run", max_steps=4, ddp_backend="gloo")
    seen = []
    plan_step = trainer.plan_step

    def spy(batches):
        seen.extend(token for batch in batches for token in batch["input_ids"][:, 1].tolist())
        return plan_step(batches)

    trainer.plan_step = spy
    trainer.train()
    rank = trainer.accelerator.process_index
    (Path(folder) / f"seen_{rank}.json").write_text(json.dumps(seen))
    leave_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
