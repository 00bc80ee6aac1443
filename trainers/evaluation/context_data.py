# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Texts of which a reader is told the beginning, and what it then has to predict: what follows, or the answer to a
question.

T texts, P prefix tokens, S suffix tokens, C concepts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from datasets import Dataset
from torch.nn.utils.rnn import pad_sequence


@dataclass
class ContextData:
    """
    Texts in tokens of the reader.

    Args:
        name: of the data.
        prefixes: [T, P].
        suffixes: [T, S], what follows; or a question, its answer and padding.
        earlier: bool [T, S], True at tokens of words that occur in the prefix, but not in its last C tokens.
        counted: bool [T, S], True at the tokens that are measured, those of answers; all without questions.
        asks: whether suffixes are questions with answers.
    """

    name: str
    prefixes: torch.Tensor
    suffixes: torch.Tensor
    earlier: torch.Tensor
    counted: torch.Tensor | None = None
    asks: bool = False

    def __post_init__(self):
        if self.counted is None:
            self.counted = torch.ones_like(self.earlier)

    def first(self, count: int) -> "ContextData":
        """The first `count` texts."""
        columns = (self.prefixes, self.suffixes, self.earlier, self.counted)
        name = f"{self.name}, the first {count:,}"
        return ContextData(name, *(column[:count] for column in columns), asks=self.asks)


def make_context_data(
    name: str, texts: Dataset, column: str, tokenizer, prefix: int, suffix: int, count: int, last: int
) -> ContextData:
    """
    `count` pieces of `prefix` and `suffix` tokens, one of each document, from documents and places that are spread
    evenly; of fewer documents several pieces each.

    Args:
        last: number of the last tokens of the prefix in which a word of `earlier` must not occur.

    Raises:
        ValueError: the texts hold fewer than two such pieces.
    """
    length, pieces = prefix + suffix, []
    rounds = -(-count // max(len(texts), 1))
    for row in spread(texts, 4 * count):
        ids = tokenizer(row[column], add_special_tokens=False)["input_ids"]
        fits = len(ids) // length
        for part in range(min(fits, rounds)):
            start = part * (len(ids) // min(fits, rounds)) if fits > 1 else 0
            pieces.append(ids[start : start + length])
    check_pieces(name, len(pieces), length)
    ids = torch.tensor(list(spread(pieces, count)))
    earlier = torch.tensor([earlier_tokens(row, tokenizer, prefix, last) for row in ids.tolist()])
    return ContextData(name, ids[:, :prefix], ids[:, prefix:], earlier)


def make_question_data(
    name: str, rows: Dataset, column: str, question: str, answer_column: str, tokenizer, prefix: int, count: int,
    last: int,
) -> ContextData:  # fmt: skip
    """
    The first `prefix` tokens of `count` texts, each with a question and its answer.

    Args:
        column, answer_column: of texts and answers.
        question: text before the answer, in which {query} stands for the column query of the row.
        last: as in [`make_context_data`].

    Raises:
        ValueError: the question names a column that the data do not have, or fewer than two texts are long enough.
    """
    prefixes, suffixes, asked = [], [], []
    for row in spread(rows, 4 * count):
        try:
            before = question.format_map(row)
        except (KeyError, ValueError, IndexError) as error:
            raise ValueError(
                f"The question {question!r} must name columns as {{name}}, of {', '.join(rows.column_names)}."
            ) from error
        ids, words, answer = (
            tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (row[column], before, f" {str(row[answer_column]).strip()}")
        )
        if len(ids) >= prefix and str(row[answer_column]).strip():
            prefixes.append(ids[:prefix])
            suffixes.append(torch.tensor(words + answer))
            asked.append(len(words))
    check_pieces(name, len(prefixes), prefix)
    chosen = list(spread(range(len(prefixes)), count))
    lengths = torch.tensor([len(suffixes[place]) for place in chosen])[:, None]
    begins = torch.tensor([asked[place] for place in chosen])[:, None]
    ids = pad_sequence([suffixes[place] for place in chosen], batch_first=True)
    places = torch.arange(ids.shape[1])
    whole = ((prefixes[place], row) for place, row in zip(chosen, ids.tolist(), strict=True))
    earlier = torch.tensor([earlier_tokens(before + after, tokenizer, prefix, last) for before, after in whole])
    counted = (places >= begins) & (places < lengths)
    return ContextData(name, torch.tensor([prefixes[place] for place in chosen]), ids, earlier, counted, asks=True)


def spread(rows, count: int) -> Iterator:
    """At most `count` of `rows`, evenly spread."""
    places = {round(place) for place in torch.linspace(0, len(rows) - 1, min(len(rows), count)).tolist()}
    return (rows[place] for place in sorted(places))


def check_pieces(name: str, count: int, length: int) -> None:
    if count < 2:
        raise ValueError(
            f"{name} has fewer than two pieces of {length} tokens; give longer texts, or shorter lengths."
        )


def earlier_tokens(ids: list[int], tokenizer, prefix: int, last: int) -> list[bool]:
    """For each token after the first `prefix` of `ids` whether it belongs to a word that occurs among those, but not
    among their last `last` ones."""
    before, recent = (
        set(re.findall(r"\w+", tokenizer.decode(part).lower())) for part in (ids[:prefix], ids[prefix - last : prefix])
    )
    parts = [tokenizer.decode([token]) for token in ids[prefix:]]
    text, flags = "".join(parts), [False] * len(parts)
    owner = [number for number, part in enumerate(parts) for _ in part]
    for word in re.finditer(r"\w+", text):
        if word[0].lower() in before - recent:
            for place in range(*word.span()):
                flags[owner[place]] = True
    return flags
