# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Tasks and their data: which splits, disjoint parts, labels, and errors that name what exists."""

from collections import Counter
from dataclasses import replace

import pytest
from datasets import ClassLabel, Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.fine_tuning import TASKS, load_task, select_tasks
from trainers.fine_tuning.task import hold_out

from ..conftest import TEXTS


def names(tasks):
    return [task.name for task in select_tasks(tasks)]


def test_groups_and_single_tasks_each_once():
    assert names(["sick", "paws"]) == ["sick_relatedness", "sick_entailment", "paws"]
    assert names(["all"]) == ["mrpc", "stsb", "qqp", "mnli"]
    assert names(["all-glue"]) == ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"]
    assert names(["rte", "all", "mrpc"]) == ["rte", "mrpc", "stsb", "qqp", "mnli"]
    assert names(["mnli-matched", "mnli-mismatched"]) == ["mnli-matched", "mnli-mismatched"]
    with pytest.raises(ValueError, match="Unknown task 'xyzzy'; choose of .*'mrpc'.*'all-glue'"):
        select_tasks(["xyzzy"])


def test_primary_metrics_and_splits_of_the_official_tasks():
    assert {name: task.metrics[0] for name, task in TASKS.items()} == {
        "cola": "matthews_correlation", "sst2": "accuracy", "mrpc": "f1", "stsb": "pearson", "qqp": "f1",
        "mnli": "accuracy", "qnli": "accuracy", "rte": "accuracy", "wnli": "accuracy", "mnli-matched": "accuracy",
        "mnli-mismatched": "accuracy", "sick_relatedness": "pearson", "sick_entailment": "accuracy",
        "paws": "accuracy",
    }  # fmt: skip
    assert TASKS["mnli"].evaluation_splits == ("validation_matched", "validation_mismatched")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=400), st.integers(0, 9))
def test_held_out_rows_are_apart_and_in_proportion(labels, seed):
    kept, held_out = hold_out(labels, seed)
    assert sorted([*kept, *held_out]) == list(range(len(labels)))
    assert len(held_out) == max(1, len(labels) // 10)
    counts = Counter(labels[place] for place in held_out)
    for label, count in Counter(labels).items():
        assert abs(counts[label] - count * len(held_out) / len(labels)) < 1.01
    assert (hold_out(labels, seed)[1] == held_out).all()


@pytest.mark.parametrize("labels", [[], [1]])
def test_no_row_is_held_out_of_one(labels):
    with pytest.raises(ValueError, match=f"Two training rows or more are needed, not {len(labels)}."):
        hold_out(labels, seed=0)


def test_at_most_a_thousand_rows_are_held_out():
    assert len(hold_out([0, 1] * 10_000, 0)[1]) == 1000


def test_parts_of_a_task(toy_glue):
    data = load_task(TASKS["mnli"], str(toy_glue))
    assert data.facts() == {
        "task": "mnli", "source": str(toy_glue), "train": 36, "selection": 4,
        "selection_from": "a part of train",
        "evaluation": {"validation_matched": 12, "validation_mismatched": 12},
    }  # fmt: skip
    assert data.train.column_names == ["text_a", "text_b", "label"]
    scores = load_task(TASKS["stsb"], str(toy_glue)).train["label"]
    assert set(scores) <= {number / 5 for number in range(6)} and max(scores) == 1  # 0..5 becomes 0..1
    few = {"predict": True, "max_train_samples": 5, "max_eval_samples": 3}
    validation = replace(TASKS["cola"], test_splits=("validation",))
    short = load_task(validation, str(toy_glue), **few)
    assert [len(part) for part in (short.train, short.selection, short.evaluation["validation"])] == [5, 3, 3]
    whole = load_task(validation, str(toy_glue)).evaluation["validation"]
    assert short.test["validation"]["text_a"][:] == whole["text_a"][:]
    assert short.train.column_names == ["text_a", "label"]
    half = load_task(TASKS["mnli-mismatched"], str(toy_glue))
    assert list(half.evaluation) == ["validation_mismatched"]
    assert half.evaluation["validation_mismatched"][:] == data.evaluation["validation_mismatched"][:]


def test_no_row_is_in_two_parts(tmp_path):
    for start, split in ((0, "train"), (60, "validation")):
        rows = {"sentence": [f"text {number}" for number in range(start, start + 60)], "label": [0, 1] * 30}
        Dataset.from_dict(rows).to_parquet(tmp_path / f"{split}.parquet")
    data = load_task(replace(TASKS["cola"], config=None), str(tmp_path))
    texts = [text for part in (data.train, data.selection, data.evaluation["validation"]) for text in part["text_a"]]
    assert sorted(texts) == sorted(f"text {number}" for number in range(120))


def test_official_selection_splits(tmp_path):
    rows = [{"sentence_A": text, "sentence_B": text, "label": 1, "relatedness_score": 3.0} for text in TEXTS]
    for number, split in enumerate(("train", "validation", "test")):
        Dataset.from_list(rows[: 4 - number]).to_parquet(tmp_path / f"{split}.parquet")
    data = load_task(TASKS["sick_relatedness"], str(tmp_path))
    assert data.train["label"][:] == [0.5] * 4  # 3 of 1..5
    assert (data.selection_name, len(data.selection), list(data.evaluation)) == ("validation", 3, ["test"])
    (tmp_path / "test.parquet").unlink()  # then the selection split is reported, and another one is cut from train
    data = load_task(TASKS["sick_entailment"], str(tmp_path))
    assert (data.selection_name, len(data.train), list(data.evaluation)) == ("a part of train", 3, ["validation"])


def test_own_files_and_labels_in_words(tmp_path):
    lines = ["sentence1,sentence2,label", "a b,,equivalent", "b c,c,not_equivalent", "c,d,equivalent"]
    for split in ("train", "validation"):
        (tmp_path / f"{split}.csv").write_text("\n".join(lines))
    files = {split: str(tmp_path / f"{split}.csv") for split in ("train", "validation")}
    data = load_task(TASKS["mrpc"], files=files)
    assert sorted([*data.train["label"], *data.selection["label"]]) == [0, 1, 1]
    assert data.evaluation["validation"]["text_b"][:] == ["", "c", "d"]
    assert list(load_task(replace(TASKS["mnli"], **mrpc_columns()), files=files).evaluation) == ["validation"]
    with pytest.raises(ValueError, match="not both"):
        load_task(TASKS["mrpc"], str(tmp_path), files)
    with pytest.raises(ValueError, match=r"no split 'validation'; their splits are \['train'\]"):
        load_task(TASKS["mrpc"], files={"train": files["train"]})
    with pytest.raises(ValueError, match="The data file nowhere.csv cannot be read"):
        load_task(TASKS["mrpc"], files={"train": "nowhere.csv", "validation": "nowhere.csv"})
    with pytest.raises(ValueError, match=r"\['sentence'\] not in the dataset. Current columns .*\['sentence1'"):
        load_task(TASKS["cola"], files=files)
    with pytest.raises(ValueError, match=r"of rte are \['entail.*, but row 1 of the split 'train' has 'equivalent'"):
        load_task(TASKS["rte"], files=files)


def mrpc_columns():
    return {"text_columns": ("sentence1", "sentence2"), "label_names": TASKS["mrpc"].label_names}


def test_data_sets_that_cannot_be_read_name_what_exists(toy_glue):
    with pytest.raises(ValueError, match="cannot be read: .*'rte' not found.*'cola', 'mrpc'"):
        load_task(TASKS["rte"], str(toy_glue))
    with pytest.raises(ValueError, match="'mrpc' not found"):
        load_task(TASKS["mrpc"], str(toy_glue / "mrpc"))  # a folder without configurations
    with pytest.raises(ValueError, match="'nowhere' cannot be read: "):
        load_task(TASKS["mrpc"], "nowhere")
    without = replace(TASKS["mrpc"], evaluation_splits=("test",))
    with pytest.raises(ValueError, match=r"no split 'test'; their splits are \['train', 'validation'\]"):
        load_task(without, str(toy_glue))


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        ("mrpc", [-1, -1], "row 1 of the split 'train' has -1"),
        ("mrpc", [0, 2], "row 2 of the split 'train' has 2"),
        ("mrpc", [1, None], "row 2 of the split 'train' has None"),
        ("mrpc", ["1", "equivalentt"], "row 2 of the split 'train' has 'equivalentt'"),
        ("mrpc", [1.0, 0.5], "row 2 of the split 'train' has 0.5"),
        ("stsb", [0.0, 5.5], "scores in .0.0, 5.0., but row 2 of the split 'train' has 5.5"),
        ("stsb", [0.0, float("nan")], "row 2 of the split 'train' has nan"),
        ("stsb", [0.0, None], "row 2 of the split 'train' has None"),
        ("stsb", ["1.5", "good"], "could not convert string to float: 'good'"),
        ("stsb", [-1.0, -1.0], "row 1 of the split 'train' has -1.0"),
    ],
)
def test_labels_that_are_none(task, labels, message):
    rows = Dataset.from_dict({"sentence1": ["a", "b"], "sentence2": ["a", "b"], "label": labels})
    with pytest.raises(ValueError, match=message):
        TASKS[task].read_rows(rows, "train")


@pytest.mark.parametrize(
    ("task", "labels", "read"),
    [
        ("mrpc", ["1", "0"], [1, 0]),
        ("mrpc", ["equivalent", "not_equivalent"], [1, 0]),
        ("mrpc", [1.0, 0.0], [1, 0]),
        ("mrpc", ["1.0", "0.0"], [1, 0]),
        ("stsb", ["2.5", "5"], [0.5, 1.0]),
        ("stsb", [0, 5], [0.0, 1.0]),
    ],
)
def test_labels_of_any_type(task, labels, read):
    rows = Dataset.from_dict({"sentence1": ["a", "b"], "sentence2": ["a", "b"], "label": labels})
    assert TASKS[task].read_rows(rows, "train")["label"][:] == read


def test_named_classes_are_told_by_name_where_the_task_has_the_name():
    def labels(names):
        rows = Dataset.from_dict({"sentence1": ["a"] * 2, "sentence2": ["a"] * 2, "label": [0, 1]})
        return TASKS["mrpc"].read_rows(rows.cast_column("label", ClassLabel(names=names)), "train")["label"][:]

    assert labels(["equivalent", "not_equivalent"]) == [1, 0]
    assert labels(["no", "yes"]) == [0, 1]


def test_texts_that_are_none(tmp_path):
    rows = {"sentence": ["one", None, "3"], "label": [0, 1, 0]}
    assert TASKS["cola"].read_rows(Dataset.from_dict(rows), "train")["text_a"][:] == ["one", "", "3"]
    with pytest.raises(ValueError, match="the column 'sentence' holds Value.*, not texts"):
        TASKS["cola"].read_rows(Dataset.from_dict({**rows, "sentence": [1, None, 2]}), "train")
    with pytest.raises(ValueError, match="the column 'sentence' holds List.*, not texts"):
        TASKS["cola"].read_rows(Dataset.from_dict({**rows, "sentence": [["a"], ["b"], ["c"]]}), "train")


def test_splits_and_rows_may_be_made_by_the_task(tmp_path):
    rows = [{"question": text, "answer": "AB"[number % 2]} for number, text in enumerate(TEXTS * 3)]
    Dataset.from_list(rows).to_parquet(tmp_path / "validation.parquet")

    def prepare(task, raw):
        rows = raw["validation"].map(lambda row: {"text": row["question"], "label": "AB".index(row["answer"])})
        parts = {"train": rows.select(range(8)), "chosen": rows.select([8, 9]), "rest": rows.select([10, 11])}
        return replace(task, evaluation_splits=("rest",)), DatasetDict(parts)

    task = replace(
        TASKS["cola"], config=None, text_columns=("text",), prepare=prepare, selection_split="chosen"
    )  # fmt: skip
    data = load_task(task, str(tmp_path))
    assert data.selection["label"][:] == [0, 1] and data.evaluation["rest"]["text_a"][:] == TEXTS[2:]


def test_the_shared_data_sets(shared):
    sizes = {"cola": 527, "mrpc": 408, "stsb": 1500, "rte": 277}
    for name, size in sizes.items():
        data = load_task(TASKS[name], str(shared / "data" / "glue"))
        assert len(data.evaluation["validation"]) == size
    assert len(load_task(TASKS["sick_entailment"], str(shared / "data" / "sick")).evaluation["test"]) == 4927
    paws = load_task(TASKS["paws"], str(shared / "data" / "paws"))
    assert (list(paws.evaluation), len(paws.selection)) == (["validation"], 640)
