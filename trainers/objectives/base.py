# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What an objective is, and several objectives in one run.

An objective turns clean texts and noise into the inputs of a model, and these inputs with their concepts into a loss.

B texts, T texts that are compared, N tokens, S target positions, C concepts, H hidden.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import ClassVar

import torch
import torch.nn as nn

from modeling_concept.heads_lm_concept import count_supervised

from .noise import Noise
from .vocabulary import CleanBatch


def option(default, description: str):
    """A field of an objective: an option of the command line, with its help."""
    return field(default=default, metadata={"help": description})


@dataclass
class Objective(ABC):
    """
    What is hidden from the model and what it must predict. A subclass is a dataclass whose fields are its options.

    The loss of an optimizer step is the mean over all its items: supervised tokens, texts, whatever `items` counts.
    """

    mean_only: ClassVar[bool] = False  # whether the loss depends on the concepts through their mean alone
    reads_any_tokens: ClassVar[bool] = False  # whether texts may be cut in other tokens than the encoder's

    @abstractmethod
    def __call__(self, batch: CleanBatch, noise: Noise) -> dict[str, torch.Tensor]:
        """The inputs of `loss`, among them `input_ids` and `attention_mask`, which are encoded."""

    @abstractmethod
    def items(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Number of items in `inputs`, a float scalar tensor."""

    def makes_concepts(self, config) -> bool:
        """Whether `encode` gives the concepts of a model of this configuration."""
        return True

    def encode(self, model, inputs: dict[str, torch.Tensor], **options):
        """What `loss` needs of the model's encoder, whose `options` are the depth of a recursive one."""
        return model.base_model(inputs["input_ids"], inputs["attention_mask"], **options)

    @abstractmethod
    def loss(self, model, head: nn.Module | None, encoded, inputs: dict[str, torch.Tensor], items) -> torch.Tensor:
        """
        Sum of the losses of a batch, divided by `items`.

        Args:
            model: a concept model with a decoder.
            head: result of `make_head`.
            encoded: result of `encode`.
            inputs: result of the call.
            items: number of items in the whole optimizer step.
        """

    def for_evaluation(self) -> "Objective":
        """The objective as the evaluation loss measures it."""
        return self

    def make_head(self, config) -> nn.Module | None:
        """A module that is trained beside the model and not saved with it."""
        return None

    def check(self, config) -> None:  # noqa: B027
        """ValueError if a model of this configuration cannot be trained by the objective."""

    def metrics(self, loss: float, vectors: torch.Tensor | None) -> dict[str, float]:
        """Further metrics of an evaluation, from its mean loss and the vectors [T, …] of a joint objective."""
        return {}


@dataclass
class TokenObjective(Objective):
    """
    Tokens are predicted from concepts. The call gives arguments of the model's `forward`: `labels` [B, S] name every
    position that counts in the mean (-100 elsewhere), `loss_weights` [B, S], if any, the weight of each.
    """

    continuation: ClassVar[bool] = False  # whether the predicted tokens follow the encoded text
    needs_token_queries: ClassVar[bool] = False  # whether the decoder's queries must hold tokens
    by_reader: ClassVar[bool] = False  # whether the reader predicts the tokens, not the decoder

    def items(self, inputs):
        return (inputs["labels"] != -100).sum().float()

    def check(self, config):
        name, kind, target = type(self).__name__, config.decoder_type, "continuation" if self.continuation else "text"
        if self.by_reader and getattr(config, "reader_config", None) is None:
            raise ValueError(f"{name} needs a model with a reader: --model_type causal_lm.")
        if not self.by_reader and kind == "causal":
            raise ValueError(
                f"{name} needs a decoder beside the reader: name an objective of the reader, too, when the model is "
                "new, or set --config_overrides decoder_type=position."
            )
        if self.needs_token_queries and kind not in ("diffusion", "token_position"):
            raise ValueError(
                f"{name} needs a decoder that reads tokens (diffusion or token_position), not {kind!r}; choose "
                "another --model_type, which starts from a checkpoint of this one by --init_encoder_from."
            )
        if config.decoder_target not in (target, "both"):
            raise ValueError(f"{name} predicts a {target}, but decoder_target is {config.decoder_target!r}.")

    def loss(self, model, head, encoded, inputs, items):
        if model._compiled_call_impl is not None:
            inputs = inputs | {"supervised_num": rounded_supervised_num(inputs)}
        if hasattr(model, "reader"):
            inputs = inputs | {"text_decoder": not self.by_reader}
        return model(
            **inputs,
            encoder_outputs=encoded,
            continuation=self.continuation,
            num_items_in_batch=items,
            return_logits=False,  # in evaluation, too, only supervised positions are computed
        ).loss


@dataclass
class JointObjective(Objective):
    """The texts of a batch are compared with each other; a step's loss is the mean of its batches' losses by texts."""

    @abstractmethod
    def vectors(self, encoded) -> torch.Tensor:
        """Vectors [T, …] of the texts of a batch, from a ConceptEncoderOutput."""

    @abstractmethod
    def joint_loss(self, vectors: torch.Tensor) -> torch.Tensor:
        """Mean loss, a scalar, from the vectors [T, …] of the texts."""

    def loss(self, model, head, encoded, inputs, items):
        vectors = self.vectors(encoded)
        return self.joint_loss(vectors) * (len(vectors) / items)


@dataclass
class Mixture:
    """
    Objectives by name. Each text of a training step is given to one of `parts`, whose shares sum to 1, and to all
    auxiliary objectives. The loss is the mean of each part's own mean weighted by its share (among the parts that have
    a text in the step), plus the auxiliary losses with their weights.

    Args:
        objectives: the objectives.
        parts: share of the texts, by name.
        auxiliary: weight of the loss, by name.
    """

    objectives: dict[str, Objective]
    parts: dict[str, float]
    auxiliary: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        if not (abs(sum(self.parts.values()) - 1) <= 1e-6 and min(self.parts.values()) > 0):
            raise ValueError(f"The shares of objectives without + must be positive and sum to 1, unlike {self.parts}.")
        if not all(0 < weight < math.inf for weight in self.auxiliary.values()):
            raise ValueError(f"The weights of auxiliary objectives must be positive, unlike {self.auxiliary}.")

    def for_evaluation(self) -> "Mixture":
        measured = {name: objective.for_evaluation() for name, objective in self.objectives.items()}
        return Mixture(measured, self.parts, self.auxiliary)

    @property
    def mean_only(self) -> bool:
        """Whether the losses depend on the concepts through their mean alone."""
        return all(objective.mean_only for objective in self.objectives.values())

    def check(self, config) -> None:
        """ValueError if a model of this configuration cannot be trained by the objectives."""
        if self.mean_only and config.concept_mean != "free":
            raise ValueError(
                f"{' and '.join(self.objectives)} alone would train no layer: the loss depends on the mean of the "
                "concepts, which is that of the token embeddings here; set --config_overrides concept_mean=free."
            )
        for name, objective in self.objectives.items():
            objective.check(config)
            if getattr(config, "own_reader_tokenizer", False) and not objective.reads_any_tokens:
                raise ValueError(
                    f"{name} needs a reader with the encoder's tokenizer, and this one has its own; take objectives "
                    "of the reader, and distillation."
                )

    @property
    def decoder_target(self) -> str:
        """What the decoder must be able to predict: "text", "continuation" or "both"."""
        kinds = {o.continuation for o in self.objectives.values() if isinstance(o, TokenObjective)}
        return "both" if len(kinds) == 2 else "continuation" if True in kinds else "text"

    @property
    def by_reader(self) -> bool:
        """Whether an objective needs a reader."""
        return any(getattr(objective, "by_reader", False) for objective in self.objectives.values())

    @property
    def decoder_beside_reader(self) -> str:
        """The decoder that the other objectives need beside a reader; "causal" if they need none."""
        others = [o for o in self.objectives.values() if isinstance(o, TokenObjective) and not o.by_reader]
        needs_tokens = any(objective.needs_token_queries for objective in others)
        return "causal" if not others else "token_position" if needs_tokens else "position"

    def assign(self, batch: CleanBatch, noise: Noise) -> dict[str, dict[str, torch.Tensor]]:
        """Inputs by objective for a training batch. An objective without a text is left out."""
        inputs = {}
        place = noise.fold_in("mixture").low_discrepancy()
        low = 0.0
        for name, share in self.parts.items():
            rows = ((place >= low) & (place < low + share + 1e-9)).nonzero()[:, 0] if share < 1 else slice(None)
            low += share
            if share == 1 or len(rows):
                inputs[name] = self.objectives[name](batch.rows(rows), noise.rows(rows).fold_in(name))
        return inputs | {name: self.objectives[name](batch, noise.fold_in(name)) for name in self.auxiliary}

    def weights(self, present: set[str]) -> dict[str, float]:
        """Weight of each objective's mean loss in a step in which `present` objectives have texts."""
        total = sum(share for name, share in self.parts.items() if name in present)
        shares = {name: share / total for name, share in self.parts.items() if name in present}
        return shares | {name: weight for name, weight in self.auxiliary.items() if name in present}

    def describe(self) -> str:
        """As in `--objective`."""
        parts = [name if share == 1 else f"{name}:{share:g}" for name, share in self.parts.items()]
        return ",".join(parts + [f"+{name}:{weight:g}" for name, weight in self.auxiliary.items()])

    def options(self) -> dict[str, dict]:
        """Options of each objective."""
        return {name: asdict(objective) for name, objective in self.objectives.items()}


def parse_mixture(text: str) -> tuple[dict[str, float], dict[str, float]]:
    """
    Shares and auxiliary weights from `denoising:0.6,prefix_diffusion:0.4,+contrastive:0.1`; a single name has the
    share 1.

    Raises:
        ValueError: another form, or a name that comes twice.
    """
    parts, auxiliary = {}, {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        name, colon, number = item.partition(":")
        group = auxiliary if name.startswith("+") else parts
        name = name.lstrip("+").strip()
        if name in parts or name in auxiliary:
            raise ValueError(f"The objective {name!r} is given twice.")
        group[name] = float(number) if colon else 1.0
    return parts, auxiliary


def rounded_supervised_num(inputs: dict[str, torch.Tensor]) -> int:
    """The most supervised positions of any row, rounded up to a multiple of an eighth of the length, so that few
    shapes are compiled."""
    length = inputs["labels"].shape[1]
    step = -(-length // 8)
    return min(-(-count_supervised(inputs["labels"], inputs.get("loss_weights")) // step) * step, length)


def share_range(name: str, shares) -> list[float]:
    """One share, or the two ends of a range of them, as a list; ValueError unless they rise within [0, 1]."""
    shares = list(shares) if isinstance(shares, list | tuple) else [shares]
    if len(shares) not in (1, 2) or not 0 <= shares[0] <= shares[-1] <= 1:
        raise ValueError(f"{name} is a share between 0 and 1, or the two ends of a range, not {shares}.")
    return shares


def prefix_shares(shares) -> list[float]:
    """Shares of texts that are their prefixes, one or the two ends of a range; ValueError unless they leave both
    prefix and suffix."""
    shares = share_range("prefix_share", shares)
    if shares[0] == 0 or shares[-1] == 1:
        raise ValueError("prefix_share must leave both prefix and suffix: above 0 and below 1.")
    return shares
