# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The speed of trained models: `SentenceTransformer.encode`, from texts to vectors, of several alternately."""

from functools import partial
from itertools import cycle, islice
from statistics import median

import torch
from scipy.stats import iqr

from ...data.pieces import PieceMaker
from ...data.texts import iterate_texts, load_text
from ...evaluation.results import Result
from ...evaluation.similarity import load_sentence_model
from ...utils.runs import readable_names
from .measure import interleave
from .suite import GROUP_SECONDS, ROUNDS


TASK, SPEED, TIME_RATIO = "SentenceTransformer.encode", "texts per second", "time / the first model's"


def corpus_texts(tokenizer, length: int, count: int) -> list[str]:
    """`count` texts of the embedded corpus, each of `length` tokens with special ones; repeated where it is short."""
    texts = list(iterate_texts(load_text()["validation"], "text"))
    pieces = PieceMaker(tokenizer, length, 0.0, False, 0)(texts, [0])["input_ids"]
    decoded = tokenizer.batch_decode(pieces[:-1] or pieces, skip_special_tokens=True)
    return list(islice(cycle(decoded), count))


def time_sentence_models(
    paths: list[str], lengths: list[int], tokens: int, dtype: torch.dtype, device: str
) -> list[Result]:
    """
    Texts per second of each model, and the time of each over that of the first, above 1 where the first is faster:
    medians over rounds ± half the distance between the quartiles.

    Args:
        paths: SentenceTransformers, folders or Hub ids.
        lengths: tokens per text, by the tokenizer of the first.
        tokens: of a round; at least one text.
        dtype: of the weights.

    Raises:
        ValueError: a model cannot be read.
    """
    models = {
        name: load_sentence_model(path, device=device, model_kwargs={"dtype": dtype})
        for path, name in readable_names(paths).items()
    }
    first, results = next(iter(models.values())), []
    for length in lengths:
        texts = corpus_texts(first.tokenizer, length, max(1, tokens // length))
        steps = {name: partial(encode, model, texts) for name, model in models.items()}
        warmup, rounds = ROUNDS[device]
        times = interleave(steps, warmup + 1, rounds, device, GROUP_SECONDS)
        own = next(iter(times.values()))
        for name, seconds in times.items():
            found = {SPEED: [len(texts) / value for value in seconds]}
            if seconds is not own:
                found[TIME_RATIO] = [theirs / ours for theirs, ours in zip(seconds, own, strict=True)]
            results += [
                Result(TASK, f"N={length}", metric, name, median(values), iqr(values) / 2, len(texts))
                for metric, values in found.items()
            ]
    return results


def encode(model, texts: list[str], number: int) -> None:
    """Vectors of texts in round `number`, in batches as the library makes them."""
    model.encode(texts, show_progress_bar=False)
