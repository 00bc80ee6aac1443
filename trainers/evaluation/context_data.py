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

from ..data.pieces import special_ends
from ..data.texts import check_text_column


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
        opening: number of special tokens with which each prefix begins, as the tokenizer begins a text.
    """

    name: str
    prefixes: torch.Tensor
    suffixes: torch.Tensor
    earlier: torch.Tensor
    counted: torch.Tensor | None = None
    asks: bool = False
    opening: int = 0

    def __post_init__(self):
        if self.counted is None:
            self.counted = torch.ones_like(self.earlier)

    def first(self, count: int) -> "ContextData":
        """The first `count` texts."""
        columns = (self.prefixes, self.suffixes, self.earlier, self.counted)
        name = f"{self.name}, the first {count:,}"
        return ContextData(name, *(column[:count] for column in columns), self.asks, self.opening)


def make_context_data(
    name: str, texts: Dataset, column: str, tokenizer, prefix: int, suffix: int, count: int, last: int
) -> ContextData:
    """
    `count` pieces of `prefix` and `suffix` tokens, the beginnings of documents that are spread evenly; of fewer
    documents several pieces each, at places that are spread evenly.

    Args:
        last: number of the last tokens of the prefix in which a word of `earlier` must not occur.

    Raises:
        ValueError: the texts hold fewer than two such pieces.
    """
    opening, _ = special_ends(tokenizer)
    length, pieces = prefix + suffix - len(opening), []
    rounds = -(-count // max(len(texts), 1))
    for _, ids in long_enough(texts, column, tokenizer, length, count):
        fits = min(len(ids) // length, rounds)
        starts = (part * (len(ids) // fits) for part in range(fits))
        pieces += [[*opening, *ids[start : start + length]] for start in starts]
    check_pieces(name, len(pieces), prefix + suffix)
    ids = torch.tensor(list(spread(pieces, count)))
    earlier = torch.tensor([earlier_tokens(row, tokenizer, prefix, last) for row in ids.tolist()])
    return ContextData(name, ids[:, :prefix], ids[:, prefix:], earlier, opening=len(opening))


def make_question_data(
    name: str, rows: Dataset, column: str, question: str, answer_column: str, tokenizer, prefix: int, count: int,
    last: int,
) -> ContextData:  # fmt: skip
    """
    The first `prefix` tokens of `count` texts, each with a question and its answer; rows without an answer are left
    out.

    Args:
        column, answer_column: of texts and answers.
        question: text before the answer, in which {query} stands for the column query of the row.
        last: as in [`make_context_data`].

    Raises:
        ValueError: there are no such columns of texts, the question names another one, or fewer than two texts are
            long enough.
    """
    check_text_column(rows, answer_column, name)
    (opening, _), prefixes, suffixes, asked = special_ends(tokenizer), [], [], []
    answered = rows.filter(lambda answer: bool(answer and answer.strip()), input_columns=[answer_column])
    for row, ids in long_enough(answered, column, tokenizer, prefix - len(opening), count):
        try:
            before = question.format_map(row)
        except (LookupError, ValueError) as error:
            raise ValueError(
                f"The question {question!r} must name columns as {{name}}, of {', '.join(rows.column_names)}."
            ) from error
        words, answer = (
            tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (before, f" {row[answer_column].strip()}")
        )
        prefixes.append([*opening, *ids][:prefix])
        suffixes.append(torch.tensor(words + answer))
        asked.append(len(words))
    check_pieces(name, len(prefixes), prefix)
    ids, places = pad_sequence(suffixes, batch_first=True), torch.arange(max(map(len, suffixes)))
    lengths, begins = (torch.tensor(column)[:, None] for column in (list(map(len, suffixes)), asked))
    whole = (before + after for before, after in zip(prefixes, ids.tolist(), strict=True))
    earlier = torch.tensor([earlier_tokens(row, tokenizer, prefix, last) for row in whole])
    counted = (places >= begins) & (places < lengths)
    return ContextData(name, torch.tensor(prefixes), ids, earlier, counted, asks=True, opening=len(opening))


def long_enough(rows: Dataset, column: str, tokenizer, length: int, count: int) -> list[tuple[dict, list[int]]]:
    """At most `count` rows with texts of at least `length` tokens, and these tokens: of evenly spread rows, or of all
    where too few of those are long enough."""
    for tried in (spread(rows, 4 * count), rows):
        found = []
        for row in tried:
            ids = tokenizer(row[column] or "", add_special_tokens=False, verbose=False)["input_ids"]
            if len(ids) >= length:
                found.append((row, ids))
            if tried is rows and len(found) == count:
                break
        if len(found) >= count or len(rows) <= 4 * count:
            break
    return list(spread(found, count))


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
