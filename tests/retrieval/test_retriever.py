# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Retrievers: what they encode, saving, loading without this package."""

import copy
import json
import subprocess
import sys

import pytest
import torch
import transformers
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers.processors import TemplateProcessing

from trainers.retrieval.concept_pooling import ConceptPooling
from trainers.retrieval.evaluation import RetrievalData, compare
from trainers.retrieval.retriever import (
    ConceptRetriever,
    load_retriever,
    load_token_model,
    sentence_model,
    token_encoder,
    token_modules,
)

from ..conftest import TEXTS
from ..modeling.test_remote_code import WITHOUT_THE_PACKAGE
from ..trainers.kit import make_model
from .kit import save_bert


@pytest.fixture(scope="module")
def bert(tokenizer, tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("bert"), tokenizer)


@pytest.fixture
def retriever(bert):
    return ConceptRetriever.from_model(load_token_model(bert), num_vectors=3)


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


def test_one_vector_of_a_retriever_is_that_of_its_transformer(retriever, bert):
    torch.testing.assert_close(sentence_model(retriever).encode(TEXTS), SentenceTransformer(bert).encode(TEXTS))


@pytest.fixture(scope="module")
def concept_model(tokenizer, tmp_path_factory):
    """A concept checkpoint whose tokens have different weights in the mean."""
    folder = str(tmp_path_factory.mktemp("concept"))
    model = make_model("perceiver_posonly_mlm", tokenizer, hidden_size=16, intermediate_size=16)
    model.encoder.token_weights.weights.uniform_(0.1, 1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_concept_checkpoint_finds_by_its_token_states(concept_model, tmp_path):
    sentences = SentenceTransformer(concept_model)
    retriever = ConceptRetriever.from_model(load_token_model(concept_model), num_vectors=3)
    features = sentences.preprocess(TEXTS)
    states = sentences[0].model.get_sentence_features(features["input_ids"], features["attention_mask"])
    expected = torch.nn.functional.normalize(states.last_hidden_state, dim=-1)
    tokens = [row[kept.bool()] for row, kept in zip(expected, features["attention_mask"], strict=True)]
    same(retriever.encode_query(TEXTS), tokens)
    same(retriever.encode_document(TEXTS), retriever[-1].pool(tokens))
    torch.testing.assert_close(sentence_model(retriever).encode(TEXTS), sentences.encode(TEXTS))
    retriever.save_pretrained(str(tmp_path))
    assert '", trust_remote_code=True)' in (tmp_path / "README.md").read_text()
    again = load_retriever(str(tmp_path))
    same(again.encode_document(TEXTS), retriever.encode_document(TEXTS))
    torch.testing.assert_close(sentence_model(again).encode(TEXTS), sentences.encode(TEXTS))
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_PACKAGE + SEARCH_A_CONCEPT_MODEL, str(tmp_path)],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_layers_of_a_concept_checkpoint_are_not_cut(concept_model):
    with pytest.raises(ValueError, match="is a concept checkpoint, whose layers cannot be cut"):
        load_token_model(concept_model, 1)


SEARCH_A_CONCEPT_MODEL = """
import sys
from sentence_transformers import MultiVectorEncoder

found = MultiVectorEncoder(sys.argv[1], trust_remote_code=True).encode_document(["Nobody saw him leave the house."])
assert found[0].shape == (3, 16)
"""


def test_prompts_of_a_model_are_kept(bert):
    model = SentenceTransformer(bert, prompts={"query": "ask ", "document": "say "})
    asked, said = (SentenceTransformer(bert).encode([f"{word} {TEXTS[0]}"]) for word in ("ask", "say"))
    for again in (sentence_model(ConceptRetriever.from_model(model)), sentence_model(token_encoder(model))):
        torch.testing.assert_close(again.encode_query(TEXTS[:1]), asked)
        torch.testing.assert_close(again.encode_document(TEXTS[:1]), said)
    tokens = token_encoder(SentenceTransformer(bert)).encode_query([f"ask {TEXTS[0]}"])
    same(ConceptRetriever.from_model(model).encode_query(TEXTS[:1]), tokens)
    several = MultiVectorEncoder(modules=token_modules(model), prompts=model.prompts, similarity_fn_name="meanmaxsim")
    made = ConceptRetriever.from_model(several)
    assert made.similarity_fn_name == "meanmaxsim" and made.prompts == model.prompts


def test_the_pooling_of_a_retriever_stays(retriever):
    assert ConceptRetriever.from_model(retriever)[-1].num_vectors == 3
    assert ConceptRetriever.from_model(retriever, tokens_per_concept=4)[-1].tokens_per_concept == 4


def test_layers_are_counted_whatever_their_name(tokenizer, tmp_path):
    config = transformers.DistilBertConfig(vocab_size=len(tokenizer), dim=16, n_layers=3, n_heads=2, hidden_dim=16)
    transformers.DistilBertModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert len(load_token_model(str(tmp_path), 2)[0].model.transformer.layer) == 2
    with pytest.raises(ValueError, match="it has 3 layers, not 4"):
        load_token_model(str(tmp_path), 4)


def test_a_model_without_states_is_refused(tokenizer):
    static = SentenceTransformer(modules=[StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=8)])
    with pytest.raises(ValueError, match="gives no vectors of tokens"):
        token_modules(static)


def test_a_text_without_tokens_matches_nothing(tokenizer, tmp_path):
    """As with a tokenizer that adds no token to a text, which those trained from the data are."""
    bare = copy.deepcopy(tokenizer)
    bare.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    make_model("perceiver_posonly_mlm", bare, hidden_size=16, intermediate_size=16).save_pretrained(tmp_path)
    bare.save_pretrained(tmp_path)
    retriever = ConceptRetriever.from_model(load_token_model(str(tmp_path)))
    assert retriever.encode_document([""])[0].shape == retriever.encode_query([""])[0].shape == (0, 16)
    documents = retriever.encode_document(["", TEXTS[0]])
    scores = retriever.similarity(retriever.encode_query([TEXTS[0]]), documents)
    assert scores[0, 1] > scores[0, 0]
    data = RetrievalData("d", "test", {"a": "", "b": TEXTS[0]}, {"q": TEXTS[0]}, {"q": {"b": 1}})
    for ranking in compare(data, load_token_model(str(tmp_path)), [1, 2], 2):
        assert ranking.values["RR@10"][0] == 1, ranking.system


def test_the_pooling_plugs_into_other_models(retriever, bert):
    whole = MultiVectorEncoder(modules=token_modules(SentenceTransformer(bert)))
    found = whole.encode_document(TEXTS, token_pooling=ConceptPooling(num_vectors=2))
    same(found, retriever.encode_document(TEXTS, num_vectors=2))


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


def test_a_retriever_is_made_of_a_multi_vector_encoder_too(retriever):
    again = ConceptRetriever.from_model(retriever, num_vectors=5)
    assert len(again) == len(retriever) and again[0] is retriever[0]
    assert again[-1].num_vectors == 5 and again[-1] is not retriever[-1]


def test_models_that_cannot_be_read_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="The model 'nowhere' cannot be read"):
        load_token_model("nowhere")
