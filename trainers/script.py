# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What the scripts in `examples/` share: options, checkpoints, untrained networks, facts of a run, errors."""

import json
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import HfArgumentParser

from .data import first_line
from .runs import git_state


MAIN_JOB = "python examples/run_pretraining.py"
CONCEPT_MODEL_TYPES = ("concept_encoder", "recursive_concept_encoder")


def parse_arguments(*classes: type) -> tuple:
    """
    An object of each dataclass from the command line. A JSON file given first holds further options; what follows it
    on the command line goes before it.

    Raises:
        ValueError: a file that cannot be read, an option that no class has, or values that a class refuses.
    """
    arguments = sys.argv[1:]
    if arguments and arguments[0].endswith(".json"):
        arguments = [*read_arguments(arguments[0]), *arguments[1:]]
    parser = HfArgumentParser(classes, allow_abbrev=False)
    *found, unknown = parser.parse_args_into_dataclasses(arguments, return_remaining_strings=True)
    if unknown:
        raise ValueError(f"There is no option {unknown[0]}; --help shows those that there are.")
    return tuple(found)


def read_arguments(path: str) -> list[str]:
    """The options of a JSON file as they would stand on the command line."""
    try:
        options = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"The options of {path} cannot be read: {first_line(error)}") from error
    return option_words(options)


def option_words(options: dict) -> list[str]:
    """Options as they would stand on the command line; those that are None are left out."""
    found = []
    for name, value in options.items():
        if value is None:
            continue
        values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        found += [f"--{name}", *map(str, values)]
    return found


def newest_checkpoint(folder: str | Path = "outputs", option: str = "--model_name_or_path") -> str:
    """
    The folder below `folder` that holds the concept checkpoint saved last; `option`: how a user names another.

    Raises:
        ValueError: there is none; the message holds the command that makes one.
    """
    found = []
    for config in Path(folder).glob("*/config.json"):
        weights = [*config.parent.glob("model*.safetensors")]
        if weights and json.loads(config.read_text(encoding="utf-8")).get("model_type") in CONCEPT_MODEL_TYPES:
            found.append((max(file.stat().st_mtime for file in weights), str(config.parent)))
    if not found:
        raise ValueError(
            f"There is no checkpoint in {folder}/: give {option}, a folder or a Hub id, or make one in "
            f"five minutes by `{MAIN_JOB}`."
        )
    return max(found)[1]


def untrained_like(model, seed: int):
    """A network of the same class and configuration, as it is before training, with the same tokenizer and the weights
    that tokens have by their frequency."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        untrained = type(model)(model.config).eval().to(model.device)
    if model.base_model.token_weights is not None:
        untrained.base_model.token_weights.weights.copy_(model.base_model.token_weights.weights)
    untrained.tokenizer = model.tokenizer
    return untrained


def command_line(script: str | None = None) -> str:
    """The command that is running, without a token that was given in it; `script`: name of what runs, if another."""
    shown = [re.sub(r"(token=).+", r"\1…", word) for word in sys.argv]
    for place, word in enumerate(sys.argv[:-1]):
        if word.startswith("--") and word.endswith("token"):
            shown[place + 1] = "…"
    return "python " + shlex.join([script or shown[0], *shown[1:]])


def run_facts(*arguments) -> dict:
    """What a JSON file of results says of the run: command, given dataclasses, versions, git state; no token."""
    facts = {"command": command_line()}
    for given in arguments:
        facts |= asdict(given) if is_dataclass(given) else dict(given)
    facts = {name: value for name, value in facts.items() if not name.endswith("token")}
    return {**facts, "torch": torch.__version__, "transformers": transformers.__version__, **git_state()}


def run_script(main: Callable[[], None]) -> None:
    """Call `main`; what the user gave wrong ends in one sentence, without a traceback."""
    try:
        main()
    except StrictDataclassError as error:  # of a configuration; its cause is the sentence
        sys.exit(first_line(error.__cause__ or error))
    except (ValueError, OSError) as error:
        sys.exit(str(error))
