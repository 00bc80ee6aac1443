# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Many pretraining runs, trained alike, measured alike, in one table. Needs the extra `eval`."""

from .baselines import BASELINES
from .evaluations import EVALUATIONS, Protocol
from .report import check_report_dir, write_report
from .runner import Plan, run_plan
from .table import Row, check_options, read_table


__all__ = [
    "BASELINES",
    "EVALUATIONS",
    "Plan",
    "Protocol",
    "Row",
    "check_options",
    "check_report_dir",
    "read_table",
    "run_plan",
    "write_report",
]
