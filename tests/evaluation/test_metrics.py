# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Metrics: the calibration table, and cases whose value is known."""

import pytest
import torch

from trainers.evaluation.metrics import (
    concept_metrics,
    effective_rank,
    reconstruction_metrics,
    reference_rank,
    repeated_share,
)


def test_calibration_iid_gaussian():
    matrices = torch.randn(8, 128, 512)
    ranks = [reference_rank(matrix) for matrix in matrices]
    assert sum(ranks) / 8 == pytest.approx(83.8, abs=1.5)
    assert float(effective_rank(matrices).mean()) == pytest.approx(123.7, abs=0.1)


def test_calibration_orthonormal():
    matrix = torch.linalg.qr(torch.randn(512, 128)).Q.T
    assert reference_rank(matrix) == pytest.approx(128, abs=1e-2)
    assert effective_rank(matrix) == pytest.approx(128, abs=1e-2)


def test_calibration_prototypes_and_content():
    """Rank-5 prototypes and full-rank content, half the energy each: the old rank sees the mean over texts only."""
    prototypes = torch.randn(128, 5) @ torch.randn(5, 512)
    # The old rank depends on how many texts are averaged (24.8 for one, 5.5 for 320); the calibration does not say how
    # many it took. Near 100 texts give its 6.6; the effective ranks below do not depend on it.
    content = torch.randn(96, 128, 512)
    texts = prototypes / prototypes.norm() + content / content.norm(dim=(1, 2), keepdim=True)
    assert concept_metrics(texts)["ref_rank"] == pytest.approx(6.6, abs=0.8)
    assert float(effective_rank(texts[:8]).mean()) == pytest.approx(107.8, abs=0.5)
    assert concept_metrics(texts)["content_erank"] == pytest.approx(123.7, abs=0.3)
    assert concept_metrics(texts)["content_fraction"] == pytest.approx(0.5, abs=0.02)


def test_a_shared_offset_ruins_the_old_rank_and_not_the_new():
    # As above: the calibration's 8.3 is that of about 20 texts (33.9 for one, 2.9 for 320).
    texts = torch.randn(20, 128, 512) + 0.315 * torch.randn(512)  # 9 % of the energy
    assert concept_metrics(texts)["ref_rank"] == pytest.approx(8.3, abs=1.5)
    assert float(effective_rank(texts).mean()) == pytest.approx(122, abs=1)


def test_constants_have_no_content_however_diverse():
    constants = torch.linalg.qr(torch.randn(64, 16)).Q.T.expand(20, -1, -1)
    metrics = concept_metrics(constants + 1e-4 * torch.randn(20, 16, 64))
    assert metrics["content_fraction"] < 1e-3
    assert metrics["ref_rank"] == pytest.approx(16, abs=0.1)


def test_pure_content_and_half():
    torch.manual_seed(0)
    content = torch.randn(500, 8, 64)
    assert concept_metrics(content)["content_fraction"] == pytest.approx(1, abs=0.01)
    prototypes = torch.randn(8, 64)
    prototypes = prototypes / prototypes.norm() * content.square().sum((1, 2)).mean().sqrt()
    assert concept_metrics(content + prototypes)["content_fraction"] == pytest.approx(0.5, abs=0.02)
    rank_one = torch.randn(500, 8, 1) * torch.randn(64)
    assert concept_metrics(rank_one)["content_erank"] == pytest.approx(1, abs=1e-3)


def test_duplicates_are_counted_in_the_text_dependent_part():
    torch.manual_seed(0)
    concepts = torch.randn(40, 8, 64)
    assert concept_metrics(concepts)["duplicate_share"] == 0
    concepts[:, 1] = concepts[:, 0] + torch.randn(64)  # twins but for a constant
    assert concept_metrics(concepts)["duplicate_share"] == pytest.approx(2 / 8)


def test_segments_that_a_text_repeats():
    ids = torch.tensor([[1, 2, 3, 4, 1, 2, 5, 6], [1, 2, 2, 1, 3, 4, 5, 6], [7, 7, 7, 7, 7, 7, 7, 7]])
    assert repeated_share(ids, 4) == pytest.approx((2 + 0 + 4) / 12)
    assert repeated_share(ids, 2) == pytest.approx(2 / 6)
    assert repeated_share(ids, 1) == 0


def test_metrics_refuse_a_single_text():
    with pytest.raises(ValueError, match="T >= 2"):
        concept_metrics(torch.randn(1, 4, 8))


def test_reconstruction_counts_real_tokens_only():
    class Reader:
        device = torch.device("cpu")

        def reconstruct_ids(self, ids, mask):
            wrong = ids.clone()
            wrong[0, 1] += 1
            return wrong.masked_fill(mask == 0, 7)

    ids = torch.tensor([[1, 5, 6, 2, 0], [1, 8, 9, 5, 2]])
    batch = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    found = reconstruction_metrics(Reader(), [batch], special_ids=[0, 1, 2])
    assert found == {"reconstruction_accuracy": 4 / 5, "exact_match": 1 / 2, "reconstruction_tokens": 5}
