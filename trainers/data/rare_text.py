# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Random texts of kinds that are rare in running text: characters of many scripts, long numbers, code, and repetitions.

A model reconstructs only tokens that it has seen in training; without these texts it cannot reconstruct bytes, digits
and repetitions that its training text lacks.
"""

import random
import string
import unicodedata


# First and last character of ranges; the characters of a text come from one of them.
SCRIPTS = (
    "¡ÿ", "Āſ", "Αω", "Аё", "את", "ءي", "अह", "กฮ", "ぁヺ", "一龥", "가힣", "‐‧", "←⋿", "─◿", "🌀🙏", "🚀🛒",
)  # fmt: skip
SYMBOLS = (
    " = ", " == ", " != ", " += ", " -> ", " => ", " < ", " >= ", " + ", " - ", " * ", " / ", " % ", " | ", " & ",
    "(", ")", "()", "[", "]", "[0]", "{", "}", ".", ", ", ": ", "::", ";", "_", "__", '"', "'", "#", "@", "\\", "//",
    "~", "^", "$", "`", "?", "!", "\\n", "0x",
)  # fmt: skip


def some_word(draw: random.Random, texts: list[str]) -> str:
    """A word of one of `texts`, or letters."""
    text = draw.choice(texts)
    place = draw.randrange(len(text) + 1)
    words = text[place : place + 100].split()
    return draw.choice(words)[:20] if words else "".join(draw.choices(string.ascii_letters, k=draw.randint(1, 12)))


def characters(draw: random.Random, texts: list[str]) -> str:
    """Characters of one script, with or without spaces."""
    first, last = draw.choice(SCRIPTS)
    drawn = [chr(draw.randint(ord(first), ord(last))) for _ in range(draw.randint(1, 30))]
    known = [character for character in drawn if unicodedata.category(character) != "Cn"]
    return draw.choice(("", "", " ")).join(known)


def number(draw: random.Random, texts: list[str]) -> str:
    """A number of 1 to 40 digits, with or without a sign, a point or commas."""
    digits = draw.randrange(10 ** draw.randint(1, 40))
    return draw.choice((f"{digits}", f"{digits}", f"-{digits}", f"{digits:,}", f"{draw.random()}", f"{digits:x}"))


def code(draw: random.Random, texts: list[str]) -> str:
    """A line that looks like a program: an indent, names, numbers and symbols."""
    parts = []
    for _ in range(draw.randint(1, 5)):
        parts += [some_word(draw, texts) if draw.random() < 0.8 else str(draw.randrange(1000)), draw.choice(SYMBOLS)]
    return "\n" + draw.choice(("    ", "    ", "\t")) * draw.randrange(4) + "".join(parts)


def repetition(draw: random.Random, texts: list[str]) -> str:
    """One word 2 to 30 times."""
    return " ".join([some_word(draw, texts)] * draw.randint(2, 30))


KINDS = (characters, number, code, repetition)


def rare_text(draw: random.Random, texts: list[str], length: int) -> str:
    """
    A text of one kind, or of all kinds among words of `texts`, each half of the time.

    Args:
        draw: random generator.
        texts: one or more running texts, from which words are taken.
        length: the least number of characters.
    """
    kinds = [draw.choice(KINDS)] if draw.random() < 0.5 else [*KINDS, some_word, some_word]
    parts, size = [], 0
    while size < length:
        parts.append(draw.choice(kinds)(draw, texts))
        size += len(parts[-1]) + 1
    return " ".join(parts)
