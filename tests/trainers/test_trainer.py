# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The Trainer: honest evaluation, training forms, logs, arguments, checkpoints with code."""

import json
import os
import signal
import subprocess
import sys
from datetime import datetime

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch._dynamo.utils import counters
from transformers import AutoModelForMaskedLM, TrainerCallback

from trainers import ConceptTrainer, ConceptTrainingArguments
from trainers.checkpoints import CheckpointError, verify_checkpoint
from trainers.data import token_frequency
from trainers.data.token_frequency import inverse_frequency, token_counts
from trainers.evaluation.plots import plot_run
from trainers.losses.terms import parse_terms
from trainers.model_types import MODEL_TYPES, find_model_type, model_type_for
from trainers.objectives import OBJECTIVES
from trainers.schedule import StepSchedule
from trainers.utils.errors import TrainingDivergedError
from trainers.utils.runs import check_output_dir, run_name

from ..conftest import ROOT, TEXTS
from ..modeling.zoo import make_config
from .kit import clean_batch, make_model, make_trainer, step_losses, text_noise


MIXTURE = "masked_lm:0.3,prefix_diffusion:0.4,masked_diffusion:0.3,+contrastive:0.1"


# Evaluation.


@pytest.mark.parametrize("objective", [*OBJECTIVES, MIXTURE])
def test_evaluation_is_a_mean_over_items_and_repeats_exactly(objective, tokenizer, pieces, tmp_path, teacher):
    results = []
    for size in (2, 3, 64):
        torch.manual_seed(7)  # for the heads of objectives
        trainer = make_trainer(
            tokenizer, pieces, tmp_path, teacher=teacher, objective=objective, per_device_eval_batch_size=size,
            concept_metric_samples=0,
        )  # fmt: skip
        torch.manual_seed(size)
        metrics = trainer.evaluate()
        results.append(
            {name: value for name, value in metrics.items() if not name.endswith(("_time", "_runtime", "_second"))}
        )
    assert results[1] == pytest.approx(results[0], rel=1e-5)
    assert results[2] == pytest.approx(results[0], rel=1e-5)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_evaluation_loss_equals_a_hand_computation(model_type, tokenizer, pieces, tmp_path):
    from trainers.validation import EVALUATION_SEED

    trainer = make_trainer(tokenizer, pieces, tmp_path, model_type)
    batch = clean_batch(tokenizer, pieces["input_ids"])
    (name,) = trainer.mixture.objectives
    objective = trainer.mixture.objectives[name].for_evaluation()
    inputs = objective(batch, text_noise(batch, EVALUATION_SEED).fold_in(name))
    weights, labels = inputs.pop("loss_weights", torch.ones(1)), inputs.pop("labels")
    with torch.no_grad():
        logits = trainer.model.eval()(**inputs, continuation=objective.continuation).logits
    nll = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none", ignore_index=-100)
    expected = (nll.view(labels.shape) * weights).sum() / (labels != -100).sum()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_evaluation_tells_concepts_and_reconstruction(model_type, tokenizer, pieces, tmp_path):
    metrics = make_trainer(tokenizer, pieces, tmp_path, model_type).evaluate()
    writes_on = MODEL_TYPES[model_type].objective in ("prefix_diffusion", "continuation")
    expected = {"content_fraction", "content_erank", "duplicate_share", "ref_rank"}
    expected |= (
        {"suffix_shuffled_loss_gap"} if writes_on else {"shuffled_loss_gap", "reconstruction_accuracy", "exact_match"}
    )
    assert {f"eval_{name}" for name in expected} <= set(metrics)
    without = make_trainer(tokenizer, pieces, tmp_path, model_type, concept_metric_samples=0)
    none = without.evaluate()
    plot_run([], None, None, 1.0, "no concepts measured", tmp_path / "none.png")
    assert (tmp_path / "none.png").is_file()
    assert "eval_content_fraction" not in none


@pytest.mark.parametrize("objective", ["denoising", "prefix_diffusion"])
def test_the_gain_over_shuffled_concepts_vanishes_when_they_are_not_used(objective, tokenizer, pieces, tmp_path):
    trainer = make_trainer(tokenizer, pieces, tmp_path, objective=objective)
    gain = "eval_suffix_shuffled_loss_gap" if objective == "prefix_diffusion" else "eval_shuffled_loss_gap"
    with torch.no_grad():
        for layer in trainer.model.decoder.layers:
            layer.cross_attn.o_proj.weight.normal_()
            if layer.modulation is not None:
                layer.modulation.linear.bias.normal_()
    assert abs(trainer.evaluate()[gain]) > 1e-3
    with torch.no_grad():
        for layer in trainer.model.decoder.layers:
            layer.cross_attn.o_proj.weight.zero_()
    assert trainer.evaluate()[gain] == 0


def test_texts_whose_concepts_are_exchanged_are_no_neighbours(tokenizer, pieces, tmp_path):
    """Each of the batches spans all texts that are measured, and each text is in one of them."""
    pieces = pieces.select(range(10))
    trainer = make_trainer(tokenizer, pieces, tmp_path, per_device_eval_batch_size=4, concept_metric_samples=10)
    found = [
        [ids[mask.bool()].tolist() for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)]
        for batch in trainer.metric_batches(pieces)
    ]
    assert found == [pieces["input_ids"][start::3] for start in range(3)]


def test_nelbo_and_perplexity(tokenizer, pieces, tmp_path):
    trainer = make_trainer(tokenizer, pieces, tmp_path, objective="masked_diffusion", elbo_weighting="none", t_min=0.5)
    torch.nn.init.zeros_(trainer.model.lm_head.weight)
    metrics = trainer.evaluate()
    # A uniform model: the estimate of ln V is exact but for the number of masked tokens, whose weight has mean 1.
    assert metrics["eval_nelbo"] == metrics["eval_loss"]
    objective = trainer.mixture.for_evaluation().objectives["masked_diffusion"]
    assert (objective.t_min, objective.elbo_weighting) == (1e-3, "elbo")
    assert metrics["eval_perplexity"] == pytest.approx(torch.tensor(metrics["eval_nelbo"]).exp().item(), rel=1e-5)


# Training forms.


def test_the_depth_is_drawn_for_each_step(tokenizer, pieces, tmp_path):
    seen = []
    trainer = make_trainer(tokenizer, pieces, tmp_path, "recursive_mlm", max_steps=8, mean_iterations=3.0)
    encoder = trainer.model.encoder
    forward = encoder.forward

    def spy(*args, **kwargs):
        seen.append(kwargs["num_iterations"])
        return forward(*args, **kwargs)

    encoder.forward = spy
    trainer.train()
    assert len(set(seen)) > 1 and min(seen) >= 1 and max(seen) <= 16
    assert [trainer.schedule.encoder_options(step)["num_iterations"] for step in range(8)] == seen
    deep = [StepSchedule(0, mean_iterations=6.0).encoder_options(step)["num_iterations"] for step in range(300)]
    assert 6 < sum(deep) / 300 < 8  # one more than the mean, as in Geiping et al.


def test_texts_grow_by_schedule(tokenizer, pieces, tmp_path):
    trainer = make_trainer(
        tokenizer, pieces, tmp_path, max_steps=4, length_schedule="8,0.5:40", per_device_train_batch_size=8
    )
    seen = []
    plan_step = trainer.plan_step

    def spy(batches):
        parts = plan_step(batches)
        inputs = parts[0].inputs["denoising"]
        seen.append((inputs["input_ids"].shape, int(inputs["attention_mask"].sum())))
        return parts

    trainer.plan_step = spy
    trainer.train()
    assert [shape[1] <= 8 for shape, _ in seen] == [True, True, False, False]
    assert seen[0][0][0] > 8 == seen[2][0][0]


def test_concept_losses_come_in_linearly(tokenizer, pieces, tmp_path):
    trainer = make_trainer(
        tokenizer, pieces, tmp_path, max_steps=6, concept_losses="vicreg:0.01 t_regs_mst:0.01",
        concept_loss_warmup_steps=4,
    )  # fmt: skip
    assert [term.weight for term in trainer.training_model.terms] == [0.01, 0.01]
    trainer.train()
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    for step, entry in enumerate(entries):
        added = 0.01 * (entry["loss/vicreg"] + entry["loss/t_regs_mst"])
        assert entry["loss"] - entry["loss/task"] == pytest.approx(min(1, step / 4) * added, abs=2e-6)
        assert entry["weight/vicreg"] == pytest.approx(0.01 * min(1, step / 4))


@pytest.mark.parametrize("optimizer", ["adamw_torch_fused", "adafactor"])
@pytest.mark.parametrize("schedule", ["cosine", "warmup_stable_decay"])
def test_optimizers_and_schedules(optimizer, schedule, tokenizer, pieces, tmp_path):
    options = {"lr_scheduler_kwargs": {"num_decay_steps": 4}} if schedule == "warmup_stable_decay" else {}
    trainer = make_trainer(
        tokenizer, pieces, tmp_path, max_steps=20, optim=optimizer, lr_scheduler_type=schedule,
        learning_rate=1e-2, warmup_steps=2, **options,
    )  # fmt: skip
    trainer.train()
    losses = step_losses(trainer)
    assert sum(losses[-5:]) < sum(losses[:5])
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry]
    if schedule == "warmup_stable_decay":
        assert rates[5] == rates[12] == 1e-2 and rates[-1] < 5e-3


@pytest.mark.parametrize(
    ("asked", "mean", "expected"),
    [(4e-3, "weighted", 4e-3), (4e-3, "free", 4e-3), (None, "uniform", 2.5e-4), (None, "free", 1e-3)],
)
def test_the_token_table_may_have_its_own_learning_rate(asked, mean, expected, tokenizer, pieces, tmp_path):
    """A slow one by default where sentence vectors are made of its rows."""
    model = make_model("perceiver_posonly_mlm", tokenizer, concept_mean=mean)
    options = {"learning_rate": 1e-3, "embedding_learning_rate": asked}
    trainer = make_trainer(tokenizer, pieces, tmp_path, model=model, **options)
    table = trainer.training_model.model.get_input_embeddings().weight
    for group in trainer.create_optimizer().param_groups:
        assert group["lr"] == (expected if any(parameter is table for parameter in group["params"]) else 1e-3)


def test_the_token_table_learns_at_full_rate_for_what_follows_a_text(tokenizer, pieces, tmp_path):
    for objective, expected in (("prefix_diffusion", None), ("denoising:0.5,prefix_diffusion:0.5", 2.5e-4)):
        trainer = make_trainer(tokenizer, pieces, tmp_path, objective=objective, learning_rate=1e-3)
        assert trainer.args.token_table_rate(trainer.training_model.model.config) == expected


def test_compiled_training_equals_the_plain_one(tokenizer, pieces, tmp_path):
    """In two graphs without a break, and what is saved is the same."""
    losses, options = {}, {"max_steps": 3, "learning_rate": 1e-2, "logging_first_step": True}
    for name in ("plain", "compiled"):
        torch._dynamo.reset()
        counters.clear()
        how = {"torch_compile": True, "torch_compile_backend": "aot_eager"} if name == "compiled" else {}
        trainer = make_trainer(tokenizer, pieces, tmp_path / name, objective="masked_lm", **options, **how)
        trainer.train()
        trainer.save_model()
        losses[name] = step_losses(trainer)
    assert not counters["graph_break"] and counters["stats"]["unique_graphs"] >= 2
    assert losses["compiled"] == pytest.approx(losses["plain"], rel=1e-5)
    plain, compiled = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "compiled"))
    torch.testing.assert_close(compiled, plain, atol=1e-4, rtol=1e-3)


# Logs, arguments, checkpoints.


def test_logs_tell_terms_geometry_and_speed(tokenizer, pieces, tmp_path):
    trainer = make_trainer(tokenizer, pieces, tmp_path, objective=MIXTURE, concept_losses="vicreg:0.01", max_steps=4)
    trainer.train()
    names = set.intersection(*(set(entry) for entry in trainer.state.log_history if "loss" in entry))
    for name in ("masked_lm", "prefix_diffusion", "masked_diffusion", "contrastive", "vicreg"):
        assert {f"loss/{name}", f"weight/{name}"} <= names
    assert {"concepts/content_fraction", "concepts/content_erank", "concepts/duplicate_share"} <= names
    assert "speed/tokens_per_second" in names and "grad_norm" in names


def test_real_tokens_are_counted(tokenizer, pieces, tmp_path, monkeypatch):
    import trainers.trainer as module

    trainer = make_trainer(tokenizer, pieces, tmp_path, max_steps=4, logging_steps=4, per_device_train_batch_size=8)
    seconds = iter(range(1000))
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(seconds)))
    trainer._reset_logs()
    trainer.train()
    (entry,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    tokens = sum(len(row) for row in pieces["input_ids"]) * 2  # two passes over 16 texts
    assert entry["speed/tokens_per_second"] * 1.0 == pytest.approx(tokens, rel=1e-6)


def test_the_tracker_and_the_checkpoint_know_the_run(tokenizer, pieces, tmp_path):
    trainer = make_trainer(
        tokenizer, pieces, tmp_path, objective=MIXTURE, concept_losses="vicreg:0.01", max_steps=1,
        save_strategy="steps", save_steps=1,
    )  # fmt: skip
    logged = trainer.args.to_dict()
    assert logged["objective"] == MIXTURE and logged["concept_losses"] == "vicreg:0.01"
    trainer.train()
    facts = json.loads((tmp_path / "checkpoint-1" / "training_run.json").read_text())
    assert facts["objective"] == MIXTURE and facts["objectives"]["prefix_diffusion"]["prefix_share"] == [0.3, 0.5]


def test_trackers_are_not_imported():
    code = "import sys, trainers; print([n for n in ('wandb', 'tensorboard', 'trackio') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "options",
    [
        {"objective": MIXTURE, "concept_losses": "vicreg:0.1"},
        {"concept_losses": "combined", "loss_weighting": "kendall_gal"},
    ],
)
def test_resuming_equals_an_uninterrupted_run(options, tokenizer, pieces, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 3, "max_steps": 7, **options}
    straight = make_trainer(tokenizer, pieces, tmp_path / "a", save_total_limit=None, **options)
    straight.train()
    resumed = make_trainer(tokenizer, pieces, tmp_path / "b", **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-3"))
    assert step_losses(straight)[3:] == step_losses(resumed)[3:]
    for name, value in straight.training_model.state_dict().items():
        assert torch.equal(value, resumed.training_model.state_dict()[name]), name


class KillAt(TrainerCallback):
    """SIGKILL at the end of a step, before anything is logged or saved for it."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_run_goes_on_bit_for_bit(tokenizer, pieces, tmp_path):
    """Killed at any step of two epochs, with everything random there is: dropout, noise, mixtures."""
    options = {
        "objective": MIXTURE, "concept_losses": "vicreg:0.1,t_regs_mst:0.1", "save_strategy": "steps", "save_steps": 2,
        "max_steps": 8, "logging_steps": 1,
    }  # fmt: skip

    def trainer_in(name):
        model = make_model("prefix_diffusion", tokenizer, decoder_target="both", hidden_dropout_prob=0.1)
        return make_trainer(tokenizer, pieces, tmp_path / name, model=model, **options)

    straight = trainer_in("straight")
    straight.train()
    expected = step_losses(straight)
    for step in range(2, 9):
        child = os.fork()
        if child == 0:
            killed = trainer_in(str(step))
            killed.add_callback(KillAt(step))
            killed.train()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        resumed = trainer_in(str(step))
        if step == 2:  # killed before its first checkpoint was written
            with pytest.raises(CheckpointError, match="no checkpoint"):
                resumed.train(resume_from_checkpoint="last")
            continue
        resumed.train(resume_from_checkpoint="last")
        assert step_losses(resumed) == expected
        for name, value in straight.training_model.state_dict().items():
            assert torch.equal(value, resumed.training_model.state_dict()[name]), (step, name)


def test_a_loss_that_is_not_finite_ends_the_run(tokenizer, pieces, tmp_path):
    trainer = make_trainer(tokenizer, pieces, tmp_path, max_steps=6, save_strategy="steps", save_steps=2)
    compute_loss = trainer.compute_loss

    def poisoned(*args, **kwargs):
        loss = compute_loss(*args, **kwargs)
        return loss * float("nan") if trainer.state.global_step == 4 else loss

    trainer.compute_loss = poisoned
    with pytest.raises(TrainingDivergedError, match=r"diverged by step 5.*checkpoint-4") as caught:
        trainer.train()
    assert "\n" not in str(caught.value)
    verify_checkpoint(tmp_path / "checkpoint-4")
    assert not (tmp_path / "checkpoint-6").exists()


def test_checkpoints_carry_code_and_tokenizer(tokenizer, pieces, tmp_path):
    trainer = make_trainer(
        tokenizer, pieces, tmp_path, "perceiver_mlm", save_strategy="steps", save_steps=1, max_steps=1
    )
    trainer.train()
    names = {path.name for path in (tmp_path / "checkpoint-1").iterdir()}
    assert {
        "modeling_concept.py", "modules.json", "sentence_bert_config.json", "tokenizer.json", "config.json"
    } <= names  # fmt: skip
    again = AutoModelForMaskedLM.from_pretrained(tmp_path / "checkpoint-1")
    trainer.model.tokenizer = tokenizer
    assert again.reconstruct(TEXTS) == trainer.model.reconstruct(TEXTS)


def test_arguments_make_objectives_and_losses():
    arguments = ConceptTrainingArguments(deletion_rate=0.4, true_deletion=True, report_to="none")
    objective = arguments.make_mixture("denoising").objectives["denoising"]
    assert (objective.deletion_rate, objective.true_deletion, objective.supervised_share) == ([0.4], True, 0.5)
    with pytest.raises(ValueError, match=r"'masked_lm' has no option \['deletion_rate', 'true_deletion'\]"):
        arguments.make_mixture("masked_lm")
    shared = ConceptTrainingArguments(
        objective="masked_diffusion:0.5,prefix_diffusion:0.5", t_min=0.2, report_to="none"
    )
    assert {objective.t_min for objective in shared.make_mixture("").objectives.values()} == {0.2}
    (term,) = parse_terms("uniformity/content:0.5")
    assert (term.name, term.content, term.weight) == ("uniformity/content", True, 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "gpt"}, "Unknown objective 'gpt'; choose one of"),
        ({"objective": "denoising:0.5"}, "sum to 1"),
        ({"concept_losses": "gpt:0.1"}, "Unknown concept loss 'gpt'; choose one of"),
        ({"concept_losses": "vicreg/flat:0.1"}, "only /content may follow"),
        ({"concept_losses": "vicreg"}, "needs a weight"),
        ({"concept_losses": "vicreg:0"}, "positive number"),
        ({"concept_losses": "vicreg:nan"}, "positive number"),
        ({"concept_losses": "vicreg:0.1 vicreg:0.2"}, "given twice"),
        ({"concept_losses": "vicreg:0.1", "loss_weighting": "gpt"}, "Unknown loss weighting"),
        ({"concept_losses": "uniformity:0.1", "loss_weighting": "kendall_gal"}, "without one"),
        ({"loss_weighting": "kendall_gal"}, "give --concept_losses"),
        ({"mean_iterations": 3.0}, "needs a recursive encoder"),
        ({"length_schedule": "0.5:20"}, "starts at 0"),
        ({"length_schedule": "20,0.5:x"}, "invalid literal for int"),
        ({"length_schedule": "20,0.5:4000"}, "beyond max_sequence_length 64"),
        ({"concept_loss_warmup_steps": -1}, "must be at least 0"),
        ({"objective": "contrastive", "views": "dropout"}, "the two views"),
    ],
)
def test_impossible_arguments_are_told(options, message, tokenizer, pieces, tmp_path):
    with pytest.raises(ValueError, match=message):
        make_trainer(tokenizer, pieces, tmp_path, **options)


@pytest.mark.parametrize(
    ("model_type", "objective", "message"),
    [
        ("perceiver_posonly_mlm", "masked_diffusion", "needs a decoder that reads tokens"),
        ("diffusion_mlm", "prefix_diffusion", "predicts a continuation"),
        ("prefix_diffusion", "denoising", "predicts a text"),
    ],
)
def test_a_model_that_cannot_read_what_is_asked_is_told(model_type, objective, message, tokenizer, pieces, tmp_path):
    with pytest.raises(ValueError, match=message):
        make_trainer(tokenizer, pieces, tmp_path, model=make_model(model_type, tokenizer), objective=objective)


def test_model_types_and_run_names():
    now = datetime(2026, 2, 8, 21, 16, 33)
    config = make_config(hidden_size=512, num_hidden_layers=6, concept_num=128, num_attention_heads=8)
    assert run_name("perceiver_mlm", "masked_lm", config, now) == "perceiver_mlm_H512L6C128_20260208_211633"
    assert run_name("diffusion_mlm", "masked_diffusion", config, now) == "diffusion_H512L6C128D2_20260208_211633"
    prefix = "prefix_diffusion"
    assert run_name(prefix, prefix, config, now) == "prefix_diffusion_H512L6C128D2_20260208_211633"
    assert run_name(prefix, "a:0.5,b:0.5", config, now).startswith("prefix_diffusion_mix_H512L6C128_2026")
    config = make_config(encoder_type="bixt", token_embedding_dim=8)
    assert run_name("perceiver_posonly_mlm", "denoising", config, now).startswith("tsdae_posonly_BiXTH32L2C6_T8_2026")
    with pytest.raises(ValueError, match=r"Unknown model type 'gpt'; choose one of \['causal_lm', 'diffusion_mlm'"):
        find_model_type("gpt")


@pytest.mark.parametrize(
    ("objective", "model_type"),
    [
        ("denoising", "perceiver_posonly_mlm"),
        ("masked_lm", "perceiver_mlm"),
        ("masked_diffusion", "diffusion_mlm"),
        ("denoising:0.5,masked_diffusion:0.5", "diffusion_mlm"),
        ("prefix_diffusion", "prefix_diffusion"),
        ("denoising:0.4,prefix_diffusion:0.4,masked_lm:0.2", "prefix_diffusion"),
        ("contrastive", "perceiver_posonly_mlm"),
    ],
)
def test_the_objective_chooses_a_model_that_suits_it(objective, model_type):
    mixture = ConceptTrainingArguments(objective=objective, report_to="none").make_mixture("")
    assert model_type_for(mixture) == model_type


def test_a_folder_that_holds_a_run_is_kept(tmp_path):
    check_output_dir(str(tmp_path), resumes=False)
    (tmp_path / "notes.txt").touch()
    check_output_dir(str(tmp_path), resumes=False)
    (tmp_path / "checkpoint-10").mkdir()
    with pytest.raises(ValueError, match="already holds"):
        check_output_dir(str(tmp_path), resumes=False)
    check_output_dir(str(tmp_path), resumes=True)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_new_model_gets_token_weights_from_its_training_text(streaming, tokenizer, pieces, tmp_path, monkeypatch):
    """That of a stream is counted in its first rows. A model that has weights, or is only evaluated, keeps its own."""
    monkeypatch.setattr(token_frequency, "STREAMED_ROWS", 3)
    counted = pieces.take(3) if streaming else pieces
    counts = token_counts(counted, len(tokenizer))
    ids = torch.tensor([token for row in counted for token in row["input_ids"]])
    assert counts.tolist() == torch.bincount(ids, minlength=len(tokenizer)).tolist()
    wanted = inverse_frequency(counts, tokenizer.all_special_ids).float()
    data = pieces.to_iterable_dataset() if streaming else pieces
    model = make_model("perceiver_posonly_mlm", tokenizer)
    weights = model.base_model.token_weights.weights
    make_trainer(tokenizer, data, tmp_path, model=model, eval_dataset=pieces, do_eval=True)
    assert (weights == 1).all()
    trainer = make_trainer(tokenizer, data, tmp_path, model=model, eval_dataset=pieces)
    assert torch.equal(weights, wanted) and weights.min() == 0 and weights.max() == 1
    assert torch.equal(trainer.token_counts, counts)
    weights.fill_(0.5)
    make_trainer(tokenizer, data, tmp_path, model=model, eval_dataset=pieces)
    assert (weights == 0.5).all()
    for other in (
        make_model("perceiver_posonly_mlm", tokenizer, concept_mean="uniform"),
        make_model("original_mlm", tokenizer),
    ):
        make_trainer(tokenizer, data, tmp_path, model=other, eval_dataset=pieces)
        assert getattr(other.base_model, "token_weights", None) is None


def test_the_default_objective_is_denoising(tokenizer, pieces, tmp_path):
    options = {"output_dir": str(tmp_path), "use_cpu": True, "report_to": "none", "max_steps": 1}
    arguments = ConceptTrainingArguments(**options, eval_strategy="no")
    model = make_model("perceiver_posonly_mlm", tokenizer)
    trainer = ConceptTrainer(model, arguments, processing_class=tokenizer, train_dataset=pieces)
    assert list(trainer.mixture.objectives) == ["denoising"] and trainer.model is model
    trainer.train()
    assert not any("eval_loss" in entry for entry in trainer.state.log_history)
    arguments = ConceptTrainingArguments(**options)
    with pytest.raises(ValueError, match="didn't pass an `eval_dataset`"):
        ConceptTrainer(model, arguments, processing_class=tokenizer, train_dataset=pieces)
