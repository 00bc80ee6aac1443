# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The losses on concepts, by their names in `--concept_losses`."""

from .base import ConceptLoss
from .directions import Orthogonality, SoftOrthogonality, Uniformity
from .t_regs import TRegs, TRegsNearest
from .vicreg import Combined, Covariance, Variance, VICReg


CONCEPT_LOSSES: dict[str, type[ConceptLoss]] = {
    "orthogonality": Orthogonality,
    "soft_orthogonality": SoftOrthogonality,
    "uniformity": Uniformity,
    "variance": Variance,
    "covariance": Covariance,
    "vicreg": VICReg,
    "combined": Combined,
    "t_regs_mst": TRegs,
    "t_regs_nearest": TRegsNearest,
}

__all__ = ["CONCEPT_LOSSES", "ConceptLoss"]
