# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The decoders, by the name that `config.decoder_type` gives."""

from .decoder_diffusion_concept import DiffusionDecoder
from .decoder_perceiver_concept import PositionDecoder, TokenPositionDecoder
from .decoder_weighted_concept import WeightedDecoder


DECODERS = {
    "token_position": TokenPositionDecoder,
    "position": PositionDecoder,
    "weighted": WeightedDecoder,
    "diffusion": DiffusionDecoder,
}


def make_decoder(config, kinds=DECODERS):
    """The configured decoder; ValueError with the list of kinds if there is none of that name."""
    if config.decoder_type not in kinds:
        raise ValueError(f"Unknown decoder_type {config.decoder_type!r}; choose one of {sorted(kinds)}.")
    return kinds[config.decoder_type](config)
