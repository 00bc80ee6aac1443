# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Batches of generated problems.

B problems, F facts of a problem, W words of a fact with its question, N = F·W tokens.
"""

from itertools import product
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from .problems import Fact, ProblemTask


PAD, UNKNOWN, MASK = "[PAD]", "[UNK]", "[MASK]"
CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"


def make_names(count: int) -> list[str]:
    """`count` different names of two syllables, such as "bada"."""
    syllables = ["".join(pair) for pair in product(CONSONANTS, VOWELS)]
    if count > len(syllables) ** 2:
        raise ValueError(f"There are {len(syllables) ** 2} names, not {count}.")
    # The step has no factor in common with the number of names, so that neighbours differ in both syllables.
    numbers = [1087 * number % len(syllables) ** 2 for number in range(count)]
    return [syllables[number // len(syllables)] + syllables[number % len(syllables)] for number in numbers]


def make_tokenizer(task: ProblemTask, names: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words, all that can occur in a problem."""
    words = dict.fromkeys([PAD, UNKNOWN, MASK, *task.words, *names])
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, unk_token=UNKNOWN, mask_token=MASK)


class Batch(NamedTuple):
    """
    Args:
        input_ids: [B, N], every fact ending with a mask token.
        labels: [B, N], the answers at the mask tokens, -100 elsewhere.
        steps: [B, F], as in [`Fact`].
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    steps: torch.Tensor

    @property
    def answers(self) -> torch.Tensor:
        """[B, F]."""
        return self.at_questions(self.labels)

    def at_questions(self, values: torch.Tensor) -> torch.Tensor:
        """Of `values` [B, N, …] at all tokens those at the mask tokens, [B, F, …]."""
        facts = self.steps.shape[1]
        return values.unflatten(1, (facts, -1))[:, :, -1]

    def to(self, device) -> "Batch":
        return Batch(*(part.to(device) for part in self))


def make_batch(problems: list[list[Fact]], tokenizer) -> Batch:
    """Problems of equally many facts."""
    index = tokenizer.get_vocab()
    ids = [[[*(index[word] for word in fact.words), tokenizer.mask_token_id] for fact in facts] for facts in problems]
    input_ids = torch.tensor(ids)
    labels = torch.full_like(input_ids, -100)
    labels[:, :, -1] = torch.tensor([[index[fact.answer] for fact in facts] for facts in problems])
    steps = torch.tensor([[fact.steps for fact in facts] for facts in problems])
    return Batch(input_ids.flatten(1), labels.flatten(1), steps)


def problem_text(facts: list[Fact]) -> str:
    """A problem as a text with its questions."""
    return " ".join(" ".join([*fact.words, MASK]) for fact in facts)
