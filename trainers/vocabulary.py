# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What objectives need to know of a tokenizer, as tables over its tokens.

B batch, N tokens, V vocabulary.
"""

import json
import re
import unicodedata
from dataclasses import dataclass, field, replace
from functools import cache, reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode


WORD_TABLES = ("opens", "continues", "begins_inside", "ends_inside", "carries", "head", "tail")


@dataclass(frozen=True)
class Vocabulary:
    """
    Args:
        size: V.
        mask_token_id, pad_token_id: ids.
        special: bool [V], special tokens.
        opens: bool [V], tokens that begin a word whatever stands before them.
        continues: bool [V, 3], tokens that go on with what stands before them: with a character of several bytes, or
            with a mark on one. Of `KINDS` the one of the character whose bytes the next tokens complete decides; it
            makes no difference to a token of whole characters. So it is in the next three.
        begins_inside, ends_inside: tokens whose first, or last, character can stand inside a word. A token goes on
            with a word if it begins inside one and the token before it ends inside one.
        carries: tokens that end inside a word if the token before them does.
        head, tail: int [V, 2], bits of a character whose first bytes are in tokens before this one, and how many
            bytes they are; bits of a character whose last bytes are in the next tokens, and how many bytes lack.
        tokenizer: itself.
    """

    size: int
    mask_token_id: int
    pad_token_id: int
    special: torch.Tensor
    opens: torch.Tensor
    continues: torch.Tensor
    begins_inside: torch.Tensor
    ends_inside: torch.Tensor
    carries: torch.Tensor
    head: torch.Tensor
    tail: torch.Tensor
    tokenizer: PreTrainedTokenizerBase = field(repr=False)

    @classmethod
    def of(cls, tokenizer) -> "Vocabulary":
        """
        Tables of a fast tokenizer.

        Raises:
            ValueError: it has no padding or no mask token, or is no fast tokenizer.
        """
        for name in ("pad_token", "mask_token"):
            if getattr(tokenizer, name) is None:
                raise ValueError(f"The tokenizer has no {name}; add one with tokenizer.add_special_tokens.")
        if not tokenizer.is_fast:
            raise ValueError(f"{type(tokenizer).__name__} is no fast tokenizer; load it with AutoTokenizer.")
        size = len(tokenizer)
        special = torch.zeros(size, dtype=torch.bool)
        special[tokenizer.all_special_ids] = True
        tables = word_tables(tokenizer, size, special)
        return cls(size, tokenizer.mask_token_id, tokenizer.pad_token_id, special, **tables, tokenizer=tokenizer)

    def to(self, device) -> "Vocabulary":
        return replace(self, **{name: getattr(self, name).to(device) for name in ("special", *WORD_TABLES)})

    def word_starts(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Where words begin, bool [B, N]; special tokens are words of their own."""
        row = input_ids, self.last_kinds(input_ids)
        places = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
        told_at = torch.where(self.carries[row], 0, places).cummax(dim=1).values
        ends_inside = self.ends_inside[row].gather(1, told_at)[:, :-1]
        after, before = input_ids[:, 1:], input_ids[:, :-1]
        joined = self.continues[row][:, 1:] | (self.begins_inside[row][:, 1:] & ends_inside)
        starts = torch.ones_like(input_ids, dtype=torch.bool)
        starts[:, 1:] = self.opens[after] | self.special[before] | ~joined
        return starts

    def last_kinds(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Places [B, N] in `KINDS` of characters whose last bytes are in the tokens after each; 0 where none is."""
        bits, lacking = self.tail[input_ids].unbind(dim=-1)
        if not lacking.any():
            return torch.zeros_like(input_ids)
        heads = F.pad(self.head[input_ids], (0, 0, 0, 3))
        for number in range(1, 4):
            more, count = heads[:, number : number + input_ids.shape[1]].unbind(dim=-1)
            taken = torch.minimum(count, lacking)
            bits, lacking = torch.where(taken > 0, bits << 6 * taken | more, bits), lacking - taken
        # Of a character that the end of the text cuts, one amid those that begin so.
        bits = bits << 6 * lacking | torch.tensor([0, 0x20, 0x820, 0x20820], device=bits.device)[lacking]
        kinds = character_kinds().to(bits.device)[bits.clamp(max=LAST_CHARACTER)].long()
        return torch.where(self.tail[input_ids][..., 1] > 0, kinds, 0)


def word_tables(tokenizer, size: int, special: torch.Tensor) -> dict[str, torch.Tensor]:
    """
    The tables of words, each [V], for the ways in which tokenizers mark words: WordPiece marks what continues one,
    byte-level BPE and SentencePiece mark the space before one, some BPE marks the end of one. Within these marks the
    characters decide, see [`character_kind`].
    """
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    prefix = backend["model"].get("continuing_subword_prefix") or ""
    suffix = backend["model"].get("end_of_word_suffix") or ""
    byte_level = "ByteLevel" in json.dumps([backend["pre_tokenizer"], backend["decoder"]])
    bytes_of = {character: byte for byte, character in bytes_to_unicode().items()} if byte_level else {}
    apart, rows = set(special.nonzero().flatten().tolist()), []
    for index, token in enumerate(tokenizer.convert_ids_to_tokens(range(size))):
        if token is None or index in apart:
            rows.append((True, *[[False] * len(KINDS)] * 4, (0, 0), (0, 0)))
            continue
        content = token_bytes(token.removeprefix(prefix).removesuffix(suffix), bytes_of)
        bare = content.lstrip(b" \n\t\r")
        marked = not token.startswith(prefix) if prefix else bare != content or not bare
        # Bytes at the start that go on with a character, then characters, of which the last may lack bytes.
        rest, *units = re.findall(rb"^[\x80-\xbf]*|[\x00-\x7f\xc0-\xff][\x80-\xbf]*", bare)
        tail = open_character(units[-1]) if units else (0, 0)
        whole = [character_kind(unit.decode("utf-8", "replace")[0]) for unit in units[: len(units) - (tail[1] > 0)]]
        ended, columns = bool(suffix) and token.endswith(suffix), []
        for last in KINDS if tail[1] else KINDS[:1]:
            kinds = [*whole, last] if tail[1] else whole
            known = [kind for kind in kinds if kind != MARK]
            continues = bool(rest) or kinds[:1] == [MARK]
            ends_inside, carries = known[-1:] == [LETTER] and not ended, bool(bare) and not known and not ended
            columns.append((continues, kinds[:1] == [LETTER], ends_inside, carries))
        columns *= len(KINDS) // len(columns)
        rows.append((marked, *zip(*columns, strict=True), (join_bits(rest), len(rest)), tail))
    return {name: torch.tensor(table) for name, table in zip(WORD_TABLES, zip(*rows, strict=True), strict=True)}


def join_bits(rest: bytes, bits: int = 0) -> int:
    """The code point whose first bytes gave `bits` and whose further ones are `rest`."""
    return reduce(lambda found, byte: found << 6 | byte & 0x3F, rest, bits)


def open_character(unit: bytes) -> tuple[int, int]:
    """Bits of a character in UTF-8, and how many bytes lack at its end; (0, 0) for a whole one."""
    length = 1 if unit[0] < 0xC0 else 2 if unit[0] < 0xE0 else 3 if unit[0] < 0xF0 else 4
    lacking = length - len(unit)
    return (join_bits(unit[1:], unit[0] & 0x7F >> length), lacking) if lacking > 0 else (0, 0)


def token_bytes(token: str, bytes_of: dict[str, int]) -> bytes:
    """
    What a token stands for.

    Args:
        token: as the vocabulary has it.
        bytes_of: byte for which a character stands, in byte-level BPE; else empty.
    """
    try:
        return bytes([bytes_of[character] for character in token])
    except KeyError:  # no byte-level BPE, or a token that was added to it
        pass
    if re.fullmatch("<0x[0-9A-F]{2}>", token):  # SentencePiece's bytes
        return bytes([int(token[3:5], 16)])
    return token.replace("▁", " ").encode("utf-8", "replace")


# Characters that stand within words, that are words or separators by themselves, and that belong to the one before.
KINDS = LETTER, SINGLE, MARK = "letter", "single", "mark"

# Scripts without spaces between words, as their characters' names begin; each character counts as a word, as in
# BERT's tokenizer for Chinese.
UNSPACED = {
    "CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HALFWIDTH", "BOPOMOFO", "THAI", "LAO", "KHMER",
    "MYANMAR",
}  # fmt: skip


@cache
def character_kind(character: str) -> str:
    """Whether a character is a letter or digit within words, a word or separator by itself, or a mark on the one
    before."""
    if unicodedata.category(character)[0] == "M" or character in "\u200c\u200d":  # joiners within words
        return MARK
    if not character.isalnum() or unicodedata.name(character, "").split(" ")[0] in UNSPACED:
        return SINGLE
    return LETTER


LAST_CHARACTER = 0xE01FF  # those beyond it have no meaning of their own


@cache
def character_kinds() -> torch.Tensor:
    """Of every character, the place of its kind in `KINDS`, uint8."""
    kinds = torch.full((LAST_CHARACTER + 1,), KINDS.index(SINGLE), dtype=torch.uint8)
    for first, last in ((0, 0x40000), (0xE0000, LAST_CHARACTER + 1)):  # none is assigned between them
        found = [character_kind.__wrapped__(chr(point)) for point in range(first, last)]
        kinds[first:last] = torch.tensor(list(map(KINDS.index, found)))
    return kinds


class CleanBatch(NamedTuple):
    """
    Texts before anything is hidden.

    Args:
        input_ids: [B, N].
        attention_mask: [B, N], 0 at padding, which is at the end.
        vocabulary: of the tokenizer, on the same device.
        pair_input_ids, pair_attention_mask: of texts that mean the same, where the data have them.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    vocabulary: Vocabulary
    pair_input_ids: torch.Tensor | None = None
    pair_attention_mask: torch.Tensor | None = None

    @property
    def real(self) -> torch.Tensor:
        """bool [B, N], False at padding."""
        return self.attention_mask.bool()

    @property
    def special(self) -> torch.Tensor:
        """bool [B, N], True at special tokens and padding."""
        return self.vocabulary.special[self.input_ids] | ~self.real

    def rows(self, chosen) -> "CleanBatch":
        """A part of the texts: `chosen` indexes them."""
        parts = []
        for ids, mask in ((self.input_ids, self.attention_mask), (self.pair_input_ids, self.pair_attention_mask)):
            if ids is not None:
                ids, mask = ids[chosen], mask[chosen]
            parts += [ids, mask]
        return CleanBatch(parts[0], parts[1], self.vocabulary, parts[2], parts[3])


def cut_texts(batch: CleanBatch, length: int) -> tuple[CleanBatch, torch.Tensor, torch.Tensor]:
    """
    Cut texts into parts of at most `length` tokens, each with the special tokens that open and close its text.

    Returns:
        The parts [R, N'], the row [R] of the text from which each comes, and its place [R] in that text from 0 to 1.
    """
    special = batch.special
    parts, rows, places = [], [], []
    for row, (ids, mask) in enumerate(zip(batch.input_ids.tolist(), batch.real.sum(dim=1).tolist(), strict=True)):
        ids = ids[:mask]
        before = ids[:1] if ids and special[row, 0] else []
        after = ids[-1:] if len(ids) > 1 and special[row, mask - 1] else []
        inner = ids[len(before) : len(ids) - len(after)]
        width = length - len(before) - len(after)
        starts = range(0, max(len(inner), 1), width)
        for number, start in enumerate(starts):
            parts.append([*before, *inner[start : start + width], *after])
            rows.append(row)
            places.append(number / len(starts))
    most = max(map(len, parts))
    device = batch.input_ids.device
    ids = [part + [batch.vocabulary.pad_token_id] * (most - len(part)) for part in parts]
    lengths = torch.tensor([len(part) for part in parts], device=device)
    mask = (torch.arange(most, device=device) < lengths[:, None]).long()
    cut = CleanBatch(torch.tensor(ids, device=device), mask, batch.vocabulary)
    return cut, torch.tensor(rows, device=device), torch.tensor(places, device=device)
