# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The Trainer of retrievers: its checkpoints, with and without LoRA."""

import copy
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import MultiVectorEncoderTrainer

from ..safe_checkpoints import SafeCheckpointsMixin


# The updates of LoRA in a checkpoint, from which a run is resumed.
ADAPTERS = "adapters.safetensors"


def merged(network: torch.nn.Module) -> torch.nn.Module:
    """A network without adapters, their updates added to what they update; itself where it has none."""
    return copy.deepcopy(network).merge_and_unload() if hasattr(network, "merge_and_unload") else network


class RetrieverTrainer(SafeCheckpointsMixin, MultiVectorEncoderTrainer):
    """[`MultiVectorEncoderTrainer`] whose checkpoints are atomic and whole retrievers, beside the adapters of LoRA."""

    def _save(self, output_dir=None, state_dict=None):
        network = self.model[0].model
        if (whole := merged(network)) is network:
            return super()._save(output_dir, state_dict)
        from peft import get_peft_model_state_dict

        try:
            self.model[0].model = whole
            super()._save(output_dir, state_dict)
        finally:
            self.model[0].model = network
        save_file(get_peft_model_state_dict(network), Path(output_dir or self.args.output_dir, ADAPTERS))

    def _load_from_checkpoint(self, checkpoint_path, *args, **kwargs):
        network = self.model[0].model
        if not hasattr(network, "merge_and_unload"):
            return super()._load_from_checkpoint(checkpoint_path, *args, **kwargs)
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(network, load_file(Path(checkpoint_path, ADAPTERS)))
