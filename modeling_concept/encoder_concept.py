# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Concept encoders: text of N tokens becomes C concept vectors at O(C·N) cost.

B batch, N tokens, C concepts, E token embedding width, H hidden.
"""

import torch
import torch.nn as nn
from transformers import initialization as init
from transformers.utils import logging
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .attention_concept import ConceptAttention, KeyValueProjection, make_key_mask
from .backbone_concept import ConceptPreTrainedModel
from .configuration_concept import ConceptEncoderConfig, RecursiveConceptEncoderConfig
from .embeddings_concept import ConceptQueries, ConceptTokenEmbeddings, TokenWeights
from .encoder_perceiver_concept import ConceptEncoderLayer, LayerContext
from .encoders_concept import make_encoder_layer
from .layers_concept import PhaseEmbedding, make_norm
from .loading_concept import RecursiveStartMixin
from .mixers_concept import TOKEN_MIXERS
from .outputs_concept import ConceptEncoderOutput
from .positions_concept import Segments, TextLayout, check_inputs, make_rotary, mean_of_visible, text_layout
from .text_concept import check_number


logger = logging.get_logger(__name__)


class OutputCentring(nn.Module):
    """Subtracts a running mean per concept; updated in training, with momentum 0.99, and frozen in eval mode."""

    momentum = 0.99

    def __init__(self, config):
        super().__init__()
        self.register_buffer("mean", torch.zeros(config.concept_num, config.hidden_size))

    def init_own_parameters(self, constant_std):
        init.zeros_(self.mean)

    def forward(self, concepts):
        """[B, C, H] -> [B, C, H]."""
        mean = self.mean[: concepts.shape[1]]
        if self.training:
            with torch.no_grad():
                mean.lerp_(concepts.detach().mean(dim=0).to(mean.dtype), 1 - self.momentum)
        return concepts - mean.clone().to(concepts.dtype)


class ConceptEncoder(ConceptPreTrainedModel):
    """
    A stack of concept layers over embedded, optionally mixed, tokens (Perceiver IO, Jaegle et al. 2021).

    `AutoModel` gives this class; its first output are the concepts, its `pooler_output` is their mean.
    """

    auto_class = "AutoModel"
    # Decoder and head weights of a checkpoint are not this class's business.
    _keys_to_ignore_on_load_unexpected = [
        r"^decoder\.", r"^lm_head\.", r"^classifier\.", r"^concept_scorer\.", r"^pool_norm\.", r"^pre_pool_norm\."
    ]  # fmt: skip
    _can_record_outputs = {
        "hidden_states": OutputRecorder(ConceptEncoderLayer, index=0),
        "attentions": OutputRecorder(ConceptAttention, index=1, layer_name="self_attn"),
        "cross_attentions": OutputRecorder(ConceptAttention, index=1, layer_name="cross_attn"),
    }

    def __init__(self, config: ConceptEncoderConfig):
        super().__init__(config)
        self.make_parts(self.config)
        self.gradient_checkpointing = False
        self.post_init()

    def make_parts(self, config):
        self.embeddings = ConceptTokenEmbeddings(config)
        self.phase_embedding = PhaseEmbedding(config) if config.phase_harmonics else None
        mixer_gain = 0.0 if config.identity_init else (2 * max(config.num_token_mixers, 1)) ** -0.5
        self.token_mixers = nn.ModuleList(
            TOKEN_MIXERS[config.token_mixer_type](config, config.token_mixer_width, mixer_gain)
            for _ in range(config.num_token_mixers)
        )
        self.token_weights = TokenWeights(config) if config.token_weighting else None
        self.concept_queries = ConceptQueries(config)
        shared = config.share_key_values
        self.shared_norm = make_norm(config) if shared and config.kv_norm else None
        self.shared_key_values = KeyValueProjection(config, identity=config.identity_init) if shared else None
        self.make_layers(config)
        self.output_norm = make_norm(config, config.output_norm_eps)
        self.output_centring = OutputCentring(config) if config.output_centring else None

    def make_layers(self, config):
        last = config.num_hidden_layers - 1
        # Tokens updated by the last layer would be read by nobody.
        self.layers = nn.ModuleList(
            make_encoder_layer(config, updates_tokens=index < last) for index in range(config.num_hidden_layers)
        )

    def run_layers(self, concepts, token_states, queries, key_values, context, **options):
        """Initial concepts [B, C, H] to those after the last layer, before the output norm."""
        if options:
            raise TypeError(f"{type(self).__name__} does not know the arguments {sorted(options)}.")
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            concepts, token_states = layer(concepts, token_states, queries, *key_values, context, index < last)
        return concepts

    def get_input_embeddings(self):
        return self.embeddings.token_embeddings

    def set_input_embeddings(self, value):
        self.embeddings.token_embeddings = value
        if self.token_weights is not None:
            self.token_weights.resize(value.num_embeddings)

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        concept_num: int | None = None,
        num_iterations: int | None = None,
        backprop_iterations: int | None = None,
        **kwargs,
    ) -> ConceptEncoderOutput:
        """
        Args:
            input_ids: [B, N]. Positions that hold `mask_token_id` are not read (`config.hide_mask_tokens`).
            attention_mask: [B, N], 0 at padding (on either side) and at tokens that must not be read.
            token_type_ids: [B, N], used if `config.type_vocab_size` > 0.
            position_ids: [B, N]; counted from the first attended token by default.
            inputs_embeds: [B, N, E] instead of `input_ids`.
            concept_num: number of concepts to make, at most `config.concept_num`, which is the default.
            num_iterations: iterations of a recursive encoder.
            backprop_iterations: through how many of the last ones gradients flow (all by default).

        Raises:
            ValueError: what [`check_inputs`] raises; a text longer than `config.max_sequence_length`; `concept_num` or
                a number of iterations out of range.
            TypeError: an unknown argument.
        """
        config = self.config
        self.check_options(kwargs)
        implementation = config._attn_implementation
        if kwargs.get("output_attentions") and implementation != "eager" and not torch.compiler.is_compiling():
            logger.warning_once(
                f"output_attentions=True, but the kernels of attn_implementation {implementation!r} keep no weights; "
                'load the model with attn_implementation="eager".'
            )
        rows = {"attention_mask": attention_mask, "token_type_ids": token_type_ids, "position_ids": position_ids}
        check_inputs(input_ids, inputs_embeds, **rows)
        given = input_ids if inputs_embeds is None else inputs_embeds
        token_count = given.shape[1]
        if token_count > config.max_sequence_length:
            raise ValueError(
                f"A text of {token_count} tokens is longer than max_sequence_length {config.max_sequence_length}; "
                "truncate it (`truncation=True` in the tokenizer or in `encode`) or use a model with a longer limit."
            )
        if token_count == 0:  # an empty text is one position that must not be read
            batch, device = given.shape[0], given.device
            if inputs_embeds is None:
                input_ids = torch.full((batch, 1), config.pad_token_id or 0, device=device)
            else:
                inputs_embeds = given.new_zeros(batch, 1, given.shape[2])
            attention_mask = torch.zeros((batch, 1), dtype=torch.long, device=device)
            token_type_ids = position_ids = None
            token_count = 1
        hidden_tokens = None
        if config.hide_mask_tokens and config.mask_token_id is not None and input_ids is not None:
            hidden_tokens = input_ids == config.mask_token_id
        layout = text_layout(attention_mask, position_ids, token_count, hidden_tokens, given.device)
        count = config.concept_num if concept_num is None else concept_num
        if isinstance(count, float) or not 1 <= count <= config.concept_num:
            raise ValueError(
                f"concept_num must be a whole number between 1 and the trained {config.concept_num}, not {count}."
            )
        options = {"num_iterations": num_iterations, "backprop_iterations": backprop_iterations}
        options = {name: value for name, value in options.items() if value is not None}
        return self.make_concepts(input_ids, inputs_embeds, token_type_ids, layout, count, **options)

    def make_concepts(self, input_ids, inputs_embeds, token_type_ids, layout: TextLayout, count: int, **options):
        """What [`forward`] gives for inputs that are checked, `count` concepts of a text; `options` are those of
        [`run_layers`]."""
        config = self.config
        states = self.embeddings(input_ids, inputs_embeds, token_type_ids, layout)
        weighed = states if self.token_weights is None else self.token_weights(states, input_ids)
        text_mean = mean_of_visible(weighed, layout)
        segments = Segments.of(config, layout.lengths, count)
        phases = None
        if self.phase_embedding is not None:
            phases = self.phase_embedding(layout.positions, segments, states.dtype)
            states = states + phases
        token_rotary = self.rotary(layout.positions, states) if config.token_position_type == "rotary" else None
        for mixer in self.token_mixers:
            states = mixer(states, layout.visible, token_rotary)
        if phases is not None and self.token_mixers:
            # Tokens are tied to their phases by now; the phases themselves are the same for all texts of one length.
            states = states - phases
        concepts, queries = self.concept_queries(states, layout, count, segments, text_mean)
        concept_rotary, addresses = None, None
        if segments is not None:
            addresses = segments.addresses()
            concept_rotary = self.rotary(segments.concept_places(), states)
            token_rotary = self.rotary(segments.token_places(layout.positions, self.phase_embedding is None), states)
        token_mask = make_key_mask(config, concepts, states, layout.visible)
        key_values = (None, None)
        if self.shared_key_values is not None:
            normed = states if self.shared_norm is None else self.shared_norm(states)
            key_values = self.shared_key_values(normed, token_rotary)
        context = LayerContext(token_mask, concept_rotary, token_rotary)
        concepts = self.run_layers(concepts, states, queries, key_values, context, **options)

        given_mean = text_mean if config.concept_mean == "embeddings" else None
        concepts = self.finish(concepts, given_mean)
        return ConceptEncoderOutput(
            last_hidden_state=concepts,
            pooler_output=concepts.mean(dim=1),
            concept_positions=addresses,
            lengths=layout.lengths,
            given_mean=given_mean,
        )

    def check_options(self, options: dict) -> None:
        """TypeError for arguments of a forward pass that neither this model nor transformers knows."""
        # Others pass use_cache=False on principle.
        known = {"num_items_in_batch", "use_cache", *(f"output_{name}" for name in self._can_record_outputs)}
        if unknown := sorted(set(options) - known):
            raise TypeError(f"The forward pass of a {type(self).__name__} does not know the arguments {unknown}.")

    def finish(self, concepts, given_mean=None):
        """Output norm, the mean [B, 1, H] that is given, if any, and centring, of concepts [B, C, H] of any layer."""
        if given_mean is not None:
            # What all concepts start with gives way to the mean that is given, before the norm as after it.
            concepts = concepts - concepts.mean(dim=1, keepdim=True)
        concepts = self.output_norm(concepts)
        if given_mean is not None:
            concepts = concepts - concepts.mean(dim=1, keepdim=True) + given_mean
        return concepts if self.output_centring is None else self.output_centring(concepts)

    def rotary(self, positions, states):
        head_size = self.config.hidden_size // self.config.num_attention_heads
        return make_rotary(positions, head_size, self.config.rope_theta, states.dtype)


class IterationMean(nn.Module):
    """State after iteration k: s + (layer(s) - s) / k, the mean of what all iterations gave (Mann 1953); or, without
    averaging, what the last one gave."""

    def __init__(self, averages: bool):
        super().__init__()
        self.averages = averages

    def forward(self, state, update, iteration: int):
        """`state` before and `update` after iteration 1, 2, …, both [B, C, H], to the new state [B, C, H]."""
        return state + (update - state) / iteration if self.averages and iteration > 1 else update


class RecursiveConceptEncoder(RecursiveStartMixin, ConceptEncoder):
    """
    One concept layer applied K times (after Universal Transformers and Recurrent Depth, Geiping et al. 2025): the
    initial concepts are injected and the state is normalised before every iteration, and the iterations are averaged,
    so that K may change after training. K is `config.num_iterations`, or `num_iterations` of the call.
    """

    config: RecursiveConceptEncoderConfig
    _can_record_outputs = {
        **ConceptEncoder._can_record_outputs,
        "hidden_states": OutputRecorder(IterationMean, index=0),
    }

    def make_layers(self, config):
        self.shared_layer = make_encoder_layer(config, updates_tokens=True)
        self.iteration_mean = IterationMean(config.average_iterations)
        self.state_norm = make_norm(config) if config.state_norm else None

    def run_layers(
        self,
        concepts,
        token_states,
        queries,
        key_values,
        context,
        num_iterations: int | None = None,
        backprop_iterations: int | None = None,
    ):
        iterations = self.config.num_iterations if num_iterations is None else num_iterations
        check_number("num_iterations", iterations, 1)
        check_number("backprop_iterations", 1 if backprop_iterations is None else backprop_iterations, 1)
        initial = concepts
        first = 0 if backprop_iterations is None else iterations - backprop_iterations
        for index in range(iterations):
            # Without gradients a state is a constant to what follows; the initial concepts, injected again, are not.
            with torch.set_grad_enabled(torch.is_grad_enabled() and index >= first):
                state = concepts + initial if self.config.input_injection and index > 0 else concepts
                if self.state_norm is not None:
                    state = self.state_norm(state)
                update, token_states = self.shared_layer(
                    state, token_states, queries, *key_values, context, index < iterations - 1
                )
                concepts = self.iteration_mean(concepts, update, index + 1)
        return concepts
