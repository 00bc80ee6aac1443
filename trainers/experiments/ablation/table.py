# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Tables of runs: a JSON file with options of `run_pretraining.py` for each row; all train on equally many tokens."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ...pretraining import PRETRAINING_ARGUMENTS
from ...utils.errors import first_line
from ...utils.script import OptionParser, option_words


# Options that the table sets for every row.
TABLE_OPTIONS = (
    "seed", "data_seed", "output_dir", "max_steps", "num_train_epochs", "resume_from_checkpoint", "run_name"
)  # fmt: skip

# Defaults of `run_pretraining.py`: texts per step and tokens per text.
BATCH_SIZE, LENGTH = 32, 64

# Help beside the text, by option.
HELP = {"teacher": "teacher", "backbone": "backbone", "model_name_or_path": "checkpoint"}


@dataclass(frozen=True)
class Row:
    """
    A run.

    Args:
        name: shown in tables, and the name of its folder.
        options: of `run_pretraining.py`, without `TABLE_OPTIONS`.
        steps: of the optimizer.
    """

    name: str
    options: dict
    steps: int

    @property
    def slug(self) -> str:
        return re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")

    def folder(self, root: Path, seed: int) -> Path:
        return root / self.slug / f"seed_{seed}"

    @property
    def help_from(self) -> str:
        """Help beside the text; empty for a row from scratch."""
        return ", ".join(words for option, words in HELP.items() if self.options.get(option))

    @property
    def all_options(self) -> dict:
        """The options that define the run."""
        return {**self.options, "max_steps": self.steps}

    def words(self, folder: Path, seed: int) -> list[str]:
        """The command line of `run_pretraining.py`."""
        return option_words({**self.all_options, "seed": seed, "output_dir": str(folder)})


def steps_of(options: dict, tokens: int) -> int:
    """Optimizer steps, at least one, in which a run with `options` sees about `tokens` tokens, padding included."""
    texts = options.get("per_device_train_batch_size", BATCH_SIZE) * options.get("gradient_accumulation_steps", 1)
    return max(1, round(tokens / (texts * options.get("max_seq_length", LENGTH))))


def read_table(path: str | Path, changes: dict | None = None, only: list[str] | None = None) -> list[Row]:
    """
    Rows of a file `{"train_tokens": …, "common": {options}, "rows": {name: {options}}}`. A row may have
    `train_tokens` of its own.

    Args:
        changes: options, or `train_tokens`, of all rows that replace those of the file.
        only: names of rows; all by default.

    Raises:
        ValueError: an option that the table sets itself, rows with the same folder, or an unknown name in `only`.
    """
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    common = {"train_tokens": content["train_tokens"], **content.get("common", {})}
    by_name = {name: {**common, **options, **(changes or {})} for name, options in content["rows"].items()}
    if missing := [name for name in only or [] if name not in by_name]:
        raise ValueError(f"{path} has no row {missing[0]!r}; its rows are {list(by_name)}.")
    rows = []
    for name, options in by_name.items():
        if taken := [option for option in TABLE_OPTIONS if option in options]:
            raise ValueError(f"Row {name!r} has {taken[0]}, which the table sets for all rows.")
        tokens = options.pop("train_tokens")
        rows.append(Row(name, options, steps_of(options, tokens)))
    if len({row.slug for row in rows}) < len(rows) or not all(row.slug for row in rows):
        raise ValueError(f"Rows of {path} must differ by letters or digits: {list(by_name)}.")
    return [row for row in rows if only is None or row.name in only]


def check_options(rows: list[Row]) -> None:
    """
    Raises:
        ValueError: an option that `run_pretraining.py` does not have, or a value that it refuses, with the row.
    """
    parser = OptionParser(PRETRAINING_ARGUMENTS)
    for row in rows:
        try:
            parser.parse_args_into_dataclasses(row.words(Path("checked"), seed=0))
        except ValueError as error:
            raise ValueError(f"Row {row.name!r}: {first_line(error)}") from error
