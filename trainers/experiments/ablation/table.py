# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Tables of runs: a JSON file with options of `run_pretraining.py` for each row; all train on equally many tokens."""

import json
from dataclasses import dataclass
from pathlib import Path

from ...pretraining import PRETRAINING_ARGUMENTS
from ...utils.errors import first_line
from ...utils.runs import folder_name
from ...utils.script import OptionParser, option_words


# Options that the table sets for every row.
TABLE_OPTIONS = {
    "seed", "data_seed", "output_dir", "max_steps", "num_train_epochs", "resume_from_checkpoint", "run_name"
}  # fmt: skip

LENGTH = 64  # tokens per text of `run_pretraining.py`, unless given

# Help beside the text, by option.
HELP = {"teacher": "teacher", "backbone": "backbone", "model_name_or_path": "checkpoint"}


@dataclass(frozen=True)
class Row:
    """
    A run.

    Args:
        name: shown in tables, and the name of its folder.
        words: the command line of `run_pretraining.py` but for seed and folder.
        steps: of the optimizer.
        help_from: help beside the text; empty for a row from scratch.
    """

    name: str
    words: list[str]
    steps: int
    help_from: str = ""

    def folder(self, root: Path, seed: int) -> Path:
        return root / folder_name(self.name) / f"seed_{seed}"


def parse_words(words: list[str]) -> tuple:
    """The options of a run as objects of `PRETRAINING_ARGUMENTS`; ValueError for one that is refused."""
    return OptionParser(PRETRAINING_ARGUMENTS).parse_args_into_dataclasses([*words, "--output_dir", "parsed"])


def read_table(
    path: str | Path, changes: list[str] = (), tokens: int | None = None, only: list[str] | None = None
) -> list[Row]:
    """
    Rows of a file `{"train_tokens": …, "common": {options}, "rows": {name: {options}}}`. A row may have
    `train_tokens` of its own. It gets as many steps, at least one, as see about so many tokens, padding included.

    Args:
        changes: options of all rows as on the command line, which take precedence over those of the file.
        tokens: replaces `train_tokens` of all rows.
        only: names of rows, in this order; all by default.

    Raises:
        ValueError: an unknown name in `only`; an option that the table sets itself, that `run_pretraining.py` does not
            have, or whose value it refuses.
    """
    content, rows = json.loads(Path(path).read_text(encoding="utf-8")), []
    if missing := [name for name in only or [] if name not in content["rows"]]:
        raise ValueError(f"{path} has no row {missing[0]!r}; its rows are {list(content['rows'])}.")
    for name in content["rows"] if only is None else only:
        options = {"train_tokens": content["train_tokens"], **content.get("common", {}), **content["rows"][name]}
        own_tokens = options.pop("train_tokens")
        words = [*option_words(options), *changes]
        try:
            parsed = parse_words([*words, "--max_steps", "1"])
        except ValueError as error:
            raise ValueError(f"Row {name!r}: {first_line(error)}") from error
        given = {option: value for part in parsed for option, value in vars(part).items()}
        named = {word[2:].partition("=")[0].replace("-", "_") for word in words if word.startswith("--")}
        if taken := TABLE_OPTIONS & named:
            raise ValueError(f"Row {name!r} has {min(taken)}, which the table sets for all rows.")
        texts = given["per_device_train_batch_size"] * given["gradient_accumulation_steps"]
        steps = max(1, round((tokens or own_tokens) / (texts * (given["max_seq_length"] or LENGTH))))
        help_from = ", ".join(shown for option, shown in HELP.items() if given[option])
        rows.append(Row(name, [*words, "--max_steps", str(steps)], steps, help_from))
    return rows
