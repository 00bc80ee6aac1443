# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Tokenizers: reading one, and the one that belongs to a checkpoint."""

from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from .data import UNREADABLE, first_line


# Text on which two tokenizers of one vocabulary are compared.
PROBE = "The Quick brown fox,\n naïve (E.g. HTML) didn't  jump 12,345.6 times — żółw 我爱你 🙂"


def load_tokenizer(name: str, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """
    The tokenizer of a Hub id or folder.

    Raises:
        ValueError: there is none, or it cannot be read.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    except UNREADABLE as error:
        raise ValueError(f"The tokenizer of {name!r} cannot be read: {first_line(error)}") from error
    # Where there are no files, transformers makes a tokenizer of some architectures that knows no word.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ValueError(f"{name!r} holds no tokenizer.")
    return tokenizer


def read_tokenizer(
    path: str, config: PreTrainedConfig, tokenizer_name: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """
    The tokenizer of a checkpoint, or the one asked for if it gives the same tokens.

    Args:
        path: folder or Hub id of the checkpoint.
        config: its configuration.
        tokenizer_name: Hub id or folder of another one.
        trust_remote_code: whether code of the tokenizer's repository may run.

    Raises:
        ValueError: it cannot be read, has another vocabulary, divides text into other tokens, or cannot pad.
    """
    try:
        own = load_tokenizer(path, trust_remote_code)
    except ValueError as error:
        if tokenizer_name is None:
            raise ValueError(f"{error} Give --tokenizer_name, the one that it was trained with.") from error
        own = None
    tokenizer = own if tokenizer_name is None else load_tokenizer(tokenizer_name, trust_remote_code)
    ids = [(getattr(config, f"{name}_token_id", None), getattr(tokenizer, f"{name}_token_id"))
           for name in ("pad", "mask", "cls", "sep")]  # fmt: skip
    differs = own is None and any(None not in pair and pair[0] != pair[1] for pair in ids)
    if differs or (own is not None and tokenizer.get_vocab() != own.get_vocab()):
        raise ValueError(
            f"The tokenizer {tokenizer_name!r} has another vocabulary than the checkpoint {path!r}; use the one that "
            "the checkpoint was trained with."
        )
    if own is not None and tokenizer(PROBE, verbose=False)["input_ids"] != own(PROBE, verbose=False)["input_ids"]:
        raise ValueError(
            f"The tokenizer {tokenizer_name!r} divides text into other tokens than that of the checkpoint {path!r}, "
            "though both have one vocabulary; use the one that the checkpoint was trained with."
        )
    if len(tokenizer) > config.vocab_size:
        raise ValueError(f"The tokenizer has {len(tokenizer)} tokens, the checkpoint only {config.vocab_size}.")
    if tokenizer.pad_token_id is None:
        raise ValueError(f"The tokenizer of {path!r} has no padding token, which batches of texts need.")
    return tokenizer
