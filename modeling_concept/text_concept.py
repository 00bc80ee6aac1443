# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Strings in, concepts, vectors or strings out.

T texts, B batch, N tokens, C concepts, H hidden, V vocabulary.
"""

import math
import numbers
from collections.abc import Iterable, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm.auto import tqdm
from transformers import AutoTokenizer
from transformers.utils import ModelOutput


@dataclass
class TextEncoding(ModelOutput):
    """`concepts` [T, C, H] and `sentence_embeddings` [T, H] of T texts, tensors on the CPU or numpy arrays."""

    concepts: torch.FloatTensor | None = None
    sentence_embeddings: torch.FloatTensor | None = None


def check_number(name: str, value, low, high=math.inf, whole: bool = True) -> None:
    """ValueError unless `value` is a finite number, or a whole one, between `low` and `high`; nan is none."""
    kind, said = (numbers.Integral, "whole number") if whole else (numbers.Real, "finite number")
    if not isinstance(value, kind) or not low <= value <= high or value == math.inf:
        bounds = f"of at least {low}" if high == math.inf else f"between {low} and {high}"
        raise ValueError(f"{name} must be a {said} {bounds}, not {value!r}.")


def tokenizer_source(path, config, options: dict) -> tuple[str | None, dict]:
    """Where the tokenizer beside the weights lies, wherever the process goes meanwhile, and how it is asked for."""
    if path and Path(path).is_dir():
        path = str(Path(path).resolve())
    names = ("subfolder", "cache_dir", "token", "revision", "local_files_only", "proxies")
    options = {name: options[name] for name in names if options.get(name) is not None}
    if revision := getattr(config, "_commit_hash", None):  # that of the weights, should a branch have moved on
        options["revision"] = revision
    return path, options


class ConceptTextMixin:
    """Methods on texts. The tokenizer is the checkpoint's own, or one assigned to `model.tokenizer`."""

    _tokenizer = None
    _tokenizer_source: tuple[str, dict] | None = None  # where `from_pretrained` found the model, and by which options

    def __getstate__(self):
        """Pickles hold no access token."""
        state = dict(self.__dict__)
        if source := state.get("_tokenizer_source"):
            state["_tokenizer_source"] = source[0], {**source[1], "token": None}
        return state

    @property
    def tokenizer(self):
        if self._tokenizer is None:
            path, options = self._tokenizer_source or tokenizer_source(self.config._name_or_path, self.config, {})
            try:
                if not path:
                    raise OSError("the model was not loaded from a checkpoint")
                # With the configuration at hand nothing has to ask whether the checkpoint's code may run.
                found = AutoTokenizer.from_pretrained(path, config=self.config, **options)
            except Exception as error:  # whatever is wrong with its files
                raise ValueError(
                    f"No tokenizer for this model ({error}); assign one: model.tokenizer = ..."
                ) from error
            self.tokenizer = found
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer):
        if len(tokenizer) > self.config.vocab_size:
            raise ValueError(
                f"The tokenizer has {len(tokenizer)} tokens, the model only {self.config.vocab_size}; use the "
                "tokenizer that the model was trained with, or call model.resize_token_embeddings first."
            )
        for name in ("pad_token_id", "mask_token_id"):
            known, found = getattr(self.config, name), getattr(tokenizer, name)
            if None not in (known, found) and known != found:
                raise ValueError(
                    f"The tokenizer is not the model's: its {name} is {found}, that of the configuration {known}."
                )
        self._tokenizer = tokenizer

    def tokenize(self, texts: list[str], truncation: bool = False) -> dict[str, torch.Tensor]:
        """Padded `input_ids` and `attention_mask` [T, N], N at least 1, on the model's device."""
        max_length = self.config.max_sequence_length if truncation else None
        try:
            batch = self.tokenizer(texts, truncation=truncation, max_length=max_length)
        except TypeError as error:  # what fast tokenizers say of a lone surrogate
            raise ValueError(
                "A text cannot be written as UTF-8 (half of a surrogate pair?); "
                'clean it by text.encode("utf-8", "ignore").decode().'
            ) from error
        batch = {name: batch[name] for name in ("input_ids", "attention_mask")}
        mask_id = self.tokenizer.mask_token_id if self.config.mask_token_id is None else None
        if self.config.hide_mask_tokens and any(mask_id in ids for ids in batch["input_ids"]):
            raise ValueError(
                f"A text holds {self.tokenizer.mask_token}, which the model would read as a word: set "
                f"model.config.mask_token_id = {mask_id}, or model.config.hide_mask_tokens = False if it shall."
            )
        longest = max(len(ids) for ids in batch["input_ids"])
        if longest > self.config.max_sequence_length:
            raise ValueError(
                f"A text has {longest} tokens, more than max_sequence_length {self.config.max_sequence_length}; pass "
                "truncation=True to cut it."
            )
        length = {"padding": True} if longest else {"padding": "max_length", "max_length": 1}
        batch = self.tokenizer.pad(batch, return_tensors="pt", **length)
        # Offloaded weights are on no device; accelerate then moves the input itself.
        device = self.device if self.device.type != "meta" else None
        return {name: value.to(device=device, dtype=torch.long) for name, value in batch.items()}

    @contextmanager
    def reading(self):
        """Eval mode without gradients, and back."""
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.train(was_training)

    def text_batches(self, texts, batch_size, truncation, show_progress_bar):
        """Batches of texts of similar length, each with the places of its texts."""
        given = [texts] if isinstance(texts, str) else texts
        ordered = isinstance(given, Iterable) and not isinstance(given, Mapping | Set)
        texts = list(given) if ordered else []
        if not texts or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"Give a text or a non-empty list of texts, not {str(given)[:40]}.")
        check_number("batch_size", batch_size, 1)
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        for start in tqdm(range(0, len(texts), batch_size), disable=not show_progress_bar, desc="texts"):
            places = order[start : start + batch_size]
            yield places, self.tokenize([texts[place] for place in places], truncation)

    def encode(
        self,
        texts: str | list[str],
        batch_size: int = 32,
        truncation: bool = False,
        convert_to_numpy: bool = False,
        show_progress_bar: bool = False,
        normalize_embeddings: bool = False,
        concept_num: int | None = None,
        num_iterations: int | None = None,
    ) -> TextEncoding:
        """
        Concepts and sentence vectors of texts.

        Args:
            texts: one text or T texts; an empty string is a text.
            batch_size: texts at a time.
            truncation: cut texts that are too long instead of raising.
            convert_to_numpy: numpy arrays instead of tensors.
            show_progress_bar: whether to show one.
            normalize_embeddings: scale sentence vectors to length 1; concepts are left as they are.
            concept_num, num_iterations: as in [`ConceptEncoder`].

        Raises:
            ValueError: no text, a text that is too long or no Unicode, or no tokenizer.
        """
        found, options = {}, {"concept_num": concept_num, "num_iterations": num_iterations, "return_dict": True}
        with self.reading():
            for places, batch in self.text_batches(texts, batch_size, truncation, show_progress_bar):
                output = self.base_model(**batch, **options)
                concepts, vectors = output.last_hidden_state.float().cpu(), output.pooler_output.float().cpu()
                vectors = F.normalize(vectors, dim=-1) if normalize_embeddings else vectors
                found.update(zip(places, zip(concepts, vectors, strict=True), strict=True))
        columns = [torch.stack(column) for column in zip(*(found[place] for place in sorted(found)), strict=True)]
        return TextEncoding(*(column.numpy() if convert_to_numpy else column for column in columns))

    def check_head(self) -> None:
        """ValueError if the model has no language-model head."""
        if getattr(self, "lm_head", None) is None:
            raise ValueError(f"{type(self).__name__} writes no text: it has no language-model head.")

    def check_mask_token(self) -> None:
        """ValueError if the tokenizer has no mask token."""
        if self.tokenizer.mask_token_id is None:
            raise ValueError("The tokenizer has no mask token, so no text can hold a place to fill.")

    def reconstruct_ids(
        self, input_ids, attention_mask=None, concept_num: int | None = None, num_iterations: int | None = None
    ) -> torch.LongTensor:
        """
        The most probable token at each position [B, N], read from the concepts of the clean text alone: a decoder
        that reads tokens is shown masks only.

        Raises:
            ValueError: the model has no decoder of the text itself, or needs a mask token and has none.
        """
        self.check_head()
        if self.config.decoder_target == "continuation":
            raise ValueError(f"{type(self).__name__} cannot reconstruct a text: its decoder writes what follows.")
        with self.reading():
            options = {"concept_num": concept_num, "num_iterations": num_iterations, "return_dict": True}
            encoded = self.encoder(input_ids, attention_mask, **options)
            targets = self.make_blank_targets(input_ids, attention_mask)
            hidden = self.decode(self.remember(encoded), targets)
            forbidden = [i for i in (self.config.mask_token_id, self.config.pad_token_id) if i is not None]
            return torch.stack([self.best_tokens(row, forbidden) for row in hidden])

    def best_tokens(self, hidden, forbidden: list[int]):
        """Most probable token of each row of `hidden` [N, H], but for the forbidden ones."""
        logits = self.lm_head(hidden)
        logits[:, forbidden] = -torch.inf
        return logits.argmax(dim=-1)

    def to_text(self, ids) -> str:
        """Text of token ids, without special tokens and the space that some tokenizers begin with."""
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()

    def reconstruct(
        self,
        texts: str | list[str],
        batch_size: int = 32,
        truncation: bool = False,
        concept_num: int | None = None,
        num_iterations: int | None = None,
    ) -> list[str]:
        """The texts as they read after passing through their concepts. Arguments and errors as in `encode`."""
        self.check_head()
        found = {}
        for places, batch in self.text_batches(texts, batch_size, truncation, False):
            predicted = self.reconstruct_ids(**batch, concept_num=concept_num, num_iterations=num_iterations)
            for place, ids, mask in zip(places, predicted, batch["attention_mask"], strict=True):
                found[place] = self.to_text(ids[mask.bool()])
        return [found[place] for place in sorted(found)]

    def fill_mask(self, texts: str | list[str], top_k: int = 5, truncation: bool = False) -> list[list[list[dict]]]:
        """
        Candidates for each mask token of each text: for every text a list, for every mask in it a list of `top_k`
        dicts with `token`, `token_str` and `score` (probability); special tokens are no candidates.

        Raises:
            ValueError: a text holds no mask token, or the tokenizer has none; `top_k` is not between 1 and the number
                of candidates; the model has no language-model head; others as in `encode`.
        """
        self.check_head()
        self.check_mask_token()
        special = sorted(set(self.tokenizer.all_special_ids))
        check_number("top_k", top_k, 1, len(self.tokenizer) - len(special))
        found = {}
        with self.reading():
            for places, batch in self.text_batches(texts, 32, truncation, False):
                masked = batch["input_ids"] == self.tokenizer.mask_token_id
                if not masked.any(dim=1).all():
                    raise ValueError(f"Each text needs at least one {self.tokenizer.mask_token}.")
                logits = self(**batch, return_dict=True).logits
                for place, row, row_mask in zip(places, logits, masked, strict=True):
                    # The table may have more rows than there are tokens.
                    probabilities = row[row_mask].float().softmax(dim=-1)[:, : len(self.tokenizer)]
                    probabilities[:, special] = -1
                    scores, ids = probabilities.topk(top_k)
                    found[place] = [
                        [
                            {"token": token, "token_str": self.tokenizer.decode([token]), "score": score}
                            for token, score in zip(*candidates, strict=True)
                        ]
                        for candidates in zip(ids.tolist(), scores.tolist(), strict=True)
                    ]
        return [found[place] for place in sorted(found)]

    def infill(self, texts: str | list[str], truncation: bool = False, **options) -> list[str]:
        """Texts with every mask token replaced; `options` as in `generate`."""
        self.check_head()
        self.check_mask_token()
        return self._write(texts, truncation, options)

    def complete(
        self, texts: str | list[str], max_new_tokens: int = 32, truncation: bool = False, **options
    ) -> list[str]:
        """Texts followed by `max_new_tokens` more tokens; `options` as in `generate`."""
        return self._write(texts, truncation, {"max_new_tokens": max_new_tokens, **options})

    def _write(self, texts, truncation, options):
        self.check_head()
        found = {}
        for places, batch in self.text_batches(texts, 32, truncation, False):
            if options.get("max_new_tokens"):
                batch = self.without_end(batch)
            for place, ids in zip(places, self.generate(**batch, **options), strict=True):
                found[place] = self.to_text(ids)
        return [found[place] for place in sorted(found)]

    def without_end(self, batch):
        """Hide the token by which the tokenizer closes a text, as the text goes on."""
        ends = {self.tokenizer.sep_token_id, self.tokenizer.eos_token_id} - {None}
        ids, mask = batch["input_ids"], batch["attention_mask"].clone()
        last = (mask.cumsum(dim=1) * mask).argmax(dim=1, keepdim=True)  # padding may be on either side
        closing = torch.isin(ids.gather(1, last), torch.tensor(sorted(ends), device=ids.device))
        mask.scatter_(1, last, mask.gather(1, last) * ~closing)
        return {"input_ids": ids, "attention_mask": mask}
