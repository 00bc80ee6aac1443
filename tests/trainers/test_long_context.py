# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Long documents: how data are read, windows, retrieval and probes against references, time and memory."""

import json
import zipfile
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sentence_transformers import SentenceTransformer
from tqdm.auto import tqdm

from trainers import long_documents
from trainers.long_context import (
    METRICS,
    POOLINGS,
    LongContextEvaluation,
    best_matches,
    centre,
    cost_results,
    document_folds,
    linear_probe,
    matched_pairs,
    mean_cosines,
    pair_features,
    probe_accuracy,
    rank_metrics,
    retrieval_metrics,
)
from trainers.long_documents import Row, find_layout, load_rows, make_data, read_rows
from trainers.long_reading import (
    ConceptReader,
    Cost,
    Passage,
    SentenceReader,
    even_windows,
    passages,
    plot_costs,
    read_all,
)
from trainers.memory import peak_memory
from trainers.results import BAG_OF_WORDS, MAJORITY

from ..conftest import TEXTS
from .kit import make_model


LONG = " ".join(TEXTS * 2)


@pytest.fixture(scope="module")
def model(tokenizer):
    return make_model("perceiver_posonly_mlm", tokenizer, max_sequence_length=32).encoder.eval()


# -- data


def test_layouts_are_told_by_columns_or_named():
    scrolls = [{"id": 1, "input": "Who?\n\nA text.\n\nGoes on.", "output": "Me"}]
    assert find_layout(scrolls).convert(scrolls[0]) == Row("A text.\n\nGoes on.", "Who?")
    nli = {"input": "It holds.\n\nA contract.", "output": "Not mentioned"}
    assert find_layout([nli]).convert(nli) == Row("A contract.", "It holds.", "Not mentioned")
    bench = {"input": "What?", "context": "A text.", "answers": ["noun"], "all_classes": ["noun", "verb"], "length": 1}
    assert find_layout([bench]).convert(bench) == Row("A text.", "What?", "noun")
    assert find_layout([bench]).convert({**bench, "all_classes": None}).label is None
    plain = {"document": "A text.", "query": "What?", "answer": "That"}
    assert find_layout([plain]).convert(plain) == Row("A text.", "What?")
    own = [{"a": "A text.", "b": "What?", "c": 3}]
    assert find_layout(own, ("a", "b", "c")).convert(own[0]) == Row("A text.", "What?", "3")
    assert find_layout(own, ("a", "b", None)).convert(own[0]) == Row("A text.", "What?")
    with pytest.raises(ValueError, match=r"no columns \['d'\]; the columns are \['a', 'b', 'c'\]"):
        find_layout(own, ("a", "d", None))
    with pytest.raises(ValueError, match="no known layout .*--document_column"):
        find_layout(own)
    with pytest.raises(ValueError, match="no rows"):
        find_layout([])


def test_rows_are_read_as_texts(capsys):
    rows = [{"document": "A text.", "query": "Who?"}, {"document": 7, "query": 2.5}]
    missing = [{"document": None, "query": "Who?"}, {"document": "A text.", "query": " "}]
    assert read_rows(rows + missing) == [Row("A text.", "Who?"), Row("7", "2.5")]
    assert capsys.readouterr().out == "2 of 4 rows have no document or no query and are left out.\n"
    scrolls = [{"input": None, "output": None}, {"input": "Who?\n\nA text.", "output": None}]
    assert read_rows(scrolls) == [Row("A text.", "Who?")]
    bench = {"input": "What?", "context": "A text.", "answers": [], "all_classes": ["noun"]}
    assert read_rows([bench]) == [Row("A text.", "What?")]
    with pytest.raises(ValueError, match="No row has a document and a query"):
        read_rows(missing)
    with pytest.raises(ValueError, match="The column 'document' holds a list, not a text"):
        read_rows([{"document": ["A"], "query": "Who?"}])
    with pytest.raises(ValueError, match="1 of 2 rows have no class in the column 'c'"):
        read_rows([{"a": "A", "b": "B", "c": "x"}, {"a": "C", "b": "D", "c": None}], ("a", "b", "c"))


def test_a_file_is_read_by_its_ending(tmp_path):
    (tmp_path / "x.TSV").write_text("document\tquery\nA text.\tWho?\n")
    rows, split = load_rows(str(tmp_path / "x.TSV"), None, None)
    assert (read_rows(rows), split) == ([Row("A text.", "Who?")], "validation")
    assert load_rows(str(tmp_path / "x.TSV"), None, "test")[1] == "test"


def test_queries_of_several_documents_name_none():
    asked = [("A", "sum up"), ("B", "sum up"), ("A", "who"), ("A", "who"), ("C", "why"), ("C", "sum up")]
    rows = [Row(*pair) for pair in asked]
    data = make_data("d", "test", rows)
    assert data.documents == ["A", "B", "C"] and data.queries == ["sum up", "who", "why"]
    assert data.pairs == [(0, 0), (1, 0), (0, 1), (2, 2), (2, 0)]
    assert data.named == [2, 3] and data.left_out == 1 and data.labels is None
    cut = make_data("d", "test", rows, limit=1)  # the query is no name although only one of its documents is left
    assert cut.pairs == [(0, 0), (0, 1)] and cut.named == [1] and cut.left_out == 1
    assert make_data("d", "test", [Row("A", "q", "x"), Row("A", "r", "y")]).labels == ["x", "y"]
    assert make_data("d", "test", [Row("A", "q", "x"), Row("A", "r")]).labels is None  # hidden in part


def test_archives_of_the_hub(tmp_path, monkeypatch):
    rows = [{"input": "Who?\n\nA text.", "output": "Me"}, {"input": "Why?\n\nA text.", "output": "So"}]
    with zipfile.ZipFile(tmp_path / "qmsum.zip", "w") as file:
        for split in ("train", "test", "validation"):
            lines = [json.dumps({**row, "split": split}) + "\n" for row in rows]
            file.writestr(f"qmsum/{split}.jsonl", "".join(lines))
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
        file.writestr("data/trec.jsonl", json.dumps({"context": "c", "input": "i"}))

    def download(name, file, repo_type):
        assert repo_type == "dataset"
        if not (tmp_path / file).exists():
            raise OSError("cannot be reached\nmore")
        return str(tmp_path / file)

    monkeypatch.setattr(long_documents, "hf_hub_download", download)
    found, split = load_rows("tau/scrolls", "qmsum", None)
    assert split == "validation" and [row["input"] for row in found] == [row["input"] for row in rows]
    assert load_rows("tau/scrolls", "qmsum", "test")[0][0]["split"] == "test"
    assert load_rows("THUDM/LongBench", "trec", None) == ([{"context": "c", "input": "i"}], "test")
    for name, task, split, message in (
        ("tau/scrolls", "qmsum", "dev", r"no split 'dev'; its splits are \['validation', 'test', 'train'\]"),
        ("tau/scrolls", "gov_report", None, r"one of \['qmsum', .*, not 'gov_report'"),
        ("tau/scrolls", "qasper", None, "'tau/scrolls' cannot be read: cannot be reached more$"),
        ("THUDM/LongBench", "nothing", None, r"no task 'nothing'; its files are \['data/trec.jsonl'\]"),
        ("nowhere", None, None, "'nowhere' cannot be read"),
    ):
        with pytest.raises(ValueError, match=message):
            load_rows(name, task, split)


def test_qmsum_as_it_is(shared):
    rows, split = load_rows(str(shared / "data" / "qmsum"), None, None)
    data = make_data("qmsum", split, read_rows(rows))
    assert (split, len(data.documents), len(data.named), data.left_out) == ("validation", 35, 237, 4)
    assert "Summarize the whole meeting." in data.queries


# -- reading


@given(st.integers(0, 400), st.integers(1, 70))
def test_windows_cover_everything_evenly(count, room):
    parts = even_windows(count, room)
    assert [place for part in parts for place in range(count)[part]] == list(range(count))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) <= room and max(sizes) - min(sizes) <= 1
    assert len(parts) == max(1, -(-count // room))


def test_passages_are_the_first_tokens_and_their_text(tokenizer):
    found = passages(tokenizer, [LONG, "Rain fell."], [12, 40, 4000])
    whole = tokenizer(LONG, add_special_tokens=False)["input_ids"]
    special = tokenizer.num_special_tokens_to_add()
    assert special == 2
    for length, (long, short) in found.items():
        assert long.ids == whole[: length - special]
        assert LONG.startswith(long.text) and long.text.endswith(tokenizer.decode(long.ids[-1:]).lstrip("#").strip())
        assert short == Passage("Rain fell.", tokenizer("Rain fell.", add_special_tokens=False)["input_ids"])
    assert found[4000][0].text == LONG


@torch.no_grad()
def test_a_long_text_is_read_in_windows_and_a_short_one_at_once(model, tokenizer):
    (text,), (short,) = (passages(tokenizer, [given], [n])[n] for given, n in ((LONG, 100), ("Rain fell.", 32)))
    read = ConceptReader("m", model, tokenizer, batch_size=2)(text)
    parts = even_windows(98, 30)
    assert read.shape == (4, *read.shape[1:]) and len(parts) == 4
    for row, part in zip(read, parts, strict=True):
        ids = [tokenizer.cls_token_id, *text.ids[part], tokenizer.sep_token_id]
        torch.testing.assert_close(row[None], model(torch.tensor([ids])).last_hidden_state)
    model.tokenizer = tokenizer
    read = ConceptReader("m", model, tokenizer)
    torch.testing.assert_close(read(short), model.encode("Rain fell.").concepts)
    assert read.window == 32 and len(ConceptReader("m", model, tokenizer, window=12)(text)) == 10
    for window in (2, 33):
        with pytest.raises(ValueError, match=f"between 3 and max_sequence_length 32, not be {window}"):
            ConceptReader("m", model, tokenizer, window=window)


def test_other_models_read_windows_too(teacher):
    sentence_model = SentenceTransformer(str(teacher), device="cpu")
    reader = SentenceReader("t", sentence_model)
    ids = sentence_model.tokenizer(LONG, add_special_tokens=False)["input_ids"]
    assert len(ids) > 2 * reader.window
    read = reader(Passage(LONG, []))
    assert read.shape == (-(-len(ids) // (reader.window - 2)), 1, 24)
    short = reader(Passage(TEXTS[0], []))
    torch.testing.assert_close(short[0], sentence_model.encode([TEXTS[0]], convert_to_tensor=True))


def test_reading_costs_are_of_texts_of_full_length(model, tokenizer):
    readers = [ConceptReader(str(window), model, tokenizer, window) for window in (32, 8)]
    texts = passages(tokenizer, [TEXTS[0], LONG, TEXTS[1], LONG, LONG], [12, 60])
    with tqdm(disable=True) as progress:
        kept, costs = read_all(readers, texts, 2, True, progress)
        means, _ = read_all(readers, texts, 2, False, progress)
        assert read_all(readers[:1], {60: texts[60][:3]}, 2, True, progress)[1] == {}  # one is too few
    assert list(kept) == list(costs) == [("32", 12), ("8", 12), ("32", 60), ("8", 60)]
    for (name, length), cost in costs.items():
        assert cost.documents == (4 if length == 12 else 2) and cost.seconds > 0 and cost.memory >= 0
        reader = readers[("32", "8").index(name)]
        for text, concepts, mean in zip(texts[length], kept[name, length], means[name, length], strict=True):
            torch.testing.assert_close(concepts, reader(text))
            torch.testing.assert_close(mean, concepts.mean(dim=(0, 1), keepdim=True))


def test_peak_memory_sees_what_torch_takes():
    torch.zeros(30 * 2**18).sum()  # freed again: not counted below
    with peak_memory("cpu") as found:
        (torch.ones(32 * 2**18) * 2).sum()  # two tensors of 32 MiB at once
    assert found[0] == pytest.approx(64, abs=4)
    with peak_memory("cpu") as found:
        torch.ones(2**18)
    assert found[0] < 4


def test_costs_become_results_and_a_picture(tmp_path):
    costs = {"m, mean": {512: Cost(0.01, 3.0, 4), 1024: Cost(0.02, None, 3)}}
    found = {(result.metric, result.system): (result.value, result.count) for result in cost_results(costs, "test")}
    assert found == {
        ("ms, 512 tokens", "m, mean"): (10, 4), ("ms, 1,024 tokens", "m, mean"): (20, 3),
        ("peak MiB, 512 tokens", "m, mean"): (3, 4),
    }  # fmt: skip
    nothing = {"m, mean": {512: Cost(0.01, 0.0, 4)}}  # as where a document fits into memory that was there
    for shown in (costs, nothing):
        plot_costs(shown, "title", tmp_path / "cost.png")
        assert (tmp_path / "cost.png").stat().st_size > 10_000


# -- retrieval


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 12))
def test_retrieval_counts_ranks(seed, query_count, document_count):
    generator = np.random.default_rng(seed)
    similarity = generator.integers(0, 4, (query_count, document_count)) / 4  # with ties
    right = generator.integers(0, document_count, query_count)
    ranks = [1 + sum(value >= row[place] for i, value in enumerate(row) if i != place)
             for row, place in zip(similarity, right, strict=True)]  # fmt: skip
    found = retrieval_metrics(similarity, right)
    assert list(found) == list(METRICS[:3])
    assert found["R@1"] == pytest.approx(sum(rank == 1 for rank in ranks) / query_count)
    assert found["R@5"] == pytest.approx(sum(rank <= 5 for rank in ranks) / query_count)
    assert found["MRR"] == pytest.approx(sum(1 / rank for rank in ranks) / query_count)


def test_equal_vectors_gain_nothing_and_chance_is_known():
    assert retrieval_metrics(np.ones((3, 10)), np.array([0, 4, 9])) == {"R@1": 0, "R@5": 0, "MRR": pytest.approx(0.1)}
    chance = rank_metrics(np.arange(1, 11))
    assert chance["R@1"] == 0.1 and chance["R@5"] == 0.5 and chance["MRR"] == pytest.approx(0.29289683)


def test_poolings_against_their_formulas():
    queries = [torch.randn(1, 4, 8) for _ in range(3)]
    documents = [torch.randn(windows, 4, 8) for windows in (1, 3, 2)]
    for pooling in POOLINGS.values():
        assert pooling.compare(queries, documents).shape == (3, 3)
    late, means = best_matches(queries, documents), mean_cosines(queries, documents)
    for row, query in enumerate(queries):
        for column, document in enumerate(documents):
            pairs = torch.cosine_similarity(query[0][:, None], document.reshape(-1, 8)[None], dim=-1)
            assert late[row, column] == pytest.approx(pairs.amax(dim=1).mean().item(), abs=1e-6)
            cosine = torch.cosine_similarity(query.mean((0, 1)), document.mean((0, 1)), dim=0)
            assert means[row, column] == pytest.approx(cosine.item(), abs=1e-6)
    centred = centre(documents)
    assert torch.stack([text.mean(dim=0) for text in centred]).mean(dim=0).abs().max() < 1e-6
    shifted = centre([text + torch.randn(4, 8, generator=torch.Generator().manual_seed(1)) for text in documents])
    for one, other in zip(centred, shifted, strict=True):  # what all texts share is gone
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


# -- classification


@settings(max_examples=40)
@given(st.integers(4, 12), st.integers(0, 50), st.integers(0, 2**32 - 1))
def test_matching_pairs_say_nothing_by_halves(document_count, query_count, seed):
    generator = np.random.default_rng(seed)
    pairs = [(int(home), query) for query, home in enumerate(generator.integers(0, document_count, query_count))]
    folds = document_folds(document_count, seed)
    assert min(Counter(folds.tolist()).values()) >= 2 and len(set(folds)) == min(5, document_count // 2)
    found, right = matched_pairs(pairs, folds)
    homes = {query: document for document, query in pairs}
    for (document, query), belongs in zip(found, right, strict=True):
        assert (homes[query] == document) == belongs and folds[homes[query]] == folds[document]
    for part in (0, 1):  # documents, queries: as often in right pairs as in wrong ones
        counts = {True: Counter(), False: Counter()}
        for pair, belongs in zip(found, right, strict=True):
            counts[belongs][pair[part]] += 1
        assert counts[True] == counts[False]
    assert len(set(found)) == len(found)


def test_few_documents_or_queries_are_refused(capsys):
    with pytest.raises(ValueError, match="at least four documents, not 3"):
        document_folds(3, 0)
    few = make_data("d", "test", [Row(name, f"about {name}") for name in "ABC"])
    evaluation = LongContextEvaluation(few, ["retrieval", "classification"], 0)
    assert evaluation.retrieves and evaluation.probe is None
    assert capsys.readouterr().out == (
        "Classification is left out: Classification needs at least four documents, not 3.\n"
    )
    with pytest.raises(ValueError, match="at least four documents, not 3"):
        LongContextEvaluation(few, ["classification"], 0)
    one = make_data("d", "test", [Row(name, f"about {name}", "x") for name in "ABCDEF"])
    with pytest.raises(ValueError, match="All pairs of d have the class 'x'"):
        LongContextEvaluation(one, ["classification"], 0)
    rows = [Row(name, "all") for name in "ABCD"]
    with pytest.raises(ValueError, match="too few queries"):
        LongContextEvaluation(make_data("d", "test", [*rows, Row("E", "one")]), ["classification"], 0)
    nothing = make_data("d", "test", rows)
    with pytest.raises(ValueError, match="no query stands with one document only"):
        LongContextEvaluation(nothing, ["retrieval", "classification"], 0)


def test_pair_features_are_the_same_dense_and_sparse():
    queries, documents = (np.random.default_rng(seed).normal(size=(5, 3)) for seed in (0, 1))
    similarity = np.arange(5.0)
    dense = pair_features(queries, documents, similarity)
    found = pair_features(sparse.csr_matrix(queries), sparse.csr_matrix(documents), similarity)
    np.testing.assert_allclose(dense, found.toarray())
    np.testing.assert_allclose(dense[2], [*queries[2], *documents[2], *abs(queries[2] - documents[2]),
                                          *(queries[2] * documents[2]), 2.0])  # fmt: skip


def test_a_probe_is_judged_on_other_documents():
    folds = np.repeat(np.arange(4), 30)
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 120)
    probe = SimpleNamespace(folds=folds, labels=labels)
    told = np.eye(3)[labels] + 0.01 * generator.normal(size=(120, 3))
    assert probe_accuracy(linear_probe(), told, probe) == 1
    # The class of a document can be learned by heart, but not for a document that was not seen.
    by_document = SimpleNamespace(folds=folds, labels=folds % 2)
    assert probe_accuracy(linear_probe(), np.eye(4)[folds], by_document) <= 0.5


def test_a_bag_of_words_that_is_not_defined_leaves_the_others(capsys):
    rows = [Row(mark * (number + 1), f"{mark}{number}") for number in range(4) for mark in ("\t", " ")]
    evaluation = LongContextEvaluation(make_data("d", "test", rows), ["retrieval", "classification"], 0)
    texts = [Passage(document, []) for document in evaluation.data.documents]
    found = {(r.metric, r.system): r.value for r in evaluation.baselines(512, texts)}
    metrics = [f"{metric}, 512 tokens" for metric in METRICS]
    assert all(np.isnan(found[metric, BAG_OF_WORDS]) for metric in metrics)
    assert found["R@1, 512 tokens", "chance"] == 1 / 8 and found["accuracy, 512 tokens", MAJORITY] == 0.5
    assert "bag of words (tf-idf): not defined at 512 tokens (all texts are empty)." in capsys.readouterr().out


def test_a_fold_that_learns_from_one_class_answers_with_it():
    labels, folds = np.array(["x", "x", "y", "y"]), np.array([0, 0, 1, 1])
    assert probe_accuracy(linear_probe(), np.eye(4), SimpleNamespace(folds=folds, labels=labels)) == 0
    labels = np.array(["x", "x", "y", "x"])
    assert probe_accuracy(linear_probe(), np.eye(4), SimpleNamespace(folds=folds, labels=labels)) >= 0.25


def test_labelled_data_are_classified_without_names():
    """The contract layout: the same statements about every document, so that none is found by them."""
    rows = [Row(f"{word} text {number}", f"says {asked}", str(word == asked))
            for number in range(6) for word in ("red", "blue") for asked in ("red", "blue")]  # fmt: skip
    evaluation = LongContextEvaluation(make_data("c", "test", rows), ["retrieval", "classification"], 0)
    data = evaluation.data
    assert data.left_out == 2 and not evaluation.retrieves
    texts = [Passage(document, []) for document in data.documents]
    found = {result.system: result for result in evaluation.baselines(512, texts)}
    assert set(found) == {BAG_OF_WORDS, MAJORITY}
    assert found[BAG_OF_WORDS].value == 1 and found[MAJORITY].value == pytest.approx(0.5)
    assert found[MAJORITY].task == "c labels" and found[MAJORITY].count == 24
