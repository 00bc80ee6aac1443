# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Loading: nothing random in silence, one clear sentence for what does not fit; Auto classes; conversion."""

import dataclasses
import json
import sys

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

import modeling_concept as models
from modeling_concept import AUTO_MODELS, configuration_concept

from ..conftest import ROOT
from .test_text import token_ids
from .zoo import MODEL_CLASSES, classifier, language_model, make_config, random_batch, stir


sys.path.insert(0, str(ROOT / "examples"))


every_class = pytest.mark.parametrize("model_class", MODEL_CLASSES, ids=lambda value: value.__name__)


@every_class
def test_auto_classes_find_the_class_that_saved(model_class, tmp_path):
    auto_class = getattr(transformers, model_class.auto_class)
    config = make_config(model_class)
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


def test_own_keys_and_values_of_layers_are_not_left_out(tmp_path):
    """A checkpoint of an earlier version, whose layers made keys and values of their own, as those of BiXT still do,
    would otherwise load without them."""
    language_model(encoder_type="bixt").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"encoder_type": "perceiver"}))
    for load in (AutoModel, AutoModelForMaskedLM, models.ConceptEncoderForMaskedLM):
        with pytest.raises(ValueError, match=r"earlier version .*layers\.1\.cross_attn\.k_p.*trust_remote_code=True"):
            load.from_pretrained(tmp_path)


def test_a_checkpoint_of_another_class_is_an_error(tmp_path):
    models.ConceptEncoder(make_config()).save_pretrained(tmp_path / "encoder")
    with pytest.raises(ValueError, match="does not hold the weights of ConceptEncoderForMaskedLM"):
        models.ConceptEncoderForMaskedLM.from_pretrained(tmp_path / "encoder")
    classifier("Perceiver").save_pretrained(tmp_path / "classifier")
    with pytest.raises(ValueError, match="does not hold the weights"):
        models.ConceptEncoderForSequenceClassificationViaDecoder.from_pretrained(tmp_path / "classifier")
    language_model(decoder="position").save_pretrained(tmp_path / "position")
    with pytest.raises(ValueError, match="decoder_type='token_position', but the configuration has 'position'"):
        models.ConceptEncoderForMaskedLMPerceiver.from_pretrained(tmp_path / "position")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Folders of a language model of each kind of encoder, by its model type."""
    found = {}
    for encoder in ("perceiver0-stack", "perceiver0-recursive", "original0-stack", "original1-recursive"):
        folder, model = str(tmp_path_factory.mktemp("kinds")), language_model(encoder)
        model.save_pretrained(folder)
        found[model.config.model_type] = folder
    return found


@every_class
def test_a_checkpoint_of_another_kind_of_encoder_is_refused(model_class, kinds):
    auto_class, own = getattr(transformers, model_class.auto_class), model_class.config_class.model_type
    config = make_config(model_class, architectures=[model_class.__name__])
    for foreign, other in kinds.items():
        if foreign == own:
            continue
        said = rf"^{model_class.__name__} is a {own}, .* is a {foreign}; load it with {auto_class.__name__},"
        with pytest.raises(ValueError, match=said):
            model_class(AutoConfig.from_pretrained(other))
        with pytest.raises(ValueError, match=f"{said}|Config has "):  # another network has other options
            model_class.from_pretrained(other)
        for load in (model_class.from_pretrained, auto_class.from_pretrained):
            with pytest.raises(ValueError, match=f"does not hold the weights of {model_class.__name__}"):
                load(other, config=config)


def test_a_recursive_model_starts_from_a_standard_one(kinds, tmp_path):
    """Encoder, decoder and head where they fit; the tied head is the token table."""
    standard = stir(models.ConceptEncoderForMaskedLM.from_pretrained(kinds["concept_encoder"]))
    standard.save_pretrained(tmp_path / "standard")
    standard.encoder.save_pretrained(tmp_path / "encoder")
    state = standard.state_dict()

    def start(source, **options):
        torch.manual_seed(1)
        config = models.RecursiveConceptEncoderConfig.from_standard(standard.config, **options)
        model = models.RecursiveConceptEncoderForMaskedLM(config)
        return model, model.load_from_standard_checkpoint(str(tmp_path / source))

    model, report = start("standard", num_iterations=5)
    assert report["new"] == ["encoder.state_norm.weight"] and model.config.num_iterations == 5
    assert all(name.startswith("encoder.layers.1.") for name in report["skipped"]) and report["skipped"]
    for name, value in model.state_dict().items():
        source = name.replace("encoder.shared_layer.", "encoder.layers.0.")
        assert name == "encoder.state_norm.weight" or torch.equal(value, state[source]), name
    assert model.config.vocab_size == standard.config.vocab_size and model.config.pad_token_id == 0

    # Another decoder is new as a whole, and the token table is not overwritten by a head of its own.
    model, report = start("standard", decoder_type="token_position", tie_word_embeddings=False)
    new = {name.split(".")[0] for name in report["new"]}
    assert new == {"encoder", "decoder", "lm_head"}
    assert {name for name in report["skipped"] if name.startswith("decoder.")} == {
        name for name in state if name.startswith("decoder.")
    }
    model, report = start("encoder")
    assert {name.split(".")[0] for name in report["new"]} == {"encoder", "decoder"}
    assert torch.equal(
        model.encoder.shared_layer.self_attn.q_proj.weight, state["encoder.layers.0.self_attn.q_proj.weight"]
    )
    untied = models.ConceptEncoderForMaskedLM(make_config(tie_word_embeddings=False))
    untied.save_pretrained(tmp_path / "untied")
    model, report = start("untied")
    assert "lm_head.weight" in report["skipped"] and model.lm_head.weight is model.get_input_embeddings().weight
    assert torch.equal(model.lm_head.weight, untied.get_input_embeddings().weight)

    with pytest.raises(RuntimeError, match="size mismatch for encoder.shared_layer.feed_forward"):
        start("standard", intermediate_size=8)
    with pytest.raises(ValueError, match="has no encoder layer 0 that fits"):
        model.load_from_standard_checkpoint(kinds["original_concept_encoder"])
    with pytest.raises(ValueError, match="of a recursive encoder already"):
        model.load_from_standard_checkpoint(kinds["recursive_concept_encoder"])


def test_wrong_shapes_are_an_error(tmp_path):
    language_model().save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="mismatch"):
        AutoModelForMaskedLM.from_pretrained(tmp_path, intermediate_size=20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_attention_heads": 5}, "not divisible by num_attention_heads 5"),
        ({"num_attention_heads": 32}, "even head size"),
        ({"decoder_conv_width": 4}, "odd width"),
        ({"concept_num": 0}, "concept_num must be at least 1"),
        ({"num_attention_heads": 0}, "num_attention_heads must be at least 1"),
        ({"offset_harmonics": 0}, "offset_harmonics must be at least 1"),
        ({"num_decoder_layers": 0}, "num_decoder_layers must be at least 1"),
        ({"pad_token_id": 61}, "pad_token_id 61 is none of the 61 tokens"),
        ({"pad_token_id": -1}, "pad_token_id -1 is none of the 61 tokens"),
        ({"mask_token_id": 61}, "mask_token_id 61 is none of the 61 tokens"),
        ({"norm_type": "layernorm"}, "ConceptEncoderConfig has norm_type='rmsnorm', not 'layernorm'."),
        ({"type_vocab_size": 2}, "has type_vocab_size=0, not 2"),
        ({"token_weighting": False}, "has token_weighting=True, not False"),
        ({"concept_mean": "embeddings"}, "expected one of .*weighted.*uniform.*free"),
        ({"hidden_size": "wide"}, "hidden_size"),
    ],
)
def test_impossible_configurations_are_told(options, message):
    # What is of the wrong type is told by the library that checks types, in words and by a class of its own.
    wrong_type = any(isinstance(value, str) for value in options.values())
    with pytest.raises(Exception if wrong_type else ValueError, match=message) as error:
        make_config(**options)
    assert "Error" in type(error.value).__name__


def test_former_options_are_dropped_where_the_network_has_their_value():
    fields = {field.name for field in dataclasses.fields(models.ConceptEncoderConfig)}
    former = {name: value for name, value in configuration_concept.REMOVED.items() if name not in fields}
    assert len(former) > 20 and make_config(**former).to_dict() == make_config().to_dict()
    with pytest.raises(ValueError, match="has qk_norm=True, not False"):
        make_config(qk_norm=False)


def test_values_that_change_later_are_checked_by_the_model():
    config = make_config()
    config.num_attention_heads = 5
    with pytest.raises(ValueError, match="not divisible by num_attention_heads 5"):
        models.ConceptEncoder(config)
    config = make_config()
    config.token_embedding_dim = 16
    model = models.ConceptEncoderForMaskedLM(config)
    assert config.tie_word_embeddings and not model.config.tie_word_embeddings
    assert model(torch.tensor([[5, 6]])).logits.shape == (1, 2, 61)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_type": "transformer"}, r"Unknown encoder_type 'transformer'; choose one of \['bixt'"),
        ({"decoder_type": "gpt"}, r"Unknown decoder_type 'gpt'; choose one of \['diffusion'"),
        ({"share_key_values": False}, "share_key_values=True, not False"),
    ],
)
def test_unknown_parts_are_told_with_the_list(options, message):
    with pytest.raises(ValueError, match=message):
        models.ConceptEncoderForMaskedLM(make_config(**options))


@pytest.mark.parametrize("auto_class", [AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification])
@pytest.mark.parametrize("config_class", AUTO_MODELS)
def test_auto_classes_make_models_of_configurations(auto_class, config_class):
    classes = AUTO_MODELS[config_class][auto_class]
    assert type(auto_class.from_config(make_config(config_class))) is classes[0]
    for model_class in classes:
        config = make_config(config_class, architectures=[model_class.__name__])
        assert type(auto_class.from_config(config)) is model_class


@pytest.mark.parametrize("recursive", [False, True])
def test_an_encoder_alone_becomes_a_pooling_classifier(recursive, tmp_path):
    kind = "Recursive" if recursive else ""
    pooling = f"{kind}ConceptEncoderForSequenceClassificationPerceiver"
    encoder = stir(getattr(models, f"{kind}ConceptEncoder")(make_config(recursive)))
    encoder.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["auto_map"]["AutoModelForSequenceClassification"] == f"modeling_concept.{pooling}"
    found, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert type(found).__name__ == pooling and not info["unexpected_keys"]
    assert {key.split(".")[0] for key in info["missing_keys"]} == {"classifier", "concept_scorer", "pool_norm"}
    assert type(AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(tmp_path))) is type(found)
    with pytest.raises(ValueError, match="does not hold the weights of .*ViaDecoder"):
        getattr(models, f"{kind}ConceptEncoderForSequenceClassificationViaDecoder").from_pretrained(tmp_path)


@pytest.mark.parametrize("decoder", models.DECODERS)
def test_parts_on_disk(decoder, tmp_path):
    """As `device_map` offloads them: weights are loaded where they are used, and texts can be encoded."""
    model, batch = stir(language_model(decoder=decoder, tie_word_embeddings=False)), random_batch()
    model.save_pretrained(tmp_path)
    for one, other in (("cpu", "disk"), ("disk", "cpu")):
        places = {"encoder": one, "decoder": other, "lm_head": one}
        found = AutoModelForMaskedLM.from_pretrained(tmp_path, device_map=places, offload_folder=tmp_path / other)
        with torch.no_grad():
            torch.testing.assert_close(found(**batch).logits, model(**batch).logits)


def test_an_encoder_with_its_table_on_disk_encodes_texts(tokenizer, tmp_path):
    model = stir(models.ConceptEncoder(make_config(**token_ids(tokenizer)))).eval()
    model.save_pretrained(tmp_path)
    places = {name: "cpu" for name, _ in model.named_children()} | {"embeddings": "disk"}
    found = AutoModel.from_pretrained(tmp_path, device_map=places, offload_folder=tmp_path / "offload")
    model.tokenizer = found.tokenizer = tokenizer
    torch.testing.assert_close(found.encode("A dog.").concepts, model.encode("A dog.").concepts)


def test_choosing_parts_leaves_the_users_configuration_alone():
    config = make_config()
    models.ConceptEncoderForMaskedLMWeighted(config)
    assert config.decoder_type is None
    assert models.ConceptEncoderForMaskedDiffusion(config).config.decoder_conv_width == 7
