# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Concept encoders for transformers. Importing this package registers them with the Auto classes."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
)

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
from .text_concept import TextEncoding


# The Auto classes take the class that a checkpoint's `architectures` names, else the first.
AUTO_MODELS = {
    ConceptEncoderConfig: {
        AutoModel: (ConceptEncoder,),
        AutoModelForMaskedLM: (
            ConceptEncoderForMaskedLM,
            ConceptEncoderForMaskedLMPerceiver,
            ConceptEncoderForMaskedLMPerceiverPosOnly,
            ConceptEncoderForMaskedLMWeighted,
            ConceptEncoderForMaskedDiffusion,
            ConceptEncoderForPrefixDiffusion,
        ),
        AutoModelForSequenceClassification: (
            ConceptEncoderForSequenceClassificationViaDecoder,
            ConceptEncoderForSequenceClassificationPerceiver,
            ConceptEncoderForSentencePairClassification,
        ),
    },
    RecursiveConceptEncoderConfig: {
        AutoModel: (RecursiveConceptEncoder,),
        AutoModelForMaskedLM: (RecursiveConceptEncoderForMaskedLM,),
        AutoModelForSequenceClassification: (
            RecursiveConceptEncoderForSequenceClassificationViaDecoder,
            RecursiveConceptEncoderForSequenceClassificationPerceiver,
            RecursiveConceptEncoderForSentencePairClassification,
        ),
    },
}

for _config_class, _models in AUTO_MODELS.items():
    AutoConfig.register(_config_class.model_type, _config_class, exist_ok=True)
    for _auto_class, _classes in _models.items():
        # One class registers as itself: AutoModel.from_config expects no tuple there on every version.
        _auto_class.register(_config_class, _classes if len(_classes) > 1 else _classes[0], exist_ok=True)

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
]
