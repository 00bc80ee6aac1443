# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Entry file of a checkpoint's code. It names every file of the folder, since loaders of remote code before transformers
5.10 copy only what the entry imports directly; `auto_map` always points here.
"""

# ruff: noqa: F401
from .attention_concept import ConceptAttention
from .backbone_concept import ConceptPreTrainedModel
from .card_concept import card_to_push
from .configuration_concept import ConceptEncoderConfig, RecursiveConceptEncoderConfig
from .decoder_diffusion_concept import DiffusionDecoder
from .decoder_layers_concept import ConceptDecoder
from .decoder_perceiver_concept import PositionDecoder, TokenPositionDecoder
from .decoder_weighted_concept import WeightedDecoder
from .decoders_concept import DECODERS
from .decoding_concept import ConceptDecodingMixin
from .embeddings_concept import ConceptQueries, ConceptTokenEmbeddings
from .encoder_bixt_concept import BiXTEncoderLayer
from .encoder_concept import ConceptEncoder, RecursiveConceptEncoder
from .encoder_perceiver_concept import ConceptEncoderLayer
from .encoder_slot_concept import SlotEncoderLayer
from .encoders_concept import ENCODER_LAYERS
from .generation_concept import ConceptWriterMixin
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
from .layers_concept import FeedForward
from .loading_concept import load_state_dict
from .loss_concept import head_loss
from .mixers_concept import TOKEN_MIXERS
from .norms_concept import RMSNorm
from .original_configuration_concept import OriginalConceptEncoderConfig, RecursiveOriginalConceptEncoderConfig
from .original_decoders_concept import ORIGINAL_DECODERS
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
from .outputs_concept import ConceptClassifierOutput, ConceptEncoderOutput, ConceptMaskedLMOutput
from .positions_concept import Segments
from .pretrained_concept import PretrainedTokens
from .registration_concept import AUTO_MODELS
from .text_concept import TextEncoding
