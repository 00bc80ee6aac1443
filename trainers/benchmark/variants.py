# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What each optimisation brings: the concept model with and without it, all else equal. A new line of the table is a
new entry of `VARIANTS`."""

from dataclasses import dataclass, replace

from .systems import CONCEPT, System, dense_concept_loss


@dataclass(frozen=True)
class Variant:
    """
    Args:
        title: what is compared, "with" before "without".
        task: name in `TASKS`.
        without, having: the two systems, which have different names if they are not the same.
        needs_compiler: whether it is run with `--torch_compile` only.
    """

    title: str
    task: str
    without: System
    having: System = CONCEPT
    needs_compiler: bool = False


SHARED = replace(CONCEPT, name="shared keys and values", options={"share_key_values": True})
DENSE = replace(CONCEPT, name="dense head", loss=dense_concept_loss)
EAGER = replace(CONCEPT, name="eager attention", options={"attn_implementation": "eager"})
LOOP = replace(CONCEPT, name="AdamW as a loop", fused=False)
COMPILED = replace(CONCEPT, name="compiled", compiled=True)

VARIANTS = [
    Variant("one projection of keys and values for all layers, not one each", "encode", CONCEPT, SHARED),
    Variant("attention as a kernel (sdpa), not eager", "encode", EAGER),
    Variant("torch.compile", "encode", CONCEPT, COMPILED, needs_compiler=True),
    Variant("attention as a kernel (sdpa), not eager", "masked_lm", EAGER),
    Variant("decoder and head at masked positions, not all", "masked_lm", DENSE),
    Variant("AdamW as one kernel, not a loop", "masked_lm", LOOP),
    Variant("torch.compile", "masked_lm", CONCEPT, COMPILED, needs_compiler=True),
    Variant("head and cross-entropy in chunks, not of all logits", "denoising", DENSE),
]
