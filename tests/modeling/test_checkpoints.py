# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Loading: nothing random in silence, one clear sentence for what does not fit; Auto classes; conversion."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

import modeling_concept as models
from modeling_concept import AUTO_MODELS

from ..conftest import ROOT
from .zoo import classifier, language_model, make_config, random_batch, stir


sys.path.insert(0, str(ROOT / "examples"))


CLASSES = [
    (auto_class, model_class)
    for auto_models in AUTO_MODELS.values()
    for auto_class, model_classes in auto_models.items()
    for model_class in model_classes
]


@pytest.mark.parametrize(("auto_class", "model_class"), CLASSES, ids=[c.__name__ for _, c in CLASSES])
def test_auto_classes_find_the_class_that_saved(auto_class, model_class, tmp_path):
    config = make_config(model_class.config_class is models.RecursiveConceptEncoderConfig)
    model = stir(model_class(config))
    model.save_pretrained(tmp_path)
    again = auto_class.from_pretrained(tmp_path)
    assert type(again) is model_class
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert type(AutoConfig.from_pretrained(tmp_path)) is type(config)
    encoder = AutoModel.from_pretrained(tmp_path)
    batch = random_batch()
    torch.testing.assert_close(
        encoder(**batch).last_hidden_state, model.eval().base_model(**batch).last_hidden_state, atol=0, rtol=0
    )


def test_a_masked_lm_becomes_a_classifier(tmp_path):
    """Of all weights only the head is new; the decoder is the pretrained one, whichever it is."""
    for number, decoder in enumerate(models.DECODERS):
        folder = tmp_path / str(number)
        model = stir(language_model(decoder=decoder))
        model.save_pretrained(folder)
        found, info = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=3, output_loading_info=True
        )
        assert type(found) is models.ConceptEncoderForSequenceClassificationViaDecoder
        assert {key.split(".")[0] for key in info["missing_keys"]} == {"classifier", "pre_pool_norm"}
        for name, value in model.decoder.state_dict().items():
            assert torch.equal(value, found.decoder.state_dict()[name])
        for kind in (
            models.ConceptEncoderForSequenceClassificationPerceiver,
            models.ConceptEncoderForSentencePairClassification,
        ):
            kind.from_pretrained(folder, num_labels=2)


def test_missing_weights_are_an_error(tmp_path):
    model = language_model()
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layers.1.self_attn.q_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for load in (AutoModel, AutoModelForMaskedLM, models.ConceptEncoderForMaskedLM):
        with pytest.raises(ValueError, match=r"layers\.1\.self_attn\.q_proj\.weight would be random"):
            load.from_pretrained(tmp_path)


def test_a_checkpoint_of_another_class_is_an_error(tmp_path):
    models.ConceptEncoder(make_config()).save_pretrained(tmp_path / "encoder")
    with pytest.raises(ValueError, match="does not hold the weights of ConceptEncoderForMaskedLM"):
        models.ConceptEncoderForMaskedLM.from_pretrained(tmp_path / "encoder")
    classifier("Perceiver").save_pretrained(tmp_path / "classifier")
    with pytest.raises(ValueError, match="does not hold the weights"):
        models.ConceptEncoderForSequenceClassificationViaDecoder.from_pretrained(tmp_path / "classifier")
    language_model(decoder="position").save_pretrained(tmp_path / "position")
    with pytest.raises(ValueError, match="decoder_type='token_position', but the configuration says 'position'"):
        models.ConceptEncoderForMaskedLMPerceiver.from_pretrained(tmp_path / "position")


def test_wrong_shapes_are_an_error(tmp_path):
    language_model().save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="mismatch"):
        AutoModelForMaskedLM.from_pretrained(tmp_path, intermediate_size=20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_attention_heads": 5}, "not divisible by num_attention_heads 5"),
        ({"num_attention_heads": 32}, "even head size"),
        ({"token_position_type": "learned"}, "addressed"),
        ({"concept_position_type": "none", "concept_anchors": True}, "concept_anchors"),
        ({"concept_position_type": "none"}, "phase_harmonics"),
        ({"concept_position_type": "none", "phase_harmonics": 0}, "address_bias"),
        ({"global_concept_num": 7}, "between 0 and concept_num 6"),
        ({"token_mixer_type": None, "num_token_mixers": 1}, "needs token_mixer_type"),
        ({"token_mixer_width": 4, "num_token_mixers": 1}, "odd width"),
        ({"concept_num": 0}, "at least 1"),
        ({"norm_type": "batchnorm"}, "norm_type"),
        ({"hidden_size": "wide"}, "hidden_size"),
    ],
)
def test_impossible_configurations_are_told(options, message):
    with pytest.raises(Exception, match=message) as error:
        make_config(**options)
    assert "Error" in type(error.value).__name__


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_type": "transformer"}, r"Unknown encoder_type 'transformer'; choose one of \['bixt'"),
        ({"decoder_type": "gpt"}, r"Unknown decoder_type 'gpt'; choose one of \['diffusion'"),
        ({"encoder_options": {"heads": 2}}, r"no option \['heads'\]"),
        ({"encoder_type": "bixt", "share_key_values": True}, "static tokens"),
    ],
)
def test_unknown_parts_are_told_with_the_list(options, message):
    with pytest.raises(ValueError, match=message):
        models.ConceptEncoderForMaskedLM(make_config(**options))


def test_choosing_parts_leaves_the_users_configuration_alone():
    config = make_config()
    models.ConceptEncoderForMaskedLMWeighted(config)
    assert config.decoder_type is None
    assert models.ConceptEncoderForMaskedDiffusion(config).config.decoder_mixer_type == "conv"


# -- conversion of the original's checkpoints

ORIGINALS = [
    "diffusion_mlm", "perceiver_cls", "perceiver_decoder_cls", "perceiver_decoder_cls_posonly", "perceiver_mlm",
    "perceiver_mlm_dimension_inversion_sinusoidal", "perceiver_mlm_tied_learned_positions", "perceiver_pair_cls",
    "perceiver_posonly_mlm", "perceiver_posonly_mlm_bixt", "recursive_mlm", "weighted_mlm",
]  # fmt: skip


def original_outputs(folder, inputs, model):
    """Outputs of a converted and reloaded checkpoint, by their names in `expected.safetensors`."""
    if "input_ids_a" in inputs:
        cosine = type(model).from_pretrained(folder, pair_similarity="cosine").eval()
        return {"logits": model(**inputs).logits, "cosine_logits": cosine(**inputs).logits}
    if "noisy_ids" in inputs:
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        options = {"decoder_input_ids": inputs["noisy_ids"], "timesteps": inputs["timesteps"]}
        output = model(ids, mask, **options)
        targets = model.make_targets(inputs["noisy_ids"], mask, inputs["timesteps"])
        hidden = model.decode(model.remember(model.encoder(ids, mask)), targets)
        return {"concepts": output.concepts, "logits": output.logits, "decoder_hidden": hidden}
    if model.config.model_type == "recursive_concept_encoder":
        found = {}
        for count in (2, 4, 8):
            output = model(**inputs, num_iterations=count)
            found |= {f"concepts_k{count}": output.concepts, f"logits_k{count}": output.logits}
        return found
    options = {"return_logits": True} if "labels" in inputs else {}
    output = model(**inputs, **options)
    loss = {"loss": output.loss[None]} if output.loss is not None else {}
    return {"concepts": output.concepts, "logits": output.logits, **loss}


def test_every_original_checkpoint_is_listed(shared):
    assert sorted(path.name for path in (shared / "original_checkpoints").iterdir() if path.is_dir()) == ORIGINALS


@pytest.mark.parametrize("name", ORIGINALS)
def test_original_checkpoints_convert_with_equal_outputs(name, shared, tmp_path):
    from convert_original_checkpoint import convert

    source = shared / "original_checkpoints" / name
    inputs, expected = load_file(source / "inputs.safetensors"), load_file(source / "expected.safetensors")
    saved = json.loads((source / "config.json").read_text())["architectures"][0]
    convert(str(source), str(tmp_path))
    model = getattr(models, saved).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        found = original_outputs(tmp_path, inputs, model)
    for key, value in expected.items():
        tolerance = 2e-5 if key.endswith("_k8") else 1e-5
        torch.testing.assert_close(
            found[key], value, atol=tolerance, rtol=0, msg=lambda text, key=key: f"{key}: {text}"
        )


def test_the_class_is_told_from_the_weights_too(shared):
    from convert_original_checkpoint import class_name

    for name in ORIGINALS:
        source = shared / "original_checkpoints" / name
        config = json.loads((source / "config.json").read_text())
        expected = config.pop("architectures")[0]
        if name == "perceiver_pair_cls":  # told from a plain classifier by its configuration alone
            continue
        assert class_name(config, load_file(source / "model.safetensors")) == expected


def test_conversion_command(shared, tmp_path):
    script = ROOT / "examples" / "convert_original_checkpoint.py"

    def run(source, output):
        command = [sys.executable, script, "--input", source, "--output", output]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True)

    done = run(shared / "original_checkpoints" / "perceiver_mlm", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert "ConceptEncoderForMaskedLMPerceiver" in done.stdout
    again = run(shared / "original_checkpoints" / "perceiver_mlm", tmp_path / "new")
    assert again.returncode == 1 and "is not empty" in again.stderr and "Traceback" not in again.stderr
    twice = run(tmp_path / "new", tmp_path / "twice")
    assert twice.returncode == 1 and "checkpoint of this package already" in twice.stderr


def test_a_damaged_original_is_refused(shared, tmp_path):
    from convert_original_checkpoint import convert

    source = shared / "original_checkpoints" / "perceiver_mlm"
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text((source / "config.json").read_text())
    weights = load_file(source / "model.safetensors")
    del weights["decoder_norm.weight"]
    save_file(weights, tmp_path / "damaged" / "model.safetensors")
    with pytest.raises(ValueError, match=r"decoder\.layers\.0\.cross_norm\.weight"):
        convert(str(tmp_path / "damaged"), str(tmp_path / "out"))
    weights["surprise"] = torch.zeros(1)
    save_file(weights, tmp_path / "damaged" / "model.safetensors")
    with pytest.raises(ValueError, match="surprise is not known"):
        convert(str(tmp_path / "damaged"), str(tmp_path / "out"))
