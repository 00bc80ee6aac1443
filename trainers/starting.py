# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""How the model of a pretraining run starts: new, on a pretrained backbone, from a checkpoint, or from the encoder of
one."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from modeling_concept import ConceptEncoderConfig, ConceptEncoderForMaskedLM
from modeling_concept.base_concept import load_state_dict
from modeling_concept.configuration_concept import ConceptModelConfig

from .data.tokenizers import SPECIAL_TOKENS, load_tokenizer, read_tokenizer, train_tokenizer
from .losses.terms import make_weighting, parse_terms
from .model_arguments import DEFAULTS, MAX_SEQ_LENGTH, SIZES, ModelArguments, read_overrides
from .model_types import DEFAULT_MODEL_TYPE, MODEL_TYPES, ModelType, find_model_type, model_type_for
from .models.backbone import Backbone, backbone_options, load_backbone, read_backbone, scale_tied_head, train_backbone
from .models.loading import load_weights, read_config, read_record
from .objectives import Mixture
from .training_args import ConceptTrainingArguments


# Options that a checkpoint settles beside its sizes: those of its tokenizer, and of what its backbone was taken from.
SETTLED = ("vocab_size", "lower_case", "backbone", "backbone_layers")

# Values of a configuration that describe what stands on the encoder, beside those that begin with "decoder_".
HEAD_VALUES = ("num_decoder_layers", "tie_word_embeddings", "pair_similarity")


class Base(NamedTuple):
    """
    A checkpoint to start from.

    Args:
        path: folder or Hub id.
        config: its configuration.
        kind: its name in `MODEL_TYPES`, or that of its class if it has no language-model head.
        record: what was recorded of its run.
    """

    path: str
    config: ConceptModelConfig
    kind: str
    record: dict[str, Any]


def read_base(path: str) -> Base:
    """The checkpoint `path`; ValueError if it cannot be read, or is no concept encoder."""
    config = read_config(path)
    saved = (config.architectures or ["no class"])[0]
    kinds = [name for name, kind in MODEL_TYPES.items() if kind.model_class.__name__ == saved]
    if saved == ConceptEncoderForMaskedLM.__name__:
        kinds = [name for name, kind in MODEL_TYPES.items() if fits(kind, config)]
    return Base(path, config, next(iter(kinds), saved), read_record(path))


def fits(kind: ModelType, config: PreTrainedConfig) -> bool:
    """Whether a checkpoint of this configuration has the decoder of a model type."""
    if kind.config_class is not type(config) or config.decoder_type is None:
        return False
    try:
        kind.model_class.choose_parts(config)
    except ValueError:
        return False
    return True


def type_of_encoder(config: PreTrainedConfig) -> str:
    """The first model type whose encoder is that of a configuration."""
    return next(name for name, kind in MODEL_TYPES.items() if kind.config_class is type(config))


def weights_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """All weights of a model, each tied one under one name."""
    return dict([*model.named_parameters(), *model.named_buffers()])


def with_values(config: PreTrainedConfig, values: dict[str, Any]) -> PreTrainedConfig:
    """A configuration with other values, checked as a whole."""
    return type(config).from_dict({**config.to_dict(), **values})


@dataclass
class ModelStart:
    """
    The start of a run, whose options are checked; made by `plan_start`.

    Args:
        model_args: with the values that the checkpoint or the defaults give to options that were not given.
        mixture: objectives.
        max_seq_length: longest text in tokens.
        overrides: values of the configuration.
        base: checkpoint to start from.
        checkpoint: of the run that is resumed.
        backbone: the pretrained model below the concepts of a new one.
    """

    model_args: ModelArguments
    mixture: Mixture
    max_seq_length: int
    overrides: dict[str, Any]
    base: Base | None = None
    checkpoint: str | None = None
    backbone: Backbone | None = None

    @property
    def kind(self) -> ModelType:
        return find_model_type(self.model_args.model_type)

    @property
    def becomes_recursive(self) -> bool:
        """Whether a recursive encoder starts from a standard one."""
        return self.base is not None and self.kind.config_class is not type(self.base.config)

    def make_tokenizer(self, texts: Iterable[str]) -> PreTrainedTokenizerBase:
        """The tokenizer of the checkpoint, that of `--tokenizer_name`, the backbone's, or one trained from `texts`;
        padding and mask token are added to one that has none."""
        args = self.model_args
        if path := self.checkpoint or args.base:
            tokenizer = read_tokenizer(path, read_config(path), args.tokenizer_name, args.trust_remote_code)
        elif name := args.tokenizer_name or args.backbone:
            tokenizer = load_tokenizer(name, args.trust_remote_code)
            missing = [token for token in ("pad_token", "mask_token") if getattr(tokenizer, token) is None]
            tokenizer.add_special_tokens({token: SPECIAL_TOKENS[token] for token in missing})
        else:
            tokenizer = train_tokenizer(
                texts, args.vocab_size, self.max_seq_length, args.lower_case, special_ends=False
            )
        tokenizer.model_max_length = self.max_seq_length
        return tokenizer

    def make_model(self, tokenizer: PreTrainedTokenizerBase) -> tuple[PreTrainedModel, str | None]:
        """
        The model, and a sentence on what it has of a checkpoint and what is new; None for a new model.

        Raises:
            ValueError: the configuration is not possible, or weights do not fit.
        """
        model_class, config, base = self.kind.model_class, self.make_config(tokenizer), self.base
        if base is None:
            model, sentence = self.new_model(config), None
        elif self.model_args.init_encoder_from is not None:
            model, sentence = self.model_on_encoder(config)
        elif self.becomes_recursive:
            model = model_class(config)
            sentence = describe(base.path, **model.load_from_standard_checkpoint(base.path))
        else:
            model, info = load_weights(model_class, base.path, config=config)
            sentence = describe(base.path, weights_of(model), info["unexpected_keys"], ())
        if (how := self.model_args.backbone_training) is not None:
            train_backbone(model, "full" if how == "random" else how)
        return model, sentence

    def make_config(self, tokenizer: PreTrainedTokenizerBase | None = None) -> PreTrainedConfig:
        """The configuration of the model; before the tokenizer is known, one of the same parts and sizes."""
        if self.base is None:
            config = self.new_config(tokenizer)
        elif self.model_args.init_encoder_from is not None:
            config = self.config_on_encoder()
        else:
            config = with_values(self.base_config(), self.overrides)
        return self.kind.model_class.choose_parts(config)

    def new_config(self, tokenizer) -> PreTrainedConfig:
        args, backbone = self.model_args, self.backbone
        values = {
            "vocab_size": args.vocab_size if tokenizer is None else len(tokenizer),
            "max_sequence_length": self.max_seq_length,
            "decoder_target": "both" if self.mixture.decoder_target == "both" else None,
            **{name: getattr(args, name) for name in SIZES},
        }
        if backbone is not None:
            values |= backbone_options(backbone)
            values["vocab_size"] = max(values["vocab_size"], len(backbone.table))
        for token in ("pad", "mask", "cls", "sep"):
            values[f"{token}_token_id"] = getattr(tokenizer, f"{token}_token_id", None)
        if self.mixture.mean_only:  # the objectives read nothing else of the concepts
            values["concept_mean"] = "free"
        return self.kind.config_class(**values | self.overrides)

    def new_model(self, config) -> PreTrainedModel:
        model = self.kind.model_class(config)
        if self.backbone is not None:
            if self.model_args.backbone_training == "random":
                model.config.backbone_source = {}  # known to be random
            else:
                load_backbone(model, self.backbone)
        return model

    def base_config(self) -> PreTrainedConfig:
        """The configuration of the checkpoint, as a recursive one where the model becomes so."""
        config = self.base.config
        if not self.becomes_recursive:
            return config
        depth = self.model_args.num_hidden_layers
        recursive = self.kind.config_class.from_standard(config)
        return with_values(recursive, {"num_hidden_layers": depth, "num_iterations": depth})

    def config_on_encoder(self) -> PreTrainedConfig:
        """The configuration of a model that has the encoder of a checkpoint and a new decoder."""
        config_class = self.kind.config_class
        names = config_class.own_options()
        of_encoder = {
            name: value
            for name, value in self.base_config().to_dict().items()
            if name in names and name not in HEAD_VALUES and not name.startswith("decoder_")
        }
        decoder = {"num_decoder_layers": self.model_args.num_decoder_layers}
        if self.mixture.decoder_target == "both":
            decoder["decoder_target"] = "both"
        return config_class(**{**of_encoder, **decoder, **self.overrides})

    def model_on_encoder(self, config) -> tuple[PreTrainedModel, str]:
        path, model = self.base.path, self.kind.model_class(config)
        if self.becomes_recursive:
            report = model.encoder.load_from_standard_checkpoint(path)
            loaded, skipped = {f"encoder.{name}" for name in report["loaded"]}, report["skipped"]
        else:
            state = load_weights(type(model.encoder), path, config=config)[0].state_dict()
            model.encoder.load_state_dict(state)
            loaded = {f"encoder.{name}" for name in state}
            skipped = [
                name for name in load_state_dict(path) if f"encoder.{name.removeprefix('encoder.')}" not in loaded
            ]
        if model.config.backbone_source:
            scale_tied_head(model)
        return model, describe(path, loaded, skipped, weights_of(model).keys() - loaded)


def describe(path: str, loaded: Iterable[str], skipped: Iterable[str], new: Iterable[str]) -> str:
    """A sentence on the weights that a model has of a checkpoint, those that were left, and those that are new."""

    def parts(names):
        of_part = Counter(re.match(r"(encoder\.|decoder\.)?\w+", name)[0] for name in names)
        return ", ".join(f"{part} ({count})" for part, count in sorted(of_part.items())) or "nothing"

    return f"From {path}: loaded {parts(loaded)}; left {parts(skipped)}; new {parts(new)}."


def plan_start(
    model_args: ModelArguments,
    training_args: ConceptTrainingArguments,
    max_seq_length: int | None = None,
    checkpoint: str | None = None,
) -> ModelStart:
    """
    Everything about the start that can be known without the training text.

    Args:
        model_args: options; those that were not given get the values of the checkpoint, or the defaults.
        max_seq_length: longest text in tokens; that of the checkpoint by default.
        checkpoint: of the run that is resumed.

    Raises:
        ValueError: a checkpoint or backbone cannot be read, or options contradict each other or the checkpoint.
    """
    args, base = model_args, None if model_args.base is None else read_base(model_args.base)
    args.model_type = choose_model_type(args, training_args, base)
    kind = find_model_type(args.model_type)
    # A decoder that is kept goes on with its objective, also above an encoder that becomes recursive.
    kept = args.init_encoder_from is None and base is not None and base.kind in MODEL_TYPES
    mixture = training_args.make_mixture((MODEL_TYPES[base.kind] if kept else kind).objective)
    overrides = read_overrides(args.config_overrides, kind.config_class)
    start = ModelStart(args, mixture, longest_text(max_seq_length, overrides, base), overrides, base, checkpoint)
    if base is not None:
        check_kind(start)
        take_options(start)
    for name, value in DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, kind.config.get(name, value))
    if base is None and args.backbone is not None:
        start.backbone = read_backbone(args.backbone, args.backbone_layers)
    elif base is None:
        args.backbone_layers = args.backbone_training = None
    config = start.make_config()
    mixture.check(config)
    training_args.make_schedule().check(config)
    make_weighting(training_args.loss_weighting, parse_terms(training_args.concept_losses))
    return start


def choose_model_type(args: ModelArguments, training_args: ConceptTrainingArguments, base: Base | None) -> str:
    """The model type of `--model_type`, the checkpoint's own, or the one that suits the objective."""
    if args.model_type is not None:
        return args.model_type
    if args.model_name_or_path is not None and base.kind in MODEL_TYPES:
        return base.kind
    if base is not None and type(base.config) is not ConceptEncoderConfig:
        return type_of_encoder(base.config)
    return model_type_for(training_args.make_mixture(MODEL_TYPES[DEFAULT_MODEL_TYPE].objective))


def longest_text(given: int | None, overrides: dict[str, Any], base: Base | None) -> int:
    """The longest text in tokens; ValueError for one beyond the model's limit."""
    limit = overrides.get("max_sequence_length", None if base is None else base.config.max_sequence_length)
    if given is not None and limit is not None and given > limit:
        raise ValueError(f"--max_seq_length {given} is more than the max_sequence_length {limit} of the model.")
    return given or limit or MAX_SEQ_LENGTH


def check_kind(start: ModelStart) -> None:
    """ValueError unless a model of the type can start from the checkpoint so."""
    base, name = start.base, start.model_args.model_type
    if not issubclass(start.kind.config_class, type(base.config)):
        raise ValueError(
            f"--model_type {name} cannot start from the checkpoint {base.path!r}, whose encoder is a "
            f"{base.config.model_type}: use --model_type {type_of_encoder(base.config)}, with the decoder that "
            "--config_overrides decoder_type=… names."
        )
    goes_on = base.kind == name or (start.becomes_recursive and base.kind in MODEL_TYPES)
    if start.model_args.init_encoder_from is None and not goes_on:
        raise ValueError(
            f"--model_type {name} cannot go on from the checkpoint {base.path!r}, which is {base.kind}: take its "
            f"encoder alone by --init_encoder_from {base.path}."
        )
    if start.model_args.backbone_training == "random":
        raise ValueError("--backbone_training random is for a new model with --backbone, not for a checkpoint.")


def take_options(start: ModelStart) -> None:
    """Give options that a checkpoint settles its values; ValueError where another value was given."""
    args, base = start.model_args, start.base
    source = base.config.backbone_source or {}
    saved = {name: getattr(base.config, name) for name in (*SIZES, "vocab_size")}
    saved |= {"backbone": source.get("name_or_path"), "backbone_layers": source.get("num_layers")}
    saved |= {name: base.record[name] for name in SETTLED if base.record.get(name) is not None}
    free = {"num_decoder_layers"} if args.init_encoder_from is not None else set()
    free |= {"num_hidden_layers"} if start.becomes_recursive else set()
    for name in (*SIZES, *SETTLED):
        given, own = getattr(args, name), saved.get(name)
        if not args.given(name):
            setattr(args, name, own if own is not None else given)
        elif given != own and name not in free:
            raise ValueError(
                f"--{name} {given} is not what the checkpoint {base.path!r} has, {own}: leave --{name} out, or start "
                "anew without the checkpoint."
            )
