# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What the concepts of a checkpoint hold, attend to and forget. Needs the extra `eval`."""

from ..text_kinds import KIND_TEXTS, TOLD, kinds_markdown, read_back_kinds
from .attention import read_attention, token_profiles
from .comparison import compare, comparison_rows, write_comparison
from .compression import ablation, can_reconstruct, kept_counts, measure_compression, read_back
from .gates import GATES, Run, judge_all, rank_measures
from .geometry import LEGACY_CUTS, constants_like, legacy_metrics
from .measures import Report, collect_measures
from .pictures import make_pictures
from .probes import make_probes, run_probes
from .report import Analysis, write_report
from .sample import FEWEST_TEXTS, encode, load_checkpoint, load_sample
from .text import concepts_of_text


__all__ = [
    "FEWEST_TEXTS",
    "GATES",
    "KIND_TEXTS",
    "LEGACY_CUTS",
    "TOLD",
    "Analysis",
    "Report",
    "Run",
    "ablation",
    "can_reconstruct",
    "collect_measures",
    "compare",
    "comparison_rows",
    "concepts_of_text",
    "constants_like",
    "encode",
    "judge_all",
    "kept_counts",
    "kinds_markdown",
    "legacy_metrics",
    "load_checkpoint",
    "load_sample",
    "make_pictures",
    "make_probes",
    "measure_compression",
    "rank_measures",
    "read_attention",
    "read_back",
    "read_back_kinds",
    "run_probes",
    "token_profiles",
    "write_comparison",
    "write_report",
]
