# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Classification and regression heads on concepts, on decoded tokens, and on pairs of texts.

B batch, N tokens, C concepts, H hidden.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers.utils.generic import can_return_tuple

from .backbone_concept import ConceptPreTrainedModel
from .configuration_concept import ConceptEncoderConfig, RecursiveConceptEncoderConfig
from .decoding_concept import ConceptDecodingMixin
from .encoder_concept import ConceptEncoder, RecursiveConceptEncoder
from .layers_concept import make_linear, make_norm
from .loading_concept import RecursiveStartMixin
from .outputs_concept import ConceptClassifierOutput


class ConceptClassifierModel(ConceptPreTrainedModel):
    """Base: encoder, dropout and classifier, and the loss of the configured problem type."""

    auto_class = "AutoModelForSequenceClassification"
    encoder_class = ConceptEncoder
    accepts_loss_kwargs = False  # the loss is the batch's mean: the Trainer divides by the accumulation steps
    new_head_keys = ("classifier.",)
    feature_count = 1  # widths of H that the classifier sees

    def __init__(self, config: ConceptEncoderConfig):
        super().__init__(config)
        config = self.config
        self.num_labels = config.num_labels
        self.loss_type = "ForSequenceClassification"  # transformers would guess it from the class name
        self.encoder = self.encoder_class(config)
        rate = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        self.dropout = nn.Dropout(rate)
        self.make_head(config)
        self.classifier = self.make_classifier(config)
        self.post_init()

    def make_head(self, config):
        """Parts between encoder and classifier."""

    def make_norm(self, config):
        return make_norm(config)

    def make_classifier(self, config):
        return make_linear(self.feature_count * config.hidden_size, config.num_labels, bias=True)

    def make_pooler(self, config):
        weighted = config.concept_pooling == "weighted"
        self.concept_scorer = make_linear(config.hidden_size, 1, bias=True, gain=0.0) if weighted else None
        self.pool_norm = self.make_norm(config)

    def pool(self, concepts):
        """Concepts [B, C, H] -> [B, H]: their mean, or their mean under a learned softmax; normalised."""
        if self.concept_scorer is None:
            return self.pool_norm(concepts.mean(dim=1))
        weights = self.concept_scorer(concepts).softmax(dim=1)
        return self.pool_norm((weights * concepts).sum(dim=1))

    def output(self, logits, labels, encoded, concepts, **kwargs):
        loss = None
        if labels is not None:
            loss = self.loss_function(labels, logits, self.config, **kwargs)
        return ConceptClassifierOutput(
            loss=loss,
            logits=logits,
            concepts=concepts,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            cross_attentions=encoded.cross_attentions,
        )


class ConceptEncoderForSequenceClassificationPerceiver(ConceptClassifierModel):
    """`perceiver_cls`: pooled concepts, classifier. Nothing but the concepts reaches it."""

    part_defaults = {"concept_pooling": "weighted"}
    new_head_keys = ("classifier.", "concept_scorer.", "pool_norm.")

    def make_head(self, config):
        self.make_pooler(config)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.Tensor | None = None,
        concept_num: int | None = None,
        num_iterations: int | None = None,
        **kwargs,
    ) -> ConceptClassifierOutput:
        """
        Args:
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, concept_num, num_iterations:
                as in [`ConceptEncoder`].
            labels: [B] class indices, or float scores when `config.num_labels` is 1; [B, num_labels] float for
                several labels at once.
        """
        encoded = self.encoder(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, concept_num, num_iterations,
            return_dict=True, **kwargs,
        )  # fmt: skip
        concepts = encoded.last_hidden_state
        logits = self.classifier(self.dropout(self.pool(concepts)))
        return self.output(logits, labels, encoded, concepts, **kwargs)


class ConceptEncoderForSequenceClassificationViaDecoder(ConceptDecodingMixin, ConceptClassifierModel):
    """
    `perceiver_decoder_cls`: the pretrained decoder reads the text's positions back, their masked mean is classified.

    A decoder that reads tokens is shown mask tokens, so that the text reaches the classifier through the concepts
    alone. With `config.classifier_reads_tokens` it is shown the tokens, which then pass around the concepts.
    """

    part_defaults = {"decoder_type": "token_position", "decoder_mixer_type": "none"}
    new_head_keys = ("classifier.", "pre_pool_norm.")

    def make_head(self, config):
        self.decoder = self.make_decoder(config)
        self.pre_pool_norm = self.make_norm(config)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        labels: torch.Tensor | None = None,
        concept_num: int | None = None,
        num_iterations: int | None = None,
        **kwargs,
    ) -> ConceptClassifierOutput:
        """
        Args:
            decoder_input_ids: [B, N] tokens that the decoder is shown instead; needed beside `inputs_embeds` where
                `config.classifier_reads_tokens` is set and the decoder has a token table of its own.

        Others as in [`ConceptEncoderForSequenceClassificationPerceiver`].

        Raises:
            ValueError: `inputs_embeds` alone, with a decoder that is shown the text and has a token table of its own;
                a decoder that reads tokens, without `config.mask_token_id`.
        """
        encoded = self.encoder(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, concept_num, num_iterations,
            return_dict=True, **kwargs,
        )  # fmt: skip
        if decoder_input_ids is None and not self.config.classifier_reads_tokens:
            given = input_ids if inputs_embeds is None else inputs_embeds
            targets = self.make_blank_targets(given, attention_mask, position_ids)
        else:
            shown = input_ids if decoder_input_ids is None else decoder_input_ids
            targets = self.make_targets(shown, attention_mask, None, position_ids, inputs_embeds)
        states = self.pre_pool_norm(self.decode(self.remember(encoded), targets))
        mask = states.new_ones(states.shape[:2]) if attention_mask is None else attention_mask.to(states.dtype)
        mask = mask[:, :, None]
        pooled = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return self.output(self.classifier(self.dropout(pooled)), labels, encoded, encoded.last_hidden_state, **kwargs)


class ConceptEncoderForSentencePairClassification(ConceptClassifierModel):
    """
    `perceiver_pair_cls`: each sentence is encoded alone; classifier of [a; b; |a - b|; a * b], or with
    `config.pair_similarity="cosine"` the cosine of the two vectors, regressed on labels between -1 and 1.
    """

    main_input_name = "input_ids_a"
    part_defaults = {"concept_pooling": "mean"}
    new_head_keys = ("classifier.", "concept_scorer.", "pool_norm.")
    feature_count = 4
    _keys_to_ignore_on_load_unexpected = [r"^classifier\."]  # of a classifier that becomes a cosine

    def make_head(self, config):
        self.make_pooler(config)

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
        concept_num: int | None = None,
        num_iterations: int | None = None,
        **kwargs,
    ) -> ConceptClassifierOutput:
        """
        Args:
            input_ids_a, attention_mask_a: first sentences [B, N].
            input_ids_b, attention_mask_b: second sentences [B, N'].
            labels: as in [`ConceptEncoderForSequenceClassificationPerceiver`]; for a cosine [B] float in [-1, 1].

        Returns:
            `logits` [B, num_labels], or [B, 1] cosines.

        Raises:
            ValueError: one of the two sentences is not given, or labels of a cosine are not one for each pair, between
                -1 and 1, or are classes by `config.num_labels`.
        """
        if input_ids_a is None or input_ids_b is None:
            raise ValueError("A sentence pair needs input_ids_a and input_ids_b.")
        options = {"concept_num": concept_num, "num_iterations": num_iterations, "return_dict": True, **kwargs}
        encoded_a = self.encoder(input_ids_a, attention_mask_a, **options)
        encoded_b = self.encoder(input_ids_b, attention_mask_b, **options)
        a, b = self.pool(encoded_a.last_hidden_state), self.pool(encoded_b.last_hidden_state)
        concepts = torch.stack([encoded_a.last_hidden_state, encoded_b.last_hidden_state])
        if self.config.pair_similarity == "classifier":
            features = torch.cat([a, b, (a - b).abs(), a * b], dim=-1)
            return self.output(self.classifier(self.dropout(features)), labels, encoded_a, concepts, **kwargs)
        logits = F.cosine_similarity(a, b, dim=-1)[:, None]
        output = self.output(logits, None, encoded_a, concepts)
        if labels is not None:
            labels = self.check_scores(labels, len(logits))
            output.loss = F.mse_loss(logits[:, 0].float(), labels.float())
        return output

    def check_scores(self, labels, count: int):
        """The `count` labels of a cosine, [B] or [B, 1], as [B]; ValueError for another shape or other values."""
        if self.num_labels > 2:  # 2 is that of a configuration of which nobody has said it
            raise ValueError(
                f"A cosine learns one score, but num_labels is {self.num_labels}: set num_labels=1, or for classes "
                'pair_similarity="classifier".'
            )
        if labels.numel() != count or labels.dim() > 2:
            raise ValueError(f"A cosine needs one label for each of {count} pairs, not {list(labels.shape)}.")
        if not torch.compiler.is_compiling() and not bool((labels.abs() <= 1).all()):
            raise ValueError(
                f"Labels of a cosine lie between -1 and 1, but these reach from {labels.min():.4g} to "
                f"{labels.max():.4g}: scale scores, as x / 5 does those from 0 to 5, or set pair_similarity="
                '"classifier".'
            )
        return labels.reshape(-1)


class RecursiveConceptEncoderForSequenceClassificationPerceiver(
    RecursiveStartMixin, ConceptEncoderForSequenceClassificationPerceiver
):
    """`perceiver_cls` on a recursive encoder."""

    config: RecursiveConceptEncoderConfig
    encoder_class = RecursiveConceptEncoder


class RecursiveConceptEncoderForSequenceClassificationViaDecoder(
    RecursiveStartMixin, ConceptEncoderForSequenceClassificationViaDecoder
):
    """`perceiver_decoder_cls` on a recursive encoder."""

    config: RecursiveConceptEncoderConfig
    encoder_class = RecursiveConceptEncoder


class RecursiveConceptEncoderForSentencePairClassification(
    RecursiveStartMixin, ConceptEncoderForSentencePairClassification
):
    """`perceiver_pair_cls` on a recursive encoder."""

    config: RecursiveConceptEncoderConfig
    encoder_class = RecursiveConceptEncoder
