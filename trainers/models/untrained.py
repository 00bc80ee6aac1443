# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The network as it was before training, which stands beside the trained one in every table."""

import copy

import torch

from ..utils.errors import first_line
from .backbone import Backbone, fingerprint, load_backbone, read_backbone
from .loading import read_record
from .reader import Reader, load_reader, read_reader, weights_of


class UntrainedError(ValueError):
    """The network before training cannot be made again; the message is one line that says why."""


@torch.no_grad()
def untrained_like(model, seed: int):
    """
    A network of the same class and configuration with fresh weights. What was not learned from the training text stays
    as it is: the tokenizer, the weights that tokens have by their frequency, and the weights with which a pretrained
    backbone started. Those are the model's own where training left them as they were, and are read again from their
    source otherwise.

    Args:
        model: a concept model, or any other model of transformers.
        seed: of the fresh weights. The global generators are left alone.

    Raises:
        UntrainedError: it is not known, or cannot be read, with which weights the backbone started.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        untrained = type(model)(copy.deepcopy(model.config)).eval().to(model.device)
    base = model.base_model
    if getattr(base, "token_weights", None) is not None:
        untrained.base_model.token_weights.weights.copy_(base.token_weights.weights)
    source = getattr(model.config, "backbone_source", None)
    if source:
        start_backbone(untrained, model, source)
    elif source is None and getattr(model.config, "backbone_config", None) is not None:
        raise UntrainedError(
            "There is no untrained network to compare with: the checkpoint does not say which model its pretrained "
            "layers were taken from."
        )
    if reader_source := getattr(model.config, "reader_source", None):
        start_reader(untrained, model, reader_source)
    if getattr(model, "_tokenizer", None) is not None:  # else it is read from the checkpoint, as that of `model`
        untrained.tokenizer = model._tokenizer
    return untrained


def start_backbone(untrained, model, source: dict) -> None:
    """Give `untrained` the table and the layers with which the backbone of `model` started (`backbone_source`)."""
    embeddings = model.base_model.embeddings
    table = embeddings.token_embeddings.weight[: source["vocab_size"]]
    layers = {} if embeddings.backbone is None else embeddings.backbone.state_dict()
    backbone = Backbone(model.config.backbone_config, table, layers)
    try:
        if fingerprint(table, layers) != source["sha256"]:
            name = source["name_or_path"] or read_record(model.name_or_path).get("backbone")
            if name is None:
                raise ValueError("the folder from which the backbone was read is not recorded beside the checkpoint")
            backbone = read_backbone(name, source["num_layers"])
            if fingerprint(backbone.table, backbone.layers) != source["sha256"]:
                raise ValueError(f"the weights of {name!r} are not those that the training started from")
    except ValueError as error:
        raise UntrainedError(f"There is no untrained network to compare with: {first_line(error)}.") from error
    load_backbone(untrained, backbone)
    untrained.config.backbone_source = dict(source)


def start_reader(untrained, model, source: dict) -> None:
    """Give `untrained` the weights with which the reader of `model` started (`reader_source`)."""
    lm = model.reader.lm
    reader = Reader(model.config.reader_config, weights_of(lm), model.generation_config)
    try:
        if fingerprint(lm.get_input_embeddings().weight, reader.weights) != source["sha256"]:
            name = source["name_or_path"] or read_record(model.name_or_path).get("reader")
            if name is None:
                raise ValueError("the folder from which the reader was read is not recorded beside the checkpoint")
            reader = read_reader(name)
    except ValueError as error:
        raise UntrainedError(f"There is no untrained network to compare with: {first_line(error)}.") from error
    load_reader(untrained, reader)
    if fingerprint(untrained.reader.lm.get_input_embeddings().weight, reader.weights) != source["sha256"]:
        raise UntrainedError(
            f"There is no untrained network to compare with: the weights of {reader.source!r} are not those that the "
            "training started from."
        )
    untrained.config.reader_source = dict(source)
