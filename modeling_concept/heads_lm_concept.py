# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Language-model heads: masked LM, masked diffusion and prefix diffusion are one model with different decoders.

B batch, N tokens, D targets of a text, S target positions, P supervised ones of them, C concepts, H hidden,
V vocabulary.
"""

import torch
from transformers.processing_utils import Unpack
from transformers.utils.generic import can_return_tuple

from .base_concept import ConceptPreTrainedModel, RecursiveStartMixin
from .configuration_concept import ConceptEncoderConfig, RecursiveConceptEncoderConfig
from .decoder_concept import ConceptDecodingMixin, make_decoder, repeat_memory
from .encoder_concept import ConceptEncoder, RecursiveConceptEncoder
from .generation_concept import ConceptGenerationMixin
from .layers_concept import make_linear
from .loss_concept import SampledVocabulary, head_loss
from .outputs_concept import ConceptEncoderOutput, ConceptMaskedLMOutput, EncoderInputs
from .positions_concept import check_inputs


class ConceptEncoderForMaskedLM(ConceptDecodingMixin, ConceptGenerationMixin, ConceptPreTrainedModel):
    """
    Encoder, the decoder that `config.decoder_type` names, and a language-model head without bias.

    The classes below fix the decoder; this one loads any checkpoint.
    """

    auto_class = "AutoModelForMaskedLM"
    encoder_class = ConceptEncoder
    part_defaults = {"decoder_type": "position", "decoder_target": "text", "decoder_conv_width": 0}
    _tied_weights_keys = {"lm_head.weight": "encoder.embeddings.token_embeddings.weight"}

    def __init__(self, config: ConceptEncoderConfig):
        super().__init__(config)
        self.make_parts()
        self.post_init()

    def make_parts(self):
        self.encoder = self.encoder_class(self.config)
        self.decoder = make_decoder(self.config, self.decoders)
        self.lm_head = make_linear(self.config.hidden_size, self.config.vocab_size, bias=False)

    def continues(self, continuation: bool | None) -> bool:
        """`continuation` of a call, or what it is by default."""
        return self.config.decoder_target == "continuation" if continuation is None else continuation

    def encode_or_take(self, encoder_outputs: ConceptEncoderOutput | None, options: dict, **inputs):
        """Output of the encoder for `inputs` and `options`, unless it is given: then `options` are checked alone."""
        if encoder_outputs is None:
            return self.encoder(**inputs, **options, return_dict=True)
        self.encoder.check_options(options)
        return encoder_outputs

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        timesteps: torch.FloatTensor | None = None,
        continuation: bool | None = None,
        labels: torch.LongTensor | None = None,
        loss_weights: torch.FloatTensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        supervised_num: int | None = None,
        sampled_vocabulary: SampledVocabulary | None = None,
        return_logits: bool | None = None,
        encoder_outputs: ConceptEncoderOutput | None = None,
        **kwargs: Unpack[EncoderInputs],
    ) -> ConceptMaskedLMOutput:
        """
        Args:
            input_ids, attention_mask, inputs_embeds, and the arguments in `kwargs`: inputs of the encoder, as in
                [`ConceptEncoder`].
            decoder_input_ids: [B, S] tokens that a decoder with token queries reads (noised tokens, or a noised
                continuation); `input_ids` by default. D sets for each text stand side by side, [B·D, S], and so do
                their masks, labels and weights: the text is encoded once.
            decoder_attention_mask: [B, S], 0 at padding of it; `attention_mask` by default.
            timesteps: [B] noise level in [0, 1] of a diffusion decoder; the share of masked tokens by default.
            continuation: whether `decoder_input_ids` follow the encoded text or are the text itself; by default as in
                `config.decoder_target`, and the text for "both".
            labels: [B, S], -100 where nothing is supervised.
            loss_weights: [B, S] weight of each position's loss; positions of weight 0 are not computed, but count in
                the normaliser.
            num_items_in_batch: divisor of the weighted sum of losses; the number of labels other than -100 in this
                batch by default. The Trainer passes their number in the whole optimizer step.
            supervised_num: an upper bound of the supervised positions in any row, see [`count_supervised`]; inferred
                if None. Pass it under torch.compile, which computes all positions otherwise.
            sampled_vocabulary: tokens that stand for the vocabulary in the softmax of the loss, with all labels.
            return_logits: whether to compute logits at all positions; by default not in training with labels, where
                only supervised positions are computed.
            encoder_outputs: concepts computed before; the encoder is then not run.

        Raises:
            ValueError: a continuation without `decoder_input_ids`; `inputs_embeds` alone for a decoder with a token
                table of its own; inputs that do not fit each other, as in [`check_inputs`].
            TypeError: an unknown argument.
        """
        continues = self.continues(continuation)
        if continues and decoder_input_ids is None:
            raise ValueError(
                f"{type(self).__name__} decodes what follows input_ids: give decoder_input_ids, masked where it is "
                "unknown, or call `generate`."
            )
        if not continues:  # the text is decoded at its own positions
            decoder_input_ids = input_ids if decoder_input_ids is None else decoder_input_ids
            decoder_attention_mask = attention_mask if decoder_attention_mask is None else decoder_attention_mask
        shown = {"input_ids": decoder_input_ids, "inputs_embeds": inputs_embeds if decoder_input_ids is None else None}
        rows = {"decoder_attention_mask": decoder_attention_mask, "labels": labels, "loss_weights": loss_weights}
        check_inputs(**shown, **rows)
        encoder_outputs = self.encode_or_take(
            encoder_outputs, kwargs, input_ids=input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds
        )
        memory = self.prepare_memory(encoder_outputs, continues, None if continues else decoder_attention_mask)
        targets = self.make_targets(attention_mask=decoder_attention_mask, timesteps=timesteps, **shown)
        memory = repeat_memory(memory, encoder_outputs.last_hidden_state.shape[0], targets)

        loss = logits = index = None
        if labels is None or (not self.training if return_logits is None else return_logits):
            hidden = self.decode(memory, targets)
            logits = self.lm_head(hidden)
        else:
            index = supervised_places(labels, loss_weights, supervised_num)
            hidden = self.decode(memory, targets, index)
        if labels is not None:
            loss = supervised_loss(
                self.lm_head, hidden, index, labels, loss_weights, num_items_in_batch, sampled_vocabulary
            )
        return ConceptMaskedLMOutput(
            loss=loss,
            logits=logits,
            concepts=encoder_outputs.last_hidden_state,
            pooler_output=encoder_outputs.pooler_output,
            hidden_states=encoder_outputs.hidden_states,
            attentions=encoder_outputs.attentions,
            cross_attentions=encoder_outputs.cross_attentions,
        )


def supervised_loss(head, hidden, index, labels, loss_weights, num_items_in_batch, sampled_vocabulary=None):
    """Loss against `labels` [B, S], as in `forward` of [`ConceptEncoderForMaskedLM`], of the states `hidden`
    [B, S, …] below a language-model head, or of those [B, P, …] at the places `index` [B, P]."""
    supervised = labels != -100
    if num_items_in_batch is None:
        num_items_in_batch = supervised.sum()
    weights = supervised.float() if loss_weights is None else supervised * loss_weights.float()
    labels = labels.masked_fill(~supervised, 0)
    if index is not None:
        labels, weights = labels.gather(1, index), weights.gather(1, index)
    return head_loss(
        head, hidden.flatten(0, 1), labels.flatten(), weights.flatten(), num_items_in_batch, sampled_vocabulary
    )


def supervised_mask(labels, loss_weights=None):
    """Positions of `labels` [B, S] that have a loss of weight other than 0; bool [B, S]."""
    supervised = labels != -100
    return supervised if loss_weights is None else supervised & (loss_weights != 0)


def count_supervised(labels, loss_weights=None) -> int:
    """The largest number of supervised positions in any row."""
    supervised = supervised_mask(labels, loss_weights)
    return int(supervised.sum(dim=1).max()) if supervised.numel() else 0


def supervised_places(labels, loss_weights, supervised_num: int | None):
    """
    Places [B, P] that include every supervised position of each row of `labels` [B, S], or None for all places.
    P is `supervised_num`, or else the largest number in any row. Compiled code takes all places instead, since P must
    not depend on the labels there.
    """
    if supervised_num is None:
        supervised_num = labels.shape[1] if torch.compiler.is_compiling() else count_supervised(labels, loss_weights)
    if supervised_num >= labels.shape[1]:
        return None
    order = supervised_mask(labels, loss_weights).int().argsort(dim=1, descending=True, stable=True)
    return order[:, : max(supervised_num, 1)]


class ConceptEncoderForMaskedLMPerceiver(ConceptEncoderForMaskedLM):
    """`perceiver_mlm`: Perceiver IO decoder with token and position queries."""

    part_choices = {"decoder_type": "token_position", "decoder_target": "text"}


class ConceptEncoderForMaskedLMPerceiverPosOnly(ConceptEncoderForMaskedLM):
    """`perceiver_posonly_mlm`, TSDAE: position-only queries, so that all text passes through the concepts."""

    part_choices = {"decoder_type": "position", "decoder_target": "text"}


class ConceptEncoderForMaskedLMWeighted(ConceptEncoderForMaskedLM):
    """`weighted_mlm`: each position reads a fixed learned mixture of concepts."""

    part_choices = {"decoder_type": "weighted", "decoder_target": "text"}


class ConceptEncoderForMaskedDiffusion(ConceptEncoderForMaskedLM):
    """
    `diffusion_mlm`: masked diffusion (Sahoo et al. 2024) conditioned on concepts. `input_ids` is the encoder's input
    (the noised text, whose masked tokens are hidden, or the clean one), `decoder_input_ids` the noised text; noise and
    the weights of the ELBO come with the batch. A convolution lets a masked position see its revealed neighbours.
    """

    part_choices = {"decoder_type": "diffusion", "decoder_target": ("text", "both")}
    part_defaults = {"decoder_conv_width": 7}


class ConceptEncoderForPrefixDiffusion(ConceptEncoderForMaskedLM):
    """
    `prefix_diffusion`: the encoder sees a clean prefix, the diffusion decoder writes its continuation
    (`decoder_input_ids`, whose positions start at 0 where the prefix ends).
    """

    part_choices = {"decoder_type": "diffusion", "decoder_target": ("continuation", "both")}
    part_defaults = {"decoder_conv_width": 7}


class RecursiveHeadMixin(RecursiveStartMixin):
    """For models with a head on a recursive encoder."""

    config: RecursiveConceptEncoderConfig
    config_class = RecursiveConceptEncoderConfig
    encoder_class = RecursiveConceptEncoder


class RecursiveConceptEncoderForMaskedLM(RecursiveHeadMixin, ConceptEncoderForMaskedLM):
    """`recursive_mlm`: one concept layer repeated, and the decoder of `perceiver_mlm` unless another is configured."""

    part_defaults = {**ConceptEncoderForMaskedLM.part_defaults, "decoder_type": "token_position"}


__all__ = [
    "ConceptEncoderForMaskedDiffusion",
    "ConceptEncoderForMaskedLM",
    "ConceptEncoderForMaskedLMPerceiver",
    "ConceptEncoderForMaskedLMPerceiverPosOnly",
    "ConceptEncoderForMaskedLMWeighted",
    "ConceptEncoderForPrefixDiffusion",
    "RecursiveConceptEncoderForMaskedLM",
]
