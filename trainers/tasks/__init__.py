# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Downstream tasks by fine-tuning. Needs the extra `eval`."""

from collections.abc import Iterable
from difflib import get_close_matches

from .glue import GLUE_TASKS, MNLI_TASKS
from .own import own_task
from .pairs import PAWS_TASKS, SICK_TASKS
from .task import Parts, Task, TaskData, load_task


TASKS: dict[str, Task] = {task.name: task for task in [*GLUE_TASKS, *MNLI_TASKS, *SICK_TASKS, *PAWS_TASKS]}

TASK_GROUPS: dict[str, tuple[str, ...]] = {
    "all": ("mrpc", "stsb", "qqp", "mnli"),
    "all-glue": tuple(task.name for task in GLUE_TASKS),
}


def select_tasks(names: Iterable[str]) -> list[Task]:
    """The tasks of these names and groups, each once; ValueError for a name that is neither."""
    found = {}
    for name in names:
        members = TASK_GROUPS.get(name, (name,))
        if members[0] not in TASKS:
            raise unknown_task(name, [*TASKS, *TASK_GROUPS])
        found |= {member: TASKS[member] for member in members}
    return list(found.values())


def unknown_task(name: str, known: list[str]) -> ValueError:
    """An error that names what is near, and what there is."""
    near = get_close_matches(
        name.lower().replace("_", "-").replace("sts-b", "stsb").replace("sst-2", "sst2"), known, 1
    )
    suggestion = f"did you mean {near[0]!r}? There are" if near else "choose of"
    return ValueError(f"Unknown task {name!r}; {suggestion} {known}.")


__all__ = ["TASKS", "TASK_GROUPS", "Parts", "Task", "TaskData", "load_task", "own_task", "select_tasks"]
