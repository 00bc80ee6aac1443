# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Fine-tuning end to end: every type of classifier, rates and seeds, iterations, LoRA, and what is written."""

import json
from dataclasses import replace
from statistics import fmean, stdev

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from trainers.results import BAG_OF_WORDS, MAJORITY, UNTRAINED, read_results
from trainers.tasks import TASKS, fine_tuning, frame, load_task
from trainers.tasks.classifiers import TextCollator, TextEncoder, read_checkpoint
from trainers.tasks.fine_tuning import Cell, FineTuningArguments, System, fine_tune, read_predictions


def predictions(folder, data, **options):
    """Of the saved model, without the Trainer."""
    model, saved = AutoModelForSequenceClassification.from_pretrained(folder).eval(), read_checkpoint(str(folder))
    encoder = TextEncoder(saved.tokenizer, 64, saved.separate, saved.takes_token_types)
    encoded, _ = encoder.encode(data.evaluation["validation"], "rows")
    with torch.no_grad():
        logits = model(**TextCollator(saved.tokenizer)(list(encoded)), **options).logits
    return logits.argmax(dim=-1) if logits.shape[-1] > 1 else logits[:, 0]


@pytest.mark.parametrize(
    ("kind", "source", "task"),
    [
        ("perceiver_cls", "concept", "cola"),
        ("perceiver_decoder_cls", "concept", "mrpc"),
        ("perceiver_pair_cls", "concept", "stsb"),
        ("bert-type", "bert", "mrpc"),
    ],
)
def test_every_type_beside_its_baselines(kind, source, task, checkpoints, toy_glue, run, tmp_path, capsys):
    model_options = {"model_type": kind, "baselines": list(frame.BASELINE_NAMES)}
    if kind == "perceiver_decoder_cls":
        model_options["baseline_models"] = [str(checkpoints["bert"])]
    results = run([task], checkpoints[source], model_options, learning_rate=0.01)
    systems = list(dict.fromkeys(result.system for result in results))
    further = model_options.get("baseline_models", [])
    assert systems == [source, UNTRAINED, *further, MAJORITY, BAG_OF_WORDS]
    shown = capsys.readouterr().out
    assert f"as {kind}" in shown and "new: classifier.bias" in shown or kind == "perceiver_pair_cls"
    assert "% of the rows are longer than 64 tokens" in shown and BAG_OF_WORDS.split()[0] in shown

    report = json.loads((tmp_path / "out" / "results.json").read_text())
    assert read_results(tmp_path / "out" / "results.json") == results
    assert [cell["system"] for cell in report["cells"]] == [source, UNTRAINED, *further]
    assert report["data"][0]["selection_from"] == "a part of train" and report["classifier_type"] == kind

    # The model that was saved gives the score that was reported.
    folder, data = tmp_path / "out" / task, load_task(TASKS[task], str(toy_glue))
    rows = data.evaluation["validation"]
    values = TASKS[task].load_metric().compute(predictions=predictions(folder, data), references=rows["label"][:])
    mine = {result.metric: result.value for result in results if result.system == source}
    assert mine == {metric: pytest.approx(value, abs=1e-5) for metric, value in values.items()}
    card = ModelCard.load(folder / "README.md")
    assert {entry.metric_type for entry in card.data.eval_results} == set(TASKS[task].metrics)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([task, "results.json"])


def test_both_splits_of_mnli_seeds_and_rates(checkpoints, run, tmp_path):
    options = {"seeds": [1, 2], "learning_rates": [0.01, 0.001], "max_steps": 1, "eval_steps": 1, "save_steps": 1}
    results = run(["mnli"], checkpoints["concept"], {"baselines": ["untrained"]}, **options)
    splits = ["validation_matched", "validation_mismatched"]
    lines = [(result.system, result.split, result.metric) for result in results]
    assert lines == [(system, split, "accuracy") for system in ("concept", UNTRAINED) for split in splits]
    cells = json.loads((tmp_path / "out" / "results.json").read_text())["cells"]
    assert len(cells) == 2 * 2 + 2  # the untrained encoder is given the chosen rate alone
    mine = [cell for cell in cells if cell["system"] == "concept"]
    rate = max((0.01, 0.001), key=lambda rate: sum(c["selection"] for c in mine if c["learning_rate"] == rate))
    assert {cell["learning_rate"] for cell in cells if cell["system"] == UNTRAINED} == {rate}
    for result in results:
        chosen = [cell for cell in cells if (cell["system"], cell["learning_rate"]) == (result.system, rate)]
        values = [cell["evaluation"][result.system][result.split]["accuracy"] for cell in chosen]
        assert (result.value, result.spread) == (pytest.approx(fmean(values)), pytest.approx(stdev(values)))


def test_the_rate_is_chosen_on_the_selection_part_alone(checkpoints, toy_glue, monkeypatch):
    """Cells as given: the best rate by mean over seeds there is the worst in evaluation."""
    selection = {(0.1, 1): 0.9, (0.1, 2): 0.1, (0.2, 1): 0.6, (0.2, 2): 0.7, (0.3, 1): 0.65, (0.3, 2): 0.6}

    def run_cell(system, task, encoded, args, rate, seed):
        scores = {system.name: {"validation": {"f1": 1 - rate + seed / 10, "accuracy": 0.0}}}
        return Cell(task.name, system.name, rate, seed, selection[rate, seed], scores, 1.0), torch.tensor([rate, seed])

    monkeypatch.setattr(fine_tuning, "run_cell", run_cell)
    system = System("concept", read_checkpoint(str(checkpoints["concept"])))
    args, told = FineTuningArguments(seeds=[1, 2], use_cpu=True), []
    data = load_task(TASKS["mrpc"], str(toy_glue))
    found = fine_tune(system, data, None, args, [0.1, 0.2, 0.3], told.append)
    assert len(found.cells) == len(told) == 6
    assert (found.cell.learning_rate, found.cell.seed, found.model.tolist()) == (0.2, 2, pytest.approx([0.2, 2]))
    f1 = found.results(data)[0]
    assert (f1.value, f1.spread, f1.primary, f1.count) == (
        pytest.approx(0.95), pytest.approx(0.1 / 2**0.5), True, 12
    )  # fmt: skip


def test_one_recursive_model_at_several_depths_with_low_rank_updates(checkpoints, toy_glue, run, tmp_path):
    results = run(["stsb"], checkpoints["recursive"], num_iterations=[1, 5], lora_r=2, learning_rate=0.05, max_steps=4)
    systems = list(dict.fromkeys(result.system for result in results))
    assert systems == ["recursive", "recursive, K=1", "recursive, K=5"]
    folder, data = tmp_path / "out" / "stsb", load_task(TASKS["stsb"], str(toy_glue))
    metric, labels = TASKS["stsb"].load_metric(), data.evaluation["validation"]["label"][:]
    for system, count in zip(systems, (2, 1, 5), strict=True):
        values = metric.compute(predictions=predictions(folder, data, num_iterations=count), references=labels)
        mine = {result.metric: result.value for result in results if result.system == system}
        assert mine == {name: pytest.approx(value, abs=1e-4) for name, value in values.items()}
    assert len({result.value for result in results}) > 3

    # Merged: no trace of the adapters; what they do not touch is as it was, what they do has moved by rank 2.
    before, after = (load_file(path / "model.safetensors") for path in (checkpoints["recursive"], folder))
    assert not any("lora" in name for name in after)
    table, matrix = "encoder.embeddings.token_embeddings.weight", "encoder.shared_layer.cross_attn.q_proj.weight"
    assert torch.equal(before[table], after[table])
    assert 0 < torch.linalg.matrix_rank(after[matrix] - before[matrix], atol=1e-5) <= 2
    assert json.loads((folder / "config.json").read_text())["num_iterations"] == 2


def test_a_head_gives_classes_or_scores_whatever_else_the_model_returns():
    logits = torch.tensor([[0.1, 0.9], [0.8, 0.2]])
    assert read_predictions((logits, torch.zeros(2, 4, 8)), None).tolist() == [1, 0]
    assert read_predictions(logits[:, :1], None).shape == (2, 1)


def test_whole_texts_tracking_and_pushing(checkpoints, toy_glue, run, tmp_path, monkeypatch):
    task = replace(TASKS["mrpc"], whole_texts=True)
    monkeypatch.setitem(TASKS, "mrpc", task)
    with pytest.raises(ValueError, match="mrpc, concept: .* longer than 8 tokens and are cut; the task needs whole"):
        run(["mrpc"], checkpoints["concept"], task_options={"max_seq_length": 8})
    pushed, tracked = [], []
    monkeypatch.setattr(frame, "push_folder", lambda *given, **options: pushed.append((given, options)))
    monkeypatch.setattr(frame, "track_results", lambda *given: tracked.append(given))
    results = run(
        ["mrpc", "cola"], checkpoints["concept"],
        task_options={"max_seq_length": 8, "allow_truncation": True, "limit": 8},
        push_to_hub=True, hub_model_id="a/b", hub_token="secret", report_to="tensorboard",
    )  # fmt: skip
    assert [result.task for result in results] == ["mrpc", "mrpc", "cola"]
    folder = tmp_path / "out"
    assert pushed == [((folder / "mrpc", "a/b", True, "secret"), {"files": [folder / "results.json"]})]
    assert tracked[0][:3] == (results, ["tensorboard"], "out")
    for path in folder.rglob("*"):  # the token stays out of everything
        assert not path.is_file() or b"secret" not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("model_options", "options", "message"),
    [
        ({}, {"num_iterations": [2]}, "--num_iterations needs a recursive encoder"),
        ({"baselines": ["chance"]}, {}, "Unknown baseline 'chance'; choose of"),
        ({"baseline_models": ["nowhere"]}, {}, "'nowhere' cannot be read"),
        ({"baseline_models": ["untrained"], "baselines": ["untrained"]}, {}, "cannot be read"),
    ],
)
def test_what_cannot_go_well_is_told_before_anything_is_trained(model_options, options, message, checkpoints, run):
    with pytest.raises(ValueError, match=message):
        run(["mrpc"], checkpoints["concept"], model_options, **options)


def test_bad_training_arguments():
    for options, message in (
        ({"seeds": [1, 1]}, "--seeds needs one or more values, each once"),
        ({"learning_rates": []}, "--learning_rates needs one or more"),
        ({"num_iterations": [0]}, "must be at least 1, not 0"),
        ({"lora_r": 0}, "a rank of at least 1, not 0"),
    ):
        with pytest.raises(ValueError, match=message):
            FineTuningArguments(use_cpu=True, **options)
