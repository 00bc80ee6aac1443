# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The start of a pretraining run's model: new, on a pretrained backbone, from a checkpoint or its encoder alone."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from modeling_concept.base_concept import load_state_dict
from modeling_concept.configuration_concept import ConceptModelConfig

from .data.tokenizers import SPECIAL_TOKENS, load_tokenizer, read_tokenizer, train_tokenizer
from .losses.terms import make_weighting, parse_terms
from .model_arguments import DEFAULTS, MAX_SEQ_LENGTH, SIZES, ModelArguments, read_overrides
from .model_types import DEFAULT_MODEL_TYPE, MODEL_TYPES, ModelType, find_model_type, model_type_for
from .models.backbone import Backbone, backbone_options, load_backbone, read_backbone, scale_tied_head, train_backbone
from .models.loading import load_weights, read_config, read_record
from .models.reader import Reader, load_reader, new_reader_config, read_reader, train_reader
from .objectives import Mixture
from .training_args import ConceptTrainingArguments


# Options that a checkpoint settles beside its sizes: those of its tokenizer, and of what its backbone was taken from.
SETTLED = ("vocab_size", "lower_case", "backbone", "backbone_layers", "reader")

# Tokens of an encoder, at most, for each token of a reader with a tokenizer of its own.
OTHER_TOKENS = 2

# Values of a configuration that describe what stands on the encoder, beside those that begin with "decoder_".
HEAD_VALUES = {
    "num_decoder_layers", "tie_word_embeddings", "pair_similarity", "reader_config", "reader_source",
    "own_reader_tokenizer",
}  # fmt: skip


class Base(NamedTuple):
    """A checkpoint to start from: folder or Hub id, configuration, and model type (or class, if it has no head)."""

    path: str
    config: ConceptModelConfig
    kind: str


def read_base(path: str) -> Base:
    """The checkpoint `path`; ValueError if it cannot be read, or is no concept encoder."""
    config = read_config(path)
    saved = (config.architectures or ["no class"])[0]
    kinds = [name for name, kind in MODEL_TYPES.items() if kind.model_class.__name__ == saved]
    return Base(path, config, next(iter(kinds), saved))


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
        reader: the pretrained model that reads the concepts of a new one.
        reader_tokenizer: its tokenizer, where the encoder has another one; known when that one is.
    """

    model_args: ModelArguments
    mixture: Mixture
    max_seq_length: int
    overrides: dict[str, Any]
    base: Base | None = None
    checkpoint: str | None = None
    backbone: Backbone | None = None
    reader: Reader | None = None
    reader_tokenizer: PreTrainedTokenizerBase | None = None

    @property
    def kind(self) -> ModelType:
        return find_model_type(self.model_args.model_type)

    @property
    def becomes_recursive(self) -> bool:
        """Whether a recursive model starts from a standard one."""
        return self.base is not None and self.kind.config_class is not type(self.base.config)

    def make_tokenizer(self, texts: Iterable[str]) -> PreTrainedTokenizerBase:
        """The encoder's tokenizer: that of the checkpoint, of `--tokenizer_name`, the backbone's, the reader's, or one
        trained from `texts`; padding and mask token are added to one that has none. A pretrained reader whose tokens
        have other ids in it keeps its own."""
        args = self.model_args
        if path := self.checkpoint or args.base:
            tokenizer = read_tokenizer(path, read_config(path), args.tokenizer_name, args.trust_remote_code)
        elif name := args.tokenizer_name or args.backbone or args.reader:
            tokenizer = load_tokenizer(name, args.trust_remote_code)
            missing = [token for token in ("pad_token", "mask_token") if getattr(tokenizer, token) is None]
            tokenizer.add_special_tokens({token: SPECIAL_TOKENS[token] for token in missing})
        else:
            tokenizer = train_tokenizer(
                texts, args.vocab_size, self.max_seq_length, args.lower_case, special_ends=False
            )
        tokenizer.model_max_length = self.max_seq_length
        if self.reader is not None:
            given, own = tokenizer.get_vocab(), load_tokenizer(self.reader.source, args.trust_remote_code)
            if any(given.get(token) != number for token, number in own.get_vocab().items()):
                own.model_max_length = self.max_seq_length
                tokenizer.model_max_length = OTHER_TOKENS * self.max_seq_length
                self.reader_tokenizer = own
                self.mixture.check(self.make_config(tokenizer))
        return tokenizer

    def make_model(self, tokenizer: PreTrainedTokenizerBase) -> tuple[PreTrainedModel, str | None]:
        """
        The model, and a sentence on what it has of a checkpoint and what is new; None for a new model.

        Raises:
            ValueError: the configuration is not possible, or weights do not fit.
        """
        model_class, config, base = self.kind.model_class, self.make_config(tokenizer), self.base
        if base is None:
            model, sentence = model_class(config), None
            if self.model_args.backbone_training == "random":
                model.config.backbone_source = {}  # known to be random
            elif self.backbone is not None:
                load_backbone(model, self.backbone)
            if self.reader is not None:
                load_reader(model, self.reader)
        elif self.model_args.init_encoder_from is not None:
            model = model_class(config)
            if self.reader is not None:
                load_reader(model, self.reader)
            state = load_weights(type(model.encoder), base.path, config=config)[0].state_dict()
            model.encoder.load_state_dict(state)
            loaded = {f"encoder.{name}" for name in state}
            saved = load_state_dict(base.path)
            left = [name for name in saved if f"encoder.{name.removeprefix('encoder.')}" not in loaded]
            sentence = describe(base.path, loaded, left, names_of(model) - loaded)
            if model.config.backbone_source:
                scale_tied_head(model)
        elif self.becomes_recursive:
            model = model_class(config)
            sentence = describe(base.path, **model.load_from_standard_checkpoint(base.path))
        else:
            model, info = load_weights(model_class, base.path, config=config)
            sentence = describe(base.path, names_of(model), info["unexpected_keys"], ())
        if (how := self.model_args.backbone_training) is not None:
            train_backbone(model, "full" if how == "random" else how)
        if self.kind.has_reader:
            train_reader(model, self.model_args.reader_training)
        if self.reader_tokenizer is not None:
            model.reader_tokenizer = self.reader_tokenizer
        return model, sentence

    def make_config(self, tokenizer: PreTrainedTokenizerBase | None = None) -> PreTrainedConfig:
        """The configuration of the model; before the tokenizer is known, one of the same parts and sizes."""
        args, base, config_class = self.model_args, self.base, self.kind.config_class
        if base is None:
            config = self.with_reader(config_class(**self.new_values(tokenizer) | self.overrides), tokenizer)
        elif args.init_encoder_from is not None:
            of_encoder = config_class.own_options() - HEAD_VALUES
            values = {name: value for name, value in base.config.to_dict().items() if name in of_encoder}
            values = {name: value for name, value in values.items() if not name.startswith("decoder_")}
            values["num_decoder_layers"] = args.num_decoder_layers
            if self.reader_tokenizer is not None:
                values["max_sequence_length"] = max(values["max_sequence_length"], OTHER_TOKENS * self.max_seq_length)
            if self.mixture.decoder_target == "both":
                values["decoder_target"] = "both"
            config = self.with_reader(config_class(**values | self.overrides), tokenizer)
        else:
            config = base.config
            if self.becomes_recursive:
                depth = args.num_hidden_layers
                config = config_class.from_standard(config, num_hidden_layers=depth, num_iterations=depth)
            config = config_class.from_dict(config.to_dict() | self.overrides)
        return self.kind.model_class.choose_parts(config)

    def with_reader(self, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase | None) -> PreTrainedConfig:
        """`config` with a reader, pretrained or new, for a model type that has one, and with the decoder that other
        objectives need beside it."""
        if not self.kind.has_reader or config.reader_config is not None:
            return config
        config.reader_config = new_reader_config(config, tokenizer) if self.reader is None else self.reader.config
        config.own_reader_tokenizer = self.reader_tokenizer is not None
        if config.decoder_type is None:
            config.decoder_type = self.mixture.decoder_beside_reader
        if config.decoder_target is None:
            config.decoder_target = self.mixture.decoder_target
        return config

    def new_values(self, tokenizer: PreTrainedTokenizerBase | None) -> dict[str, Any]:
        """The values of a new configuration."""
        args, backbone = self.model_args, self.backbone
        values = {name: getattr(args, name) for name in SIZES} | {"max_sequence_length": self.max_seq_length}
        values["vocab_size"] = args.vocab_size if tokenizer is None else len(tokenizer)
        if self.reader_tokenizer is not None:
            values["max_sequence_length"] *= OTHER_TOKENS
        values["decoder_target"] = "both" if self.mixture.decoder_target == "both" else None
        if backbone is not None:
            values |= backbone_options(backbone)
            values["vocab_size"] = max(values["vocab_size"], len(backbone.table))
        for token in ("pad", "mask", "cls", "sep"):
            values[f"{token}_token_id"] = getattr(tokenizer, f"{token}_token_id", None)
        if self.mixture.mean_only:  # the objectives read nothing else of the concepts
            values["concept_mean"] = "free"
        return values


def names_of(model: PreTrainedModel) -> set[str]:
    """The weights of a model, each tied one under one name."""
    return {name for name, _ in (*model.named_parameters(), *model.named_buffers())}


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
    args.model_type = args.model_type or default_model_type(args, training_args, base)
    kind = find_model_type(args.model_type)
    # A decoder that is kept goes on with its objective, also above an encoder that becomes recursive.
    kept = args.init_encoder_from is None and base is not None and base.kind in MODEL_TYPES
    mixture = training_args.make_mixture((MODEL_TYPES[base.kind] if kept else kind).objective)
    overrides = read_overrides(args.config_overrides, kind.config_class)
    limit = MAX_SEQ_LENGTH if base is None else base.config.max_sequence_length
    if args.model_name_or_path is not None and getattr(base.config, "own_reader_tokenizer", False):
        limit //= OTHER_TOKENS  # texts are cut in tokens of the reader
    length = max_seq_length or overrides.get("max_sequence_length", limit)
    start = ModelStart(args, mixture, length, overrides, base, checkpoint)
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
    check_reader(start)
    config = start.make_config()
    mixture.check(config)
    training_args.make_schedule().check(config)
    make_weighting(training_args.loss_weighting, parse_terms(training_args.concept_losses))
    return start


def check_reader(start: ModelStart) -> None:
    """Read the pretrained reader of a new one; ValueError for options of a reader where there is none."""
    args, base = start.model_args, start.base
    if args.reader is not None and not start.kind.has_reader:
        raise ValueError(f"--reader is for --model_type causal_lm, not {args.model_type}.")
    if args.reader is not None and args.model_name_or_path is None:
        start.reader = read_reader(args.reader)
    source = None if args.model_name_or_path is None else getattr(base.config, "reader_source", None)
    pretrained = args.reader is not None or bool(source)
    if args.reader_training in ("frozen", "lora") and not pretrained:
        raise ValueError(f"--reader_training {args.reader_training} needs a pretrained --reader.")
    if start.kind.has_reader:
        args.reader_training = args.reader_training or ("frozen" if pretrained else "full")


def default_model_type(args: ModelArguments, training_args: ConceptTrainingArguments, base: Base | None) -> str:
    """The checkpoint's own model type, or the one that suits the objective."""
    if args.model_name_or_path is not None and base.kind in MODEL_TYPES:
        return base.kind
    return model_type_for(training_args.make_mixture(MODEL_TYPES[DEFAULT_MODEL_TYPE].objective))


def check_kind(start: ModelStart) -> None:
    """ValueError unless a model of the type can start from the checkpoint in the way that the options say."""
    base, name, own = start.base, start.model_args.model_type, start.kind.config_class
    if start.model_args.init_encoder_from is not None:
        possible = own is type(base.config)
    else:
        decodes = base.kind in MODEL_TYPES and not MODEL_TYPES[base.kind].has_reader
        repeats = start.becomes_recursive and issubclass(own, type(base.config)) and decodes
        possible = repeats or base.kind == name
    if not possible:
        raise ValueError(
            f"--model_type {name} cannot start from the checkpoint {base.path!r}, which is {base.kind}, a "
            f"{base.config.model_type}: give its own --model_type, or for another decoder on its encoder "
            f"--init_encoder_from {base.path}."
        )
    if start.model_args.backbone_training == "random":
        raise ValueError("--backbone_training random is for a new model with --backbone, not for a checkpoint.")


def take_options(start: ModelStart) -> None:
    """Give options that a checkpoint settles its values; ValueError where another value was given."""
    args, base = start.model_args, start.base
    source = base.config.backbone_source or {}
    saved = base.config.to_dict()
    saved |= {"backbone": source.get("name_or_path"), "backbone_layers": source.get("num_layers")}
    saved |= {"reader": (getattr(base.config, "reader_source", None) or {}).get("name_or_path")}
    saved |= {name: value for name, value in read_record(base.path).items() if name in SETTLED and value is not None}
    new_head = args.init_encoder_from is not None
    free = {"num_hidden_layers": start.becomes_recursive, "num_decoder_layers": new_head}
    for name in (*SIZES, *SETTLED):
        if name == "reader" and new_head:  # a new one, if any
            continue
        given, own = getattr(args, name), saved.get(name)
        if not args.given(name):
            setattr(args, name, own if own is not None else given)
        elif given != own and not free.get(name):
            raise ValueError(
                f"--{name} {given} is not what the checkpoint {base.path!r} has, {own}: leave --{name} out, or start "
                "anew without the checkpoint."
            )
