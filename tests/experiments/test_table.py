# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Tables of runs: what is read from them, what is refused, and that those of the package can be run."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.experiments.ablation.report import check_report_dir
from trainers.experiments.ablation.table import check_options, read_table, steps_of
from trainers.model_arguments import read_overrides
from trainers.model_types import DEFAULT_MODEL_TYPE, MODEL_TYPES

from ..conftest import ROOT


SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "concept_num")
TABLES = sorted((ROOT / "examples" / "ablations").glob("*.json"))


def write(folder: Path, table) -> Path:
    path = folder / "table.json"
    path.write_text(json.dumps(table), encoding="utf-8")
    return path


def test_rows_get_common_options_and_their_own(tmp_path):
    table = {
        "train_tokens": 2048 * 10,
        "common": {"objective": "denoising", "hidden_size": 64},
        "rows": {"one": {}, "Two, wide": {"hidden_size": 128}, "longer": {"train_tokens": 2048 * 20}},
    }
    one, two, longer = read_table(write(tmp_path, table))
    assert one.options == {"objective": "denoising", "hidden_size": 64}
    assert two.options == {"objective": "denoising", "hidden_size": 128}
    assert (one.steps, two.steps, longer.steps) == (10, 10, 20)
    assert two.folder(tmp_path, 3) == tmp_path / "two_wide" / "seed_3"
    changed = read_table(tmp_path / "table.json", {"hidden_size": 32, "train_tokens": 2048})
    assert [(row.options["hidden_size"], row.steps) for row in changed] == [(32, 1)] * 3
    assert [row.name for row in read_table(tmp_path / "table.json", only=["longer", "one"])] == ["one", "longer"]


@given(
    texts=st.integers(1, 64), accumulation=st.integers(1, 4), length=st.integers(8, 512), steps=st.integers(1, 3000)
)
def test_steps_follow_from_tokens(texts, accumulation, length, steps):
    options = {
        "per_device_train_batch_size": texts, "gradient_accumulation_steps": accumulation, "max_seq_length": length
    }  # fmt: skip
    assert steps_of(options, steps * texts * accumulation * length) == steps


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"train_tokens": 10, "rows": {"a": {"seed": 1}}}, "'a' has seed, which the table sets"),
        ({"train_tokens": 10, "rows": {"a b": {}, "A-b": {}}}, "must differ by letters or digits"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, table, message):
    with pytest.raises(ValueError, match=message):
        read_table(write(tmp_path, table))


def test_unknown_rows_are_refused(tmp_path):
    path = write(tmp_path, {"train_tokens": 10, "rows": {"a": {}}})
    with pytest.raises(ValueError, match=r"has no row 'b'; its rows are \['a'\]"):
        read_table(path, only=["b"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"hiden_size": 64},
            "Row 'a': There is no option --hiden_size; did you",
        ),
        ({"hidden_size": "wide"}, "Row 'a': --hidden_size: invalid int value: 'wide'"),
        ({"objective": "guessing"}, "Row 'a': Unknown objective 'guessing'"),
    ],
)
def test_options_are_checked_before_anything_runs(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        check_options(read_table(write(tmp_path, {"train_tokens": 10, "rows": {"a": options}})))


def test_there_are_tables():
    assert ROOT / "examples" / "ablations" / "objectives.json" in TABLES


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_tables_of_the_package_can_be_run(path):
    """Every row has options that exist, and a configuration that is allowed."""
    rows = read_table(path, {"bf16": "false"})  # which the machine of the tests may not have
    check_options(rows)
    for row in rows:
        options = row.options
        kind = MODEL_TYPES[options.get("model_type", DEFAULT_MODEL_TYPE)].model_class.config_class
        overrides = read_overrides(options.get("config_overrides"), kind)
        sizes = {name: options[name] for name in SIZES if name in options}
        kind(**{"hidden_size": 128, "num_attention_heads": 4, "concept_num": 16, **sizes, **overrides})


def test_a_report_is_written_over_none_but_one_of_its_kind(tmp_path):
    check_report_dir(tmp_path / "new")
    (tmp_path / "results.json").write_text(json.dumps({"rows": {}, "results": []}))
    (tmp_path / "README.md").touch()
    check_report_dir(tmp_path)  # of a table that was interrupted, or got further rows
    (tmp_path / "results.json").write_text(json.dumps({"task_name": "stsb", "results": []}))
    with pytest.raises(ValueError, match="already holds README.md"):
        check_report_dir(tmp_path)
