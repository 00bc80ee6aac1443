# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What each optimisation brings: the concept model with and without it, all else equal. A new line of the table is a new
entry of `VARIANTS`.

B texts, N tokens, C concepts, H hidden, D draws of noise for each text.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from unittest.mock import patch

import torch
import torch.nn.functional as F

from modeling_concept import (
    ConceptEncoderForMaskedLMPerceiverPosOnly,
    attention_concept,
    mixers_concept,
    norms_concept,
)

from .shapes import Shape
from .systems import CONCEPT, System, concept_config, concept_loss, dense_concept_loss


@dataclass(frozen=True)
class Variant:
    """
    Args:
        title: what is compared, "with" before "without".
        task: name in `TASKS`.
        without, having: the two systems, which have different names if they are not the same.
        needs: "compiler" for what is run with `--torch_compile` only, "cuda" for what CPUs do not have.
        padding: share of padding, if other than asked for.
    """

    title: str
    task: str
    without: System
    having: System = CONCEPT
    needs: str | None = None
    padding: float | None = None


# Parts replaced by what they stand for.


class TorchConvolution:
    """In place of `DepthwiseConvolution`."""

    @staticmethod
    def apply(values, taps):
        channels = values.shape[-1]
        return F.conv1d(
            values.transpose(1, 2), taps.T[:, None], padding=len(taps) // 2, groups=channels
        ).transpose(1, 2)  # fmt: skip


def written_out_rotary(states, rotary):
    """In place of `apply_rotary`."""
    if rotary is None:
        return states
    first, second = states.chunk(2, dim=-1)
    return states * rotary.cos + torch.cat([-second, first], dim=-1) * rotary.sin


def whole_mask(config, inputs_embeds, attention_mask, encoder_hidden_states):
    """In place of `create_bidirectional_mask`: bool [B, 1, C, N], also where nothing is hidden."""
    return attention_mask[:, None, None].expand(-1, 1, inputs_embeds.shape[1], -1)


def replaced(module, name: str, value) -> Callable[[], object]:
    """Makes contexts in which a name of a module has another value."""
    return partial(patch.object, module, name, value)


# Other ways to do the same.


def loss_of_repeated_texts(module, inputs):
    """Each text is encoded for each of its D draws."""
    draws = len(inputs["decoder_input_ids"]) // len(inputs["input_ids"])
    repeated = {name: inputs[name].repeat_interleave(draws, dim=0) for name in ("input_ids", "attention_mask")}
    return concept_loss(module, {**inputs, **repeated})


READINGS = 8  # in generation


def build_reader(shape: Shape, task: str, **options):
    return ConceptEncoderForMaskedLMPerceiverPosOnly(concept_config(shape, **options))


def read_in_steps(module, inputs, keeps: bool):
    """An eighth of the positions at a time, from concepts made once; the last states [B, N/8, H]."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    encoded = module.encoder(ids, mask)
    targets, memory = module.make_targets(ids, mask), None
    for index in torch.arange(ids.shape[1], device=ids.device).chunk(READINGS):
        if memory is None or not keeps:
            memory = module.remember(encoded)
        states = module.decode(memory, targets, index.expand(len(ids), -1))
    return states


def encode_in_batches(module, inputs, sorts: bool):
    """Two texts at a time, padded to the longer one: neighbours in length, or the longest with the shortest and so
    on. Concepts [B, C, H] in the order of `inputs`."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    lengths = mask.sum(dim=1)
    order = lengths.argsort(stable=True)
    if not sorts:
        order = torch.stack([order, order.flip(0)], dim=1).flatten()[: len(order)]
    concepts = []
    for rows in order.split(2):
        longest = int(lengths[rows].max())
        batch = {"input_ids": ids[rows, :longest], "attention_mask": mask[rows, :longest]}
        concepts.append(CONCEPT.encode(module, batch))
    return torch.cat(concepts)[order.argsort()]


def changed(name: str, **changes) -> System:
    return replace(CONCEPT, name=name, **changes)


SHARED = changed("shared keys and values", options={"share_key_values": True})
EAGER = changed("eager attention", options={"attn_implementation": "eager"})
MASKED = changed("a mask always", context=replaced(attention_concept, "create_bidirectional_mask", whole_mask))
NORMS = changed("torch's norms", context=replaced(norms_concept, "composed_by_torch", lambda states: False))
ROTARY = changed("rotary written out", context=replaced(attention_concept, "apply_rotary", written_out_rotary))
MIXER = changed("a token mixer", options={"num_token_mixers": 1})
CONVOLUTION = replace(
    MIXER, name="torch's convolution", context=replaced(mixers_concept, "DepthwiseConvolution", TorchConvolution)
)
DENSE = changed("dense head", loss=dense_concept_loss)
LOOP = changed("AdamW as a loop", fused=False)
COMPILED = changed("compiled", compiled=True)
BFLOAT16 = changed("bfloat16", context=partial(torch.autocast, "cuda", torch.bfloat16))
REPEATED = changed("texts encoded for each draw", loss=loss_of_repeated_texts)
READER, FORGETFUL = (
    changed(name, build=build_reader, encode=partial(read_in_steps, keeps=keeps))
    for name, keeps in (("keys and values kept", True), ("keys and values made again", False))
)
SORTED, UNSORTED = (
    changed(name, encode=partial(encode_in_batches, sorts=sorts))
    for name, sorts in (("neighbours in length", True), ("mixed lengths", False))
)

VARIANTS = [
    Variant("one projection of keys and values for all layers, not one each", "encode", CONCEPT, SHARED),
    Variant("attention as a kernel (sdpa), not eager", "encode", EAGER),
    Variant("no mask where nothing is hidden", "encode", MASKED),
    Variant("rotary encoding summed in place, not written out", "encode", ROTARY),
    Variant("batches of similar lengths, not of mixed ones", "encode", UNSORTED, SORTED, padding=0.4),
    Variant("keys and values of concepts kept over 8 steps of reading", "encode", FORGETFUL, READER),
    Variant("torch.compile", "encode", CONCEPT, COMPILED, needs="compiler"),
    Variant("one projection of keys and values for all layers, not one each", "masked_lm", CONCEPT, SHARED),
    Variant("attention as a kernel (sdpa), not eager", "masked_lm", EAGER),
    Variant("norms with their own backward pass, not torch's", "masked_lm", NORMS),
    Variant("a mixer's convolution as sums in place, not nn.Conv1d", "masked_lm", CONVOLUTION, MIXER),
    Variant("decoder and head at masked positions, not all", "masked_lm", DENSE),
    Variant("AdamW as one kernel, not a loop", "masked_lm", LOOP),
    Variant("bfloat16, not float32", "masked_lm", CONCEPT, BFLOAT16, needs="cuda"),
    Variant("torch.compile", "masked_lm", CONCEPT, COMPILED, needs="compiler"),
    Variant("head and cross-entropy in chunks, not of all logits", "denoising", DENSE),
    Variant("a text encoded once for 4 draws of noise, not 4 times", "diffusion_draws", REPEATED),
]


def variants_for(compiles: bool, on_cuda: bool) -> Iterator[Variant]:
    """Those that can be run."""
    there = {None: True, "compiler": compiles, "cuda": on_cuda}
    return (variant for variant in VARIANTS if there[variant.needs])
