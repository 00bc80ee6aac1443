# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The ways of the tutorials of transformers and sentence-transformers, written as they are there."""

import datasets
import numpy as np
import pytest
import torch
from sentence_transformers import (
    CrossEncoder,
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    Trainer,
    TrainingArguments,
    pipeline,
)

import modeling_concept as models

from ..conftest import TEXTS
from ..trainers.kit import make_trainer
from .test_text import token_ids
from .zoo import CLASSIFIERS, DECODER_NAMES, MASK, classifier, language_model, pair_inputs, random_batch, stir


def training_arguments(folder, kind=TrainingArguments, **options):
    return kind(
        output_dir=str(folder), use_cpu=True, report_to="none", disable_tqdm=True, save_strategy="no", max_steps=1,
        per_device_train_batch_size=4, per_device_eval_batch_size=4, **options,
    )  # fmt: skip


def rows_of(batch):
    return [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_the_tutorial_of_text_classification(kind, tmp_path):
    def compute_metrics(eval_pred):
        logits, labels = eval_pred
        predictions = np.argmax(logits, axis=-1)
        return {"accuracy": (predictions == labels).mean()}

    stir(classifier(kind)).save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    batch = random_batch(rows=9)
    inputs = {**(pair_inputs(batch) if kind == "Pair" else batch), "labels": torch.arange(9) % 3}
    trainer = Trainer(
        model, training_arguments(tmp_path), eval_dataset=rows_of(inputs), compute_metrics=compute_metrics
    )
    found = trainer.evaluate()["eval_accuracy"]
    with torch.no_grad():
        expected = (model(**inputs).logits.argmax(-1) == inputs["labels"]).float().mean()
    assert found == pytest.approx(float(expected))
    trainer.train_dataset = rows_of(inputs)
    trainer.train()


@pytest.mark.parametrize("encoder", ["perceiver0-stack", "perceiver0-recursive"])
@pytest.mark.parametrize("decoder", DECODER_NAMES)
def test_the_metrics_of_run_mlm(encoder, decoder, tmp_path):
    """With as many concepts as tokens, where metrics of the wrong output would not fail."""

    def preprocess_logits_for_metrics(logits, labels):
        if isinstance(logits, tuple):
            logits = logits[0]
        return logits.argmax(dim=-1)

    def compute_metrics(eval_preds):
        preds, labels = eval_preds
        labels = labels.reshape(-1)
        preds = preds.reshape(-1)
        mask = labels != -100
        return {"accuracy": (preds[mask] == labels[mask]).mean()}

    stir(language_model(encoder, decoder, concept_num=8)).save_pretrained(tmp_path)
    model = AutoModelForMaskedLM.from_pretrained(tmp_path)
    batch = random_batch(rows=9, length=8)
    labels = torch.where(batch["input_ids"] == MASK, model(**batch).logits.argmax(-1), -100)
    labels[::2] = torch.where(labels[::2] == -100, -100, 5)  # what is read right is known
    trainer = Trainer(
        model,
        training_arguments(tmp_path),
        eval_dataset=rows_of({**batch, "labels": labels}),
        preprocess_logits_for_metrics=preprocess_logits_for_metrics,
        compute_metrics=compute_metrics,
    )
    found = trainer.evaluate()
    counted = labels != -100
    right = (model(**batch).logits.argmax(-1) == labels)[counted].float().mean()
    assert 0.3 < right < 0.9 and found["eval_accuracy"] == pytest.approx(float(right))
    assert found["eval_loss"] == pytest.approx(float(model(**batch, labels=labels).loss), rel=0.2)


def test_evaluation_of_the_concept_trainer_stays_sparse(tokenizer, pieces, tmp_path):
    """Neither in training nor in evaluation does the head see positions that are not supervised."""
    trainer = make_trainer(tokenizer, pieces, tmp_path, objective="masked_lm")
    outputs = []
    trainer.model.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    trainer.train()
    trained = len(outputs)
    trainer.evaluate()
    assert 0 < trained < len(outputs) and all(output.logits is None for output in outputs)


def test_from_pretraining_by_sentence_transformers_to_a_classifier(tokenizer, tmp_path):
    model = stir(language_model(**token_ids(tokenizer)))
    model.save_pretrained(tmp_path / "pretrained")
    tokenizer.save_pretrained(tmp_path / "pretrained")
    sentence_model = SentenceTransformer(str(tmp_path / "pretrained"), device="cpu")
    pairs = datasets.Dataset.from_dict({"anchor": TEXTS, "positive": TEXTS[::-1]})
    trainer = SentenceTransformerTrainer(
        model=sentence_model,
        args=training_arguments(tmp_path / "out", SentenceTransformerTrainingArguments, learning_rate=1e-3),
        train_dataset=pairs,
        loss=MultipleNegativesRankingLoss(sentence_model),
    )
    trainer.train()
    sentence_model.save(str(tmp_path / "tuned"))
    found, info = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "tuned", num_labels=3, output_loading_info=True
    )
    assert type(found) is models.ConceptEncoderForSequenceClassificationPerceiver
    assert {key.split(".")[0] for key in info["missing_keys"]} == {"classifier", "concept_scorer", "pool_norm"}
    tuned, before = found.encoder.state_dict(), model.encoder.state_dict()
    assert any(not torch.equal(tuned[name], before[name]) for name in before)
    rows = [{**row, "labels": number % 3} for number, row in enumerate(rows_of(tokenizer(TEXTS, padding=True)))]
    Trainer(found, training_arguments(tmp_path / "classifier"), train_dataset=rows).train()
    found.save_pretrained(tmp_path / "classifier")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "classifier")
    assert type(again) is type(found) and again.config.num_labels == 3


@pytest.fixture(scope="module", params=[True, False], ids=["special_ends", "no_special_ends"])
def folder_with_tokenizer(request, tmp_path_factory):
    """A checkpoint whose tokenizer does, or does not, give an empty text any token."""
    from trainers.data.tokenizers import train_tokenizer

    folder = tmp_path_factory.mktemp("empty")
    tokenizer = train_tokenizer(TEXTS * 4, vocab_size=320, max_length=64, special_ends=request.param)
    stir(language_model(**token_ids(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_empty_texts_in_other_libraries(folder_with_tokenizer):
    folder = folder_with_tokenizer
    model = models.ConceptEncoder.from_pretrained(folder)
    sentence_model = SentenceTransformer(folder, device="cpu")
    sentences = [f"{text} {number}" for number, text in enumerate(TEXTS * 10)] + [""] * 8
    for texts in ("", ["", ""], sentences):
        found = sentence_model.encode(texts, batch_size=8)
        expected = model.encode(texts).sentence_embeddings.numpy()
        np.testing.assert_allclose(found, expected.reshape(found.shape), atol=1e-5)
    features = pipeline("feature-extraction", model=folder)("")
    np.testing.assert_allclose(features[0], model.encode("").concepts[0], atol=1e-5)
    assert AutoModelForMaskedLM.from_pretrained(folder).reconstruct(["", "", TEXTS[0]])[:2] == ["", ""]


@pytest.mark.parametrize("kind", ["Perceiver", "ViaDecoder"])
def test_a_cross_encoder_keeps_the_classes_of_a_classifier(kind, tokenizer, tmp_path):
    model = stir(classifier(kind, **token_ids(tokenizer)))
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path)
    found = CrossEncoder(str(tmp_path), device="cpu").predict([("A dog.", "A ship sailed.")])
    with torch.no_grad():
        expected = model(**tokenizer("A dog.", "A ship sailed.", return_tensors="pt")).logits
    torch.testing.assert_close(torch.as_tensor(found), expected)
