# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Tables of runs: a JSON file names options of `run_pretraining.py`; all rows train on equally many tokens."""

import json
import re
import runpy
from dataclasses import dataclass
from pathlib import Path

from ..data import first_line
from ..script import OptionParser, option_words


PRETRAINING = Path(__file__).parents[2] / "examples" / "run_pretraining.py"

# Options that the table gives to every row.
OWN = ("seed", "data_seed", "output_dir", "max_steps", "num_train_epochs", "resume_from_checkpoint", "run_name")

# Of `run_pretraining.py`, where a row does not say otherwise: texts of a step, their tokens.
BATCH_SIZE, LENGTH = 32, 64

# What a row can have beside the text, by the option that brings it.
HELP = {"pair_column": "pairs", "teacher": "teacher", "backbone": "backbone", "model_name_or_path": "checkpoint"}


@dataclass(frozen=True)
class Row:
    """
    One line of the table.

    Args:
        name: in tables, and of its folder.
        options: of `run_pretraining.py`, without those in `OWN`.
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
        """What it has beside the text; empty for a row from scratch."""
        return ", ".join(words for option, words in HELP.items() if self.options.get(option))

    def words(self, folder: Path, seed: int) -> list[str]:
        """The arguments of `run_pretraining.py`."""
        return option_words({**self.options, "max_steps": self.steps, "seed": seed, "output_dir": str(folder)})


def steps_of(options: dict, tokens: int) -> int:
    """Optimizer steps in which a run with `options` is given about `tokens` tokens, padding counted; at least one."""
    texts = options.get("per_device_train_batch_size", BATCH_SIZE) * options.get("gradient_accumulation_steps", 1)
    return max(1, round(tokens / (texts * options.get("max_seq_length", LENGTH))))


def read_table(path: str | Path, changes: dict | None = None, only: list[str] | None = None) -> list[Row]:
    """
    Rows of a file `{"train_tokens": …, "common": {options}, "rows": {name: {options}}}`. A row may have a
    `train_tokens` of its own, which is then not the same as the others'.

    Args:
        changes: options of all rows that go before those of the file; `train_tokens` among them.
        only: names of rows; all by default.

    Raises:
        ValueError: a file that cannot be read or lacks something, an option that the table gives itself, rows of the
            same name, or a name in `only` that is none.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        common = {"train_tokens": content["train_tokens"], **content.get("common", {})}
        given = {name: {**common, **options, **(changes or {})} for name, options in content["rows"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else first_line(error)
        raise ValueError(
            f"{path} is no table of runs, {{train_tokens, common, rows: {{name: options}}}}: {reason}"
        ) from error
    if missing := [name for name in only or [] if name not in given]:
        raise ValueError(f"{path} has no row {missing[0]!r}; its rows are {list(given)}.")
    rows = []
    for name, options in given.items():
        if taken := [option for option in OWN if option in options]:
            raise ValueError(f"Row {name!r} gives {taken[0]}, which the table decides for all rows.")
        tokens = options.pop("train_tokens")
        rows.append(Row(name, options, steps_of(options, tokens)))
    if len({row.slug for row in rows}) < len(rows) or not all(row.slug for row in rows):
        raise ValueError(f"Rows of {path} must differ by letters or digits: {list(given)}.")
    return [row for row in rows if only is None or row.name in only]


def pretraining_arguments() -> tuple[type, ...]:
    """The argument classes of `run_pretraining.py`."""
    script = runpy.run_path(str(PRETRAINING), run_name="run_pretraining")
    return tuple(script[name] for name in ("ModelArguments", "DataTrainingArguments", "ConceptTrainingArguments"))


def check_options(rows: list[Row]) -> None:
    """
    Raises:
        ValueError: an option that `run_pretraining.py` does not have, or a value that it refuses; names the row.
    """
    parser = OptionParser(pretraining_arguments())
    for row in rows:
        try:
            parser.check_names(row.options)
            parser.parse_args_into_dataclasses(row.words(Path("checked"), seed=0))
        except ValueError as error:
            raise ValueError(f"Row {row.name!r}: {first_line(error)}") from error
