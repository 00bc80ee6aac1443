# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The Trainer: the same loss for any split of a step, honest evaluation, exact resumption, checkpoints with code."""

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import AutoModelForMaskedLM, Trainer, TrainingArguments

import modeling_concept as models
from trainers import ConceptTrainer, ConceptTrainingArguments
from trainers.model_types import MODEL_TYPES, find_model_type
from trainers.objectives import OBJECTIVES
from trainers.runs import check_output_dir, run_name

from ..conftest import TEXTS
from ..modeling.zoo import classifier, make_config


@pytest.fixture
def pieces(tokenizer):
    rows = tokenizer(TEXTS * 4)["input_ids"]
    # Texts of very different lengths, so that batches hold different numbers of labels.
    return Dataset.from_dict({"input_ids": [row[: 4 + 5 * (number % 7)] for number, row in enumerate(rows)]})


def make_model(model_type, tokenizer, seed=0):
    torch.manual_seed(seed)
    kind = find_model_type(model_type)
    recursive = kind.model_class.config_class is models.RecursiveConceptEncoderConfig
    sizes = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "max_sequence_length": 64}
    return kind.model_class(make_config(recursive, **sizes, mask_token_id=tokenizer.mask_token_id))


def make_trainer(model, model_type, tokenizer, pieces, folder, evaluation=None, objective=None, **options):
    defaults = {
        "use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "eval_strategy": "no",
        "logging_steps": 1, "per_device_train_batch_size": 4, "max_steps": 2,
    }  # fmt: skip
    arguments = ConceptTrainingArguments(output_dir=str(folder), **{**defaults, **options})
    return ConceptTrainer(
        model=model,
        args=arguments,
        objective=objective or arguments.make_objective(find_model_type(model_type).objective),
        processing_class=tokenizer,
        train_dataset=pieces,
        eval_dataset=pieces if evaluation is None else evaluation,
    )


class Deterministic:
    """An objective whose noise depends on the text, so that splits of a step can be compared."""

    def __init__(self, objective):
        self.objective = objective

    def for_evaluation(self):
        return self.objective.for_evaluation()

    def __call__(self, batch, noise):
        from trainers.collator import FixedNoise

        lengths = batch.attention_mask.sum(1).tolist()
        rows = [ids[:length] for ids, length in zip(batch.input_ids.tolist(), lengths, strict=True)]
        return self.objective(batch, FixedNoise(rows, batch.input_ids.shape[1], 3))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_step_is_the_same_however_it_is_split(model_type, tokenizer, pieces, tmp_path):
    """Batch 8 x 1 accumulation equals 2 x 4 and 1 x 8: loss, gradient norm and weights."""
    found = []
    for number, (size, accumulation) in enumerate([(8, 1), (2, 4), (1, 8)]):
        objective = Deterministic(OBJECTIVES[find_model_type(model_type).objective]())
        model = make_model(model_type, tokenizer)
        trainer = make_trainer(
            model, model_type, tokenizer, pieces, tmp_path / str(number), objective=objective, max_steps=3,
            per_device_train_batch_size=size, gradient_accumulation_steps=accumulation, optim="sgd", warmup_steps=0,
        )  # fmt: skip
        trainer.train()
        logs = [entry for entry in trainer.state.log_history if "loss" in entry]
        found.append(([entry["loss"] for entry in logs], [entry["grad_norm"] for entry in logs], model.state_dict()))
    for losses, norms, weights in found[1:]:
        assert losses == pytest.approx(found[0][0], abs=2e-4)
        assert norms == pytest.approx(found[0][1], rel=1e-3)
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
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        found.append((losses, {name: value.clone() for name, value in model.state_dict().items()}))
    assert found[0][0] == pytest.approx(found[1][0], abs=2e-4)
    for name, value in found[0][1].items():
        torch.testing.assert_close(value, found[1][1][name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_evaluation_is_a_mean_over_labels_and_repeats_exactly(model_type, tokenizer, pieces, tmp_path):
    model = make_model(model_type, tokenizer)
    losses = []
    for size in (1, 3, 64):
        torch.manual_seed(size)
        trainer = make_trainer(model, model_type, tokenizer, pieces, tmp_path, per_device_eval_batch_size=size)
        losses.append(trainer.evaluate()["eval_loss"])
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-5)
    # By hand, from full logits of one batch of everything.
    batch = trainer.eval_collator(list(pieces))
    weights = batch.pop("loss_weights", torch.ones(1))
    labels = batch.pop("labels")
    with torch.no_grad():
        logits = model.eval()(**batch).logits
    nll = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none", ignore_index=-100)
    expected = (nll.view(labels.shape) * weights).sum() / (labels != -100).sum()
    assert losses[0] == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_evaluation_tells_concepts_and_reconstruction(model_type, tokenizer, pieces, tmp_path):
    trainer = make_trainer(make_model(model_type, tokenizer), model_type, tokenizer, pieces, tmp_path)
    metrics = trainer.evaluate()
    for name in ("content_fraction", "content_erank", "duplicate_share", "ref_rank", "reconstruction_accuracy"):
        assert f"eval_{name}" in metrics
    none = make_trainer(
        make_model(model_type, tokenizer), model_type, tokenizer, pieces, tmp_path, concept_metric_samples=0
    )
    assert "eval_content_fraction" not in none.evaluate()


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_training_moves_every_parameter_and_lowers_the_loss(model_type, tokenizer, pieces, tmp_path):
    model = make_model(model_type, tokenizer)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    trainer = make_trainer(model, model_type, tokenizer, pieces, tmp_path, max_steps=60, learning_rate=5e-3)
    start = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < start - 0.5
    assert [name for name, value in model.named_parameters() if torch.equal(value, before[name])] == []


def test_resuming_equals_an_uninterrupted_run(tokenizer, pieces, tmp_path):
    # Noise that depends on the text: the loader draws a batch ahead, so fresh noise differs after a resumption.
    objective = Deterministic(OBJECTIVES["masked_lm"]())
    options = {"save_strategy": "steps", "save_steps": 3, "save_total_limit": None, "max_steps": 6}
    options |= {"objective": objective}
    straight = make_model("perceiver_mlm", tokenizer)
    make_trainer(straight, "perceiver_mlm", tokenizer, pieces, tmp_path / "a", **options).train()
    resumed = make_model("perceiver_mlm", tokenizer, seed=1)
    trainer = make_trainer(resumed, "perceiver_mlm", tokenizer, pieces, tmp_path / "b", **options)
    trainer.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-3"))
    for name, value in straight.state_dict().items():
        torch.testing.assert_close(value, resumed.state_dict()[name], atol=1e-6, rtol=1e-5)


def test_checkpoints_carry_code_and_tokenizer(tokenizer, pieces, tmp_path):
    model = make_model("perceiver_mlm", tokenizer)
    trainer = make_trainer(
        model, "perceiver_mlm", tokenizer, pieces, tmp_path, save_strategy="steps", save_steps=1, max_steps=1
    )
    trainer.train()
    names = {path.name for path in (tmp_path / "checkpoint-1").iterdir()}
    assert {
        "modeling_concept.py",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "config.json",
    } <= names
    again = AutoModelForMaskedLM.from_pretrained(tmp_path / "checkpoint-1")
    model.tokenizer = tokenizer
    assert again.reconstruct(TEXTS) == model.reconstruct(TEXTS)


def test_arguments_make_objectives():
    arguments = ConceptTrainingArguments(deletion_rate=0.4, visible_weight=0.1, report_to="none")
    objective = arguments.make_objective("denoising")
    assert (objective.deletion_rate, objective.visible_weight, objective.supervised_share) == (0.4, 0.1, 0.5)
    with pytest.raises(ValueError, match=r"'masked_lm' has no option \['deletion_rate', 'visible_weight'\]"):
        arguments.make_objective("masked_lm")
    with pytest.raises(ValueError, match="Unknown objective 'gpt'; choose one of"):
        ConceptTrainingArguments(objective="gpt")
    for objective_class in OBJECTIVES.values():
        assert objective_class().for_evaluation() is not None


def test_model_types_and_run_names():
    from datetime import datetime

    now = datetime(2026, 2, 8, 21, 16, 33)
    config = make_config(hidden_size=512, num_hidden_layers=6, concept_num=128, num_attention_heads=8)
    assert run_name("perceiver_mlm", "masked_lm", config, now) == "perceiver_mlm_H512L6C128_20260208_211633"
    assert run_name("diffusion_mlm", "masked_diffusion", config, now) == "diffusion_H512L6C128D2_20260208_211633"
    config = make_config(encoder_type="bixt", token_embedding_dim=8)
    assert run_name("perceiver_posonly_mlm", "denoising", config, now).startswith("tsdae_posonly_BiXTH32L2C6_T8_2026")
    with pytest.raises(
        ValueError, match=r"Unknown model type 'gpt'; choose one of \['diffusion_mlm', 'perceiver_mlm'"
    ):
        find_model_type("gpt")


def test_a_folder_that_holds_a_run_is_kept(tmp_path):
    check_output_dir(str(tmp_path), resumes=False)
    (tmp_path / "notes.txt").touch()
    check_output_dir(str(tmp_path), resumes=False)
    (tmp_path / "checkpoint-10").mkdir()
    with pytest.raises(ValueError, match="already holds a run"):
        check_output_dir(str(tmp_path), resumes=False)
    check_output_dir(str(tmp_path), resumes=True)
