# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Retrievers: what they encode, saving, loading without this package, states that were computed before."""

import json
import subprocess
import sys

import pytest
import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer

from trainers.retrieval.concept_pooling import ConceptPooling
from trainers.retrieval.evaluation import make_poolings, sentence_model
from trainers.retrieval.retriever import ConceptRetriever, load_token_model, token_modules
from trainers.retrieval.states import TokenStates

from ..conftest import TEXTS
from ..modeling.test_remote_code import WITHOUT_THE_PACKAGE
from .kit import MIXED, save_bert
from .test_concept_pooling import stirred


@pytest.fixture(scope="module")
def bert(tokenizer, tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("bert"), tokenizer)


@pytest.fixture
def retriever(bert):
    found = ConceptRetriever.from_model(load_token_model(bert), num_vectors=3)
    stirred(found[-1])
    return found


def same(rows, others):
    assert len(rows) == len(others)
    for row, other in zip(rows, others, strict=True):
        torch.testing.assert_close(row, other)


def test_documents_are_concepts_and_queries_their_tokens(retriever, bert):
    tokens = MultiVectorEncoder(modules=token_modules(SentenceTransformer(bert))).encode_document(TEXTS)
    same(retriever.encode_query(TEXTS), tokens)
    same(retriever.encode_document(TEXTS), retriever[-1].pool(tokens))
    assert {len(row) for row in retriever.encode_document(TEXTS, num_vectors=2)} == {2}
    counts = [len(row) for row in retriever.encode_document(TEXTS, tokens_per_concept=4)]
    assert all(count <= -(-len(row) // 4) for count, row in zip(counts, tokens, strict=True)) and max(counts) > 3
    queries, documents = retriever.encode_query(TEXTS), retriever.encode_document(TEXTS)
    expected = torch.stack([(query @ documents[1].T).amax(dim=1).sum() for query in queries])
    torch.testing.assert_close(retriever.similarity(queries, documents)[:, 1], expected)


def test_the_vectors_that_are_compared_are_those_of_the_model(retriever, bert):
    tokens = MultiVectorEncoder(modules=token_modules(retriever)).encode_document(TEXTS)
    found = make_poolings(retriever, 16)
    same(found["concepts"](2).pool(tokens), retriever.encode_document(TEXTS, num_vectors=2))
    same(found["untrained"](2).pool(tokens), ConceptPooling(16, num_vectors=2).pool(tokens))
    plain = make_poolings(load_token_model(bert), 16)
    same(plain["concepts"](2).pool(tokens), found["untrained"](2).pool(tokens))
    torch.testing.assert_close(sentence_model(retriever).encode(TEXTS), SentenceTransformer(bert).encode(TEXTS))


def test_a_saved_retriever_loads_without_this_package(retriever, tmp_path):
    """Also one that was saved where the package was absent."""
    retriever.save_pretrained(str(tmp_path / "first"))
    types = [module["type"] for module in json.loads((tmp_path / "first" / "modules.json").read_text())]
    assert types[-1] == "concept_pooling.ConceptPooling"
    probe = WITHOUT_THE_PACKAGE + (
        "from sentence_transformers import MultiVectorEncoder\n"
        "for folder, other in (('first', 'second'), ('second', 'third')):\n"
        "    model = MultiVectorEncoder(folder, trust_remote_code=True, device='cpu')\n"
        "    model.save_pretrained(other)\n"
        "rows = model.encode_document(json.loads(sys.argv[1]), num_vectors=2)\n"
        "torch.save(rows, 'rows.pt')\n"
    )
    subprocess.run([sys.executable, "-c", probe, json.dumps(TEXTS)], cwd=tmp_path, check=True, timeout=300)
    same(torch.load(tmp_path / "rows.pt"), retriever.encode_document(TEXTS, num_vectors=2))
    again = load_token_model(str(tmp_path / "third"))
    same(again.encode_document(TEXTS), retriever.encode_document(TEXTS))


def test_states_that_were_computed_before_give_the_same_vectors(retriever, tmp_path, monkeypatch):
    texts = [*TEXTS, *MIXED]
    states = TokenStates(retriever[0], str(tmp_path))
    states.add(TEXTS)
    states.add(texts)
    before = [retriever.encode_document(texts), retriever.encode_query(texts)]
    retriever.use_states(states)
    with monkeypatch.context() as patch:
        patch.setattr(retriever[0], "forward", None)
        after = [retriever.encode_document(texts), retriever.encode_query(texts)]
    for rows, others in zip(before, after, strict=True):
        for row, other in zip(rows, others, strict=True):
            torch.testing.assert_close(row, other, atol=2e-3, rtol=0)  # half precision
    with pytest.raises(KeyError):
        retriever.encode_query(["another text"])
    retriever.use_states(None)
    same(retriever.encode_document(texts), before[0])


def test_states_are_computed_once_for_the_same_weights_and_texts(retriever, tmp_path, monkeypatch):
    TokenStates(retriever[0], str(tmp_path)).add(TEXTS)
    with monkeypatch.context() as patch:
        patch.setattr(TokenStates, "compute", None)
        TokenStates(retriever[0], str(tmp_path)).add(TEXTS[::-1])
    assert len(list(tmp_path.glob("*.arrow"))) == 1
    with torch.no_grad():
        next(retriever[0].parameters()).add_(1)
    TokenStates(retriever[0], str(tmp_path)).add(TEXTS)
    assert len(list(tmp_path.glob("*.arrow"))) == 2


def test_a_retriever_is_made_of_a_multi_vector_encoder_too(retriever):
    again = ConceptRetriever.from_model(retriever, num_vectors=5)
    assert len(again) == len(retriever) and again[0] is retriever[0]
    assert again[-1].num_vectors == 5 and again[-1] is not retriever[-1]


def test_models_that_cannot_be_read_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="The model 'nowhere' cannot be read"):
        load_token_model("nowhere")
