# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Zero-shot similarity as a user runs it."""

import json

import numpy as np
import pytest
from datasets import Dataset
from scipy import stats

from examples import run_sts

from ..conftest import TEXTS
from ..trainers.kit import make_model
from .test_run_pretraining import run_script


@pytest.fixture
def checkpoint(tokenizer, tmp_path):
    model = make_model("perceiver_posonly_mlm", tokenizer)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def pairs(tmp_path):
    rows = {"sentence1": TEXTS * 3, "sentence2": TEXTS[1:] * 4, "label": [float(n % 6) for n in range(12)]}
    (tmp_path / "pairs").mkdir()
    Dataset.from_dict(rows).to_parquet(tmp_path / "pairs" / "validation.parquet")
    return tmp_path / "pairs"


def test_the_table_has_its_baselines(checkpoint, pairs, tmp_path):
    done = run_script(
        "run_sts.py", tmp_path, "--model_name_or_path", checkpoint, "--dataset_name", pairs, "--output_file", "s.json"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for word in ("concepts, mean", "concepts, centred mean", "untrained, mean", "bag of words", "Spearman"):
        assert word in done.stdout
    assert len(json.loads((tmp_path / "s.json").read_text())) == 5


def test_correlations_equal_scipy():
    generator = np.random.default_rng(0)
    first, second = [f"a{n}" for n in range(20)], [f"b{n}" for n in range(20)]
    table = {text: generator.normal(size=5) for text in first + second}
    scores = generator.uniform(0, 5, size=20)
    found = run_sts.correlations(first, second, scores, table)
    cosines = [
        table[a] @ table[b] / np.linalg.norm(table[a]) / np.linalg.norm(table[b])
        for a, b in zip(first, second, strict=True)
    ]
    assert found["spearman"] == pytest.approx(100 * stats.spearmanr(cosines, scores).statistic, abs=1e-3)
    assert found["pearson"] == pytest.approx(100 * stats.pearsonr(cosines, scores).statistic, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model_name_or_path", "nowhere"], "'nowhere' cannot be read"),
        (["--dataset_name", "nowhere"], "'nowhere' cannot be read"),
        (["--score_column", "points"], "There are no columns ['points']"),
    ],
)
def test_bad_input_gets_one_sentence(options, message, checkpoint, pairs, tmp_path):
    defaults = ["--model_name_or_path", checkpoint, "--dataset_name", pairs]
    done = run_script("run_sts.py", tmp_path, *defaults, *options)
    assert done.returncode != 0 and message in done.stderr and "Traceback" not in done.stderr
