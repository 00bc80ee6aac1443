# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""A causal language model reads concepts and writes."""

import pytest
import torch
import torch.nn.functional as F
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    GPT2Config,
)

import modeling_concept as models
from trainers.data.tokenizers import train_tokenizer

from ..conftest import TEXTS
from .zoo import READER, make_config, random_batch, stir


FAMILIES = {
    "llama": READER,
    "gpt2": GPT2Config(
        vocab_size=61, n_embd=24, n_layer=2, n_head=4, n_positions=160, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, initializer_range=0.2,
    ).to_diff_dict(),
}  # fmt: skip


def make_model(reader="llama", recursive=False, **options):
    kind = models.RecursiveConceptEncoderForConditionalGeneration if recursive else None
    kind = kind or models.ConceptEncoderForConditionalGeneration
    torch.manual_seed(0)
    return stir(kind(make_config(kind, **{"reader_config": FAMILIES[reader], **options}))).eval()


def batch():
    """Three texts, one of which has fewer tokens than the model has concepts."""
    found = random_batch(padding=(0, 4, 11))
    return found["input_ids"], found["attention_mask"]


def greedy(model, ids, mask, count, written=None, **options):
    """`count` tokens one by one, each from all that come before, without a cache."""
    written = torch.zeros(len(ids), 1, dtype=torch.long) if written is None else written
    start = written.shape[1]
    for _ in range(count):
        logits = model(ids, mask, decoder_input_ids=written, **options).logits
        written = torch.cat([written, logits[:, -1].argmax(dim=-1, keepdim=True)], dim=1)
    return written[:, start:]


@pytest.mark.parametrize("continuation", [True, False])
@pytest.mark.parametrize("reader", FAMILIES)
def test_generate_is_greedy_decoding_by_forward(reader, continuation):
    model, (ids, mask) = make_model(reader), batch()
    options = {"continuation": continuation}
    expected = greedy(model, ids, mask, 7, **options)
    length = {"max_new_tokens": 7, "min_new_tokens": 7, "do_sample": False}
    found = model.generate(ids, mask, **length, **options)
    # `min_new_tokens` forbids the end of the text.
    same = (expected == 2).long().cumsum(dim=1) == 0
    assert torch.equal(found[same], expected[same]) and same.float().mean() > 0.5
    assert torch.equal(found, model.generate(ids, mask, use_cache=False, **length, **options))
    encoded = model.encoder(ids, mask, return_dict=True)
    assert torch.equal(found, model.generate(encoder_outputs=encoded, **length, **options))
    # Each text alone, without padding.
    for row, text in enumerate(ids):
        alone = model.generate(text[mask[row].bool()][None], **length, **options)
        assert torch.equal(alone[0], found[row])


def test_the_two_tasks_and_the_texts_differ():
    model, (ids, mask) = make_model(), batch()
    labels = torch.randint(5, 61, (3, 6))
    loss = {task: model(ids, mask, labels=labels, continuation=task).loss for task in (True, False)}
    assert abs(loss[True] - loss[False]) > 1e-3
    assert model(ids, mask, labels=labels).loss == loss[False]  # the text for "both"
    other = model(ids.flip(0), mask.flip(0), labels=labels, continuation=True).loss
    assert abs(other - loss[True]) > 1e-3


def test_the_loss_is_that_of_the_reader_on_the_prompt():
    """Concepts at the ends of their segments, the start embedding at the last token, then the tokens."""
    model = make_model()
    ids, labels = torch.randint(5, 61, (1, 13)), torch.randint(5, 61, (1, 9))
    concepts = model.reader.adapter(model.encoder(ids).last_hidden_state)
    start = model.reader.start_embeddings[1][None, None]
    table = model.reader.lm.get_input_embeddings()
    embeds = torch.cat([concepts, start, table(labels[:, :-1])], dim=1)
    ends = [next(p for p in range(12, -1, -1) if p * 6 // 13 == segment) for segment in range(6)]
    positions = torch.tensor([[*ends, 12, *range(13, 21)]])
    logits = model.reader.lm(inputs_embeds=embeds, position_ids=positions).logits[:, 6:]
    output = model(ids, labels=labels, continuation=True)
    torch.testing.assert_close(output.logits, logits)
    expected = F.cross_entropy(logits[0], labels[0])
    torch.testing.assert_close(output.loss, expected)
    # In training only supervised positions are computed.
    labels[:, 3:6] = -100
    shown = torch.cat([labels.new_zeros(1, 1), torch.where(labels < 0, 7, labels)[:, :-1]], dim=1)
    given = {"decoder_input_ids": shown, "labels": labels, "continuation": True}
    expected = model(ids, **given)
    found = model.train()(ids, **given)
    assert found.logits is None and expected.logits.shape == (1, 9, 61)
    torch.testing.assert_close(found.loss, expected.loss)


def test_what_is_read_before_writing():
    """Prompts of different lengths, padded on the right."""
    model, (ids, mask) = make_model(), batch()
    prompt = torch.randint(5, 61, (3, 5))
    prompt_mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]])
    length = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "continuation": True}
    found = model.generate(ids, mask, decoder_input_ids=prompt, decoder_attention_mask=prompt_mask, **length)
    for row in range(3):
        text, read = ids[row][mask[row].bool()][None], prompt[row][prompt_mask[row].bool()][None]
        assert torch.equal(model.generate(text, decoder_input_ids=read, **length)[0], found[row])


def test_ways_to_generate():
    model, (ids, mask) = make_model(), batch()
    length = {"max_new_tokens": 5, "min_new_tokens": 5}
    assert model.can_generate() and model.generation_config.eos_token_id == 2
    beams = model.generate(ids, mask, num_beams=3, num_return_sequences=2, do_sample=False, **length)
    assert beams.shape == (6, 5)
    torch.manual_seed(1)
    first = model.generate(ids, mask, do_sample=True, top_k=20, **length)
    torch.manual_seed(1)
    assert torch.equal(first, model.generate(ids, mask, do_sample=True, top_k=20, **length))
    report = model.generate(ids, mask, return_dict_in_generate=True, output_scores=True, do_sample=False, **length)
    assert len(report.scores) == 5 and torch.equal(
        report.sequences, model.generate(ids, mask, do_sample=False, **length)
    )
    fewer = model.generate(ids, mask, concept_num=2, do_sample=False, **length)
    expected = greedy(model, ids, mask, 1, concept_num=2)
    assert torch.equal(fewer[:, :1], expected) or bool((expected == 2).any())

    class Streamer:
        parts = []

        def put(self, value):
            self.parts.append(value)

        def end(self):
            self.parts.append(None)

    model.generate(ids[:1], mask[:1], streamer=Streamer(), do_sample=False, **length)
    assert torch.cat([part.flatten() for part in Streamer.parts[:-1]]).tolist()[-5:] == report.sequences[0].tolist()
    # The model's own configuration counts.
    model.generation_config.max_new_tokens = 3
    assert model.generate(ids, mask).shape[1] <= 3


def test_a_decoder_and_a_reader_in_one_model(tmp_path):
    model, (ids, mask) = make_model(decoder_type="position", decoder_target="both"), batch()
    masked = models.ConceptEncoderForMaskedLM(model.config).eval()
    masked.load_state_dict({name: value for name, value in model.state_dict().items() if "reader" not in name})
    by_decoder = model(ids, mask, labels=ids, text_decoder=True)
    expected = masked(ids, mask, labels=ids)
    assert torch.equal(by_decoder.loss, expected.loss) and torch.equal(by_decoder.logits, expected.logits)
    assert torch.equal(model.reconstruct_ids(ids, mask), masked.reconstruct_ids(ids, mask))
    assert not torch.equal(model(ids, mask, labels=ids).loss, expected.loss)
    model.save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert torch.equal(again(ids, mask, labels=ids, text_decoder=True).loss, expected.loss)
    assert type(AutoModelForMaskedLM.from_pretrained(tmp_path, config=masked.config)) is not type(model)


@pytest.mark.parametrize("recursive", [False, True])
def test_checkpoints(recursive, tmp_path):
    model, (ids, mask) = make_model(recursive=recursive), batch()
    model.generation_config.max_new_tokens = 4
    model.save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert type(again) is type(model)
    assert torch.equal(again.generate(ids, mask), model.generate(ids, mask))
    encoder = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(encoder(ids, mask).pooler_output, model.encoder(ids, mask).pooler_output)
    assert "Perceiver" in type(AutoModelForSequenceClassification.from_pretrained(tmp_path)).__name__
    with pytest.raises(ValueError, match="load it with AutoModelForSeq2SeqLM"):
        AutoModelForMaskedLM.from_pretrained(tmp_path)
    model.encoder.save_pretrained(tmp_path / "encoder")
    with pytest.raises(ValueError, match="does not hold the weights"):
        AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "encoder")


def of_tokenizer(tokenizer, **options):
    sizes = {"vocab_size": len(tokenizer), "max_sequence_length": 64}
    sizes |= {"pad_token_id": tokenizer.pad_token_id, "mask_token_id": tokenizer.mask_token_id}
    model = make_model(reader_config={**READER, "vocab_size": len(tokenizer)}, **sizes, **options)
    model.tokenizer = tokenizer
    return model


def test_texts(tokenizer):
    model = of_tokenizer(tokenizer)
    texts = ["The fox sleeps.", "A ship sailed from the harbour at dawn."]
    longer = model.complete(texts, max_new_tokens=6, min_new_tokens=6, do_sample=False)
    assert all(after.startswith(text) and len(after) > len(text) for text, after in zip(texts, longer, strict=True))
    ids = model.tokenize([texts[0]])
    ids = model.without_end(ids)
    new = model.generate(**ids, continuation=True, max_new_tokens=6, min_new_tokens=6, do_sample=False)
    read = ids["input_ids"][0][ids["attention_mask"][0].bool()]
    before, after = (tokenizer.decode(row, skip_special_tokens=True) for row in (read, torch.cat([read, new[0]])))
    assert after.startswith(before) and longer[0] == texts[0] + after[len(before) :]
    assert model.can_reconstruct and len(model.reconstruct(texts)) == 2
    without_ends = of_tokenizer(train_tokenizer(TEXTS, vocab_size=320, max_length=64, special_ends=False))
    assert without_ends.reconstruct([""]) == [""]
    assert isinstance(without_ends.complete("", max_new_tokens=3)[0], str)
    with pytest.raises(ValueError, match="one continuation of each text"):
        model.complete(texts, num_return_sequences=2, num_beams=2)
    encoded = model.tokenize(texts)
    found = model.reconstruct_ids(**encoded)
    assert found.shape == encoded["input_ids"].shape
    assert not of_tokenizer(tokenizer, decoder_target="continuation").can_reconstruct
    with pytest.raises(ValueError, match="writes what follows"):
        of_tokenizer(tokenizer, decoder_target="continuation").reconstruct(texts)


def test_a_reader_with_a_tokenizer_of_its_own(tokenizer, tmp_path):
    own = train_tokenizer(["another reader of another text"] * 4, vocab_size=300, max_length=64)
    model = of_tokenizer(tokenizer)
    model.reader_tokenizer = own
    model.save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert again.reader_tokenizer.get_vocab() == own.get_vocab() != again.tokenizer.get_vocab()
    text = "The fox sleeps."
    options = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}
    assert again.complete(text, **options) == model.complete(text, **options)
    assert again.reconstruct(text) == model.reconstruct(text)
    assert not model.can_reconstruct
    with pytest.raises(ValueError, match="other tokens than those of the encoder"):
        model.reconstruct_ids(**model.tokenize([text]))
    with pytest.raises(ValueError, match="has 320 tokens, the reader only 61"):
        make_model().reader_tokenizer = tokenizer


def test_padding_needs_no_place():
    """A long text with a short continuation beside a short text with a long one, in as many places as each needs."""
    model = make_model("gpt2", reader_config={**FAMILIES["gpt2"], "n_positions": 17})
    ids, mask = random_batch(2, 13, (0, 10))["input_ids"], torch.ones(2, 13, dtype=torch.long)
    mask[1, 3:] = 0
    labels, shown = torch.randint(5, 61, (2, 14)), torch.ones(2, 14, dtype=torch.long)
    shown[0, 4:], labels[0, 4:] = 0, -100
    loss = model(ids, mask, labels=labels, decoder_attention_mask=shown, num_items_in_batch=1).loss
    first = model(ids[:1], labels=labels[:1, :4], num_items_in_batch=1).loss
    second = model(ids[1:, :3], labels=labels[1:], num_items_in_batch=1).loss
    torch.testing.assert_close(loss, first + second)
    with pytest.raises(ValueError, match="more than the 17 positions"):
        model.generate(ids, mask, max_new_tokens=9)


def test_errors():
    model, (ids, mask) = make_model(reader_config={**READER, "max_position_embeddings": 20}), batch()
    with pytest.raises(ValueError, match="needs labels or decoder_input_ids"):
        model(ids, mask)
    with pytest.raises(ValueError, match="have 21 tokens, more than the 20 positions of the reader"):
        model(ids, mask, labels=torch.full((3, 9), 5))
    with pytest.raises(ValueError, match="needs config.reader_config"):
        models.ConceptEncoderForConditionalGeneration(make_config())
    with pytest.raises(ValueError, match="fills no masks"):
        model.infill("a")
    with pytest.raises(ValueError, match="needs a model_type"):
        models.ConceptEncoderForConditionalGeneration(make_config(reader_config={"vocab_size": 5}))
    with pytest.raises(ValueError, match="3 encoded texts, but 2 rows"):
        model(ids, mask, labels=torch.full((2, 4), 5))
    shown = torch.ones(1, 4, dtype=torch.long)
    assert model(ids, mask, labels=torch.full((3, 4), 5), decoder_attention_mask=shown).loss > 0
    with pytest.raises(TypeError, match="does not know the arguments"):
        model(ids, mask, labels=ids, beams=3)
