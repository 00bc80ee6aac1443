# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Tables of runs: what is read from them, what is refused, and that those of the package can be run."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainers.experiments.ablation.report import check_report_dir
from trainers.experiments.ablation.table import parse_words, read_table
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
        "rows": {
            "one": {},
            "Two, wide": {"hidden_size": 128, "deletion_rate": [0.0, 0.6]},
            "longer": {"train_tokens": 2048 * 20, "teacher": "a/model"},
        },
    }
    one, two, longer = read_table(write(tmp_path, table))
    assert one.words == ["--objective", "denoising", "--hidden_size", "64", "--max_steps", "10"]
    assert two.words[3:-2] == ["128", "--deletion_rate", "0.0", "0.6"]
    assert (one.steps, two.steps, longer.steps) == (10, 10, 20)
    assert (one.help_from, longer.help_from) == ("", "teacher")
    assert two.folder(tmp_path, 3) == tmp_path / "Two,_wide" / "seed_3"
    changed = read_table(tmp_path / "table.json", ["--hidden_size=32"], 2048)
    assert [row.steps for row in changed] == [1] * 3
    assert [parse_words(row.words)[0].hidden_size for row in changed] == [32] * 3
    assert [row.name for row in read_table(tmp_path / "table.json", only=["longer", "one"])] == ["longer", "one"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.integers(1, 64), accumulation=st.integers(1, 4), length=st.integers(8, 512), steps=st.integers(1, 3000)
)
def test_steps_follow_from_tokens(tmp_path, texts, accumulation, length, steps):
    options = {
        "per_device_train_batch_size": texts, "gradient_accumulation_steps": accumulation, "max_seq_length": length
    }  # fmt: skip
    tokens = steps * texts * accumulation * length
    (row,) = read_table(write(tmp_path, {"train_tokens": tokens, "rows": {"a": options}}))
    assert row.steps == steps


@pytest.mark.parametrize(("options", "changes"), [({"seed": 1}, []), ({}, ["--seed", "1"]), ({}, ["--seed=1"])])
def test_what_the_table_sets_is_refused(tmp_path, options, changes):
    with pytest.raises(ValueError, match="'a' has seed, which the table sets"):
        read_table(write(tmp_path, {"train_tokens": 10, "rows": {"a": options}}), changes)


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
        read_table(write(tmp_path, {"train_tokens": 10, "rows": {"a": options}}))


def test_there_are_tables():
    assert ROOT / "examples" / "ablations" / "objectives.json" in TABLES


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_tables_of_the_package_can_be_run(path):
    """Every row has options that exist, and a configuration that is allowed."""
    for row in read_table(path, ["--bf16", "false"]):  # which the machine of the tests may not have
        options, *_ = parse_words(row.words)
        kind = MODEL_TYPES[options.model_type or DEFAULT_MODEL_TYPE].model_class.config_class
        overrides = read_overrides(options.config_overrides, kind)
        sizes = {name: getattr(options, name) for name in SIZES if getattr(options, name) is not None}
        kind(**{"hidden_size": 128, "num_attention_heads": 4, "concept_num": 16, **sizes, **overrides})


def test_a_report_is_written_over_none_but_one_of_its_kind(tmp_path):
    check_report_dir(tmp_path / "new")
    (tmp_path / "results.json").write_text(json.dumps({"rows": {}, "results": []}))
    (tmp_path / "README.md").touch()
    check_report_dir(tmp_path)  # of a table that was interrupted, or got further rows
    (tmp_path / "results.json").write_text(json.dumps({"task_name": "stsb", "results": []}))
    with pytest.raises(ValueError, match="already holds README.md"):
        check_report_dir(tmp_path)
