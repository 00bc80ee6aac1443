# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Shared fixtures. Nothing here or in any test reaches a hub."""

import gc
import os


os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.pop("TQDM_DISABLE", None)  # progress is under test, whatever the user's shell prefers

from pathlib import Path  # noqa: E402

import datasets  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

from trainers.data.tokenizers import train_tokenizer  # noqa: E402


ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

# Tiny models are fastest on one thread, and test processes run side by side.
torch.set_num_threads(1)

TEXTS = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on.",
    "A ship sailed from the harbour at dawn; nobody on the shore looked up.",
    "She had never seen so many books in one room before.",
    "Rain fell all night on the roof of the old house by the river.",
]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Neighbours, which share what is made for them, go to one process until another has nothing left to do."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture(scope="module", autouse=True)
def modules_outlive_garbage_collection():
    """The end of each training collects all garbage, which takes longer to look at what was imported than to train."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def quiet_and_seeded(request):
    torch.manual_seed(0)
    datasets.disable_progress_bars()
    transformers.logging.disable_progress_bar()
    # transformers' own tests read its warnings.
    peer = request.node.get_closest_marker("peer") is not None
    (transformers.logging.set_verbosity_warning if peer else transformers.logging.set_verbosity_error)()
    yield


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(TEXTS * 4, vocab_size=320, max_length=64)


@pytest.fixture(scope="session")
def shared():
    """The folder of shared data; tests that need it are skipped in a checkout without it."""
    if not SHARED.is_dir():
        pytest.skip("the shared data folder does not lie beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def pieces(tokenizer):
    """Texts of very different lengths, so that batches hold different numbers of labels."""
    rows = tokenizer(TEXTS * 4)["input_ids"]
    return datasets.Dataset.from_dict({"input_ids": [row[: 8 + 5 * (number % 7)] for number, row in enumerate(rows)]})


@pytest.fixture(scope="session")
def teacher(tokenizer, tmp_path_factory):
    """Folder of a small SentenceTransformer."""
    from sentence_transformers import SentenceTransformer, models

    folder = tmp_path_factory.mktemp("teacher")
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=96,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    transformer = models.Transformer(str(folder / "bert"))
    SentenceTransformer(modules=[transformer, models.Pooling(24)], device="cpu").save(str(folder / "teacher"))
    return folder / "teacher"
