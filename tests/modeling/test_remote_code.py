# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints carry their code: each loads in a process where this package cannot be imported."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

import modeling_concept as models

from ..conftest import ROOT, SHARED
from .zoo import BACKBONES, MODEL_CLASSES, has_reader, make_config, pair_inputs, random_batch, stir


sys.path.insert(0, str(ROOT / "examples"))


# Begins what runs in the other process.
WITHOUT_THE_PACKAGE = """
import importlib.abc, json, os, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ("modeling_concept", "trainers"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
try:
    import modeling_concept
    sys.exit("the package can be imported")
except ModuleNotFoundError:
    pass

import builtins
def refuse(*arguments):
    raise AssertionError("asked at the terminal whether code may run")
builtins.input = refuse

import torch, transformers
transformers.logging.set_verbosity_error()
from transformers import (
    AutoModel, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, AutoTokenizer, pipeline
)
AUTO_CLASSES = {auto_class.__name__: auto_class for auto_class in (
    AutoModel, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification
)}
"""

# Loads every checkpoint of a folder every way, and prints what came out.
PROBE = """
from sentence_transformers import SentenceTransformer

TEXT = "The quick brown fox jumps over the lazy dog."
root, results = sys.argv[1], {}

def first(output):
    tensor = output.logits if "logits" in output else output.last_hidden_state
    return tensor[0].flatten().tolist()

for name in sorted(os.listdir(root)):
    path, found = os.path.join(root, name), {}
    facts = json.load(open(os.path.join(path, "facts.json")))
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=True)
    batch = dict(tokenizer(TEXT, return_tensors="pt"))
    batch.pop("token_type_ids", None)
    encoder = AutoModel.from_pretrained(path, trust_remote_code=True).eval()
    assert "transformers_modules" in type(encoder).__module__, type(encoder).__module__
    found["encoder"] = encoder(**batch).pooler_output[0].tolist()
    found["encode"] = encoder.encode(TEXT).sentence_embeddings[0].tolist()
    features = pipeline("feature-extraction", model=path, trust_remote_code=True)(TEXT)
    found["features"] = torch.tensor(features)[0].mean(0).tolist()
    sentence = SentenceTransformer(path, trust_remote_code=True, device="cpu")
    # Beside a longer text, so that there is padding.
    found["sentence_transformer"] = sentence.encode([TEXT, TEXT * 2])[0].tolist()
    if facts["saved_again"]:
        sentence.save(path + "-st")
        again = SentenceTransformer(path + "-st", trust_remote_code=True, device="cpu")
        found["sentence_transformer_again"] = again.encode([TEXT])[0].tolist()
    auto_class = AUTO_CLASSES[facts["auto_class"]]
    inputs = batch
    if facts["pair"]:
        inputs = {f"{key}_{side}": value for key, value in batch.items() for side in "ab"}
    if facts["prefix"]:
        inputs = {**batch, "decoder_input_ids": batch["input_ids"]}
    model = auto_class.from_pretrained(path, trust_remote_code=True).eval()
    found["class"] = type(model).__name__
    out = model(**inputs)
    found["model"] = first(out)
    model.save_pretrained(path + "-again")
    tokenizer.save_pretrained(path + "-again")
    second = auto_class.from_pretrained(path + "-again", trust_remote_code=True).eval()
    found["class_again"] = type(second).__name__
    out = second(**inputs)
    found["model_again"] = first(out)
    found["files_again"] = sorted(file for file in os.listdir(path + "-again") if file.endswith(".py"))
    if facts["auto_class"] == "AutoModelForMaskedLM" and not facts["prefix"]:
        text = TEXT.replace("fox", tokenizer.mask_token)
        best = pipeline("fill-mask", model=path, trust_remote_code=True)(text)
        found["fill_mask"] = [best[0]["token"], best[0]["score"]]
    if facts["auto_class"] == "AutoModelForSequenceClassification" and not facts["pair"]:
        best = pipeline("text-classification", model=path, trust_remote_code=True)(TEXT)[0]
        found["label"] = [best["label"], best["score"]]
    results[name] = found
json.dump(results, open(sys.argv[2], "w"))
"""

# Loads <root>/<name>/final for every name by each Auto class, and writes the class that came, or what was said, and
# the outputs of the class that was saved.
FINALS_PROBE = """
root, results = sys.argv[1], {}
names = sorted(os.listdir(root))
for name in names:
    path, found = os.path.join(root, name, "final"), {}
    config = json.load(open(os.path.join(path, "config.json")))
    options = {"trust_remote_code": True}
    for auto_name, reference in config["auto_map"].items():
        if auto_name not in AUTO_CLASSES:
            continue
        try:
            model = AUTO_CLASSES[auto_name].from_pretrained(path, **options).eval()
        except ValueError as error:
            found[auto_name] = str(error)
            continue
        found[auto_name] = type(model).__name__
        made = AUTO_CLASSES[auto_name].from_config(model.config, **options)
        assert type(made) is type(model), (type(made), type(model))
        if type(model).__name__ == config["architectures"][0]:
            inputs = torch.load(os.path.join(root, name, "final", "inputs.pt"))
            output = model(**inputs)
            tensor = output.last_hidden_state if "logits" not in output else output.logits
            found["output"] = tensor[0].flatten().tolist()
    results[name] = found
json.dump(results, open(sys.argv[2], "w"))
"""

TEXT = "The quick brown fox jumps over the lazy dog."

# Variants whose code lies in files of its own, beside every class.
VARIANTS = {
    "ConceptEncoder-bixt": (models.ConceptEncoder, {"encoder_type": "bixt"}),
    "ConceptEncoder-slot": (
        models.ConceptEncoder,
        {"encoder_type": "slot"},
    ),
    "ConceptEncoder-llama": (models.ConceptEncoder, {"backbone_config": BACKBONES["llama"]}),
    "ConceptEncoder-bert": (models.ConceptEncoder, {"backbone_config": BACKBONES["bert"], "token_embedding_dim": 16}),
    # The padded length of a batch equals the number of concepts.
    "ConceptEncoder-length": (models.ConceptEncoder, {"concept_num": 48}),
}


def save_every_class(root, tokenizer):
    """Checkpoints with tokenizers, and what they must give."""
    expected = {}
    classes = {model_class.__name__: (model_class, {}) for model_class in MODEL_CLASSES}
    for name, (model_class, options) in {**classes, **VARIANTS}.items():
        torch.manual_seed(len(name))
        sizes = {
            "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "num_labels": 3,
            "mask_token_id": tokenizer.mask_token_id, "max_sequence_length": 64, **options,
        }  # fmt: skip
        model = stir(model_class(make_config(model_class, **sizes))).eval()
        model.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
        facts = {
            "auto_class": model_class.auto_class,
            "pair": "Pair" in name,
            "prefix": "Prefix" in name or has_reader(model_class),
            # Of the others too, a SentenceTransformer saves the encoder alone.
            "saved_again": "For" not in name or name.endswith("ForMaskedLM"),
        }
        (root / name / "facts.json").write_text(json.dumps(facts))
        batch = tokenizer(TEXT, return_tensors="pt")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        with torch.no_grad():
            vector = model.base_model(ids, mask).pooler_output[0]
            if facts["pair"]:
                output = model(ids, mask, ids, mask).logits
            elif facts["prefix"]:
                output = model(ids, mask, decoder_input_ids=ids).logits
            else:
                output = model(ids, mask)
                output = output.last_hidden_state if "logits" not in output else output.logits
            expected[name] = {"vector": vector, "output": output[0].flatten(), "class": model_class.__name__}
            if model.can_reconstruct and not has_reader(model_class):
                masked = tokenizer(TEXT.replace("fox", tokenizer.mask_token), return_tensors="pt")["input_ids"]
                logits = model(masked).logits[masked == tokenizer.mask_token_id]
                expected[name]["fill_mask"] = [int(logits.argmax()), float(logits.softmax(-1).max())]
    return expected


def save_finals(root, models_and_inputs):
    """Each model with inputs for it in <its name>/final, and what it must give."""
    expected = {}
    for name, (model, inputs) in models_and_inputs.items():
        model.eval().save_pretrained(root / name / "final")
        torch.save(inputs, root / name / "final" / "inputs.pt")
        with torch.no_grad():
            output = model(**inputs)
        tensor = output.last_hidden_state if "logits" not in output else output.logits
        expected[name] = model, tensor[0].flatten()
    return expected


def every_class():
    for model_class in MODEL_CLASSES:
        batch = random_batch()
        inputs = pair_inputs(batch) if "Pair" in model_class.__name__ else batch
        if "Prefix" in model_class.__name__ or has_reader(model_class):
            inputs = {**batch, "decoder_input_ids": batch["input_ids"]}
        yield model_class.__name__, (stir(model_class(make_config(model_class, num_labels=3))), inputs)


def converted_originals(folder):
    from convert_original_checkpoint import convert

    for source in sorted(path for path in (SHARED / "original_checkpoints").iterdir() if path.is_dir()):
        model = convert(str(source), str(folder / source.name))
        inputs = load_file(source / "inputs.safetensors")
        if "noisy_ids" in inputs:
            inputs["decoder_input_ids"] = inputs.pop("noisy_ids")
        inputs.pop("labels", None)
        yield source.name, (model, inputs)


@pytest.fixture(scope="module")
def probed(tokenizer, tmp_path_factory):
    """What must come of saved checkpoints, and what one other process made of them."""
    root, folder = tmp_path_factory.mktemp("checkpoints"), tmp_path_factory.mktemp("elsewhere")
    expected = {
        "every": save_every_class(root / "every", tokenizer),
        "finals": save_finals(root / "finals", dict(every_class())),
    }
    if SHARED.is_dir():
        converted = dict(converted_originals(tmp_path_factory.mktemp("converted")))
        expected["originals"] = save_finals(root / "originals", converted)
    code = WITHOUT_THE_PACKAGE
    for name in expected:
        code += f"sys.argv[1:] = {[str(root / name), str(folder / name)]}\n"
        code += PROBE if name == "every" else FINALS_PROBE
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(folder / "modules")}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: (expected[name], json.loads((folder / name).read_text())) for name in expected}


NAMES = [model_class.__name__ for model_class in MODEL_CLASSES] + list(VARIANTS)


@pytest.mark.parametrize("name", NAMES)
def test_loads_everywhere_with_equal_outputs(name, probed):
    expected, found = (results[name] for results in probed["every"])
    again = {"sentence_transformer_again"} & found.keys()
    for way in ("encoder", "encode", "features", "sentence_transformer", *again):
        torch.testing.assert_close(torch.tensor(found[way]), expected["vector"], atol=1e-5, rtol=1e-4, msg=way)
    for way in ("model", "model_again"):
        torch.testing.assert_close(torch.tensor(found[way]), expected["output"], atol=1e-5, rtol=1e-4, msg=way)
    assert found["class"] == found["class_again"] == expected["class"]
    assert "modeling_concept.py" in found["files_again"]
    if "fill_mask" in found:
        assert found["fill_mask"] == pytest.approx(expected["fill_mask"], rel=1e-3)
    if "label" in found:
        probabilities = expected["output"].softmax(-1)
        assert found["label"][0] == f"LABEL_{int(probabilities.argmax())}"
        assert found["label"][1] == pytest.approx(float(probabilities.max()), rel=1e-3)


def test_the_ways_cover_the_classes(probed):
    """The matrix above has an entry of each kind; none fell out by a wrong condition."""
    found = probed["every"][1]
    assert sum("fill_mask" in entry for entry in found.values()) == 8
    assert sum("label" in entry for entry in found.values()) == 8
    assert sum("sentence_transformer_again" in entry for entry in found.values()) == 13


def assert_folders_do_not_mix(expected, found):
    for name, (model, output) in expected.items():
        auto_map = model.auto_map(model.config)
        loaded = found[name]
        assert loaded[model.auto_class] == type(model).__name__
        assert loaded["AutoModel"] == auto_map["AutoModel"].split(".")[1]
        wanted = auto_map["AutoModelForSequenceClassification"].split(".")[1]
        said = loaded["AutoModelForSequenceClassification"]
        assert said == wanted or f"does not hold the weights of {wanted}" in said
        torch.testing.assert_close(torch.tensor(loaded["output"]), output, atol=1e-5, rtol=1e-4, msg=name)


def test_folders_of_one_name_do_not_mix_up_classes(probed):
    found = probed["finals"][1]
    assert_folders_do_not_mix(*probed["finals"])
    # A classifier on an encoder alone pools, one on a language model reads through its decoder.
    for kind in ("", "Recursive", "Original", "RecursiveOriginal"):
        classifier = f"{kind}ConceptEncoderForSequenceClassification"
        for name, ending in (("ConceptEncoder", "Perceiver"), ("ConceptEncoderForMaskedLM", "ViaDecoder")):
            assert found[kind + name]["AutoModelForSequenceClassification"] == classifier + ending


def test_converted_originals_in_folders_of_one_name(shared, probed):
    assert len(probed["originals"][0]) == 12
    assert_folders_do_not_mix(*probed["originals"])
