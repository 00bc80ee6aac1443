# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Rules that keep `modeling_concept/` loadable as remote code, and rooms small."""

import ast
import re
import sys
from pathlib import Path

import pytest

from ..conftest import ROOT


FOLDER = ROOT / "modeling_concept"
FILES = sorted(FOLDER.glob("*.py"))
SHIPPED = [file for file in FILES if file.name != "__init__.py"]
CORE = {"torch", "transformers", "huggingface_hub", "safetensors", "tqdm"} | set(sys.stdlib_module_names)


def test_the_folder_is_flat_and_files_are_named_for_the_hub():
    assert [path.name for path in FOLDER.iterdir() if path.is_dir() and path.name != "__pycache__"] == []
    assert [file.name for file in SHIPPED if not re.fullmatch(r"[a-z][a-z_]*_concept\.py", file.name)] == []


def test_the_entry_file_imports_every_other_file():
    """Loaders before transformers 5.10 copy only what the entry file imports directly."""
    text = (FOLDER / "modeling_concept.py").read_text()
    missing = [f"from .{file.stem} import …" for file in SHIPPED if f"from .{file.stem} import" not in text]
    assert missing == ["from .modeling_concept import …"], "add these lines to modeling_concept.py"


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_imports_can_be_copied(file):
    text = file.read_text()
    tree = ast.parse(text)
    relative, seen = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1 and node.module, "only `from .module import name` survives the copy"
            relative.add(node.module)
        elif isinstance(node, ast.ImportFrom):
            seen.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            seen |= {alias.name.split(".")[0] for alias in node.names}
    assert seen - CORE == set(), "remote code may import nothing but the core requirements"
    # transformers finds imports by these expressions over the text, docstrings included.
    found = set(re.findall(r"^\s*import\s+\.(\S+)\s*$", text, re.MULTILINE))
    found |= set(re.findall(r"^\s*from\s+\.(\S+)\s+import", text, re.MULTILINE))
    assert found == relative
    assert all((FOLDER / f"{module}.py").exists() for module in found)


def test_modeling_never_imports_trainers_and_nothing_imports_examples():
    for folder, forbidden in (("modeling_concept", {"trainers", "examples"}), ("trainers", {"examples"})):
        for file in (ROOT / folder).rglob("*.py"):
            assert not re.search(rf"^\s*(from|import) ({'|'.join(forbidden)})\b", file.read_text(), re.MULTILINE), file


def test_rooms_are_below_500_lines():
    files = [file for folder in ("modeling_concept", "trainers", "examples") for file in (ROOT / folder).rglob("*.py")]
    assert [(file.name, count) for file in files if (count := len(file.read_text().splitlines())) > 500] == []


def test_files_open_with_licence_and_purpose():
    for file in FILES + sorted((ROOT / "trainers").rglob("*.py")) + sorted((ROOT / "examples").glob("*.py")):
        text = file.read_text()
        assert text.startswith("# Copyright 2026"), file
        assert ast.get_docstring(ast.parse(text)), file


def test_no_tracker_is_imported_by_the_package():
    for folder in ("modeling_concept", "trainers"):
        for file in (ROOT / folder).rglob("*.py"):
            assert not re.search(
                r"^\s*(from|import) (wandb|tensorboard|trackio)\b", Path(file).read_text(), re.MULTILINE
            )
