# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""A tokenizer learned from the training text itself, in seconds."""

from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import trainers as tokenizer_trainers
from transformers import PreTrainedTokenizerFast


SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}

# Memory for so many tokens is taken at once, and the process dies where there is not enough.
LARGEST_VOCABULARY = 10_000_000


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, max_length: int, lower_case: bool = False, special_ends: bool = True
) -> PreTrainedTokenizerFast:
    """
    Byte-level BPE with BERT's special tokens.

    Args:
        texts: training text.
        vocab_size: size of the vocabulary with the special tokens and the 256 bytes.
        max_length: what the tokenizer truncates to when it is asked to.
        lower_case: read capitals as small letters; what is read back has none.
        special_ends: whether texts become `[CLS] text [SEP]` and pairs `[CLS] a [SEP] b [SEP]`, as BERT has them, or
            `text` and `a [SEP] b`. Concepts hold what they read, and of short texts the ends are a good part.

    Raises:
        ValueError: `vocab_size` does not leave room for the bytes, or is far beyond any vocabulary.
    """
    if vocab_size > LARGEST_VOCABULARY:
        raise ValueError(f"vocab_size must be at most {LARGEST_VOCABULARY:,}, not {vocab_size:,}.")
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
