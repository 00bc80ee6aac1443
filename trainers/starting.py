# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""How the model of a pretraining run starts: new, on a pretrained backbone, from a checkpoint, or from the encoder of
one."""

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from modeling_concept import ConceptEncoderConfig, ConceptEncoderForMaskedLM
from modeling_concept.configuration_concept import ENCODER_KINDS, ConceptModelConfig
from modeling_concept.loading_concept import load_state_dict

from .backbone import Backbone, backbone_options, load_backbone, read_backbone, scale_tied_head, train_backbone
from .data import first_line
from .model_arguments import MAX_SEQ_LENGTH, SIZES, USUAL, ModelArguments, read_overrides
from .model_types import DEFAULT_MODEL_TYPE, MODEL_TYPES, ModelType, find_model_type, model_type_for
from .objectives import Mixture
from .resuming import read_record
from .script import CONCEPT_MODEL_TYPES
from .tokenizer_training import SPECIAL_TOKENS, train_tokenizer
from .tokenizers import load_tokenizer, read_tokenizer
from .training_args import ConceptTrainingArguments


logger = logging.get_logger(__name__)

# Options that shaped a checkpoint when it was new and have no effect on it later.
TRAINED_TOKENIZER = ("vocab_size", "lower_case", "special_ends")
SETTLED = ("backbone", "backbone_layers", "sif_smoothing", *TRAINED_TOKENIZER)

# Values of a configuration that describe what stands on the encoder, beside those that begin with "decoder_".
DECODER_VALUES = (
    "num_decoder_layers", "share_decoder_embeddings", "timestep_scale", "tie_word_embeddings", "concept_pooling",
    "pair_similarity", "classifier_dropout",
)  # fmt: skip


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

    @property
    def recursive(self) -> bool:
        return self.config.is_recursive


def read_base(path: str, option: str) -> Base:
    """
    The checkpoint `path`, given by `option`.

    Raises:
        ValueError: it cannot be read, or is no concept encoder.
    """
    if Path(path).is_file():
        raise ValueError(f"{option} takes the folder of a checkpoint, {Path(path).parent}, not its file {path}.")
    try:
        config = AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"The checkpoint {path!r} cannot be read: {first_line(error)}") from error
    if config.model_type not in CONCEPT_MODEL_TYPES:
        raise ValueError(
            f"{option} takes a concept encoder, but {path!r} is a {config.model_type} model, which --backbone puts "
            "below the concepts of a new one."
        )
    saved = (config.architectures or ["no class"])[0]
    kind = next((name for name, kind in MODEL_TYPES.items() if kind.model_class.__name__ == saved), saved)
    if saved == ConceptEncoderForMaskedLM.__name__:
        kind = next((name for name, kind in MODEL_TYPES.items() if fits(kind, config)), saved)
    return Base(path, config, kind, read_record(path))


def fits(kind: ModelType, config: PreTrainedConfig) -> bool:
    """Whether a checkpoint of this configuration has the parts of a model type."""
    if config.model_type != kind.config_class.model_type or config.decoder_type is None:
        return False
    try:
        kind.model_class.choose_parts(config)
    except ValueError:
        return False
    return True


def same_network(kind: ModelType, config: PreTrainedConfig) -> bool:
    """Whether both are of the original's network, or neither is."""
    return ("original" in kind.config_class.model_type) == ("original" in config.model_type)


def type_of_encoder(config: PreTrainedConfig) -> str:
    """The first model type whose encoder is that of a configuration."""
    return next(name for name, kind in MODEL_TYPES.items() if kind.config_class.model_type == config.model_type)


def weights_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """All weights of a model, each tied one under one name."""
    return dict([*model.named_parameters(), *model.named_buffers()])


def shapes(model_class: type[PreTrainedModel], config: PreTrainedConfig) -> dict[str, torch.Size]:
    """Shapes of the weights of a model, without making any."""
    with torch.device("meta"):
        return {name: value.shape for name, value in weights_of(model_class(config)).items()}


def with_values(config: PreTrainedConfig, values: dict[str, Any]) -> PreTrainedConfig:
    """A configuration with other values, checked as a whole."""
    return type(config).from_dict({**config.to_dict(), **values})


def check_shapes(model_class, config, overrides: dict[str, Any], path: str) -> None:
    """ValueError for an override through which weights of the checkpoint `path` would be new or of another shape."""
    own = shapes(model_class, config)

    def changes(values):
        changed = shapes(model_class, with_values(config, values))
        return sorted(name for name in changed if changed[name] != own.get(name))

    if not (wrong := changes(overrides)):
        return
    named = []
    for name, value in overrides.items():
        with suppress(ValueError, StrictDataclassError):  # one that fits only beside the others
            named += [name] if changes({name: value}) else []
    shown = ", ".join(f"{name}={overrides[name]!r}" for name in named or overrides)
    raise ValueError(
        f"config_overrides: {shown} would make weights of the checkpoint {path!r} new or of another shape "
        f"({wrong[0]}{f' and {len(wrong) - 1} more' if wrong[1:] else ''}); start anew without the checkpoint."
    )


@dataclass
class ModelStart:
    """
    The start of a run, whose options are checked; made by `plan_start`.

    Args:
        model_args: with the values that the checkpoint or the defaults give to options that were not given.
        model_type: name in `MODEL_TYPES`.
        mixture: objectives.
        max_seq_length: longest text in tokens.
        overrides: values of the configuration.
        base: checkpoint to start from.
        backbone: what of it is taken.
        checkpoint: of the run that is resumed.
    """

    model_args: ModelArguments
    model_type: str
    mixture: Mixture
    max_seq_length: int
    overrides: dict[str, Any]
    base: Base | None = None
    backbone: Backbone | None = None
    checkpoint: str | None = None

    @property
    def kind(self) -> ModelType:
        return MODEL_TYPES[self.model_type]

    @property
    def becomes_recursive(self) -> bool:
        """Whether a recursive encoder starts from a standard one."""
        return self.kind.config_class.is_recursive and self.base is not None and not self.base.recursive

    def make_tokenizer(self, texts: Iterable[str]) -> PreTrainedTokenizerBase:
        """The tokenizer of the checkpoint, the one asked for, the backbone's, or one trained from `texts`; padding and
        mask token are added to one that has none."""
        args = self.model_args
        path, config = (None, None) if self.base is None else (self.base.path, self.base.config)
        if self.checkpoint is not None:
            path, config = self.checkpoint, AutoConfig.from_pretrained(self.checkpoint)
        name = args.tokenizer_name or args.backbone
        if path is not None:
            tokenizer = read_tokenizer(path, config, args.tokenizer_name, args.trust_remote_code)
        elif name is None:
            return train_tokenizer(texts, args.vocab_size, self.max_seq_length, args.lower_case, args.special_ends)
        else:
            tokenizer = load_tokenizer(name, args.trust_remote_code)
            tokens = {token: SPECIAL_TOKENS[token] for token in ("pad_token", "mask_token")}
            if missing := {token: text for token, text in tokens.items() if getattr(tokenizer, token) is None}:
                logger.warning("The tokenizer has no %s; added.", " and no ".join(missing))
                tokenizer.add_special_tokens(missing)
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
            model, info = model_class.from_pretrained(
                base.path, config=config, dtype=torch.float32, output_loading_info=True
            )
            loaded = weights_of(model).keys() - set(info["missing_keys"])
            sentence = describe(base.path, loaded, info["unexpected_keys"], info["missing_keys"])
        if self.backbone is not None or base is not None:
            how = self.model_args.backbone_training
            train_backbone(model, "full" if how == "random" else how, self.model_args.lora_r)
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
        backbone_values = {"token_embedding_dim": args.token_embedding_dim}
        vocab_size = args.vocab_size if tokenizer is None else len(tokenizer)
        if backbone is not None:
            backbone_values, vocab_size = backbone_options(backbone), max(vocab_size, backbone.vocab_size)
        values = {
            **self.kind.config,
            **backbone_values,
            "decoder_target": self.decoder_target,
            **({"concept_mean": "free"} if self.mixture.mean_only else {}),
            "vocab_size": vocab_size,
            "max_sequence_length": self.max_seq_length,
            **{name: getattr(args, name) for name in SIZES},
        }
        for token in ("pad", "mask", "cls", "sep", "unk", "bos", "eos"):
            values[f"{token}_token_id"] = getattr(tokenizer, f"{token}_token_id", None)
        values |= self.overrides
        config_class = self.kind.config_class
        given_mean = values.get("concept_mean", config_class.concept_mean) == "embeddings"
        weighs = args.sif_smoothing > 0 and given_mean and values.get("backbone_config") is None
        return config_class(**{"token_weighting": weighs} | values)

    @property
    def decoder_target(self) -> str | None:
        """Of a new decoder; None for what the model class decides."""
        return "both" if self.mixture.decoder_target == "both" else None

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
            if name in names and name not in DECODER_VALUES and not name.startswith("decoder_")
        }
        decoder = {"decoder_target": self.decoder_target, "num_decoder_layers": self.model_args.num_decoder_layers}
        return config_class(**{**self.kind.config, **of_encoder, **decoder, **self.overrides})

    def model_on_encoder(self, config) -> tuple[PreTrainedModel, str]:
        path, model = self.base.path, self.kind.model_class(config)
        if self.becomes_recursive:
            report = model.encoder.load_from_standard_checkpoint(path)
            taken, skipped = {f"encoder.{name}" for name in report["loaded"]}, report["skipped"]
        else:
            state = type(model.encoder).from_pretrained(path, config=config, dtype=torch.float32).state_dict()
            model.encoder.load_state_dict(state)
            taken = {f"encoder.{name}" for name in state}
            skipped = [
                name for name in load_state_dict(path) if f"encoder.{name.removeprefix('encoder.')}" not in taken
            ]
        if model.config.backbone_source:
            scale_tied_head(model)
        return model, describe(path, taken, skipped, weights_of(model).keys() - taken)


def describe(path: str, loaded: Iterable[str], skipped: Iterable[str], new: Iterable[str]) -> str:
    """A sentence on the weights that a model has of a checkpoint, those that were left, and those that are new."""

    def parts(names):
        of_part = Counter(re.match(r"(encoder\.|decoder\.)?\w+", name)[0] for name in names)
        return ", ".join(f"{part} ({count})" for part, count in sorted(of_part.items())) or "nothing"

    loaded, skipped, new = set(loaded), set(skipped), set(new)
    if not skipped | new:
        return f"From {path}: all {len(loaded)} weights loaded."
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
        model_args: options; those that were not given get the values of the checkpoint, or the usual ones.
        max_seq_length: longest text in tokens; that of the checkpoint by default.
        checkpoint: of the run that is resumed.

    Raises:
        ValueError: a checkpoint or backbone cannot be read, or options contradict each other or the checkpoint.
    """
    base, args = None, model_args
    if args.base is not None:
        option = "--model_name_or_path" if args.init_encoder_from is None else "--init_encoder_from"
        base = read_base(args.base, option)
    args.model_type = choose_model_type(args, training_args, base)
    kind = find_model_type(args.model_type)
    # A decoder that is kept goes on with its objective, also above an encoder that becomes recursive.
    kept = args.init_encoder_from is None and base is not None and base.kind in MODEL_TYPES
    mixture = training_args.make_mixture((MODEL_TYPES[base.kind] if kept else kind).objective)
    overrides = read_overrides(args.config_overrides, kind.config_class)
    limit = overrides.get("max_sequence_length", None if base is None else base.config.max_sequence_length)
    if max_seq_length is None:
        max_seq_length = limit or MAX_SEQ_LENGTH
    elif limit is not None and max_seq_length > limit:
        of = "--config_overrides" if "max_sequence_length" in overrides else f"the checkpoint {base.path!r}"
        raise ValueError(f"--max_seq_length {max_seq_length} is more than the max_sequence_length {limit} of {of}.")
    for name, value in overrides.items():
        if checkpoint is None and (given := getattr(args, name, None)) not in (None, value):
            raise ValueError(f"--{name} {given} contradicts --config_overrides {name}={value}: leave one out.")
    start = ModelStart(args, args.model_type, mixture, max_seq_length, overrides, base, None, checkpoint)
    check_backbone_options(start, training_args.backbone_learning_rate)
    if base is not None:
        check_kind(start)
        settle(start)
    elif checkpoint is None:
        check_tokenizer_options(args)
    for name, value in USUAL.items():
        if getattr(args, name) is None:
            setattr(args, name, kind.config.get(name, value))
    if base is not None:
        check_base(start)
    elif args.backbone is not None:
        start.backbone = read_backbone(args.backbone, args.backbone_layers)
        if args.token_embedding_dim not in (None, start.backbone.width):
            raise ValueError(
                f"--token_embedding_dim {args.token_embedding_dim}, but the token table of {args.backbone} has the "
                f"width {start.backbone.width}; leave --token_embedding_dim out."
            )
    else:
        args.backbone_layers = args.backbone_training = args.lora_r = None
    config = start.make_config()
    mixture.check(config)
    training_args.make_schedule().check(config)
    training_args.make_weighting(training_args.make_terms())
    return start


def choose_model_type(model_args, training_args, base: Base | None) -> str:
    """The model type asked for, the checkpoint's own, or the one that suits the objective."""
    if model_args.model_type is not None:
        find_model_type(model_args.model_type)
        return model_args.model_type
    if model_args.model_name_or_path is not None and base.kind in MODEL_TYPES:
        return base.kind
    if base is not None and base.config.model_type != ConceptEncoderConfig.model_type:
        return type_of_encoder(base.config)
    return model_type_for(training_args.make_mixture(MODEL_TYPES[DEFAULT_MODEL_TYPE].objective))


def check_tokenizer_options(args: ModelArguments) -> None:
    """ValueError for an option of a tokenizer trained from the data where another one is used."""
    tokenizer = args.tokenizer_name or args.backbone
    if tokenizer is not None and (given := [name for name in TRAINED_TOKENIZER if args.given(name)]):
        raise ValueError(
            f"--{given[0]} is for a tokenizer that is trained from the data, but that of {tokenizer!r} is used: leave "
            f"--{given[0]} out."
        )


def check_backbone_options(start: ModelStart, learning_rate: float | None) -> None:
    """ValueError for an option of a backbone that nothing would read."""
    args, base = start.model_args, start.base
    has_backbone = args.backbone is not None
    if base is not None:
        has_backbone = any((base.record.get("backbone"), base.config.backbone_config, base.config.backbone_source))
    # A run that goes on has the options that its checkpoint records, which have been compared.
    names = ("backbone_layers", "backbone_training", "lora_r") if start.checkpoint is None else ()
    given = {name: getattr(args, name) for name in names} | {"backbone_learning_rate": learning_rate}
    given = {name: value for name, value in given.items() if value is not None}
    if given and not has_backbone:
        raise ValueError(f"--{next(iter(given))} has no effect without a --backbone: give one, or leave it out.")
    for name, wrong in (("lora_r", args.backbone_training != "lora"),
                        ("backbone_learning_rate", args.backbone_training == "frozen")):  # fmt: skip
        if name in given and wrong:
            how = args.backbone_training or USUAL["backbone_training"]
            raise ValueError(f"--{name} has no effect with --backbone_training {how}: leave one of them out.")


def check_kind(start: ModelStart) -> None:
    """ValueError unless a model of the type can start from the checkpoint so."""
    base, name = start.base, start.model_type
    if not same_network(start.kind, base.config):
        raise ValueError(
            f"--model_type {name} cannot start from the checkpoint {base.path!r}: its encoder is a "
            f"{base.config.model_type} ({ENCODER_KINDS[base.config.model_type]})."
        )
    if base.recursive and not start.kind.config_class.is_recursive:
        raise ValueError(
            f"--model_type {name} has a stack of layers, but the checkpoint {base.path!r} is {base.kind}, one layer "
            f"that is repeated: use --model_type {type_of_encoder(base.config)}, with the decoder that "
            "--config_overrides decoder_type=… names."
        )
    if start.model_args.init_encoder_from is not None or base.kind == name:
        return
    if base.kind not in MODEL_TYPES:
        raise ValueError(
            f"The checkpoint {base.path!r} is {base.kind}, which has no language-model head to go on with: take its "
            f"encoder alone by --init_encoder_from {base.path}."
        )
    if not start.becomes_recursive and not fits(start.kind, base.config):
        raise ValueError(
            f"--model_type {name} cannot go on from the checkpoint {base.path!r}, which is {base.kind}: leave "
            f"--model_type out, or take its encoder alone by --init_encoder_from {base.path}."
        )


def settle(start: ModelStart) -> None:
    """Options that a checkpoint settles: those not given get its values; ValueError for another value."""
    args, base = start.model_args, start.base
    source = base.config.backbone_source or {}
    saved = {"vocab_size": base.config.vocab_size, "backbone": source.get("name_or_path")}
    saved["backbone_layers"] = source.get("num_layers")
    saved |= {name: base.record[name] for name in SETTLED if base.record.get(name) is not None}
    saved |= {name: getattr(base.config, name) for name in (*SIZES, "token_embedding_dim")}
    free = set()
    if args.init_encoder_from is not None:
        free |= {"num_decoder_layers"}
    if start.becomes_recursive:
        free |= {"num_hidden_layers"}
    for name in (*SIZES, "token_embedding_dim", *SETTLED):
        given, own = getattr(args, name), saved.get(name)
        if not args.given(name):
            setattr(args, name, own if own is not None else given)
        elif given != own and name not in free:
            but = "has no effect on" if own is None else f"is not the {own} of"
            raise ValueError(
                f"--{name} {given} {but} the checkpoint {base.path!r}: leave --{name} out, or start anew without the "
                "checkpoint."
            )


def check_base(start: ModelStart) -> None:
    """ValueError for options that do not fit the weights of the checkpoint."""
    base, args = start.base, start.model_args
    if args.backbone_training == "random":
        raise ValueError("--backbone_training random is for a new model with --backbone, not for a checkpoint.")
    model_class = start.kind.model_class
    if args.init_encoder_from is not None:
        model_class = model_class.encoder_class
    check_shapes(model_class, start.base_config(), start.overrides, base.path)
