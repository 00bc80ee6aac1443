# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
How much of a text comes back from its concepts, by the kind of text: language, numbers, code, emoji, noise.

The texts are made here, the same for the same seed, so that the numbers of any two checkpoints can be compared.

B texts of a batch, N tokens.
"""

import random
from collections.abc import Callable

import torch
from tqdm.auto import tqdm

from .collator import ConceptDataCollator
from .plain_text import Markdown


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
    words = " ".join((draw.choice(SUBJECTS), draw.choice(DEEDS))).split()
    start = draw.randrange(len(words) - 2)
    return " ".join(words[start : start + draw.randint(1, 3)])


def number(draw: random.Random, digits: int) -> str:
    return str(draw.randint(1, 9)) + "".join(str(draw.randrange(10)) for _ in range(digits - 1))


def code(draw: random.Random) -> str:
    a, b, c = draw.sample(NAMES, 3)
    return draw.choice(CODE).format(a=a, b=b, c=c, n=draw.randint(2, 99), m=draw.randint(100, 999))


def lines(draw: random.Random) -> str:
    words = " ".join((draw.choice(SUBJECTS), draw.choice(DEEDS), draw.choice(PLACES))).split()
    return "".join(word + draw.choice((" ", "\n", "\t", "\n\n")) for word in words).rstrip(" ")


def emoji_in_text(draw: random.Random) -> str:
    return f"{draw.choice(SUBJECTS)} {draw.choice(DEEDS)} {draw.choice(EMOJI)}{draw.choice(EMOJI)}, {short(draw)}"


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

# Texts of each kind.
KIND_TEXTS = 96

TOLD = (
    "The decoder is told how many tokens a text has. Tokens and whole texts are counted as the tokenizer writes them: "
    "letters that it makes small and line breaks that it drops are not counted as errors, [UNK] tokens are."
)


def text_kinds(count: int = KIND_TEXTS, seed: int = 0) -> dict[str, list[str]]:
    """`count` texts of each kind of `KINDS`, the same for the same seed."""
    found = {}
    for name, make in KINDS.items():
        draw = random.Random(f"{name} {seed}")
        found[name] = [make(draw) for _ in range(count)]
    return found


def read_back_kinds(
    model, count: int = KIND_TEXTS, seed: int = 0, batch_size: int = 32, show_progress: bool = True
) -> list[dict]:
    """
    How much of each kind of text comes back from its concepts alone.

    Args:
        model: with a decoder of the text and a tokenizer.
        count: texts of each kind.
        seed: of the texts.
        batch_size: texts at a time.
        show_progress: whether there is a progress bar.

    Returns:
        For each kind its name (`kind`), `texts`, mean number of `tokens` without special ones, `accuracy` (share of
        tokens), `exact` (share of texts), `unknown` (share of tokens that are [UNK], which count as wrong), `cut`
        (texts longer than the model reads, of which the beginning counts), and `example` with what is read back from
        it (`read`).
    """
    tokenizer, found = model.tokenizer, []
    collator = ConceptDataCollator(tokenizer)
    unknown = tokenizer.unk_token_id
    special = torch.tensor([index for index in tokenizer.all_special_ids if index != unknown])
    limit = model.config.max_sequence_length
    kinds = text_kinds(count, seed).items()
    for kind, texts in tqdm(kinds, desc="kinds of text", leave=False, disable=not show_progress):
        whole = tokenizer(texts, verbose=False)["input_ids"]
        rows = tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
        right = tokens = exact = lost = 0
        first = None
        for start in range(0, len(rows), batch_size):
            batch = collator.pad(rows[start : start + batch_size])
            ids, mask = (batch[name].to(model.device) for name in ("input_ids", "attention_mask"))
            read = model.reconstruct_ids(ids, mask)
            counted = mask.bool() & ~torch.isin(ids, special.to(ids.device))
            is_unknown = counted & (ids == unknown) if unknown is not None else torch.zeros_like(counted)
            hits = counted & ~is_unknown & (read == ids)
            right, tokens, lost = right + int(hits.sum()), tokens + int(counted.sum()), lost + int(is_unknown.sum())
            exact += int((hits == counted).all(dim=1).sum())
            if first is None:
                shown = tokenizer.decode(read[0][mask[0].bool()], skip_special_tokens=True)
                first = shown.removeprefix(" ")
        found.append(
            {
                "kind": kind, "texts": len(texts), "tokens": tokens / len(texts), "accuracy": right / max(tokens, 1),
                "exact": exact / len(texts), "unknown": lost / max(tokens, 1),
                "cut": sum(len(row) > limit for row in whole), "example": texts[0], "read": first,
            }
        )  # fmt: skip
    return found


def kinds_markdown(rows: list[dict]) -> Markdown:
    """A table in Markdown of what `read_back_kinds` gives, and below it what the numbers mean."""
    lines = [
        f"| {rows[0]['texts']} texts of each kind | tokens right | whole texts right | [UNK] | tokens a text |",
        "| --- | ---: | ---: | ---: | ---: |",
        *("| {kind} | {accuracy:.1%} | {exact:.0%} | {unknown:.0%} | {tokens:.0f} |".format(**row) for row in rows),
    ]
    return Markdown("\n".join(lines) + f"\n\n{TOLD}\n")
