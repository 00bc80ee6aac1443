# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
transformers' own common model tests, from the source distribution of the installed version.

They are in no wheel, so the source distribution is fetched once for each version from the package index, and kept in
pytest's cache folder. Three modules that they import lie in no distribution and are stood in for: tests of generation,
whose `GenerationMixin` these models do not have, values for tests of configurations, and tests of export, in whose
place tests/modeling/test_export.py exports by torch and by transformers' exporter.
"""

import importlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
import transformers


CACHE = Path(__file__).resolve().parents[2] / ".pytest_cache" / "peer"

STANDINS = {
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
}


def model_tester_mixin():
    """`ModelTesterMixin` of the installed transformers; skips the module where the package index is out of reach."""
    folder = CACHE / f"v{transformers.__version__.replace('.', '_')}"
    if not (folder / "peer_tests" / "test_modeling_common.py").exists():
        fetch(folder)
    sys.path.insert(0, str(folder))
    return importlib.import_module("peer_tests.test_modeling_common").ModelTesterMixin


def fetch(folder: Path) -> None:
    """Whole or not at all, since several test processes may need it at once: it is built beside and then renamed."""
    requirement = f"transformers=={transformers.__version__}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        built = Path(temporary)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "transformers", requirement]
        done = subprocess.run([*command, "--dest", temporary], capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"the source distribution of {requirement} cannot be fetched", allow_module_level=True)
        package = built / folder.name / "peer_tests"
        for name in STANDINS:
            (package / name).parent.mkdir(parents=True, exist_ok=True)
            (package / name).parent.joinpath("__init__.py").touch()
            (package / name).write_text(STANDINS[name])
        (package / "__init__.py").touch()
        with tarfile.open(next(built.glob("transformers-*.tar.gz"))) as tar:
            for member in tar.getmembers():
                if member.name.endswith("/tests/test_modeling_common.py"):
                    (package / "test_modeling_common.py").write_bytes(tar.extractfile(member).read())
        try:
            package.parent.rename(folder)
        except OSError:  # another process was first
            if not (folder / "peer_tests" / "test_modeling_common.py").exists():
                raise
