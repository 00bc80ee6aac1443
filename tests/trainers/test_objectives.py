# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Objectives and the collator: what is hidden, what is predicted, and that evaluation always asks the same."""

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.collator import ConceptDataCollator, FixedNoise, FreshNoise
from trainers.objectives import OBJECTIVES, CleanBatch, Denoising, MaskedDiffusion, MaskedLM

from ..conftest import TEXTS


@pytest.fixture
def examples(tokenizer):
    return [{"input_ids": ids} for ids in tokenizer([*TEXTS, "dog"])["input_ids"]]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_padding_is_never_predicted_hidden_or_counted(name, examples, tokenizer):
    batch = ConceptDataCollator(tokenizer, OBJECTIVES[name]())(examples)
    padding = batch["attention_mask"] == 0
    assert padding.any()
    assert (batch["input_ids"][padding] == tokenizer.pad_token_id).all()
    assert (batch["labels"][padding] == -100).all()
    if "loss_weights" in batch:
        assert (batch["loss_weights"][padding] == 0).all()
    real = [len(example["input_ids"]) for example in examples]
    assert batch["attention_mask"].sum(1).tolist() == real


@pytest.mark.parametrize("name", OBJECTIVES)
def test_labels_are_the_clean_tokens_and_specials_stay(name, examples, tokenizer):
    collator = ConceptDataCollator(tokenizer, OBJECTIVES[name]())
    clean = collator.pad([example["input_ids"] for example in examples])
    batch = collator(examples)
    labelled = batch["labels"] != -100
    assert labelled.any()
    assert torch.equal(batch["labels"][labelled], clean.input_ids[labelled])
    for seen in ("input_ids", "decoder_input_ids"):
        if seen in batch:
            assert torch.equal(batch[seen][clean.special], clean.input_ids[clean.special])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_evaluation_noise_depends_on_the_text_alone(name, examples, tokenizer):
    collator = ConceptDataCollator(tokenizer, OBJECTIVES[name]().for_evaluation(), seed=5)
    together = collator(examples)
    torch.manual_seed(99)
    backwards = collator(examples[::-1])
    wide = ConceptDataCollator(tokenizer, collator.objective, seed=5, pad_to_multiple_of=64)(examples)
    for row, example in enumerate(examples):
        alone = collator([example])
        length = len(example["input_ids"])
        for key, value in alone.items():
            for other in (together[key][row], backwards[key][len(examples) - 1 - row], wide[key][row]):
                other = other[:length] if value.dim() > 1 else other
                torch.testing.assert_close(value[0], other, rtol=0, atol=0)
    other_seed = ConceptDataCollator(tokenizer, collator.objective, seed=6)(examples)
    assert any(not torch.equal(together[key], other_seed[key]) for key in together)


def test_training_noise_is_fresh(examples, tokenizer):
    for objective in (MaskedLM(), Denoising(), MaskedDiffusion()):
        collator = ConceptDataCollator(tokenizer, objective)
        first, second = collator(examples), collator(examples)
        assert any(not torch.equal(first[key], second[key]) for key in first)


@given(probability=st.floats(0.0, 1.0), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_masked_lm_rates(probability, seed):
    torch.manual_seed(seed)
    ids = torch.randint(5, 300, (4, 500))
    special = torch.zeros_like(ids, dtype=torch.bool)
    special[:, 0] = True
    batch = CleanBatch(ids, torch.ones_like(ids), special, 4, 300)
    out = MaskedLM(mlm_probability=probability)(batch, FreshNoise(ids.tolist(), 500))
    chosen = out["labels"] != -100
    assert chosen.any(dim=1).all()
    assert abs(chosen.float().mean() - probability) < 0.06
    masked = (out["input_ids"] == 4) & chosen
    if probability > 0.2:
        assert abs(masked.sum() / chosen.sum() - 0.8) < 0.1
    assert torch.equal(out["input_ids"][~chosen], ids[~chosen])


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.99, 1.0])
def test_denoising_guarantees(rate, examples, tokenizer):
    """Nothing at rate 0, about the rate, never a special token, at least one survivor, labels at every real token."""
    collator = ConceptDataCollator(tokenizer, Denoising(rate, min_deletion_rate=rate).for_evaluation())
    counts = torch.zeros(2)
    for _ in range(20):
        batch = collator(examples)
        clean = collator.pad([example["input_ids"] for example in examples])
        hidden = batch["input_ids"] == tokenizer.mask_token_id
        words = ~clean.special
        assert not (hidden & clean.special).any()
        assert (hidden.sum(1) < words.sum(1)).all()
        assert torch.equal(batch["labels"] != -100, clean.attention_mask.bool())
        counts += torch.tensor([hidden.sum(), words.sum()])
    if rate == 0:
        assert counts[0] == 0
    elif rate == 0.5:
        assert 0.4 < counts[0] / counts[1] < 0.6


def test_denoising_weights_and_share(examples, tokenizer):
    batch = ConceptDataCollator(tokenizer, Denoising(0.5, 0.5, visible_weight=0.25, supervised_share=1.0))(examples)
    hidden = batch["input_ids"] == tokenizer.mask_token_id
    real = batch["attention_mask"].bool()
    assert (batch["loss_weights"][hidden] == 1).all()
    assert (batch["loss_weights"][real & ~hidden] == 0.25).all()
    half = ConceptDataCollator(tokenizer, Denoising(supervised_share=0.5))(examples * 20)
    share = (half["labels"] != -100).sum() / half["attention_mask"].sum()
    assert 0.45 < share < 0.55


def test_antithetic_times_are_evenly_spread():
    noise = FreshNoise([[1]] * 8, 1)
    for _ in range(5):
        times = noise.spread()[:, 0].sort().values
        torch.testing.assert_close(times.diff(), torch.full((7,), 0.125))
    assert len(set(FixedNoise([[1], [2]], 1, 0).spread()[:, 0].tolist())) == 2


def test_diffusion_estimate_is_the_exact_bound():
    """
    Three tokens of a vocabulary of three and a model that is any function of the masked text: the mean of weighted
    losses over drawn noise equals the integral over t of the exact expectation over all 2^3 masks,
    sum over masks of t^k (1-t)^(3-k) · (1/t) · losses / 3.
    """
    torch.manual_seed(0)
    text, mask_id = [0, 2, 1], 3
    table = {pattern: torch.randn(3, 3).log_softmax(-1) for pattern in itertools.product([False, True], repeat=3)}

    def losses(pattern):
        return torch.stack([-table[pattern][place, token] for place, token in enumerate(text)])

    t_min, steps, exact = 0.05, 4000, 0.0
    for step in range(steps):
        t = t_min + (1 - t_min) * (step + 0.5) / steps
        for pattern in table:
            masked = sum(pattern)
            if masked:
                chosen = torch.tensor(pattern)
                exact += t**masked * (1 - t) ** (3 - masked) / t * float(losses(pattern)[chosen].sum()) / 3 / steps

    rows = 40_000
    ids = torch.tensor([text]).expand(rows, -1)
    clean = CleanBatch(ids, torch.ones_like(ids), torch.zeros_like(ids, dtype=torch.bool), mask_id, 3)
    batch = MaskedDiffusion(t_min=t_min)(clean, FreshNoise(ids.tolist(), 3))
    assert torch.equal(batch["input_ids"], batch["decoder_input_ids"])
    found = 0.0
    masked = batch["decoder_input_ids"] == mask_id
    weight = batch["loss_weights"]
    torch.testing.assert_close(weight, masked / batch["timesteps"][:, None])
    for pattern in table:
        rows_of = (masked == torch.tensor(pattern)).all(1)
        found += float((weight[rows_of] * losses(pattern)).sum())
    # The model divides by the number of labels: all tokens, masked or not.
    found /= int((batch["labels"] != -100).sum())
    assert found == pytest.approx(exact, rel=0.02)
    assert not math.isnan(exact)


def test_diffusion_options(examples, tokenizer):
    clean = ConceptDataCollator(tokenizer, MaskedDiffusion(clean_encoder=True))
    batch = clean(examples)
    assert torch.equal(batch["input_ids"], clean.pad([e["input_ids"] for e in examples]).input_ids)
    flat = ConceptDataCollator(tokenizer, MaskedDiffusion(elbo_weight=False, t_min=0.5))(examples)
    masked = flat["decoder_input_ids"] == tokenizer.mask_token_id
    assert torch.equal(flat["labels"] != -100, masked)
    assert (flat["loss_weights"][masked] == 1).all()
    assert (flat["timesteps"] >= 0.5).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaskedLM(mlm_probability=1.5), "between 0 and 1"),
        (lambda: MaskedLM(mask_replace_prob=0.8, random_replace_prob=0.4), "between 0 and 1"),
        (lambda: Denoising(deletion_rate=-0.1), "between 0 and 1"),
        (lambda: Denoising(deletion_rate=0.2, min_deletion_rate=0.3), "must lie between 0 and deletion_rate"),
        (lambda: Denoising(visible_weight=-1), "negative"),
        (lambda: MaskedDiffusion(t_min=0), "both excluded"),
    ],
)
def test_impossible_options_are_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_tokenizer_without_mask_or_padding_is_told(tokenizer):
    bare = copy.deepcopy(tokenizer)
    bare.mask_token = None
    with pytest.raises(ValueError, match="no mask_token"):
        ConceptDataCollator(bare, MaskedLM())
