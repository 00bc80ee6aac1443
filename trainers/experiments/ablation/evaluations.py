# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The evaluations of a table. Each maps a model and the protocol to records; a new one is a function and an entry in
`EVALUATIONS`.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from ...data.texts import iterate_texts, load_text, text_column
from ...evaluation.analysis import compression
from ...evaluation.analysis.compression import kept_counts, reconstruct_sample
from ...evaluation.analysis.sample import Sample, evenly_spaced, load_sample
from ...evaluation.encoding import encode_ids
from ...evaluation.long_context import retrieval_metrics
from ...evaluation.metrics import concept_metrics, repeated_share
from ...evaluation.results import Result
from ...evaluation.similarity import OWN, TOKEN_TABLE, similarity_results
from ...fine_tuning import TASKS
from ...fine_tuning.baselines import run_baseline
from ...fine_tuning.classifiers import is_recursive, read_checkpoint
from ...fine_tuning.training import FineTuningArguments, fine_tune
from ...objectives import OBJECTIVES, Mixture, parse_mixture
from ...objectives.vocabulary import CleanBatch
from ...training_model import TrainingModel
from ...validation import EvaluationSums
from ..benchmark.measure import FORMULAS
from .models import CONCEPTS, SENTENCES, WORDS, EvaluatedModel
from .protocol import Protocol


# Metrics of a pretraining run, also with the name of an objective before them.
TRAINING_METRICS = ("loss", "nelbo", "shuffled_loss_gap", "suffix_shuffled_loss_gap", "retrieval_accuracy")
# Held-out passages whose halves are matched, and the words of a half.
PASSAGES, HALF = 1000, 24
# Depths at which recursive encoders are evaluated.
ITERATIONS = (1, 2, 3, 4, 6, 8, 10, 12)
BATCH_SIZE = 64


@cache
def held_out_passages(text: str | None, config: str | None) -> list[str]:
    """At most `PASSAGES` passages of 2 x `HALF` words, evenly distributed over the validation text; ValueError if
    there are fewer than two."""
    raw, passages = load_text(text, config)["validation"], []
    for row in iterate_texts(raw, text_column(raw)):
        words = row.split()
        passages += [words[start : start + 2 * HALF] for start in range(0, len(words) - 2 * HALF + 1, 2 * HALF)]
    if len(passages) < 2:
        raise ValueError(
            f"The held-out text has {len(passages)} passages of {2 * HALF} words, between spaces, and retrieval and "
            "cost need two: give another --held_out, or other --evaluations."
        )
    return [" ".join(passages[place]) for place in evenly_spaced(len(passages), PASSAGES).tolist()]


def held_out_sample(model, protocol: Protocol) -> Sample:
    """Token ids of held-out texts, as long as the protocol wants and the model allows."""
    length = min(protocol.held_out_length, model.config.max_sequence_length)
    return load_sample(model.tokenizer, length, protocol.samples, protocol.held_out, protocol.held_out_config)


def training(model: EvaluatedModel, protocol: Protocol) -> list[Result]:
    """Losses and loss gaps of the run's own objective, in nats, and its speed, as the run reported them."""
    folder = Path(model.path)

    def read(name):
        return json.loads((folder / name).read_text(encoding="utf-8"))

    if not (folder / "eval_results.json").is_file():
        return []
    reported = {name.removeprefix("eval_"): value for name, value in read("eval_results.json").items()}
    results = [
        Result("training", "validation", name, model.name, float(value))
        for name, value in reported.items()
        if name.endswith(TRAINING_METRICS)
    ]
    results.append(Result("training", "train", "seconds", model.name, read("train_results.json")["train_runtime"]))
    history = read("trainer_state.json")["log_history"]
    speeds = [entry["speed/tokens_per_second"] for entry in history if "speed/tokens_per_second" in entry]
    if speeds:
        results.append(Result("training", "train", "tokens per second", model.name, median(speeds)))
    return results


def reconstruction(model: EvaluatedModel, protocol: Protocol) -> list[Result]:
    """Geometry of the concepts of held-out texts and, where there is a decoder of the text, reconstruction from all
    and from fewer concepts."""
    network = model.language_model
    sample, concept_num = held_out_sample(network, protocol), network.config.concept_num
    concepts, length = encode_ids(network, sample.ids.tolist(), BATCH_SIZE), sample.ids.shape[1]
    metrics = {**concept_metrics(concepts), "concepts": concepts.shape[1], "tokens": length}
    metrics["content_erank / C"] = metrics["content_erank"] / min(concepts.shape[1:])
    if network.config.has_segments and length % concept_num == 0:
        metrics["repeated_share"] = repeated_share(sample.ids, concept_num)
    if network.can_reconstruct:
        for count in kept_counts(concept_num):
            kept = "" if count == concept_num else f", {count} concepts"
            for metric, value in reconstruct_sample(network, sample, BATCH_SIZE, concept_num=count).items():
                metrics[f"{metric}{kept}"] = value
    return [
        Result("reconstruction", sample.split, metric, model.name, float(value), None, len(sample.ids))
        for metric, value in metrics.items()
    ]


def depth(model: EvaluatedModel, protocol: Protocol) -> list[Result]:
    """Loss of the run's own objectives on held-out texts, in nats per label, at several numbers of iterations of a
    recursive encoder, with the same noise."""
    run = Path(model.path) / "training_run.json"
    network = model.language_model
    if not is_recursive(network.config) or not run.is_file():
        return []
    facts = json.loads(run.read_text(encoding="utf-8"))
    objectives = {name: OBJECTIVES[name](**options) for name, options in facts["objectives"].items()}
    mixture = Mixture(objectives, *parse_mixture(facts["objective"])).for_evaluation()
    sample = held_out_sample(network, protocol)
    reader = TrainingModel(network, mixture).eval()
    own, results = network.config.num_iterations, []
    for count in ITERATIONS:
        network.config.num_iterations = count
        sums = EvaluationSums(reader, mixture, seed=0)
        for ids in sample.ids.split(BATCH_SIZE):
            sums.add(CleanBatch(ids, torch.ones_like(ids), sample.vocabulary))
        value = sums.results()["loss"]
        results.append(Result("depth", sample.split, f"K = {count}", model.name, value, None, len(sample.ids)))
    network.config.num_iterations = own
    return results


def drop_one(model: EvaluatedModel, protocol: Protocol) -> list[Result]:
    """Tokens lost from the reconstruction without one concept: their mean share, and the part of them that lies in the
    concept's own segment."""
    network = model.language_model
    if not network.can_reconstruct or not network.config.has_segments:
        return []
    sample = held_out_sample(network, protocol)
    drops = compression.drop_one(network, sample, list(range(network.config.concept_num)), BATCH_SIZE)
    lost = torch.tensor(drops["drop_by_position"]).clamp(min=0)  # [C, N]
    concepts, length = lost.shape
    token, start = torch.arange(length), torch.arange(concepts)[:, None] * length / concepts
    inside = (torch.minimum(token + 1, start + length / concepts) - torch.maximum(token, start)).clamp(min=0)
    values = {
        "lost in its own segment": (lost * inside).sum() / lost.sum().clamp(min=1e-9),
        "lost tokens": torch.tensor(drops["drop"]).mean(),
    }
    return [
        Result("drop one", sample.split, name, model.name, float(value), None, drops["texts"])
        for name, value in values.items()
    ]


def similarity(model: EvaluatedModel, protocol: Protocol) -> list[Result]:
    """Zero-shot correlations of cosines with human scores, of the model's vectors and of its mean token embeddings,
    both also centred."""

    def encode_texts(texts):
        table = model.token_vectors(texts)
        return {OWN: model.vectors(texts)} | ({} if table is None else {TOKEN_TABLE: table})

    results = []
    for pairs in protocol.load_pairs():
        results += similarity_results(pairs, {model.name: encode_texts})
    return [result for result in results if result.system == model.name]


def retrieval(model: EvaluatedModel, protocol: Protocol) -> list[Result]:
    """Share of held-out passages whose first half is nearest to their second half, among all halves."""
    passages = [passage.split() for passage in held_out_passages(protocol.held_out, protocol.held_out_config)]
    halves = [" ".join(words[part]) for part in (slice(HALF), slice(HALF, None)) for words in passages]
    vectors = model.vectors(halves)
    vectors = (vectors.to_dense() if vectors.is_sparse else vectors).float()
    first, second = F.normalize(vectors, dim=-1).chunk(2)
    metrics = retrieval_metrics((first @ second.T).numpy(), np.arange(len(first)))
    return [
        Result("crops", "validation", metric, model.name, value, None, len(first), metric == "R@1")
        for metric, value in metrics.items()
    ]


def cost(model: EvaluatedModel, protocol: Protocol) -> list[Result]:
    """Floating-point operations of encoding held-out passages, in millions per word, two per multiply-add."""
    passages = held_out_passages(protocol.held_out, protocol.held_out_config)[:32]
    with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
        model.forward(passages)
    words = sum(len(passage.split()) for passage in passages)
    value = counter.get_total_flops() / words / 1e6
    return [Result("encoding", "validation", "MFLOP per word", model.name, value, None, len(passages))]


def fine_tuning(name: str, model: EvaluatedModel, protocol: Protocol) -> list[Result]:
    """Scores of a task after fine-tuning. Concept models encode the two texts of a pair separately, and their cosine
    is fitted to scores; sentence models read pairs jointly; tf-idf gets a linear model."""
    data = protocol.load_task(name)
    if model.kind == WORDS:
        results = run_baseline("tfidf", data)
    else:
        classifier_type = "perceiver_pair_cls" if model.kind == CONCEPTS else None
        checkpoint = read_checkpoint(model.path, classifier_type, name=model.name)
        arguments = FineTuningArguments(
            output_dir=str(model.folder / "fine_tuning"), seeds=protocol.fine_tuning_seeds,
            num_train_epochs=protocol.fine_tuning_epochs, report_to=[], disable_tqdm=True,
            **({"learning_rate": 1e-4} if model.kind == SENTENCES else {}),
        )  # fmt: skip
        results = fine_tune(checkpoint, data, 128, arguments, print).results(data)
    return [replace(result, task=f"{result.task}, fine-tuned", system=model.name) for result in results]


@dataclass(frozen=True)
class Evaluation:
    """
    Args:
        run: maps a model and the protocol to records; to none where it does not apply.
        kinds: of models that it applies to.
        reads: fields of the protocol on which its records depend.
    """

    run: Callable[[EvaluatedModel, Protocol], list[Result]]
    kinds: tuple[str, ...] = (CONCEPTS, SENTENCES, WORDS)
    reads: tuple[str, ...] = ("held_out", "held_out_config")


SAMPLE = ("held_out", "held_out_config", "samples", "held_out_length")
FINE_TUNING = ("glue", "fine_tuning_seeds", "fine_tuning_epochs")

EVALUATIONS: dict[str, Evaluation] = {
    "training": Evaluation(training, (CONCEPTS,), ()),
    "reconstruction": Evaluation(reconstruction, (CONCEPTS,), SAMPLE),
    "depth": Evaluation(depth, (CONCEPTS,), SAMPLE),
    "drop_one": Evaluation(drop_one, (CONCEPTS,), SAMPLE),
    "similarity": Evaluation(similarity, reads=("sts",)),
    "retrieval": Evaluation(retrieval),
    "cost": Evaluation(cost, (CONCEPTS, SENTENCES)),
    **{
        name: Evaluation(partial(fine_tuning, name), reads=FINE_TUNING)
        for name, task in TASKS.items()
        if task.is_pair
    },
}  # fmt: skip


def check_data(protocol: Protocol, evaluations: Iterable[str]) -> None:
    """ValueError if data of these evaluations cannot be read."""
    evaluations = set(evaluations)
    if "similarity" in evaluations:
        protocol.load_pairs()
    if evaluations & {"retrieval", "cost"}:
        held_out_passages(protocol.held_out, protocol.held_out_config)
    elif any("held_out" in EVALUATIONS[name].reads for name in evaluations):
        text_column(load_text(protocol.held_out, protocol.held_out_config)["validation"])
    for name in evaluations & set(TASKS):
        protocol.load_task(name)
