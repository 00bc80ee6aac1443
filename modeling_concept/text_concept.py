# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Strings in, concepts, vectors or strings out.

T texts, B batch, N tokens, C concepts, H hidden, V vocabulary.
"""

from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass

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


class ConceptTextMixin:
    """Methods on texts. The tokenizer is the checkpoint's own, or one assigned to `model.tokenizer`."""

    _tokenizer = None

    @property
    def tokenizer(self):
        if self._tokenizer is None:
            path = self.config._name_or_path
            try:
                if not path:
                    raise OSError("the model was not loaded from a checkpoint")
                # With the configuration at hand nothing has to ask whether the checkpoint's code may run.
                revision = getattr(self.config, "_commit_hash", None)  # of a checkpoint of the Hub
                self._tokenizer = AutoTokenizer.from_pretrained(path, config=self.config, revision=revision or "main")
            except (OSError, ValueError, ImportError) as error:
                raise ValueError(
                    f"No tokenizer for this model ({error}); assign one: model.tokenizer = ..."
                ) from error
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer):
        if len(tokenizer) > self.config.vocab_size:
            raise ValueError(
                f"The tokenizer has {len(tokenizer)} tokens, the model only {self.config.vocab_size}; use the "
                "tokenizer that the model was trained with, or call model.resize_token_embeddings first."
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
        texts = list(given) if isinstance(given, Iterable) else []
        if not texts or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"Give a text or a non-empty list of texts, not {str(given)[:40]}.")
        if not batch_size >= 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
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
        found = {}
        with self.reading():
            for places, batch in self.text_batches(texts, batch_size, truncation, show_progress_bar):
                output = self.base_model(**batch, concept_num=concept_num, num_iterations=num_iterations)
                concepts, vectors = output.last_hidden_state.float().cpu(), output.pooler_output.float().cpu()
                vectors = F.normalize(vectors, dim=-1) if normalize_embeddings else vectors
                found.update(zip(places, zip(concepts, vectors, strict=True), strict=True))
        columns = [torch.stack(column) for column in zip(*(found[place] for place in sorted(found)), strict=True)]
        return TextEncoding(*(column.numpy() if convert_to_numpy else column for column in columns))

    def check_head(self) -> None:
        """ValueError if the model has no language-model head."""
        if getattr(self, "lm_head", None) is None:
            raise ValueError(f"{type(self).__name__} writes no text: it has no language-model head.")

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
            encoded = self.encoder(input_ids, attention_mask, concept_num=concept_num, num_iterations=num_iterations)
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
        dicts with `token`, `token_str` and `score` (probability).

        Raises:
            ValueError: a text holds no mask token, `top_k` is not between 1 and the size of the vocabulary, or the
                model has no language-model head; others as in `encode`.
        """
        self.check_head()
        if not 1 <= top_k <= self.config.vocab_size:
            raise ValueError(f"top_k must lie between 1 and the {self.config.vocab_size} tokens, not be {top_k}.")
        found = {}
        with self.reading():
            for places, batch in self.text_batches(texts, 32, truncation, False):
                masked = batch["input_ids"] == self.tokenizer.mask_token_id
                if not masked.any(dim=1).all():
                    raise ValueError(f"Each text needs at least one {self.tokenizer.mask_token}.")
                logits = self(**batch).logits
                for place, row, row_mask in zip(places, logits, masked, strict=True):
                    scores, ids = row[row_mask].float().softmax(dim=-1).topk(top_k)
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
