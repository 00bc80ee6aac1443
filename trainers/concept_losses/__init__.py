# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The losses on concepts, by the name that the command line gives."""

from .base import PARTS, SCOPES, ConceptLoss
from .orthogonality import Orthogonality, SoftOrthogonality
from .sigreg import SIGReg
from .t_regs import TRegs
from .uniformity import Uniformity
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
    "sigreg": SIGReg,
}

__all__ = ["CONCEPT_LOSSES", "PARTS", "SCOPES", "ConceptLoss"]
