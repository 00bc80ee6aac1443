# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Configuration of the original implementation's network."""

from typing import Literal

from huggingface_hub.dataclasses import strict

from .configuration_concept import ConceptModelConfig, IterationsMixin


class OriginalAnswers:
    """What code shared with the default network asks of a configuration, and this network answers always alike."""

    backbone_config = backbone_source = None
    concept_mean = "free"
    concept_pooling = "weighted"
    decoder_mixer_type = "none"
    decoder_target = "text"
    global_concept_num = 0
    hide_mask_tokens = False
    num_token_mixers = 0
    token_weighting = False
    type_vocab_size = 0


@strict
class OriginalConceptEncoderConfig(OriginalAnswers, ConceptModelConfig):
    r"""
    Configuration of models with the original implementation's network; the defaults are its own.

    Args:
        concept_position_type (`"none"`, `"sinusoidal"` or `"learned"`, defaults to `"none"`):
            What is added to the learned concept vectors.
        encoder_type (`"perceiver"` or `"bixt"`, defaults to `"perceiver"`):
            With BiXT, tokens read the concepts in every layer but the last.
        decoder_type (`str`, *optional*):
            A name in `ORIGINAL_DECODERS`: token_position, position, weighted, diffusion.
        num_decoder_layers (`int`, defaults to 1):
            Layers of the diffusion decoder, which had 2 in the original; the other decoders have one.

    Other arguments as in [`ConceptEncoderConfig`].
    """

    model_type = "original_concept_encoder"

    num_hidden_layers: int = 4
    intermediate_size: int = 1024
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.1
    attention_probs_dropout_prob: float | int = 0.1
    initializer_range: float | None = 0.1
    concept_position_type: Literal["none", "sinusoidal", "learned"] = "none"
    encoder_type: Literal["perceiver", "bixt"] = "perceiver"
    num_decoder_layers: int = 1
    classifier_reads_tokens: bool = True
    tie_word_embeddings: bool = False

    def __setattr__(self, name, value):
        if name not in vars(OriginalAnswers):
            super().__setattr__(name, value)
        elif value not in (None, getattr(self, name)):
            raise ValueError(
                f"The original's network has {name}={getattr(self, name)!r}; {value!r} is for other concept encoders."
            )

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
