# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Documents of data sets and of text files, with their ids."""

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from trainers.retrieval.documents import cut, load_documents, load_passages

from .kit import documents
from .test_evaluation import DATA, save_data


@given(st.text(st.sampled_from("ab \n\t")), st.integers(1, 5))
def test_passages_hold_each_word_once_and_are_of_equal_length(text, words):
    found = list(cut(text, words))
    assert [word for _, passage in found for word in passage.split()] == text.split()
    assert all(text[start:].startswith(passage) for start, passage in found)
    lengths = [len(passage.split()) for _, passage in found]
    assert not lengths or (max(lengths) <= words and max(lengths) - min(lengths) <= 1)


def test_passages_tell_file_line_and_column(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.md").write_text("\ufeffone two\n\n three four", encoding="utf-8")
    (tmp_path / "b.txt").write_text("five")
    (tmp_path / "c.png").write_bytes(b"\x89PNG")
    found = load_passages([str(tmp_path)], words=2)
    ids = {
        f"{tmp_path}/deep/a.md:1:1": "one two",
        f"{tmp_path}/deep/a.md:3:2": "three four",
        f"{tmp_path}/b.txt:1:1": "five",
    }
    assert found.part(0, 9) == ids and found.part(1, 2) == dict([list(ids.items())[0]])
    assert load_passages([str(tmp_path / "b.txt")] * 2).part(0, 9) == {f"{tmp_path}/b.txt:1:1": "five"}


def test_files_without_text_are_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.txt").write_text(" \n")
    for name, message in (
        ("a.txt", "a.txt is not text in UTF-8"),
        ("empty", "has no file that ends in .txt"),
        ("nowhere", "There is no file or folder .*nowhere"),
        ("blank.txt", "There is no document in files"),
    ):
        with pytest.raises(ValueError, match=message):
            load_passages([str(tmp_path / name)])


def test_the_layout_of_beir_gives_ids_and_titles(tmp_path):
    found = load_documents(save_data(tmp_path / "beir"))
    assert found.part(0, 9) == {key: f"{text.split()[0]} {text}" for key, text in DATA.documents.items()}


def test_other_data_give_the_rows_of_all_splits(tmp_path):
    Dataset.from_dict({"body": ["a", None, "b"]}).to_parquet(tmp_path / "rows" / "train.parquet")
    Dataset.from_dict({"body": ["c"]}).to_parquet(tmp_path / "rows" / "test.parquet")
    found = load_documents(str(tmp_path / "rows"))
    assert sorted(found.part(0, 9).values()) == ["a", "b", "c"] and len(found) == 4
    assert list(found.part(1, 9)) == [key for key in ("1", "2", "3") if key in found.part(0, 9)]
    with pytest.raises(ValueError, match="no column 'text'"):
        load_documents(str(tmp_path / "rows"), "text")
    with pytest.raises(ValueError, match="'nowhere' cannot be read"):
        load_documents("nowhere")


def test_ids_and_titles_are_kept_wherever_they_exist(tmp_path):
    rows = {"_id": ["x", "y"], "title": ["T", None], "text": ["one", "two"], "year": [1, 2]}
    Dataset.from_dict(rows).to_parquet(tmp_path / "train.parquet")
    assert load_documents(str(tmp_path)).part(0, 2) == {"x": "T one", "y": "two"}


def test_an_id_that_is_there_twice_is_refused():
    with pytest.raises(ValueError, match="Several documents of mixed have the same _id"):
        documents(["a", "b"], _id=["1", "1"])
