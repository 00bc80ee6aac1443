# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Concept encoders for transformers. Importing this package registers them with the Auto classes."""

from importlib.metadata import PackageNotFoundError, version

from transformers import AutoConfig

from .configuration_concept import ConceptEncoderConfig, RecursiveConceptEncoderConfig
from .decoders_concept import DECODERS
from .encoder_concept import ConceptEncoder, RecursiveConceptEncoder
from .encoders_concept import ENCODER_LAYERS
from .heads_classification_concept import (
    ConceptEncoderForSentencePairClassification,
    ConceptEncoderForSequenceClassificationPerceiver,
    ConceptEncoderForSequenceClassificationViaDecoder,
    RecursiveConceptEncoderForSentencePairClassification,
    RecursiveConceptEncoderForSequenceClassificationPerceiver,
    RecursiveConceptEncoderForSequenceClassificationViaDecoder,
)
from .heads_lm_concept import (
    ConceptEncoderForMaskedDiffusion,
    ConceptEncoderForMaskedLM,
    ConceptEncoderForMaskedLMPerceiver,
    ConceptEncoderForMaskedLMPerceiverPosOnly,
    ConceptEncoderForMaskedLMWeighted,
    ConceptEncoderForPrefixDiffusion,
    RecursiveConceptEncoderForMaskedLM,
)
from .outputs_concept import ConceptClassifierOutput, ConceptEncoderOutput, ConceptMaskedLMOutput
from .registration_concept import AUTO_MODELS
from .text_concept import TextEncoding


try:
    __version__ = version("concept-encoder")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "unknown"

for _config_class in AUTO_MODELS:
    AutoConfig.register(_config_class.model_type, _config_class, exist_ok=True)

__all__ = [
    "AUTO_MODELS",
    "DECODERS",
    "ENCODER_LAYERS",
    "ConceptClassifierOutput",
    "ConceptEncoder",
    "ConceptEncoderConfig",
    "ConceptEncoderForMaskedDiffusion",
    "ConceptEncoderForMaskedLM",
    "ConceptEncoderForMaskedLMPerceiver",
    "ConceptEncoderForMaskedLMPerceiverPosOnly",
    "ConceptEncoderForMaskedLMWeighted",
    "ConceptEncoderForPrefixDiffusion",
    "ConceptEncoderForSentencePairClassification",
    "ConceptEncoderForSequenceClassificationPerceiver",
    "ConceptEncoderForSequenceClassificationViaDecoder",
    "ConceptEncoderOutput",
    "ConceptMaskedLMOutput",
    "RecursiveConceptEncoder",
    "RecursiveConceptEncoderConfig",
    "RecursiveConceptEncoderForMaskedLM",
    "RecursiveConceptEncoderForSentencePairClassification",
    "RecursiveConceptEncoderForSequenceClassificationPerceiver",
    "RecursiveConceptEncoderForSequenceClassificationViaDecoder",
    "TextEncoding",
    "__version__",
]
