# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Classifiers of texts and pairs of texts: concept checkpoints with a head, and any other encoder of transformers.

B batch, N tokens.
"""

from dataclasses import dataclass

import torch
from transformers import AutoModelForSequenceClassification, BatchEncoding, PreTrainedConfig, PreTrainedModel, set_seed

import modeling_concept as models
from modeling_concept.configuration_concept import POOLING_CLASSIFIERS

from ..data.tokenizers import read_tokenizer
from ..evaluation.results import model_name
from ..models.loading import load_weights, read_config
from ..models.untrained import untrained_like
from ..utils.script import CONCEPT_MODEL_TYPES
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
    classes = models.AUTO_MODELS.get(type(config), {}).get(AutoModelForSequenceClassification, ())
    return next((kind for kind in classes if issubclass(kind, base)), base)


def classifier_type_of(config: PreTrainedConfig) -> str:
    """The type that saved a checkpoint. For other concept models `perceiver_decoder_cls` where the decoder was trained
    to reconstruct texts, and `perceiver_cls` where there is none or it was trained on continuations; otherwise
    `bert-type`."""
    if config.model_type not in CONCEPT_MODEL_TYPES:
        return BERT_TYPE
    saved = (config.architectures or [None])[0]
    names = {classifier_class(name, config).__name__: name for name in CLASSIFIERS}
    if saved in names:
        return names[saved]
    reconstructs = saved not in POOLING_CLASSIFIERS and config.decoder_target != "continuation"
    return DECODER_TYPE if reconstructs else POOLING_TYPE


@dataclass
class Checkpoint:
    """
    A checkpoint to be fine-tuned or used as a classifier, with its `config` and `tokenizer`.

    Args:
        path: folder or Hub id.
        classifier_type: name in `CLASSIFIERS`; by default that of the checkpoint (`classifier_type_of`).
        name: shown in tables; the last part of the path by default.
        tokenizer_name: a tokenizer with the same vocabulary; the checkpoint's own by default.
        max_length: longest text, or pair that is encoded jointly, in tokens, unless model or tokenizer allow less.
        reads_tokens: of `perceiver_decoder_cls`: `config.classifier_reads_tokens`, or None for the checkpoint's value.
        pair_similarity: of `perceiver_pair_cls`: `classifier`, `cosine`, or None: for scores that of a checkpoint that
            compares pairs already, or `cosine`, for classes `classifier`.
        untrained: whether its weights are replaced by those before training ([`untrained_like`]).
        num_iterations: numbers of iterations of a recursive encoder for further evaluations.

    Raises:
        ValueError: the checkpoint cannot be read, or the type does not fit it; the tokenizer is missing, has another
            vocabulary or no padding token.
    """

    path: str
    classifier_type: str | None = None
    name: str | None = None
    tokenizer_name: str | None = None
    max_length: int = 128
    reads_tokens: bool | None = None
    pair_similarity: str | None = None
    untrained: bool = False
    num_iterations: tuple[int, ...] = ()

    def __post_init__(self):
        self.config = config = read_config(self.path, concepts=False)
        own = classifier_type_of(config)
        self.name = self.name or model_name(self.path)
        self.classifier_type = kind = self.classifier_type or own
        if (own == BERT_TYPE) != (kind == BERT_TYPE):
            raise ValueError(
                f"{self.path!r} is a {config.model_type} checkpoint, which {kind} cannot load; its type is {own}."
            )
        self.separate = kind == PAIR_TYPE  # whether the two texts of a pair are encoded separately
        self.tokenizer = read_tokenizer(self.path, config, self.tokenizer_name)
        limits = (self.tokenizer.model_max_length, getattr(config, "max_position_embeddings", None), self.max_length)
        self.max_length = min(limit for limit in limits if limit is not None and limit > 0)  # -1 in XLNet: no limit

    def load(self, task: Task, seed: int, trained: bool = False) -> tuple[PreTrainedModel, list[str]]:
        """
        The classifier of a task, float32, and the names of the weights that the checkpoint lacks.

        Args:
            seed: of the new weights.
            trained: whether it must be a trained classifier of the task.

        Raises:
            ValueError: weights other than those of a head would be new, the task has no pairs to compare, or the
                checkpoint is no trained classifier of it.
            UntrainedError: as in [`untrained_like`].
        """
        if self.separate and not task.is_pair:
            raise ValueError(f"{self.classifier_type} compares two texts, but {task.name} has one text per row.")
        set_seed(seed)
        # A head of another task has another shape; weights other than the head's are checked below.
        model, info = load_weights(
            classifier_class(self.classifier_type, self.config), self.path, ignore_mismatched_sizes=True,
            **self.head_options(task),
        )  # fmt: skip
        new = {*info["missing_keys"], *(key if isinstance(key, str) else key[0] for key in info["mismatched_keys"])}
        if wrong := sorted(key for key in new if not is_head(model, key)):
            raise ValueError(
                f"The checkpoint {self.path!r} does not hold the encoder of {type(model).__name__}: {wrong[0]} and "
                f"{len(wrong) - 1} other weights would be random."
            )
        score_range = list(task.score_range) if task.score_range else None
        model.config.fine_tuning = {"score_range": score_range, "texts": 2 if task.is_pair else 1}
        if trained:
            self.check_trained(model, sorted(new))
        return (untrained_like(model, seed) if self.untrained else model), sorted(new)

    def head_options(self, task: Task) -> dict:
        """Configuration values of the classifier for a task."""
        if task.is_score:
            options = {"num_labels": 1, "problem_type": "regression"}
        else:
            names = dict(enumerate(task.label_names))
            options = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
            options["problem_type"] = "single_label_classification"
        if self.reads_tokens is not None:
            options["classifier_reads_tokens"] = self.reads_tokens
        if self.separate:
            # A classifier of two vectors learns less from a few thousand scores than their untrained cosine knows.
            own = self.config.pair_similarity if classifier_type_of(self.config) == PAIR_TYPE else "cosine"
            options["pair_similarity"] = self.pair_similarity or (own if task.score_range else "classifier")
        return options

    def check_trained(self, model: PreTrainedModel, new: list[str]) -> None:
        """ValueError unless the checkpoint is a trained classifier with the classes, or the score, of `model`."""
        if new:
            raise ValueError(f"{self.path} is not a trained classifier of the task: {', '.join(new)} would be random.")
        names, saved = ([] if c.num_labels == 1 else list(c.id2label.values()) for c in (model.config, self.config))
        wanted, learned = model.config.fine_tuning, getattr(self.config, "fine_tuning", None)
        if saved != names or learned not in (None, wanted):  # None: of other programs
            raise ValueError(
                f"{self.path} was trained for the classes {saved} and for {learned}, but the task has {names} and "
                f"{wanted}."
            )

    def tokenize(self, columns: dict[str, list], **options) -> list[BatchEncoding]:
        """The tokens of texts, or of pairs that are encoded jointly, or of the first and of the second texts."""
        texts = [columns[name] for name in ("text_a", "text_b") if name in columns]
        calls = [[column] for column in texts] if self.separate else [texts]
        if self.config.model_type in CONCEPT_MODEL_TYPES:
            options["return_token_type_ids"] = False
        return [self.tokenizer(*call, **options) for call in calls]

    def collate(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        """The inputs of the model: texts or pairs of at most `max_length` tokens, padded to the longest [B, N]; if the
        two texts are encoded separately, `input_ids_a`, `input_ids_b`, …; and `labels` [B] int64 or float32."""
        columns, batch = {name: [row[name] for row in rows] for name in rows[0]}, {}
        options = {"truncation": True, "max_length": self.max_length, "padding": True, "return_tensors": "pt"}
        for side, tokens in zip("ab", self.tokenize(columns, **options)):
            batch |= {f"{name}_{side}" if self.separate else name: value for name, value in tokens.items()}
        if "label" in columns:
            kind = torch.float32 if isinstance(columns["label"][0], float) else torch.long
            batch["labels"] = torch.tensor(columns["label"], dtype=kind)
        return batch

    def truncated_share(self, data: TaskData) -> float:
        """Share of the rows of all parts that `collate` truncates."""
        lengths = []
        for columns in (batch for part in data.parts.values() for batch in part.iter(1000)):
            calls = [tokens["input_ids"] for tokens in self.tokenize(columns, verbose=False)]
            lengths += [max(map(len, ids)) for ids in zip(*calls, strict=True)]
        return sum(length > self.max_length for length in lengths) / max(len(lengths), 1)


def through_concepts(model: PreTrainedModel) -> bool | None:
    """Whether a text reaches the classifier through its concepts alone; None for a model without concepts."""
    if model.config.model_type not in CONCEPT_MODEL_TYPES:
        return None
    takes_tokens = getattr(getattr(model, "decoder", None), "reads_tokens", False)
    return not (takes_tokens and model.config.classifier_reads_tokens)


def is_head(model: PreTrainedModel, key: str) -> bool:
    """Whether a weight belongs to the head on the encoder, or on the decoder of concepts."""
    if isinstance(model, models.heads_classification_concept.ConceptClassifierModel):
        return key.startswith(model.new_head_keys)
    return not key.startswith(f"{model.base_model_prefix}.") or ".pooler." in key
