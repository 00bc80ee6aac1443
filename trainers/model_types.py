# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The model types of `--model_type`: a class, its usual objective, and what differs in its configuration."""

from dataclasses import dataclass, field

import modeling_concept as models

from .objectives import Mixture
from .objectives.base import TokenObjective


@dataclass(frozen=True)
class ModelType:
    """`model_class` trained by `objective`; `config` holds configuration values that make the type."""

    model_class: type
    objective: str
    config: dict = field(default_factory=dict)

    @property
    def config_class(self) -> type:
        return self.model_class.config_class

    @property
    def has_reader(self) -> bool:
        return issubclass(self.model_class, models.ConceptEncoderForConditionalGeneration)


MODEL_TYPES = {
    "perceiver_mlm": ModelType(models.ConceptEncoderForMaskedLMPerceiver, "masked_lm"),
    "perceiver_posonly_mlm": ModelType(models.ConceptEncoderForMaskedLMPerceiverPosOnly, "denoising"),
    "weighted_mlm": ModelType(models.ConceptEncoderForMaskedLMWeighted, "masked_lm"),
    "recursive_mlm": ModelType(models.RecursiveConceptEncoderForMaskedLM, "masked_lm"),
    "diffusion_mlm": ModelType(models.ConceptEncoderForMaskedDiffusion, "masked_diffusion"),
    "original_mlm": ModelType(models.OriginalConceptEncoderForMaskedLM, "masked_lm", {"num_decoder_layers": 1}),
    "original_recursive_mlm": ModelType(
        models.RecursiveOriginalConceptEncoderForMaskedLM, "masked_lm", {"num_decoder_layers": 1}
    ),
    "prefix_diffusion": ModelType(models.ConceptEncoderForPrefixDiffusion, "prefix_diffusion"),
    "causal_lm": ModelType(models.ConceptEncoderForConditionalGeneration, "continuation"),
}

DEFAULT_MODEL_TYPE = "perceiver_posonly_mlm"


def model_type_for(mixture: Mixture) -> str:
    """The model type that can be trained by objectives where none was chosen."""
    if mixture.by_reader:
        return "causal_lm"
    if mixture.decoder_target != "text":
        return "prefix_diffusion"
    reading = [objective for objective in mixture.objectives.values() if isinstance(objective, TokenObjective)]
    if any(objective.needs_token_queries for objective in reading):
        return "diffusion_mlm"
    usual = [name for name, kind in MODEL_TYPES.items() if kind.objective in mixture.objectives]
    return usual[0] if usual and len(reading) == 1 else DEFAULT_MODEL_TYPE


def find_model_type(name: str) -> ModelType:
    """ValueError with the list of types if there is none of that name."""
    if name not in MODEL_TYPES:
        raise ValueError(f"Unknown model type {name!r}; choose one of {sorted(MODEL_TYPES)}.")
    return MODEL_TYPES[name]
