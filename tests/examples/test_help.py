# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Every script tells its options."""

import runpy
import sys

import pytest

from .kit import SCRIPTS


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_scripts_tell_their_options(path, monkeypatch, capsys):
    if path.stem == "run_mteb":
        pytest.importorskip("mteb")
    monkeypatch.setattr(sys, "argv", [path.name, "--help"])
    with pytest.raises(SystemExit) as raised:
        runpy.run_path(str(path), run_name="__main__")
    assert raised.value.code == 0
    assert "usage:" in capsys.readouterr().out
