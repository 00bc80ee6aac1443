# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Entry file of the modelling code, to which the `auto_map` of a checkpoint points. It imports every file of the folder,
since loaders of remote code before transformers 5.10 copy only what the entry imports directly, and registers the
models with the Auto classes.
"""

# ruff: noqa: F401, F403
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from .attention_concept import ConceptAttention
from .backbone_concept import PretrainedTokens
from .base_concept import ConceptPreTrainedModel
from .configuration_concept import *
from .configuration_concept import AUTO_CLASSES
from .decoder_concept import *
from .embeddings_concept import ConceptTokenEmbeddings
from .encoder_concept import *
from .encoder_layers_concept import *
from .generation_concept import ConceptGenerationMixin
from .heads_classification_concept import *
from .heads_generation_concept import *
from .heads_lm_concept import *
from .layers_concept import FeedForward
from .loss_concept import head_loss
from .original_concept import *
from .original_configuration_concept import *
from .outputs_concept import *
from .positions_concept import Segments
from .reader_concept import ConceptReader
from .text_concept import *


class Choices(tuple):
    """Classes to choose from. Pipelines of transformers 5.5 read one name of several classes, too."""

    @property
    def __name__(self):
        return self[0].__name__


CLASSES = (AutoModel, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification)
MODELS = [
    value
    for value in globals().values()
    if isinstance(value, type) and issubclass(value, ConceptPreTrainedModel) and value.auto_class
]


def models_of(config_class, auto_class) -> Choices:
    """The model classes of a configuration class for an Auto class, the default one first. An Auto class takes the one
    that a checkpoint's `architectures` names, else the default one."""
    default = AUTO_CLASSES[config_class.model_type][auto_class.__name__]
    found = [kind for kind in MODELS if (kind.config_class, kind.auto_class) == (config_class, auto_class.__name__)]
    return Choices(sorted(found, key=lambda kind: kind.__name__ != default))


AUTO_MODELS = {
    config_class: {
        auto_class: models_of(config_class, auto_class)
        for auto_class in CLASSES
        if auto_class.__name__ in AUTO_CLASSES[config_class.model_type]
    }
    for config_class in dict.fromkeys(kind.config_class for kind in MODELS)
}

# Also in a checkpoint's code: otherwise an Auto class would keep the first class that it loaded for every checkpoint
# whose folder has the same name and the same code.
for _config_class, _models in AUTO_MODELS.items():
    for _auto_class, _classes in _models.items():
        # A single class is registered as itself: some versions of AutoModel.from_config expect no tuple.
        _auto_class.register(_config_class, _classes if len(_classes) > 1 else _classes[0], exist_ok=True)
