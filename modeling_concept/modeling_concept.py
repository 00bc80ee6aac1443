# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Entry file of the modelling code, to which the `auto_map` of a checkpoint points. It imports every file of the folder,
since loaders of remote code before transformers 5.10 copy only what the entry imports directly, and registers the
models with the Auto classes.
"""

# ruff: noqa: F401, F403
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

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
from .heads_lm_concept import *
from .layers_concept import FeedForward
from .loss_concept import head_loss
from .original_concept import *
from .original_configuration_concept import *
from .outputs_concept import *
from .positions_concept import Segments
from .text_concept import *


class Choices(tuple):
    """Classes to choose from. Pipelines of transformers 5.5 read one name of several classes, too."""

    @property
    def __name__(self):
        return self[0].__name__


def group_models(models) -> dict:
    """For each configuration class and Auto class the model classes, the default one first. Auto classes take the
    class that a checkpoint's `architectures` names, else the default one."""
    auto_classes = {
        auto.__name__: auto for auto in (AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification)
    }
    groups: dict = {}
    for model in models:
        group = groups.setdefault(model.config_class, {}).setdefault(auto_classes[model.auto_class], [])
        is_default = AUTO_CLASSES[model.config_class.model_type][model.auto_class] == model.__name__
        group.insert(0 if is_default else len(group), model)
    return {config: {auto: Choices(group) for auto, group in of.items()} for config, of in groups.items()}


AUTO_MODELS = group_models(
    value
    for value in list(globals().values())
    if isinstance(value, type) and issubclass(value, ConceptPreTrainedModel) and value.auto_class
)

# Also in a checkpoint's code: otherwise an Auto class would keep the first class that it loaded for every checkpoint
# whose folder has the same name and the same code.
for _config_class, _models in AUTO_MODELS.items():
    for _auto_class, _classes in _models.items():
        # A single class is registered as itself: some versions of AutoModel.from_config expect no tuple.
        _auto_class.register(_config_class, _classes if len(_classes) > 1 else _classes[0], exist_ok=True)
