# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The kinds of concept layer, by the name that `config.encoder_type` gives."""

from .encoder_bixt_concept import BiXTEncoderLayer
from .encoder_perceiver_concept import ConceptEncoderLayer
from .encoder_slot_concept import SlotEncoderLayer


ENCODER_LAYERS = {
    "perceiver": ConceptEncoderLayer,
    "bixt": BiXTEncoderLayer,
    "slot": SlotEncoderLayer,
}


def make_encoder_layer(config, updates_tokens: bool):
    """A layer of the configured kind; ValueError with the list of kinds if there is none of that name."""
    if config.encoder_type not in ENCODER_LAYERS:
        raise ValueError(f"Unknown encoder_type {config.encoder_type!r}; choose one of {sorted(ENCODER_LAYERS)}.")
    return ENCODER_LAYERS[config.encoder_type](config, updates_tokens=updates_tokens)
