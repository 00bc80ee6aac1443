# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Concept encoders for transformers. Importing this package registers them with the Auto classes."""

from importlib.metadata import PackageNotFoundError, version

from transformers import AutoConfig

# Each file lists its own public names.
# ruff: noqa: F403
from .configuration_concept import *
from .decoder_concept import *
from .encoder_concept import *
from .encoder_layers_concept import *
from .heads_classification_concept import *
from .heads_generation_concept import *
from .heads_lm_concept import *
from .modeling_concept import AUTO_MODELS
from .original_concept import *
from .original_configuration_concept import *
from .outputs_concept import *
from .text_concept import *


try:
    __version__ = version("concept-encoder")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "unknown"

for _config_class in AUTO_MODELS:
    AutoConfig.register(_config_class.model_type, _config_class, exist_ok=True)
