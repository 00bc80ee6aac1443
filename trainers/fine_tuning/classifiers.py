# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Classifiers of texts and pairs of texts: concept checkpoints with a head, and any other encoder of transformers.

B batch, N tokens.
"""

from dataclasses import dataclass

import torch
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

import modeling_concept as models
from modeling_concept.configuration_concept import POOLING_CLASSIFIERS

from ..data.tokenizers import read_tokenizer
from ..evaluation.results import model_name
from ..models.loading import CONCEPT_MODEL_TYPES, load_weights, read_config
from ..models.untrained import untrained_like
from .task import Task, TaskData


BERT_TYPE, DECODER_TYPE, POOLING_TYPE, PAIR_TYPE = (
    "bert-type", "perceiver_decoder_cls", "perceiver_cls", "perceiver_pair_cls"
)  # fmt: skip

# Classes for standard concept encoders, with a subclass for each other kind of encoder, and an Auto class.
CLASSIFIERS = {
    POOLING_TYPE: models.ConceptEncoderForSequenceClassificationPerceiver,
    DECODER_TYPE: models.ConceptEncoderForSequenceClassificationViaDecoder,
    PAIR_TYPE: models.ConceptEncoderForSentencePairClassification,
    BERT_TYPE: AutoModelForSequenceClassification,
}


def classifier_class(classifier_type: str, config: PreTrainedConfig) -> type:
    """The class of a classifier type for checkpoints of a configuration."""
    base = CLASSIFIERS[classifier_type]
    for config_class, auto_models in models.AUTO_MODELS.items():
        if config_class.model_type == config.model_type:
            classes = auto_models[AutoModelForSequenceClassification]
            return next((kind for kind in classes if issubclass(kind, base)), base)
    return base


def classifier_type_of(config: PreTrainedConfig) -> str:
    """The type that saved a checkpoint. For other concept models `perceiver_decoder_cls` where the decoder was trained
    to reconstruct texts, and `perceiver_cls` where there is none or it was trained on continuations; otherwise
    `bert-type`."""
    if config.model_type not in CONCEPT_MODEL_TYPES:
        return BERT_TYPE
    saved = (config.architectures or [None])[0]
    for name in CLASSIFIERS:
        if saved == classifier_class(name, config).__name__:
            return name
    reconstructs = saved not in POOLING_CLASSIFIERS and config.decoder_target != "continuation"
    return DECODER_TYPE if reconstructs else POOLING_TYPE


def is_recursive(config: PreTrainedConfig) -> bool:
    return getattr(config, "is_recursive", False)


@dataclass(frozen=True)
class Checkpoint:
    """
    A checkpoint to be fine-tuned or used as a classifier; made by [`read_checkpoint`].

    Args:
        name: shown in tables.
        path: folder or Hub id.
        config: its configuration.
        classifier_type: name in `CLASSIFIERS`.
        tokenizer: of its vocabulary.
        pair_similarity: of `perceiver_pair_cls`: `classifier`, `cosine`, or None for the value of a checkpoint that
            compares pairs already; for others, `cosine` for scores and `classifier` for classes.
        reads_tokens: of `perceiver_decoder_cls`: `config.classifier_reads_tokens`, or None for the checkpoint's value.
        trust_remote_code: whether code of its repository may run.
        untrained: whether its weights are replaced by those before training ([`untrained_like`]).
        num_iterations: numbers of iterations of a recursive encoder for further evaluations.
    """

    name: str
    path: str
    config: PreTrainedConfig
    classifier_type: str
    tokenizer: PreTrainedTokenizerBase
    pair_similarity: str | None = None
    reads_tokens: bool | None = None
    trust_remote_code: bool = False
    untrained: bool = False
    num_iterations: tuple[int, ...] = ()

    @property
    def separate(self) -> bool:
        """Whether the two texts of a pair are encoded separately."""
        return self.classifier_type == PAIR_TYPE

    def similarity(self, task: Task) -> str:
        """`classifier` or `cosine`: how two texts that are encoded separately are compared."""
        if self.pair_similarity is not None:
            return self.pair_similarity
        if classifier_type_of(self.config) == self.classifier_type:
            return self.config.pair_similarity
        # A classifier of two vectors learns less from a few thousand scores than their untrained cosine knows.
        return "cosine" if task.is_score and task.score_range is not None else "classifier"

    def check(self, task: Task) -> None:
        """ValueError if this classifier cannot be trained on the task."""
        if not self.separate:
            return
        if not task.is_pair:
            raise ValueError(f"{self.classifier_type} compares two texts, but {task.name} has one text per row.")
        if self.similarity(task) == "cosine" and (not task.is_score or task.score_range is None):
            labels = "scores without a range" if task.is_score else f"classes {task.label_names}"
            raise ValueError(
                f"A cosine is fitted to scores of a known range, but {task.name} has {labels}: take "
                "--pair_similarity classifier."
            )

    def check_trained(self, task: Task) -> None:
        """ValueError unless the checkpoint is a trained classifier of the task."""
        model, new = self.load(task, seed=0)
        names = [] if task.is_score else list(task.label_names)
        saved = [] if self.config.num_labels == 1 else list(self.config.id2label.values())
        reason = None
        if new:
            reason = f"{', '.join(new)} would be random"
        elif saved not in (names, [f"LABEL_{number}" for number in range(len(names))]):
            reason = f"its classes are {saved}, those of the task {names}"
        elif getattr(self.config, "fine_tuning", None) not in (None, model.config.fine_tuning):  # None: other programs
            reason = f"it was trained for {self.config.fine_tuning}, and the task has {model.config.fine_tuning}"
        elif self.reads_tokens not in (None, getattr(self.config, "classifier_reads_tokens", None)):
            reason = "--classifier_reads_tokens would change it"
        if reason:
            raise ValueError(f"{self.path} is not a trained classifier of {task.name}: {reason}. Train it first.")

    def max_length(self, wanted: int) -> int:
        """Longest text in tokens: `wanted`, or less where model or tokenizer allow less; ValueError if only special
        tokens fit."""
        special = self.tokenizer.num_special_tokens_to_add(pair=not self.separate)
        if wanted <= special:
            raise ValueError(f"--max_seq_length must be more than the {special} special tokens, not {wanted}.")
        positions = getattr(self.config, "max_position_embeddings", None)  # -1 in XLNet, which has no limit
        limits = [self.tokenizer.model_max_length, wanted]
        return min(limits if positions is None or positions < 0 else [positions, *limits])

    def collator(self, max_length: int) -> "TextCollator":
        """The collator of its inputs, with texts of at most `max_length` tokens."""
        token_types = self.config.model_type not in CONCEPT_MODEL_TYPES
        token_types = token_types and "token_type_ids" in self.tokenizer.model_input_names
        return TextCollator(self.tokenizer, self.max_length(max_length), self.separate, token_types)

    def load(self, task: Task, seed: int) -> tuple[PreTrainedModel, list[str]]:
        """
        The classifier of a task, float32, and the names of the weights that the checkpoint lacks.

        Args:
            seed: of the new weights.

        Raises:
            ValueError: weights other than those of a head would be new, or the decoder cannot take tokens as
                `reads_tokens` demands.
            UntrainedError: as in [`untrained_like`].
        """
        options = head_options(task)
        if self.reads_tokens is not None:
            options["classifier_reads_tokens"] = self.reads_tokens
        if self.separate:
            options["pair_similarity"] = self.similarity(task)
        set_seed(seed)
        # A head of another task has another shape; weights other than the head's are checked below.
        model, info = load_weights(
            classifier_class(self.classifier_type, self.config), self.path, ignore_mismatched_sizes=True,
            trust_remote_code=self.trust_remote_code, **options,
        )  # fmt: skip
        new = {*info["missing_keys"], *(key if isinstance(key, str) else key[0] for key in info["mismatched_keys"])}
        if wrong := sorted(key for key in new if not is_head(model, key)):
            raise ValueError(
                f"The checkpoint {self.path!r} does not hold the encoder of {type(model).__name__}: {wrong[0]} and "
                f"{len(wrong) - 1} other weights would be random."
            )
        if self.reads_tokens and not model.decoder.reads_tokens:
            raise ValueError(f"--classifier_reads_tokens: the decoder of {self.path!r} takes no tokens.")
        score_range = list(task.score_range) if task.is_score and task.score_range is not None else None
        model.config.fine_tuning = {"score_range": score_range, "texts": 2 if task.is_pair else 1}
        return (untrained_like(model, seed) if self.untrained else model), sorted(new)


def read_checkpoint(
    path: str,
    classifier_type: str | None = None,
    tokenizer_name: str | None = None,
    pair_similarity: str | None = None,
    trust_remote_code: bool = False,
    reads_tokens: bool | None = None,
    name: str | None = None,
) -> Checkpoint:
    """
    A checkpoint with its classifier type and tokenizer.

    Args:
        path: folder or Hub id.
        classifier_type: name in `CLASSIFIERS`; by default that of the checkpoint (`classifier_type_of`).
        tokenizer_name: a tokenizer with the same vocabulary; the checkpoint's own by default.
        pair_similarity, trust_remote_code, reads_tokens: see [`Checkpoint`].
        name: shown in tables; the last part of the path by default.

    Raises:
        ValueError: the checkpoint cannot be read, the type does not fit it, or an option does not fit the type; the
            tokenizer is missing, has another vocabulary or no padding token.
    """
    config = read_config(path, concepts=False, trust_remote_code=trust_remote_code)
    kind = classifier_type or classifier_type_of(config)
    if kind not in CLASSIFIERS:
        raise ValueError(f"Unknown classifier type {kind!r}; choose one of {sorted(CLASSIFIERS)}.")
    if (config.model_type in CONCEPT_MODEL_TYPES) == (kind == BERT_TYPE):
        raise ValueError(
            f"{path!r} is a {config.model_type} checkpoint, which {kind} cannot load; its type is "
            f"{classifier_type_of(config)}."
        )
    for option, value, owner in (
        ("pair_similarity", pair_similarity, PAIR_TYPE), ("classifier_reads_tokens", reads_tokens, DECODER_TYPE)
    ):  # fmt: skip
        if value is not None and kind != owner:
            raise ValueError(f"{option} is an option of {owner}, not of {kind}.")
    tokenizer = read_tokenizer(path, config, tokenizer_name, trust_remote_code)
    return Checkpoint(
        name or model_name(path), path, config, kind, tokenizer, pair_similarity, reads_tokens, trust_remote_code
    )


def through_concepts(model: PreTrainedModel) -> bool | None:
    """Whether a text reaches the classifier through its concepts alone; None for a model without concepts."""
    if model.config.model_type not in CONCEPT_MODEL_TYPES:
        return None
    decoder = getattr(model, "decoder", None)
    return not (decoder is not None and decoder.reads_tokens and model.config.classifier_reads_tokens)


def head_options(task: Task) -> dict:
    """Configuration values of the head for a task."""
    if task.is_score:
        return {"num_labels": 1, "problem_type": "regression"}
    names = dict(enumerate(task.label_names))
    return {
        "id2label": names,
        "label2id": {name: number for number, name in names.items()},
        "problem_type": "single_label_classification",
    }


def is_head(model: PreTrainedModel, key: str) -> bool:
    """Whether a weight belongs to the head on the encoder, or on the decoder of concepts."""
    if isinstance(model, models.heads_classification_concept.ConceptClassifierModel):
        return key.startswith(model.new_head_keys)
    return not key.startswith(f"{model.base_model_prefix}.") or ".pooler." in key


@dataclass
class TextCollator:
    """
    Tokenizes and pads the texts of a batch, and makes `labels` [B] int64 or float32 of `label`.

    Args:
        tokenizer: of the checkpoint.
        max_length: of a text, or of a pair that is encoded jointly, in tokens.
        separate: whether the texts of a pair are encoded separately: `input_ids_a`, `attention_mask_a`,
            `input_ids_b`, …
        token_types: whether the model takes `token_type_ids`.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    separate: bool = False
    token_types: bool = False

    def inputs(self, columns: dict[str, list]) -> list[list[list[str]]]:
        """The arguments of each call of the tokenizer."""
        texts = [columns[name] for name in ("text_a", "text_b") if name in columns]
        return [[text] for text in texts] if self.separate else [texts]

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        batch, columns = {}, {name: [row[name] for row in rows] for name in rows[0]}
        options = {"truncation": True, "max_length": self.max_length, "return_token_type_ids": self.token_types}
        for side, texts in zip("ab", self.inputs(columns)):
            tokens = self.tokenizer(*texts, padding=True, return_tensors="pt", **options)
            batch |= {f"{name}_{side}" if self.separate else name: value for name, value in tokens.items()}
        if "label" in columns:
            kind = torch.float32 if isinstance(columns["label"][0], float) else torch.long
            batch["labels"] = torch.tensor(columns["label"], dtype=kind)
        return batch

    def truncated_share(self, data: TaskData) -> float:
        """Share of the rows of all parts that are longer than `max_length` tokens."""
        rows = truncated = 0
        parts = (data.train, data.selection, *data.evaluation.values(), *data.test.values())
        for columns in (batch for part in parts if part is not None for batch in part.iter(1000)):
            calls = [self.tokenizer(*texts, verbose=False)["input_ids"] for texts in self.inputs(columns)]
            longest = [max(map(len, ids)) for ids in zip(*calls, strict=True)]
            rows, truncated = rows + len(longest), truncated + sum(length > self.max_length for length in longest)
        return truncated / max(rows, 1)
