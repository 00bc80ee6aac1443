# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The heads of this package on the original implementation's encoder and decoders. H hidden."""

import torch.nn as nn

from .decoders_concept import make_decoder
from .heads_classification_concept import (
    ConceptEncoderForSentencePairClassification,
    ConceptEncoderForSequenceClassificationPerceiver,
    ConceptEncoderForSequenceClassificationViaDecoder,
)
from .heads_lm_concept import ConceptEncoderForMaskedLM
from .loading_concept import RecursiveStartMixin
from .original_configuration_concept import OriginalConceptEncoderConfig, RecursiveOriginalConceptEncoderConfig
from .original_decoders_concept import ORIGINAL_DECODERS
from .original_encoder_concept import OriginalConceptEncoder, OriginalModelMixin, RecursiveOriginalConceptEncoder


class OriginalHeadMixin(OriginalModelMixin):
    """Encoder, decoder and norms of the original; classification heads pool as it does."""

    config: OriginalConceptEncoderConfig
    encoder_class = OriginalConceptEncoder

    def make_decoder(self, config):
        return make_decoder(config, ORIGINAL_DECODERS)

    def make_norm(self, config):
        return nn.LayerNorm(config.hidden_size)


class RecursiveOriginalHeadMixin(RecursiveStartMixin, OriginalHeadMixin):
    config: RecursiveOriginalConceptEncoderConfig
    config_class = RecursiveOriginalConceptEncoderConfig
    encoder_class = RecursiveOriginalConceptEncoder


class OriginalConceptEncoderForMaskedLM(OriginalHeadMixin, ConceptEncoderForMaskedLM):
    """All language models of the original; `config.decoder_type` chooses which."""

    part_defaults = {"decoder_type": "token_position"}
    _tied_weights_keys = {"lm_head.weight": "encoder.token_embeddings.weight"}


class OriginalConceptEncoderForSequenceClassificationPerceiver(
    OriginalHeadMixin, ConceptEncoderForSequenceClassificationPerceiver
):
    """Concepts are averaged under a learned softmax, normalised and classified."""


class OriginalConceptEncoderForSequenceClassificationViaDecoder(
    OriginalHeadMixin, ConceptEncoderForSequenceClassificationViaDecoder
):
    """What the decoder makes of the text's positions is normalised, averaged and classified."""


class OriginalConceptEncoderForSentencePairClassification(
    OriginalHeadMixin, ConceptEncoderForSentencePairClassification
):
    """Two texts are encoded and pooled apart, and compared."""


class RecursiveOriginalConceptEncoderForMaskedLM(RecursiveOriginalHeadMixin, OriginalConceptEncoderForMaskedLM):
    """`OriginalConceptEncoderForMaskedLM` on the recursive encoder."""


class RecursiveOriginalConceptEncoderForSequenceClassificationPerceiver(
    RecursiveOriginalHeadMixin, OriginalConceptEncoderForSequenceClassificationPerceiver
):
    """`OriginalConceptEncoderForSequenceClassificationPerceiver` on the recursive encoder."""


class RecursiveOriginalConceptEncoderForSequenceClassificationViaDecoder(
    RecursiveOriginalHeadMixin, OriginalConceptEncoderForSequenceClassificationViaDecoder
):
    """`OriginalConceptEncoderForSequenceClassificationViaDecoder` on the recursive encoder."""


class RecursiveOriginalConceptEncoderForSentencePairClassification(
    RecursiveOriginalHeadMixin, OriginalConceptEncoderForSentencePairClassification
):
    """`OriginalConceptEncoderForSentencePairClassification` on the recursive encoder."""
