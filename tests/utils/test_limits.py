# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Numbers among options, and names of models in tables."""

from types import SimpleNamespace

import pytest

from trainers.utils.limits import check_at_least
from trainers.utils.runs import readable_names


@pytest.mark.parametrize("value", [1, 2.5, None, [], [1, 3]])
def test_options_within_their_limits_pass(value):
    check_at_least(SimpleNamespace(batch_size=value), batch_size=1)


@pytest.mark.parametrize(("value", "shown"), [(0, "0"), (-1, "-1"), (float("nan"), "nan"), ([2, 0], "0")])
def test_an_option_below_its_limit_is_named(value, shown):
    with pytest.raises(ValueError, match=rf"^--batch_size must be at least 1, not {shown}\.$"):
        check_at_least(SimpleNamespace(batch_size=value), batch_size=1)


@pytest.mark.parametrize(
    ("paths", "taken", "names"),
    [
        (["/a/long/path/model"], [], ["model"]),
        (["sentence-transformers/all-MiniLM-L6-v2"], ["run"], ["all-MiniLM-L6-v2"]),
        (["a/final", "b/final"], [], ["a/final", "b/final"]),
        (["runs/a/checkpoint-5", "runs/b/checkpoint-5", "c"], [], ["a/checkpoint-5", "b/checkpoint-5", "c"]),
        (["x/run"], ["run"], ["x/run"]),
        (["run"], ["run"], ["run"]),
    ],
)
def test_names_are_as_short_as_they_can_be(paths, taken, names):
    assert list(readable_names(paths, taken).values()) == names


def test_a_folder_has_the_name_that_it_really_has(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    assert readable_names(["."]) == {".": "run"}
    (tmp_path / "link").symlink_to(tmp_path / "run")
    assert readable_names([str(tmp_path / "link")]) == {str(tmp_path / "link"): "link"}
