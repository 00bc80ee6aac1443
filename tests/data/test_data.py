# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Text from every source, and the columns of it that are texts."""

import codecs
import gzip
import json

import datasets
import pytest
from datasets.exceptions import DatasetGenerationError
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.data.texts import (
    EMBEDDED_CORPUS,
    as_texts,
    iterate_texts,
    load_files,
    load_text,
    text_column,
)
from trainers.utils.errors import first_line

from ..conftest import TEXTS


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def write(folder, name, kind):
    path = folder / f"{name}.{kind}"
    rows = datasets.Dataset.from_dict({"text": TEXTS, "other": ["x"] * len(TEXTS)})
    if kind == "txt":
        path.write_text("\n".join(TEXTS), encoding="utf-8")
    else:
        {"json": rows.to_json, "jsonl": rows.to_json, "csv": rows.to_csv, "parquet": rows.to_parquet}[kind](str(path))
    return str(path)


@pytest.mark.parametrize("kind", ["txt", "json", "jsonl", "csv", "parquet"])
@pytest.mark.parametrize("streaming", [False, True])
def test_files_of_every_format(kind, streaming, tmp_path):
    raw = load_text(
        train_file=write(tmp_path, "train", kind), validation_file=write(tmp_path, "valid", kind), streaming=streaming
    )
    column = text_column(raw["train"])
    assert column == "text"
    assert [row[column] for row in raw["validation"]] == TEXTS


def test_a_missing_validation_split_is_cut_from_train(tmp_path):
    file = write(tmp_path, "train", "txt")
    raw, again = load_text(train_file=file), load_text(train_file=file)
    assert len(raw["validation"]) == 1 and len(raw["train"]) == 3
    assert list(raw["validation"]["text"]) == list(again["validation"]["text"])
    assert sorted([*raw["validation"]["text"], *raw["train"]["text"]]) == sorted(TEXTS)
    assert load_text(train_file=file, seed=3)["validation"]["text"][:] != raw["validation"]["text"][:]


def test_local_folders_stand_for_hub_data_sets(shared, tmp_path):
    raw = load_text(str(shared / "data" / "wikitext-2"))
    assert len(raw["validation"]) == 3761


def test_an_edited_folder_and_one_of_the_same_name_are_read_anew(tmp_path):
    """`datasets` alone would give the rows of the first one for all of them."""
    described = "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train.parquet\n"

    def rows(folder, texts):
        path = tmp_path / folder / "own"
        datasets.Dataset.from_dict({"text": texts}).to_parquet(path / "train.parquet")
        (path / "README.md").write_text(f"---\n{described}---\n")
        return sorted(text for split in load_text(str(path)).values() for text in split["text"])

    assert rows("a", ["one", "two"]) == ["one", "two"]
    assert rows("a", ["two", "six"]) == ["six", "two"]
    assert rows("b", ["ten", "two"]) == ["ten", "two"]


def test_the_embedded_corpus():
    raw = load_text()
    assert len(raw["train"]) == 94 and len(raw["validation"]) == 6
    assert set(raw["train"]["title"]).isdisjoint(raw["validation"]["title"])
    assert sum(path.stat().st_size for path in EMBEDDED_CORPUS.iterdir()) < 2_000_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_file": "nowhere.txt"}, "nowhere.txt cannot be read"),
        ({"validation_file": "v.txt"}, "not both"),
        ({"dataset_name": "a/b", "train_file": "t.txt"}, "not both"),
        ({"dataset_name": "no/such-data-set"}, "'no/such-data-set' cannot be read"),
        ({"dataset_config_name": "en", "train_file": "t.txt"}, "not both"),
    ],
)
def test_impossible_sources_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        load_text(**options)


def test_a_revision_of_the_hub(monkeypatch):
    def load(name, config, revision, **options):
        assert revision == "refs/convert/parquet"
        return datasets.DatasetDict(train=datasets.Dataset.from_dict({"text": TEXTS}))

    monkeypatch.setattr(datasets, "load_dataset", load)
    raw = load_text("Skylion007/openwebtext", revision="refs/convert/parquet")
    assert sorted([*raw["train"]["text"], *raw["validation"]["text"]]) == sorted(TEXTS)


def test_unreadable_files_are_refused(tmp_path):
    odd, broken = tmp_path / "data.xyz", tmp_path / "broken.parquet"
    odd.write_text("x")
    broken.write_bytes(b"PAR1 no parquet")
    with pytest.raises(ValueError, match="none of the known endings"):
        load_text(train_file=str(odd))
    with pytest.raises(ValueError, match="broken.parquet cannot be read"):
        load_text(train_file=str(broken))


def folder_of(path, rows):
    path.mkdir()
    datasets.Dataset.from_dict(rows).to_parquet(path / "train.parquet")
    return str(path)


@pytest.mark.parametrize("streaming", [False, True])
def test_several_data_sets_are_one(streaming, tmp_path, monkeypatch):
    """Their common columns; every text once (streams take turns until the last has ended)."""
    monkeypatch.setattr("trainers.data.texts.STREAMED_VALIDATION_ROWS", 1)
    first = folder_of(tmp_path / "a", {"text": TEXTS[:2], "id": [1, 2]})
    second = folder_of(tmp_path / "b", {"text": TEXTS[2:], "url": ["x", "y"]})
    raw = load_text(f"{first}, {second}:default", streaming=streaming)
    rows = [row["text"] for split in raw.values() for row in split]
    assert sorted(rows) == sorted(TEXTS)
    assert list(next(iter(raw["validation"]))) == ["text"]
    third = folder_of(tmp_path / "c", {"body": TEXTS})
    with pytest.raises(ValueError, match="no column in common"):
        load_text(f"{first},{third}")


def test_a_stream_without_validation_gives_its_first_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("trainers.data.texts.STREAMED_VALIDATION_ROWS", 1)
    raw = load_text(folder_of(tmp_path / "a", {"text": TEXTS}), streaming=True)
    assert [row["text"] for row in raw["validation"]] == TEXTS[:1]
    assert [row["text"] for row in raw["train"]] == TEXTS[1:]


# -- files as people have them


CSV = "id,text\n" + "".join(f'{number},"{text}"\n' for number, text in enumerate(TEXTS))
JSONL = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)


def save(folder, name, content, encoding="utf-8"):
    path = folder / name
    content = content if isinstance(content, bytes) else content.encode(encoding)
    path.write_bytes(gzip.compress(content) if name.lower().endswith(".gz") else content)
    return str(path)


def read(file, **options):
    """All texts of a file, as the training text."""
    raw = load_text(train_file=file, validation_file=file, **options)["train"]
    return list(iterate_texts(raw, text_column(raw)))


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.CSV", CSV),
        ("a.TXT", "\n".join(TEXTS)),
        ("a.b.csv.gz", CSV),
        ("a.JSONL.GZ", JSONL),
        ("a.tsv", "id\ttext\n" + "".join(f"{n}\t{text}\n" for n, text in enumerate(TEXTS))),
        ("bom.txt", codecs.BOM_UTF8 + "\n".join(TEXTS).encode()),
        ("bom.csv", codecs.BOM_UTF8 + CSV.encode()),
        ("bom.jsonl", codecs.BOM_UTF8 + JSONL.encode()),
        ("strings.json", json.dumps(TEXTS)),
        ("index.csv", CSV.replace("id,text", ",content")),
    ],
)
def test_a_file_is_read_whatever_its_ending_and_header(name, content, streaming, tmp_path):
    assert read(save(tmp_path, name, content), streaming=streaming) == TEXTS


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", ["x[1].txt", "x*.txt", "x?.txt", "we [ird] (d|x)/x.txt"])
def test_names_of_files_are_no_patterns(name, streaming, tmp_path):
    save(tmp_path, "x1.txt", "another file")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    assert read(save(tmp_path, name, "\n".join(TEXTS)), streaming=streaming) == TEXTS


def test_quotes_mean_nothing_in_tsv_files(tmp_path):
    file = save(tmp_path, "a.tsv", 'text\n"Go on\nHe said "no" twice\n')
    assert read(file) == ['"Go on', 'He said "no" twice']


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("latin1.txt", "café au lait".encode("latin-1"), r"can't decode byte 0xe9 in position 3.*save it as UTF-8"),
        ("latin1.csv", "text\ncafé\n".encode("latin-1"), "can't decode byte 0xe9.*save it as UTF-8"),
        ("utf16.csv", CSV.encode("utf-16"), "can't decode byte 0xff"),
        ("noise.txt", bytes(range(256)) * 8, "can't decode byte 0x80"),
        ("cut.jsonl", JSONL[:-20], "Missing a closing quotation mark in string. in row 3"),
        ("ragged.csv", "id,text\n1,a b\n2,c, d, e\n", "Expected 2 fields in line 3, saw 4"),
        ("quote.csv", CSV + '9,"open\n', "EOF inside string starting at row 5"),
        ("trail.csv", 'text,source\n"a b",web page,\n"c d",web page,\n', "more fields than its header"),
        ("semicolon.csv", "text;source\na b;web\n", "its separator is not that of its ending"),
        ("tab.csv", "text\tsource\na b\tweb\n", "its separator is not that of its ending"),
        ("empty.txt", "", ""),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_named_with_the_cause(name, content, message, tmp_path):
    with pytest.raises(ValueError, match=rf"(?s){name} cannot be read: .*{message}"):
        read(save(tmp_path, name, content))


def test_the_splits_may_have_other_columns_and_formats(tmp_path):
    files = {"train": save(tmp_path, "a.csv", CSV), "validation": save(tmp_path, "b.jsonl", JSONL)}
    raw = load_files(files, {})
    assert raw["train"].column_names == ["id", "text"] and raw["validation"].column_names == ["text"]
    for rows in raw.values():
        assert as_texts(rows, ["text"])["text"][:] == TEXTS


def test_a_zero_byte_is_no_other_encoding(tmp_path):
    assert read(save(tmp_path, "a.txt", "naïve\0 text\nmore")) == ["naïve\0 text", "more"]


def test_training_text_as_validation_text_is_warned_about(tmp_path, caplog):
    read(save(tmp_path, "a.txt", "\n".join(TEXTS)))
    assert "its results are not held out" in caplog.text


def test_a_single_text_cannot_be_divided(tmp_path):
    with pytest.raises(ValueError, match="test_size=1 should be"):
        load_text(train_file=save(tmp_path, "a.txt", "one"))


def test_two_rows_are_one_of_each_split(tmp_path):
    raw = load_text(train_file=save(tmp_path, "a.txt", "one\ntwo"))
    assert len(raw["train"]) == len(raw["validation"]) == 1


# -- columns


ROWS = {
    "id": [1, 2, 3],
    "lists": [["a"], ["b"], ["c"]],
    "nests": [{"en": "a"}, {"en": "b"}, {"en": "c"}],
    "nothing": [None, None, None],
    "body": ["a", None, "c"],
    "share": [1.5, None, 3.0],
}


def source(rows, streaming):
    data = datasets.Dataset.from_dict(rows)
    return data.to_iterable_dataset() if streaming else data


def untyped(rows):
    """A stream that does not know its columns."""
    columns = list(rows)

    def generate():
        for values in zip(*rows.values(), strict=True):
            yield dict(zip(columns, values, strict=True))

    return datasets.IterableDataset.from_generator(generate)


@pytest.mark.parametrize("make", [lambda rows: source(rows, False), lambda rows: source(rows, True), untyped])
def test_the_only_column_of_texts_is_found(make):
    data = make(ROWS)
    assert text_column(data) == "body"
    for name, held in (("lists", "List"), ("nests", "{'en': "), ("nothing", "Value.'null'"), ("id", "Value.'int64'")):
        with pytest.raises(
            ValueError, match=rf"'{name}' holds {held}.*, not texts; the columns of text are \['body'\]"
        ):
            text_column(data, name)
    with pytest.raises(ValueError, match="no column 'words' in the data; the columns are"):
        text_column(data, "words")
    with pytest.raises(ValueError, match="Which column holds the text. --text_column body . title"):
        text_column(make(ROWS | {"title": ["x", "y", "z"]}))
    assert text_column(make(ROWS | {"text": ["x", "y", "z"]})) == "text"
    with pytest.raises(ValueError, match="'text' holds List.*, not texts"):
        text_column(make(ROWS | {"text": ROWS["lists"]}))
    with pytest.raises(ValueError, match="No column holds texts: {'id': Value.'int64'., 'nests': {'en'"):
        text_column(make({"id": [1], "nests": [{"en": "a"}]}))


def test_images_are_no_texts():
    features = datasets.Features(text=datasets.Image())
    with pytest.raises(ValueError, match="'text' holds Image.*, not texts; no column holds texts"):
        text_column(datasets.Dataset.from_dict({"text": []}, features=features))


@pytest.mark.parametrize("streaming", [False, True])
def test_missing_texts_are_empty(streaming, caplog):
    rows = list(as_texts(source(ROWS, streaming), ["body"], keep=["lists", "share"], name="train text"))
    assert [row["body"] for row in rows] == ["a", "", "c"]
    assert [row["share"] for row in rows] == ROWS["share"]
    assert [row["lists"] for row in rows] == ROWS["lists"] and "nests" not in rows[0]
    assert streaming or "1 texts of the train text are missing and count as empty." in caplog.text
    selected = as_texts(source(ROWS, False).select([2, 1]), ["body"])
    assert selected["body"][:] == ["c", ""]


def test_a_column_of_missing_texts_is_refused():
    features = datasets.Features(text=datasets.Value("string"))
    with pytest.raises(ValueError, match="All texts of a column of the train text are missing"):
        as_texts(datasets.Dataset.from_dict({"text": [None, None]}, features=features), ["text"], name="train text")


def test_mixed_cells_are_refused(tmp_path):
    lines = [json.dumps({"text": text}) for text in ("a", 7, None, 2.5)]
    with pytest.raises(ValueError, match="'text' holds Json.*, not texts|cannot be read"):
        read(save(tmp_path, "a.jsonl", "\n".join(lines)))


@given(st.lists(st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=5)), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_every_cell_is_read_the_same_from_rows_and_streams(cells):
    rows = {"text": [*cells, "end"]}
    expected = [cell or "" for cell in rows["text"]]
    for streaming in (False, True):
        assert list(iterate_texts(source(rows, streaming), "text")) == expected
        assert list(iterate_texts(source(rows, streaming), "text", limit=2)) == expected[:2]


# -- errors


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("What is wrong.\n\nWhat to do. \nMore."), "What is wrong. What to do."),
        (ValueError(""), "ValueError"),
        (RuntimeError("Error(s) in loading state_dict for ConceptEncoderForMaskedLM:\n\tsize mismatch for a"),
         "Error(s) in loading state_dict for ConceptEncoderForMaskedLM: size mismatch for a"),
        (KeyError("added_tokens"), "'added_tokens'"),
    ],
)  # fmt: skip
def test_an_error_is_one_line(error, line):
    assert first_line(error) == line


@pytest.mark.parametrize(
    ("outer", "line"),
    [
        (DatasetGenerationError("An error occurred while generating the dataset"), "the cause"),
        (ValueError(""), "the cause"),
        (ValueError("The checkpoint 'a' cannot be read: the cause"), "The checkpoint 'a' cannot be read: the cause"),
    ],
)
def test_an_error_that_says_nothing_gives_its_cause(outer, line):
    outer.__cause__ = KeyError()
    outer.__cause__.__cause__ = ValueError("the cause")
    assert first_line(outer) == line
