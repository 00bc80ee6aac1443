# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Configurations of concept encoders: every option of the network, none of its training."""

import copy
from dataclasses import fields
from inspect import get_annotations
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig


# The encoder of each model type; names of its other classes begin with this name.
ENCODERS = {
    "concept_encoder": "ConceptEncoder",
    "recursive_concept_encoder": "RecursiveConceptEncoder",
    "original_concept_encoder": "OriginalConceptEncoder",
    "recursive_original_concept_encoder": "RecursiveOriginalConceptEncoder",
}
# The classes that the Auto classes load for each model type, unless another of their classes saved the checkpoint.
AUTO_CLASSES = {
    model_type: {
        "AutoModel": name,
        "AutoModelForMaskedLM": f"{name}ForMaskedLM",
        "AutoModelForSequenceClassification": f"{name}ForSequenceClassificationViaDecoder",
        **({} if "Original" in name else {"AutoModelForSeq2SeqLM": f"{name}ForConditionalGeneration"}),
    }
    for model_type, name in ENCODERS.items()
}
# `AutoModelForSequenceClassification` of an encoder that was saved alone or below a reader, without a decoder.
POOLING_CLASSIFIERS = {
    saved: f"{name}ForSequenceClassificationPerceiver"
    for name in ENCODERS.values()
    for saved in (name, f"{name}ForConditionalGeneration")
}

# Options that must be at least 1.
SIZES = (
    "vocab_size", "hidden_size", "token_embedding_dim", "num_hidden_layers", "num_attention_heads",
    "intermediate_size", "concept_num", "max_sequence_length", "offset_harmonics", "num_iterations",
    "num_decoder_layers",
)  # fmt: skip

# Former options of the default network, with the value that it has now.
REMOVED = {
    "norm_type": "rmsnorm", "output_norm_eps": 1e-3, "use_bias": False, "initializer_range": None,
    "attention_probs_dropout_prob": 0.0, "token_position_type": "rotary", "concept_position_type": "addressed",
    "query_only_concepts": True, "qk_norm": True, "qk_norm_scale": 8.0, "address_bias": 3.0, "kv_norm": True,
    "identity_init": True, "embedding_norm": True, "encoder_options": None, "concept_anchors": False,
    "global_concept_num": 0, "num_token_mixers": 0, "output_centring": False, "type_vocab_size": 0,
    "input_injection": True, "state_norm": True, "average_iterations": True, "hide_mask_tokens": True,
    "decoder_feed_forward": "gated", "decoder_output_norm": True, "decoder_key_embeddings": False,
    "share_decoder_embeddings": True, "timestep_scale": 1000.0, "concept_pooling": "mean",
    "classifier_dropout": None, "token_weighting": True, "phase_harmonics": 8, "decoder_mixer_type": "none",
    "decoder_mixer_width": 7, "share_key_values": True,
}  # fmt: skip


class ConceptModelConfig(PreTrainedConfig):
    """Options of all concept models; [`ConceptEncoderConfig`] describes them."""

    is_recursive = False
    # Whether each concept has a segment of the text, and whether the encoder ignores mask tokens.
    has_segments = hide_mask_tokens = True
    # Values that are no options of this network.
    constants = REMOVED
    attribute_map = {"num_latents": "concept_num", "max_position_embeddings": "max_sequence_length"}
    # A Trainer gathers the other outputs, the logits, over the whole evaluation for compute_metrics.
    keys_to_ignore_at_inference = ["concepts", "pooler_output", "hidden_states", "attentions", "cross_attentions"]

    vocab_size: int = 30522
    hidden_size: int = 512
    token_embedding_dim: int | None = None
    num_hidden_layers: int = 6
    num_attention_heads: int = 8
    intermediate_size: int = 1536
    concept_num: int = 128
    max_sequence_length: int = 2048
    hidden_act: str = "silu"
    hidden_dropout_prob: float | int = 0.0
    decoder_type: str | None = None
    num_decoder_layers: int = 2
    classifier_reads_tokens: bool = False
    pair_similarity: Literal["classifier", "cosine"] = "classifier"
    tie_word_embeddings: bool = True
    pad_token_id: int | None = None
    mask_token_id: int | None = None
    cls_token_id: int | None = None
    sep_token_id: int | None = None

    def __post_init__(self, **kwargs):
        if "use_bixt" in kwargs:
            raise ValueError(
                "A configuration with use_bixt is of the original implementation: convert it first, by "
                "examples/convert_original_checkpoint.py."
            )
        for name, own in self.constants.items():
            value = kwargs.pop(name, None)
            if value not in (None, own):
                raise ValueError(f"{type(self).__name__} has {name}={own!r}, not {value!r}.")
        if self.token_embedding_dim is None:
            self.token_embedding_dim = self.hidden_size
        if self.token_embedding_dim != self.hidden_size:
            self.tie_word_embeddings = False  # a [V, H] head cannot share a [V, token_embedding_dim] table
        super().__post_init__(**kwargs)
        # Classes that can load the weights; of several classes for a task, the Auto classes take the named one.
        names = self.architectures or []
        names = names + [
            POOLING_CLASSIFIERS[name] for name in names if POOLING_CLASSIFIERS.get(name, name) not in names
        ]
        # CrossEncoder recognises a classifier by a name with this ending, and then keeps its number of classes.
        mark = "ForSequenceClassification"
        marked = not names or mark not in names[0] or any(name.endswith(mark) for name in names)
        self.architectures = names if marked else [*names, mark]
        # Called here it raises a plain ValueError; later, the library wraps the error.
        self.validate_architecture()

    @classmethod
    def own_options(cls) -> set[str]:
        """Names of its fields without those of every configuration of transformers."""
        own = [base for base in cls.__mro__ if issubclass(base, ConceptModelConfig)]
        return {name for base in own for name in get_annotations(base)}

    @classmethod
    def register_for_auto_class(cls, auto_class="AutoConfig"):
        """Nothing, as in [`ConceptPreTrainedModel`]."""

    def validate_architecture(self):
        """Check values and their combinations, when the configuration is made and when it is saved."""
        for name in SIZES:
            value = getattr(self, name, None)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}.")
        for name in ("pad_token_id", "mask_token_id"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < self.vocab_size:
                raise ValueError(f"{name} {value} is none of the {self.vocab_size} tokens.")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not divisible by num_attention_heads {self.num_attention_heads}."
            )


@strict
class ConceptEncoderConfig(ConceptModelConfig):
    r"""
    Configuration of every model whose encoder is a stack of concept layers. The defaults are the best known recipe.

    Args:
        vocab_size (`int`, defaults to 30522):
            Number of rows of the token table.
        hidden_size (`int`, defaults to 512):
            Width H of the concepts and of every layer that reads or writes them.
        token_embedding_dim (`int`, *optional*):
            Width of the token table when it differs from `hidden_size` (dimension inversion): tokens are projected to
            `hidden_size`. The output head is then never tied to the table.
        backbone_config (`dict`, *optional*):
            Configuration (with its `model_type`) of a pretrained model cut to its first `num_hidden_layers` layers,
            which turn the rows of the token table into token states before the projection. Its width must be
            `token_embedding_dim`. A table taken from a pretrained model without any of its layers needs none.
        backbone_source (`dict`, *optional*):
            Where table and layers of a pretrained model were read from (`name_or_path`, `num_layers`, `vocab_size`),
            and the `sha256` of those weights; empty if they started at random. The network does not depend on it.
        reader_config (`dict`, *optional*):
            Configuration (with its `model_type`) of a causal language model that reads the concepts and writes text.
        reader_source (`dict`, *optional*):
            Where the reader's weights were read from (`name_or_path`) and their `sha256`; empty if they started at
            random. The network does not depend on it.
        own_reader_tokenizer (`bool`, defaults to `False`):
            Whether the reader has a tokenizer of its own, in the folder `reader` of the checkpoint.
        num_hidden_layers (`int`, defaults to 6):
            Number of concept layers, all of which read the tokens.
        num_attention_heads (`int`, defaults to 8):
            Attention heads everywhere; must divide `hidden_size`.
        intermediate_size (`int`, defaults to 1536):
            Inner width of the feed-forward blocks (of each of the two halves where they are gated).
        concept_num (`int`, defaults to 128):
            Number C of concepts; each call may take fewer.
        max_sequence_length (`int`, defaults to 2048):
            Longest text in tokens.
        hidden_act (`str`, defaults to `"silu"`):
            Activation of the feed-forward blocks.
        hidden_dropout_prob (`float`, defaults to 0.0):
            Dropout after embeddings and sub-layers, on attention weights, in a backbone's layers in place of its own,
            and before classifiers.
        norm_eps (`float`, defaults to 1e-6):
            Epsilon of the norms of the layers.
        encoder_type (`str`, defaults to `"perceiver"`):
            Kind of concept layer, a name in `ENCODER_LAYERS`: perceiver, bixt, slot, content.
        rope_theta (`float`, defaults to 1000.0):
            Base of the rotary frequencies.
        concept_mean (`"weighted"`, `"uniform"` or `"free"`, defaults to `"weighted"`):
            Mean of the concepts, the sentence vector. `weighted`: the weighted mean of the token embeddings, with one
            weight per token kept beside the model weights (1 until training sets it, such as smooth inverse
            frequency). `uniform`: their plain mean. In both, the updates of the layers sum to zero over the concepts.
            `free`: the layers set the mean.
        concept_start (`"text"` or `"segment"`, defaults to `"text"`):
            What concepts are before the first layer: each the mean of the text, or of the token states of its own
            segment, which a pretrained reader learns to read sooner.
        offset_harmonics (`int`, defaults to 8):
            Harmonics of the Fourier features of a token's offset inside its segment. They distinguish
            2·offset_harmonics tokens per concept; offsets in longer segments are scaled to this range.
        decoder_type (`str`, *optional*):
            A name in `DECODERS`: token_position, position, weighted, diffusion; or causal, for a reader alone.
            `None`: the model class decides.
        decoder_target (`"text"`, `"continuation"` or `"both"`, *optional*):
            Whether the decoder writes the encoded text or what follows it. `None`: the model class decides.
        num_decoder_layers (`int`, defaults to 2):
            Number of decoder layers.
        decoder_conv_width (`int`, *optional*):
            Kernel size, odd, of a gated convolution over the target positions in every decoder layer; 0 for none, and
            a masked position then cannot see a revealed neighbour. `None`: the model class decides (7 for diffusion
            decoders, else 0).
        classifier_reads_tokens (`bool`, defaults to `False`):
            Whether the classifier that reads through the decoder shows it the tokens of the text, where the decoder
            reads tokens: they then pass around the concepts. Otherwise it is shown mask tokens.
        pair_similarity (`"classifier"` or `"cosine"`, defaults to `"classifier"`):
            Output of the sentence-pair head: logits of a classifier, or the cosine of the two vectors.
        tie_word_embeddings (`bool`, defaults to `True`):
            The language-model head shares the token table.
        pad_token_id, mask_token_id, cls_token_id, sep_token_id (`int`, *optional*):
            Special tokens of the tokenizer.
    """

    model_type = "concept_encoder"

    backbone_config: dict[str, Any] | None = None
    backbone_source: dict[str, Any] | None = None
    reader_config: dict[str, Any] | None = None
    reader_source: dict[str, Any] | None = None
    own_reader_tokenizer: bool = False
    norm_eps: float = 1e-6
    encoder_type: str = "perceiver"
    rope_theta: float | int = 1000.0
    concept_mean: Literal["weighted", "uniform", "free"] = "weighted"
    concept_start: Literal["text", "segment"] = "text"
    offset_harmonics: int = 8

    decoder_target: Literal["text", "continuation", "both"] | None = None
    decoder_conv_width: int | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        self.validate_backbone()

    def validate_architecture(self):
        super().validate_architecture()
        if (self.hidden_size // self.num_attention_heads) % 2:
            raise ValueError(
                f"Rotary positions need an even head size, but hidden_size {self.hidden_size} / num_attention_heads "
                f"{self.num_attention_heads} is odd."
            )
        if self.decoder_conv_width and self.decoder_conv_width % 2 == 0:
            raise ValueError(f"A convolution needs an odd width to be centred, not {self.decoder_conv_width}.")

    def validate_backbone(self):
        if self.backbone_config is not None:
            backbone = make_backbone_config(self.backbone_config)
            if backbone.hidden_size != self.token_embedding_dim:
                raise ValueError(
                    f"token_embedding_dim must be the width {backbone.hidden_size} of the backbone, not "
                    f"{self.token_embedding_dim}; hidden_size may differ, the states are then projected."
                )


class IterationsMixin:
    """Mixin of configurations with `num_iterations`."""

    is_recursive = True

    def __post_init__(self, **kwargs):
        if self.num_iterations is None:
            self.num_iterations = self.num_hidden_layers
        super().__post_init__(**kwargs)

    @classmethod
    def from_standard(cls, config: ConceptModelConfig, **options):
        """Configuration of a recursive model with the values of a standard one and with `options`."""
        names = {field.name for field in fields(type(config))} - {"architectures", "dtype", "transformers_version"}
        return cls(**{name: getattr(config, name) for name in names} | options)


@strict
class RecursiveConceptEncoderConfig(IterationsMixin, ConceptEncoderConfig):
    r"""
    Configuration of models whose encoder is one concept layer applied K times.

    Args:
        num_iterations (`int`, *optional*):
            K; `num_hidden_layers` when `None`. May be changed after training, or given to each call.

    Other arguments as in [`ConceptEncoderConfig`].
    """

    model_type = "recursive_concept_encoder"

    num_iterations: int | None = None


def make_inner_config(values: dict[str, Any], name: str, dropout: float | None = None) -> PreTrainedConfig:
    """
    The transformers configuration in the option `name`, such as "reader_config", with `dropout`, if given, in place of
    each of its own.

    Raises:
        ValueError: no or an unknown `model_type`.
    """
    if "model_type" not in values:
        raise ValueError(f"{name} needs a model_type, such as 'llama'.")
    config = AutoConfig.for_model(**copy.deepcopy(values))  # constructors may write into nested values
    for key, value in vars(config).items() if dropout is not None else ():
        if "drop" in key and isinstance(value, int | float) and not isinstance(value, bool):
            setattr(config, key, dropout)
    return config


def make_backbone_config(values: dict[str, Any], dropout: float | None = None) -> PreTrainedConfig:
    """
    The transformers configuration in `backbone_config`, as [`make_inner_config`] makes it.

    Raises:
        ValueError: no or an unknown `model_type`, or no layers.
    """
    config = make_inner_config(values, "backbone_config", dropout)
    layers = getattr(config, "num_hidden_layers", None)
    if layers is None or not hasattr(config, "hidden_size"):
        raise ValueError(f"A model of type {config.model_type!r} is no stack of layers of one width over a text.")
    if layers < 1:
        raise ValueError("backbone_config needs num_hidden_layers >= 1; a token table alone needs no backbone_config.")
    return config


__all__ = ["ConceptEncoderConfig", "RecursiveConceptEncoderConfig"]
