# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Data and sizes of the evaluations, equal for all models of a table."""

from dataclasses import dataclass, field
from functools import cache

from ...evaluation.similarity import STS_DATASETS, TextPairs, load_pairs
from ...fine_tuning import TASKS, TaskData, load_task
from ...utils.limits import check_at_least


@dataclass
class Protocol:
    """Data and sizes of the evaluations."""

    held_out: str | None = field(
        default=None, metadata={"help": "Data set with the validation text; the embedded corpus by default."}
    )
    held_out_config: str | None = field(default=None, metadata={"help": "Its configuration."})
    samples: int = field(default=256, metadata={"help": "Held-out texts to reconstruct."})
    held_out_length: int = field(default=64, metadata={"help": "Their tokens, at most."})
    sts: list[str] = field(
        default_factory=lambda: [f"{name}={STS_DATASETS[name]}" for name in ("stsb", "sickr")],
        metadata={
            "help": "Pairs for zero-shot similarity: name=data set, or name=data set:configuration, with @split at "
            "the end unless it is test."
        },
    )
    glue: str | None = field(default=None, metadata={"help": "Data set in place of GLUE's: Hub id or local folder."})
    fine_tuning_seeds: list[int] = field(default_factory=lambda: [42], metadata={"help": "Seeds of fine-tuning."})
    fine_tuning_epochs: float = field(default=3.0, metadata={"help": "Epochs of fine-tuning."})

    def __post_init__(self):
        check_at_least(self, samples=2, held_out_length=8, fine_tuning_seeds=0)
        names = [item.partition("=")[0] for item in self.sts]
        for item, name in zip(self.sts, names, strict=True):
            if not item.partition("=")[2] or names.count(name) > 1:
                raise ValueError(f"--sts {item!r}: each is name=data set, and each name occurs once.")

    def load_task(self, name: str) -> TaskData:
        """The data of a task for fine-tuning."""
        return load_task(TASKS[name], self.glue)

    def load_pairs(self) -> list[TextPairs]:
        """The sets of pairs; ValueError if one cannot be read."""
        return [read_pairs(item) for item in self.sts]


@cache
def read_pairs(item: str) -> TextPairs:
    """The pairs of an item of `--sts`."""
    name, _, place = item.partition("=")
    place, _, split = place.partition("@")
    source, _, config = place.partition(":")
    return load_pairs(source, config or None, split or "test", task=name)
