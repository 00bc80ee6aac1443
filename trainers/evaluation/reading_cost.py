# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What it costs a language model to read a text by its concepts, beside its tokens: time to the first token, tokens per
second after it, and bytes of its cache.

N tokens, C concepts.
"""

import copy
import inspect
import time
from statistics import median

import torch

from modeling_concept.reader_concept import ReaderInputs

from .results import Result


NEW_TOKENS = 16
ROUNDS = 3


def model_of_length(model, length: int, count: int):
    """A network like `model`, with its reader, for texts of `length` tokens as `count` concepts. Weights of the
    encoder are random, as time does not depend on them."""
    config = copy.deepcopy(model.config)
    config.max_sequence_length, config.concept_num = length, count
    with torch.random.fork_rng():
        longer = type(model)(config).eval()
    longer.reader = model.reader
    return longer.to(model.device, model.dtype)


def cache_bytes(cache) -> int:
    """Bytes of the keys and values in a cache of transformers."""
    layers = getattr(cache, "self_attention_cache", cache).layers
    return sum(part.numel() * part.element_size() for layer in layers for part in (layer.keys, layer.values))


@torch.no_grad()
def reading_cost(model, lengths: list[int], ratio: int) -> list[Result]:
    """
    For random texts of each length, as tokens and as one concept for `ratio` tokens, alternately: seconds to the first
    token (with encoding), tokens a second after it, mebibytes of the cache; and the ratios of both. Medians of
    `ROUNDS` rounds after one.
    """
    results, lm = [], model.reader.lm
    for length in lengths:
        count = -(-length // ratio)
        network = model_of_length(model, length, count)
        ids = torch.randint(0, min(network.config.vocab_size, lm.config.vocab_size), (1, length), device=model.device)

        def concepts(ids=ids, network=network):
            return network.reader.prompt(network.encoder(ids, return_dict=True), continues=True)

        ways = {"tokens": lambda ids=ids: model.reader.token_prompt(ids), "concepts": concepts}
        found = {name: [] for name in ways}
        for _ in range(1 + ROUNDS):
            for name, prompt in ways.items():
                found[name].append(read_and_write(lm, prompt))
        values = {name: [median(column) for column in zip(*rounds[1:], strict=True)] for name, rounds in found.items()}
        setting = f"N={length:,}, C={count:,}"
        for place, metric in enumerate(("seconds to the first token", "tokens per second", "MiB of cache")):
            for name, row in values.items():
                results.append(Result("reading", setting, metric, name, row[place]))
            tokens, ours = values["tokens"][place], values["concepts"][place]
            ratio_of = ours / tokens if metric == "tokens per second" else tokens / ours
            results.append(Result("reading", setting, metric, "times better by concepts", ratio_of))
    return results


def read_and_write(lm, make_prompt) -> tuple[float, float, float]:
    """Seconds to the first token, tokens a second after it, and MiB of the cache after it."""

    def now():
        if lm.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    # Versions of transformers name it differently.
    name = "cache" if "cache" in inspect.signature(lm.forward).parameters else "past_key_values"
    started = now()
    prompt: ReaderInputs = make_prompt()
    output = lm(**prompt._asdict(), use_cache=True, logits_to_keep=1)
    cache, position = output[name], prompt.position_ids[:, -1:]
    token = output.logits[:, -1:].argmax(dim=-1)
    first = now()
    size = cache_bytes(cache) / 2**20
    mask = prompt.attention_mask
    for _ in range(NEW_TOKENS):
        mask, position = torch.cat([mask, torch.ones_like(token)], dim=1), position + 1
        output = lm(token, attention_mask=mask, position_ids=position, use_cache=True, **{name: cache})
        token = output.logits[:, -1:].argmax(dim=-1)
    return first - started, NEW_TOKENS / (now() - first), size
