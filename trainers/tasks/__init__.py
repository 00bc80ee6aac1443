# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Downstream tasks by fine-tuning. Needs the extra `eval`."""

from collections.abc import Iterable

from .glue import GLUE_TASKS
from .pairs import PAWS_TASKS, SICK_TASKS
from .task import Task, TaskData, load_task


TASKS: dict[str, Task] = {task.name: task for task in [*GLUE_TASKS, *SICK_TASKS, *PAWS_TASKS]}

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
            raise ValueError(f"Unknown task {name!r}; choose of {[*TASKS, *TASK_GROUPS]}.")
        found |= {member: TASKS[member] for member in members}
    return list(found.values())


__all__ = ["TASKS", "TASK_GROUPS", "Task", "TaskData", "load_task", "select_tasks"]
