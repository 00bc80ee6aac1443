# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Configurations of concept encoders: everything that shapes the network, nothing that shapes its training."""

import copy
import sys
from dataclasses import fields
from inspect import get_annotations
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.activations import ACT2FN

from .loading_concept import CONVERT_FIRST, ORIGINAL_OPTIONS


# Which encoder each model type has. The other classes of a model type are named after it.
ENCODERS = {
    "concept_encoder": "ConceptEncoder",
    "recursive_concept_encoder": "RecursiveConceptEncoder",
    "original_concept_encoder": "OriginalConceptEncoder",
    "recursive_original_concept_encoder": "RecursiveOriginalConceptEncoder",
}
# What the Auto classes load for a checkpoint of each model type, unless the class that saved it is named for one.
AUTO_CLASSES = {
    model_type: {
        "AutoModel": name,
        "AutoModelForMaskedLM": f"{name}ForMaskedLM",
        "AutoModelForSequenceClassification": f"{name}ForSequenceClassificationViaDecoder",
    }
    for model_type, name in ENCODERS.items()
}
# What `AutoModelForSequenceClassification` makes of an encoder alone, which has no decoder to read it back.
POOLING_CLASSIFIERS = {name: f"{name}ForSequenceClassificationPerceiver" for name in ENCODERS.values()}

# What the encoder of each model type is, and how its first weights are named.
ENCODER_KINDS = {
    "concept_encoder": "a stack of layers",
    "recursive_concept_encoder": "one layer repeated",
    "original_concept_encoder": "a stack of layers of the original implementation",
    "recursive_original_concept_encoder": "one layer of the original implementation repeated",
}
FIRST_WEIGHTS = {
    "concept_encoder": "layers.0.cross_attn.",
    "recursive_concept_encoder": "shared_layer.cross_attn.",
    "original_concept_encoder": "layers.0.concept_token_attn.",
    "recursive_original_concept_encoder": "shared_layer.concept_token_attn.",
}


def wrong_kind(name: str, own: str, model_type: str, auto_class: str) -> str:
    """The sentence on a checkpoint or configuration whose encoder is of the kind `model_type`, where the class `name`
    is of the kind `own`."""
    advice = f"load it with {auto_class}, which finds its class"
    if (own, model_type) == ("recursive_concept_encoder", "concept_encoder"):
        advice += (
            ", or start a new recursive model from it with `load_from_standard_checkpoint` (in pretraining: "
            "--model_type recursive_mlm --model_name_or_path)"
        )
    return (
        f"{name} is a {own} ({ENCODER_KINDS[own]}), but the checkpoint or configuration is a {model_type} "
        f"({ENCODER_KINDS.get(model_type, 'no concept encoder')}); {advice}."
    )


# What was left to be another value's equal follows when that changes.
FOLLOWERS = {"hidden_size": "token_embedding_dim", "num_hidden_layers": "num_iterations"}

# Which numbers are possible: the least, the greatest, how that is said, and of which values.
LARGEST = sys.float_info.max
NUMBERS = {
    (1, LARGEST, "at least 1"): (
        "vocab_size", "hidden_size", "token_embedding_dim", "num_hidden_layers", "num_attention_heads",
        "intermediate_size", "concept_num", "max_sequence_length", "token_mixer_width", "num_decoder_layers",
        "decoder_mixer_width",
    ),
    (0, LARGEST, "0 or a positive number"): (
        "type_vocab_size", "num_token_mixers", "phase_harmonics", "address_bias", "norm_eps", "output_norm_eps",
        "initializer_range",
    ),
    (sys.float_info.min, LARGEST, "a positive number"): ("rope_theta", "qk_norm_scale", "timestep_scale"),
    (0, 1, "between 0 and 1"): ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"),
}  # fmt: skip


class ConceptModelConfig(PreTrainedConfig):
    """What the configurations of all concept models have in common; [`ConceptEncoderConfig`] describes it."""

    is_recursive = False
    attribute_map = {"num_latents": "concept_num", "max_position_embeddings": "max_sequence_length"}
    # Of the outputs, all but the logits: what a Trainer gathers of the whole evaluation and hands to compute_metrics.
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
    attention_probs_dropout_prob: float | int = 0.0
    initializer_range: float | None = None
    decoder_type: str | None = None
    num_decoder_layers: int = 2
    classifier_reads_tokens: bool = False
    pair_similarity: Literal["classifier", "cosine"] = "classifier"
    classifier_dropout: float | int | None = None
    tie_word_embeddings: bool = True
    pad_token_id: int | None = None
    mask_token_id: int | None = None
    cls_token_id: int | None = None
    sep_token_id: int | None = None
    unk_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs):
        if original := [name for name in ORIGINAL_OPTIONS if name in kwargs]:
            raise ValueError(CONVERT_FIRST.format(f"A configuration with {original[0]}"))
        if self.token_embedding_dim is None:
            self.token_embedding_dim = self.hidden_size
        if self.token_embedding_dim != self.hidden_size:
            self.tie_word_embeddings = False  # a [V, H] head cannot share a [V, token_embedding_dim] table
        super().__post_init__(**kwargs)
        # The classes that can load the weights: of several for a task, the Auto classes take the one that is named.
        names = self.architectures or []
        names = names + [
            POOLING_CLASSIFIERS[name] for name in names if POOLING_CLASSIFIERS.get(name, name) not in names
        ]
        # By a name that ends so CrossEncoder knows a classifier, whose number of classes it then keeps.
        mark = "ForSequenceClassification"
        marked = not names or mark not in names[0] or any(name.endswith(mark) for name in names)
        self.architectures = names if marked else [*names, mark]
        # Here it is the ValueError itself that is raised, afterwards one of another class with two lines around it.
        self.validate_architecture()

    @classmethod
    def own_options(cls) -> set[str]:
        """Names of its fields, but for those of every configuration of transformers."""
        own = [base for base in cls.__mro__ if issubclass(base, ConceptModelConfig)]
        return {name for base in own for name in get_annotations(base)}

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        kind = config_dict.get("model_type", cls.model_type)
        to_convert = any(name in config_dict for name in ORIGINAL_OPTIONS)
        if ("original" in kind) != ("original" in cls.model_type) and kind in ENCODER_KINDS and not to_convert:
            raise ValueError(wrong_kind(cls.__name__, cls.model_type, kind, "AutoModel"))
        last = sorted(kwargs, key=lambda name: name in FOLLOWERS.values())  # or it would follow in spite of its value
        return super().from_dict(config_dict, **{name: kwargs[name] for name in last})

    def __setattr__(self, name, value):
        follower = FOLLOWERS.get(name)
        follows = follower is not None and getattr(self, follower, None) == getattr(self, name)
        # The width of a table that a backbone reads is the backbone's.
        if follows and not (name == "hidden_size" and getattr(self, "backbone_config", None)):
            super().__setattr__(follower, value)
        super().__setattr__(name, value)

    def validate_architecture(self):
        """Checks of values and between values, run when the configuration is made and when it is saved."""
        for (low, high, said), names in NUMBERS.items():
            for name in names:
                value = getattr(self, name, None)
                if value is not None and not low <= value <= high:  # nan lies nowhere
                    raise ValueError(f"{name} must be {said}, not {value}.")
        if self.hidden_act not in ACT2FN:
            raise ValueError(
                f"Unknown hidden_act {self.hidden_act!r}; choose one of transformers' activations, such as 'silu', "
                "'gelu' or 'relu'."
            )
        for name in ("pad_token_id", "mask_token_id"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < self.vocab_size:
                raise ValueError(f"{name} {value} is none of the {self.vocab_size} tokens.")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not divisible by num_attention_heads {self.num_attention_heads}; "
                f"choose a head count that divides it, such as {_divisors(self.hidden_size, 16)}."
            )


@strict
class ConceptEncoderConfig(ConceptModelConfig):
    r"""
    Configuration of every model whose encoder is a stack of concept layers. The defaults are the best known recipe
    (addressed concepts, norms on queries, keys and values, fan-in initialisation); the original implementation's
    network is reached with the values given in brackets.

    Args:
        vocab_size (`int`, defaults to 30522):
            Number of rows of the token table.
        hidden_size (`int`, defaults to 512):
            Width H of concepts and of everything that reads or writes them.
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
        num_hidden_layers (`int`, defaults to 6):
            Number of concept layers.
        num_attention_heads (`int`, defaults to 8):
            Attention heads everywhere; must divide `hidden_size`.
        intermediate_size (`int`, defaults to 1536):
            Inner width of the feed-forward blocks (of each of the two halves where they are gated).
        concept_num (`int`, defaults to 128):
            Number C of concepts; fewer may be asked for at run time.
        max_sequence_length (`int`, defaults to 2048):
            Longest text in tokens.
        hidden_act (`str`, defaults to `"silu"`) [`"gelu"`]:
            Activation of the feed-forward blocks.
        hidden_dropout_prob, attention_probs_dropout_prob (`float`, default to 0.0) [0.1]:
            Dropout after embeddings and sub-layers, and on attention weights.
        norm_type (`"rmsnorm"` or `"layernorm"`, defaults to `"rmsnorm"`) [`"layernorm"`]:
            Norm before every sub-layer and on the outputs.
        norm_eps, output_norm_eps (`float`, default to 1e-6, 1e-3) [1e-5, 1e-12]:
            Epsilon of the inner norms and of the norm of the concepts.
        use_bias (`bool`, defaults to `False`) [`True`]:
            Bias in linear layers.
        initializer_range (`float`, *optional*) [0.1]:
            Standard deviation of all weights that are drawn. `None`: 1/sqrt(fan-in) for linear layers, with a depth
            factor where they write into the residual stream, and 1/sqrt(width) for tables.
        encoder_type (`str`, defaults to `"perceiver"`):
            Kind of concept layer, a name in `ENCODER_LAYERS`: perceiver, bixt, slot.
        encoder_options (`dict`, *optional*):
            Options of that kind, checked against its own dataclass.
        token_position_type (`"rotary"`, `"learned"` or `"none"`, defaults to `"rotary"`) [`"learned"`]:
            How tokens know their place. `rotary` turns queries and keys of every attention (base `rope_theta`).
        concept_position_type (defaults to `"addressed"`) [`"none"`, `"sinusoidal"`, `"learned"`]:
            `addressed`: a text is divided into C segments of whole tokens, and concept c stands where the tokens of
            segment c stand; rotary on both sides counts segments. The others add a fixed or learned vector to the
            concept queries.
        rope_theta (`float`, defaults to 1000.0):
            Base of the rotary frequencies.
        concept_anchors (`bool`, defaults to `False`):
            Addressed concepts start as the mean of the visible token states of their segment, not of the text.
        concept_mean (`"embeddings"` or `"free"`, defaults to `"embeddings"`) [`"free"`]:
            Whether the mean of the concepts, the sentence vector, is the mean of the token embeddings, whereas what
            layers write sums to zero over the concepts and does not blur it; or whatever layers make of it.
        token_weighting (`bool`, defaults to `False`):
            In that mean tokens weigh a number each, kept beside the weights: 1, unless the training text gave them
            others, such as smooth inverse frequency.
        phase_harmonics (`int`, defaults to 8) [0]:
            Tokens and decoder queries are told their place within their segment, by so many harmonics; with addressed
            concepts only. Enough to tell 2·phase_harmonics tokens a concept apart; in longer segments places lie
            closer. 0: rotary positions lie between those of the concepts instead.
        global_concept_num (`int`, defaults to 0):
            The first so many concepts have no segment: no anchor, and the centre of the text as address.
        query_only_concepts (`bool`, defaults to `True`) [`False`]:
            The learned concept vectors enter attention queries only; the residual stream starts at the mean of the
            token embeddings, or of the segments with `concept_anchors`. Otherwise it starts at these vectors.
        qk_norm (`bool`, defaults to `True`) [`False`]:
            Queries and keys are normalised; one learned scale per head.
        qk_norm_scale (`float`, defaults to 8.0):
            What that scale is initially.
        address_bias (`float`, defaults to 3.0) [0]:
            Queries and keys of every attention have a learned constant part, initially so large beside channels of
            size 1 and equal on both sides, so that attention begins where addresses meet; with addressed concepts
            only. Without it rotary encoding has nothing to turn but what all texts have in common, and token table
            and concepts grow a common direction for that.
        kv_norm (`bool`, defaults to `True`) [`False`]:
            Tokens are normalised before they become keys and values.
        identity_init (`bool`, defaults to `True`) [`False`]:
            Concepts start as sums of token states, and what decoders read as sums of concepts: the projections of
            values and outputs start as the identity wherever concepts read tokens and decoders read concepts, and what
            token mixers write and what concepts write to each other starts at zero. Reading back is then learned in a
            third of the steps. After the mimetic initialisation of Trockman & Kolter (2023).
        share_key_values (`bool`, defaults to `False`):
            One key and value projection of the tokens for all layers instead of one per layer.
        embedding_norm (`bool`, defaults to `True`) [`False`]:
            Norm after the token embeddings, of the encoder and of decoder queries made of tokens.
        output_centring (`bool`, defaults to `False`):
            Subtract a running mean per concept (momentum 0.99, frozen in eval mode) from the normalised concepts.
        hide_mask_tokens (`bool`, defaults to `True`) [`False`]:
            Positions that hold `mask_token_id` are no keys of the encoder: a masked or deleted token is absent.
        token_mixer_type (`"conv"`, `"window"` or `None`, defaults to `"conv"`) [`None`]:
            Token-mixing layers below the concepts, O(N·w): gated depthwise convolution or sliding-window attention.
        num_token_mixers (`int`, defaults to 0):
            Number of these layers.
        token_mixer_width (`int`, defaults to 7):
            Kernel size, or how far a window reaches to each side.
        decoder_type (`str`, *optional*):
            A name in `DECODERS`: token_position, position, weighted, diffusion. `None`: the model class decides.
        decoder_target (`"text"`, `"continuation"` or `"both"`, *optional*):
            Whether the decoder writes the encoded text or what follows it. `None`: the model class decides.
        num_decoder_layers (`int`, defaults to 2) [1]:
            Number of decoder layers.
        decoder_feed_forward (`"gated"` or `"plain"`, defaults to `"gated"`) [`"plain"`; diffusion `"gated"`]:
            Kind of the decoder's feed-forward block.
        decoder_output_norm (`bool`, defaults to `True`) [`False`; diffusion `True`]:
            Norm before the language-model head.
        decoder_mixer_type (`"conv"`, `"window"` or `"none"`, *optional*) [`"none"`]:
            Mixing path between target positions; without one a masked position cannot see a revealed neighbour.
            `None`: the model class decides.
        decoder_mixer_width (`int`, defaults to 7):
            As `token_mixer_width`.
        decoder_key_embeddings (`bool`, defaults to `False`):
            Learned vector per concept, added to the decoder's keys but not to its values.
        share_decoder_embeddings (`bool`, defaults to `True`) [diffusion `False`]:
            Decoder queries made of tokens use the encoder's token table instead of one of their own.
        timestep_scale (`float`, *optional*, defaults to 1000.0) [1.0]:
            Factor on t in [0, 1] before its sinusoid (diffusion decoder). `None`: no timestep and no AdaLN.
        concept_pooling (`"mean"` or `"weighted"`, *optional*) [`"weighted"`]:
            How classification heads pool concepts: mean, or a learned softmax. `None`: the model class decides.
        classifier_reads_tokens (`bool`, defaults to `False`) [`True`]:
            Whether the classifier that reads through the decoder shows it the tokens of the text, where the decoder
            reads tokens: they then pass around the concepts. Otherwise it is shown mask tokens.
        pair_similarity (`"classifier"` or `"cosine"`, defaults to `"classifier"`):
            Output of the sentence-pair head: logits of a classifier, or the cosine of the two vectors.
        classifier_dropout (`float`, *optional*):
            Dropout before the classifier; `hidden_dropout_prob` when `None`.
        type_vocab_size (`int`, defaults to 0):
            Rows of a token-type table; 0 means that `token_type_ids` are accepted and have no effect.
        tie_word_embeddings (`bool`, defaults to `True`) [`False`]:
            The language-model head shares the token table.
        pad_token_id, mask_token_id, cls_token_id, sep_token_id, unk_token_id, bos_token_id, eos_token_id
            (`int`, *optional*): special tokens of the tokenizer.
    """

    model_type = "concept_encoder"

    backbone_config: dict[str, Any] | None = None
    backbone_source: dict[str, Any] | None = None
    norm_type: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    norm_eps: float = 1e-6
    output_norm_eps: float = 1e-3
    use_bias: bool = False

    encoder_type: str = "perceiver"
    encoder_options: dict[str, Any] | None = None
    token_position_type: Literal["rotary", "learned", "none"] = "rotary"
    concept_position_type: Literal["addressed", "none", "sinusoidal", "learned"] = "addressed"
    rope_theta: float | int = 1000.0
    concept_anchors: bool = False
    concept_mean: Literal["embeddings", "free"] = "embeddings"
    token_weighting: bool = False
    phase_harmonics: int = 8
    global_concept_num: int = 0
    query_only_concepts: bool = True
    qk_norm: bool = True
    qk_norm_scale: float | int = 8.0
    address_bias: float | int = 3.0
    kv_norm: bool = True
    identity_init: bool = True
    share_key_values: bool = False
    embedding_norm: bool = True
    output_centring: bool = False
    hide_mask_tokens: bool = True
    token_mixer_type: Literal["conv", "window"] | None = "conv"
    num_token_mixers: int = 0
    token_mixer_width: int = 7

    decoder_target: Literal["text", "continuation", "both"] | None = None
    decoder_feed_forward: Literal["gated", "plain"] = "gated"
    decoder_output_norm: bool = True
    decoder_mixer_type: Literal["conv", "window", "none"] | None = None
    decoder_mixer_width: int = 7
    decoder_key_embeddings: bool = False
    share_decoder_embeddings: bool = True
    timestep_scale: float | int | None = 1000.0

    concept_pooling: Literal["mean", "weighted"] | None = None
    type_vocab_size: int = 0

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        self.validate_backbone()

    def validate_architecture(self):
        super().validate_architecture()
        rotary = self.token_position_type == "rotary"
        if rotary and (self.hidden_size // self.num_attention_heads) % 2:
            raise ValueError(
                f"Rotary positions need an even head size, but hidden_size {self.hidden_size} / num_attention_heads "
                f"{self.num_attention_heads} is odd."
            )
        if self.concept_position_type == "addressed" and not rotary:
            raise ValueError(
                'concept_position_type="addressed" needs token_position_type="rotary"; use "none", "sinusoidal" or '
                '"learned" concept positions with other token positions.'
            )
        if self.concept_anchors and self.concept_position_type != "addressed":
            raise ValueError('concept_anchors=True needs concept_position_type="addressed": a segment per concept.')
        if self.token_weighting and self.concept_mean != "embeddings":
            raise ValueError('token_weighting=True needs concept_mean="embeddings": in their mean tokens are weighed.')
        if self.phase_harmonics and self.concept_position_type != "addressed":
            raise ValueError('phase_harmonics > 0 needs concept_position_type="addressed": places within segments.')
        if self.address_bias and self.concept_position_type != "addressed":
            raise ValueError(
                'address_bias > 0 needs concept_position_type="addressed": attention starts at addresses.'
            )
        if not 0 <= self.global_concept_num <= self.concept_num:
            raise ValueError(
                f"global_concept_num must lie between 0 and concept_num {self.concept_num}, not be "
                f"{self.global_concept_num}."
            )
        if self.num_token_mixers and self.token_mixer_type is None:
            raise ValueError("num_token_mixers > 0 needs token_mixer_type 'conv' or 'window'.")
        for kind, width in (
            (self.token_mixer_type if self.num_token_mixers else None, self.token_mixer_width),
            (self.decoder_mixer_type, self.decoder_mixer_width),
        ):
            if kind == "conv" and width % 2 == 0:
                raise ValueError(f"A convolution needs an odd width to be centred, not {width}.")

    def validate_backbone(self):
        if self.backbone_config is not None:
            backbone = make_backbone_config(self.backbone_config)
            if backbone.hidden_size != self.token_embedding_dim:
                raise ValueError(
                    f"token_embedding_dim must be the width {backbone.hidden_size} of the backbone, not "
                    f"{self.token_embedding_dim}; hidden_size may differ, the states are then projected."
                )


class IterationsMixin:
    """For configurations with `num_iterations`: what they do beside those of a stack."""

    is_recursive = True

    def __post_init__(self, **kwargs):
        if self.num_iterations is None:
            self.num_iterations = self.num_hidden_layers
        super().__post_init__(**kwargs)
        self.validate_iterations()

    @classmethod
    def from_standard(cls, config: ConceptModelConfig, **options):
        """The configuration of a recursive model with the sizes and parts of a standard one, and with `options`."""
        names = {field.name for field in fields(type(config))} - {"architectures", "dtype", "transformers_version"}
        return cls(**{name: getattr(config, name) for name in names} | options)

    def validate_iterations(self):
        if self.num_iterations < 1:
            raise ValueError(f"num_iterations must be at least 1, not {self.num_iterations}.")


@strict
class RecursiveConceptEncoderConfig(IterationsMixin, ConceptEncoderConfig):
    r"""
    Configuration of models whose encoder is one concept layer applied K times.

    Args:
        num_iterations (`int`, *optional*):
            K; `num_hidden_layers` when `None`. May be changed after training, or given to each call.
        input_injection (`bool`, defaults to `True`) [`False`]:
            The initial concepts are added to the state before each iteration.
        state_norm (`bool`, defaults to `True`) [`False`]:
            The state is normalised before each iteration, so that its scale does not depend on K.
        average_iterations (`bool`, defaults to `True`) [`False`]:
            The state is the mean of what all iterations gave so far, so that it settles as K grows.

    Other arguments as in [`ConceptEncoderConfig`].
    """

    model_type = "recursive_concept_encoder"

    num_iterations: int | None = None
    input_injection: bool = True
    state_norm: bool = True
    average_iterations: bool = True


def make_backbone_config(values: dict[str, Any]) -> PreTrainedConfig:
    """
    The transformers configuration that `backbone_config` holds.

    Raises:
        ValueError: no or an unknown `model_type`, or no layers.
    """
    if "model_type" not in values:
        raise ValueError("backbone_config needs a model_type, such as 'llama' or 'bert'.")
    config = AutoConfig.for_model(**copy.deepcopy(values))  # constructors may write into nested values
    layers = getattr(config, "num_hidden_layers", None)
    if layers is None or not hasattr(config, "hidden_size"):
        raise ValueError(f"A model of type {config.model_type!r} is no stack of layers of one width over a text.")
    if layers < 1:
        raise ValueError("backbone_config needs num_hidden_layers >= 1; a token table alone needs no backbone_config.")
    return config


def _divisors(number: int, limit: int) -> list[int]:
    return [d for d in range(1, limit + 1) if number % d == 0]
