# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Processes: as many as a configuration says, which train together or are refused; packages that are not there."""

import os
import socket

import pytest
import yaml
from accelerate.commands.launch import launch_command, launch_command_parser

from trainers import ConceptTrainingArguments
from trainers.fine_tuning.training import FineTuningArguments

from ..conftest import ROOT


CONFIGS = sorted((ROOT / "examples" / "accelerate_configs").glob("*.yaml"))


def launch(config, *options):
    """`accelerate launch` in a process of its own; its id."""
    child = os.fork()
    if child == 0:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        os.dup2(devnull, 2)
        try:
            launch_command(launch_command_parser().parse_args(["--config_file", str(config), *map(str, options)]))
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_starts_the_processes_that_it_says(config, tmp_path):
    said = yaml.safe_load(config.read_text())
    script = tmp_path / "script.py"
    script.write_text(
        "import os, pathlib, sys\n"
        "pathlib.Path(sys.argv[1], 'rank_' + os.environ.get('RANK', '-')).write_text(os.environ['WORLD_SIZE'])\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    machines = [
        launch(config, "--machine_rank", rank, "--main_process_port", port, script, tmp_path)
        for rank in range(said["num_machines"])
    ]
    assert [os.waitpid(child, 0)[1] for child in machines] == [0] * len(machines)
    found = {path.name: path.read_text() for path in tmp_path.glob("rank_*")}
    processes = said["num_processes"]
    assert found == {f"rank_{rank}": str(processes) for rank in range(processes)}


@pytest.mark.parametrize("arguments", [ConceptTrainingArguments, FineTuningArguments])
def test_processes_that_would_train_alone_are_refused(arguments, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(arguments, "world_size", 1)
    with pytest.raises(ValueError, match="2 processes were started, but .* train alone: add --use_cpu"):
        arguments(output_dir=str(tmp_path / "run"), report_to="none")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(arguments, "world_size", 2)
    arguments(output_dir=str(tmp_path / "run"), report_to="none")
