# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Reconstruction by kind of text: languages, numbers, code, emoji, noise.

`text_kinds.json` holds 96 texts of each kind, which were drawn once from lists of phrases, digits and characters.
"""

import json
from pathlib import Path

from ..utils.plain_text import Markdown, markdown_table
from .encoding import id_batches
from .metrics import reconstruction_metrics


TEXT_KINDS: dict[str, list[str]] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))

KIND_TEXTS = 96  # of each kind

COUNTING_NOTE = (
    "The decoder knows the number of tokens of each text. Accuracy refers to tokens: lower-casing and removed line "
    "breaks are no errors, [UNK] tokens always are."
)


def reconstruct_kinds(model, count: int = KIND_TEXTS, batch_size: int = 32) -> list[dict]:
    """
    Reconstruction accuracy by kind of text.

    Args:
        model: with a decoder of the text and a tokenizer.
        count: texts of each kind, at most 96.
        batch_size: texts at a time.

    Returns:
        For each kind its name (`kind`), number of `texts`, mean number of `tokens` without special ones, `accuracy`
        (share of tokens), `exact` (share of texts), `unknown` (share of [UNK] tokens, which count as errors), an
        `example` and its `reconstruction`. Texts are truncated to the model's length.
    """
    tokenizer, unknown, rows = model.tokenizer, model.tokenizer.unk_token_id, []
    special = [index for index in tokenizer.all_special_ids if index != unknown]
    for kind, texts in TEXT_KINDS.items():
        texts = texts[:count]
        ids = tokenizer(texts, truncation=True, max_length=model.config.max_sequence_length)["input_ids"]
        found = reconstruction_metrics(model, id_batches(model, ids, batch_size), special, unknown)
        tokens = found["reconstruction_tokens"]
        rows.append(
            {
                "kind": kind,
                "texts": len(texts),
                "tokens": tokens / len(texts),
                "accuracy": found["reconstruction_accuracy"],
                "exact": found["exact_match"],
                "unknown": sum(row.count(unknown) for row in ids) / max(tokens, 1),
                "example": texts[0],
                "reconstruction": model.reconstruct(texts[0], truncation=True)[0],
            }
        )
    return rows


def kinds_markdown(rows: list[dict]) -> Markdown:
    """The results of [`reconstruct_kinds`] as a table in Markdown with a note."""
    headings = [f"{rows[0]['texts']} texts of each kind", "tokens right", "texts right", "[UNK]", "tokens per text"]
    formats = {"kind": "", "accuracy": ".1%", "exact": ".0%", "unknown": ".0%", "tokens": ".0f"}
    cells = ([format(row[name], form) for name, form in formats.items()] for row in rows)
    return Markdown(f"{markdown_table(headings, cells)}\n\n{COUNTING_NOTE}\n")
