# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Causal language models that read concepts: reading a pretrained one, describing a small new one, putting one into a
concept model, and what of it is trained.

V tokens, R width of the reader.
"""

import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..objectives.vocabulary import Vocabulary
from .backbone import FOREIGN_KEYS, PROBE_LENGTH, fingerprint, train_part
from .loading import load_weights, read_config


class Reader(NamedTuple):
    """
    A pretrained causal language model.

    Args:
        config: its configuration.
        weights: by their names in it, float32, each tied one under one name.
        generation_config: how it writes.
        source: Hub id or folder that it was read from.
    """

    config: dict[str, Any]
    weights: dict[str, torch.Tensor]
    generation_config: GenerationConfig
    source: str = ""


def read_reader(name_or_path: str) -> Reader:
    """
    Read a causal language model. It is run once on a few tokens.

    Args:
        name_or_path: Hub id or folder of a model that `AutoModelForCausalLM` loads. Code that comes with a model is
            not run: a concept checkpoint could not carry it.

    Raises:
        ValueError: the model cannot be read, lacks weights, does not take embeddings, mask and positions, or is of an
            architecture whose logits are not those of a linear head on the states of its layers.
    """
    config = read_config(name_or_path, concepts=False)
    model, info = load_weights(AutoModelForCausalLM, name_or_path, trust_remote_code=False)
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"{name_or_path} does not hold the weights {missing[:3]}, which would be random.")
    taken = set(inspect.signature(model.forward).parameters)
    if unknown := {"inputs_embeds", "attention_mask", "position_ids"} - taken:
        raise ValueError(f"A reader of type {config.model_type!r} does not take {sorted(unknown)}.")
    check_head(model.eval(), name_or_path)
    values = json.loads(json.dumps(config.to_diff_dict()))
    values = {name: value for name, value in values.items() if name not in FOREIGN_KEYS}
    return Reader(values, weights_of(model), model.generation_config, name_or_path)


def weights_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Parameters and persistent buffers by name, each tied one under one name."""
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    return {name: value for name, value in model.state_dict().items() if name not in tied}


@torch.no_grad()
def check_head(model: PreTrainedModel, name: str) -> None:
    """ValueError unless the logits of `model` are its output embeddings times the states of its layers."""
    size = model.get_input_embeddings().num_embeddings
    ids = torch.linspace(0, size - 1, PROBE_LENGTH).long()[None]
    expected, head = model(input_ids=ids).logits, model.get_output_embeddings()
    found = head(model.base_model(input_ids=ids).last_hidden_state)
    if not (found.shape == expected.shape and torch.allclose(found, expected, atol=1e-3, rtol=1e-3)):
        raise ValueError(
            f"The logits of {name} ({model.config.model_type}) are not those of a linear head on its states; this "
            "architecture is not supported as a reader."
        )


def new_reader_config(config, tokenizer) -> dict[str, Any]:
    """Configuration of a small new reader, a Llama of the sizes of a concept model's `config`, with the vocabulary of
    the encoder."""
    ends = [getattr(tokenizer, f"{token}_token_id", None) for token in ("eos", "sep")]
    return {
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_decoder_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_attention_heads,
        "max_position_embeddings": 4 * config.max_sequence_length,
        "initializer_range": config.hidden_size**-0.5,
        "tie_word_embeddings": True,
        "pad_token_id": getattr(tokenizer, "pad_token_id", None),
        "bos_token_id": None,
        "eos_token_id": next((token for token in ends if token is not None), None),
    }


@torch.no_grad()
def load_reader(model: PreTrainedModel, reader: Reader) -> None:
    """
    Copy a reader into a concept model, whose adapter is scaled to the reader's token table. `config.reader_source`
    records what was loaded.

    Raises:
        RuntimeError: weights do not fit.
    """
    lm = model.reader.lm
    lm.load_state_dict({name: reader.weights.get(name, value) for name, value in lm.state_dict().items()})
    rows = rows_of(lm)
    model.reader.adapter.match_norm(rows)
    model.reader.start_embeddings.copy_(rows.mean(dim=0).expand(2, -1))
    model.generation_config = lm.generation_config = reader.generation_config
    model.config.reader_source = {
        # A folder is recorded beside the checkpoint only, which does not go to the Hub.
        "name_or_path": None if Path(reader.source).is_dir() else reader.source,
        "sha256": fingerprint(lm.get_input_embeddings().weight, reader.weights),
    }


@torch.no_grad()
def rows_of(lm: PreTrainedModel) -> torch.Tensor:
    """Rows [V, R] of the token table, float32, as the model looks them up: some scale them."""
    table = lm.get_input_embeddings()
    return table(torch.arange(table.num_embeddings, device=table.weight.device)).float()


def train_reader(model: PreTrainedModel, how: Literal["full", "frozen", "lora"]) -> None:
    """Choose what of the reader is trained, as [`train_backbone`] does; adapter and start embeddings always are."""
    lm = model.reader.lm
    train_part(lm.parameters(), lm, how)


def reader_parameters(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    """The weights of the reader, without the adapter; none without a reader."""
    reader = getattr(model, "reader", None)
    return [] if reader is None else list(reader.lm.parameters())


@torch.no_grad()
def centre_reader(model: PreTrainedModel, batches: Iterable[dict[str, torch.Tensor]], counts: torch.Tensor) -> None:
    """
    Let the mean concept of texts become the mean row of the reader's table, so that what a new adapter passes on is
    what differs between concepts. Concepts that are means of rows then say something to a reader before any training.

    Args:
        model: a model with a reader.
        batches: `input_ids` and `attention_mask` of texts, inputs of the encoder.
        counts: [V], how often each token of the reader occurs in the training text.
    """
    encoder, total, number = model.base_model, 0.0, 0
    with model.inference_mode():
        for batch in batches:
            concepts = encoder(batch["input_ids"], batch["attention_mask"], return_dict=True).last_hidden_state
            total, number = total + concepts.double().sum(dim=(0, 1)), number + concepts.shape[0] * concepts.shape[1]
    rows = rows_of(model.reader.lm)
    shares = counts[: len(rows)].to(rows.device, torch.float32)
    shares = F.pad(shares, (0, len(rows) - len(shares))) / shares.sum().clamp(min=1)
    model.reader.adapter.centre(total / number, shares @ rows)


def is_centred(model: PreTrainedModel) -> bool:
    """Whether nothing is to be done by [`centre_reader`]: there is no pretrained reader, or its adapter is centred or
    trained."""
    return not getattr(model.config, "reader_source", None) or bool(model.reader.adapter.offset.any())


def text_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer in whose tokens texts are cut for training: `tokenizer`, that of the encoder, unless the model's
    reader has its own."""
    if not getattr(model.config, "own_reader_tokenizer", False):
        return tokenizer
    own = model.reader_tokenizer
    if own.pad_token is None:
        if own.eos_token is None:
            raise ValueError("The reader's tokenizer has neither padding nor end token: set its pad_token.")
        own.pad_token = own.eos_token  # masked wherever it pads
    return own


def make_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Vocabulary:
    """What objectives need to know of the tokens in which texts are cut for a model with the encoder's `tokenizer`."""
    cutter, encoder = text_tokenizer(model, tokenizer), {}
    if cutter is not tokenizer:
        encoder = {"encoder_tokenizer": tokenizer, "encoder_length": model.config.max_sequence_length}
    return Vocabulary.of(cutter, model.device, end_token_id=end_token(model, cutter), **encoder)


def end_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token with which the reader of a model ends a text, that of its tokenizer if it knows several; None without
    a reader, or if it ends none."""
    if not hasattr(model, "reader"):
        return None
    ends = model.generation_config.eos_token_id
    if isinstance(ends, list):
        return tokenizer.eos_token_id if tokenizer.eos_token_id in ends else ends[0]
    return ends
