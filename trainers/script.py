# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What the scripts in `examples/` share: options, checkpoints, facts of a run, errors."""

import inspect
import json
import os
import re
import shlex
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import asdict, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from pickle import UnpicklingError

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import HfArgumentParser
from transformers.integrations import get_available_reporting_integrations

from modeling_concept import ConceptEncoderConfig
from modeling_concept.configuration_concept import ENCODER_KINDS

from .checkpoints import TrainingDivergedError
from .data import first_line
from .plain_text import one_line
from .runs import git_state


MAIN_JOB = "python examples/run_pretraining.py"
CONCEPT_MODEL_TYPES = tuple(ENCODER_KINDS)

# Options that go by another name elsewhere, and how they are written here. Of several, a script has one or two.
OTHER_NAMES = {
    **dict.fromkeys(("checkpoint", "input", "model", "model_path"), ("--model_name_or_path",)),
    **dict.fromkeys(("repo_id", "repo"), ("--hub_model_id",)),
    **dict.fromkeys(("limit", "num_samples"), ("--max_train_samples", "--max_eval_samples", "--fine_tuning_samples")),
    **dict.fromkeys(("task", "tasks"), ("--task_name",)),
    **dict.fromkeys(("max_length", "max_seq_len", "block_size"), ("--max_seq_length",)),
    **dict.fromkeys(("epochs", "num_epochs"), ("--num_train_epochs",)),
    **dict.fromkeys(
        ("batch_size", "train_batch_size", "per_gpu_train_batch_size"),
        ("--per_device_train_batch_size", "--batch_size"),
    ),
    **dict.fromkeys(
        ("eval_batch_size", "per_device_eval_batch_size", "per_gpu_eval_batch_size"),
        ("--per_device_eval_batch_size", "--batch_size"),
    ),
    **dict.fromkeys(
        ("text_column", "text_columns", "text_column_name", "text_column_names"),
        ("--text_column", "--text_column_names"),
    ),
    **dict.fromkeys(("label_column", "score_column", "target_column"), ("--label_column_name",)),
    "lora_rank": ("--lora_r",),
    "lr": ("--learning_rate",),
    "output": ("--output_dir",),
    "output_json": ("--output_dir, a folder that gets a results.json",),
    "dataset": ("--dataset_name",),
    "dataset_config": ("--dataset_config_name",),
    "revision": ("--dataset_revision",),
    "tokenizer": ("--tokenizer_name",),
    "token": ("--hub_token",),
    "public": ("--hub_private_repo false",),
    "private": ("--hub_private_repo true",),
    "no_cuda": ("--use_cpu",),
    "resume": ("--resume_from_checkpoint last",),
    "evaluation_strategy": ("--eval_strategy",),
    "num_layers": ("--num_hidden_layers",),
    "decoder_layers": ("--num_decoder_layers",),
    "use_bixt": ("--encoder_type bixt",),
    "elbo_weight": ("--elbo_weighting self_normalised for True, --elbo_weighting none for False",),
    "overwrite_output_dir": ("no run is overwritten: choose another --output_dir",),
    "pad_to_max_length": ("batches are padded to their longest text: leave it out",),
}


class OptionParser(HfArgumentParser):
    """
    Options from dataclasses. Whatever is wrong with them is a ValueError of one sentence; `--help` shows them by the
    class that defines them, without those of transformers, which `--help_all` adds.

    Args:
        classes: dataclasses, one object of each of which is made.
        keep_unknown: options that no class has are returned, not refused.
    """

    def __init__(self, classes: Iterable[type], keep_unknown: bool = False):
        description = (sys.modules["__main__"].__doc__ or "").strip()
        super().__init__(classes, description=description.split("\n\n")[0], allow_abbrev=False)
        self.keep_unknown = keep_unknown

    def error(self, message):
        message = re.sub(r"/--[\w-]+", "", message).removeprefix("argument ")
        message = re.sub(r": invalid (\w+) value: (.+)$", r" takes \1, not \2", message)
        message = message.replace(" takes int,", " takes a whole number,").replace(" takes float,", " takes a number,")
        raise ValueError(f"{message.rstrip('.')}.")

    def parse_known_args(self, args=None, namespace=None):
        args = sys.argv[1:] if args is None else list(args)
        if "--help_all" in args:
            print(self.format_help(every=True))
            self.exit()
        option = ""
        for word in args:
            name, equals, value = word.partition("=") if word.startswith("--") else (option, "=", word)
            if equals and not value.strip():
                raise ValueError(f"{name} has an empty value; give one, or leave {name} out.")
            option = name
        if not self.keep_unknown:
            known = {spelling for action in self._actions for spelling in action.option_strings}
            for place, word in enumerate(args):
                if re.match(r"--[^ =]+(=|$)", word) and word.partition("=")[0] not in known:
                    self.refuse(*args[place:])
        namespace, rest = super().parse_known_args(args, namespace)
        if rest and not self.keep_unknown:
            self.refuse(*rest)
        return namespace, rest

    def refuse(self, word: str, *following: str):
        """ValueError with the option that was meant, for a word of the command line that is none."""
        if not word.startswith("--"):
            raise ValueError(f"{word!r} belongs to no option; a JSON file of options is given first.")
        name, _, value = word.lstrip("-").partition("=")
        name = name.replace("-", "_")
        known = {action.dest for action in self._actions}
        value = value or (following[0] if following and not following[0].startswith("--") else "…")
        found = [text for text in OTHER_NAMES.get(name, ()) if re.match(r"--(\w+)|", text)[1] in (None, *known)]
        if found:
            way_out = f"write {' or '.join(found)}" if found[0].startswith("--") else found[0]
        elif "config_overrides" in known and name in {option.name for option in fields(ConceptEncoderConfig)}:
            way_out = f"it is a value of the configuration: write --config_overrides {name}={value}"
        elif close := get_close_matches(name, known, 1):
            raise ValueError(f"There is no option --{name}; did you mean --{close[0]}?")
        else:
            way_out = "--help_all shows those that there are"
        raise ValueError(f"There is no option --{name}; {way_out}.")

    def check_names(self, names: Iterable[str]) -> None:
        """ValueError for a name that is no option."""
        for name in names:
            if name not in {action.dest for action in self._actions}:
                self.refuse(f"--{name}")

    def option_groups(self) -> dict[type, list]:
        """Options by the class that defines them, as `--help` shows them: under one spelling, without empty values."""
        actions = {action.dest: action for action in reversed(self._actions)}
        groups: dict[type, list] = {}
        for given in self.dataclass_types:
            for cls in given.__mro__:
                for name in inspect.get_annotations(cls):
                    if name in actions:
                        shown = copy(actions.pop(name))
                        shown.option_strings = shown.option_strings[:1]
                        shown.default = SUPPRESS if shown.default in (None, []) else shown.default
                        groups.setdefault(cls, []).append(shown)
        return groups

    def format_help(self, every: bool = False) -> str:
        formatter = self._get_formatter()
        formatter.add_text(f"usage: {self.prog} [options.json] [--option value …]")
        formatter.add_text(self.description)
        hidden = 0
        for cls, options in self.option_groups().items():
            foreign = cls.__module__.startswith("transformers.")
            if foreign and not every:
                hidden += len(options)
                continue
            title = f"transformers.{cls.__name__}" if foreign else cls.__doc__.strip().split(".\n")[0].split(". ")[0]
            formatter.start_section(re.sub(r"\[?`\]?", "", " ".join(title.split())).rstrip("."))
            formatter.add_arguments(options)
            formatter.end_section()
        if hidden:
            formatter.add_text(
                f"{hidden} further options are those of transformers.TrainingArguments, such as --seed and "
                "--push_to_hub: --help_all shows them."
            )
        return formatter.format_help()


def parse_arguments(*classes: type, keep_unknown: bool = False) -> tuple:
    """
    An object of each dataclass from the command line. A JSON file given first holds further options; what follows it
    on the command line goes before it. With `keep_unknown` the words that are no option come last.

    Raises:
        ValueError: a file that cannot be read, an option that no class has, or values that a class refuses.
    """
    parser = OptionParser(classes, keep_unknown)
    arguments = sys.argv[1:]
    if arguments and arguments[0].endswith(".json"):
        options = read_arguments(arguments[0])
        if not keep_unknown:
            parser.check_names(options)
        arguments = [*option_words(options), *arguments[1:]]
    return parser.parse_args_into_dataclasses(arguments, return_remaining_strings=keep_unknown)


def read_arguments(path: str) -> dict:
    """The options of a JSON file."""
    try:
        options = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(options, dict):
            raise ValueError("it holds no options by name, {name: value}")
    except (OSError, ValueError) as error:
        raise ValueError(f"The options of {path} cannot be read: {first_line(error)}") from error
    return options


def option_words(options: dict) -> list[str]:
    """Options as they would stand on the command line; those that are None are left out."""
    found = []
    for name, value in options.items():
        if value is None:
            continue
        values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        found += [f"--{name}", *map(str, values)]
    return found


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
    """Call `main`; what a user can put right ends in one sentence. Errors of the program have their traceback, and
    `--log_level debug` shows that of all."""
    try:
        main()
    except Exception as error:
        sentence = user_sentence(error)
        if sentence is None or re.search(r"--log_level[ =]debug", " ".join(sys.argv)):
            raise
        sys.exit(sentence)


def user_sentence(error: Exception) -> str | None:
    """What a user can put right; None for an error of the program."""
    if isinstance(error, StrictDataclassError):  # of a configuration; its cause is the sentence
        return first_line(error.__cause__ or error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        # Errors of metadata have a sentence for a name.
        package = (re.search(r"'([\w-]+)", error.name) or re.match(r"([\w-]+)", error.name))[1]
        return f"The package {package} is not installed, which this needs: pip install {package}."
    if isinstance(error, ValueError | OSError | ImportError | TrainingDivergedError):
        return one_line(error) or type(error).__name__
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        cause = one_line(error) or type(error).__name__
        return f"There is not enough memory; take a smaller model, shorter texts or smaller batches ({cause})."
    tracker = type(error).__module__.split(".")[0]
    if tracker in get_available_reporting_integrations():
        return f"--report_to {tracker}: {one_line(error)}"
    if isinstance(error, UnpicklingError):
        return f"A file of the checkpoint holds more than tensors and is not read: {first_line(error)}"
    if isinstance(error, RuntimeError) and re.search(r"requires .+ installed", str(error)):
        return one_line(error)  # of transformers, for a package that is missing
    return None
