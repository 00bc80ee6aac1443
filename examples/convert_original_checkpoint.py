# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Turn a checkpoint of the original implementation into one of this package, with equal outputs.

    python examples/convert_original_checkpoint.py \
        --model_name_or_path ksopyla/concept-encoder-perceiver_mlm_H512L6C128_20260208_211633 --output_dir converted

The class follows from the configuration's `architectures`.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError

from transformers.utils import cached_file

import modeling_concept as models
from modeling_concept.base_concept import load_state_dict
from trainers.utils.errors import UNREADABLE, first_line
from trainers.utils.runs import check_output_dir
from trainers.utils.script import parse_arguments, read_arguments, run_script


COPIED_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json",
                "merges.txt", "added_tokens.json", "spiece.model")  # fmt: skip
# Decoders that follow from the original's class.
DECODERS = {"ConceptEncoderForMaskedDiffusion": "diffusion", "ConceptEncoderForMaskedLMWeighted": "weighted",
            "ConceptEncoderForMaskedLMPerceiverPosOnly": "position"}  # fmt: skip
# What is a part of the model itself there, and of its decoder here.
DECODER_PARTS = ("decoder_", "post_cross_norm.", "concept_weights", "pre_lm_projection.")


def make_model(config: dict, name: str, keys):
    """The model here for a class of the original; what that kept outside its configuration is read off the weights."""
    recursive, _, head = name.partition("ConceptEncoderFor")
    head = "MaskedLM" if head.startswith("Masked") else head
    model_class = getattr(models, f"{recursive}OriginalConceptEncoderFor{head}", None)
    if model_class is None:
        raise ValueError("it is no checkpoint of a known class of the original implementation")
    kept = {*model_class.config_class.own_options(), "id2label", "label2id", "problem_type"} - {"hidden_act"}  # unread
    options = {key: value for key, value in config.items() if key in kept and value is not None}
    reads_tokens = name.startswith("Recursive") or not config.get("decoder_posonly")
    options["decoder_type"] = DECODERS.get(name, "token_position" if reads_tokens else "position")
    options["num_decoder_layers"] = len({key.split(".")[2] for key in keys if key.startswith("decoder.layers.")}) or 1
    options["encoder_type"] = "bixt" if config.get("use_bixt") else "perceiver"
    return model_class(model_class.config_class(**options))


def convert_weights(weights: dict, config) -> dict:
    """The original's weights under the names that they have here, without those that nothing reads."""
    last = f"encoder.layers.{config.num_hidden_layers - 1}."
    unread = ("loss_manager.", f"{last}token_concept_attn.", f"{last}pre_reverse_cross_norm.")
    weights = {key: tensor for key, tensor in weights.items() if not key.startswith(unread)}
    weights = {f"decoder.{key}" if key.startswith(DECODER_PARTS) else key: weights[key] for key in weights}
    return {key.replace("decoder.token_embed.", "decoder.token_embeddings."): weights[key] for key in weights}


def convert(source: str, output: str) -> models.OriginalConceptEncoder:
    """
    Convert the checkpoint `source` (folder or Hub id) into the folder `output`; returns the model.

    Raises:
        ValueError: there is no such checkpoint, it cannot be read, it is not the original's, or weights are missing,
            unknown or of another shape; the output folder is not empty.
    """
    try:
        model = convert_model(source)
    except (EOFError, UnpicklingError, *UNREADABLE) as error:
        raise ValueError(f"The checkpoint {source!r} cannot be converted: {first_line(error)}") from error
    check_output_dir(output, ("*",))
    model.eval().save_pretrained(output)
    for file in COPIED_FILES:
        if path := cached_file(source, file, _raise_exceptions_for_missing_entries=False):
            shutil.copyfile(path, Path(output) / file)
    return model


def convert_model(source: str):
    """The checkpoint `source` as a model of this package; errors as they come."""
    path = cached_file(source, "config.json", _raise_exceptions_for_missing_entries=False)
    if path is None:
        raise ValueError("there is no config.json")
    config = read_arguments(path)
    if "auto_map" in config:
        raise ValueError("it is a checkpoint of this package already")
    name = (config.get("architectures") or [""])[0]
    weights = {key.replace("_orig_mod.", ""): value for key, value in load_state_dict(source).items()}
    model = make_model(config, name, weights)
    model.load_state_dict(convert_weights(weights, model.config))
    return model


@dataclass
class ConversionArguments:
    """What is converted, and where it goes."""

    model_name_or_path: str = field(metadata={"help": "Folder or Hub id of the original's checkpoint."})
    output_dir: str = field(metadata={"help": "Folder for the converted one; must be new or empty."})


def main():
    (args,) = parse_arguments(ConversionArguments)
    model = convert(args.model_name_or_path, args.output_dir)
    print(f"{type(model).__name__}, {model.num_parameters():,} parameters, saved in {args.output_dir}")


if __name__ == "__main__":
    run_script(main)
