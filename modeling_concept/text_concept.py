# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Methods of a model that take texts and return concepts, sentence vectors or texts.

T texts, B batch, N tokens, C concepts, H hidden.
"""

from collections.abc import Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from tqdm.auto import tqdm
from transformers import AutoTokenizer
from transformers.utils import ModelOutput


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
        max_length = self.config.max_sequence_length if truncation else None
        batch = self.tokenizer(texts, truncation=truncation, max_length=max_length)
        batch = {name: batch[name] for name in ("input_ids", "attention_mask")}
        mask_id = self.tokenizer.mask_token_id if self.config.mask_token_id is None else None
        if self.config.hide_mask_tokens and any(mask_id in ids for ids in batch["input_ids"]):
            raise ValueError(
                f"A text holds {self.tokenizer.mask_token}, which the model would read as a word: set "
                f"model.config.mask_token_id = {mask_id}."
            )
        longest = max(len(ids) for ids in batch["input_ids"])
        if longest > self.config.max_sequence_length:
            raise ValueError(
                f"A text has {longest} tokens, more than max_sequence_length {self.config.max_sequence_length}; pass "
                "truncation=True to cut it."
            )
        batch = self.tokenizer.pad(batch, return_tensors="pt")
        # Offloaded weights have no device; accelerate then moves the input itself.
        device = self.device if self.device.type != "meta" else None
        return {name: value.to(device=device, dtype=torch.long) for name, value in batch.items()}

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
        """Whether the model has a language-model head, a decoder of the encoded text itself, and the mask token that a
        decoder with token queries needs."""
        if getattr(self, "lm_head", None) is None or self.config.decoder_target == "continuation":
            return False
        return not self.decoder.reads_tokens or self.config.mask_token_id is not None

    def map_texts(self, function, texts, batch_size=32, truncation=False, show_progress_bar=False) -> list:
        """Results of `function` for each text, in the order of the texts. It is called with tokenized batches of texts
        of similar length, and returns one result for each text of the batch."""
        given = [texts] if isinstance(texts, str) else texts
        texts = list(given)
        if not texts or isinstance(given, Mapping | Set) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"Give a text or a non-empty list of texts, not {str(given)[:40]}.")
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        results = {}
        with self.inference_mode():
            for start in tqdm(range(0, len(texts), batch_size), disable=not show_progress_bar, desc="texts"):
                places = order[start : start + batch_size]
                batch = self.tokenize([texts[place] for place in places], truncation)
                results.update(zip(places, function(batch), strict=True))
        return [results[place] for place in range(len(texts))]

    def encode(
        self,
        texts: str | list[str],
        batch_size: int = 32,
        truncation: bool = False,
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
            show_progress_bar: show the progress over the texts.
            normalize_embeddings: scale sentence vectors to length 1; concepts are left as they are.
            concept_num, num_iterations: as in [`ConceptEncoder`].

        Raises:
            ValueError: no text, a text that is too long, or no tokenizer.
        """

        def encode_batch(batch):
            output = self.base_model(**batch, concept_num=concept_num, num_iterations=num_iterations, return_dict=True)
            vectors = output.pooler_output.float().cpu()
            vectors = F.normalize(vectors, dim=-1) if normalize_embeddings else vectors
            return zip(output.last_hidden_state.float().cpu(), vectors, strict=True)

        rows = self.map_texts(encode_batch, texts, batch_size, truncation, show_progress_bar)
        return TextEncoding(*(torch.stack(column) for column in zip(*rows, strict=True)))

    def check_head(self) -> None:
        """ValueError if the model has no language-model head."""
        if getattr(self, "lm_head", None) is None:
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
    ) -> list[str]:
        """Reconstructions of the texts from their concepts. Arguments and errors as in `encode`."""
        self.check_head()

        def reconstruct_batch(batch):
            predicted = self.reconstruct_ids(**batch, concept_num=concept_num, num_iterations=num_iterations)
            masks = batch["attention_mask"].bool()
            return [self.to_text(ids[mask]) for ids, mask in zip(predicted, masks, strict=True)]

        return self.map_texts(reconstruct_batch, texts, batch_size, truncation)

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
        last = (mask.cumsum(dim=1) * mask).argmax(dim=1, keepdim=True)  # padding may be on either side
        closing = torch.isin(ids.gather(1, last), torch.tensor(sorted(ends), device=ids.device))
        mask.scatter_(1, last, mask.gather(1, last) * ~closing)
        return {"input_ids": ids, "attention_mask": mask}


__all__ = ["TextEncoding"]
