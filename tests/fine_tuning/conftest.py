# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Small checkpoints of every kind, and a small data set in the layout of GLUE."""

import datasets
import pytest
import transformers
from datasets import Dataset

from trainers.fine_tuning import select_tasks
from trainers.fine_tuning.runner import FineTuningArguments, ModelArguments, TaskArguments, run_tasks

from ..conftest import TEXTS
from ..trainers.kit import make_model


SIZES = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "concept_num": 4}


@pytest.fixture(scope="session")
def checkpoints(tokenizer, tmp_path_factory):
    """Folders of pretrained checkpoints: `concept`, `recursive`, `bert`."""
    folder = tmp_path_factory.mktemp("checkpoints")
    bert = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    models = {
        "concept": make_model("perceiver_posonly_mlm", tokenizer, **SIZES),
        "recursive": make_model("recursive_mlm", tokenizer, **SIZES),
        "bert": transformers.BertModel(bert),
    }
    for name, model in models.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return {name: folder / name for name in models}


@pytest.fixture(scope="session")
def toy_glue(tmp_path_factory):
    """A folder with cola, mrpc, stsb and mnli of a few rows; labels follow from the texts."""
    folder = tmp_path_factory.mktemp("glue")
    words = [text.split() for text in TEXTS]

    def pairs(count, start=0):
        for number in range(start, start + count):
            first = words[number % 4]
            second = first[::-1] if number % 2 else words[(number + 1 + number // 4) % 4]
            yield " ".join(first[: 3 + number % 3]), " ".join(second[-3 - number % 2 :]), number

    def rows(task, count, start):
        for first, second, number in pairs(count, start):
            if task == "cola":
                yield {"sentence": first, "label": number % 2}
            elif task == "mnli":
                yield {"premise": first, "hypothesis": second, "label": number % 3}
            else:
                label = float(number % 6) if task == "stsb" else number % 2
                yield {"sentence1": first, "sentence2": second, "label": label}

    lines = ["---", "configs:"]
    for task in ("cola", "mrpc", "stsb", "mnli"):
        (folder / task).mkdir()
        splits = ("validation_matched", "validation_mismatched") if task == "mnli" else ("validation",)
        lines += [f"- config_name: {task}", "  data_files:"]
        for number, (split, count) in enumerate([("train", 40), *((split, 12) for split in splits)]):
            Dataset.from_list(list(rows(task, count, 100 * number))).to_parquet(folder / task / f"{split}.parquet")
            lines += [f"  - split: {split}", f"    path: {task}/{split}.parquet"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
    return folder


@pytest.fixture
def run(toy_glue, tmp_path, monkeypatch):
    """Runs tasks as the scripts do: `run(tasks, checkpoint, model_options, task_options, **training_options)`."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def run(tasks, checkpoint, model_options=None, task_options=None, **options):
        defaults = {
            "output_dir": str(tmp_path / "out"), "use_cpu": True, "disable_tqdm": True, "max_steps": 2,
            "eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2,
            "per_device_train_batch_size": 8,
        }  # fmt: skip
        if not options.get("do_train", "do_predict" not in options):
            del defaults["max_steps"], defaults["per_device_train_batch_size"]
        return run_tasks(
            "glue",
            select_tasks(tasks),
            ModelArguments(model_name_or_path=str(checkpoint), **{"baselines": ["none"], **(model_options or {})}),
            TaskArguments(**{"dataset_name": str(toy_glue), **(task_options or {})}),
            FineTuningArguments(**{**defaults, **options}),
        )

    return run
