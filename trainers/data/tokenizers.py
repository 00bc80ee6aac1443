# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Train a tokenizer, load one, and check that it belongs to a checkpoint."""

from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import trainers as tokenizer_trainers
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..utils.errors import UNREADABLE, first_line


SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}

# Text on which two tokenizers of one vocabulary are compared.
PROBE = "The Quick brown fox,\n naïve (E.g. HTML) didn't  jump 12,345.6 times — żółw 我爱你 🙂"


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, max_length: int, lower_case: bool = False, special_ends: bool = True
) -> PreTrainedTokenizerFast:
    """
    Byte-level BPE with BERT's special tokens.

    Args:
        texts: training text.
        vocab_size: size of the vocabulary with the special tokens and the 256 bytes.
        max_length: length to which the tokenizer truncates with `truncation=True`.
        lower_case: turn capitals into small letters; reconstructions then have none.
        special_ends: whether texts become `[CLS] text [SEP]` and pairs `[CLS] a [SEP] b [SEP]`, as in BERT, or `text`
            and `a [SEP] b`. Concepts must hold the special tokens, too, which are a good part of short texts.

    Raises:
        ValueError: `vocab_size` does not leave room for the bytes.
    """
    if vocab_size < 256 + len(SPECIAL_TOKENS):
        raise ValueError(
            f"A byte-level vocabulary needs at least {256 + len(SPECIAL_TOKENS)} tokens, not {vocab_size}."
        )
    # The space before a mask belongs to it, as to the word that it hides: otherwise it would be a token of its own.
    specials = SPECIAL_TOKENS | {"mask_token": AddedToken(SPECIAL_TOKENS["mask_token"], lstrip=True, normalized=False)}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    if lower_case:
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = tokenizer_trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(specials.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    single, pair = ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1") if special_ends else ("$A", "$A [SEP] $B:1")
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_length, **specials)


def load_tokenizer(name: str, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """
    The tokenizer of a Hub id or folder.

    Raises:
        ValueError: there is none, or it cannot be loaded.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    except UNREADABLE as error:
        raise ValueError(f"The tokenizer of {name!r} cannot be read: {first_line(error)}") from error
    # Without files, transformers creates a tokenizer with an empty vocabulary for some architectures.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ValueError(f"{name!r} holds no tokenizer.")
    return tokenizer


def tokenizer_mismatch(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> str | None:
    """The difference by which a tokenizer cannot belong to a model with this configuration."""
    for name in ("pad_token_id", "mask_token_id"):
        known, found = getattr(config, name, None), getattr(tokenizer, name)
        if known is not None and known != found:
            return f"{name} is {found}, in the configuration {known}"
    if len(tokenizer) > config.vocab_size:
        return f"it has {len(tokenizer):,} tokens, the model {config.vocab_size:,}"
    return None


def read_tokenizer(
    path: str, config: PreTrainedConfig, tokenizer_name: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """
    The tokenizer of a checkpoint, or another one that gives the same tokens.

    Args:
        path: folder or Hub id of the checkpoint.
        config: its configuration.
        tokenizer_name: Hub id or folder of another one.
        trust_remote_code: whether code of the tokenizer's repository may run.

    Raises:
        ValueError: it cannot be loaded, has another vocabulary, divides text into other tokens, or cannot pad.
    """
    try:
        own = load_tokenizer(path, trust_remote_code)
    except ValueError as error:
        if tokenizer_name is None:
            raise ValueError(f"{error} Give --tokenizer_name, the one that it was trained with.") from error
        own = None
    tokenizer = own if tokenizer_name is None else load_tokenizer(tokenizer_name, trust_remote_code)
    mismatch = None
    if own is None:
        mismatch = tokenizer_mismatch(tokenizer, config)
    elif tokenizer.get_vocab() != own.get_vocab():
        mismatch = "it has another vocabulary"
    elif tokenizer(PROBE, verbose=False)["input_ids"] != own(PROBE, verbose=False)["input_ids"]:
        mismatch = "it divides text into other tokens"
    if mismatch is not None:
        raise ValueError(f"The tokenizer {tokenizer_name!r} is not that of the checkpoint {path!r}: {mismatch}.")
    if len(tokenizer) > config.vocab_size:
        raise ValueError(f"The tokenizer has {len(tokenizer)} tokens, the checkpoint only {config.vocab_size}.")
    if tokenizer.pad_token_id is None:
        raise ValueError(f"The tokenizer of {path!r} has no padding token, which batches of texts need.")
    return tokenizer
