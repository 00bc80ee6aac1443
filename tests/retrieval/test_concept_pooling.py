# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Concepts of token vectors: against sentence-transformers' clustering, padding, numbers, gradients, precision."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

from trainers.retrieval import concept_pooling
from trainers.retrieval.concept_pooling import ConceptPooling, ward_clusters


WIDTH = 8


def vectors(*shape, seed=0):
    return F.normalize(torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed)), dim=-1)


def in_order(rows):
    return rows[rows[:, 0].argsort()]


@given(length=st.integers(1, 40), count=st.integers(1, 12), seed=st.integers(0, 99))
def test_concepts_without_rounds_are_ward_clusters(length, count, seed):
    tokens, pooling = vectors(length, seed=seed), ConceptPooling(num_vectors=count)
    factor = max(length / (count + 1e-3), 1)
    expected = HierarchicalTokenPooling(factor, num_protected_tokens=0).pool_one(tokens)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(concept_pooling, "ROUNDS", 0)
        found = pooling.pool_one(tokens)
    torch.testing.assert_close(in_order(found), in_order(expected))


@given(length=st.integers(1, 40), count=st.integers(1, 12), seed=st.integers(0, 99))
def test_rounds_bring_each_token_nearer_to_its_concept(length, count, seed):
    tokens = vectors(length, seed=seed)
    labels = ward_clusters(tokens, count)
    means = F.normalize(torch.stack([tokens[labels == label].mean(dim=0) for label in labels.unique()]), dim=-1)
    before = (tokens @ means.T).amax(dim=1).mean()
    concepts = ConceptPooling(num_vectors=count).pool_one(tokens)
    assert len(concepts) <= min(count, length)
    assert (tokens @ concepts.T).amax(dim=1).mean() >= before - 1e-5


def test_padding_and_the_batch_have_no_effect():
    pooling = ConceptPooling(num_vectors=4)
    tokens, mask = vectors(3, 12), torch.ones(3, 12, dtype=torch.long)
    mask[1, 7:], mask[2, :9] = 0, 0  # on either side
    found = pooling({"token_embeddings": tokens, "attention_mask": mask}, task="document")
    for row, kept, concepts, exists in zip(
        tokens, mask.bool(), found["token_embeddings"], found["attention_mask"], strict=True
    ):
        torch.testing.assert_close(concepts[exists], pooling.pool_one(row[kept]))
    assert found["attention_mask"].sum(dim=1).tolist() == [4, 4, 3]
    torch.testing.assert_close(found["token_embeddings"].norm(dim=-1)[found["attention_mask"]], torch.ones(11))


def test_the_number_of_concepts_is_given_at_the_call():
    pooling, lengths = ConceptPooling(num_vectors=8), torch.tensor([1, 16, 17, 400])
    assert pooling.count_concepts(lengths).tolist() == [1, 8, 8, 8]
    assert pooling.count_concepts(lengths, num_vectors=32).tolist() == [1, 16, 17, 32]
    assert pooling.count_concepts(lengths, tokens_per_concept=16).tolist() == [1, 1, 2, 25]
    assert ConceptPooling(tokens_per_concept=4).count_concepts(lengths).tolist() == [1, 4, 5, 100]
    assert len(pooling.pool_one(vectors(20), num_vectors=2)) == 2
    with pytest.raises(ValueError, match="not both"):
        pooling.pool_one(vectors(20), num_vectors=2, tokens_per_concept=2)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        ConceptPooling(num_vectors=0)


def test_queries_keep_their_vectors():
    features = {"token_embeddings": vectors(1, 9), "attention_mask": torch.ones(1, 9)}
    assert ConceptPooling()(features, task="query") is features


def test_a_concept_is_the_mean_of_its_tokens_and_takes_gradients():
    tokens = vectors(10).requires_grad_()
    assignment = concept_pooling.assign_tokens(tokens[None], torch.ones(1, 10, dtype=torch.bool), torch.tensor([3]))
    assert torch.equal(assignment.sum(dim=2), torch.ones(1, 10))
    expected = F.normalize(torch.stack([tokens[part.bool()].mean(dim=0) for part in assignment[0].T]), dim=-1)
    found = ConceptPooling(num_vectors=3).pool_one(tokens)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert (tokens.grad.abs().sum(dim=1) > 0).all()


def test_half_precision_does_not_change_the_clusters():
    pooling, tokens = ConceptPooling(num_vectors=4), vectors(30)
    whole = pooling.pool_one(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(pooling.pool_one(tokens), whole)
    assert pooling.pool_one(tokens.half()).dtype == torch.float16
