# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Methods of a model that take texts and return concepts, sentence vectors or texts.

T texts, B batch, N tokens, C concepts, H hidden.
"""

from array import array
from collections.abc import Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from tqdm.auto import tqdm
from transformers import AutoTokenizer
from transformers.utils import ModelOutput


# Texts that are given to the tokenizer in one call.
TOKENIZED_AT_ONCE = 1000

# Bounds the memory of long texts; on a CPU, batches of 65,536 tokens also take a tenth longer than those of 8,192.
MAX_TOKENS_PER_BATCH = 32_768


def length_batches(lengths: Sequence[int], batch_size: int, max_tokens: int | None = None) -> list[list[int]]:
    """
    Batches of texts of similar length, the longest first.

    Args:
        lengths: of T texts, in tokens.
        batch_size: texts of a batch, at most.
        max_tokens: tokens of a batch with its padding, at most, but for a longer text alone; no limit if None.

    Returns:
        The places of the texts of each batch.

    Raises:
        ValueError: a limit is below 1.
    """
    if batch_size < 1 or (max_tokens is not None and max_tokens < 1):
        raise ValueError(f"batch_size {batch_size} and max_tokens_per_batch {max_tokens} must be at least 1.")
    order, batches, start = sorted(range(len(lengths)), key=lambda place: -lengths[place]), [], 0
    while start < len(order):
        longest = max(lengths[order[start]], 1)
        count = batch_size if max_tokens is None else max(1, min(batch_size, max_tokens // longest))
        batches.append(order[start : start + count])
        start += count
    return batches


@dataclass
class TextEncoding(ModelOutput):
    """`concepts` [T, C, H] and `sentence_embeddings` [T, H] of T texts, on the CPU."""

    concepts: torch.FloatTensor | None = None
    sentence_embeddings: torch.FloatTensor | None = None


class ConceptTextMixin:
    """Methods on texts. The tokenizer is the checkpoint's own, or one assigned to `model.tokenizer`."""

    _tokenizer = None
    _tokenizer_options: dict = {}  # where to find it, as given to `from_pretrained`

    def __getstate__(self):
        """Pickles hold no access token."""
        kept = {name: value for name, value in self._tokenizer_options.items() if name != "token"}
        return {**self.__dict__, "_tokenizer_options": kept}

    @property
    def tokenizer(self):
        if self._tokenizer is None:
            path = self.config._name_or_path
            try:
                if not path:
                    raise OSError("the model was not loaded from a checkpoint")
                # With the configuration given, the checkpoint's code need not run.
                tokenizer = AutoTokenizer.from_pretrained(path, config=self.config, **self._tokenizer_options)
            except Exception as error:  # any fault of its files
                raise ValueError(
                    f"No tokenizer for this model ({error}); assign one: model.tokenizer = ..."
                ) from error
            self.tokenizer = tokenizer
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer):
        if len(tokenizer) > self.config.vocab_size:
            raise ValueError(
                f"The tokenizer has {len(tokenizer)} tokens, the model only {self.config.vocab_size}; use the "
                "tokenizer that the model was trained with, or call model.resize_token_embeddings first."
            )
        for name in ("pad_token_id", "mask_token_id"):
            own, other = getattr(self.config, name), getattr(tokenizer, name)
            if None not in (own, other) and own != other:
                raise ValueError(
                    f"The tokenizer is not the model's: its {name} is {other}, that of the configuration {own}."
                )
        self._tokenizer = tokenizer

    def tokenize(self, texts: list[str], truncation: bool = False) -> dict[str, torch.Tensor]:
        """Padded `input_ids` and `attention_mask` [T, N] on the model's device."""
        return self.pad(self.token_ids(texts, truncation))

    def token_ids(self, texts: list[str], truncation: bool = False) -> list[list[int]]:
        """Token ids of each text, checked."""
        longest = self.config.max_sequence_length
        rows = self.tokenizer(texts, truncation=truncation, max_length=longest if truncation else None)["input_ids"]
        mask_id = self.tokenizer.mask_token_id if self.config.mask_token_id is None else None
        if self.config.hide_mask_tokens and any(mask_id in ids for ids in rows):
            raise ValueError(
                f"A text holds {self.tokenizer.mask_token}, which the model would read as a word: set "
                f"model.config.mask_token_id = {mask_id}."
            )
        if max(map(len, rows)) > longest:
            raise ValueError(
                f"A text has {max(map(len, rows))} tokens, more than max_sequence_length {longest}; pass "
                "truncation=True to cut it."
            )
        return rows

    def pad(self, rows: list[list[int]]) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask` [T, N] of T rows of token ids, on the model's device."""
        batch = self.tokenizer.pad({"input_ids": rows}, return_tensors="pt")
        # Offloaded weights have no device; accelerate then moves the input itself.
        device = self.device if self.device.type != "meta" else None
        return {name: batch[name].to(device=device, dtype=torch.long) for name in ("input_ids", "attention_mask")}

    @contextmanager
    def inference_mode(self):
        """Within, the model is in eval mode, without gradients."""
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.train(was_training)

    @property
    def can_reconstruct(self) -> bool:
        """Whether `reconstruct_ids` gives texts: the model has a decoder of the encoded text itself with a
        language-model head, and the mask token that a decoder with token queries needs; or a reader that shares the
        tokenizer."""
        if not self.writes_text or self.config.decoder_target == "continuation":
            return False
        if self.decoder is None:
            return not self.config.own_reader_tokenizer
        return not self.decoder.reads_tokens or self.config.mask_token_id is not None

    def map_texts(
        self,
        function,
        texts,
        batch_size: int = 32,
        max_tokens_per_batch: int | None = MAX_TOKENS_PER_BATCH,
        truncation: bool = False,
        show_progress_bar: bool = False,
    ) -> list:
        """Results of `function` for each text, in the order of the texts. It is called with batches of
        [`length_batches`], and returns one result for each text of the batch. All texts are tokenized, and so checked,
        before the first call."""
        given = [texts] if isinstance(texts, str) else texts
        texts = list(given)
        if not texts or isinstance(given, Mapping | Set) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"Give a text or a non-empty list of texts, not {str(given)[:40]}.")
        rows = []
        for start in range(0, len(texts), TOKENIZED_AT_ONCE):
            part = self.token_ids(texts[start : start + TOKENIZED_AT_ONCE], truncation)
            rows += [array("i", ids) for ids in part]  # an eighth of the memory of lists
        batches = length_batches([len(row) for row in rows], batch_size, max_tokens_per_batch)
        results = {}
        with self.inference_mode(), tqdm(total=len(rows), disable=not show_progress_bar, desc="texts") as progress:
            for places in batches:
                batch = self.pad([rows[place].tolist() for place in places])
                results.update(zip(places, function(batch), strict=True))
                progress.update(len(places))
        return [results[place] for place in range(len(rows))]

    def encode(
        self,
        texts: str | list[str],
        batch_size: int = 32,
        truncation: bool = False,
        show_progress_bar: bool = False,
        normalize_embeddings: bool = False,
        concept_num: int | None = None,
        num_iterations: int | None = None,
        max_tokens_per_batch: int | None = MAX_TOKENS_PER_BATCH,
        dtype: str | torch.dtype | None = None,
    ) -> TextEncoding:
        """
        Concepts and sentence vectors of texts.

        Args:
            texts: one text or T texts; an empty string is a text.
            batch_size: texts at a time, at most.
            truncation: cut texts that are too long instead of raising.
            show_progress_bar: show the progress over the texts.
            normalize_embeddings: scale sentence vectors to length 1; concepts are left as they are.
            concept_num, num_iterations: as in [`ConceptEncoder`].
            max_tokens_per_batch: tokens at a time, at most, with padding; None for any number.
            dtype: "bfloat16" or "float16", in which products of matrices are then computed (autocast).

        Returns:
            `concepts` [T, C, H] and `sentence_embeddings` [T, H], float32.

        Raises:
            ValueError: no text, a text that is too long, no tokenizer, or another `dtype`.
        """
        low = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
        if low not in (None, torch.bfloat16, torch.float16, torch.float32) or (low is None and dtype is not None):
            raise ValueError(f"dtype is 'bfloat16', 'float16' or 'float32', not {dtype!r}.")
        casts = low in (torch.bfloat16, torch.float16)

        def encode_batch(batch):
            options = {"concept_num": concept_num, "num_iterations": num_iterations, "return_dict": True}
            with torch.autocast(batch["input_ids"].device.type, low if casts else None, enabled=casts):
                output = self.base_model(**batch, **options)
            vectors = output.pooler_output.float().cpu()
            vectors = F.normalize(vectors, dim=-1) if normalize_embeddings else vectors
            return zip(output.last_hidden_state.float().cpu(), vectors, strict=True)

        rows = self.map_texts(encode_batch, texts, batch_size, max_tokens_per_batch, truncation, show_progress_bar)
        return TextEncoding(*(torch.stack(column) for column in zip(*rows, strict=True)))

    @property
    def writes_text(self) -> bool:
        """Whether the model has a language-model head or a reader."""
        return getattr(self, "lm_head", None) is not None or getattr(self, "reader", None) is not None

    def check_head(self) -> None:
        """ValueError if the model has no language-model head."""
        if not self.writes_text:
            raise ValueError(f"{type(self).__name__} writes no text: it has no language-model head.")

    def reconstruct_ids(
        self, input_ids, attention_mask=None, concept_num: int | None = None, num_iterations: int | None = None
    ) -> torch.LongTensor:
        """
        The most probable token at each position [B, N], decoded from the concepts of the clean text alone: a decoder
        with token queries gets mask tokens only.

        Raises:
            ValueError: the model has no decoder of the text itself, or needs a mask token and has none.
        """
        self.check_head()
        if self.config.decoder_target == "continuation":
            raise ValueError(f"{type(self).__name__} cannot reconstruct a text: its decoder writes what follows.")
        with self.inference_mode():
            options = {"concept_num": concept_num, "num_iterations": num_iterations, "return_dict": True}
            encoded = self.encoder(input_ids, attention_mask, **options)
            targets = self.make_blank_targets(input_ids, attention_mask)
            hidden = self.decode(self.prepare_memory(encoded), targets)
            return torch.stack([self.token_logits(row).argmax(dim=-1) for row in hidden])

    def token_logits(self, hidden):
        """Logits [N, V] of decoder states `hidden` [N, H]; the mask and padding are never predicted."""
        logits = self.lm_head(hidden)
        logits[:, [i for i in (self.config.mask_token_id, self.config.pad_token_id) if i is not None]] = -torch.inf
        return logits

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
        max_tokens_per_batch: int | None = MAX_TOKENS_PER_BATCH,
    ) -> list[str]:
        """Reconstructions of the texts from their concepts. Arguments and errors as in `encode`."""
        self.check_head()

        def reconstruct_batch(batch):
            predicted = self.reconstruct_ids(**batch, concept_num=concept_num, num_iterations=num_iterations)
            masks = batch["attention_mask"].bool()
            return [self.to_text(ids[mask]) for ids, mask in zip(predicted, masks, strict=True)]

        return self.map_texts(reconstruct_batch, texts, batch_size, max_tokens_per_batch, truncation)

    def infill(self, texts: str | list[str], truncation: bool = False, **options) -> list[str]:
        """Texts with every mask token replaced; `options` as in `generate`."""
        self.check_head()
        if self.tokenizer.mask_token_id is None:
            raise ValueError("The tokenizer has no mask token, so no text can hold a place to fill.")
        return self.complete(texts, 0, truncation, **options)

    def complete(
        self, texts: str | list[str], max_new_tokens: int = 32, truncation: bool = False, **options
    ) -> list[str]:
        """Texts followed by `max_new_tokens` more tokens; `options` as in `generate`."""
        self.check_head()

        def write_batch(batch):
            batch = self.without_end(batch) if max_new_tokens else batch
            return map(self.to_text, self.generate(**batch, max_new_tokens=max_new_tokens, **options))

        return self.map_texts(write_batch, texts, truncation=truncation)

    def without_end(self, batch):
        """Hide the token by which the tokenizer closes a text, as the text goes on."""
        ends = {self.tokenizer.sep_token_id, self.tokenizer.eos_token_id} - {None}
        ids, mask = batch["input_ids"], batch["attention_mask"].clone()
        if ids.shape[1] == 0:
            return {"input_ids": ids, "attention_mask": mask}
        last = (mask.cumsum(dim=1) * mask).argmax(dim=1, keepdim=True)  # padding may be on either side
        closing = torch.isin(ids.gather(1, last), torch.tensor(sorted(ends), device=ids.device))
        mask.scatter_(1, last, mask.gather(1, last) * ~closing)
        return {"input_ids": ids, "attention_mask": mask}


__all__ = ["TextEncoding"]
