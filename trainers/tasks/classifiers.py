# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Classifiers of texts and pairs of texts: concept checkpoints with a head, and any other encoder of transformers.

B batch, N tokens.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import transformers
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

import modeling_concept as models
from modeling_concept.configuration_concept import POOLING_CLASSIFIERS

from ..data import first_line
from ..script import CONCEPT_MODEL_TYPES
from ..tokenizers import read_tokenizer
from ..untrained import untrained_like
from .task import Task


@dataclass(frozen=True)
class ClassifierType:
    """
    A kind of classifier.

    Args:
        model_class: for standard concept encoders, of which there is a subclass for each other kind of encoder; for
            `bert-type` the Auto class.
        separate: whether the two texts of a pair are encoded each on its own.
    """

    model_class: type
    separate: bool = False

    def class_for(self, config: PreTrainedConfig) -> type:
        """Its class for checkpoints of a configuration."""
        for config_class, auto_models in models.AUTO_MODELS.items():
            if config_class.model_type == config.model_type:
                classes = auto_models[AutoModelForSequenceClassification]
                return next((kind for kind in classes if issubclass(kind, self.model_class)), self.model_class)
        return self.model_class


BERT_TYPE, DECODER_TYPE, POOLING_TYPE = "bert-type", "perceiver_decoder_cls", "perceiver_cls"

CLASSIFIERS = {
    POOLING_TYPE: ClassifierType(
        models.ConceptEncoderForSequenceClassificationPerceiver,
    ),
    DECODER_TYPE: ClassifierType(
        models.ConceptEncoderForSequenceClassificationViaDecoder,
    ),
    "perceiver_pair_cls": ClassifierType(
        models.ConceptEncoderForSentencePairClassification,
        separate=True,
    ),
    BERT_TYPE: ClassifierType(AutoModelForSequenceClassification),
}


def classifier_type_of(config: PreTrainedConfig) -> str:
    """The type that saved a checkpoint. Of any other concept model `perceiver_decoder_cls` where its decoder was
    trained to read texts back, and `perceiver_cls` where it has none or was trained on continuations; else
    `bert-type`."""
    if config.model_type not in CONCEPT_MODEL_TYPES:
        return BERT_TYPE
    saved = (config.architectures or [None])[0]
    for name, kind in CLASSIFIERS.items():
        if saved == kind.class_for(config).__name__:
            return name
    reads_back = saved not in POOLING_CLASSIFIERS and config.decoder_target != "continuation"
    return DECODER_TYPE if reads_back else POOLING_TYPE


def is_recursive(config: PreTrainedConfig) -> bool:
    return getattr(config, "is_recursive", False)


@dataclass(frozen=True)
class Checkpoint:
    """
    A checkpoint to make classifiers from, with what was chosen for it; made by `read_checkpoint`.

    Args:
        path: folder or Hub id.
        config: its configuration.
        classifier_type: name in `CLASSIFIERS`.
        tokenizer: that of its vocabulary.
        pair_similarity: of `perceiver_pair_cls`: `classifier`, `cosine`, or None for that of a checkpoint that
            compares pairs already; of any other, `cosine` for scores and `classifier` for classes.
        reads_tokens: of `perceiver_decoder_cls`: `config.classifier_reads_tokens`, or None for that of the checkpoint.
        trust_remote_code: whether code of its repository may run.
    """

    path: str
    config: PreTrainedConfig
    classifier_type: str
    tokenizer: PreTrainedTokenizerBase
    pair_similarity: str | None = None
    reads_tokens: bool | None = None
    trust_remote_code: bool = False

    @property
    def separate(self) -> bool:
        return CLASSIFIERS[self.classifier_type].separate

    def similarity(self, task: Task) -> str:
        """`classifier` or `cosine`: how two texts that are encoded apart are compared."""
        if self.pair_similarity is not None:
            return self.pair_similarity
        if classifier_type_of(self.config) == self.classifier_type:
            return self.config.pair_similarity
        # What a classifier of two vectors learns from a few thousand scores is worse than their untrained cosine.
        return "cosine" if task.is_score and task.score_range is not None else "classifier"

    def check(self, task: Task) -> None:
        """ValueError if this classifier cannot learn the task."""
        if self.separate and not task.is_pair:
            raise ValueError(f"{self.classifier_type} compares two texts, but {task.name} has one text a row.")
        if self.separate and not task.is_score and self.similarity(task) == "cosine":
            raise ValueError(f"A cosine is fitted to scores, but {task.name} has classes {task.label_names}.")
        if self.separate and self.similarity(task) == "cosine" and task.score_range is None:
            raise ValueError(
                f"A cosine is fitted to scores of a known range, but {task.name} has any numbers: take "
                "--pair_similarity classifier."
            )

    def check_trained(self, task: Task) -> None:
        """ValueError unless the checkpoint is a classifier with the classes of the task."""
        _, new = self.load(task, seed=0)
        names = [] if task.is_score else list(task.label_names)
        saved = [] if self.config.num_labels == 1 else list(self.config.id2label.values())
        unnamed = [f"LABEL_{number}" for number in range(len(names))]
        learned, asked = getattr(self.config, "fine_tuning", None), fine_tuning_facts(task)
        options = {"pair_similarity": self.pair_similarity, "classifier_reads_tokens": self.reads_tokens}
        changed = [name for name, value in options.items() if value not in (None, getattr(self.config, name, None))]
        reason = None
        if new:
            reason = f"{', '.join(new)} would be random"
        elif saved not in (names, unnamed):
            reason = f"its classes are {saved}, those of the task {names}"
        elif learned not in (None, asked):  # None: another program made it
            reason = f"it has learned {describe_facts(learned)}, and {task.name} has {describe_facts(asked)}"
        elif changed:
            reason = f"--{changed[0]} would change it"
        if reason:
            raise ValueError(
                f"{self.path} is no trained classifier of {task.name}: {reason}. Without training only a model that "
                "was fine-tuned on the task can be evaluated or used."
            )

    def max_length(self, asked: int) -> int:
        """Longest text in tokens: `asked`, or less where model or tokenizer allow less; ValueError if it has no room
        for a token."""
        marks = self.tokenizer.num_special_tokens_to_add(pair=not self.separate)
        if asked <= marks:
            raise ValueError(f"--max_seq_length must be more than the {marks} marks around texts, not {asked}.")
        positions = getattr(self.config, "max_position_embeddings", None)  # XLNet, without a limit, says -1
        allowed = [self.tokenizer.model_max_length, asked]
        return min(allowed if positions is None or positions < 0 else [positions, *allowed])

    @property
    def takes_token_types(self) -> bool:
        """Whether the model tells the two texts of a pair apart by `token_type_ids`; of other encoders the tokenizer
        knows."""
        if self.config.model_type in CONCEPT_MODEL_TYPES:
            return self.config.type_vocab_size > 1
        return "token_type_ids" in self.tokenizer.model_input_names

    def load(self, task: Task, seed: int) -> tuple[PreTrainedModel, list[str]]:
        """
        The classifier of a task, float32, and the names of the weights that the checkpoint does not have.

        Args:
            seed: of the new weights.

        Raises:
            ValueError: anything but a head would be new, or the decoder does not read the tokens that it is to read.
        """
        kind = CLASSIFIERS[self.classifier_type]
        model_class = kind.class_for(self.config)
        options = head_options(task)
        if self.reads_tokens is not None:
            options["classifier_reads_tokens"] = self.reads_tokens
        if self.separate:
            options["pair_similarity"] = self.similarity(task)
        set_seed(seed)
        with quiet_loading():
            try:
                model, info = model_class.from_pretrained(
                    self.path, dtype=torch.float32, trust_remote_code=self.trust_remote_code,
                    # A head of another task has another shape; what is not a head is looked at below.
                    ignore_mismatched_sizes=True, output_loading_info=True, **options,
                )  # fmt: skip
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"The checkpoint {self.path!r} cannot be read as {self.classifier_type}: {first_line(error)}"
                ) from error
        new = {*info["missing_keys"], *(key if isinstance(key, str) else key[0] for key in info["mismatched_keys"])}
        if wrong := sorted(key for key in new if not is_head(model, key)):
            raise ValueError(
                f"The checkpoint {self.path!r} does not hold the encoder of {type(model).__name__}: {wrong[0]} and "
                f"{len(wrong) - 1} other weights would be random."
            )
        if self.reads_tokens and not model.decoder.reads_tokens:
            raise ValueError(f"--classifier_reads_tokens: the decoder of {self.path!r} reads no tokens.")
        model.config.fine_tuning = fine_tuning_facts(task)
        return model, sorted(new)

    def make_untrained(self, task: Task, seed: int) -> PreTrainedModel:
        """The classifier of a task as it is before any training, the head included ([`untrained_like`])."""
        model, _ = self.load(task, seed)
        return untrained_like(model, seed)


def read_checkpoint(
    path: str,
    classifier_type: str | None = None,
    tokenizer_name: str | None = None,
    pair_similarity: str | None = None,
    trust_remote_code: bool = False,
    reads_tokens: bool | None = None,
) -> Checkpoint:
    """
    A checkpoint and what suits it.

    Args:
        path: folder or Hub id.
        classifier_type: name in `CLASSIFIERS`; by default that of the checkpoint (`classifier_type_of`).
        tokenizer_name: of a tokenizer with the same vocabulary; the checkpoint's own by default.
        pair_similarity, trust_remote_code, reads_tokens: see [`Checkpoint`].

    Raises:
        ValueError: there is no such checkpoint or type, or the two do not fit; the tokenizer is missing, has another
            vocabulary or no padding token.
    """
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ValueError(f"The checkpoint {path!r} cannot be read: {first_line(error)}") from error
    name = classifier_type or classifier_type_of(config)
    if name not in CLASSIFIERS:
        raise ValueError(f"Unknown classifier type {name!r}; choose one of {sorted(CLASSIFIERS)}.")
    if (config.model_type in CONCEPT_MODEL_TYPES) == (name == BERT_TYPE):
        raise ValueError(
            f"{path!r} is a {config.model_type} checkpoint, which {name} cannot read; its type is "
            f"{classifier_type_of(config)}."
        )
    if pair_similarity is not None:
        if not CLASSIFIERS[name].separate:
            raise ValueError(f"pair_similarity is an option of perceiver_pair_cls, not of {name}.")
        if pair_similarity not in ("classifier", "cosine"):
            raise ValueError(f"pair_similarity must be classifier or cosine, not {pair_similarity!r}.")
    if reads_tokens is not None and name != DECODER_TYPE:
        raise ValueError(f"classifier_reads_tokens is an option of {DECODER_TYPE}, not of {name}.")
    tokenizer = read_tokenizer(path, config, tokenizer_name, trust_remote_code)
    return Checkpoint(path, config, name, tokenizer, pair_similarity, reads_tokens, trust_remote_code)


def concepts_alone(model: PreTrainedModel) -> bool | None:
    """Whether a text reaches the classifier through its concepts alone; None for a model without concepts."""
    if model.config.model_type not in CONCEPT_MODEL_TYPES:
        return None
    decoder = getattr(model, "decoder", None)
    return not (decoder is not None and decoder.reads_tokens and model.config.classifier_reads_tokens)


def head_options(task: Task) -> dict:
    """Configuration values of the head that the task needs."""
    if task.is_score:
        return {"num_labels": 1, "problem_type": "regression"}
    names = dict(enumerate(task.label_names))
    return {
        "id2label": names,
        "label2id": {name: number for number, name in names.items()},
        "problem_type": "single_label_classification",
    }


def fine_tuning_facts(task: Task) -> dict:
    """What a classifier says of its task in its configuration, beside the classes: what must be as it was learned."""
    bounded = task.is_score and task.score_range is not None
    return {"texts": 2 if task.is_pair else 1, "score_range": list(task.score_range) if bounded else None}


def describe_facts(facts: dict) -> str:
    bounds = "" if facts["score_range"] is None else " with scores from {} to {}".format(*facts["score_range"])
    return ("pairs of texts" if facts["texts"] == 2 else "single texts") + bounds


def is_head(model: PreTrainedModel, key: str) -> bool:
    """Whether a weight belongs to what stands on the encoder (and on the decoder that reads concepts)."""
    if isinstance(model, models.heads_classification_concept.ConceptClassifierModel):
        return key.startswith(model.new_head_keys)
    return not key.startswith(f"{model.base_model_prefix}.") or ".pooler." in key


def head_modules(model: PreTrainedModel) -> list[str]:
    """The outermost modules all of whose weights belong to the head."""
    found = []
    for name, module in model.named_modules():
        keys = [f"{name}.{key}" for key in module.state_dict()]
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if name and keys and not inside and all(is_head(model, key) for key in keys):
            found.append(name)
    return found


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Without transformers' bar and its list of new and unused weights: the new ones are told by the caller."""
    level, bar = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        if bar:
            transformers.logging.enable_progress_bar()


@dataclass(frozen=True)
class TextEncoder:
    """
    Token ids of rows with `text_a` and `text_b`; used with `Dataset.map(batched=True)`.

    Args:
        tokenizer: of the checkpoint.
        max_length: longest text, or pair of texts where they are joined, in tokens.
        separate: encode the texts of a pair each on its own: `input_ids_a`, `attention_mask_a`, `input_ids_b`, …
        token_types: whether the model takes `token_type_ids`.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    separate: bool = False
    token_types: bool = False

    def tokenize(self, *texts: list[str]) -> tuple[dict[str, list], list[int]]:
        """Ids and masks, and how many tokens of each row were cut."""
        options = {"return_token_type_ids": self.token_types, "verbose": False}
        whole = self.tokenizer(*texts, **options)["input_ids"]
        kept = self.tokenizer(*texts, truncation=True, max_length=self.max_length, **options)
        return dict(kept), [len(long) - len(short) for long, short in zip(whole, kept["input_ids"])]

    def __call__(self, rows: dict[str, list]) -> dict[str, list]:
        texts = [list(rows[column]) for column in ("text_a", "text_b") if column in rows]
        if not self.separate:
            columns, cut = self.tokenize(*texts)
            return {**columns, "cut": cut}
        (first, first_cut), (second, second_cut) = (self.tokenize(column) for column in texts)
        columns = {f"{name}_a": ids for name, ids in first.items()} | {f"{n}_b": ids for n, ids in second.items()}
        return {**columns, "cut": [a + b for a, b in zip(first_cut, second_cut)]}

    def encode(self, rows: Dataset, description: str) -> tuple[Dataset, float]:
        """Rows of ids, masks and `label`, and the share of rows that were cut."""
        texts = [column for column in rows.column_names if column != "label"]
        encoded = rows.map(self, batched=True, remove_columns=texts, desc=description)
        cut = sum(count > 0 for count in encoded["cut"][:]) / max(len(encoded), 1)
        return encoded.remove_columns("cut"), cut


@dataclass
class TextCollator:
    """Pads each text of a batch to the longest beside it. Labels, if any, become `labels` [B], int64 or float32."""

    tokenizer: PreTrainedTokenizerBase

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        batch = {}
        for side in ("", "_a", "_b"):
            names = [f"{name}{side}" for name in ("input_ids", "attention_mask", "token_type_ids")]
            columns = {name: [row[name] for row in rows] for name in names if name in rows[0]}
            if columns:
                plain = {name.removesuffix(side): column for name, column in columns.items()}
                padded = self.tokenizer.pad(plain, return_tensors="pt")
                batch |= {f"{name}{side}": value for name, value in padded.items()}
        if "label" in rows[0]:
            labels = [row["label"] for row in rows]
            batch["labels"] = torch.tensor(labels, dtype=torch.float32 if isinstance(labels[0], float) else torch.long)
        return batch
