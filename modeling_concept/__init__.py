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
from .original_configuration_concept import OriginalConceptEncoderConfig, RecursiveOriginalConceptEncoderConfig
from .original_decoders_concept import ORIGINAL_DECODERS
from .original_encoder_concept import OriginalConceptEncoder, RecursiveOriginalConceptEncoder
from .original_heads_concept import (
    OriginalConceptEncoderForMaskedLM,
    OriginalConceptEncoderForSentencePairClassification,
    OriginalConceptEncoderForSequenceClassificationPerceiver,
    OriginalConceptEncoderForSequenceClassificationViaDecoder,
    RecursiveOriginalConceptEncoderForMaskedLM,
    RecursiveOriginalConceptEncoderForSentencePairClassification,
    RecursiveOriginalConceptEncoderForSequenceClassificationPerceiver,
    RecursiveOriginalConceptEncoderForSequenceClassificationViaDecoder,
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
    "ORIGINAL_DECODERS",
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
    "OriginalConceptEncoder",
    "OriginalConceptEncoderConfig",
    "OriginalConceptEncoderForMaskedLM",
    "OriginalConceptEncoderForSentencePairClassification",
    "OriginalConceptEncoderForSequenceClassificationPerceiver",
    "OriginalConceptEncoderForSequenceClassificationViaDecoder",
    "RecursiveConceptEncoder",
    "RecursiveConceptEncoderConfig",
    "RecursiveConceptEncoderForMaskedLM",
    "RecursiveConceptEncoderForSentencePairClassification",
    "RecursiveConceptEncoderForSequenceClassificationPerceiver",
    "RecursiveConceptEncoderForSequenceClassificationViaDecoder",
    "RecursiveOriginalConceptEncoder",
    "RecursiveOriginalConceptEncoderConfig",
    "RecursiveOriginalConceptEncoderForMaskedLM",
    "RecursiveOriginalConceptEncoderForSentencePairClassification",
    "RecursiveOriginalConceptEncoderForSequenceClassificationPerceiver",
    "RecursiveOriginalConceptEncoderForSequenceClassificationViaDecoder",
    "TextEncoding",
    "__version__",
]
