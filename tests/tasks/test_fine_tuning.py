# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Fine-tuning end to end: every type of classifier, rates and seeds, iterations, LoRA, and what is written."""

import json
import math
import shutil
from dataclasses import replace
from statistics import fmean, stdev

import pytest
import torch
from datasets import Dataset
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from trainers.checkpoints import TrainingDivergedError
from trainers.results import BAG_OF_WORDS, MAJORITY, UNTRAINED, read_results
from trainers.tasks import TASKS, fine_tuning, frame, load_task, own_task
from trainers.tasks.classifiers import Checkpoint, TextCollator, TextEncoder, read_checkpoint
from trainers.tasks.fine_tuning import Cell, FineTuningArguments, System, check_finite, fine_tune, read_predictions
from trainers.untrained import UntrainedError


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
    further = ["bert"] if "baseline_models" in model_options else []  # by its name, not by its path
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
    assert ("| steps | 2 |" in card.text) == (source == "concept") and "| epochs |" not in card.text
    assert ("which 0 stands for 0.0 in the data and 1 for 5.0." in card.text) == (task == "stsb")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([task, "results.json"])


def test_both_splits_of_mnli_seeds_and_rates(checkpoints, run, tmp_path):
    options = {"seeds": [1, 2], "learning_rates": [0.01, 0.001], "max_steps": 1, "eval_steps": 1, "save_steps": 1}
    results = run(["mnli"], checkpoints["concept"], {"baselines": ["untrained"]}, **options)
    splits = ["validation_matched", "validation_mismatched"]
    lines = [(result.system, result.split, result.metric) for result in results]
    assert lines == [(system, split, "accuracy") for system in ("concept", UNTRAINED) for split in splits]
    cells = json.loads((tmp_path / "out" / "results.json").read_text())["cells"]
    assert len(cells) == 2 * 2 * 2  # the untrained network is tuned as widely
    for result in results:
        mine = [cell for cell in cells if cell["system"] == result.system]
        rate = max((0.01, 0.001), key=lambda rate: sum(c["selection"] for c in mine if c["learning_rate"] == rate))
        chosen = [cell for cell in cells if (cell["system"], cell["learning_rate"]) == (result.system, rate)]
        values = [cell["evaluation"][result.system][result.split]["accuracy"] for cell in chosen]
        assert (result.value, result.spread) == (pytest.approx(fmean(values)), pytest.approx(stdev(values)))


def test_a_baseline_that_is_not_defined_is_an_empty_column(checkpoints, toy_glue, run, tmp_path, capsys):
    rows = {"sentence1": ["one"] * 6, "sentence2": ["two"] * 6, "label": [1] * 6}
    for split in ("train", "validation"):
        Dataset.from_dict(rows).to_json(tmp_path / f"{split}.json")
    files = {f"{split}_file": str(tmp_path / f"{split}.json") for split in ("train", "validation")}
    model_options = {"baselines": ["majority", "tfidf"]}
    results = run(["mrpc"], checkpoints["concept"], model_options, {"dataset_name": None, **files}, max_steps=1)
    values = {(result.system, result.metric): result.value for result in results}
    assert list(dict.fromkeys(result.system for result in results)) == ["concept", MAJORITY, BAG_OF_WORDS]
    assert values[MAJORITY, "accuracy"] == 1 and math.isnan(values[BAG_OF_WORDS, "accuracy"])
    assert not math.isnan(values["concept", "f1"])
    shown = capsys.readouterr().out
    assert "bag of words (tf-idf): not defined on mrpc (This solver needs samples of at least 2 classes" in shown
    assert "6 validation rows of" in shown and "which stands in for nyu-mll/glue" in " ".join(shown.split())
    card = ModelCard.load(tmp_path / "out" / "mrpc" / "README.md")
    entries = {entry.metric_name: (entry.dataset_type, entry.dataset_name) for entry in card.data.eval_results}
    assert set(entries.values()) == {("own data", "mrpc, own data")}
    assert set(entries) == {"f1", "accuracy"}


def test_what_is_known_is_on_the_disk_before_anything_else_is_begun(checkpoints, run, tmp_path, monkeypatch):
    """The second system fails: the first one's results, baselines, model and card are there."""
    tune = frame.fine_tune

    def fails(system, *others):
        if system.untrained:
            raise RuntimeError("out of memory")
        return tune(system, *others)

    monkeypatch.setattr(frame, "fine_tune", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(["cola", "mrpc"], checkpoints["concept"], {"baselines": list(frame.BASELINE_NAMES)}, max_steps=1)
    results = read_results(tmp_path / "out" / "results.json")
    assert [result.system for result in results] == ["concept", MAJORITY, BAG_OF_WORDS]
    assert read_checkpoint(str(tmp_path / "out" / "cola")).load(TASKS["cola"], 0)[1] == []
    assert "accuracy" not in (card := (tmp_path / "out" / "cola" / "README.md").read_text()) and MAJORITY in card
    with pytest.raises(ValueError, match="already holds .*cola and results.json.*choose another --output_dir.$"):
        run(["cola"], checkpoints["concept"])


def test_without_an_untrained_network_its_column_is_empty(checkpoints, run, monkeypatch, capsys):
    def missing(self, task, seed):
        raise UntrainedError("There is no untrained network to compare with: its source is gone.")

    monkeypatch.setattr(Checkpoint, "make_untrained", missing)
    results = run(["cola"], checkpoints["concept"], {"baselines": ["untrained"]}, max_steps=1)
    assert [math.isnan(result.value) for result in results] == [False, True]
    assert capsys.readouterr().out.count("its source is gone") == 1


def test_a_model_that_is_used_as_it_is(checkpoints, toy_glue, run, tmp_path, capsys):
    """Trained once; evaluated again, and predictions as the model gives them."""
    task_options = {"max_eval_samples": 8}
    first = run(["stsb"], checkpoints["concept"], task_options=task_options, do_train=True, do_eval=True, max_steps=2)
    folder = str(tmp_path / "out" / "stsb")
    again = run(["stsb"], folder, task_options=task_options, do_train=False, output_dir=str(tmp_path / "again"))
    assert [result.value for result in again] == pytest.approx([result.value for result in first])
    assert [path.name for path in (tmp_path / "again").iterdir()] == ["results.json"]
    assert json.loads((tmp_path / "again" / "results.json").read_text())["cells"][0]["learning_rate"] is None

    test = load_task(TASKS["stsb"], str(toy_glue)).evaluation["validation"].remove_columns("label")
    test = test.rename_columns({"text_a": "sentence1", "text_b": "sentence2"})
    test.to_csv(tmp_path / "new.csv")
    files = {"dataset_name": None, "test_file": str(tmp_path / "new.csv"), "max_predict_samples": 5}
    assert run(["stsb"], folder, task_options=files, do_predict=True, output_dir=str(tmp_path / "predicted")) == []
    head, *lines = (tmp_path / "predicted" / "predict_results_stsb.txt").read_text().splitlines()
    expected = predictions(folder, load_task(TASKS["stsb"], str(toy_glue)))[:5] * 5  # scores from 0 to 5
    assert head == "index\tprediction" and [line.split("\t")[0] for line in lines] == list("01234")
    assert [float(line.split("\t")[1]) for line in lines] == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("source", "task", "message"),
    [
        ("concept", "mrpc", "concept is no trained classifier of mrpc: classifier.bias.* would be random"),
        ("classifier", "cola", r"its classes are \['not_equivalent', 'equivalent'\], those of the task \['unacc"),
        ("classifier", "stsb", "no trained classifier of stsb: classifier"),
    ],
)
def test_only_a_classifier_of_the_task_is_used_as_it_is(source, task, message, checkpoints, run, tmp_path):
    path = checkpoints["concept"]
    if source == "classifier":
        read_checkpoint(str(path)).load(TASKS["mrpc"], 0)[0].save_pretrained(tmp_path / "classifier")
        read_checkpoint(str(path)).tokenizer.save_pretrained(tmp_path / "classifier")
        path = tmp_path / "classifier"
    with pytest.raises(ValueError, match=message):
        run([task], path, do_train=False)


def test_epochs_and_rates_are_chosen_by_the_metric_asked_for(checkpoints, run, tmp_path):
    run(["mrpc"], checkpoints["concept"], metric_for_best_model="accuracy", label_smoothing_factor=0.1)
    report = json.loads((tmp_path / "out" / "results.json").read_text())
    selection = report["cells"][0]["selection"] * report["data"][0]["selection"]
    assert selection == pytest.approx(round(selection))  # an accuracy, as a share of the rows
    args = FineTuningArguments(use_cpu=True, metric_for_best_model="eval_accuracy")
    assert args.for_cell(tmp_path, TASKS["mrpc"], 0.1, 1).metric_for_best_model == "accuracy"
    with pytest.raises(
        ValueError, match=r"--metric_for_best_model accuracy is none of stsb: \('pearson', 'spearman'\)"
    ):
        args.check(TASKS["stsb"])
    with pytest.raises(ValueError, match="smooths classes, but stsb has scores"):
        FineTuningArguments(use_cpu=True, label_smoothing_factor=0.1).check(TASKS["stsb"])


@pytest.mark.parametrize("reads_tokens", [None, True])
def test_results_say_whether_all_passes_through_the_concepts(reads_tokens, checkpoints, run, tmp_path, capsys):
    run(["cola"], checkpoints["recursive"], {"classifier_reads_tokens": reads_tokens}, max_steps=1)
    alone = not reads_tokens
    shown = " ".join(capsys.readouterr().out.split())
    way = "through concepts alone" if alone else "with the tokens around the concepts"
    assert f"recursive, fine-tuned as perceiver_decoder_cls, {way}" in shown
    assert json.loads((tmp_path / "out" / "results.json").read_text())["through_concepts_alone"] == alone
    assert way in (tmp_path / "out" / "cola" / "README.md").read_text()
    saved = read_checkpoint(str(tmp_path / "out" / "cola"))
    assert saved.config.classifier_reads_tokens == (not alone)


def test_files_must_suit_what_is_done_with_them(checkpoints, run, tmp_path, capsys):
    file = str(tmp_path / "rows.csv")
    Dataset.from_dict({"sentence": ["a b", "c d"] * 4, "label": [0, 1] * 4}).to_csv(file)
    own = {"dataset_name": None, "train_file": file}
    for files, options, message in (
        (own, {}, "For --do_eval there must be a --validation_file beside"),
        (
            {**own, "validation_file": file},
            {"do_predict": True, "do_train": True},
            "For --do_predict there must be a --test_file",
        ),
        ({**own, "validation_file": file, "test_file": file}, {}, "--test_file is read for predictions: name --do_pr"),
        ({"max_predict_samples": 5}, {}, "--max_predict_samples has no effect here: none of these rows are read"),
    ):
        with pytest.raises(ValueError, match=message):
            run(["cola"], checkpoints["concept"], task_options=files, **options)
    with pytest.raises(ValueError, match="hold one task, not"):
        run(["cola", "mrpc"], checkpoints["concept"], task_options={**own, "validation_file": file})
    copy = str(shutil.copy(file, tmp_path / "copy.csv"))
    run(["cola"], checkpoints["concept"], task_options={**own, "validation_file": copy}, max_steps=1)
    shown = " ".join(capsys.readouterr().out.split())
    assert "8 of 8 texts of validation are training texts, too: scores on them are those of rows that were l" in shown


def test_a_folder_of_one_task_serves_one(checkpoints, toy_glue, run):
    with pytest.raises(ValueError, match=r"holds one task, not \['mrpc', 'stsb'\]"):
        run(["mrpc", "stsb"], checkpoints["concept"], task_options={"dataset_name": str(toy_glue / "mrpc")})


def test_what_may_be_a_mistake_in_labels_is_told(tmp_path):
    rows = {"train": ["Yes", "yes", "-1"] * 4, "validation": ["Yes", "no", "no"]}
    for split, labels in rows.items():
        texts = [f"{split} {number}" for number in range(len(labels))]
        Dataset.from_dict({"text": texts, "label": labels}).to_csv(tmp_path / f"{split}.csv")
    data = load_task(own_task("x"), files={split: str(tmp_path / f"{split}.csv") for split in rows})
    found, cases, hidden, new = frame.describe(data, True)
    assert found.endswith("Labels are the classes -1, Yes, no, yes.") and "Yes, yes differ by case alone" in cases
    assert "-1 is a class; where" in hidden and "no training row has the class no, which 2 rows of validation h" in new
    assert list(frame.describe(data, False)) == [found, cases, hidden]


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
        with pytest.raises(TrainingDivergedError, match="is not finite"):
            check_finite(predictions)


@pytest.mark.parametrize("task", ["cola", "stsb"])
def test_training_that_diverges_is_no_result(task, checkpoints, run, tmp_path, capsys):
    """Alone it ends the run; of several rates it is left out. What was there stays."""
    options = {"max_steps": 5, "warmup_steps": 0, "max_grad_norm": 0, "eval_steps": 1, "save_steps": 1}
    kept = tmp_path / "out" / "note.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    said = (
        f"Training of concept on {task} diverged within . steps with the learning rate 1e.30 and seed 42. .* a lower"
    )
    with pytest.raises(TrainingDivergedError, match=said):
        run([task], checkpoints["concept"], learning_rate=1e30, **options)
    assert kept.read_text() == "mine" and not {"results.json", task} & {file.name for file in kept.parent.iterdir()}
    if task == "stsb":
        return
    run([task], checkpoints["concept"], learning_rates=[1e30, 1e-3], **options)
    assert "diverged within" in capsys.readouterr().out
    cells = json.loads((tmp_path / "out" / "results.json").read_text())["cells"]
    assert [cell["learning_rate"] for cell in cells] == [1e-3]


def test_a_trained_classifier_that_gives_no_numbers(checkpoints, run, tmp_path):
    checkpoint = read_checkpoint(str(checkpoints["concept"]))
    model, _ = checkpoint.load(TASKS["cola"], 0)
    model.classifier.weight.data[0, 0] = float("nan")
    model.save_pretrained(tmp_path / "classifier")
    checkpoint.tokenizer.save_pretrained(tmp_path / "classifier")
    with pytest.raises(TrainingDivergedError, match="^What the model gives is not finite"):
        run(["cola"], tmp_path / "classifier", do_train=False)


@pytest.mark.parametrize(
    ("learned", "task", "options", "message"),
    [
        ("mrpc", "cola", {}, "it has learned pairs of texts, and cola has single texts"),
        ("stsb", "stsb", {}, "it has learned pairs of texts with scores from 1.0 to 5.0, and stsb has .* 0.0 to 5.0"),
        ("mrpc", "mrpc", {"reads_tokens": True}, "--classifier_reads_tokens would change it"),
    ],
)
def test_a_trained_classifier_is_used_as_it_has_learned(learned, task, options, message, checkpoints, tmp_path):
    path = str(checkpoints["recursive"])
    own = replace(TASKS[learned], score_range=(1.0, 5.0))
    read_checkpoint(path).load(own, 0)[0].save_pretrained(tmp_path)
    read_checkpoint(path).tokenizer.save_pretrained(tmp_path)
    read_checkpoint(str(tmp_path)).check_trained(own)
    asked = replace(TASKS[task], label_names=own.label_names)
    with pytest.raises(ValueError, match=message):
        read_checkpoint(str(tmp_path), **options).check_trained(asked)


def test_whole_texts_tracking_and_pushing(checkpoints, toy_glue, run, tmp_path, monkeypatch):
    task = replace(TASKS["mrpc"], whole_texts=True)
    monkeypatch.setitem(TASKS, "mrpc", task)
    with pytest.raises(ValueError, match="mrpc, concept: .* longer than 8 tokens and are cut; the task needs whole"):
        run(["mrpc"], checkpoints["concept"], task_options={"max_seq_length": 8})
    monkeypatch.setitem(TASKS, "mrpc", replace(task, whole_texts=False))
    pushed, tracked = [], []
    monkeypatch.setattr(frame, "open_card", lambda repo_id, *given, **options: repo_id)
    monkeypatch.setattr(frame, "push_folder", lambda *given, **options: pushed.append((given, options)))
    monkeypatch.setattr(frame, "track_results", lambda *given: tracked.append(given))
    results = run(
        ["mrpc", "cola"], checkpoints["concept"],
        task_options={"max_seq_length": 8, "max_train_samples": 8, "max_eval_samples": 8},
        push_to_hub=True, hub_model_id="a/b", hub_token="secret", report_to="tensorboard",
    )  # fmt: skip
    assert [result.task for result in results] == ["mrpc", "mrpc", "cola"]
    folder = tmp_path / "out"
    options = {"files": [folder / "results.json"], "overwrite_card": False}
    assert pushed == [((folder / "mrpc", "a/b", True, "secret"), options)]
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


def test_a_hub_that_refuses_is_told_before_anything_is_trained(checkpoints, run, monkeypatch):
    monkeypatch.setattr(frame, "fine_tune", lambda *given: pytest.fail("trained"))
    for repo_id, message in (("a b", "--hub_model_id 'a b' is no id on the Hub"), ("me/run", "offline mode")):
        with pytest.raises((ValueError, OSError), match=message):
            run(["cola"], checkpoints["concept"], do_train=True, push_to_hub=True, hub_model_id=repo_id)


def test_bad_training_arguments():
    for options, message in (
        ({"seeds": [1, 1]}, "--seeds needs one or more values, each once"),
        ({"learning_rates": []}, "--learning_rates needs one or more"),
        ({"num_iterations": [0]}, "must be at least 1, not 0"),
        ({"seeds": [1, -1]}, "--seeds must be at least 0, not -1"),
        ({"early_stopping_patience": 0}, "--early_stopping_patience must be at least 1, not 0"),
        ({"max_steps": 0}, "--max_steps must be at least 1, not 0"),
        ({"dataloader_drop_last": True}, "all rows are learned, and all are scored"),
        ({"do_eval": True, "learning_rate": 1e-4}, "--learning_rate has no effect here: nothing asks for --do_train"),
        ({"do_train": False, "seeds": [1, 2]}, "--seeds has no effect here: nothing asks for --do_train"),
        ({"do_predict": True, "num_iterations": [2]}, "--num_iterations has no effect here: nothing asks for --do_ev"),
        ({"lora_r": 0}, "a rank of at least 1, not 0"),
        ({"learning_rates": [0.1, -1.0]}, "--learning_rates must be at least 0, not -1.0"),
        ({"learning_rates": [float("nan")]}, "--learning_rates must be a finite number, not nan"),
        ({"label_smoothing_factor": 1.0}, "--label_smoothing_factor must be at least 0 and below 1, not 1.0"),
        ({"push_to_hub": True, "do_train": False}, "--push_to_hub pushes the model that is trained, but nothing is"),
    ):
        with pytest.raises(ValueError, match=message):
            FineTuningArguments(use_cpu=True, **options)
