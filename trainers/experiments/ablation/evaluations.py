# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The evaluations of a table. Each maps a model and the protocol to records, none where it does not apply; a new one is a
function and an entry in `EVALUATIONS`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode
from transformers.hf_argparser import HfArg

from ...data.texts import iterate_texts, load_text, text_column
from ...evaluation.analysis import compression
from ...evaluation.analysis.sample import Sample, evenly_spaced, load_sample
from ...evaluation.encoding import encode_ids
from ...evaluation.long_context import retrieval_metrics
from ...evaluation.metrics import concept_metrics, repeated_share
from ...evaluation.results import Result
from ...evaluation.similarity import OWN, STS_DATASETS, TOKEN_TABLE, load_pairs, similarity_results, token_vectors
from ...fine_tuning import TASKS, load_task
from ...fine_tuning.baselines import run_baseline
from ...fine_tuning.classifiers import Checkpoint
from ...fine_tuning.training import FineTuningArguments, fine_tune
from ...models.loading import read_record
from ...objectives import OBJECTIVES, Mixture, parse_mixture
from ...objectives.vocabulary import CleanBatch
from ...training_model import TrainingModel
from ...validation import EvaluationSums, without_prefix
from ..benchmark.measure import FORMULAS
from .models import CONCEPTS, SENTENCES, WORDS, EvaluatedModel


# Held-out texts that are reconstructed.
SAMPLES = 256
# Held-out passages whose halves are matched, and the words of a half.
PASSAGES, HALF = 1000, 24
# Depths at which recursive encoders are evaluated.
ITERATIONS = (1, 2, 3, 4, 6, 8, 10, 12)
BATCH_SIZE = 64


@dataclass
class Protocol:
    """Data of the evaluations, equal for all models of a table."""

    held_out: str | None = HfArg(
        default=None, help="Data set with the validation text; the embedded corpus by default."
    )
    held_out_length: int = HfArg(default=64, help="Tokens of the held-out texts, at most.")
    sts: list[str] = HfArg(
        default_factory=lambda: [f"{name}={STS_DATASETS[name]}" for name in ("stsb", "sickr")],
        help="Pairs for zero-shot similarity: name=data set, with @split at the end unless it is test.",
    )
    glue: str | None = HfArg(default=None, help="Data set in place of GLUE's: Hub id or local folder.")

    def __post_init__(self):
        names = [item.partition("=")[0] for item in self.sts]
        if len(set(names)) < len(names) or not all("=" in item for item in self.sts):
            raise ValueError(f"--sts {self.sts}: each is name=data set, and each name occurs once.")

    def sample(self, network) -> Sample:
        """Token ids of held-out texts, as long as the model allows."""
        length = min(self.held_out_length, network.config.max_sequence_length)
        return load_sample(network.tokenizer, length, SAMPLES, self.held_out)


@cache
def read_pairs(item: str):
    """The pairs of an item of `--sts`."""
    name, _, place = item.partition("=")
    source, _, split = place.partition("@")
    return load_pairs(source, split=split or "test", task=name)


@cache
def held_out_passages(text: str | None) -> list[str]:
    """At most `PASSAGES` passages of 2 x `HALF` words, evenly distributed over the validation text; ValueError if
    there are fewer than two."""
    raw, passages = load_text(text)["validation"], []
    for row in iterate_texts(raw, text_column(raw)):
        words = row.split()
        passages += [words[start : start + 2 * HALF] for start in range(0, len(words) - 2 * HALF + 1, 2 * HALF)]
    if len(passages) < 2:
        raise ValueError(f"The text of --held_out has fewer than two passages of {2 * HALF} words.")
    return [" ".join(passages[place]) for place in evenly_spaced(len(passages), PASSAGES).tolist()]


def records(task: str, model: EvaluatedModel, values: dict[str, float], count: int | None = None) -> list[Result]:
    """A record for each metric; `count` of examples."""
    return [
        Result(task, "validation", metric, model.name, float(value), None, count) for metric, value in values.items()
    ]


def training(model: EvaluatedModel, protocol: Protocol) -> list[Result]:
    """The metrics of the run's own evaluation, such as the loss of its objective in nats, and its speed."""
    folder = Path(model.path)
    if not (folder / "eval_results.json").is_file():
        return []
    reported = json.loads((folder / "eval_results.json").read_text(encoding="utf-8"))
    results = records("training", model, without_prefix(reported, "eval"))
    history = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    speeds = [entry["speed/tokens_per_second"] for entry in history if "speed/tokens_per_second" in entry]
    if speeds:
        results.append(Result("training", "train", "tokens per second", model.name, median(speeds)))
    return results


def reconstruction(model: EvaluatedModel, protocol: Protocol) -> list[Result]:
    """Geometry of the concepts of held-out texts and, where there is a decoder of the text, reconstruction from all
    and from fewer concepts."""
    network, concept_num = model.network, model.network.config.concept_num
    sample = protocol.sample(network)
    concepts, length = encode_ids(network, sample.ids.tolist(), BATCH_SIZE), sample.ids.shape[1]
    metrics = concept_metrics(concepts)
    metrics["content_erank / C"] = metrics["content_erank"] / min(concepts.shape[1:])
    if network.config.has_segments and length % concept_num == 0:
        metrics["repeated_share"] = repeated_share(sample.ids, concept_num)
    if network.can_reconstruct:
        for count in compression.kept_counts(concept_num):
            kept = "" if count == concept_num else f", {count} concepts"
            found = compression.reconstruct_sample(network, sample, BATCH_SIZE, concept_num=count)
            metrics |= {f"{metric}{kept}": value for metric, value in found.items()}
    return records("reconstruction", model, metrics, len(sample.ids))


def depth(model: EvaluatedModel, protocol: Protocol) -> list[Result]:
    """Loss of the run's own objectives on held-out texts, in nats per label, at several numbers of iterations of a
    recursive encoder, with the same noise."""
    network, record = model.network, read_record(model.path)
    if not network.config.is_recursive or not record:
        return []
    objectives = {name: OBJECTIVES[name](**options) for name, options in record["objectives"].items()}
    mixture = Mixture(objectives, *parse_mixture(record["objective"])).for_evaluation()
    sample, reader = protocol.sample(network), TrainingModel(network, mixture).eval()
    own, losses = network.config.num_iterations, {}
    for count in ITERATIONS:
        network.config.num_iterations = count
        sums = EvaluationSums(reader, mixture, seed=0)
        for ids in sample.ids.split(BATCH_SIZE):
            sums.add(CleanBatch(ids, torch.ones_like(ids), sample.vocabulary))
        losses[f"K = {count}"] = sums.results()["loss"]
    network.config.num_iterations = own
    return records("depth", model, losses, len(sample.ids))


def drop_one(model: EvaluatedModel, protocol: Protocol) -> list[Result]:
    """Tokens lost from the reconstruction without one concept: their mean share, and the part of them that lies in the
    concept's own segment."""
    network = model.network
    if not network.can_reconstruct or not network.config.has_segments:
        return []
    sample = protocol.sample(network)
    drops = compression.drop_one(network, sample, list(range(network.config.concept_num)), BATCH_SIZE)
    lost = torch.tensor(drops["drop_by_position"]).clamp(min=0)  # [C, N]
    concepts, length = lost.shape
    token, start = torch.arange(length), torch.arange(concepts)[:, None] * length / concepts
    inside = (torch.minimum(token + 1, start + length / concepts) - torch.maximum(token, start)).clamp(min=0)
    values = {
        "lost in its own segment": (lost * inside).sum() / lost.sum().clamp(min=1e-9),
        "lost tokens": torch.tensor(drops["drop"]).mean(),
    }
    return records("drop one", model, values, drops["texts"])


def similarity(model: EvaluatedModel, protocol: Protocol) -> list[Result]:
    """Zero-shot correlations of cosines with human scores, of the model's vectors and of its mean token embeddings,
    both also centred."""

    def encode_texts(texts):
        table = {TOKEN_TABLE: token_vectors(model.network, texts)} if model.kind == CONCEPTS else {}
        return {OWN: model.vectors(texts), **table}

    results = [r for item in protocol.sts for r in similarity_results(read_pairs(item), {model.name: encode_texts})]
    return [result for result in results if result.system == model.name]


def retrieval(model: EvaluatedModel, protocol: Protocol) -> list[Result]:
    """Share of held-out passages whose first half is nearest to their second half, among all halves."""
    passages = [passage.split() for passage in held_out_passages(protocol.held_out)]
    halves = [" ".join(words[part]) for part in (slice(HALF), slice(HALF, None)) for words in passages]
    vectors = model.vectors(halves)
    vectors = (vectors.to_dense() if vectors.is_sparse else vectors).float()
    first, second = F.normalize(vectors, dim=-1).chunk(2)
    metrics = retrieval_metrics((first @ second.T).numpy(), np.arange(len(first)))
    return records("crops", model, metrics, len(first))


def cost(model: EvaluatedModel, protocol: Protocol) -> list[Result]:
    """Floating-point operations of encoding held-out passages, in millions per word, two per multiply-add."""
    passages = held_out_passages(protocol.held_out)[:32]
    with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
        if model.kind == CONCEPTS:
            tokens = model.network.tokenizer(passages, padding=True, truncation=True, return_tensors="pt")
            model.network.base_model(tokens["input_ids"], tokens["attention_mask"])
        else:
            model.network(model.network.preprocess(passages))
    value = counter.get_total_flops() / sum(len(passage.split()) for passage in passages) / 1e6
    return records("encoding", model, {"MFLOP per word": value}, len(passages))


def fine_tuning(name: str, model: EvaluatedModel, protocol: Protocol) -> list[Result]:
    """Scores of a task after fine-tuning. Concept models encode the two texts of a pair separately, and their cosine
    is fitted to scores; sentence models read pairs jointly; tf-idf gets a linear model."""
    data = load_task(TASKS[name], protocol.glue)
    if model.kind == WORDS:
        results = run_baseline("tfidf", data)
    else:
        classifier_type = "perceiver_pair_cls" if model.kind == CONCEPTS else None
        checkpoint = Checkpoint(model.path, classifier_type, name=model.name)
        arguments = FineTuningArguments(
            output_dir=str(model.folder / "fine_tuning"), report_to=[], disable_tqdm=True,
            **({"learning_rate": 1e-4} if model.kind == SENTENCES else {}),
        )  # fmt: skip
        results = fine_tune(checkpoint, data, arguments).results(data)
    return [replace(result, task=f"{result.task}, fine-tuned", system=model.name) for result in results]


PAIR_TASKS = ("mrpc", "rte", "stsb")

# Functions by name, with the kinds of models that they apply to.
EVALUATIONS: dict[str, tuple[Callable[[EvaluatedModel, Protocol], list[Result]], tuple[str, ...]]] = {
    "training": (training, (CONCEPTS,)),
    "reconstruction": (reconstruction, (CONCEPTS,)),
    "depth": (depth, (CONCEPTS,)),
    "drop_one": (drop_one, (CONCEPTS,)),
    "similarity": (similarity, (CONCEPTS, SENTENCES, WORDS)),
    "retrieval": (retrieval, (CONCEPTS, SENTENCES, WORDS)),
    "cost": (cost, (CONCEPTS, SENTENCES)),
    **{name: (partial(fine_tuning, name), (CONCEPTS, SENTENCES, WORDS)) for name in PAIR_TASKS},
}


def check_data(protocol: Protocol, evaluations: list[str]) -> None:
    """ValueError, before anything takes long, if data of these evaluations cannot be read."""
    for item in protocol.sts if "similarity" in evaluations else ():
        read_pairs(item)
    for name in set(PAIR_TASKS) & set(evaluations):
        load_task(TASKS[name], protocol.glue)
    if set(evaluations) - {"training", "similarity", *PAIR_TASKS}:
        text_column(load_text(protocol.held_out)["validation"])
