# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Weights of a checkpoint folder or Hub repository as one dict."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers.utils import cached_file


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
