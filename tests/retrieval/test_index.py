# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The index: answers against MaxSim, builds that are killed, several processes, refusals."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import lancedb
import pyarrow as pa
import pytest
import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.util import maxsim

from trainers.retrieval import index as index_module
from trainers.retrieval.concept_pooling import ConceptPooling
from trainers.retrieval.documents import load_documents, load_passages
from trainers.retrieval.evaluation import reduce_precision
from trainers.retrieval.index import ConceptIndex, unit_vectors
from trainers.retrieval.retriever import ConceptRetriever, load_retriever, load_token_model

from ..conftest import ROOT, TEXTS
from .kit import MIXED, documents, save_bert


QUERIES = [*TEXTS, "a dog by the river", "nobody"]

# Builds an index of a data set; a process whose rank is the fourth argument is killed before its second commit.
SCRIPT = """
import os, signal, sys
from trainers.retrieval import documents, index
whole, commits = index.as_rows, []
def as_rows(*given):
    commits.append(given)
    if len(commits) == 2 and os.environ.get("RANK", "0") == sys.argv[4]:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*given)
index.as_rows = as_rows
index.ConceptIndex.build(sys.argv[1], documents.load_documents(sys.argv[2]), sys.argv[3], 3, shard_size=4)
"""


@pytest.fixture(scope="module")
def bert(tokenizer, tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("bert"), tokenizer)


@pytest.fixture(scope="module")
def built(bert, tmp_path_factory):
    """An index that is only read."""
    return ConceptIndex.build(str(tmp_path_factory.mktemp("built")), documents(), bert, 3, shard_size=8)


@pytest.fixture
def copy(built, tmp_path):
    """The folder of an index that may be changed."""
    return shutil.copytree(built.table.uri.removesuffix("/documents.lance"), tmp_path / "copy")


def answers(index, **options):
    """Ids and rounded scores for each query."""
    return [[(hit.id, round(hit.score, 4)) for hit in hits] for hits in index.search(QUERIES, **options)]


def run_script(folder, *arguments, launcher=()):
    """`SCRIPT` in a process of its own, or in those of a launcher; the exit status."""
    (folder / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(folder / "script.py"), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, timeout=300).returncode


# -- answers


def test_answers_are_those_of_maxsim_on_concepts(built, bert):
    encoder = load_retriever(bert)
    stored = [part.cpu() for part in encoder.encode_document(MIXED, num_vectors=3)]
    for query, hits in zip(encoder.encode_query(QUERIES), built.search(QUERIES, top_k=30, exact=True), strict=True):
        scores = torch.stack([(query.cpu() @ part.half().float().T).amax(dim=1).sum() for part in stored])
        assert [hit.rank for hit in hits] == list(range(1, 31))
        assert torch.allclose(torch.tensor([hit.score for hit in hits]), scores.sort(descending=True)[0], atol=1e-4)
        for hit in hits:
            assert hit.score == pytest.approx(float(scores[int(hit.id)]), abs=1e-4) and hit.text == MIXED[int(hit.id)]


def test_signs_give_the_maxsim_of_binary_vectors(bert, tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "SIGNS", 7)
    index = ConceptIndex.build(str(tmp_path / "index"), documents(), bert, 3, precision="binary")
    assert index.table.schema.field("vectors").type.value_type == pa.list_(pa.uint8(), 2)
    stored = reduce_precision(index.encode_documents(MIXED), "binary")
    expected = maxsim(index.encode_queries(QUERIES), stored)
    for exact in (True, False):
        for row, hits in zip(expected, index.search(QUERIES, exact=exact, top_k=30), strict=True):
            torch.testing.assert_close(torch.tensor([hit.score for hit in hits]), row[[int(hit.id) for hit in hits]])
    again = ConceptIndex.build(str(tmp_path / "index"), documents(), bert, 3, precision="binary")
    assert again.table.count_rows() == 30


def test_signs_need_whole_bytes(tokenizer, tmp_path):
    bert = save_bert(tmp_path / "bert", tokenizer, hidden_size=12)
    with pytest.raises(ValueError, match="eight in a byte, but the model's vectors have 12 numbers"):
        ConceptIndex.build(str(tmp_path / "index"), documents(), bert, precision="binary")


def test_few_documents_are_all_scored(built):
    assert not built.table.list_indices()
    for found, exact in zip(answers(built), answers(built, exact=True), strict=True):
        assert dict(found) == pytest.approx(dict(exact), abs=2e-4)


def test_one_document_is_found(bert, tmp_path):
    index = ConceptIndex.build(str(tmp_path), documents(TEXTS[:1]), bert, 3)
    assert [hit.text for hit in index.search(["a dog"])[0]] == TEXTS[:1]


def test_exact_answers_do_not_depend_on_blocks(built, monkeypatch):
    whole = answers(built, exact=True, top_k=5)
    monkeypatch.setattr(index_module, "BLOCK", 4)
    assert answers(built, exact=True, top_k=5) == whole


def test_many_documents_are_indexed_and_new_ones_are_found(copy, built, bert, monkeypatch):
    monkeypatch.setattr(index_module, "FEWEST_INDEXED", 10)
    more = [*MIXED, "Whales sing in the deep sea."]
    index = ConceptIndex.build(str(copy), documents(more), bert, 3)
    assert index.table.count_rows() == 31
    assert [kind.num_unindexed_rows for kind in index.table.list_indices()] == [0]
    for found, exact in zip(answers(index), answers(index, exact=True), strict=True):
        assert dict(found) == pytest.approx(dict(exact), abs=2e-4)
    assert index.search([more[-1]])[0][0].id == "30"


def test_texts_that_changed_or_are_gone_are_not_found(copy, bert, capsys):
    changed = [MIXED[0], "Whales sing in the deep sea.", *MIXED[1:20]]
    index = ConceptIndex.build(str(copy), documents(changed), bert, 3)
    assert "29 documents of the index have changed or are gone" in capsys.readouterr().out
    rows = index.table.search().select(["id", "text"]).to_list()
    assert {row["id"]: row["text"] for row in rows} == {str(key): text for key, text in enumerate(changed)}
    assert index.search("Whales sing in the deep sea.")[0][0].id == "1"


def test_an_edited_note_is_found_as_it_is_and_other_folders_stay(bert, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notes = {"a": "one two three four", "b's": "five six seven eight nine"}
    for name, text in {**notes, "other": "ten eleven"}.items():
        (tmp_path / ("o" if name == "other" else "n")).mkdir(exist_ok=True)
        (tmp_path / ("o" if name == "other" else "n") / f"{name}.txt").write_text(text)
    for folder in ("n", "o"):
        index = ConceptIndex.build("index", load_passages(folder, words=3), bert, 2)
    (tmp_path / "n" / "a.txt").write_text("zero one two three four")
    (tmp_path / "n" / "b's.txt").unlink()
    index = ConceptIndex.build("index", load_passages(["n"], words=3), bert, 2)
    assert sorted(row["text"] for row in index.table.search().select(["text"]).to_list()) == [
        "ten eleven", "three four", "zero one two"
    ]  # fmt: skip


def test_checkpoints_beside_a_model_do_not_change_it(bert, tmp_path):
    SentenceTransformer(bert).save_pretrained(str(tmp_path / "model"))
    before = index_module.revision_of(str(tmp_path / "model"))
    shutil.copytree(bert, tmp_path / "model" / "checkpoint-1")
    (tmp_path / "model" / "training_args.bin").write_bytes(b"1")
    assert index_module.revision_of(str(tmp_path / "model")) == before != index_module.revision_of(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"num_vectors": 0}, "at least 1, not 0"), ({"precision": "int8"}, "'int8' is none of float16, float32")],
)
def test_a_wrong_value_leaves_no_index(bert, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        ConceptIndex.build(str(tmp_path / "index"), documents(), bert, **options)
    assert not (tmp_path / "index").exists()


def test_an_index_needs_only_its_folder(built, copy):
    assert answers(ConceptIndex.open(str(copy))) == answers(built)


def test_bfloat16_and_float32_are_near(bert, tmp_path):
    one, two = (
        ConceptIndex.build(str(tmp_path / str(bf16)), documents(), bert, 64, precision="float32", bf16=bf16)
        for bf16 in (True, False)
    )
    assert one.table.schema.field("vectors").type.value_type.value_type == "float"
    for near, whole in zip(one.encode_documents(MIXED), two.encode_documents(MIXED), strict=True):
        assert not torch.equal(near, whole)
        assert torch.nn.functional.cosine_similarity(near, whole).min() > 0.999


# -- models


def test_a_multi_vector_encoder_is_read_as_it_is(bert, tmp_path):
    MultiVectorEncoder(bert).save_pretrained(str(tmp_path))
    model, whole = load_retriever(str(tmp_path)), MultiVectorEncoder(str(tmp_path))
    expected = ConceptPooling(2).pool(whole.encode_document(TEXTS))
    assert torch.equal(model.encode_document(TEXTS, num_vectors=2)[0], expected[0])
    assert torch.equal(model.encode_query(TEXTS)[0], whole.encode_query(TEXTS)[0])


def test_a_trained_retriever_is_read_with_its_pooling(bert, tmp_path):
    model = ConceptRetriever.from_model(load_token_model(bert), num_vectors=5)
    model.save_pretrained(str(tmp_path / "model"))
    index = ConceptIndex.build(str(tmp_path / "index"), documents(), str(tmp_path / "model"), 2)
    expected = model.encode_document(MIXED, num_vectors=2)
    for found, row in zip(index.encode_documents(MIXED), expected, strict=True):
        torch.testing.assert_close(found, row.cpu())


# -- killed and shared builds


@pytest.fixture
def data(tmp_path):
    """A folder with the documents."""
    documents().rows.to_parquet(tmp_path / "data" / "train.parquet")
    return tmp_path / "data"


def rows_of(table):
    return {row["id"]: row for row in table.search().select(["id", "text", "vectors"]).to_list()}


def test_a_killed_build_goes_on_as_if_unbroken(bert, data, built, tmp_path):
    assert run_script(tmp_path, tmp_path / "index", data, bert, 0) == -signal.SIGKILL
    assert index_module.open_table(str(tmp_path / "index")).count_rows() == 4
    index = ConceptIndex.build(str(tmp_path / "index"), load_documents(str(data)), bert, 3, shard_size=4)
    assert index.table.count_rows() == 30
    whole = ConceptIndex.build(str(tmp_path / "whole"), load_documents(str(data)), bert, 3, shard_size=4)
    assert rows_of(index.table) == rows_of(whole.table)
    assert answers(index) == answers(whole) and answers(index, exact=True) == answers(whole, exact=True)


def test_two_processes_make_the_index_of_one(bert, data, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
    assert run_script(tmp_path, tmp_path / "two", data, bert, "none", launcher=launcher) == 0
    one = ConceptIndex.build(str(tmp_path / "one"), load_documents(str(data)), bert, 3, shard_size=4)
    two = ConceptIndex.open(str(tmp_path / "two"), bert)
    assert two.table.count_rows() == 30 and rows_of(two.table) == rows_of(one.table)


def test_a_finished_build_encodes_nothing_again(copy, bert, monkeypatch):
    monkeypatch.setattr(ConceptIndex, "encode_documents", lambda *_: pytest.fail("encoded again"))
    assert ConceptIndex.build(str(copy), documents(), bert, 3).table.count_rows() == 30


# -- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_vectors": 4}, "made with num_vectors 3 by .*, not with 4; give the same, or another --index_uri"),
        ({"num_vectors": 3, "precision": "float32"}, "made with precision 'float16'"),
        ({"num_vectors": 3, "bf16": True}, "made with bf16 False"),
    ],
)
def test_another_way_is_refused(copy, bert, options, message):
    with pytest.raises(ValueError, match=message):
        ConceptIndex.build(str(copy), documents(), bert, **options)


def test_another_model_or_source_is_refused(copy, bert, data, tokenizer, tmp_path, monkeypatch):
    other = save_bert(tmp_path / "other", tokenizer, seed=1)
    with pytest.raises(ValueError, match="made with revision '[0-9a-f]{12}' by"):
        ConceptIndex.build(str(copy), documents(), other, 3)
    with pytest.raises(ValueError, match="made with source 'mixed'"):
        ConceptIndex.build(str(copy), load_documents(str(data)), bert, 3)
    assert ConceptIndex.open(str(copy), other).search(["dog"])[0], "queries may have another model"
    monkeypatch.setattr(index_module, "revision_of", lambda _: "other")
    with pytest.raises(
        ValueError, match=r"not the one that made the index \(revision .*, not other\); give the right"
    ):
        ConceptIndex.open(str(copy))


def test_a_model_that_is_gone_is_named(bert, tmp_path):
    model = shutil.copytree(bert, tmp_path / "bert")
    ConceptIndex.build(str(tmp_path / "index"), documents(), str(model), 3)
    shutil.rmtree(model)
    with pytest.raises(ValueError, match=r"The model .*bert is not the one .*, not unknown\); give the right one by"):
        ConceptIndex.open(str(tmp_path / "index"))
    assert ConceptIndex.open(str(tmp_path / "index"), bert).search(["dog"])[0]


def test_a_model_of_another_width_is_refused(copy, tokenizer, tmp_path):
    wide = save_bert(tmp_path / "wide", tokenizer, hidden_size=32)
    with pytest.raises(ValueError, match="holds vectors of width 16, the model gives 32"):
        ConceptIndex.open(str(copy), wide)


def test_no_index_and_an_empty_one_are_refused(bert, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="There is no index at .*nowhere"):
        ConceptIndex.open(str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(ValueError, match="There is no index at"):
        ConceptIndex.open(str(tmp_path))
    lancedb.connect(tmp_path / "foreign").create_table("documents", [{"id": "1"}])
    with pytest.raises(ValueError, match="its table was not made by this package"):
        ConceptIndex.open(str(tmp_path / "foreign"))
    monkeypatch.setattr(ConceptIndex, "add", lambda *_: None)
    with pytest.raises(ValueError, match="No document of mixed has a text"):
        ConceptIndex.build(str(tmp_path / "empty"), documents(), bert, 3)
    with pytest.raises(ValueError, match="holds no document; its build was stopped early"):
        ConceptIndex.open(str(tmp_path / "empty"))


def test_a_second_build_at_the_same_time_is_refused(copy, bert):
    with index_module.FileLock(Path(copy) / ".lock"):
        with pytest.raises(ValueError, match="Another build writes to"):
            ConceptIndex.build(str(copy), documents(), bert, 3)


def test_a_model_that_cannot_be_used_is_refused(bert, tmp_path):
    with pytest.raises(ValueError, match="The model 'nowhere' cannot be read"):
        load_retriever("nowhere")
    with pytest.raises(ValueError, match="not of length 1; end it with a Normalize module"):
        unit_vectors([torch.ones(2, 3)])
