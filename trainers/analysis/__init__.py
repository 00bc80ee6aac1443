# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What the concepts of a checkpoint hold, attend to and forget. Needs the extra `eval`."""

from .attention import read_attention, token_profiles
from .compression import ablation, can_reconstruct, kept_counts, measure_compression, read_back
from .gates import GATES, Report, collect_measures, judge_all, rank_measures
from .geometry import LEGACY_CUTS, constants_like, legacy_metrics
from .pictures import make_pictures
from .probes import make_probes, run_probes
from .report import Analysis, write_report
from .sample import FEWEST_TEXTS, encode, load_checkpoint, load_sample


__all__ = [
    "FEWEST_TEXTS",
    "GATES",
    "LEGACY_CUTS",
    "Analysis",
    "Report",
    "ablation",
    "can_reconstruct",
    "collect_measures",
    "constants_like",
    "encode",
    "judge_all",
    "kept_counts",
    "legacy_metrics",
    "load_checkpoint",
    "load_sample",
    "make_pictures",
    "make_probes",
    "measure_compression",
    "rank_measures",
    "read_attention",
    "read_back",
    "run_probes",
    "token_profiles",
    "write_report",
]
