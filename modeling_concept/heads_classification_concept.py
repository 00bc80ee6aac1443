# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Classification and regression heads on concepts, on decoded tokens, and on pairs of texts.

B batch, N tokens, C concepts, H hidden.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers.processing_utils import Unpack
from transformers.utils.generic import can_return_tuple

from .base_concept import ConceptPreTrainedModel
from .configuration_concept import ConceptEncoderConfig
from .decoder_concept import ConceptDecodingMixin, make_decoder
from .encoder_concept import ConceptEncoder
from .heads_lm_concept import RecursiveHeadMixin
from .layers_concept import make_linear, make_norm
from .outputs_concept import ConceptClassifierOutput, EncoderInputs


class ConceptClassifierModel(ConceptPreTrainedModel):
    """Base: encoder, dropout and classifier, and the loss of the configured problem type."""

    auto_class = "AutoModelForSequenceClassification"
    encoder_class = ConceptEncoder
    accepts_loss_kwargs = False  # the loss is the batch's mean: the Trainer divides by the accumulation steps
    new_head_keys = ("classifier.", "concept_scorer.", "pool_norm.", "pre_pool_norm.")
    feature_count = 1  # number of vectors [B, H] that the classifier reads

    def __init__(self, config: ConceptEncoderConfig):
        super().__init__(config)
        config = self.config
        self.num_labels = config.num_labels
        self.loss_type = "ForSequenceClassification"  # transformers would infer it from the class name
        self.encoder = self.encoder_class(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.make_head(config)
        self.classifier = self.make_classifier(config)
        self.post_init()

    def make_norm(self, config):
        return make_norm(config)

    def make_head(self, config):
        """Parts between encoder and classifier."""
        self.pool_norm = self.make_norm(config)

    def make_classifier(self, config):
        return make_linear(self.feature_count * config.hidden_size, config.num_labels, bias=True)

    def pool(self, concepts):
        """Concepts [B, C, H] -> their normalised mean [B, H]."""
        return self.pool_norm(concepts.mean(dim=1))

    def make_features(self, encoded, input_ids, attention_mask, **kwargs):
        """What the classifier reads of the encoder's output [B, H]; the other arguments are those of `forward`."""
        return self.pool(encoded.last_hidden_state)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[EncoderInputs],
    ) -> ConceptClassifierOutput:
        """
        Args:
            input_ids, attention_mask, and the arguments in `kwargs`: as in [`ConceptEncoder`].
            labels: [B] class indices, or float scores when `config.num_labels` is 1; [B, num_labels] float for
                several labels at once.
        """
        encoded = self.encoder(input_ids, attention_mask, return_dict=True, **kwargs)
        features = self.make_features(encoded, input_ids, attention_mask, **kwargs)
        return self.output(self.classifier(self.dropout(features)), labels, encoded, encoded.last_hidden_state)

    def output(self, logits, labels, encoded, concepts):
        return ConceptClassifierOutput(
            loss=None if labels is None else self.loss_function(labels, logits, self.config),
            logits=logits,
            concepts=concepts,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            cross_attentions=encoded.cross_attentions,
        )


class WeightedPoolingMixin:
    """Before a classifier that pools concepts: it averages them under a learned softmax."""

    def make_head(self, config):
        self.concept_scorer = make_linear(config.hidden_size, 1, bias=True, init_scale=0.0)
        super().make_head(config)

    def pool(self, concepts):
        """Concepts [B, C, H] -> their normalised weighted mean [B, H]."""
        weights = self.concept_scorer(concepts).softmax(dim=1)
        return self.pool_norm((weights * concepts).sum(dim=1))


class ConceptEncoderForSequenceClassificationPerceiver(WeightedPoolingMixin, ConceptClassifierModel):
    """`perceiver_cls`: pooled concepts, classifier. The pooling is weighted, since no layer changes the plain mean of
    the concepts where that is the mean of the token embeddings."""


class ConceptEncoderForSequenceClassificationViaDecoder(ConceptDecodingMixin, ConceptClassifierModel):
    """
    `perceiver_decoder_cls`: the pretrained decoder decodes the text's positions, and their masked mean is classified.

    A decoder with token queries gets mask tokens, so that the text reaches the classifier through the concepts alone.
    With `config.classifier_reads_tokens` it gets the tokens, which then pass around the concepts.
    """

    part_defaults = {"decoder_type": "token_position", "decoder_conv_width": 0}

    def make_head(self, config):
        self.decoder = make_decoder(config, self.decoders)
        self.pre_pool_norm = self.make_norm(config)

    def make_features(self, encoded, input_ids, attention_mask, inputs_embeds=None, **kwargs):
        """
        As in [`ConceptClassifierModel`].

        Raises:
            ValueError: `config.mask_token_id` is None and the decoder has token queries; `inputs_embeds` alone, for a
                decoder that gets the tokens and has a token table of its own.
        """
        if self.config.classifier_reads_tokens:
            targets = self.make_targets(input_ids, attention_mask, inputs_embeds=inputs_embeds)
        else:
            given = input_ids if inputs_embeds is None else inputs_embeds
            targets = self.make_blank_targets(given, attention_mask)
        states = self.pre_pool_norm(self.decode(self.prepare_memory(encoded), targets))
        mask = states.new_ones(states.shape[:2]) if attention_mask is None else attention_mask.to(states.dtype)
        mask = mask[:, :, None]
        return (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


class ConceptEncoderForSentencePairClassification(ConceptClassifierModel):
    """
    `perceiver_pair_cls`: each sentence is encoded alone; classifier of [a; b; |a - b|; a * b], or with
    `config.pair_similarity="cosine"` the cosine of the two vectors, regressed on labels between -1 and 1.
    """

    main_input_name = "input_ids_a"
    feature_count = 4
    _keys_to_ignore_on_load_unexpected = [r"^classifier\."]  # of a classifier that becomes a cosine

    def make_classifier(self, config):
        return super().make_classifier(config) if config.pair_similarity == "classifier" else None

    @can_return_tuple
    def forward(
        self,
        input_ids_a: torch.LongTensor | None = None,
        attention_mask_a: torch.Tensor | None = None,
        input_ids_b: torch.LongTensor | None = None,
        attention_mask_b: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[EncoderInputs],
    ) -> ConceptClassifierOutput:
        """
        Args:
            input_ids_a, attention_mask_a: first sentences [B, N].
            input_ids_b, attention_mask_b: second sentences [B, N'].
            labels: as in [`ConceptClassifierModel`]; for a cosine [B] float in [-1, 1].
            kwargs: `concept_num` and `num_iterations` as in [`ConceptEncoder`].

        Returns:
            `logits` [B, num_labels], or [B, 1] cosines.

        Raises:
            ValueError: one of the two sentences is not given; for a cosine, labels outside [-1, 1].
            RuntimeError: for a cosine, labels of another number than the pairs.
        """
        if input_ids_a is None or input_ids_b is None:
            raise ValueError("A sentence pair needs input_ids_a and input_ids_b.")
        encoded_a = self.encoder(input_ids_a, attention_mask_a, return_dict=True, **kwargs)
        encoded_b = self.encoder(input_ids_b, attention_mask_b, return_dict=True, **kwargs)
        a, b = self.pool(encoded_a.last_hidden_state), self.pool(encoded_b.last_hidden_state)
        concepts = torch.stack([encoded_a.last_hidden_state, encoded_b.last_hidden_state])
        if self.classifier is not None:
            features = torch.cat([a, b, (a - b).abs(), a * b], dim=-1)
            return self.output(self.classifier(self.dropout(features)), labels, encoded_a, concepts)
        output = self.output(F.cosine_similarity(a, b, dim=-1)[:, None], None, encoded_a, concepts)
        if labels is not None:
            output.loss = self.cosine_loss(output.logits[:, 0], labels)
        return output

    def cosine_loss(self, cosines, labels):
        """Mean squared error of `cosines` [B] against `labels`, [B] or [B, 1]."""
        if not torch.compiler.is_compiling() and not bool((labels.abs() <= 1).all()):
            raise ValueError(
                f"Labels of a cosine lie between -1 and 1, but these reach from {labels.min():.4g} to "
                f"{labels.max():.4g}: scale scores, as x / 5 does those from 0 to 5, or set pair_similarity="
                '"classifier".'
            )
        return F.mse_loss(cosines.float(), labels.view_as(cosines).float())


class RecursiveConceptEncoderForSequenceClassificationPerceiver(
    RecursiveHeadMixin, ConceptEncoderForSequenceClassificationPerceiver
):
    """`perceiver_cls` on a recursive encoder."""


class RecursiveConceptEncoderForSequenceClassificationViaDecoder(
    RecursiveHeadMixin, ConceptEncoderForSequenceClassificationViaDecoder
):
    """`perceiver_decoder_cls` on a recursive encoder."""


class RecursiveConceptEncoderForSentencePairClassification(
    RecursiveHeadMixin, ConceptEncoderForSentencePairClassification
):
    """`perceiver_pair_cls` on a recursive encoder."""


__all__ = [
    "ConceptEncoderForSentencePairClassification",
    "ConceptEncoderForSequenceClassificationPerceiver",
    "ConceptEncoderForSequenceClassificationViaDecoder",
    "RecursiveConceptEncoderForSentencePairClassification",
    "RecursiveConceptEncoderForSequenceClassificationPerceiver",
    "RecursiveConceptEncoderForSequenceClassificationViaDecoder",
]
