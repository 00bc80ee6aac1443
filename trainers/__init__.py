# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Training of concept models: objectives, the Trainer, metrics, cards. Needs the extra `train`."""

from modeling_concept import __version__

from .data.collator import ConceptDataCollator
from .evaluation.metrics import concept_metrics, reconstruction_metrics
from .objectives import OBJECTIVES
from .trainer import ConceptTrainer
from .training_args import ConceptTrainingArguments


__all__ = [
    "OBJECTIVES",
    "ConceptDataCollator",
    "ConceptTrainer",
    "ConceptTrainingArguments",
    "__version__",
    "concept_metrics",
    "reconstruction_metrics",
]
