# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Language-model heads: masked LM, masked diffusion and prefix diffusion are one model with another decoder.

B batch, N tokens, S target positions, C concepts, H hidden, V vocabulary, M supervised positions.
"""

import torch
from transformers.utils.generic import can_return_tuple

from .backbone_concept import ConceptPreTrainedModel
from .configuration_concept import ConceptEncoderConfig, RecursiveConceptEncoderConfig
from .decoding_concept import ConceptDecodingMixin, repeat_memory
from .encoder_concept import ConceptEncoder, RecursiveConceptEncoder
from .generation_concept import ConceptWriterMixin
from .layers_concept import make_linear
from .loading_concept import RecursiveStartMixin
from .loss_concept import head_loss
from .outputs_concept import ConceptEncoderOutput, ConceptMaskedLMOutput
from .positions_concept import check_inputs


class ConceptEncoderForMaskedLM(ConceptDecodingMixin, ConceptWriterMixin, ConceptPreTrainedModel):
    """
    Encoder, the decoder that `config.decoder_type` names, and a language-model head without bias.

    The classes below choose the decoder; this one takes whatever a checkpoint has.
    """

    auto_class = "AutoModelForMaskedLM"
    encoder_class = ConceptEncoder
    part_defaults = {"decoder_type": "position", "decoder_target": "text", "decoder_mixer_type": "none"}
    _tied_weights_keys = {"lm_head.weight": "encoder.embeddings.token_embeddings.weight"}

    def __init__(self, config: ConceptEncoderConfig):
        super().__init__(config)
        self.encoder = self.encoder_class(self.config)
        self.decoder = self.make_decoder(self.config)
        self.lm_head = make_linear(self.config.hidden_size, self.config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.encoder.set_input_embeddings(value)

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, value):
        self.lm_head = value

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        timesteps: torch.FloatTensor | None = None,
        continuation: bool | None = None,
        labels: torch.LongTensor | None = None,
        loss_weights: torch.FloatTensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        supervised_num: int | None = None,
        return_logits: bool | None = None,
        concept_num: int | None = None,
        num_iterations: int | None = None,
        encoder_outputs: ConceptEncoderOutput | None = None,
        **kwargs,
    ) -> ConceptMaskedLMOutput:
        """
        Args:
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, concept_num, num_iterations:
                what the encoder sees, as in [`ConceptEncoder`].
            decoder_input_ids: [B, S] what a decoder that reads tokens sees (noised tokens, or a noised
                continuation); `input_ids` by default. Several sets for each text stand side by side, [B·D, S], and
                everything that goes with them: the text is encoded once.
            decoder_attention_mask: [B, S], 0 at padding of it; `attention_mask` by default.
            timesteps: [B] noise level in [0, 1] of a diffusion decoder; the share of masked tokens by default.
            continuation: whether `decoder_input_ids` follow the encoded text or are the text itself; by default as
                `config.decoder_target` says, and the text for "both".
            labels: [B, S], -100 where nothing is supervised.
            loss_weights: [B, S] weight of each position's loss; positions of weight 0 are not computed, but count in
                the normaliser.
            num_items_in_batch: what the weighted sum of losses is divided by; the number of labels other than -100 in
                this batch by default. The Trainer passes their number in the whole optimizer step.
            supervised_num: at least the most supervised positions of any row, see [`count_supervised`]; found out by
                default. Compiled code must be told, or it computes all positions: it cannot find out without a break.
            return_logits: whether to compute logits at all positions; by default not in training with labels, where
                only supervised positions are computed.
            encoder_outputs: concepts made before; the encoder is then not run.

        Raises:
            ValueError: a continuation is asked for without `decoder_input_ids`, `inputs_embeds` alone are given to a
                decoder with a token table of its own, or inputs do not fit each other, as in [`check_inputs`].
            TypeError: an unknown argument.
        """
        self.encoder.check_options(kwargs)
        continues = self.config.decoder_target == "continuation" if continuation is None else continuation
        if continues and decoder_input_ids is None:
            raise ValueError(
                f"{type(self).__name__} decodes what follows input_ids: give decoder_input_ids, masked where it is "
                "unknown, or call `generate`."
            )
        if decoder_input_ids is None:
            decoder_input_ids = input_ids
        if decoder_attention_mask is None and not continues:
            decoder_attention_mask = attention_mask
        embeds = inputs_embeds if decoder_input_ids is None else None
        rows = {"decoder_attention_mask": decoder_attention_mask, "labels": labels, "loss_weights": loss_weights}
        check_inputs(decoder_input_ids, embeds, **rows)
        if encoder_outputs is None:
            encoder_outputs = self.encoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                token_type_ids=token_type_ids,
                position_ids=position_ids,
                inputs_embeds=inputs_embeds,
                concept_num=concept_num,
                num_iterations=num_iterations,
                return_dict=True,
                **kwargs,
            )
        memory = self.remember(encoder_outputs, continues, None if continues else decoder_attention_mask)
        given = decoder_input_ids if embeds is None else embeds
        texts = encoder_outputs.last_hidden_state.shape[0]
        if given.shape[0] % texts:
            raise ValueError(f"{given.shape[0]} rows to decode are no multiple of the {texts} encoded texts.")
        memory = repeat_memory(memory, given.shape[0] // texts)
        targets = self.make_targets(
            decoder_input_ids,
            decoder_attention_mask,
            timesteps,
            None if continues else position_ids,
            inputs_embeds,
        )

        loss = logits = None
        if return_logits is None:
            return_logits = not self.training
        if labels is None or return_logits:
            hidden = self.decode(memory, targets)
            logits = self.lm_head(hidden)
            if labels is not None:
                loss = self.supervised_loss(hidden, labels, loss_weights, num_items_in_batch)
        else:
            items = (labels != -100).sum() if num_items_in_batch is None else num_items_in_batch
            index = supervised_places(labels, loss_weights, supervised_num)
            hidden = self.decode(memory, targets, index)
            if index is not None:
                labels = labels.gather(1, index)
                loss_weights = None if loss_weights is None else loss_weights.gather(1, index)
            loss = self.supervised_loss(hidden, labels, loss_weights, items)
        return ConceptMaskedLMOutput(
            loss=loss,
            logits=logits,
            concepts=encoder_outputs.last_hidden_state,
            pooler_output=encoder_outputs.pooler_output,
            hidden_states=encoder_outputs.hidden_states,
            attentions=encoder_outputs.attentions,
            cross_attentions=encoder_outputs.cross_attentions,
        )

    def supervised_loss(self, hidden, labels, loss_weights, num_items_in_batch):
        """Loss of states `hidden` [B, P, H] against `labels` [B, P], computed only where it counts."""
        supervised = labels != -100
        if num_items_in_batch is None:
            num_items_in_batch = supervised.sum()
        weights = supervised.float() if loss_weights is None else supervised * loss_weights.float()
        labels = labels.masked_fill(~supervised, 0)
        return head_loss(self.lm_head, hidden.flatten(0, 1), labels.flatten(), weights.flatten(), num_items_in_batch)


def supervised_mask(labels, loss_weights=None):
    """Which positions of `labels` [B, S] have a loss, those of weight 0 left out; bool [B, S]."""
    supervised = labels != -100
    return supervised if loss_weights is None else supervised & (loss_weights != 0)


def count_supervised(labels, loss_weights=None) -> int:
    """The most of them in any row."""
    supervised = supervised_mask(labels, loss_weights)
    return int(supervised.sum(dim=1).max()) if supervised.numel() else 0


def supervised_places(labels, loss_weights, supervised_num: int | None):
    """
    Places [B, P] that hold every supervised one of each row of `labels` [B, S], or None when that would spare nothing.
    P is `supervised_num`, or else the most of any row; compiled code, for which P must not depend on the labels, then
    takes all.
    """
    if supervised_num is None:
        supervised_num = labels.shape[1] if torch.compiler.is_compiling() else count_supervised(labels, loss_weights)
    if supervised_num >= labels.shape[1]:
        return None
    order = supervised_mask(labels, loss_weights).int().argsort(dim=1, descending=True, stable=True)
    return order[:, : max(supervised_num, 1)]


class ConceptEncoderForMaskedLMPerceiver(ConceptEncoderForMaskedLM):
    """`perceiver_mlm`: Perceiver IO decoder whose queries are tokens and positions."""

    part_choices = {"decoder_type": "token_position", "decoder_target": "text"}


class ConceptEncoderForMaskedLMPerceiverPosOnly(ConceptEncoderForMaskedLM):
    """`perceiver_posonly_mlm`, TSDAE: queries of position alone, so that all text passes through the concepts."""

    part_choices = {"decoder_type": "position", "decoder_target": "text"}


class ConceptEncoderForMaskedLMWeighted(ConceptEncoderForMaskedLM):
    """`weighted_mlm`: each position reads a fixed learned mixture of concepts."""

    part_choices = {"decoder_type": "weighted", "decoder_target": "text"}


class RecursiveConceptEncoderForMaskedLM(RecursiveStartMixin, ConceptEncoderForMaskedLM):
    """`recursive_mlm`: one concept layer repeated, and the decoder of `perceiver_mlm` unless another is configured."""

    config: RecursiveConceptEncoderConfig
    encoder_class = RecursiveConceptEncoder
    part_defaults = {**ConceptEncoderForMaskedLM.part_defaults, "decoder_type": "token_position"}


class ConceptEncoderForMaskedDiffusion(ConceptEncoderForMaskedLM):
    """
    `diffusion_mlm`: masked diffusion (Sahoo et al. 2024) read from concepts. `input_ids` is what the encoder sees (the
    noised text, whose masked tokens are hidden, or the clean one), `decoder_input_ids` the noised text; noise and the
    weights of the ELBO come with the batch. Target positions are mixed, so that a masked one sees what is revealed.
    """

    part_choices = {"decoder_type": "diffusion", "decoder_target": ("text", "both")}
    part_defaults = {"decoder_mixer_type": "conv"}


class ConceptEncoderForPrefixDiffusion(ConceptEncoderForMaskedLM):
    """
    `prefix_diffusion`: the encoder sees a clean prefix, the diffusion decoder writes its continuation
    (`decoder_input_ids`, whose positions start at 0 where the prefix ends).
    """

    part_choices = {"decoder_type": "diffusion", "decoder_target": ("continuation", "both")}
    part_defaults = {"decoder_mixer_type": "conv"}
