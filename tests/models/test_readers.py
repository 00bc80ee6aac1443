# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Pretrained readers: the source's own logits, nothing random, and what trains of them."""

import re

import pytest
import torch
import transformers
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.decoders import Metaspace as MetaspaceDecoder
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Metaspace
from transformers import AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

import modeling_concept as models
from trainers import ConceptTrainingArguments
from trainers.data.tokenizers import train_tokenizer
from trainers.evaluation.context import CONCEPTS, context_scores, round_trip
from trainers.evaluation.context_data import make_context_data
from trainers.model_arguments import ModelArguments
from trainers.models.backbone import adapter_state, merged_state_dict
from trainers.models.reader import (
    centre_reader,
    is_centred,
    load_reader,
    read_reader,
    reader_parameters,
    rows_of,
    train_reader,
)
from trainers.models.untrained import UntrainedError, untrained_like
from trainers.objectives import OBJECTIVES
from trainers.objectives.noise import Noise
from trainers.objectives.vocabulary import Vocabulary
from trainers.starting import plan_start
from trainers.trainer import ConceptTrainer

from ..conftest import TEXTS
from ..modeling.zoo import make_config, random_batch, stir
from ..trainers.kit import clean_batch, make_trainer, step_noise


SIZES = {
    "vocab_size": 61, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 96, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
# Tied heads and others; positions rotary or from a table; embeddings that are scaled.
SOURCES = {
    "llama": ("LlamaForCausalLM", {"num_key_value_heads": 1, "tie_word_embeddings": True}),
    "qwen2": ("Qwen2ForCausalLM", {"num_key_value_heads": 2, "tie_word_embeddings": False}),
    "gpt2": ("GPT2LMHeadModel", {"n_positions": 96, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}),
    "gemma": ("GemmaForCausalLM", {"num_key_value_heads": 1, "head_dim": 8}),
}
every_source = pytest.mark.parametrize("kind", SOURCES)


def save_source(folder, class_name, **options):
    model_class = getattr(transformers, class_name)
    model = stir(model_class(model_class.config_class(**{**SIZES, **options})), 0.2)
    model.generation_config.max_new_tokens = 5
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Folders of tiny models of each kind."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("readers")
    return {kind: save_source(root / kind, name, **options) for kind, (name, options) in SOURCES.items()}


def make_model(reader, **options):
    torch.manual_seed(0)
    config = make_config(models.ConceptEncoderForConditionalGeneration, reader_config=reader.config, **options)
    model = models.ConceptEncoderForConditionalGeneration(config)
    load_reader(model, reader)
    return model


@every_source
def test_the_reader_is_the_source(kind, sources, tmp_path):
    source = transformers.AutoModelForCausalLM.from_pretrained(sources[kind]).eval()
    model = make_model(read_reader(sources[kind])).eval()
    state = model.reader.lm.state_dict()
    assert state.keys() == source.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in source.state_dict().items())
    ids = torch.randint(5, 61, (2, 9))
    with torch.no_grad():
        prompt = model.reader.token_prompt(ids)
        logits = model.reader.lm.get_output_embeddings()(model.reader.states(prompt).last_hidden_state)
        torch.testing.assert_close(logits, source(ids).logits)
    # Vectors of concepts are as large as rows of the table.
    adapted = model.reader.adapter(torch.randn(3, 6, 32)).square().mean().sqrt()
    rows = source.get_input_embeddings()(torch.arange(61)).square().mean().sqrt()
    assert float(adapted / rows) == pytest.approx(1, abs=0.05)
    assert model.generation_config.max_new_tokens == 5 and model.config.reader_source["sha256"]
    model.save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    batch = random_batch()
    assert torch.equal(again.generate(**batch), model.generate(**batch))


@every_source
def test_a_new_adapter_is_centred(kind, sources):
    model = make_model(read_reader(sources[kind])).train()
    batches, counts = [random_batch() for _ in range(3)], torch.rand(61)
    assert not is_centred(model)
    centre_reader(model, batches, counts)
    assert model.training and is_centred(model)
    concepts = torch.cat([model.eval().encoder(**batch).last_hidden_state for batch in batches])
    assert model.reader.adapter.projection(concepts).mean(dim=(0, 1)).abs().max() < 1e-5
    row = counts @ rows_of(model.reader.lm) / counts.sum()
    torch.testing.assert_close(model.reader.adapter.offset, row)


def test_training_centres_the_adapter_of_a_pretrained_reader_once(sources, tokenizer, pieces, tmp_path):
    reader = read_reader(save_source(tmp_path / "source", "LlamaForCausalLM", vocab_size=len(tokenizer)))
    sizes = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "max_sequence_length": 64}
    model = make_model(reader, mask_token_id=tokenizer.mask_token_id, **sizes)
    trainer = make_trainer(tokenizer, pieces, tmp_path, model=model, objective="continuation")
    row = trainer.token_counts.float() @ model.reader.lm.get_input_embeddings().weight / trainer.token_counts.sum()
    torch.testing.assert_close(model.reader.adapter.offset, row.float())
    trainer.train()
    before = model.reader.adapter.offset.clone()
    make_trainer(tokenizer, pieces, tmp_path / "again", model=model, objective="continuation")
    assert torch.equal(model.reader.adapter.offset, before)


def step(model, steps=4):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    for _ in range(steps):
        model(**random_batch(), labels=torch.randint(5, 61, (3, 9)), continuation=True).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("how", ["full", "frozen", "lora"])
@every_source
def test_what_moves(kind, how, sources, tmp_path):
    model = make_model(read_reader(sources[kind]))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train_reader(model, how)
    step(model.train())
    assert bool(adapter_state(model)) == (how == "lora")
    merged = merged_state_dict(model) if how == "lora" else model.state_dict()
    moved = {name for name, value in merged.items() if not torch.equal(value, before[name])}
    assert "reader.start_embeddings" in moved and any(name.startswith("reader.adapter") for name in moved)
    assert any(name.startswith("reader.lm") for name in moved) == (how != "frozen")
    assert len(reader_parameters(model)) >= len(list(model.reader.lm.parameters()))
    model.eval().save_pretrained(tmp_path, state_dict=merged if how == "lora" else None)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    batch, labels = random_batch(), torch.randint(5, 61, (3, 9))
    torch.testing.assert_close(again(**batch, labels=labels).loss, model(**batch, labels=labels).loss)


@pytest.mark.parametrize("how", ["frozen", "full"])
def test_the_untrained_network_has_the_reader_as_it_was(how, sources):
    reader = read_reader(sources["llama"])
    model = make_model(reader)
    train_reader(model, how)
    step(model.train())
    if how == "full":  # the folder is not recorded, as there is no checkpoint
        with pytest.raises(UntrainedError, match="There is no untrained network to compare with"):
            untrained_like(model, seed=1)
        model.config.reader_source["name_or_path"] = sources["llama"]
    untrained = untrained_like(model, seed=1)
    state = untrained.reader.lm.state_dict()
    assert all(torch.equal(state[name], value) for name, value in reader.weights.items())
    assert not torch.equal(untrained.reader.adapter.projection.bias, model.reader.adapter.projection.bias)


def test_a_resumed_run_is_the_uninterrupted_one(sources, tokenizer, pieces, tmp_path):
    reader = read_reader(save_source(tmp_path / "source", "LlamaForCausalLM", vocab_size=len(tokenizer)))
    sizes = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "max_sequence_length": 64}

    def trainer(folder, **options):
        model = make_model(reader, mask_token_id=tokenizer.mask_token_id, **sizes)
        train_reader(model, "lora")
        options = {"objective": "continuation:0.5,autoencoding:0.5", "max_steps": 4, "save_steps": 2, **options}
        return make_trainer(tokenizer, pieces, tmp_path / folder, model=model, save_strategy="steps", **options)

    whole = trainer("run")
    whole.train()
    checkpoint = str(tmp_path / "run" / "checkpoint-2")
    resumed = trainer("run", resume_from_checkpoint=checkpoint)
    resumed.train(resume_from_checkpoint=checkpoint)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


def test_an_encoder_below_a_decoder_leaves_its_reader(sources, tokenizer, tmp_path):
    folder = save_source(tmp_path / "source", "LlamaForCausalLM", vocab_size=len(tokenizer))
    tokenizer.save_pretrained(folder)
    arguments = ConceptTrainingArguments(output_dir=str(tmp_path / "run"), use_cpu=True, objective="continuation")
    planned = plan_start(ModelArguments(reader=folder), arguments, 32)
    model, _ = planned.make_model(planned.make_tokenizer([]))
    assert model.config.reader_source and not any(p.requires_grad for p in model.reader.lm.parameters())
    assert not model.config.own_reader_tokenizer
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    arguments.objective = "denoising"
    planned = plan_start(ModelArguments(init_encoder_from=str(tmp_path / "saved")), arguments, 32)
    assert planned.make_model(planned.make_tokenizer([]))[0].config.reader_config is None


def test_a_reader_with_a_tokenizer_of_its_own(tokenizer, tmp_path):
    """Texts are cut by the reader's tokenizer, and the encoder reads the same text in its own tokens."""
    own = train_tokenizer([text[1:] for text in TEXTS[2:]] * 4, 300, 64)  # other words, as far as they differ
    own.eos_token = own.sep_token
    folder = save_source(tmp_path / "source", "LlamaForCausalLM", vocab_size=len(own), eos_token_id=own.eos_token_id)
    own.save_pretrained(folder)
    tokenizer.save_pretrained(tmp_path / "other")

    def start(objective, folder_name):
        options = {"max_steps": 3, "save_steps": 2, "eval_strategy": "no", "per_device_train_batch_size": 4}
        arguments = ConceptTrainingArguments(
            output_dir=str(tmp_path / folder_name), use_cpu=True, objective=objective, **options
        )
        return plan_start(
            ModelArguments(reader=folder, tokenizer_name=str(tmp_path / "other")), arguments, 32
        ), arguments

    planned, _ = start("denoising:0.5,continuation:0.5", "refused")
    with pytest.raises(ValueError, match="denoising needs a reader with the encoder's tokenizer"):
        planned.make_tokenizer([])

    def trainer(folder_name, **resume):
        planned, arguments = start("continuation:0.5,context_distillation:0.25,autoencoding:0.25", folder_name)
        encoder_tokenizer = planned.make_tokenizer([])
        model, _ = planned.make_model(encoder_tokenizer)
        model.tokenizer = encoder_tokenizer
        arguments.resume_from_checkpoint = resume.get("resume_from_checkpoint")
        data = Dataset.from_dict({"text": TEXTS * 3})
        return ConceptTrainer(
            model, arguments, objective=planned.mixture, processing_class=encoder_tokenizer, train_dataset=data,
            eval_dataset=data,
        )  # fmt: skip

    whole = trainer("run")
    model = whole.model
    assert model.config.own_reader_tokenizer and model.config.max_sequence_length == 64
    assert is_centred(model) and bool((model.encoder.token_weights.weights != 1).any())
    text = " ".join(TEXTS)
    piece = whole.train_dataset[0]["input_ids"]
    assert own.decode(piece, skip_special_tokens=True).strip()[:40] in text
    batch = whole.clean(whole.data_collator([whole.train_dataset[place] for place in range(4)]))
    for name, objective in whole.mixture.objectives.items():
        inputs = objective(batch, Noise.for_step(0, 0, torch.arange(4), 4, batch.input_ids.shape[1]))
        prefixes = inputs.get("reader_input_ids", batch.input_ids if name == "autoencoding" else None)
        read = tokenizer.batch_decode(inputs["input_ids"], skip_special_tokens=True)
        if prefixes is not None:
            assert [row.strip() for row in own.batch_decode(prefixes, skip_special_tokens=True)] == [
                row.strip() for row in read
            ]
    assert (inputs["labels"] == own.eos_token_id).sum(dim=1).tolist() == [1] * 4  # of autoencoding, the last one
    whole.train()
    assert model.generation_config.eos_token_id == own.eos_token_id
    assert model.generation_config.max_new_tokens == 5
    checkpoint = str(tmp_path / "run" / "checkpoint-2")
    resumed = trainer("run", resume_from_checkpoint=checkpoint)
    resumed.train(resume_from_checkpoint=checkpoint)
    for name, value in model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    metrics = whole.evaluate()
    assert metrics["eval_continuation_loss"] > 0 and "eval_suffix_shuffled_loss_gap" in metrics
    loaded = AutoModelForSeq2SeqLM.from_pretrained(checkpoint, trust_remote_code=True)
    assert loaded.reader_tokenizer.get_vocab() == own.get_vocab()
    assert loaded.tokenizer.get_vocab() == tokenizer.get_vocab()
    assert loaded.complete(TEXTS[0], max_new_tokens=4)[0].startswith(TEXTS[0])
    assert isinstance(loaded.reconstruct([TEXTS[0]])[0], str)
    # What is measured of it: both tokenizers give the encoder the same text.
    texts = Dataset.from_dict({"text": [" ".join(TEXTS[number % 4 :] + TEXTS) for number in range(6)]})
    data = make_context_data("toy", texts, "text", own, 16, 8, 4, 4)
    scores = context_scores(loaded, data, 4, batch_size=4)
    assert data.opening == 1 and bool((data.prefixes[:, 0] == own.cls_token_id).all())
    texts = own.batch_decode(data.prefixes, skip_special_tokens=True)
    encoded = loaded.encoder(**loaded.tokenize(texts), concept_num=4, return_dict=True)
    expected = loaded(labels=data.suffixes, encoder_outputs=encoded, continuation=True).loss
    assert float(scores[CONCEPTS].losses.mean()) == pytest.approx(float(expected), abs=1e-4)
    assert 0 <= round_trip(loaded, data.prefixes, 4, 4, data.opening)["tokens right"] <= 1
    again = plan_start(ModelArguments(model_name_or_path=checkpoint), start("autoencoding", "again")[1])
    assert again.max_seq_length == 32  # tokens of the reader


def test_a_text_is_written_without_its_special_tokens(tokenizer):
    """The labels are the words and the end token, and only the words are written again."""
    special = train_tokenizer(TEXTS * 4, 320, 64)
    rows = special(TEXTS[:2])["input_ids"]
    batch = clean_batch(special, rows)
    batch = batch._replace(vocabulary=Vocabulary.of(special, end_token_id=special.sep_token_id))
    inputs = OBJECTIVES["autoencoding"]()(batch, step_noise(batch))
    for row, labels, given in zip(rows, inputs["labels"], inputs["decoder_input_ids"], strict=True):
        assert labels[labels != -100].tolist() == [*row[1:-1], special.sep_token_id]
        assert given[1 : len(row) - 1].tolist() == row[1:-1]
    config = make_config(
        models.ConceptEncoderForConditionalGeneration, vocab_size=len(special), max_sequence_length=64,
        **{f"{name}_token_id": getattr(special, f"{name}_token_id") for name in ("pad", "mask", "cls", "sep")},
    )  # fmt: skip
    model = stir(models.ConceptEncoderForConditionalGeneration(config), 0.2).eval()
    ids, mask = batch.input_ids, batch.attention_mask
    model.generation_config.repetition_penalty = 2.0  # without effect
    written = model.write_again(ids, mask)
    model.generation_config.repetition_penalty = None
    words = torch.isin(ids, torch.tensor(special.all_special_ids)).logical_not()
    assert torch.equal(written[~words], ids[~words])
    length = dict.fromkeys(("min_new_tokens", "max_new_tokens"), int(words.sum(dim=1).max()))
    free = model.generate(ids, mask, continuation=False, do_sample=False, **length)
    for row in range(2):
        assert torch.equal(written[row][words[row]], free[row][: int(words[row].sum())])


def test_completions_keep_the_space_before_a_word(tokenizer):
    """Some tokenizers write none before the first word that they are given."""
    words = sorted({word for text in TEXTS for word in text.split()})
    spaced = Tokenizer(
        WordLevel({"<pad>": 0, "<unk>": 1} | {f"▁{word}": 2 + i for i, word in enumerate(words)}, "<unk>")
    )
    spaced.pre_tokenizer, spaced.decoder = Metaspace(), MetaspaceDecoder()
    own = PreTrainedTokenizerFast(tokenizer_object=spaced, pad_token="<pad>", unk_token="<unk>")
    options = {"vocab_size": len(tokenizer), "max_sequence_length": 64}
    options |= {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "mask")}
    config = make_config(
        models.ConceptEncoderForConditionalGeneration,
        reader_config={**SIZES, "model_type": "llama", "vocab_size": len(own), "eos_token_id": None}, **options,
    )  # fmt: skip
    model = stir(models.ConceptEncoderForConditionalGeneration(config), 0.2).eval()
    model.tokenizer, model.reader_tokenizer = tokenizer, own
    text = " ".join(words[:3])
    written = model.complete(text, max_new_tokens=2, suppress_tokens=[0, 1])[0]
    assert re.fullmatch(re.escape(text) + r" \S+ \S+", written)


def test_readers_have_the_dropout_of_the_model(tmp_path):
    reader = read_reader(save_source(tmp_path, "GPT2LMHeadModel", resid_pdrop=0.3, embd_pdrop=0.2))
    model = make_model(reader).train()
    assert {model.reader.lm.config.resid_pdrop, model.reader.lm.config.embd_pdrop} == {0.0}
    assert all(module.p == 0 for module in model.modules() if isinstance(module, torch.nn.Dropout))


def test_what_cannot_be_a_reader_is_told(sources, tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        read_reader(str(tmp_path))
    folder = save_source(
        tmp_path / "gemma2", "Gemma2ForCausalLM", num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.5
    )
    with pytest.raises(ValueError, match=r"The logits of .* \(gemma2\) are not those of a linear head"):
        read_reader(folder)
