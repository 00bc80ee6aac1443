# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Pretrained backbones below the concepts: reading one, putting it into a concept model, and what of it is trained.

V tokens of the source, V' of the concept model, E width of the source.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn as nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from modeling_concept.backbone_concept import PretrainedTokens
from modeling_concept.configuration_concept import make_backbone_config
from modeling_concept.positions_concept import text_layout

from .loading import load_weights, read_config


# What a configuration says about something else than the layers.
FOREIGN_KEYS = (
    "architectures", "auto_map", "dtype", "id2label", "label2id", "output_attentions", "output_hidden_states",
    "return_dict", "transformers_version",
)  # fmt: skip
ADAPTER_MARK = ".lora_"
LORA_RANK = 8
PROBE_LENGTH = 8  # tokens of the text on which a backbone is compared with its source


class Backbone(NamedTuple):
    """
    What is taken of a pretrained model.

    Args:
        config: its configuration cut to the layers that are used, or None for the token table alone.
        table: [V, E] float32, the rows as the model looks them up (where it scales them, scaled).
        layers: weights of the layers, float32, by their names in [`PretrainedTokens`].
        source: Hub id or folder that it was read from.
    """

    config: dict[str, Any] | None
    table: torch.Tensor
    layers: dict[str, torch.Tensor]
    source: str = ""


def read_backbone(name_or_path: str, num_layers: int) -> Backbone:
    """
    Read the token table and the first layers of a pretrained model. It is run once on a few tokens, so that a
    backbone that is returned gives the source's own states.

    Args:
        name_or_path: Hub id or folder of a model that `AutoModel` loads, with or without a head. Code that comes with
            a model is not run: a concept checkpoint could not carry it.
        num_layers: how many of its layers to take; 0 for the table alone.

    Raises:
        ValueError: the model cannot be read, has fewer layers or no token table of its width, lacks weights, or is of
            an architecture whose states cannot be reproduced.
    """
    config = read_config(name_or_path, concepts=False)
    depth, width = getattr(config, "num_hidden_layers", 0), getattr(config, "hidden_size", None)
    if not 0 <= num_layers <= depth:
        raise ValueError(f"{name_or_path} has {depth} layers; give 0 to {depth} of them, not {num_layers}.")
    source, info = load_weights(AutoModel, name_or_path, trust_remote_code=False)
    embedding = source.get_input_embeddings()
    if not isinstance(embedding, nn.Embedding) or embedding.embedding_dim != width:
        raise ValueError(f"{name_or_path} ({config.model_type}) has no token table of its width {width}.")
    cut = cut_config(config, num_layers) if num_layers else None
    tokens = None if cut is None else PretrainedTokens(cut, "sdpa", max_length=2 * PROBE_LENGTH).eval()
    weights = source.state_dict()
    needed = {} if tokens is None else {name: weights[name] for name in tokens.model.state_dict()}
    table_names = {name for name, value in source.named_parameters() if value is embedding.weight}
    if missing := sorted(set(info["missing_keys"]) & (set(needed) | table_names)):
        raise ValueError(f"{name_or_path} does not hold the weights {missing[:3]}, which would be random.")
    with torch.no_grad():
        table = embedding(torch.arange(embedding.num_embeddings)).clone()
    # Copies, so that the rest of the source can be freed.
    layers = {f"model.{name}": value.clone() for name, value in needed.items()}
    if tokens is not None:
        tokens.load_state_dict(layers)
        check_states(source.eval(), tokens, table, num_layers, name_or_path)
    return Backbone(cut, table, layers, name_or_path)


def cut_config(config: PreTrainedConfig, num_layers: int) -> dict[str, Any]:
    """What describes the first `num_layers` layers of a model with configuration `config`, as JSON has it."""
    values = json.loads(json.dumps(config.to_diff_dict()))
    depth_name = config.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    depth = values[depth_name]
    cut = {
        # One entry per layer, as in `layer_types`.
        name: value[:num_layers] if "layer" in name and isinstance(value, list) and len(value) == depth else value
        for name, value in values.items()
        if name not in FOREIGN_KEYS
    }
    return {**cut, depth_name: num_layers, "use_cache": False}


@torch.no_grad()
def check_states(source, tokens: PretrainedTokens, table: torch.Tensor, num_layers: int, name: str) -> None:
    """ValueError unless `tokens` turns rows of `table` into what layer `num_layers` of `source` gives."""
    ids = torch.tensor([token for token in range(len(table)) if token != source.config.pad_token_id])
    ids = ids[torch.linspace(0, len(ids) - 1, PROBE_LENGTH).long()]
    depth, outputs = source.config.num_hidden_layers, []
    layers = next(part for part in source.modules() if isinstance(part, nn.ModuleList) and len(part) == depth)
    # These states come before any final norm, unlike the last of `output_hidden_states`.
    layers[num_layers - 1].register_forward_hook(lambda layer, inputs, output: outputs.append(output))
    source(input_ids=ids[None])
    expected = (outputs[0][0] if isinstance(outputs[0], tuple) else outputs[0]).squeeze(0)
    # The same text with as much around it that must not be read, on the left and on the right.
    mask = torch.tensor([[0, 1], [1, 0]]).repeat_interleave(PROBE_LENGTH, dim=1)
    found = tokens(table[ids.repeat(2, 2)], text_layout(mask, 2 * PROBE_LENGTH, None, mask.device))
    fits = found.shape == (*mask.shape, expected.shape[-1])
    # Relative to the largest state: some models have a few very large channels.
    if not (fits and (found[mask.bool()] - expected.repeat(2, 1)).abs().max() <= 1e-5 * expected.abs().max()):
        raise ValueError(
            f"The states of {name} ({source.config.model_type}) after layer {num_layers} do not follow from its token "
            "table and its layers alone; this architecture is not supported as a backbone."
        )


def backbone_options(backbone: Backbone) -> dict[str, Any]:
    """Values of [`ConceptEncoderConfig`] for a model on this backbone. `vocab_size` must be at least V."""
    return {"backbone_config": backbone.config, "token_embedding_dim": backbone.table.shape[1]}


@torch.no_grad()
def load_backbone(model: PreTrainedModel, backbone: Backbone) -> None:
    """
    Copy a backbone into a concept model, whose other weights stay as they are. Rows V to V' of its table (tokens
    added to the tokenizer, such as a mask token) become the mean of the V others. A head tied to the table stays so.
    `config.backbone_source` records what was loaded, so that the start can be made again.

    Raises:
        ValueError: the model was configured for another backbone.
        RuntimeError: weights do not fit.
    """
    embeddings = model.base_model.embeddings
    table = embeddings.token_embeddings.weight
    own, given = model.config.backbone_config or {}, backbone.config or {}
    size, width = backbone.table.shape
    # Dropout is a matter of training.
    differing = sorted(key for key in {*own, *given} if own.get(key) != given.get(key) and "drop" not in key)
    if differing or table.shape[1] != width or len(table) < size:
        raise ValueError(
            f"The model was not made for this backbone ({', '.join(differing) or f'its table is {list(table.shape)}'}"
            "): make its configuration with `backbone_options`, and vocab_size at least the backbone's."
        )
    if embeddings.backbone is not None:
        embeddings.backbone.load_state_dict(backbone.layers)
    table[:size] = backbone.table.to(table)
    table[size:] = backbone.table.mean(dim=0).to(table)
    scale_tied_head(model)
    model.config.backbone_source = {
        # A folder is recorded beside the checkpoint only, which does not go to the Hub.
        "name_or_path": None if Path(backbone.source).is_dir() else backbone.source,
        "num_layers": 0 if backbone.config is None else make_backbone_config(backbone.config).num_hidden_layers,
        "vocab_size": size,
        "sha256": fingerprint(backbone.table, backbone.layers),
    }


@torch.no_grad()
def scale_tied_head(model: PreTrainedModel) -> None:
    """
    Let a new decoder that reads tokens, with a head tied to a pretrained token table, start near the uniform
    distribution.

    The rows of some tables have a large common part, and differ most along it: a tenth of the variance of SmolLM2's
    rows lies in one of 576 directions. Decoder queries made of rows have that part too, most of all those of a mask
    token that was added as the mean of the rows, so the same tokens get the largest logits whatever the text, and the
    loss starts at 110 nats. The norm before the head starts with a smaller scale, at which the logits of the common
    part of a normalised row have variance 1. Nothing changes where it is less already, where the head is not tied or
    has no norm before it, and in decoders whose queries are positions, which learn faster at the full scale.
    """
    decoder, head = getattr(model, "decoder", None), model.get_output_embeddings()
    norm, table = getattr(decoder, "output_norm", None), model.get_input_embeddings().weight
    if norm is None or head is None or head.weight is not table or not decoder.reads_tokens:
        return
    mean = table.mean(dim=0)
    along = ((table - mean) @ mean).square().mean()
    variance = table.shape[1] * along / table.square().sum(dim=1).mean()
    norm.weight.fill_(variance.clamp(min=1).rsqrt())


def fingerprint(table: torch.Tensor, layers: dict[str, torch.Tensor]) -> str:
    """SHA-256 of the weights of a backbone: a table [V, E] and layers by name."""
    digest = hashlib.sha256()
    for value in (table, *(layers[name] for name in sorted(layers))):
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def train_backbone(model: PreTrainedModel, how: Literal["full", "frozen", "lora"]) -> None:
    """
    Choose what of the token table and the pretrained layers is trained.

    The table is one tensor, frozen as a whole, with a tied head and with the rows of added tokens. A mask token that
    was added then keeps the mean of the table: the encoder does not read it, and a decoder with token queries takes
    it as a fixed mark.

    Args:
        model: a concept model.
        how: "full"; "frozen": neither table nor layers; "lora": both frozen, beside low-rank updates (Hu et al. 2021)
            of all linear layers of the backbone, of rank `LORA_RANK`, scaled by 2, which start at zero.

    Raises:
        ValueError: LoRA without layers to adapt.
    """
    backbone = backbone_of(model)
    if how == "lora" and backbone is None:
        raise ValueError("LoRA adapts the layers of a backbone, but this model has only a token table; use 'frozen'.")
    train_part(backbone_parameters(model), None if backbone is None else backbone.model, how)


def train_part(parameters: Iterable[nn.Parameter], layers: nn.Module | None, how: str) -> None:
    """Train `parameters` for "full"; else freeze them, and for "lora" add updates to the linear layers of `layers`."""
    for parameter in parameters:
        parameter.requires_grad_(how == "full")
    if how == "lora":
        from peft import LoraConfig, inject_adapter_in_model

        lora = LoraConfig(r=LORA_RANK, lora_alpha=2 * LORA_RANK, target_modules="all-linear")
        inject_adapter_in_model(lora, layers)


def backbone_of(model: PreTrainedModel) -> nn.Module | None:
    """The pretrained layers of a concept model, if it has any; the original's network has none."""
    return getattr(getattr(model.base_model, "embeddings", None), "backbone", None)


def backbone_parameters(model: PreTrainedModel) -> list[nn.Parameter]:
    """Token table and pretrained layers of a concept model, LoRA updates among them, trained or not."""
    backbone = backbone_of(model)
    return [model.get_input_embeddings().weight, *([] if backbone is None else backbone.parameters())]


@torch.no_grad()
def merged_state_dict(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """
    Weights of `model` as the same architecture without LoRA has them, the updates added to what they update, for
    `save_pretrained(state_dict=…)`. The model itself does not change; other tensors are its own, not copies.
    """
    state = model.state_dict()
    merged = {name.replace(".base_layer.", "."): value for name, value in state.items() if ADAPTER_MARK not in name}
    for name, module in model.named_modules():
        for adapter in getattr(module, "lora_A", ()):
            weight = module.base_layer.weight
            merged[f"{name}.weight"] = (weight.float() + module.get_delta_weight(adapter).float()).to(weight.dtype)
    return merged


def adapter_state(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The LoRA updates of a model by name; none where it has none."""
    return {name: value.detach() for name, value in model.named_parameters() if ADAPTER_MARK in name}
