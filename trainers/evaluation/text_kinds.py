# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Reconstruction by kind of text: languages, numbers, code, emoji, noise.

The texts are generated from a seed, so that checkpoints can be compared.
"""

import random
from collections.abc import Callable

from ..utils.plain_text import Markdown, markdown_table
from .encoding import id_batches
from .metrics import reconstruction_metrics


SUBJECTS = (
    "The old keeper", "My younger sister", "A tired soldier", "The village doctor", "Our new teacher",
    "Her quiet neighbour", "The captain of the ship", "Nobody in the house",
)  # fmt: skip
DEEDS = (
    "opened the heavy door", "carried two baskets of apples", "read the letter again", "waited for the last train",
    "wrote down every name", "found a silver coin", "counted the boats", "forgot the way home",
)  # fmt: skip
PLACES = (
    "before the sun was up.", "in the middle of winter.", "near the bridge.", "and said nothing about it.",
    "while the rain fell.", "at the end of the road.", "as everyone had hoped.", "for the second time.",
)  # fmt: skip

POLISH = (
    ("Stara latarniczka", "Zmęczony żołnierz", "Moja młodsza siostra", "Wiejski lekarz", "Cichy sąsiad", "Źrebię"),
    ("czekała na łódź", "wędruje przez las", "śpi pod dębem", "patrzy na księżyc", "słyszy dźwięk dzwonów"),
    ("tuż przed świtem.", "choć pada śnieg.", "na końcu wsi.", "i milczy aż do wieczora.", "w środku zimy."),
)
GERMAN = (
    ("Der müde Soldat", "Die alte Müllerin", "Mein jüngerer Bruder", "Das große Schiff", "Der Arzt aus Köln"),
    ("wartet auf den Frühling", "überquert die Brücke", "hört die Glocken läuten", "findet den Schlüssel nicht"),
    ("kurz vor Mitternacht.", "während es draußen schneit.", "am Ende der Straße.", "und schweigt.", "wie früher."),
)
CHINESE = (
    ("老船长", "我的妹妹", "村里的医生", "新来的老师", "那个士兵", "安静的邻居"),
    ("在桥边等船", "打开了那扇门", "数着海上的灯", "又读了一遍信", "忘记了回家的路"),
    ("，天还没有亮。", "，外面下着雨。", "，什么也没说。", "，像去年冬天一样。", "，大家都笑了。"),
)
EMOJI = tuple("😀😂🙃😍🤔😴🥶🤖👻🐶🐱🦊🐻🐼🐸🐙🦋🌱🌵🍎🍋🍕🍩⚽🏀🎲🎸🚗🚀⛵🏠🌍🌙🔥⚡❄🎉💡📚🔑")

NAMES = ("total", "index", "values", "left", "result", "node", "line", "width")
CODE = (
    "def {a}({b}, {c}={n}):\n    return [{b}[i] * {c} for i in range(len({b}))]",
    "for {a} in range({n}):\n    if {b}[{a}] != {c}:\n        {b}[{a}] += {m}",
    "class {a}:\n    def __init__(self, {b}):\n        self.{b} = {b} or {{}}",
    'with open("{a}.txt") as {b}:\n    {c} = {b}.read().split(",")[{n}]',
    "{a} = {{'{b}': {n}, '{c}': [{m}, -{n}]}}\nassert {a}['{b}'] <= {m}",
)


def clauses(parts: tuple[tuple[str, ...], ...], joint: str = " ") -> Callable[[random.Random], str]:
    """A text of one element of each part."""
    return lambda draw: joint.join(draw.choice(part) for part in parts)


def short(draw: random.Random) -> str:
    words = clauses((SUBJECTS, DEEDS))(draw).split()
    start = draw.randrange(len(words) - 2)
    return " ".join(words[start : start + draw.randint(1, 3)])


def number(draw: random.Random, digits: int) -> str:
    return str(draw.randint(1, 9)) + "".join(str(draw.randrange(10)) for _ in range(digits - 1))


def code(draw: random.Random) -> str:
    a, b, c = draw.sample(NAMES, 3)
    return draw.choice(CODE).format(a=a, b=b, c=c, n=draw.randint(2, 99), m=draw.randint(100, 999))


def lines(draw: random.Random) -> str:
    words = clauses((SUBJECTS, DEEDS, PLACES))(draw).split()
    return "".join(word + draw.choice((" ", "\n", "\t", "\n\n")) for word in words).rstrip(" ")


def emoji_in_text(draw: random.Random) -> str:
    return f"{clauses((SUBJECTS, DEEDS))(draw)} {draw.choice(EMOJI)}{draw.choice(EMOJI)}, {short(draw)}"


def noise(draw: random.Random) -> str:
    """20 of the printable characters of latin-1."""
    return "".join(chr(draw.choice((draw.randint(0x21, 0x7E), draw.randint(0xA1, 0xFF)))) for _ in range(20))


KINDS: dict[str, Callable[[random.Random], str]] = {
    "sentences": clauses((SUBJECTS, DEEDS, PLACES)),
    "1 to 3 words": short,
    "numbers": lambda draw: ", ".join(number(draw, draw.randint(1, 6)) for _ in range(5)),
    "a number of 40 digits": lambda draw: number(draw, 40),
    "Python code": code,
    "line breaks and tabs": lines,
    "one word 20 times": lambda draw: " ".join([draw.choice(" ".join((*SUBJECTS, *DEEDS)).split())] * 20),
    "Polish": clauses(POLISH),
    "German": clauses(GERMAN),
    "Chinese": clauses(CHINESE, joint=""),
    "emoji": lambda draw: "".join(draw.choice(EMOJI) for _ in range(8)),
    "emoji in text": emoji_in_text,
    "random latin-1": noise,
}

KIND_TEXTS = 96  # of each kind

COUNTING_NOTE = (
    "The decoder knows the number of tokens of each text. Accuracy refers to tokens: lower-casing and removed line "
    "breaks are no errors, [UNK] tokens always are."
)


def text_kinds(count: int = KIND_TEXTS, seed: int = 0) -> dict[str, list[str]]:
    """`count` texts of each kind of `KINDS`, the same for the same seed."""
    draws = {name: random.Random(f"{name} {seed}") for name in KINDS}
    return {name: [make(draws[name]) for _ in range(count)] for name, make in KINDS.items()}


def reconstruct_kinds(model, count: int = KIND_TEXTS, seed: int = 0, batch_size: int = 32) -> list[dict]:
    """
    Reconstruction accuracy by kind of text.

    Args:
        model: with a decoder of the text and a tokenizer.
        count: texts of each kind.
        seed: of the texts.
        batch_size: texts at a time.

    Returns:
        For each kind its name (`kind`), number of `texts`, mean number of `tokens` without special ones, `accuracy`
        (share of tokens), `exact` (share of texts), `unknown` (share of [UNK] tokens, which count as errors), an
        `example` and its `reconstruction`. Texts are truncated to the model's length.
    """
    tokenizer, unknown, rows = model.tokenizer, model.tokenizer.unk_token_id, []
    special = [index for index in tokenizer.all_special_ids if index != unknown]
    for kind, texts in text_kinds(count, seed).items():
        ids = tokenizer(texts, truncation=True, max_length=model.config.max_sequence_length)["input_ids"]
        found = reconstruction_metrics(model, id_batches(model, ids, batch_size), special, unknown)
        tokens = found["reconstruction_tokens"]
        (first,) = id_batches(model, ids[:1], 1)
        reconstruction = tokenizer.decode(model.reconstruct_ids(*first.values())[0], skip_special_tokens=True)
        rows.append(
            {
                "kind": kind,
                "texts": len(texts),
                "tokens": tokens / len(texts),
                "accuracy": found["reconstruction_accuracy"],
                "exact": found["exact_match"],
                "unknown": sum(row.count(unknown) for row in ids) / max(tokens, 1),
                "example": texts[0],
                "reconstruction": reconstruction.removeprefix(" "),
            }
        )
    return rows


def kinds_markdown(rows: list[dict]) -> Markdown:
    """The results of [`reconstruct_kinds`] as a table in Markdown with a note."""
    headings = [f"{rows[0]['texts']} texts of each kind", "tokens right", "texts right", "[UNK]", "tokens per text"]
    formats = {"kind": "", "accuracy": ".1%", "exact": ".0%", "unknown": ".0%", "tokens": ".0f"}
    cells = ([format(row[name], form) for name, form in formats.items()] for row in rows)
    return Markdown(f"{markdown_table(headings, cells)}\n\n{COUNTING_NOTE}\n")
