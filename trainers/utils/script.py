# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What the scripts in `examples/` share: options, checkpoints, facts of a run, errors."""

import inspect
import json
import os
import re
import shlex
import sys
from argparse import ArgumentDefaultsHelpFormatter
from collections.abc import Callable, Iterable
from dataclasses import asdict, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from pickle import UnpicklingError

import torch
import transformers
from huggingface_hub.errors import HTTPError, StrictDataclassError
from transformers import HfArgumentParser

from modeling_concept import ConceptEncoderConfig, OriginalConceptEncoderConfig
from modeling_concept.configuration_concept import ENCODERS

from .errors import TrainingDivergedError, first_line
from .plain_text import one_line
from .runs import git_state


MAIN_JOB = "python examples/run_pretraining.py"
CONCEPT_MODEL_TYPES = tuple(ENCODERS)
CONFIG_VALUES = ConceptEncoderConfig.own_options() | OriginalConceptEncoderConfig.own_options()

# Options that older commands and recipes have.
CONSTANTS = ("span_min", "span_max", "max_iterations", "hidden_share", "shortest_crop")
REMOVED = (
    "matryoshka", "concept_noise", "backprop_iterations", "step_supervision", "queue_size", "projector_dim",
    "num_draws", "predictor_layers",
)  # fmt: skip

# Options of other programs and of earlier versions whose name leads to no option here; of several, a script has one.
OTHER_NAMES = {
    **dict.fromkeys(("checkpoint", "input", "model", "model_path"), ("--model_name_or_path",)),
    **dict.fromkeys(("limit", "num_samples"), ("--max_train_samples", "--max_eval_samples")),
    "repo_id": ("--hub_model_id",),
    "tasks": ("--task_name",),
    "lr": ("--learning_rate",),
    "max_length": ("--max_seq_length",),
    "output_json": ("--output_dir, a folder that gets a results.json",),
    "use_bixt": ("--encoder_type bixt",),
    "elbo_weight": ("--elbo_weighting self_normalised for True, --elbo_weighting none for False",),
    "loss_weight": ("give each concept loss its weight: --concept_losses vicreg:0.01,t_regs_mst:0.01",),
    "t_regs_form": ("choose the loss by its name: --concept_losses t_regs_mst:0.01 or t_regs_nearest:0.01",),
    "matrix_optimizer": ("--optim",),
    **dict.fromkeys(CONSTANTS, ("its value is a constant of the package: leave it out",)),
    **dict.fromkeys(REMOVED, ("the package no longer has it: leave it out",)),
    "overwrite_output_dir": ("no run is overwritten: choose another --output_dir",),
    "special_ends": ("a tokenizer trained from the data adds no special tokens: give another by --tokenizer_name",),
    "min_deletion_rate": ("--deletion_rate with both ends of its range",),
    **dict.fromkeys(("prefix_min", "prefix_max"), ("--prefix_share with both ends of its range",)),
    "sif_smoothing": ("--config_overrides concept_mean=uniform, with which all tokens weigh the same",),
    "pair_column": ("texts that mean the same are for sentence-transformers, which loads the checkpoint",),
    "short_piece_probability": ("a tenth of the training pieces is shorter: leave it out",),
    "validation_split_percentage": ("--validation_file; without one a part of train is held out",),
    "preprocessing_num_workers": ("the tokenizer uses all cores by itself: leave it out",),
    "cache_dir": ("set the environment variable HF_DATASETS_CACHE",),
}

# What a user can put right: options, files, data, packages, memory, the connection.
USER_ERRORS = (
    ValueError, OSError, ImportError, HTTPError, StrictDataclassError, TrainingDivergedError, UnpicklingError,
    MemoryError, torch.OutOfMemoryError,
)  # fmt: skip


class HelpFormatter(ArgumentDefaultsHelpFormatter):
    """Help without defaults that only stand for an option that is not given."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, []) else super()._get_help_string(action)


class OptionParser(HfArgumentParser):
    """
    Options from dataclasses. Whatever is wrong with them is a ValueError of one sentence; `--help` shows them by the
    class that defines them, without those of transformers, which `--help_all` adds.

    Args:
        classes: dataclasses, one object of each of which is made.
        keep_unknown: options that no class has are returned, not refused.
    """

    def __init__(self, classes: Iterable[type], keep_unknown: bool = False):
        description = (sys.modules["__main__"].__doc__ or "").strip().split("\n\n")[0]
        super().__init__(
            classes, description=description, usage="%(prog)s [options.json] [--option value …]", allow_abbrev=False,
            formatter_class=HelpFormatter,
        )  # fmt: skip
        self.keep_unknown = keep_unknown
        text = "Show this help with the options of transformers, such as --seed, where the script has them."
        self.add_argument("--help_all", action="help", help=text)
        self.group_options(every="--help_all" in sys.argv)

    def group_options(self, every: bool) -> None:
        """Show each option once, under one spelling, with the class that defines it; those of transformers only if
        `every`."""
        owners = {name: cls for given in self.dataclass_types for cls in reversed(given.__mro__)
                  for name in inspect.get_annotations(cls)}  # fmt: skip
        self._optionals._group_actions = [action for action in self._actions if action.dest not in owners]
        groups, shown = {}, set()
        for action in self._actions:
            owner = owners.get(action.dest)
            if owner is None or action.dest in shown:
                continue
            foreign = owner.__module__.startswith("transformers.")
            if foreign and not every:
                continue
            if owner not in groups:
                first = re.split(r"\.\s", re.sub(r"\[?`\]?", "", owner.__doc__), maxsplit=1)[0]
                title = f"transformers.{owner.__name__}" if foreign else " ".join(first.split()).rstrip(".")
                groups[owner] = self.add_argument_group(title)
            action.option_strings = action.option_strings[:1]
            groups[owner]._group_actions.append(action)
            shown.add(action.dest)

    def error(self, message):
        raise ValueError(f"{message.removeprefix('argument ').rstrip('.')}.")

    def parse_known_args(self, args=None, namespace=None):
        args = sys.argv[1:] if args is None else list(args)
        for word in () if self.keep_unknown else args:
            name = word.partition("=")[0]
            if re.match(r"--[^ =]+$", name) and name not in self._option_string_actions:
                self.refuse(name)
        namespace, rest = super().parse_known_args(args, namespace)
        if rest and not self.keep_unknown:
            raise ValueError(f"{rest[0]!r} belongs to no option; a JSON file of options is given first.")
        return namespace, rest

    def refuse(self, word: str):
        """ValueError for an option that does not exist, with the one that was probably meant."""
        name, known = word.lstrip("-").replace("-", "_"), {action.dest for action in self._actions}
        ways = [text for text in OTHER_NAMES.get(name, ()) if re.match(r"--(\w+)|", text)[1] in (None, *known)]
        near = sorted(option for option in known if name in option)
        near = near or [option for option in get_close_matches(name, known) if option[0] == name[0]]
        hint = "see --help."
        if ways:
            hint = f"{'write ' * ways[0].startswith('--')}{' or '.join(ways)}."
        elif "config_overrides" in known and name in CONFIG_VALUES:
            hint = f"it is a value of the configuration: write --config_overrides {name}=…"
        elif near:
            hint = f"did you mean {' or '.join(f'--{option}' for option in near[:3])}?"
        raise ValueError(f"There is no option --{name}; {hint}")


def parse_arguments(*classes: type, keep_unknown: bool = False) -> tuple:
    """
    An object of each dataclass from the command line. A JSON file given first holds further options, over which those
    of the command line take precedence. With `keep_unknown` the words that are no option come last.

    Raises:
        ValueError: a file that cannot be read, an option that no class has, or values that a class refuses.
    """
    parser, arguments = OptionParser(classes, keep_unknown), sys.argv[1:]
    if arguments and arguments[0].endswith(".json"):
        arguments = [*option_words(read_arguments(arguments[0])), *arguments[1:]]
    return parser.parse_args_into_dataclasses(arguments, return_remaining_strings=keep_unknown)


def read_arguments(path: str) -> dict:
    """The options of a JSON file."""
    try:
        return dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"The options of {path} cannot be read: {first_line(error)}") from error


def option_words(options: dict) -> list[str]:
    """Options as on the command line; those that are None are left out."""
    words = []
    for name, value in options.items():
        values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        words += [] if value is None else [f"--{name}", *map(str, values)]
    return words


def newest_checkpoint(folder: str | Path = "outputs") -> str:
    """
    The folder below `folder` that holds the concept checkpoint saved last.

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
            f"There is no checkpoint in {folder}/: give --model_name_or_path, a folder or a Hub id, or make one in "
            f"five minutes by `{MAIN_JOB}`."
        )
    return max(found)[1]


def command_line(script: str | None = None, shared: bool = False) -> str:
    """
    The command that is running, without a token that was given in it.

    Args:
        script: name of what runs, if another.
        shared: for others to read, who have nothing of the paths of this machine but the last parts.
    """
    shown = [re.sub(r"(token=).+", r"\1…", word) for word in sys.argv]
    for place, word in enumerate(sys.argv[:-1]):
        if word.startswith("--") and word.endswith("token"):
            shown[place + 1] = "…"
    if shared:
        script = script or f"examples/{Path(shown[0]).name}"
        shown = [",".join(map(without_folders, word.split(","))) for word in shown]
    return "python " + shlex.join([script or shown[0], *shown[1:]])


def without_folders(word: str) -> str:
    """A word of the command line, of a path on this machine its last part."""
    option, equals, value = word.rpartition("=")
    path = Path(value)
    local = path.is_absolute() or value.startswith(("./", "../", "~"))
    local = local or (len(path.parts) > 1 and os.path.exists(value))
    return f"{option}{equals}{path.name}" if local and path.name else word


def share_text(text: str) -> str:
    """A text for others to read: of each path on this machine that it is, or names, the last part."""
    if os.path.exists(text):
        return without_folders(text)
    return re.sub(r"(?<![^\s,;'\"=>(])(?!/[*/])[^\s,;'\"=<>()]+", lambda word: without_folders(word[0]), text)


def run_facts(*arguments) -> dict:
    """What a JSON file of results says of the run: command, given dataclasses, versions, git state; no token."""
    facts = {"command": command_line()}
    for given in arguments:
        facts |= asdict(given) if is_dataclass(given) else dict(given)
    facts = {name: value for name, value in facts.items() if not name.endswith("token")}
    return {**facts, "torch": torch.__version__, "transformers": transformers.__version__, **git_state()}


def run_script(main: Callable[[], None]) -> None:
    """Call `main`; an error that a user can put right ends in one sentence. Errors of the program have their
    traceback, and `--log_level debug` shows that of all."""
    try:
        main()
    except USER_ERRORS as error:
        if re.search(r"--log_level[ =]debug", " ".join(sys.argv)):
            raise
        cause = (error.__cause__ or error) if isinstance(error, StrictDataclassError) else error
        sys.exit(one_line(cause) or type(error).__name__)
