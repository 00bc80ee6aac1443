# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What every line of the table is measured on. An evaluation turns a subject into records; a new one is a function and a
line in `EVALUATIONS`.

T texts, P passages, D width of vectors.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from ..analysis import ablation, can_reconstruct, encode, kept_counts, load_sample, read_back
from ..analysis.sample import spread
from ..benchmark.measure import FORMULAS
from ..data import iterate_texts, load_text, text_column
from ..evaluation import EvaluationSums
from ..long_context import retrieval_metrics
from ..loss_terms import make_weighting
from ..metrics import concept_metrics, repeated_share
from ..objectives import OBJECTIVES, Mixture, parse_mixture
from ..results import Result
from ..similarity import TASKS, TOKEN_TABLE, load_pairs, read_pairs_file, similarity_results
from ..tasks import TASKS as FINE_TUNING_TASKS
from ..tasks.baselines import run_baseline
from ..tasks.classifiers import is_recursive, read_checkpoint
from ..tasks.fine_tuning import FineTuningArguments, System, encode_data, fine_tune
from ..tasks.task import Parts, TaskData, load_task
from ..training_model import TrainingForms, TrainingModel
from ..vocabulary import CleanBatch
from .subjects import CONCEPTS, SENTENCES, WORDS, Subject


# Numbers of a pretraining run that its folder holds, beside the loss.
TRAINING_METRICS = ("loss", "nelbo", "concept_gain", "suffix_gain", "retrieval_accuracy")

# Passages of text whose halves must find each other, and the words of a half.
PASSAGES, HALF = 1000, 24

# Depths at which recursive encoders are measured.
ITERATIONS = (1, 2, 3, 4, 6, 8, 10, 12)


@dataclass(frozen=True)
class Protocol:
    """
    What all lines of the table are measured on: equal data, equal sizes.

    Args:
        text, text_config: data set whose validation split is read back, and cut into crops; the embedded corpus by
            default.
        samples: texts that are read back.
        length: their tokens, at most; fewer where a model reads fewer.
        pairs: for zero-shot similarity: name to data set, configuration and split, as in [`load_pairs`].
        pairs_file: further pairs, as in [`read_pairs_file`].
        glue: data set that stands in for the tasks' own.
        seeds, epochs, limit: of fine-tuning.
    """

    text: str | None = None
    text_config: str | None = None
    samples: int = 256
    length: int = 64
    pairs: dict[str, tuple[str, str | None, str | None]] = field(
        default_factory=lambda: {"stsb": (TASKS["stsb"], None, "test"), "sickr": (TASKS["sickr"], None, "test")}
    )
    pairs_file: str | None = None
    glue: str | None = None
    seeds: tuple[int, ...] = (42,)
    epochs: float = 3.0
    limit: int | None = None

    def check(self, evaluations: Iterable[str]) -> None:
        """ValueError for data of these evaluations that cannot be read, before anything is trained."""
        evaluations = set(evaluations)
        if "similarity" in evaluations:
            self.load_pairs()
        if evaluations & {"retrieval", "cost"}:
            held_out_passages(self.text, self.text_config)
        elif any("text" in EVALUATIONS[name].reads for name in evaluations):
            text_column(load_text(self.text, self.text_config)["validation"])
        for name in evaluations & set(FINE_TUNING_TASKS):
            self.load_task(name)

    def load_task(self, name: str) -> TaskData:
        """The data of a task that is fine-tuned."""
        parts = Parts(max_train_samples=self.limit, max_eval_samples=self.limit)
        return load_task(FINE_TUNING_TASKS[name], self.glue, parts=parts)

    def load_pairs(self):
        """ValueError for pairs that cannot be read."""
        found = [read_set(name, *place) for name, place in self.pairs.items()]
        return found + ([read_file(self.pairs_file)] if self.pairs_file else [])


@cache
def read_set(name: str, source: str, config: str | None, split: str | None):
    return load_pairs(source, config, split, task=name)


@cache
def read_file(path: str):
    return read_pairs_file(path)


@cache
def held_out_passages(text: str | None, config: str | None) -> list[str]:
    """At most `PASSAGES` passages of 2 x `HALF` words, evenly spread over the validation text; ValueError if there are
    fewer than two."""
    raw, found = load_text(text, config)["validation"], []
    for row in iterate_texts(raw, text_column(raw)):
        words = row.split()
        found += [words[start : start + 2 * HALF] for start in range(0, len(words) - 2 * HALF + 1, 2 * HALF)]
    if len(found) < 2:
        raise ValueError(
            f"The held-out text has {len(found)} passages of {2 * HALF} words, between spaces, and retrieval and cost "
            "need two: give another --held_out, or other --evaluations."
        )
    return [" ".join(found[place]) for place in spread(len(found), PASSAGES).tolist()]


def training(subject: Subject, protocol: Protocol) -> list[Result]:
    """What the run itself reported: losses and gains of its own objective, in nats, and its speed."""
    folder = Path(subject.path)
    if not (folder / "eval_results.json").is_file():
        return []
    found = json.loads((folder / "eval_results.json").read_text(encoding="utf-8"))
    results = [
        Result("training", "validation", name.removeprefix("eval_"), subject.name, float(value))
        for name, value in found.items()
        if any(name.removeprefix("eval_").endswith(metric) for metric in TRAINING_METRICS)
    ]
    seconds = json.loads((folder / "train_results.json").read_text(encoding="utf-8"))["train_runtime"]
    state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    speeds = [entry["speed/tokens_per_second"] for entry in state["log_history"] if "speed/tokens_per_second" in entry]
    results.append(Result("training", "train", "seconds", subject.name, seconds))
    if speeds:
        results.append(Result("training", "train", "tokens per second", subject.name, median(speeds)))
    return results


def reading(subject: Subject, protocol: Protocol) -> list[Result]:
    """Geometry of the concepts of held-out texts and, where there is a decoder of the text, what is read back from all
    and from fewer concepts."""
    model = subject.reader
    length = min(protocol.length, model.config.max_sequence_length)
    sample = load_sample(model.tokenizer, length, protocol.samples, protocol.text, protocol.text_config)
    concepts = encode(model, sample.ids, 64, subject.name)
    found = {**concept_metrics(concepts), "concepts": concepts.shape[1], "tokens": length}
    found["content_erank / C"] = found["content_erank"] / min(concepts.shape[1:])
    segments = model.config.concept_num - model.config.global_concept_num
    if model.config.concept_position_type == "addressed" and segments and length % segments == 0:
        found["repeated_share"] = repeated_share(sample.ids, segments)
    if can_reconstruct(model):
        for count in kept_counts(model.config.concept_num):
            read = read_back(model, sample, 64, concept_num=count)
            kept = "" if count == model.config.concept_num else f", {count} concepts"
            found |= {f"{metric}{kept}": value for metric, value in read.items()}
    return [
        Result("reading", sample.split, metric, subject.name, float(value), None, len(sample.ids))
        for metric, value in found.items()
    ]


def depth(subject: Subject, protocol: Protocol) -> list[Result]:
    """Loss of the run's own objectives on held-out texts at several numbers of iterations of a recursive encoder, with
    the same tokens hidden; nats per item."""
    model, run = subject.reader, Path(subject.path) / "training_run.json"
    if not is_recursive(model.config) or not run.is_file():
        return []
    facts = json.loads(run.read_text(encoding="utf-8"))
    objectives = {name: OBJECTIVES[name](**options) for name, options in facts["objectives"].items()}
    mixture = Mixture(objectives, *parse_mixture(facts["objective"])).for_evaluation()
    length = min(protocol.length, model.config.max_sequence_length)
    sample = load_sample(model.tokenizer, length, protocol.samples, protocol.text, protocol.text_config)
    reader = TrainingModel(model, mixture, [], make_weighting("fixed", []), TrainingForms(0.0, None, 0.0)).eval()
    own, results = model.config.num_iterations, []
    for count in ITERATIONS:
        model.config.num_iterations = count
        sums = EvaluationSums(reader, mixture, seed=0)
        for ids in sample.ids.split(64):
            sums.add(CleanBatch(ids, torch.ones_like(ids), sample.vocabulary))
        value = sums.results()["loss"]
        results.append(Result("depth", sample.split, f"K = {count}", subject.name, value, None, len(sample.ids)))
    model.config.num_iterations = own
    return results


def locality(subject: Subject, protocol: Protocol) -> list[Result]:
    """What is lost with single addressed concepts: how much of it in their own segments, and how much by an addressed
    and by a global concept; shares of the tokens read back."""
    model = subject.reader
    config = model.config
    segments = config.concept_num - config.global_concept_num
    if not can_reconstruct(model) or config.concept_position_type != "addressed" or not segments:
        return []
    length = min(protocol.length, config.max_sequence_length)
    sample = load_sample(model.tokenizer, length, protocol.samples, protocol.text, protocol.text_config)
    found = ablation(model, sample, list(range(config.concept_num)), 64)
    held, drop = config.global_concept_num, torch.tensor(found["drop"])
    own = torch.tensor(found["drop_by_position"])[held:].clamp(min=0)  # [A, N]
    width, token = length / len(own), torch.arange(length)
    start = torch.arange(len(own))[:, None] * width
    inside = (torch.minimum(token + 1, start + width) - torch.maximum(token, start)).clamp(min=0)
    values = {"own segment": (own * inside).sum() / own.sum().clamp(min=1e-9), "addressed": drop[held:].mean()}
    if held:
        values["global"] = drop[:held].mean()
    return [
        Result("taken away", sample.split, name, subject.name, float(value), None, found["texts"])
        for name, value in values.items()
    ]


def similarity(subject: Subject, protocol: Protocol) -> list[Result]:
    """Zero-shot correlations of cosines with human scores: of the subject's vectors, of these centred, of the mean of
    its token embeddings, and of the mean of its global concepts, where it has any."""

    def encode_texts(texts):
        table = subject.token_vectors(texts)
        return subject.poolings(texts) | ({} if table is None else {TOKEN_TABLE: table})

    results = []
    for pairs in protocol.load_pairs():
        found = similarity_results(pairs, {subject.name: encode_texts})
        results += [result for result in found if result.system == subject.name]
    return results


def retrieval(subject: Subject, protocol: Protocol) -> list[Result]:
    """Share of passages of held-out text whose first half is nearest to their second half, of all passages' halves."""
    passages = [passage.split() for passage in held_out_passages(protocol.text, protocol.text_config)]
    halves = [" ".join(words[part]) for part in (slice(HALF), slice(HALF, None)) for words in passages]
    vectors = subject.vectors(halves)
    vectors = (vectors.to_dense() if vectors.is_sparse else vectors).float()
    first, second = F.normalize(vectors, dim=-1).chunk(2)
    found = retrieval_metrics((first @ second.T).numpy(), np.arange(len(first)))
    return [
        Result("crops", "validation", metric, subject.name, value, None, len(first), metric == "R@1")
        for metric, value in found.items()
    ]


def cost(subject: Subject, protocol: Protocol) -> list[Result]:
    """Floating-point operations of encoding held-out passages, in millions a word; two for each multiplication with
    addition."""
    passages = held_out_passages(protocol.text, protocol.text_config)[:32]
    with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
        subject.forward(passages)
    words = sum(len(passage.split()) for passage in passages)
    value = counter.get_total_flops() / words / 1e6
    return [Result("encoding", "validation", "MFLOP per word", subject.name, value, None, len(passages))]


def fine_tuning(name: str, subject: Subject, protocol: Protocol) -> list[Result]:
    """Scores of a task after fine-tuning. Concept models encode the two texts of a pair each on its own, and their
    cosine is fitted to scores; sentence models read a pair jointly, words meet a linear model."""
    data = protocol.load_task(name)
    if subject.kind == WORDS:
        return [renamed(result, subject.name) for result in run_baseline("tfidf", data)]
    if subject.kind == CONCEPTS:
        checkpoint = read_checkpoint(subject.path, "perceiver_pair_cls")
    else:
        checkpoint = read_checkpoint(subject.path)
    arguments = FineTuningArguments(
        output_dir=str(subject.folder / "fine_tuning"), seeds=list(protocol.seeds), num_train_epochs=protocol.epochs,
        report_to=[], disable_tqdm=True,
        **({"learning_rate": 1e-4} if subject.kind == SENTENCES else {}),
    )  # fmt: skip
    system, encoded = System(subject.name, checkpoint), encode_data(checkpoint, data, 128)
    tuned = fine_tune(system, data, encoded, arguments, [arguments.learning_rate], lambda line: None)
    return [renamed(result, subject.name) for result in tuned.results(data)]


def renamed(result: Result, system: str) -> Result:
    return Result(**{**vars(result), "task": f"{result.task}, fine-tuned", "system": system})


@dataclass(frozen=True)
class Evaluation:
    """
    Args:
        run: from a subject and the protocol to records; none where it does not apply.
        kinds: of the subjects that it applies to.
        reads: fields of the protocol on which its records depend; with another value it is made again.
    """

    run: Callable[[Subject, Protocol], list[Result]]
    kinds: tuple[str, ...]
    reads: tuple[str, ...] = ()


EVALUATIONS: dict[str, Evaluation] = {
    "training": Evaluation(training, (CONCEPTS,)),
    "reading": Evaluation(reading, (CONCEPTS,), ("text", "text_config", "samples", "length")),
    "depth": Evaluation(depth, (CONCEPTS,), ("text", "text_config", "samples", "length")),
    "locality": Evaluation(locality, (CONCEPTS,), ("text", "text_config", "samples", "length")),
    "similarity": Evaluation(similarity, (CONCEPTS, SENTENCES, WORDS), ("pairs", "pairs_file")),
    "retrieval": Evaluation(retrieval, (CONCEPTS, SENTENCES, WORDS), ("text", "text_config")),
    "cost": Evaluation(cost, (CONCEPTS, SENTENCES), ("text", "text_config")),
    **{
        name: Evaluation(
            partial(fine_tuning, name), (CONCEPTS, SENTENCES, WORDS), ("glue", "seeds", "epochs", "limit")
        )
        for name in FINE_TUNING_TASKS
        if FINE_TUNING_TASKS[name].is_pair
    },
}
