# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Kinds of text: fixed texts, and the numbers of a decoder with known errors."""

import re
from types import SimpleNamespace

import pytest
import torch
from transformers import BertTokenizerFast

from trainers.evaluation.text_kinds import COUNTING_NOTE, KIND_TEXTS, TEXT_KINDS, kinds_markdown, reconstruct_kinds


class Reader:
    """Reconstructs all tokens but the one that is `wrong`."""

    def __init__(self, tokenizer, wrong=-1, length=200):
        self.tokenizer, self.wrong, self.device = tokenizer, wrong, torch.device("cpu")
        self.config = SimpleNamespace(max_sequence_length=length)

    def reconstruct_ids(self, ids, mask):
        return torch.where(ids == self.wrong, ids + 1, ids)

    def reconstruct(self, text, truncation):
        ids = self.reconstruct_ids(torch.tensor(self.tokenizer(text)["input_ids"]), None)
        return [self.tokenizer.decode(ids, skip_special_tokens=True).strip()]


def test_texts_are_of_their_kind():
    texts = TEXT_KINDS
    assert {len(found) for found in texts.values()} == {KIND_TEXTS}
    assert all(len(set(found)) > 20 and all(found) for found in texts.values())
    assert all(re.fullmatch(r"[1-9]\d{39}", text) for text in texts["a number of 40 digits"])
    assert all(1 <= len(text.split()) <= 3 for text in texts["1 to 3 words"])
    assert all(len(text.split()) == 20 and len(set(text.split())) == 1 for text in texts["one word 20 times"])
    assert all(re.search(r"[\n\t]", text) for text in texts["line breaks and tabs"])
    assert all(re.fullmatch(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]+", text) for text in texts["Chinese"])
    assert not any(character.isascii() for text in texts["emoji"] for character in text)
    for text in texts["Python code"]:
        compile(text, "code", "exec")


def test_reconstruction_is_counted(tokenizer):
    found = reconstruct_kinds(Reader(tokenizer), 6, batch_size=4)
    assert [row["kind"] for row in found] == list(TEXT_KINDS)
    assert {(row["texts"], row["accuracy"], row["exact"], row["unknown"]) for row in found} == {(6, 1.0, 1.0, 0.0)}
    assert [row["reconstruction"] for row in found] == [row["example"].strip() for row in found]
    wrong = tokenizer.convert_tokens_to_ids("7")
    numbers = {row["kind"]: row for row in reconstruct_kinds(Reader(tokenizer, wrong), 6)}["numbers"]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXT_KINDS["numbers"][:6]]
    tokens, lost = sum(map(len, ids)), sum(row.count(wrong) for row in ids)
    assert lost and numbers["accuracy"] == pytest.approx(1 - lost / tokens)
    assert numbers["exact"] == sum(wrong not in row for row in ids) / 6 and numbers["tokens"] == tokens / 6


def test_unknown_tokens_are_errors_even_if_predicted():
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"0123456789", *(f"##{n}" for n in range(10))]
    tokenizer = BertTokenizerFast(vocab={token: place for place, token in enumerate(vocabulary)})
    found = {row["kind"]: row for row in reconstruct_kinds(Reader(tokenizer), 4)}
    assert (found["emoji"]["unknown"], found["emoji"]["accuracy"], found["emoji"]["exact"]) == (1.0, 0.0, 0.0)
    assert found["a number of 40 digits"]["accuracy"] == found["a number of 40 digits"]["exact"] == 1.0


def test_the_table_has_a_note_on_counting(tokenizer):
    lines = kinds_markdown(reconstruct_kinds(Reader(tokenizer), 4)).splitlines()
    assert lines[0].startswith("| 4 texts of each kind | tokens right | texts right | \\[UNK\\] |")
    assert lines[2].startswith("| sentences | 100.0% | 100% | 0% |") and len(lines) == 2 + len(TEXT_KINDS) + 2
    assert lines[-1] == COUNTING_NOTE and "knows the number of tokens" in COUNTING_NOTE
    assert {line.count("|") for line in lines[:-2]} == {6}
