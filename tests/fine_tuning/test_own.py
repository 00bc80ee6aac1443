# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Tasks of one's own: columns, classes and splits as they are found in the data."""

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.fine_tuning import load_task, own_task
from trainers.fine_tuning.own import CUT_SPLIT, class_order
from trainers.fine_tuning.task import class_name


ENDINGS = {"csv": Dataset.to_csv, "json": Dataset.to_json, "parquet": Dataset.to_parquet}


def write(folder, rows, ending="json", name="rows"):
    path = folder / f"{name}.{ending}"
    ENDINGS[ending](Dataset.from_dict(rows), path)
    return str(path)


def load(folder, rows, **options):
    path = write(folder, rows)
    return load_task(own_task(path, **options), files={"train": path})


@pytest.mark.parametrize(
    ("labels", "names", "indices"),
    [
        (["pos", "neg", "neutral"], ("neg", "neutral", "pos"), [2, 0, 1]),
        ([10, 9, 1], ("1", "9", "10"), [2, 1, 0]),
        ([1, -1, 0], ("-1", "0", "1"), [2, 0, 1]),
        (["2", "10", "x"], ("2", "10", "x"), [0, 1, 2]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
        (["Ja", "ja", "JA"], ("JA", "Ja", "ja"), [1, 2, 0]),
        ([2.0, 0.0, 1.0], ("0", "1", "2"), [2, 0, 1]),
        (["007", "7", "1.0"], ("1", "007", "7"), [1, 2, 0]),
    ],
)
def test_classes_are_the_labels_that_there_are(labels, names, indices, tmp_path):
    count = 4
    data = load(tmp_path, {"text": [f"text {i}" for i in range(3 * count)], "label": labels * count})
    assert (data.task.label_names, data.task.metrics) == (names, ("accuracy",))
    rows = [*data.train, *data.selection, *data.evaluation[CUT_SPLIT]]
    assert sorted(int(row["text_a"].split()[1]) for row in rows) == list(range(3 * count))
    for row in rows:
        assert row["label"] == indices[int(row["text_a"].split()[1]) % 3]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.integers(-50, 50), st.booleans(), st.text(min_size=1, max_size=3)), min_size=1))
def test_names_are_different_and_in_an_order_of_their_own(values):
    names = sorted({class_name(value) for value in values}, key=class_order)
    assert names == sorted({class_name(value) for value in values[::-1]}, key=class_order)
    numbers = [int(name) for name in names if name.removeprefix("-").isdecimal()]
    assert numbers == sorted(numbers) and len({class_order(name) for name in names}) == len(names)


def test_decimals_are_scores_as_they_are(tmp_path):
    scores = [0.5, 7.25, -3.0, 2.0] * 5
    data = load(tmp_path, {"text": [f"text {i}" for i in range(20)], "label": scores})
    assert (data.task.label_names, data.task.metrics) == (None, ("pearson", "spearman"))
    assert sorted([*data.train["label"], *data.selection["label"], *data.evaluation[CUT_SPLIT]["label"]]) == sorted(
        scores
    )
    asked = load(tmp_path, {"text": [f"text {i}" for i in range(20)], "label": [1, 2] * 10}, do_regression=True)
    assert asked.task.is_score and set(asked.train["label"]) == {1.0, 2.0}


def test_columns_are_named_or_have_the_usual_names(tmp_path):
    rows = {"id": list(range(12)), "review": [f"text {i}" for i in range(12)], "stars": [1, 2] * 6}
    rows["title"] = [f"title {i}" for i in range(12)]
    with pytest.raises(ValueError, match=r"\['text'\] not in the dataset. Current .*\['id', 'review', 'stars'"):
        load(tmp_path, rows, label_column="stars")
    data = load(tmp_path, rows, text_columns=("title", "review"), label_column="stars")
    assert all(row["text_a"].split()[1] == row["text_b"].split()[1] for row in data.train)
    with pytest.raises(ValueError, match="The column 'label' holds 0 different labels"):
        load(tmp_path, rows, text_columns=("title",))
    with pytest.raises(ValueError, match="one column, or a pair of two"):
        load(tmp_path, rows, text_columns=("id", "review", "title"))


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (["a"] * 8, {}, "The column 'label' holds 1 different labels in 8 rows, which are no classes"),
        ([None] * 8, {}, "The column 'label' holds 0 different labels"),
        ([*"abab", None, *"aba"], {}, "row 5 of the split 'train' has None"),
        ([f"id {i}" for i in range(24)], {}, "holds 24 different labels in 24 rows, which are no classes"),
        (["a", "b"] * 4, {"metrics": ("pearson",)}, "'pearson' does not measure the labels of rows"),
        (["a", "b"] * 4, {"metrics": ("bleu",)}, "'bleu' does not measure the labels of rows; choose of"),
        ([0.0, 1.0, None, 1.0] * 2, {}, r"are \['0', '1'\], but row 3 of the split 'train' has None"),
        (["a", "b"] * 10, {"label_column": "text"}, "'text' holds 20 different labels in 20 rows"),
        (["a", "b"] * 4, {"do_regression": True}, "could not convert string to float"),
        ([0.5, 1.0] * 4, {"metrics": ("accuracy",)}, "'accuracy' does not measure the labels of rows"),
    ],
)
def test_labels_that_make_no_task(labels, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, {"text": [f"text {i}" for i in range(len(labels))], "label": labels}, **options)


def test_what_is_reported(tmp_path):
    """Validation where there is one, else a test split with labels, else a part of train."""

    def splits(predict=False, **labels):
        files = {
            split: write(tmp_path, {"text": ["one", "two"] * 5, "label": found}, "parquet", split)
            for split, found in labels.items()
        }
        return load_task(own_task("x"), files=files, predict=predict)

    known, hidden = ["a", "b"] * 5, [None] * 10
    assert list(splits(train=known, validation=known).evaluation) == ["validation"]
    found = splits(True, train=known, validation=known, test=known)
    assert (list(found.evaluation), list(found.test), found.test["test"].column_names) == (
        ["validation"], ["test"], ["text_a"]
    )  # fmt: skip
    assert list(splits(True, train=known, test=known).evaluation) == ["test"]
    assert list(splits(True, train=known, test=hidden).evaluation) == [CUT_SPLIT]
    later = splits(train=known, validation=["a", "c"] * 5)
    assert later.task.label_names == ("a", "b", "c")
    assert splits(train=[0, 1] * 5, validation=[0.0, 1.0] * 5).task.label_names == ("0", "1")
    with pytest.raises(ValueError, match=r"are \['0', '1'\], but row 1 of the split 'validation' has -1"):
        splits(train=[0, 1] * 5, validation=[-1] * 10)
    assert list(splits(train=[0, 1] * 5, test=[-1.0] * 10).evaluation) == [CUT_SPLIT]
    bare = {"validation": write(tmp_path, {"text": ["one", "two"]}, name="bare")}
    with pytest.raises(ValueError, match=r"\['label'\] not in the dataset"):
        load_task(own_task("x"), files={"train": str(tmp_path / "train.parquet"), **bare})


def test_numbers_that_are_names_are_no_places(tmp_path):
    """A trained classifier of 1, 5 and 9 does not take 2 for the third class."""
    rows = {"text": ["one", "two"] * 5, "label": [9, 2] * 5}
    path = write(tmp_path, rows)
    with pytest.raises(ValueError, match="row 2 of the split 'validation' has 2"):
        load_task(own_task(path, label_names=("1", "5", "9")), files={"validation": path}, train=False)


def test_a_task_is_named_after_its_data(tmp_path):
    (tmp_path / "reviews").mkdir()
    sources = ["stars.csv", "reviews", "reviews/..", "a b.csv", "results.json.csv"]
    names = [own_task(str(tmp_path / source)).name for source in sources]
    wanted = ["stars", "reviews", tmp_path.name, "a_b", "results_json"]
    assert names == wanted and own_task("owner/films").name == "films"


@pytest.mark.parametrize("ending", ENDINGS)
def test_all_formats_give_the_same(ending, tmp_path):
    rows = {"text": ["one", "two", "three", "four"] * 5, "label": [3, 1, 2, 1] * 5}
    path = write(tmp_path, rows, ending)
    data = load_task(own_task(path), files={"train": path})
    assert data.task.label_names == ("1", "2", "3")
    assert data.train.to_dict() == load(tmp_path, rows).train.to_dict()


def test_cells_of_csv_files_are_what_is_written(tmp_path):
    """A reader would make numbers of some, and nothing of others."""
    texts, labels = ["1.10", "007", "null", "a, b"], ["NA", "007", "None", "7"]
    lines = [f'"{text}",{label},{number}' for number, (text, label) in enumerate(zip(texts, labels))] * 3
    (tmp_path / "train.csv").write_text("\n".join(["text,label,id", *lines, ""]))
    data = load_task(own_task("x"), files={"train": str(tmp_path / "train.csv")})
    assert (data.task.text_columns, data.task.label_names) == (("text",), ("007", "7", "NA", "None"))
    rows = [*data.train, *data.selection, *data.evaluation[CUT_SPLIT]]
    found = {(row["text_a"], data.task.label_names[row["label"]]) for row in rows}
    assert found == set(zip(texts, labels)) and len(rows) == 12


def test_scores_and_missing_cells_of_csv_files(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n" + "one,0.5\ntwo,1\n,-2e-1\n" * 4)
    data = load_task(own_task("x"), files={"train": str(tmp_path / "rows.csv")})
    rows = [*data.train, *data.selection, *data.evaluation[CUT_SPLIT]]
    assert {(row["text_a"], row["label"]) for row in rows} == {("one", 0.5), ("two", 1.0), ("", -0.2)}
    (tmp_path / "empty.csv").write_text("text,label\n" + ",a\n,b\n" * 4)
    with pytest.raises(ValueError, match="All texts of a column of the split 'train' of x are missing"):
        load_task(own_task("x"), files={"train": str(tmp_path / "empty.csv")})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "rows.csv cannot be read"),
        ("one,1\ntwo,0,3,4\n", "rows.csv cannot be read: Error tokenizing data"),
        ("one,1,\ntwo,0,\n", "Rows of .*rows.csv have more fields than its header"),
    ],
)
def test_csv_files_that_are_none(rows, message, tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n" + rows)
    with pytest.raises(ValueError, match=message):
        load_task(own_task("x"), files={"train": str(tmp_path / "rows.csv")})


def test_types_of_cells_may_change_far_down(tmp_path):
    """Readers read by parts of ten thousand rows, and take types from the first."""
    lines = [f"text {number},{number % 2}" for number in range(10_001)] + ["text,x"] * 20
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *lines, ""]))
    data = load_task(own_task("x"), files={"train": str(tmp_path / "rows.csv")})
    assert data.task.label_names == ("0", "1", "x")


def test_configurations_of_a_folder_are_named(tmp_path):
    for name in ("first", "second"):
        write(tmp_path, {"text": ["one", "two"] * 5, "label": [0, 1] * 5}, "parquet", name)
    configs = "".join(f"- config_name: {name}\n  data_files: {name}.parquet\n" for name in ("first", "second"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    with pytest.raises(ValueError, match=r"'first', 'second'\]"):
        load_task(own_task(str(tmp_path)), str(tmp_path))
    assert len(load_task(own_task(str(tmp_path), config="first"), str(tmp_path)).train) == 8
