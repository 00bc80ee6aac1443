# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
What is pushed loads by its id elsewhere. One process pushes everything to a Hub on loopback, another, in which this
package cannot be imported, reads it.
"""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request as UrlRequest
from urllib.request import urlopen

import pytest
import torch
from datasets import Dataset
from huggingface_hub import HfApi, ModelCard
from transformers import AutoModelForSeq2SeqLM, HfArgumentParser, Trainer, TrainingArguments, default_data_collator

import modeling_concept as models
from trainers import ConceptTrainingArguments
from trainers.checkpoints import verify_checkpoint
from trainers.data.tokenizers import train_tokenizer
from trainers.evaluation.results import MAJORITY, UNTRAINED, Result, measured_on, write_results
from trainers.publishing.hub import HubPushMixin, check_folder, model_files, open_repo
from trainers.publishing.model_card import RunFacts, add_results, make_card

from ..conftest import ROOT, TEXTS
from ..hub_server import File, Hub, Repo, card_errors
from ..modeling.zoo import make_config, stir
from ..trainers.kit import make_model, make_trainer


TEXT = "The dog sleeps on the roof of the old house."
TINY, OPEN = "ksopyla/concept-encoder-tiny", "ksopyla/concept-encoder-open"
CLASSIFIER, PAIRS, SCRIPT = "ksopyla/tiny-mrpc", "ksopyla/tiny-pairs", "ksopyla/by-script"
PLAIN, SAVED, EDITED = "ksopyla/plain", "ksopyla/saved", "ksopyla/edited"


# In the first process.


def push_everything(root):
    """Push all that the tests look at; what was said about it goes into `pushed.json`."""
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(TEXTS * 4, vocab_size=320, max_length=64)
    found = {}
    push_runs(root, tokenizer, found)
    push_classifiers(root, tokenizer, found)
    push_by_methods(root, tokenizer, found)
    push_more_results(root, found)
    push_by_script(root, found)
    push_over_edits(root, tokenizer, found)
    use_the_client(found)
    (root / "pushed.json").write_text(json.dumps(found))


def attempt(action):
    try:
        return str(action())
    except (ValueError, OSError, SystemExit) as error:
        return str(error)


def push_runs(root, tokenizer, found):
    rows = tokenizer(TEXTS * 4)["input_ids"]
    pieces = Dataset.from_dict({"input_ids": [row[: 8 + 5 * (place % 7)] for place, row in enumerate(rows)]})
    options = {"push_to_hub": True, "hub_token": "hf_writer", "save_strategy": "steps", "save_steps": 2}
    run = make_trainer(
        tokenizer, pieces, root / "run", hub_model_id="concept-encoder-tiny", max_steps=4,
        eval_strategy="steps", eval_steps=2, save_total_limit=1, concept_losses="vicreg:0.01", **options,
    )  # fmt: skip
    run.train()
    found["url"] = run.push_to_hub()
    run.model.tokenizer = tokenizer
    found["vector"] = run.model.encode(TEXT).sentence_embeddings[0].tolist()
    make_trainer(
        tokenizer, pieces, root / "open", hub_model_id=OPEN, hub_strategy="checkpoint", hub_private_repo=False,
        **options,
    ).train()  # fmt: skip


class FineTuner(HubPushMixin, Trainer):
    pass


def push_classifiers(root, tokenizer, found):
    sizes = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "num_labels": 2}
    batch = tokenizer(TEXTS[:2], padding=True)
    columns = {name: batch[name] for name in ("input_ids", "attention_mask")}
    pair_columns = {f"{name}_{side}": value for name, value in columns.items() for side in "ab"}
    for repo, model_class, inputs in (
        (CLASSIFIER, models.ConceptEncoderForSequenceClassificationPerceiver, columns),
        (PAIRS, models.ConceptEncoderForSentencePairClassification, pair_columns),
    ):
        config = make_config(False, **sizes, mask_token_id=tokenizer.mask_token_id)
        config.id2label, config.label2id = {0: "different", 1: "same"}, {"different": 0, "same": 1}
        model = stir(model_class(config))
        arguments = TrainingArguments(
            str(root / repo), max_steps=1, use_cpu=True, report_to="none", disable_tqdm=True, hub_model_id=repo,
            save_strategy="no", remove_unused_columns=False,
        )  # fmt: skip
        data = Dataset.from_dict({**inputs, "labels": [0, 1]})
        trainer = FineTuner(
            model, arguments, train_dataset=data, processing_class=tokenizer, data_collator=default_data_collator
        )
        trainer.train()
        results = [
            Result("mrpc", "validation", metric, system, value, count=408)
            for metric, values in {"f1": (0.9, 0.81, 0.8), "accuracy": (0.85, 0.68, 0.66)}.items()
            for system, value in zip((repo, MAJORITY, UNTRAINED), values)
        ]
        data_sets = {"mrpc": ("nyu-mll/glue", "GLUE MRPC")}
        facts = RunFacts("tiny-mrpc", repo, base_model=TINY, tasks=data_sets, pairs=True)
        trainer.card = make_card(model, arguments, facts, results)
        trainer.push_to_hub()
        if repo == CLASSIFIER:
            logits = model.eval()(torch.tensor([tokenizer(TEXT)["input_ids"]])).logits[0]
            found["probabilities"] = logits.softmax(-1).tolist()


def push_by_methods(root, tokenizer, found):
    model = make_model("perceiver_posonly_mlm", tokenizer)
    model.push_to_hub(PLAIN)  # without tokenizer
    found["bare"] = HfApi().list_repo_files(PLAIN)
    model.tokenizer = tokenizer
    model.push_to_hub(PLAIN, private=False)
    (root / "saved").mkdir()
    (root / "saved" / "optimizer.pt").touch()
    model.save_pretrained(root / "saved", push_to_hub=True, repo_id=SAVED.split("/")[1], private=False)


def push_more_results(root, found):
    results, report = root / "sts" / "results.json", root / "sts" / "report.md"
    given = ["--model_name_or_path", root / "run", "--hub_model_id", TINY, "--results", results, "--files", report]
    for value in (0.40, 0.46):
        records = [Result("stsb", "test", "spearman", name, number) for name, number in (("run", value), ("x", 0.43))]
        facts = {"task_type": "sentence-similarity", **measured_on(str(root / "run"))}
        write_results(results, records, {**facts, "datasets": {"stsb": ("mteb/stsbenchmark-sts", "STS-B")}})
        report.write_text("<p>stsb</p>")
        script(*given)
    report.write_text("hf_writer")
    found["token"] = attempt(lambda: script(*given))
    report.write_text("<p>stsb</p>")


def script(*arguments):
    sys.argv, printed = ["examples/push_to_hub.py", *map(str, arguments)], StringIO()
    with redirect_stdout(printed):
        runpy.run_path(sys.argv[0], run_name="__main__")
    return printed.getvalue()


def push_by_script(root, found):
    def set_config(folder, **values):
        config = json.loads((folder / "config.json").read_text()) | values
        (folder / "config.json").write_text(json.dumps(config))

    bare = root / "bare"
    shutil.copytree(root / "run", bare, ignore=shutil.ignore_patterns("README.md", "checkpoint-*"))
    results, report = root / "sts" / "results.json", root / "sts" / "report.md"
    found["script"] = script(
        "--model_name_or_path", bare, "--hub_model_id", "by-script", "--results", results, "--files", report
    )
    found["again"] = script("--model_name_or_path", bare, "--hub_model_id", SCRIPT, "--hub_private_repo", "false")

    for name, damage in {
        "no-folder": shutil.rmtree,
        "other-type": lambda folder: (folder / "config.json").write_text('{"model_type": "bert"}'),
        "no-weights": lambda folder: (folder / "model.safetensors").unlink(),
        "half-weights": lambda folder: (folder / "model.safetensors").write_bytes(bytes(100)),
        "no-code": lambda folder: (folder / "modeling_concept.py").unlink(),
        "no-tokenizer": lambda folder: [path.unlink() for path in folder.glob("tokenizer*")],
        "other-tokenizer": lambda folder: set_config(folder, mask_token_id=9),
        "no-picture": lambda folder: (folder / "README.md").write_text("# Name\n\n![loss](loss.png)\n"),
    }.items():
        shutil.copytree(bare, root / name)
        damage(root / name)
        found[name] = attempt(lambda: script("--model_name_or_path", root / name, "--hub_model_id", "damaged"))  # noqa: B023
    found["not results"] = attempt(lambda: script("--model_name_or_path", bare, "--results", bare / "config.json"))
    found["wrong token"] = attempt(lambda: open_repo("wrong", token="hf_wrong"))
    found["foreign"] = attempt(lambda: open_repo("someone/else"))


def push_over_edits(root, tokenizer, found):
    """Results that only the Hub has, and edits of others, outlast a push of the same folder."""
    for name in ("empty", "measured"):
        shutil.copytree(root / "bare", root / name, ignore=shutil.ignore_patterns("README.md"))
    given = ["--model_name_or_path", root / "empty", "--hub_model_id", EDITED]
    script(*given)
    records = [Result("sickr", "test", "spearman", name, value) for name, value in (("empty", 0.5), ("x", 0.1))]
    facts = {"task_type": "sentence-similarity", **measured_on(str(root / "measured"))}
    results = write_results(root / "sickr" / "results.json", records, facts)
    script("--model_name_or_path", root / "measured", "--hub_model_id", EDITED, "--results", results)
    found["unedited"] = [attempt(lambda: script(*given)) for _ in range(2)]
    card = ModelCard.load(EDITED)
    card.text += "\n## Contact\n\nWrite to us.\n"
    HfApi().upload_file(path_or_fileobj=str(card).encode(), path_in_repo="README.md", repo_id=EDITED)
    found["edited"] = attempt(lambda: script(*given))
    run = {"push_to_hub": True, "hub_token": "hf_writer", "hub_model_id": EDITED, "max_steps": 1}
    rows = Dataset.from_dict({"input_ids": tokenizer(TEXTS)["input_ids"]})
    found["edited, run"] = attempt(lambda: make_trainer(tokenizer, rows, root / "edited", **run))
    found["overwritten"] = attempt(lambda: script(*given, "--overwrite_card"))


def use_the_client(found):
    """What the Hub's client asks beside pushing and loading."""
    api, found["client"] = HfApi(), {"user": HfApi().whoami()["name"]}
    api.create_repo("ksopyla/gone", private=True)
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="folder/a.json", repo_id="ksopyla/gone")
    found["client"]["paths"] = [entry.path for entry in api.get_paths_info("ksopyla/gone", ["folder/a.json", "b"])]
    found["client"]["private"] = [api.model_info("ksopyla/gone").private]
    api.update_repo_settings("ksopyla/gone", private=False)
    found["client"]["private"] += [HfApi(token="hf_stranger").model_info("ksopyla/gone").private]
    api.delete_file("folder/a.json", "ksopyla/gone")
    found["client"]["files"] = api.list_repo_files("ksopyla/gone")
    errors = {}
    for name, action in {
        "revision": lambda: api.model_info("ksopyla/gone", revision="none"),
        "file": lambda: api.delete_file("b", "ksopyla/gone"),
        "stranger": lambda: HfApi(token="hf_stranger").delete_repo("ksopyla/gone"),
        "card": lambda: api.upload_file(
            path_or_fileobj=b"---\nbase_model: /tmp/a\n---\n", path_in_repo="README.md", repo_id="ksopyla/gone"
        ),
        "owner": lambda: api.delete_repo("ksopyla/gone"),
        "repository": lambda: api.model_info("ksopyla/gone"),
    }.items():
        try:
            errors[name] = str(action())
        except Exception as error:
            errors[name] = type(error).__name__
    found["client"]["errors"] = errors


# In the second process.

READS = r"""
import importlib.abc, json, re, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ("modeling_concept", "trainers"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from pathlib import Path
import torch, transformers
torch.set_num_threads(1)
from huggingface_hub import ModelCard, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoModelForMaskedLM, pipeline

folder, text, repos, found = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), {}
tiny, classifier, *cards = repos
trust = {"trust_remote_code": True}
model = AutoModel.from_pretrained(tiny, **trust)
found["module"] = type(model).__module__
found["AutoModel"] = model.encode(text).sentence_embeddings[0].tolist()
masked = AutoModelForMaskedLM.from_pretrained(tiny, **trust)
found["AutoModelForMaskedLM"] = masked.encode(text).sentence_embeddings[0].tolist()
features = pipeline("feature-extraction", model=tiny, **trust)(text)
found["pipeline"] = torch.tensor(features)[0].mean(0).tolist()
found["SentenceTransformer"] = SentenceTransformer(tiny, device="cpu", **trust).encode([text, text * 2])[0].tolist()
labels = pipeline("text-classification", model=classifier, **trust)(text, top_k=None)
found["labels"] = {label["label"]: label["score"] for label in labels}

found["code"] = {}
for repo in repos:
    blocks = re.findall(r"```python\n(.*?)```", ModelCard.load(repo).text, re.DOTALL)
    for block in blocks:
        exec(block, {})
    found["code"][repo] = len(blocks)

snapshot = Path(snapshot_download(tiny, local_dir=folder / "snapshot"))
found["files"] = sorted(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file())
found["refusals"] = {}
for token in (False, "hf_stranger", "hf_wrong"):
    try:
        hf_hub_download(tiny, "config.json", token=token, cache_dir=folder / str(token))
    except (HfHubHTTPError, OSError) as error:
        found["refusals"][str(token)] = type(error).__name__
(folder / "read.json").write_text(json.dumps(found))
"""


def run_client(hub, code, home, *arguments, cwd, **environment):
    environment = {**os.environ, **hub.environment(home), "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd, env=environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def hub():
    with Hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def pushed(hub, tmp_path_factory):
    """What the first process says; everything is on the Hub then."""
    folder = tmp_path_factory.mktemp("pushed")
    # What reads HF_HUB_OFFLINE comes before the package of tests, which sets it.
    code = "import sys, pathlib, transformers; from tests.publishing.test_hub import push_everything as push; "
    code += "push(pathlib.Path(sys.argv[1]))"
    printed = run_client(hub, code, folder / "home", folder, cwd=ROOT, PYTHONPATH=str(ROOT))
    return {**json.loads((folder / "pushed.json").read_text()), "printed": printed, "folder": folder}


@pytest.fixture(scope="module")
def read(hub, pushed, tmp_path_factory):
    """What the second process says."""
    folder = tmp_path_factory.mktemp("read")
    repos = json.dumps([TINY, CLASSIFIER, PAIRS, PLAIN, SCRIPT])
    run_client(hub, READS, folder / "home", folder, TEXT, repos, cwd=folder, PYTHONPATH="")
    return json.loads((folder / "read.json").read_text())


def hub_card(hub, repo):
    return ModelCard(hub.repos[repo].files["README.md"].content.decode())


@pytest.mark.parametrize("way", ["AutoModel", "AutoModelForMaskedLM", "pipeline", "SentenceTransformer"])
def test_a_pushed_run_loads_by_its_id_with_equal_vectors(way, pushed, read):
    assert read["module"].startswith("transformers_modules")
    torch.testing.assert_close(torch.tensor(read[way]), torch.tensor(pushed["vector"]), atol=1e-5, rtol=1e-4)


def test_a_pushed_classifier_is_a_pipeline(pushed, read):
    assert read["labels"] == pytest.approx(dict(zip(("different", "same"), pushed["probabilities"])), abs=1e-5)


def test_the_code_of_cards_runs(read):
    assert read["code"] == {TINY: 3, CLASSIFIER: 1, PAIRS: 1, PLAIN: 0, SCRIPT: 3}


def test_no_request_was_refused_as_unknown(hub, read):
    assert hub.refused == []


def test_what_a_run_pushes(hub, pushed, read):
    """Code, weights, tokenizer and card with each push, the optimizer with none."""
    repo = hub.repos[TINY]
    assert pushed["url"] == f"{hub.endpoint}/{TINY}"
    titles = [title for title, _ in repo.commits]
    # The last checkpoint is the model of the end: nothing but its message would be new.
    assert titles[1:3] == ["Training in progress, step 2", "Training in progress, step 4"]
    wanted = {
        "README.md", "config.json", "model.safetensors", "modeling_concept.py", "backbone_concept.py", "modules.json",
        "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    for _, files in repo.commits[1:]:
        assert wanted <= set(files)
        others = [path for path in files if not path.startswith("results/")]
        assert not [path for path in others if re.search(r"optimizer|scheduler|rng|training_|state|checkpoint", path)]
        assert {path for path in others if path.endswith(".py")} == {
            file.name for file in (ROOT / "modeling_concept").glob("*_concept.py")
        }
    weights = {files["model.safetensors"].oid for _, files in repo.commits[1:]}
    assert len(weights) == 2
    assert set(repo.files) <= set(read["files"])


def test_intermediate_cards_tell_the_last_evaluation(hub, pushed):
    card = ModelCard(hub.repos[TINY].commits[1][1]["README.md"].content.decode())
    metrics = {entry.metric_name: entry.metric_value for entry in card.data.eval_results}
    assert {"loss", "content_fraction"} <= set(metrics) and not any("untrained" in name for name in metrics)
    assert f"| loss | {metrics['loss']:.3f} |" in card.text
    assert "2 of 4" in card.text and "vicreg:0.01" in card.text and f'"{TINY}"' in card.text


def test_training_states_are_pushed_on_request_and_hold_no_token(hub, pushed, tmp_path):
    files = hub.repos[OPEN].files
    state = {path.removeprefix("last-checkpoint/"): file for path, file in files.items() if "/" in path}
    assert {"optimizer.pt", "scheduler.pt", "training_args.bin", "checkpoint_manifest.json"} <= set(state)
    for name, file in state.items():
        (tmp_path / name).write_bytes(file.content)
    verify_checkpoint(tmp_path)
    everything = [file.content for repo in hub.repos.values() for _, files in repo.commits for file in files.values()]
    assert not any(b"hf_writer" in content for content in everything)


def test_repositories_are_private_by_default(hub, pushed, read):
    assert {name: repo.private for name, repo in hub.repos.items()} == {
        TINY: True, OPEN: False, CLASSIFIER: True, PAIRS: True, PLAIN: True, SAVED: False, SCRIPT: True, EDITED: True,
    }  # fmt: skip
    asked = [request.payload.get("visibility") for request in hub.requests if request.path == "/api/repos/create"]
    assert "public" in asked and "private" in asked and None not in asked
    assert f"{SCRIPT} exists and stays private" in pushed["printed"]  # pushed again as public
    assert read["refusals"] == {
        "False": "RepositoryNotFoundError", "hf_stranger": "RepositoryNotFoundError", "hf_wrong": "HfHubHTTPError"
    }  # fmt: skip


def test_the_command_line_publishes_by_one_word(tmp_path):
    def parse(*options):
        line = ["--output_dir", str(tmp_path), "--use_cpu", *options]
        return HfArgumentParser(ConceptTrainingArguments).parse_args_into_dataclasses(line)[0].hub_private_repo

    assert parse() is True and parse("--hub_private_repo", "false") is False


def test_methods_of_the_model_push_what_loads(hub, pushed):
    assert "tokenizer.json" not in pushed["bare"] and "modeling_concept.py" in pushed["bare"]
    for repo in (PLAIN, SAVED):
        assert {"tokenizer.json", "modeling_concept.py", "README.md", "modules.json"} <= set(hub.repos[repo].files)
        assert "optimizer.pt" not in hub.repos[repo].files


def test_results_stand_once_beside_their_baselines(hub, pushed):
    card = hub_card(hub, TINY)
    entries = {(e.dataset_type, e.dataset_split, e.metric_name): e.metric_value for e in card.data.eval_results}
    assert len(entries) == len(card.data.eval_results)
    assert entries["mteb/stsbenchmark-sts", "test", "spearman"] == 0.46
    assert not any("untrained" in name for _, _, name in entries)  # no result of this model
    assert any(name == "loss" for _, _, name in entries)  # those of the run stay
    assert card.text.count("## Results: stsb") == 1 and "0.4600" in card.text and "0.4000" not in card.text
    assert "[results/sts/results.json](results/sts/results.json)" in card.text
    assert hub.repos[TINY].files["results/sts/report.md"].content == b"<p>stsb</p>"


def test_results_with_and_without_fine_tuning_stand_side_by_side():
    card = ModelCard("---\nlicense: apache-2.0\n---\n\n# Model\n\n## Limits\n")
    for value, task_type in ((0.1, "sentence-similarity"), (0.2, "text-classification"), (0.3, "sentence-similarity")):
        add_results(card, [Result("stsb", "test", "spearman", "model", value)], task_type)
    assert re.findall("^## (.+)$", card.text, re.MULTILINE) == [
        "Results: stsb (sentence similarity)", "Results: stsb (text classification)", "Limits"
    ]  # fmt: skip
    assert sorted(entry.metric_value for entry in card.data.eval_results) == [0.2, 0.3]


def test_the_card_of_a_classifier(hub, pushed):
    card = hub_card(hub, CLASSIFIER)
    assert card.data.pipeline_tag == "text-classification" and card.data.base_model == TINY
    assert card.data.datasets == ["nyu-mll/glue"]
    found = {e.metric_name: e.metric_value for e in card.data.eval_results if e.dataset_config == "mrpc"}
    assert found == {"f1": 0.9, "accuracy": 0.85}  # the baselines stand in the table
    assert "| mrpc | validation (408) | f1 | 0.9000 | 0.8100 | 0.8000 |" in card.text
    assert "1 is `same`." in card.text and "text_pair" in card.text
    assert card_errors(str(card)) == []


def test_the_script_checks_and_pushes(hub, pushed):
    assert "the card describes only the architecture" in pushed["script"]
    assert f"{hub.endpoint}/{SCRIPT}" in pushed["script"]
    assert f'from_pretrained("{SCRIPT}"' in hub_card(hub, SCRIPT).text
    assert "describes only the architecture" not in pushed["again"]
    files = hub.repos[SCRIPT].files
    assert {"results/sts/results.json", "results/sts/report.md", "modeling_concept.py"} <= set(files)
    assert any(entry.metric_value == 0.46 for entry in ModelCard(
        hub.repos[SCRIPT].commits[1][1]["README.md"].content.decode()
    ).data.eval_results)  # fmt: skip


def test_results_and_edits_of_the_hub_outlast_a_push(hub, pushed):
    cards = [ModelCard(files["README.md"].content.decode()) for _, files in hub.repos[EDITED].commits[1:]]
    first, results, again, edited, overwritten = cards  # a second push of the same is no commit
    for card in (results, again, edited, overwritten):
        assert card.text.count("## Results: sickr") == 1 and card_errors(str(card)) == []
        assert [entry.metric_value for entry in card.data.eval_results] == [0.5]
        assert card.text.count("<!-- pushed: ") == 1
    assert "Results" not in first.text
    assert all(f"{hub.endpoint}/{EDITED}" in printed for printed in pushed["unedited"])
    assert "Contact" in edited.text and "Contact" not in overwritten.text
    for case in ("edited", "edited, run"):
        assert pushed[case].startswith(f"The card of {EDITED} is not the one that was pushed from here: "), case
    kept = "keeps results that only it has: sickr (sentence similarity), spearman on sickr"
    assert pushed["printed"].count(kept) == 3
    local = (pushed["folder"] / "empty" / "README.md").read_text()
    assert "sickr" not in local


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no-folder", r"The checkpoint .*no-folder' cannot be read: .*"),
        ("other-type", r"other-type' holds a model of the type 'bert', not a concept encoder\."),
        ("no-weights", r"The checkpoint .*no-weights.* cannot be read as .*"),
        ("half-weights", r"The checkpoint .*half-weights.* cannot be read as .*"),
        ("no-tokenizer", r"The tokenizer of .*no-tokenizer' cannot be read: .*|no-tokenizer' holds no tokenizer"),
        ("other-tokenizer", "The tokenizer is not the model's: its mask_token_id"),
        ("no-picture", r"The card shows loss\.png, which .*no-picture does not have\."),
        ("not results", r"config\.json cannot be read as results of an evaluation: .*"),
        ("no-code", r"no-code has no code; load the model and save it .*"),
        ("token", r"results/sts/report\.md holds your access token; .*"),
        ("wrong token", "401 Unauthorized"),
        ("foreign", "403 Forbidden"),
    ],
)
def test_refusals_are_one_sentence(case, message, pushed):
    assert re.search(message, pushed[case]), pushed[case]


def test_the_server_speaks_to_the_client(hub, pushed):
    assert pushed["client"] == {
        "user": "ksopyla", "paths": ["folder/a.json"], "private": [True, False], "files": [],
        "errors": {
            "revision": "RevisionNotFoundError", "file": "RemoteEntryNotFoundError", "stranger": "HfHubHTTPError",
            "card": "ValueError", "owner": "None", "repository": "RepositoryNotFoundError",
        },
    }  # fmt: skip
    # The token does not go to the storage of large files, which another host has.
    stored = [request for request in hub.requests if request.path.startswith("/lfs-storage/")]
    assert {request.method for request in stored} >= {"PUT"} and {request.token for request in stored} == {None}


def test_the_server_refuses_loudly_what_it_lacks_and_gives_ranges():
    with Hub() as server:
        server.repos["ksopyla/open"] = Repo(private=False)
        server.repos["ksopyla/open"].files["a.txt"] = File(b"abcdef")
        address = f"{server.endpoint}/ksopyla/open/resolve/main/a.txt"
        with urlopen(UrlRequest(address, headers={"Range": "bytes=2-3"})) as answer:
            assert (answer.status, answer.read(), answer.headers["Content-Range"]) == (206, b"cd", "bytes 2-3/6")
        with pytest.raises(HTTPError, match="416"):
            urlopen(UrlRequest(address, headers={"Range": "bytes=6-"}))
        with pytest.raises(HTTPError, match="501"):
            urlopen(f"{server.endpoint}/api/models/ksopyla/open/discussions")
        assert server.refused == ["GET /api/models/ksopyla/open/discussions"]


def test_a_push_that_fails_does_not_end_the_training(tokenizer, pieces, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("trainers.publishing.hub.logger.warning", lambda text, *values: told.append(text % values))
    trainer = make_trainer(tokenizer, pieces, tmp_path)
    trainer.hub_model_id = "me/run"
    (tmp_path / "checkpoint-2").mkdir()
    trainer._push_from_checkpoint(tmp_path / "checkpoint-2")  # tests are offline
    (sentence,) = told
    assert sentence.startswith("'Training in progress, step 0' was not pushed to me/run: ")


def test_the_main_jobs_card_is_valid():
    card = ModelCard.load(ROOT / "model_cards" / "main_job.md")
    assert card_errors(str(card)) == []


def test_the_folder_decides_what_goes_up(tmp_path):
    """Nothing of a run but the model, with all pictures that its card shows."""
    for name in ("config.json", "model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json",
                 "training_args.bin", "events.out.tfevents.1", "a_concept.py", "training.png"):  # fmt: skip
        (tmp_path / name).touch()
    for folder in ("checkpoint-1", "pictures"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").touch()
    (tmp_path / "pictures" / "loss.png").touch()
    (tmp_path / "README.md").write_text("![loss](pictures/loss.png) ![logo](https://example.org/logo.png)")
    assert set(model_files(tmp_path, ModelCard.load(tmp_path / "README.md"))) == {
        "config.json", "model.safetensors", "a_concept.py", "training.png", "README.md", "pictures/loss.png"
    }  # fmt: skip


def test_what_goes_up_of_a_reader_is_whole(tokenizer, tmp_path):
    """Its tokenizer, and how it writes."""
    model = make_model("causal_lm", tokenizer)
    model.tokenizer, model.reader_tokenizer = tokenizer, tokenizer
    model.generation_config.max_new_tokens = 3
    model.save_pretrained(tmp_path / "run")
    check_folder(tmp_path / "run")
    for name, path in model_files(tmp_path / "run", ModelCard("")).items():
        if isinstance(path, Path):
            (tmp_path / "hub" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "hub" / name)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "hub", trust_remote_code=True)
    assert loaded.generation_config.max_new_tokens == 3
    assert loaded.reader_tokenizer.get_vocab() == tokenizer.get_vocab()
    shutil.rmtree(tmp_path / "run" / "reader")
    with pytest.raises(ValueError, match="cannot be read"):
        check_folder(tmp_path / "run")
