# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Concept encoders: text of N tokens becomes C concept vectors at O(C·N) cost.

B batch, N tokens, C concepts, E token embedding width, H hidden.
"""

import torch
import torch.nn as nn
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .attention_concept import ConceptAttention, make_key_mask
from .base_concept import ConceptPreTrainedModel, RecursiveStartMixin
from .configuration_concept import ConceptEncoderConfig, RecursiveConceptEncoderConfig
from .embeddings_concept import ConceptQueries, ConceptTokenEmbeddings, TokenWeights
from .encoder_layers_concept import ConceptEncoderLayer, LayerContext, find_encoder_layer
from .layers_concept import RMSNorm, make_norm
from .outputs_concept import ConceptEncoderOutput
from .positions_concept import (
    SegmentOffsetEmbedding,
    Segments,
    TextLayout,
    check_inputs,
    make_rotary,
    mean_of_visible,
    text_layout,
)


# Epsilon of norms of concepts. In a text of one token they are nearly equal, or zero, and a smaller one would amplify
# rounding errors.
OUTPUT_NORM_EPS = 1e-3


class ConceptEncoder(ConceptPreTrainedModel):
    """
    A stack of concept layers over embedded tokens (Perceiver IO, Jaegle et al. 2021). Every layer reads the tokens;
    unless layers update them, the first one makes their keys and values for all.

    `AutoModel` gives this class; its first output are the concepts, its `pooler_output` is their mean.
    """

    auto_class = "AutoModel"
    # Weights of decoders, heads and readers.
    _keys_to_ignore_on_load_unexpected = [
        r"^decoder\.", r"^lm_head\.", r"^reader\.", r"^classifier\.", r"^concept_scorer\.", r"^pool_norm\.",
        r"^pre_pool_norm\.",
    ]  # fmt: skip
    _can_record_outputs = {
        "hidden_states": OutputRecorder(ConceptEncoderLayer, index=0),
        "attentions": OutputRecorder(ConceptAttention, index=1, layer_name="self_attn"),
        "cross_attentions": OutputRecorder(ConceptAttention, index=1, layer_name="cross_attn"),
    }

    def __init__(self, config: ConceptEncoderConfig):
        super().__init__(config)
        self.make_parts(self.config)
        self.post_init()

    def make_parts(self, config):
        self.embeddings = ConceptTokenEmbeddings(config)
        self.offset_embedding = SegmentOffsetEmbedding(config)
        self.token_weights = TokenWeights(config) if config.concept_mean == "weighted" else None
        self.concept_queries = ConceptQueries(config) if find_encoder_layer(config).has_queries else None
        self.make_layers(config)
        self.output_norm = RMSNorm(config.hidden_size, eps=OUTPUT_NORM_EPS)

    def make_layers(self, config):
        kind, last = find_encoder_layer(config), config.num_hidden_layers - 1
        # No layer would read tokens updated by the last one.
        self.layers = nn.ModuleList(
            kind(config, projects_tokens=index == 0 or not kind.shares_key_values, updates_tokens=index < last)
            for index in range(last + 1)
        )

    def run_layers(self, concepts, token_states, queries, context, num_iterations: int | None):
        """Initial concepts [B, C, H] to those after the last layer, before the output norm."""
        last, key, value = len(self.layers) - 1, None, None
        for index, layer in enumerate(self.layers):
            concepts, token_states, key, value = layer(
                concepts, token_states, queries, key, value, context, index < last
            )
        return concepts

    def set_input_embeddings(self, value):
        super().set_input_embeddings(value)
        if self.config.concept_mean == "weighted":
            self.token_weights.resize(value.num_embeddings)

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        concept_num: int | None = None,
        num_iterations: int | None = None,
        **kwargs,
    ) -> ConceptEncoderOutput:
        """
        Args:
            input_ids: [B, N]. Positions that hold `mask_token_id` are hidden.
            attention_mask: [B, N], 0 at padding (on either side) and at other hidden tokens.
            token_type_ids: [B, N], without effect.
            inputs_embeds: [B, N, E] instead of `input_ids`.
            concept_num: number of concepts to make, at most `config.concept_num`, which is the default.
            num_iterations: iterations of a recursive encoder.

        Raises:
            ValueError: an error of [`check_inputs`]; a text longer than `config.max_sequence_length`; `concept_num` or
                `num_iterations` out of range; `inputs_embeds` where tokens have different weights.
            TypeError: an unknown argument, or `num_iterations` without a recursive encoder.
        """
        config = self.config
        self.check_options(kwargs)
        if config.is_recursive:
            num_iterations = config.num_iterations if num_iterations is None else num_iterations
            if num_iterations < 1:
                raise ValueError(f"num_iterations must be at least 1, not {num_iterations}.")
        elif num_iterations is not None:
            raise TypeError(f"{type(self).__name__} is not recursive: it takes no num_iterations.")
        check_inputs(input_ids, inputs_embeds, attention_mask=attention_mask, token_type_ids=token_type_ids)
        input_ids, inputs_embeds, layout = self.lay_out(input_ids, inputs_embeds, attention_mask)
        count = config.concept_num if concept_num is None else concept_num
        if isinstance(count, float) or not 1 <= count <= config.concept_num:
            raise ValueError(
                f"concept_num must be a whole number between 1 and the trained {config.concept_num}, not {count}."
            )
        return self.make_concepts(input_ids, inputs_embeds, layout, count, num_iterations)

    def lay_out(self, input_ids, inputs_embeds, attention_mask):
        """`input_ids`, `inputs_embeds` and the [`TextLayout`] of checked inputs; ValueError for a text that is too
        long."""
        config = self.config
        given = input_ids if inputs_embeds is None else inputs_embeds
        token_count = given.shape[1]
        if token_count > config.max_sequence_length:
            raise ValueError(
                f"A text of {token_count} tokens is longer than max_sequence_length {config.max_sequence_length}; "
                "truncate it (`truncation=True` in the tokenizer or in `encode`) or use a model with a longer limit."
            )
        if token_count == 0:  # an empty text is one hidden position
            batch, device, token_count = given.shape[0], given.device, 1
            if inputs_embeds is None:
                input_ids = torch.full((batch, 1), config.pad_token_id or 0, device=device)
            else:
                inputs_embeds = given.new_zeros(batch, 1, given.shape[2])
            attention_mask = torch.zeros((batch, 1), dtype=torch.long, device=device)
        hidden_tokens = None
        if config.hide_mask_tokens and config.mask_token_id is not None and input_ids is not None:
            hidden_tokens = input_ids == config.mask_token_id
        layout = text_layout(attention_mask, token_count, hidden_tokens, given.device)
        return input_ids, inputs_embeds, layout

    def get_sentence_features(
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None
    ) -> BaseModelOutputWithPooling:
        """
        Sentence vectors without concepts, for [`SentenceTransformer`]: where the mean of the concepts is that of the
        token states, no concept layer is run.

        Args:
            input_ids, attention_mask: as in [`forward`].

        Returns:
            `pooler_output` [B, H], equal to that of [`forward`] up to rounding. With a given mean, `last_hidden_state`
            [B, N, H] are the token states that the concepts read, undefined at hidden tokens; None otherwise.

        Raises:
            ValueError: an error of [`check_inputs`], or a text longer than `config.max_sequence_length`.
        """
        if self.config.concept_mean == "free":
            return BaseModelOutputWithPooling(
                pooler_output=self(input_ids, attention_mask, return_dict=True).pooler_output
            )
        check_inputs(input_ids, attention_mask=attention_mask)
        states, text_mean = self.read_tokens(*self.lay_out(input_ids, None, attention_mask))
        return BaseModelOutputWithPooling(states[:, : input_ids.shape[1]], text_mean[:, 0])  # none of an empty text

    def read_tokens(self, input_ids, inputs_embeds, layout: TextLayout):
        """Token states [B, N, H], and their weighted mean over each text [B, 1, H]."""
        states = self.embeddings(input_ids, inputs_embeds, layout)
        weights = None if self.token_weights is None else self.token_weights(input_ids)
        return states, mean_of_visible(states, layout, weights)

    def make_concepts(self, input_ids, inputs_embeds, layout: TextLayout, count: int, num_iterations: int | None):
        """Output of [`forward`] for checked inputs: `count` concepts of each text."""
        states, text_mean = self.read_tokens(input_ids, inputs_embeds, layout)
        segments = Segments(layout.lengths, count)
        by_segment = self.config.concept_start == "segment"
        concepts = segments.means(states, layout) if by_segment else text_mean.expand(-1, count, -1)
        states = states + self.offset_embedding(layout.positions, segments, states.dtype)
        context = LayerContext(
            make_key_mask(self.config, concepts, states, layout.visible),
            self.rotary(segments.concept_places(), states),
            self.rotary(segments.token_places(layout.positions), states),
        )
        queries = None if self.concept_queries is None else self.concept_queries(count)
        concepts = self.run_layers(concepts, states, queries, context, num_iterations)
        concepts = self.finish(concepts, None if self.config.concept_mean == "free" else text_mean)
        return ConceptEncoderOutput(
            last_hidden_state=concepts,
            pooler_output=concepts.mean(dim=1),
            lengths=layout.lengths,
        )

    def check_options(self, options: dict) -> None:
        """TypeError if neither this model nor transformers knows an argument of a forward pass."""
        # Other libraries pass use_cache=False on principle.
        known = {"num_items_in_batch", "use_cache", *(f"output_{name}" for name in self._can_record_outputs)}
        if unknown := sorted(set(options) - known):
            raise TypeError(f"The forward pass of a {type(self).__name__} does not know the arguments {unknown}.")

    def finish(self, concepts, given_mean=None):
        """Output norm of concepts [B, C, H] of any layer, and their replaced mean `given_mean` [B, 1, H], if any."""
        if given_mean is None:
            return self.output_norm(concepts)
        # Remove the mean of the concepts before and after the norm; the given mean replaces it.
        concepts = self.output_norm(concepts - concepts.mean(dim=1, keepdim=True))
        return concepts - concepts.mean(dim=1, keepdim=True) + given_mean

    def rotary(self, positions, states):
        head_size = self.config.hidden_size // self.config.num_attention_heads
        return make_rotary(positions, head_size, self.config.rope_theta, states.dtype)


class IterationMean(nn.Module):
    """State after iteration k: s + (layer(s) - s) / k, the mean of the outputs of all iterations (Mann 1953)."""

    def forward(self, state, update, iteration: int):
        """`state` before and `update` after iteration 1, 2, …, both [B, C, H], to the new state [B, C, H]."""
        return state + (update - state) / iteration if iteration > 1 else update


class RecursiveConceptEncoder(RecursiveStartMixin, ConceptEncoder):
    """
    One concept layer applied K times (after Universal Transformers and Recurrent Depth, Geiping et al. 2025): the
    initial concepts are added to the state and the state is normalised before every iteration, and the iterations are
    averaged, so that K may change after training. K is `config.num_iterations`, or `num_iterations` of the call.
    """

    config: RecursiveConceptEncoderConfig
    _can_record_outputs = {
        **ConceptEncoder._can_record_outputs,
        "hidden_states": OutputRecorder(IterationMean, index=0),
    }

    def make_layers(self, config):
        self.shared_layer = find_encoder_layer(config)(config, updates_tokens=True)
        self.iteration_mean = IterationMean()
        self.state_norm = make_norm(config)

    def run_layers(self, concepts, token_states, queries, context, num_iterations: int):
        initial, key, value = concepts, None, None
        for index in range(num_iterations):
            state = self.state_norm(concepts + initial if index > 0 else concepts)
            update, token_states, key, value = self.shared_layer(
                state, token_states, queries, key, value, context, index < num_iterations - 1
            )
            concepts = self.iteration_mean(concepts, update, index + 1)
        return concepts


__all__ = ["ConceptEncoder", "RecursiveConceptEncoder"]
