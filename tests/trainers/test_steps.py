# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Steps: the same for any split of them, and every objective with every concept loss under every weighting."""

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments

from trainers.losses import CONCEPT_LOSSES
from trainers.model_types import MODEL_TYPES
from trainers.objectives import OBJECTIVES
from trainers.objectives.base import TokenObjective
from trainers.objectives.noise import Noise

from ..modeling.zoo import classifier
from .kit import RUNS, make_trainer, step_losses


def logged(trainer):
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {key: [entry[key] for entry in entries] for key in ("loss", "grad_norm")}


@pytest.mark.parametrize("rank", [0, 1])
def test_texts_of_a_step_have_places_of_their_own(rank, tokenizer, pieces, tmp_path, monkeypatch):
    """In each of two batches of a step, on each of two processes."""
    trainer, places = make_trainer(tokenizer, pieces, tmp_path), []
    accelerator = SimpleNamespace(num_processes=2, process_index=rank, reduce=lambda values, how: values)
    monkeypatch.setattr(trainer, "accelerator", accelerator)
    for_step = Noise.for_step

    def spy(seed, step, own, count, width):
        places.append((own.tolist(), count))
        return for_step(seed, step, own, count, width)

    monkeypatch.setattr(Noise, "for_step", spy)
    trainer.plan_step([trainer.data_collator(pieces.to_list()[:rows]) for rows in (3, 2)])
    own = [[0, 1, 2], [6, 7]] if rank == 0 else [[3, 4, 5], [8, 9]]
    assert places == [(part, 10) for part in own]


def test_losses_that_compare_texts_are_means_over_batches(tokenizer, pieces, tmp_path):
    """By their numbers of texts; a single text is compared with none."""
    trainer = make_trainer(
        tokenizer, pieces, tmp_path, objective="denoising,+contrastive:0.1", max_steps=1, learning_rate=0.0,
        concept_losses="vicreg/content:0.1,covariance:0.1",
    )  # fmt: skip
    sizes, start, found, expected = (4, 3, 1), 0, {}, {}
    batches = []
    for size in sizes:
        batches.append(trainer.data_collator(pieces.to_list()[start : start + size]))
        start += size
    model, contrastive = trainer.training_model, trainer.mixture.objectives["contrastive"]
    for size, batch in zip(sizes, trainer.plan_step(batches), strict=True):
        terms = model(batch)["terms"]
        inputs = batch.inputs["contrastive"]
        vectors = contrastive.vectors(model.model.base_model(inputs["input_ids"], inputs["attention_mask"]))
        parts = {
            "contrastive": contrastive.joint_loss(vectors),
            "covariance": CONCEPT_LOSSES["covariance"]()(model.seen_concepts),
            "vicreg/content": CONCEPT_LOSSES["vicreg"]()(model.seen_concepts, content=True) if size > 1 else 0.0,
        }
        for name, value in parts.items():
            found[name] = found.get(name, 0.0) + float(terms[name])
            expected[name] = expected.get(name, 0.0) + float(torch.as_tensor(value).detach()) * size / sum(sizes)
    assert found == pytest.approx(expected, rel=1e-5) and min(found.values()) > 0.01
    for options in ({"objective": "contrastive"}, {"concept_losses": "vicreg/content:0.1"}):
        with pytest.raises(ValueError, match="per_device_train_batch_size 2 or more"):
            make_trainer(tokenizer, pieces, tmp_path, per_device_train_batch_size=1, **options)


@pytest.mark.parametrize(("objective", "losses"), RUNS)
def test_a_step_is_the_same_however_it_is_split(objective, losses, tokenizer, pieces, tmp_path, teacher):
    """Batch 8 x 1 accumulation equals 2 x 4, and 1 x 8 with gradient checkpointing: loss, gradient norm, weights."""
    found = []
    for number, (size, accumulation, checkpointing) in enumerate([(8, 1, False), (2, 4, False), (1, 8, True)]):
        trainer = make_trainer(
            tokenizer, pieces, tmp_path / str(number), teacher=teacher, objective=objective, concept_losses=losses,
            max_steps=3, per_device_train_batch_size=size, gradient_accumulation_steps=accumulation, optim="sgd",
            learning_rate=0.1, gradient_checkpointing=checkpointing, softmax_samples=8,
        )  # fmt: skip
        trainer.train()
        terms = {k: v for e in trainer.state.log_history for k, v in e.items() if k.startswith("loss/")}
        found.append((logged(trainer), terms, trainer.model.state_dict()))
    for logs, terms, weights in found[1:]:
        assert logs["loss"] == pytest.approx(found[0][0]["loss"], rel=2e-5)
        assert logs["grad_norm"] == pytest.approx(found[0][0]["grad_norm"], rel=2e-5)
        assert terms == pytest.approx(found[0][1], rel=1e-4, abs=1e-5)
        for name, value in weights.items():
            torch.testing.assert_close(value, found[0][2][name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["Perceiver", "ViaDecoder", "Pair"])
@pytest.mark.parametrize("num_labels", [1, 3])
def test_classifiers_train_the_same_however_a_step_is_split(kind, num_labels, tmp_path):
    found = []
    rows = [
        {"input_ids": torch.randint(5, 61, (9,)), "labels": torch.tensor(float(n % 3) if num_labels == 1 else n % 3)}
        for n in range(16)
    ]
    if kind == "Pair":
        rows = [
            {"input_ids_a": row["input_ids"], "input_ids_b": row["input_ids"].flip(0), "labels": row["labels"]}
            for row in rows
        ]
    for size, accumulation in ((8, 1), (2, 4)):
        torch.manual_seed(0)
        model = classifier(kind, num_labels=num_labels).train()
        arguments = TrainingArguments(
            output_dir=str(tmp_path), per_device_train_batch_size=size, gradient_accumulation_steps=accumulation,
            max_steps=2, learning_rate=0.1, optim="sgd", use_cpu=True, report_to="none", disable_tqdm=True,
            logging_steps=1, save_strategy="no",
        )  # fmt: skip
        trainer = Trainer(model=model, args=arguments, train_dataset=rows)
        trainer.train()
        found.append((step_losses(trainer), {name: value.clone() for name, value in model.state_dict().items()}))
    assert found[0][0] == pytest.approx(found[1][0], abs=2e-4)
    for name, value in found[0][1].items():
        torch.testing.assert_close(value, found[1][1][name], atol=1e-5, rtol=1e-4)


def matrix():
    """Each objective with each loss, every second one in its content form, and with each weighting that takes it."""
    cases = {(objective, None, "fixed") for objective in OBJECTIVES}
    for row, objective in enumerate(OBJECTIVES):
        for column, (loss, kind) in enumerate(CONCEPT_LOSSES.items()):
            cases.add((objective, f"{loss}/content" if (row + column) % 2 else loss, "fixed"))
            if kind.positive:
                cases.add((objective, loss, "kendall_gal"))
    return sorted(cases, key=str)


@pytest.mark.parametrize(("objective", "loss", "weighting"), matrix())
def test_every_objective_trains_with_every_loss_and_weighting(
    objective, loss, weighting, tokenizer, pieces, tmp_path, teacher
):
    """Every parameter moves and the loss falls."""
    spec = loss if loss is None or weighting == "kendall_gal" else f"{loss}:0.05"
    options = {
        "teacher": teacher, "objective": objective, "concept_losses": spec, "loss_weighting": weighting,
        "max_steps": 12, "learning_rate": 5e-3, "per_device_train_batch_size": 8, "lr_scheduler_type": "constant",
    }  # fmt: skip
    if "elbo_weighting" in {field.name for field in dataclasses.fields(OBJECTIVES[objective])}:
        options["elbo_weighting"] = "none"  # those of 1/t make a step's loss depend on the draw more than on learning
    trainer = make_trainer(tokenizer, pieces, tmp_path, **options)
    watched = dict(trainer.training_model.named_parameters())
    before = {name: value.detach().clone() for name, value in watched.items()}
    trainer.train()
    still = [name for name, value in watched.items() if torch.equal(value, before[name])]
    if not issubclass(OBJECTIVES[objective], TokenObjective):
        still = [name for name in still if not name.startswith(("model.decoder", "model.lm_head"))]
    assert still == []
    terms = [entry[f"loss/{objective}"] for entry in trainer.state.log_history if "loss" in entry]
    assert sum(terms[-4:]) < sum(terms[:4])
    if loss is not None:
        entry = next(entry for entry in trainer.state.log_history if "loss" in entry)
        assert {f"loss/{loss}", f"weight/{loss}", "loss/task"} <= set(entry)


@pytest.mark.parametrize("objective", [*OBJECTIVES, "prefix_diffusion:0.5,denoising:0.5"])
def test_texts_that_give_nothing_to_predict_leave_the_run_alone(objective, tokenizer, tmp_path, teacher):
    """Single tokens have nothing behind them, and often nothing that is hidden."""
    pieces = Dataset.from_dict({"input_ids": [[7 + row] for row in range(8)]})
    trainer = make_trainer(
        tokenizer, pieces, tmp_path, objective=objective, per_device_train_batch_size=2, max_steps=4, teacher=teacher
    )
    trainer.train()
    assert all(math.isfinite(loss) for loss in step_losses(trainer))
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_model_type_learns(model_type, tokenizer, pieces, tmp_path):
    trainer = make_trainer(tokenizer, pieces, tmp_path, model_type, max_steps=60, learning_rate=5e-3)
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    start = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < start - 0.5
    assert [name for name, value in trainer.model.named_parameters() if torch.equal(value, before[name])] == []
