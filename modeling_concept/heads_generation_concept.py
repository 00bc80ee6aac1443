# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Text generation from concepts by a causal language model, the reader.

B batch, N tokens, C concepts, S tokens to write, P supervised ones of them, H hidden, R width of the reader,
V vocabulary of the reader.
"""

import math
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

import torch
from transformers import AutoTokenizer, GenerationConfig, GenerationMixin
from transformers.processing_utils import Unpack
from transformers.utils.generic import can_return_tuple

from .configuration_concept import ConceptEncoderConfig
from .decoder_concept import take_rows
from .heads_lm_concept import ConceptEncoderForMaskedLM, RecursiveHeadMixin, supervised_loss, supervised_places
from .loss_concept import SampledVocabulary
from .outputs_concept import ConceptEncoderOutput, ConceptSeq2SeqLMOutput, EncoderInputs
from .positions_concept import check_inputs
from .reader_concept import ConceptReader, ReaderInputs
from .text_concept import MAX_TOKENS_PER_BATCH


SPECIAL_TOKENS = ("pad", "mask", "cls", "sep", "bos", "eos")  # which a text is not told to consist of
READER_FOLDER = "reader"  # of a checkpoint, with the tokenizer of a reader that has its own


class ConceptEncoderForConditionalGeneration(GenerationMixin, ConceptEncoderForMaskedLM):
    """
    Encoder, and a causal language model that reads the concepts in place of the text's tokens and writes what follows,
    or the text itself ([`ConceptReader`]). Where `config.decoder_type` names a decoder other than "causal", the model
    has this decoder and its head, too.

    `AutoModelForSeq2SeqLM` gives this class. `input_ids` are tokens of the encoder, `decoder_input_ids` and `labels`
    those of the reader.
    """

    auto_class = "AutoModelForSeq2SeqLM"
    _reader_tokenizer = None
    part_defaults = {"decoder_type": "causal", "decoder_target": "both", "decoder_conv_width": 0}

    def __init__(self, config: ConceptEncoderConfig):
        super().__init__(config)
        self.generation_config = self.reader.lm.generation_config

    def make_parts(self):
        if self.config.reader_config is None:
            raise ValueError(
                f"{type(self).__name__} needs config.reader_config, the configuration of a causal language model; "
                "this configuration or checkpoint has none."
            )
        if self.config.decoder_type == "causal":
            self.encoder = self.encoder_class(self.config)
            self.decoder = self.lm_head = None
            self._tied_weights_keys = {}
        else:
            super().make_parts()
        self.reader = ConceptReader(self.config)

    @classmethod
    def can_generate(cls) -> bool:
        return True

    @property
    def reader_tokenizer(self):
        """The tokenizer of `labels` and of what is written: that of the encoder, unless the reader has its own."""
        if not self.config.own_reader_tokenizer:
            return self.tokenizer
        if self._reader_tokenizer is None:
            options, path = dict(self._tokenizer_options), self.config._name_or_path
            options["subfolder"] = str(PurePosixPath(options.get("subfolder", ""), READER_FOLDER))
            try:
                if not path:
                    raise OSError("the model was not loaded from a checkpoint")
                self._reader_tokenizer = AutoTokenizer.from_pretrained(path, **options)
            except Exception as error:  # any fault of its files
                raise ValueError(
                    f"No tokenizer for the reader of this model ({error}); assign one: model.reader_tokenizer = ..."
                ) from error
        return self._reader_tokenizer

    @reader_tokenizer.setter
    def reader_tokenizer(self, tokenizer):
        size = self.reader.lm.get_input_embeddings().num_embeddings
        if len(tokenizer) > size:
            raise ValueError(f"The tokenizer has {len(tokenizer)} tokens, the reader only {size}.")
        self.config.own_reader_tokenizer = True
        self._reader_tokenizer = tokenizer

    def save_pretrained(self, save_directory, *args, is_main_process=True, **kwargs):
        """As in [`ConceptPreTrainedModel`]; a tokenizer of the reader's own, if the model has one, is in the folder
        `reader`."""
        loaded = self._reader_tokenizer is not None or self.config._name_or_path
        own = self.reader_tokenizer if self.config.own_reader_tokenizer and loaded else None
        super().save_pretrained(save_directory, *args, is_main_process=is_main_process, **kwargs)
        if is_main_process and own is not None:
            own.save_pretrained(Path(save_directory) / READER_FOLDER)

    def prepare_decoder_input_ids_from_labels(self, labels: torch.LongTensor) -> torch.LongTensor:
        """`labels` [B, S] moved by one to the right. The first token stands for the start embedding: its id has no
        effect."""
        ids = labels.new_zeros(labels.shape)
        ids[:, 1:] = labels[:, :-1].clamp(min=0)
        return ids

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        continuation: bool | None = None,
        labels: torch.LongTensor | None = None,
        loss_weights: torch.FloatTensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        supervised_num: int | None = None,
        sampled_vocabulary: SampledVocabulary | None = None,
        return_logits: bool | None = None,
        encoder_outputs: ConceptEncoderOutput | None = None,
        text_decoder: bool = False,
        **kwargs: Unpack[EncoderInputs],
    ) -> ConceptSeq2SeqLMOutput:
        """
        Args:
            input_ids, attention_mask, inputs_embeds, and the arguments in `kwargs`: inputs of the encoder, as in
                [`ConceptEncoder`].
            decoder_input_ids: [B, S] tokens of the reader, the first of which stands for the start embedding; `labels`
                moved by one to the right by default.
            decoder_attention_mask: [B, S], 0 at padding of it, which is on the right.
            continuation: whether the reader writes what follows the encoded text, or the text itself; by default as in
                `config.decoder_target`, and the text for "both".
            labels: [B, S], -100 where nothing is supervised.
            loss_weights, num_items_in_batch, supervised_num, sampled_vocabulary, return_logits, encoder_outputs: as in
                [`ConceptEncoderForMaskedLM`].
            text_decoder: whether the model's other decoder is run, with the arguments and the output of
                [`ConceptEncoderForMaskedLM`], which also takes `timesteps`.

        Raises:
            ValueError: neither `decoder_input_ids` nor `labels`; text and what is written are longer than the reader's
                table of positions; inputs that do not fit each other, as in [`check_inputs`].
            TypeError: an unknown argument.
        """
        if text_decoder:
            return super().forward(
                input_ids, attention_mask, inputs_embeds, decoder_input_ids, decoder_attention_mask,
                continuation=continuation, labels=labels, loss_weights=loss_weights,
                num_items_in_batch=num_items_in_batch, supervised_num=supervised_num,
                sampled_vocabulary=sampled_vocabulary, return_logits=return_logits, encoder_outputs=encoder_outputs,
                return_dict=True, **kwargs,
            )  # fmt: skip
        if decoder_input_ids is None:
            if labels is None:
                raise ValueError(
                    f"{type(self).__name__} needs labels or decoder_input_ids, the tokens that it writes; or call "
                    "`generate`."
                )
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        check_inputs(
            decoder_input_ids, attention_mask=decoder_attention_mask, labels=labels, loss_weights=loss_weights
        )
        encoded = self.encode_or_take(
            encoder_outputs, kwargs, input_ids=input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds
        )
        prompt = self.reader.prompt(encoded, self.continues(continuation))
        check_rows(prompt, decoder_input_ids)
        mask = None if decoder_attention_mask is None else decoder_attention_mask[:, 1:]
        inputs = self.reader.append(prompt, decoder_input_ids[:, 1:], mask)
        # From the start embedding on: [B, S, R].
        written = self.reader.states(inputs).last_hidden_state[:, prompt.inputs_embeds.shape[1] - 1 :]
        head = self.reader.lm.get_output_embeddings()
        loss = logits = index = None
        if labels is None or (not self.training if return_logits is None else return_logits):
            logits = head(written)
        elif (index := supervised_places(labels, loss_weights, supervised_num)) is not None:
            written = take_rows(written, index)
        if labels is not None:
            loss = supervised_loss(head, written, index, labels, loss_weights, num_items_in_batch, sampled_vocabulary)
        return ConceptSeq2SeqLMOutput(
            loss=loss,
            logits=logits,
            concepts=encoded.last_hidden_state,
            pooler_output=encoded.pooler_output,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            cross_attentions=encoded.cross_attentions,
        )

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        continuation: bool | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: ConceptEncoderOutput | None = None,
        generation_config: GenerationConfig | None = None,
        labels: torch.LongTensor | None = None,
        inputs: torch.LongTensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        concept_num: int | None = None,
        num_iterations: int | None = None,
        **options,
    ):
        """
        What the reader writes, by its own `generate`, which takes `options`: `max_new_tokens`, `do_sample`,
        `num_beams`, `streamer`, …. Runs in eval mode.

        Args:
            input_ids (or `inputs`), attention_mask, inputs_embeds, token_type_ids, concept_num, num_iterations: inputs
                of the encoder, as in [`ConceptEncoder`].
            continuation, encoder_outputs: as in `forward`.
            decoder_input_ids: [B, S] tokens that the reader reads after the concepts, before it writes; the first one
                stands for the start embedding.
            decoder_attention_mask: [B, S], 0 at padding of it.
            generation_config: that of the model by default.
            labels: without effect.

        Returns:
            What transformers' `generate` returns: new tokens [B, S] of the reader alone, without those that it read.

        Raises:
            ValueError: inputs that do not fit each other, as in [`check_inputs`].
        """
        encoder_options = {"token_type_ids": token_type_ids, "concept_num": concept_num}
        if num_iterations is not None:
            encoder_options["num_iterations"] = num_iterations
        with self.inference_mode():
            if encoder_outputs is None:
                given = inputs if input_ids is None else input_ids
                encoder_outputs = self.encoder(
                    given, attention_mask, inputs_embeds=inputs_embeds, return_dict=True, **encoder_options
                )
            read = self.reader.prompt(encoder_outputs, self.continues(continuation))
            if decoder_input_ids is not None:
                check_inputs(decoder_input_ids, attention_mask=decoder_attention_mask)
                check_rows(read, decoder_input_ids)
                mask = None if decoder_attention_mask is None else decoder_attention_mask[:, 1:]
                read = self.reader.append(read, decoder_input_ids[:, 1:], mask).align_right()
            self.reader.check_length(int(read.position_ids.max()) + 1 + (options.get("max_new_tokens") or 0))
            self.reader.lm.generation_config = self.generation_config
            if generation_config is not None:
                options["generation_config"] = generation_config
            return self.reader.lm.generate(**read._asdict(), **options)

    def complete(
        self, texts: str | list[str], max_new_tokens: int = 32, truncation: bool = False, **options
    ) -> list[str]:
        """Texts followed by at most `max_new_tokens` more tokens; `options` as in `generate`."""
        if options.get("num_return_sequences", 1) != 1:
            raise ValueError("complete gives one continuation of each text; for several call `generate`.")

        def write_batch(batch):
            if not self.config.own_reader_tokenizer:  # the encoder else reads a prefix as it reads a text
                batch = self.without_end(batch)
            return self.generate(**batch, continuation=True, max_new_tokens=max_new_tokens, **options)

        written = self.map_texts(write_batch, texts, truncation=truncation)
        tokenizer, texts = self.reader_tokenizer, [texts] if isinstance(texts, str) else texts
        decode = partial(tokenizer.decode, skip_special_tokens=True)

        def join(text, new):
            # Decoded together, as some tokenizers write no space before the first word.
            before = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            return text + decode([*before, *new.tolist()]).removeprefix(decode(before))

        return [join(*pair) for pair in zip(texts, written, strict=True)]

    def reconstruct_ids(self, input_ids, attention_mask=None, concept_num=None, num_iterations=None):
        """As in [`ConceptEncoderForMaskedLM`]: by the decoder, where the model has one, else by the reader."""
        options = {"concept_num": concept_num, "num_iterations": num_iterations}
        by = super().reconstruct_ids if self.decoder is not None else self.write_again
        return by(input_ids, attention_mask, **options)

    def write_again(self, input_ids, attention_mask=None, **options):
        """
        The texts `input_ids` [B, N] as the reader writes them, token by token, from their concepts; special tokens
        stay as they are. `options` of `generate`.

        Raises:
            ValueError: the reader was not trained for it, or its tokens are not those of the encoder.
        """
        if self.config.decoder_target == "continuation":
            raise ValueError(f"{type(self).__name__} cannot reconstruct a text: its reader writes what follows.")
        if self.config.own_reader_tokenizer:
            raise ValueError("The reader writes other tokens than those of the encoder; call `reconstruct`.")
        named = (getattr(self.config, f"{name}_token_id", None) for name in SPECIAL_TOKENS)
        special = torch.tensor([token for token in named if isinstance(token, int)], device=input_ids.device)
        places = ~torch.isin(input_ids, special)
        if attention_mask is not None:
            places &= attention_mask.bool()
        if not places.any():
            return input_ids
        longest = int(places.sum(dim=1).max())
        length = {"min_new_tokens": longest, "max_new_tokens": longest}
        with self.copying():
            written = self.generate(input_ids, attention_mask, continuation=False, **length, **options)
        return torch.where(places, written.gather(1, (places.cumsum(dim=1) - 1).clamp(min=0)), input_ids)

    @contextmanager
    def copying(self):
        """Within, text is written greedily, without a penalty for repetitions that the generation configuration may
        have."""
        own = self.generation_config
        ends = {name: getattr(own, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        self.generation_config = GenerationConfig(do_sample=False, **ends)
        try:
            yield
        finally:
            self.generation_config = own

    def reconstruct(
        self, texts, batch_size=32, truncation=False, concept_num=None, num_iterations=None,
        max_tokens_per_batch=MAX_TOKENS_PER_BATCH,
    ):  # fmt: skip
        """As in [`ConceptTextMixin`]. A reader with a tokenizer of its own writes until its end token, at most twice
        as many tokens as the text has, and as many as it has positions."""
        options = {"concept_num": concept_num, "num_iterations": num_iterations}
        if self.decoder is not None or not self.config.own_reader_tokenizer:
            return super().reconstruct(
                texts, batch_size, truncation, max_tokens_per_batch=max_tokens_per_batch, **options
            )

        def write_batch(batch):
            lengths = [2 * max(length, 1) for length in batch["attention_mask"].sum(dim=1).tolist()]
            room = (self.reader.max_positions or math.inf) - max(batch["input_ids"].shape[1], 1) - 1
            longest = max(min(max(lengths), room), 1)
            with self.copying():
                written = self.generate(**batch, continuation=False, max_new_tokens=longest, **options)
            return [ids[:length] for ids, length in zip(written.cpu(), lengths, strict=True)]

        written = self.map_texts(write_batch, texts, batch_size, max_tokens_per_batch, truncation)
        return [self.reader_tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in written]

    def infill(self, texts, truncation: bool = False, **options):
        raise ValueError(f"{type(self).__name__} fills no masks: it writes from left to right.")


def check_rows(prompt: ReaderInputs, decoder_input_ids) -> None:
    """ValueError unless there is one row of `decoder_input_ids` for each encoded text."""
    if len(prompt.inputs_embeds) != len(decoder_input_ids):
        raise ValueError(
            f"There are {len(prompt.inputs_embeds)} encoded texts, but {len(decoder_input_ids)} rows of "
            "decoder_input_ids or labels; give one for each."
        )


class RecursiveConceptEncoderForConditionalGeneration(RecursiveHeadMixin, ConceptEncoderForConditionalGeneration):
    """One concept layer repeated, and a reader."""


__all__ = ["ConceptEncoderForConditionalGeneration", "RecursiveConceptEncoderForConditionalGeneration"]
