# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Fine-tuning end to end: every type of classifier, rates and seeds, iterations, and what is written."""

import json
import math
import shutil
from dataclasses import replace
from statistics import fmean, stdev

import pytest
import torch
from datasets import Dataset
from huggingface_hub import ModelCard
from transformers import AutoModelForSequenceClassification

from trainers.evaluation.results import BAG_OF_WORDS, MAJORITY, UNTRAINED, read_report
from trainers.fine_tuning import TASKS, classifiers, load_task, own_task, runner, training
from trainers.fine_tuning.classifiers import Checkpoint
from trainers.fine_tuning.metrics import compute_metrics
from trainers.fine_tuning.training import FineTuningArguments, check_finite, fine_tune, read_predictions
from trainers.models.untrained import UntrainedError
from trainers.utils.errors import TrainingDivergedError


def predictions(folder, data, **options):
    """Of the saved model, without the Trainer."""
    model, saved = AutoModelForSequenceClassification.from_pretrained(folder).eval(), Checkpoint(str(folder))
    with torch.no_grad():
        logits = model(**saved.collate(list(data.evaluation["validation"])), **options).logits
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
    model_options = {"model_type": kind, "baselines": list(runner.BASELINE_NAMES)}
    if kind == "perceiver_decoder_cls":
        model_options["baseline_models"] = [str(checkpoints["bert"])]
    results = run([task], checkpoints[source], model_options, learning_rate=0.01)
    systems = list(dict.fromkeys(result.system for result in results))
    further = ["bert"] if "baseline_models" in model_options else []  # by its name, not by its path
    assert systems == [source, UNTRAINED, *further, MAJORITY, BAG_OF_WORDS]
    shown = capsys.readouterr().out
    assert f"as {kind}" in shown and "new: classifier.bias" in shown or kind == "perceiver_pair_cls"
    assert "% of the rows are longer than 64 tokens" in shown and BAG_OF_WORDS.split()[0] in shown

    report = json.loads((tmp_path / "out" / "results.json").read_text())
    assert read_report(tmp_path / "out" / "results.json")["results"] == results
    assert [run["system"] for run in report["runs"]] == [source, UNTRAINED, *further]
    assert report["data"][0]["selection_from"] == "a part of train" and report["classifier_type"] == kind

    # The model that was saved gives the score that was reported.
    folder, data = tmp_path / "out" / task, load_task(TASKS[task], str(toy_glue))
    rows = data.evaluation["validation"]
    values = compute_metrics(TASKS[task].metrics, predictions(folder, data), rows["label"][:])
    mine = {result.metric: result.value for result in results if result.system == source}
    assert mine == {metric: pytest.approx(value, abs=1e-5) for metric, value in values.items()}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([task, "results.json"])
    if kind == "bert-type":
        return
    card = ModelCard.load(folder / "README.md")
    assert {entry.metric_type for entry in card.data.eval_results} == set(TASKS[task].metrics)
    assert "| steps | 2 |" in card.text and "| epochs |" not in card.text
    assert ("which 0 stands for 0.0 in the data and 1 for 5.0." in card.text) == (task == "stsb")


def test_both_splits_of_mnli_seeds_and_rates(checkpoints, run, tmp_path):
    options = {"seeds": [1, 2], "learning_rates": [0.01, 0.001], "max_steps": 1, "eval_steps": 1, "save_steps": 1}
    results = run(["mnli"], checkpoints["concept"], {"baselines": ["untrained"]}, **options)
    splits = ["validation_matched", "validation_mismatched"]
    lines = [(result.system, result.split, result.metric) for result in results]
    assert lines == [(system, split, "accuracy") for system in ("concept", UNTRAINED) for split in splits]
    runs = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert len(runs) == 2 * 2 * 2  # the untrained network is tuned as widely
    for result in results:
        mine = [run for run in runs if run["system"] == result.system]
        rate = max((0.01, 0.001), key=lambda rate: sum(c["selection"] for c in mine if c["learning_rate"] == rate))
        chosen = [run for run in runs if (run["system"], run["learning_rate"]) == (result.system, rate)]
        values = [run["evaluation"][result.system][result.split]["accuracy"] for run in chosen]
        assert (result.value, result.spread) == (pytest.approx(fmean(values)), pytest.approx(stdev(values)))


def test_a_baseline_that_is_not_defined_is_left_out(checkpoints, toy_glue, run, tmp_path, capsys):
    rows = {"sentence1": ["one"] * 6, "sentence2": ["two"] * 6, "label": [1] * 6}
    for split in ("train", "validation"):
        Dataset.from_dict(rows).to_json(tmp_path / f"{split}.json")
    files = {f"{split}_file": str(tmp_path / f"{split}.json") for split in ("train", "validation")}
    model_options = {"baselines": ["majority", "tfidf"]}
    results = run(["mrpc"], checkpoints["concept"], model_options, {"dataset_name": None, **files}, max_steps=1)
    values = {(result.system, result.metric): result.value for result in results}
    assert list(dict.fromkeys(result.system for result in results)) == ["concept", MAJORITY]
    assert values[MAJORITY, "accuracy"] == 1
    assert not math.isnan(values["concept", "f1"])
    shown = capsys.readouterr().out
    assert "bag of words (tf-idf): not defined on mrpc (This solver needs samples of at least 2 classes" in shown
    assert "6 validation rows of" in " ".join(shown.split())
    card = ModelCard.load(tmp_path / "out" / "mrpc" / "README.md")
    entries = {entry.metric_name: (entry.dataset_type, entry.dataset_name) for entry in card.data.eval_results}
    assert set(entries.values()) == {("own data", "mrpc, own data")}
    assert set(entries) == {"f1", "accuracy"}


def test_an_untrained_network_that_cannot_be_made_is_left_out(checkpoints, run, monkeypatch, capsys):
    def undefined(model, seed):
        raise UntrainedError("no start is known")

    monkeypatch.setattr(classifiers, "untrained_like", undefined)
    results = run(["cola"], checkpoints["concept"], {"baselines": ["majority", "untrained"]}, max_steps=1)
    assert list(dict.fromkeys(result.system for result in results)) == ["concept", MAJORITY]
    assert "no start is known\n" in capsys.readouterr().out


def test_what_is_known_is_on_the_disk_before_anything_else_is_begun(checkpoints, run, tmp_path, monkeypatch):
    """The second system fails: the first one's results, baselines, model and card are there."""
    tune = runner.fine_tune

    def fails(checkpoint, *others):
        if checkpoint.untrained:
            raise RuntimeError("out of memory")
        return tune(checkpoint, *others)

    monkeypatch.setattr(runner, "fine_tune", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(["cola", "mrpc"], checkpoints["concept"], {"baselines": list(runner.BASELINE_NAMES)}, max_steps=1)
    results = read_report(tmp_path / "out" / "results.json")["results"]
    assert [result.system for result in results] == ["concept", MAJORITY, BAG_OF_WORDS]
    assert Checkpoint(str(tmp_path / "out" / "cola")).load(TASKS["cola"], 0)[1] == []
    assert "accuracy" not in (card := (tmp_path / "out" / "cola" / "README.md").read_text()) and MAJORITY in card
    with pytest.raises(ValueError, match="already holds .*cola.*choose another --output_dir.$"):
        run(["cola"], checkpoints["concept"])


def test_a_model_that_is_used_as_it_is(checkpoints, toy_glue, run, tmp_path, capsys):
    """Trained once; evaluated again, and predictions as the model gives them."""
    task_options = {"max_eval_samples": 8}
    first = run(["stsb"], checkpoints["concept"], task_options=task_options, do_train=True, do_eval=True, max_steps=2)
    folder = str(tmp_path / "out" / "stsb")
    again = run(["stsb"], folder, task_options=task_options, do_train=False, output_dir=str(tmp_path / "again"))
    assert [result.value for result in again] == pytest.approx([result.value for result in first])
    assert [path.name for path in (tmp_path / "again").iterdir()] == ["results.json"]
    assert json.loads((tmp_path / "again" / "results.json").read_text())["runs"][0]["learning_rate"] is None

    test = load_task(TASKS["stsb"], str(toy_glue)).evaluation["validation"].remove_columns("label")
    test = test.rename_columns({"text_a": "sentence1", "text_b": "sentence2"})
    test.to_csv(tmp_path / "new.csv")
    files = {"dataset_name": None, "test_file": str(tmp_path / "new.csv")}
    assert run(["stsb"], folder, task_options=files, do_predict=True, output_dir=str(tmp_path / "predicted")) == []
    head, *lines = (tmp_path / "predicted" / "predict_results_stsb.txt").read_text().splitlines()
    expected = predictions(folder, load_task(TASKS["stsb"], str(toy_glue))) * 5  # scores from 0 to 5
    assert head == "index\tprediction" and [int(line.split("\t")[0]) for line in lines] == list(range(12))
    assert [float(line.split("\t")[1]) for line in lines] == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("source", "task", "message"),
    [
        ("concept", "mrpc", "concept is not a trained classifier of the task: classifier.bias.* would be random"),
        ("classifier", "cola", r"for the classes \['not_equivalent', 'equivalent'\] .* task has \['unacc"),
        ("classifier", "stsb", "not a trained classifier of the task: classifier"),
    ],
)
def test_only_a_classifier_of_the_task_is_used_as_it_is(source, task, message, checkpoints, run, tmp_path):
    path = checkpoints["concept"]
    if source == "classifier":
        Checkpoint(str(path)).load(TASKS["mrpc"], 0)[0].save_pretrained(tmp_path / "classifier")
        Checkpoint(str(path)).tokenizer.save_pretrained(tmp_path / "classifier")
        path = tmp_path / "classifier"
    with pytest.raises(ValueError, match=message):
        run([task], path, do_train=False)


@pytest.mark.parametrize("reads_tokens", [None, True])
def test_results_say_whether_all_passes_through_the_concepts(reads_tokens, checkpoints, run, tmp_path, capsys):
    run(["cola"], checkpoints["recursive"], {"classifier_reads_tokens": reads_tokens}, max_steps=1)
    alone = not reads_tokens
    shown = " ".join(capsys.readouterr().out.split())
    way = "through concepts alone" if alone else "with the tokens beside the concepts"
    assert f"recursive, fine-tuned as perceiver_decoder_cls, {way}" in shown
    assert json.loads((tmp_path / "out" / "results.json").read_text())["through_concepts_alone"] == alone
    assert way in (tmp_path / "out" / "cola" / "README.md").read_text()
    saved = Checkpoint(str(tmp_path / "out" / "cola"))
    assert saved.config.classifier_reads_tokens == (not alone)


def test_files_must_suit_what_is_done_with_them(checkpoints, run, tmp_path, capsys):
    file = str(tmp_path / "rows.csv")
    Dataset.from_dict({"sentence": ["a b", "c d"] * 4, "label": [0, 1] * 4}).to_csv(file)
    own = {"dataset_name": None, "train_file": file}
    for files, options, message in (
        (own, {}, "have no split 'validation'; their splits are"),
        (
            {**own, "validation_file": file},
            {"do_predict": True, "do_train": True},
            "have no split 'test'; their splits are",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            run(["cola"], checkpoints["concept"], task_options=files, **options)
    with pytest.raises(ValueError, match="hold one task, not"):
        run(["cola", "mrpc"], checkpoints["concept"], task_options={**own, "validation_file": file})
    copy = str(shutil.copy(file, tmp_path / "copy.csv"))
    run(["cola"], checkpoints["concept"], task_options={**own, "validation_file": copy}, max_steps=1)
    shown = " ".join(capsys.readouterr().out.split())
    assert "8 of 8 texts of validation are also training texts: scores on them do not measure" in shown


def test_the_classes_of_own_data_are_reported(checkpoints, tmp_path, capsys):
    rows = {"train": ["Yes", "yes", "-1"] * 4, "validation": ["Yes", "no", "no"]}
    for split, labels in rows.items():
        texts = [f"{split} {number}" for number in range(len(labels))]
        Dataset.from_dict({"text": texts, "label": labels}).to_csv(tmp_path / f"{split}.csv")
    files = {f"{split}_file": str(tmp_path / f"{split}.csv") for split in rows}
    runner.load_data(own_task("x"), runner.DataArguments(**files), FineTuningArguments(use_cpu=True))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("; labels are the classes -1, Yes, no, yes.")


def test_the_rate_is_selected_on_the_selection_part_alone(checkpoints, toy_glue, monkeypatch, capsys):
    """The best rate by mean over seeds there is the worst in evaluation."""
    selection = {(0.1, 1): 0.9, (0.1, 2): 0.1, (0.2, 1): 0.6, (0.2, 2): 0.7, (0.3, 1): 0.65, (0.3, 2): 0.6}

    def run_once(checkpoint, data, args, rate, seed):
        scores = {checkpoint.name: {"validation": {"f1": 1 - rate + seed / 10, "accuracy": 0.0}}}
        run = {"learning_rate": rate, "seed": seed, "selection": selection[rate, seed], "evaluation": scores}
        return run | {"seconds": 1.0}, torch.tensor([rate, seed])

    monkeypatch.setattr(training, "run_once", run_once)
    checkpoint = Checkpoint(str(checkpoints["concept"]))
    args = FineTuningArguments(seeds=[1, 2], learning_rates=[0.1, 0.2, 0.3], use_cpu=True)
    data = load_task(TASKS["mrpc"], str(toy_glue))
    tuned = fine_tune(checkpoint, data, args)
    assert len(tuned.runs) == len(capsys.readouterr().out.splitlines()) == 6
    assert (tuned.best["learning_rate"], tuned.best["seed"]) == (0.2, 2)
    assert tuned.model.tolist() == pytest.approx([0.2, 2])
    f1 = tuned.results(data)[0]
    assert (f1.value, f1.spread, f1.primary, f1.count) == (
        pytest.approx(0.95), pytest.approx(0.1 / 2**0.5), True, 12
    )  # fmt: skip


def test_one_recursive_model_at_several_depths(checkpoints, toy_glue, run, tmp_path):
    results = run(["stsb"], checkpoints["recursive"], num_iterations=[1, 5], learning_rate=0.05, max_steps=4)
    systems = list(dict.fromkeys(result.system for result in results))
    assert systems == ["recursive", "recursive, K=1", "recursive, K=5"]
    folder, data = tmp_path / "out" / "stsb", load_task(TASKS["stsb"], str(toy_glue))
    labels = data.evaluation["validation"]["label"][:]
    for system, count in zip(systems, (2, 1, 5), strict=True):
        values = compute_metrics(TASKS["stsb"].metrics, predictions(folder, data, num_iterations=count), labels)
        mine = {result.metric: result.value for result in results if result.system == system}
        assert mine == {name: pytest.approx(value, abs=1e-4) for name, value in values.items()}
    assert len({result.value for result in results}) > 3
    assert json.loads((folder / "config.json").read_text())["num_iterations"] == 2


def test_a_head_gives_classes_or_scores_whatever_else_the_model_returns():
    logits = torch.tensor([[0.1, 0.9], [0.8, 0.2]])
    assert read_predictions((logits, torch.zeros(2, 4, 8)), None).tolist() == [1, 0]
    assert read_predictions(logits[:, :1], None).shape == (2, 1)


@pytest.mark.parametrize(
    ("logits", "finite"),
    [
        ([[0.1, 0.9], [0.8, 0.2]], True),
        ([[0.1, 0.9], [float("nan"), 0.2]], False),
        ([[0.1, 0.9], [0.1, float("-inf")]], False),
        ([[0.1], [-0.3]], True),
        ([[0.1], [float("nan")]], False),
    ],
)
def test_what_is_not_finite_is_no_prediction(logits, finite):
    predictions = read_predictions(torch.tensor(logits), None).numpy()
    if finite:
        assert check_finite(predictions) is predictions
    else:
        with pytest.raises(TrainingDivergedError, match="are not finite"):
            check_finite(predictions)


@pytest.mark.parametrize("task", ["cola", "stsb"])
def test_training_that_diverges_is_no_result(task, checkpoints, run, tmp_path, capsys):
    """Alone it ends the run; of several rates it is left out. What was there stays."""
    options = {"max_steps": 5, "warmup_steps": 0, "max_grad_norm": 0, "eval_steps": 1, "save_steps": 1}
    kept = tmp_path / "out" / "note.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    said = f"Training of concept on {task} diverged with the learning rate 1e.30. .* a lower"
    with pytest.raises(TrainingDivergedError, match=said):
        run([task], checkpoints["concept"], learning_rate=1e30, **options)
    assert kept.read_text() == "mine" and not {"results.json", task} & {file.name for file in kept.parent.iterdir()}
    if task == "stsb":
        return
    run([task], checkpoints["concept"], learning_rates=[1e30, 1e-3], **options)
    assert "diverged with the" in capsys.readouterr().out
    runs = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert [run["learning_rate"] for run in runs] == [1e-3]


def test_a_trained_classifier_that_gives_no_numbers(checkpoints, run, tmp_path):
    checkpoint = Checkpoint(str(checkpoints["concept"]))
    model, _ = checkpoint.load(TASKS["cola"], 0)
    model.classifier.weight.data[0, 0] = float("nan")
    model.save_pretrained(tmp_path / "classifier")
    checkpoint.tokenizer.save_pretrained(tmp_path / "classifier")
    with pytest.raises(TrainingDivergedError, match="^Outputs of the model are not finite"):
        run(["cola"], tmp_path / "classifier", do_train=False)


@pytest.mark.parametrize(
    ("learned", "task", "message"),
    [
        ("mrpc", "cola", "for {.*'texts': 2}, but the task has .* {.*'texts': 1}"),
        ("stsb", "stsb", r"'score_range': \[1.0, 5.0\], .*, but the task has .*\[0.0, 5.0\]"),
    ],
)
def test_a_trained_classifier_is_used_as_it_has_learned(learned, task, message, checkpoints, tmp_path):
    path = str(checkpoints["recursive"])
    own = TASKS[learned] if learned == "mrpc" else replace(TASKS[learned], score_range=(1.0, 5.0))
    Checkpoint(path).load(own, 0)[0].save_pretrained(tmp_path)
    Checkpoint(path).tokenizer.save_pretrained(tmp_path)
    Checkpoint(str(tmp_path)).load(own, 0, trained=True)
    asked = replace(TASKS[task], label_names=own.label_names)
    with pytest.raises(ValueError, match=message):
        Checkpoint(str(tmp_path)).load(asked, 0, trained=True)


def test_whole_texts_and_tracking(checkpoints, toy_glue, run, monkeypatch):
    task = replace(TASKS["mrpc"], whole_texts=True)
    monkeypatch.setitem(TASKS, "mrpc", task)
    with pytest.raises(
        ValueError, match="mrpc, concept: .* longer than 8 tokens and are truncated; the task needs whole"
    ):
        run(["mrpc"], checkpoints["concept"], task_options={"max_seq_length": 8})
    monkeypatch.setitem(TASKS, "mrpc", replace(task, whole_texts=False))
    tracked = []
    monkeypatch.setattr(runner, "track_results", lambda *given: tracked.append(given))
    task_options = {"max_seq_length": 8, "max_train_samples": 8, "max_eval_samples": 8}
    results = run(["mrpc", "cola"], checkpoints["concept"], task_options=task_options, report_to="tensorboard")
    assert [result.task for result in results] == ["mrpc", "mrpc", "cola"]
    assert tracked[0][:3] == (results, ["tensorboard"], "out")


@pytest.mark.parametrize(
    ("model_options", "options", "message"),
    [
        ({}, {"num_iterations": [2]}, "--num_iterations needs a recursive encoder"),
        ({"baseline_models": ["nowhere"]}, {}, "'nowhere' cannot be read"),
    ],
)
def test_what_cannot_go_well_is_told_before_anything_is_trained(model_options, options, message, checkpoints, run):
    with pytest.raises(ValueError, match=message):
        run(["mrpc"], checkpoints["concept"], model_options, **options)


def test_bad_training_arguments():
    for options, message in (
        ({"seeds": [1, 1]}, "--seeds needs each value once"),
        ({"num_iterations": [0]}, "must be at least 1, not 0"),
        ({"seeds": [1, -1]}, "--seeds must be at least 0, not -1"),
        ({"max_steps": 0}, "--max_steps must be positive, not 0"),
        ({"dataloader_drop_last": True}, "all rows are used in training and in scores"),
        ({"learning_rates": [0.1, -1.0]}, "--learning_rates must be at least 0, not -1.0"),
        ({"learning_rates": [float("nan")]}, "--learning_rates must be at least 0, not nan"),
        ({"push_to_hub": True}, "push_to_hub.py pushes the saved folder"),
    ):
        with pytest.raises(ValueError, match=message):
            FineTuningArguments(use_cpu=True, **options)
