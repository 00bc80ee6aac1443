# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Two gloo processes, as cpu.yaml of examples/ starts them, do together what one does alone."""

import json
import os
import socket
import subprocess
import sys

import pytest
from datasets import Dataset

from trainers.checkpoints import verify_checkpoint

from ..conftest import ROOT
from . import distributed_script


@pytest.fixture(scope="module")
def two(tokenizer, pieces, teacher, tmp_path_factory):
    """The folder of the two processes, and what each of them found."""
    folder = tmp_path_factory.mktemp("two")
    tokenizer.save_pretrained(folder / "tokenizer")
    pieces.save_to_disk(folder / "pieces")
    (folder / "shards").mkdir()
    for shard in range(4):
        rows = {"input_ids": [[2, 10 * shard + n + 5, 3] for n in range(8)]}
        Dataset.from_dict(rows).to_parquet(folder / "shards" / f"train-{shard:05d}-of-00004.parquet")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = ["accelerate.commands.launch", "--config_file", ROOT / "examples" / "accelerate_configs" / "cpu.yaml"]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HOME": str(folder / "home")}
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "--main_process_port", port, distributed_script.__file__, folder, teacher],
        capture_output=True, text=True, timeout=600, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return folder, [json.loads((folder / f"found_{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_are_one(two, tokenizer, pieces, teacher, tmp_path):
    found = distributed_script.train_all(tmp_path, teacher, tokenizer, pieces)
    for folder in (tmp_path, two[0]):
        for step in (1, 2, 3):
            verify_checkpoint(folder / "run_0" / f"checkpoint-{step}")
    for one, both in zip(found, two[1][0]["runs"], strict=True):
        assert both["run"] == one["run"]
        assert both["loss"] == pytest.approx(one["loss"], rel=1e-5), one["run"]
        assert both["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-5), one["run"]
        assert both["eval"] == pytest.approx(one["eval"], rel=1e-5, abs=1e-6), one["run"]
        assert both["terms"] == pytest.approx(one["terms"], rel=1e-4, abs=1e-5), one["run"]


def test_each_process_reads_its_own_shards(two):
    """No text of a stream twice, none left out."""
    seen = [found["seen"] for found in two[1]]
    assert set(seen[0]).isdisjoint(seen[1])
    assert sorted(seen[0] + seen[1]) == sorted(10 * shard + n + 5 for shard in range(4) for n in range(8))


def test_a_sharded_step_is_the_same(two):
    """FSDP2: loss, gradients and the gathered state, against the unsharded module."""
    assert all(found["share"] < 0.7 for found in two[1])
