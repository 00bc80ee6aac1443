# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Cross-attention of concepts to tokens by position. T texts, B texts of a batch, N tokens, C concepts."""

import torch

from ..encoding import id_batches


def mean_attention(model, ids: torch.Tensor, batch_size: int, description: str | None = None) -> torch.Tensor:
    """
    Cross-attention of the encoder, averaged over texts, heads and layers.

    Args:
        ids: [T, N], token ids without padding.
        batch_size: texts at a time.
        description: of the progress bar; there is none without it.

    Returns:
        [C, N], the weight at each position; rows sum to 1.
    """
    encoder, total = model.base_model, 0
    implementation = encoder.config._attn_implementation
    encoder.set_attn_implementation("eager")  # others do not return their weights
    try:
        with encoder.inference_mode():
            for batch in id_batches(model, ids.tolist(), batch_size, description):
                layers = encoder(**batch, output_attentions=True).cross_attentions  # of [B, heads, C, N]
                means = [layer.float().mean(dim=1).sum(dim=0) for layer in layers]
                total = total + torch.stack(means).mean(dim=0).cpu()
    finally:
        encoder.set_attn_implementation(implementation)
    return total / len(ids)
