# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Distillation: the loss against its formula, what the teacher reads, and how texts are cut."""

import pytest
import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer

from trainers.data.tokenizers import train_tokenizer
from trainers.losses.terms import parse_terms
from trainers.objectives import Denoising, Distillation, Mixture
from trainers.objectives.vocabulary import Vocabulary, cut_texts
from trainers.training_model import TrainingModel

from ..conftest import TEXTS
from ..modeling.zoo import make_config
from ..trainers.kit import clean_batch, make_model, make_trainer, step_losses, step_noise, text_noise


LONG = " ".join(TEXTS)


@pytest.fixture
def batch(tokenizer):
    return clean_batch(tokenizer, tokenizer([*TEXTS, LONG], truncation=True, max_length=64)["input_ids"])


def losses(teacher, batch, hidden_size, **options):
    """The loss on whole texts, the model's output, the teacher's, and the head."""
    objective = Distillation(str(teacher), **options)
    tokenizer = batch.vocabulary.tokenizer
    model = make_model("perceiver_posonly_mlm", tokenizer, hidden_size=hidden_size, num_attention_heads=2)
    objective.check(model.config)
    inputs, head = objective(batch, text_noise(batch)), objective.make_head(model.config)
    encoded = objective.encode(model, inputs)
    own = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    targets = SentenceTransformer(str(teacher), device="cpu")(own)
    return objective.loss(model, head, encoded, inputs, len(batch.input_ids)), encoded, targets, head


def test_the_loss_of_sentence_vectors_is_one_minus_their_cosine(teacher, batch):
    loss, encoded, targets, head = losses(teacher, batch, 24)
    assert head is None
    expected = 1 - F.cosine_similarity(encoded.pooler_output, targets["sentence_embedding"]).mean()
    torch.testing.assert_close(loss, expected)
    loss, encoded, targets, head = losses(teacher, batch, 32)
    expected = 1 - F.cosine_similarity(head(encoded.pooler_output), targets["sentence_embedding"]).mean()
    torch.testing.assert_close(loss, expected)


def test_states_of_tokens_count_equally_within_a_text_and_texts_equally(teacher, batch):
    loss, encoded, targets, _ = losses(teacher, batch, 24, token_state_weight=0.5)
    vectors = 1 - F.cosine_similarity(encoded.pooler_output, targets["sentence_embedding"]).mean()
    states = []
    for own, other, size in zip(
        encoded.last_hidden_state, targets["token_embeddings"], batch.attention_mask.sum(dim=1), strict=True
    ):
        states.append((1 - F.cosine_similarity(own[:size], other[:size], dim=-1)).mean())
    torch.testing.assert_close(loss, vectors + 0.5 * torch.stack(states).mean())


def test_texts_are_cut_in_training_alone(teacher, batch):
    objective = Distillation(str(teacher))
    assert torch.equal(objective(batch, text_noise(batch))["input_ids"], batch.input_ids)
    longest = [int(objective(batch, step_noise(batch, step=n))["attention_mask"].sum(dim=1).max()) for n in range(40)]
    assert min(longest) < 32 < max(longest) <= 64


def test_parts_end_with_sentences(tokenizer):
    batch = clean_batch(tokenizer, tokenizer([LONG])["input_ids"])
    ends = Vocabulary.of(tokenizer).sentence_ends
    assert {tokenizer.convert_ids_to_tokens(token)[-1] for token in ends - {tokenizer.sep_token_id}} <= set(".!?")
    length = max(map(len, tokenizer(TEXTS)["input_ids"]))
    cut = cut_texts(batch, length, ends)[0]
    shown = [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in cut.input_ids]
    assert shown == TEXTS
    whole = cut_texts(batch, 4, frozenset())[0].input_ids
    assert torch.equal(cut_texts(batch, 4, frozenset({-1}))[0].input_ids, whole)  # nothing ends


def test_a_teacher_of_another_vocabulary_reads_the_same_texts(teacher, batch):
    other = train_tokenizer(TEXTS, vocab_size=290, max_length=64)
    foreign = clean_batch(other, other(TEXTS)["input_ids"])
    objective = Distillation(str(teacher))
    inputs = objective(foreign, text_noise(foreign))
    own = batch.vocabulary.tokenizer(TEXTS, padding=True, return_tensors="pt")["input_ids"]
    assert torch.equal(inputs["teacher_input_ids"], own)
    assert not torch.equal(inputs["input_ids"], own)
    with pytest.raises(ValueError, match="token_state_weight needs the teacher's tokenizer"):
        Distillation(str(teacher), token_state_weight=1.0)(foreign, text_noise(foreign))


def test_what_cannot_be_compared_is_refused(teacher, tokenizer):
    with pytest.raises(ValueError, match="token_state_weight must not be negative"):
        Distillation(str(teacher), token_state_weight=-1.0)
    objective = Distillation(str(teacher), token_state_weight=1.0)
    for options in ({"hidden_size": 32}, {"hidden_size": 24, "concept_mean": "free"}):
        with pytest.raises(ValueError, match="set hidden_size 24 and a concept_mean that is not free"):
            objective.check(make_config(**options))
    model = make_model("perceiver_posonly_mlm", tokenizer)
    shared = Mixture({"d": Distillation(str(teacher)), "e": Denoising()}, {"d": 1.0}, {"e": 1.0})
    with pytest.raises(ValueError, match="makes no concepts that concept losses could be computed from"):
        TrainingModel(model, shared, parse_terms("uniformity:0.1"))


def test_texts_may_be_shared_with_an_objective_that_makes_concepts(teacher, tokenizer, pieces, tmp_path):
    """Concept losses are those of its texts; also in a step without one."""
    trainer = make_trainer(
        tokenizer, pieces, tmp_path, teacher=teacher, objective="denoising:0.2,distillation:0.8", max_steps=4,
        per_device_train_batch_size=2, concept_losses="uniformity:0.1",
    )  # fmt: skip
    trainer.train()
    assert all(map(torch.isfinite, map(torch.tensor, step_losses(trainer))))
    assert any("loss/uniformity" in entry for entry in trainer.state.log_history)


def test_sentence_vectors_alone_train_a_backbone_of_the_teachers_width(teacher, tokenizer):
    """No concept layer is run for them, and the states that they are the mean of get gradients."""
    model = make_model("perceiver_posonly_mlm", tokenizer, hidden_size=24, num_attention_heads=2)
    batch = clean_batch(tokenizer, tokenizer(TEXTS)["input_ids"])
    objective = Distillation(str(teacher))
    inputs = objective(batch, step_noise(batch))
    objective.loss(model, None, objective.encode(model, inputs), inputs, 4).backward()
    assert model.get_input_embeddings().weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.encoder.layers.parameters())
