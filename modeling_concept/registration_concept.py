# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Which classes the Auto classes find for each configuration class. Importing this file registers them, also as part of a
checkpoint's code: otherwise an Auto class would keep the first class that it loaded for every checkpoint whose folder
has the same name and the same code.
"""

from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from .configuration_concept import ConceptEncoderConfig, RecursiveConceptEncoderConfig
from .encoder_concept import ConceptEncoder, RecursiveConceptEncoder
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
    OriginalConceptEncoderConfig: {
        AutoModel: (OriginalConceptEncoder,),
        AutoModelForMaskedLM: (OriginalConceptEncoderForMaskedLM,),
        AutoModelForSequenceClassification: (
            OriginalConceptEncoderForSequenceClassificationViaDecoder,
            OriginalConceptEncoderForSequenceClassificationPerceiver,
            OriginalConceptEncoderForSentencePairClassification,
        ),
    },
    RecursiveOriginalConceptEncoderConfig: {
        AutoModel: (RecursiveOriginalConceptEncoder,),
        AutoModelForMaskedLM: (RecursiveOriginalConceptEncoderForMaskedLM,),
        AutoModelForSequenceClassification: (
            RecursiveOriginalConceptEncoderForSequenceClassificationViaDecoder,
            RecursiveOriginalConceptEncoderForSequenceClassificationPerceiver,
            RecursiveOriginalConceptEncoderForSentencePairClassification,
        ),
    },
}


class Choices(tuple):
    """Classes to choose from. Pipelines of transformers 5.5 ask also several classes for one name."""

    @property
    def __name__(self):
        return self[0].__name__


for _config_class, _models in AUTO_MODELS.items():
    for _auto_class, _classes in _models.items():
        # One class registers as itself: AutoModel.from_config expects no tuple there on every version.
        _auto_class.register(_config_class, Choices(_classes) if len(_classes) > 1 else _classes[0], exist_ok=True)
