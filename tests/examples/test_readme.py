# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The README and its companions: what they show runs, what they link to is there."""

import re
import shlex
from configparser import ConfigParser
from dataclasses import fields
from importlib.metadata import version
from unittest.mock import MagicMock

import pytest
import torch
from onnxruntime import quantization
from transformers import TrainingArguments

import modeling_concept
import trainers
from trainers.data.tokenizers import train_tokenizer

from ..conftest import ROOT, TEXTS
from ..retrieval.kit import save_bert
from ..trainers.kit import make_model
from .kit import run_here


PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in (
        "README.md", "examples/README.md", "examples/configs/README.md", "model_cards/README.md",
        "model_cards/speed.md", "model_cards/search.md", "model_cards/reader.md", "model_cards/reasoning.md",
        ".github/CONTRIBUTING.md",
    )
}  # fmt: skip

# Values that make the commands and blocks of the pages tiny.
TINY = {
    "hidden_size": "32", "intermediate_size": "32", "concept_num": "4", "max_seq_length": "16",
    "per_device_train_batch_size": "4", "max_steps": "1", "max_eval_samples": "4", "max_train_samples": "8",
    "report_to": "none", "train_file": "text.txt", "validation_file": "text.txt",
}  # fmt: skip


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    lines = "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small model, one with a reader, and their tokenizer, whose vocabulary holds all bytes."""
    folder = tmp_path_factory.mktemp("readme") / "checkpoint"
    tokenizer = train_tokenizer(TEXTS * 4, vocab_size=320, max_length=48)
    for model_type, path in (("perceiver_posonly_mlm", folder), ("causal_lm", folder / "reader")):
        make_model(model_type, tokenizer).save_pretrained(path)
        tokenizer.save_pretrained(path)
    return folder


@pytest.mark.parametrize("page", ["README.md", "examples/README.md"])
def test_python_blocks_run(page, checkpoint, tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_bert("bert", tokenizer)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "harbour.txt").write_text(" ".join(TEXTS), encoding="utf-8")
    # What follows torch.export takes seconds; tests/modeling/test_export.py makes such a file and reads it.
    monkeypatch.setattr(torch.onnx, "export", lambda exported, dynamo: MagicMock())
    monkeypatch.setattr(quantization, "quantize_dynamic", lambda source, target: None)
    code = "\n".join(blocks(page, "python"))
    assert code.count('"outputs/…"') == 1
    code = code.replace('"outputs/…"', repr(str(checkpoint)))
    code = code.replace('"outputs/causal_lm_…"', repr(str(checkpoint / "reader")))
    code = code.replace("sentence-transformers/all-MiniLM-L6-v2", "bert")
    code = code.replace("max_steps=1000", 'max_steps=1, report_to="none", per_device_train_batch_size=2')
    names = {}
    exec(compile(code, page, "exec"), names)
    encoding = names["encoding"]
    assert encoding.concepts.shape[::2] == (2, encoding.sentence_embeddings.shape[1])
    assert (tmp_path / "outputs" / "mine" / "model.safetensors").exists() == (page == "README.md")


def test_the_training_command_runs(tmp_path, monkeypatch):
    (command,) = [line for line in commands("README.md") if "train.txt" in line]
    (tmp_path / "text.txt").write_text("\n".join(TEXTS * 20), encoding="utf-8")
    _, script, *arguments = shlex.split(command)
    assert {name.removeprefix("--") for name in arguments[::2]} <= set(TINY)
    options = [word for name, value in TINY.items() for word in (f"--{name}", value)]
    run_here(script.removeprefix("examples/"), tmp_path, monkeypatch, *options)
    assert len(list((tmp_path / "outputs").glob("*/model.safetensors"))) == 1


@pytest.mark.parametrize("page", PAGES)
def test_links_and_commands_lead_somewhere(page):
    sources = [*(ROOT / "trainers").rglob("*.py"), *(ROOT / "examples").glob("*.py")]
    known = set(re.findall(r"\w+", "".join(path.read_text(encoding="utf-8") for path in sources)))
    known |= {option.name for option in fields(TrainingArguments)}
    known |= {"help", "help_all", "config_file", "nproc-per-node"}
    assert set(re.findall(r"(?<![\w-])--([a-z][\w-]+)", PAGES[page])) <= known
    for script in re.findall(r"examples/[\w/]+\.(?:py|json|yaml)", PAGES[page]):
        assert (ROOT / script).is_file() or "NAME" in script, script
    for link in re.findall(r"\]\((?!https:)([^)]+)\)", PAGES[page]):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}, link


def test_the_readme_is_a_tour():
    assert len(PAGES["README.md"].encode()) <= 8_000


def test_both_packages_have_the_version_and_types_of_the_distribution():
    assert modeling_concept.__version__ == trainers.__version__ == version("concept-encoder")
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for package in ("modeling_concept", "trainers"):
        assert (ROOT / package / "py.typed").is_file()
        assert "py.typed" in setup["options.package_data"][package].split()
