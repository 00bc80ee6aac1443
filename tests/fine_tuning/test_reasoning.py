# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Reasoning tasks: their rows, the parts that their one split is cut into, and recursive encoders made of others."""

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_concept import RecursiveConceptEncoder, RecursiveConceptEncoderForMaskedLM
from modeling_concept.base_concept import load_state_dict
from trainers.fine_tuning import select_tasks
from trainers.fine_tuning.classifiers import Checkpoint
from trainers.fine_tuning.reasoning import (
    PARTS,
    REASONING_TASKS,
    TEST,
    cut_by_context,
    prontoqa_row,
    prontoqa_steps,
    prosqa_row,
    start_recursive,
)
from trainers.fine_tuning.task import load_task

from ..trainers.kit import make_model
from .conftest import SIZES


def test_prontoqa_rows():
    row = {"id": "1", "context": "Each yumpus is red. Max is a yumpus.", "question": "True or false? Max is red.",
           "options": ["A) True", "B) False"], "answer": "A"}  # fmt: skip
    assert prontoqa_row(row) == {"context": row["context"], "question": row["question"], "label": "true", "steps": 2}
    assert prontoqa_row({**row, "answer": "B"})["label"] == "false"
    rows = Dataset.from_list([prontoqa_row({**row, "answer": "C"})] * 10)
    with pytest.raises(ValueError, match=r"\['true', 'false'\], but .*'C'"):
        REASONING_TASKS["prontoqa"].read_rows(rows, "validation")


def test_steps_are_the_statements_that_lead_to_the_property():
    context = (
        "Jompuses are not shy. Jompuses are yumpuses. Each yumpus is a dumpus. Dumpuses are wooden. "
        "Every dumpus is an impus. Impuses are not sour. Max is a jompus. Sam is an impus."
    )
    steps = {
        "Max is shy": 2,
        "Max is not wooden": 4,
        "Max is sour": 5,
        "Sam is sour": 2,
        "Sam is shy": 0,
        "Eva is shy": 0,
    }
    for statement, count in steps.items():
        question = f"Is the following statement true or false? {statement}."
        assert prontoqa_steps(context, question) == count, statement
    assert prontoqa_steps(context, "Is it so?") == 0


def test_prosqa_rows():
    facts = "Tom is a terpus. Every terpus is a lempus. Is is a dog."
    for question, answer, label in (
        ("Is Tom a lempus or scrompus?", "Tom is a lempus.", 0),
        ("Is Tom a scrompus or lempus? ", "Tom is a lempus.", 1),
        ("Is Tom a scrompus or a lempus?", " Tom is a lempus", 1),
        ("Is Tom an impus or an ompus?", "Tom is an ompus.", 1),
    ):
        found = prosqa_row({"question": f"{facts} {question}", "answer": answer})
        assert found == {"context": facts, "question": question.strip(), "label": label, "steps": 0}
        assert prosqa_row({"question": f"{facts} {question}", "answer": answer, "steps": ["A.", "B."]})["steps"] == 2
    for question, answer in (
        ("Is Tom a lempus or scrompus?", "Tom is a dog."),
        ("Is Tom a lempus or scrompus?", "Sam is a lempus."),
        ("Is Tom a lempus?", "Tom is a lempus."),
    ):
        with pytest.raises((ValueError, TypeError)):
            prosqa_row({"question": f"{facts} {question}", "answer": answer})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_contexts_stay_together_and_parts_have_their_size(contexts, random):
    rows = []
    for number, context in enumerate(contexts):
        statements = [f"Wren {context} is a {animal}." for animal in ("dog", "cat", "cow")]
        random.shuffle(statements)
        rows.append({"context": " ".join(statements), "question": f"Is it {number}?", "label": "AB"[context % 2]})
    found = cut_by_context(Dataset.from_list(rows))
    assert list(found) == list(PARTS)
    numbers = [int(row["question"][6:-1]) for part in found.values() for row in part]
    assert sorted(numbers) == list(range(len(rows)))
    kept = [{contexts[int(row["question"][6:-1])] for row in part} for part in found.values()]
    assert sum(map(len, kept)) == len(set(contexts))  # none in two parts
    largest = max(contexts.count(context) for context in contexts)
    for answer in "AB":  # in each part as in all
        count = sum(row["label"] == answer for row in rows)
        assert abs(found["train"]["label"][:].count(answer) - 0.7 * count) <= largest


def test_files_for_the_splits_are_not_cut(tmp_path):
    rows = [{"context": f"Tom is {number}.", "question": "Is he?", "answer": "AB"[number % 2]} for number in range(40)]
    files = {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "validation")}
    for start, file in enumerate(files.values()):
        Dataset.from_list(rows[start::2]).to_json(file)
    data = load_task(REASONING_TASKS["prontoqa"], files=files)
    assert [len(rows) for rows in data.parts.values()] == [18, 2, 20] and list(data.evaluation) == ["validation"]
    folder = tmp_path / "train_only"
    folder.mkdir()
    Dataset.from_list(rows).to_parquet(folder / "train.parquet")
    with pytest.raises(ValueError, match=r"have no split 'selection'; their splits are \['train'\]"):
        load_task(REASONING_TASKS["prontoqa"], str(folder))


@pytest.mark.parametrize(("name", "sizes"), [("prontoqa", [351, 50, 99]), ("prosqa", [211, 30, 59])])
def test_the_data_as_they_are(name, sizes, shared):
    task, dataset_name = REASONING_TASKS[name], str(shared / "data" / name)
    data = load_task(task, dataset_name)
    parts = [data.train, data.selection, data.evaluation[TEST]]
    assert [len(part) for part in parts] == sizes and data.selection_name == "selection"
    contexts = [set(part["text_a"][:]) for part in parts]
    assert len(set.union(*contexts)) == sum(sizes)
    assert all(0.44 < sum(part["label"]) / len(part) < 0.56 for part in parts)
    assert all(text.endswith(("?", ".")) and len(text) < 90 for text in parts[0]["text_b"])
    again = load_task(task, dataset_name, seed=1)  # the cut is not a matter of the run's seed
    assert again.evaluation[TEST]["text_a"][:] == parts[2]["text_a"][:]
    # All questions of ProntoQA take six statements.
    by_steps = {split: len(rows) for split, rows in data.evaluation.items() if split != TEST}
    assert by_steps == (
        {f"test, {n} steps": count for n, count in zip((3, 4, 5, 6), (30, 20, 8, 1))} if name == "prosqa" else {}
    )


def test_tasks_are_chosen_with_their_data():
    with pytest.raises(ValueError, match=r"Unknown task 'prontqa'; choose of \['prontoqa', 'prosqa'"):
        select_tasks(["prontqa"], REASONING_TASKS)
    assert select_tasks(["prosqa"], REASONING_TASKS) == [REASONING_TASKS["prosqa"]]
    assert REASONING_TASKS["prontoqa"].dataset == "renma/ProntoQA"


def test_a_recursive_encoder_starts_from_a_standard_one(checkpoints, tmp_path):
    standard = Checkpoint(str(checkpoints["concept"]))
    sentence = start_recursive(standard, tmp_path / "recursive")
    assert "loaded decoder." in sentence and "new encoder.state_norm (1)" in sentence
    model, info = RecursiveConceptEncoderForMaskedLM.from_pretrained(tmp_path / "recursive", output_loading_info=True)
    assert not info["missing_keys"] and model.config.decoder_type == "position"
    state, found = load_state_dict(str(checkpoints["concept"])), model.state_dict()
    for key, value in state.items():
        key = key.replace("encoder.layers.0.", "encoder.shared_layer.")
        if "encoder.layers." not in key:
            torch.testing.assert_close(found[key], value)
    left = sum("encoder.layers.1." in key for key in state)
    assert left > 0 and f"left encoder.layers ({left})" in sentence
    tokenizer = Checkpoint(str(tmp_path / "recursive")).tokenizer
    assert tokenizer.get_vocab() == standard.tokenizer.get_vocab()
    with pytest.raises(ValueError, match="is a checkpoint of a recursive encoder already"):
        start_recursive(Checkpoint(str(checkpoints["recursive"])), tmp_path / "other")
    with pytest.raises(ValueError, match="RecursiveConceptEncoderConfig has"):
        start_recursive(Checkpoint(str(checkpoints["bert"])), tmp_path / "other")


def test_without_a_decoder_the_encoder_alone_is_started(tokenizer, tmp_path):
    make_model("perceiver_posonly_mlm", tokenizer, **SIZES).encoder.save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    sentence = start_recursive(Checkpoint(str(tmp_path / "encoder")), tmp_path / "recursive")
    assert "loaded decoder." not in sentence
    assert Checkpoint(str(tmp_path / "recursive")).config.architectures[0] == "RecursiveConceptEncoder"
    RecursiveConceptEncoder.from_pretrained(tmp_path / "recursive")
