# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Weights of a checkpoint folder or Hub repository as one dict, and the start of a recursive model from them."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers.utils import cached_file


# What tells a checkpoint of the original implementation: a part of its layers, and options of its configuration.
ORIGINAL_WEIGHT = ".concept_token_attn."
ORIGINAL_OPTIONS = ("use_bixt", "decoder_posonly")
CONVERT_FIRST = "{} is of the original implementation: convert it first, by examples/convert_original_checkpoint.py."


def load_state_dict(path: str) -> dict[str, torch.Tensor]:
    """
    Read `model.safetensors` (one file or sharded), or the older `pytorch_model.bin`, of a local folder or Hub id.

    Raises:
        OSError: there is no such folder or repository, or it holds none of these files.
    """
    find = {"_raise_exceptions_for_missing_entries": False}
    if file := cached_file(path, "model.safetensors", **find):
        return load_file(file)
    if index := cached_file(path, "model.safetensors.index.json", **find):
        names = sorted(set(json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].values()))
        return {key: value for name in names for key, value in load_file(cached_file(path, name)).items()}
    if file := cached_file(path, "pytorch_model.bin", **find):
        return torch.load(file, map_location="cpu", weights_only=True)
    raise OSError(f"{path} holds neither model.safetensors nor pytorch_model.bin.")


class RecursiveStartMixin:
    """For models that are, or have, a recursive encoder: they may start from a standard checkpoint."""

    def load_from_standard_checkpoint(self, path: str) -> dict[str, list[str]]:
        """
        Start from a standard concept encoder: its embeddings, queries and norms, its first layer as the shared one,
        and each other part of this model (decoder, head) whose weights are all there, of the same shapes.

        Args:
            path: folder or Hub id of a checkpoint of this package with a standard encoder.

        Returns:
            Names under "loaded" (of this model), "skipped" (of the checkpoint: its other layers, and parts that this
            model does not have or has in another form) and "new" (of this model: they keep the values they have).

        Raises:
            ValueError: the checkpoint is recursive itself or of the original implementation, nothing of its encoder
                fits, or a weight of the same name in its encoder has another shape.
        """
        state = load_state_dict(path)
        prefix = "" if self.base_model is self else f"{self.base_model_prefix}."
        # Without the head that is the token table under another name.
        names = [name for name, _ in (*self.named_parameters(), *self.named_buffers())]
        own = {name: value for name, value in self.state_dict().items() if name in names}
        if any(ORIGINAL_WEIGHT in key for key in state) and not any(ORIGINAL_WEIGHT in name for name in own):
            raise ValueError(CONVERT_FIRST.format(path))
        if any("shared_layer." in key for key in state):
            raise ValueError(f"{path} is a checkpoint of a recursive encoder already: load it with from_pretrained.")
        found, wrong = {}, []
        for key, tensor in state.items():
            name = key.removeprefix("encoder.")  # which the weights of an encoder saved alone do not have
            if name.startswith("layers.0."):
                name = "shared_layer." + name.removeprefix("layers.0.")
            name = prefix + name if prefix + name in own else key
            if name in own and own[name].shape == tensor.shape:
                found[name] = key
            elif name in own and name.startswith(prefix):
                wrong.append(f"{key} {tuple(tensor.shape)} for {tuple(own[name].shape)}")
        if wrong or not any(name.startswith(f"{prefix}shared_layer.") for name in found):
            reason = "; ".join(wrong[:3]) if wrong else "it has no encoder layer 0 that fits"
            raise ValueError(f"{path} does not fit this recursive encoder: {reason}. Use the same sizes and options.")
        parts = {name.split(".")[0] for name in own if not name.startswith(prefix)}
        for part in parts:
            of_part = {name for name in own if name.startswith(f"{part}.")}
            if not of_part <= set(found):
                found = {name: key for name, key in found.items() if name not in of_part}
        self.load_state_dict({name: state[key] for name, key in found.items()}, strict=False)
        return {
            "loaded": sorted(found),
            "skipped": sorted(set(state) - set(found.values())),
            "new": sorted(set(own) - set(found)),
        }
