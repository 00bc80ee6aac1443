# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Downstream tasks by fine-tuning. Needs the extra `eval`."""

from .benchmarks import TASK_GROUPS, TASKS, select_tasks
from .own import own_task
from .task import Task, TaskData, load_task


__all__ = ["TASKS", "TASK_GROUPS", "Task", "TaskData", "load_task", "own_task", "select_tasks"]
