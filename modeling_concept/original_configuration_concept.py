# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Configuration of the original implementation's network."""

from typing import Literal

from huggingface_hub.dataclasses import strict

from .configuration_concept import ConceptModelConfig, IterationsMixin


class OriginalConstants:
    """Values of the original's network that code shared with the default network reads, and that are no options."""

    backbone_config = backbone_source = None
    concept_mean = "free"
    decoder_conv_width = 0
    decoder_target = "text"
    has_segments = False
    hide_mask_tokens = False


@strict
class OriginalConceptEncoderConfig(OriginalConstants, ConceptModelConfig):
    r"""
    Configuration of models with the original implementation's network; the defaults are its own.

    Args:
        concept_position_type (`"none"`, `"sinusoidal"` or `"learned"`, defaults to `"none"`):
            Position vectors added to the learned concept vectors.
        attention_probs_dropout_prob (`float`, defaults to 0.1):
            Dropout on attention weights.
        initializer_range (`float`, defaults to 0.1):
            Standard deviation of the initial weights.
        encoder_type (`"perceiver"` or `"bixt"`, defaults to `"perceiver"`):
            With BiXT, tokens read the concepts in every layer but the last.
        decoder_type (`str`, *optional*):
            A name in `ORIGINAL_DECODERS`: token_position, position, weighted, diffusion.
        num_decoder_layers (`int`, defaults to 1):
            Layers of the diffusion decoder, which had 2 in the original; the other decoders have one.

    Other arguments as in [`ConceptEncoderConfig`].
    """

    model_type = "original_concept_encoder"
    constants = vars(OriginalConstants)

    num_hidden_layers: int = 4
    intermediate_size: int = 1024
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.1
    attention_probs_dropout_prob: float | int = 0.1
    initializer_range: float = 0.1
    concept_position_type: Literal["none", "sinusoidal", "learned"] = "none"
    encoder_type: Literal["perceiver", "bixt"] = "perceiver"
    num_decoder_layers: int = 1
    classifier_reads_tokens: bool = True
    tie_word_embeddings: bool = False

    def validate_architecture(self):
        super().validate_architecture()
        if self.num_decoder_layers > 1 and self.decoder_type not in (None, "diffusion"):
            raise ValueError(
                f"The original's {self.decoder_type} decoder has one layer: num_decoder_layers must be 1, not "
                f"{self.num_decoder_layers}."
            )
        if self.encoder_type == "bixt" and self.is_recursive:
            raise ValueError('The original\'s recursive encoder has no BiXT layer: encoder_type must be "perceiver".')


@strict
class RecursiveOriginalConceptEncoderConfig(IterationsMixin, OriginalConceptEncoderConfig):
    r"""
    Configuration of models with the original's recursive encoder: one concept layer applied K times.

    Args:
        num_iterations (`int`, *optional*):
            K; `num_hidden_layers` when `None`. May be changed after training, or given to each call.

    Other arguments as in [`OriginalConceptEncoderConfig`].
    """

    model_type = "recursive_original_concept_encoder"

    num_iterations: int | None = None


__all__ = ["OriginalConceptEncoderConfig", "RecursiveOriginalConceptEncoderConfig"]
