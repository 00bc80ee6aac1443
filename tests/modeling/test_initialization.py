# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Initial values, which must survive construction, loading and the meta device."""

import pytest
import torch
from transformers import AutoModelForMaskedLM

import modeling_concept as models
from modeling_concept.embeddings_concept import ConceptQueries
from modeling_concept.encoder_layers_concept import ContentAttention

from .zoo import OWN_ENCODERS, language_model, make_config


def initial_facts(model):
    """What must hold of a fresh model; returns how often each fact was checked."""
    counts = {"zero": 0, "orthogonal": 0, "content": 0, "scale": 0, "identity": 0, "linear": 0}
    for name, module in model.named_modules():
        if name.endswith("modulation.linear"):
            assert (module.weight == 0).all() and (module.bias == 0).all()
            counts["zero"] += 1
        elif isinstance(module, torch.nn.Linear) and name != "lm_head":
            expected = module.init_scale * module.in_features**-0.5
            if module.init_identity:
                assert torch.equal(module.weight, torch.eye(module.in_features)), name
                counts["identity"] += 1
            elif module.init_scale == 0:
                assert (module.weight == 0).all(), name
                counts["zero"] += 1
            else:
                assert float(module.weight.detach().std()) == pytest.approx(expected, rel=0.2), name
                counts["linear"] += 1
        if hasattr(module, "qk_scale"):
            assert (module.qk_scale == 8).all()
            counts["scale"] += 1
        if isinstance(module, ConceptQueries):
            gram = module.concept_embeddings @ module.concept_embeddings.T
            torch.testing.assert_close(gram, torch.eye(len(gram)) * model.config.hidden_size, atol=1e-3, rtol=0)
            counts["orthogonal"] += 1
        if isinstance(module, ContentAttention):
            assert not module.query_bias.any() and not module.key_bias.any()
            counts["content"] += 1
    table = model.get_input_embeddings().weight
    assert float(table[1:].std()) == pytest.approx(model.config.hidden_size**-0.5, rel=0.1)
    assert (table[0] == 0).all()
    return counts


@pytest.mark.parametrize("encoder", OWN_ENCODERS)
def test_fan_in_zero_identity_and_orthogonal_parts_survive_construction(encoder):
    counts = initial_facts(language_model(encoder, "diffusion", hidden_size=64, intermediate_size=64))
    own = counts.pop("content" if "content" not in encoder else "orthogonal")  # of the other kinds of layer
    assert own == 0 and min(counts.values()) >= 1


def test_initial_values_survive_the_meta_device(tmp_path):
    """Weights that a checkpoint lacks are made by the same rules when the model was built on the meta device."""
    model = language_model("perceiver0-stack", "diffusion", hidden_size=64, intermediate_size=64)
    model.save_pretrained(tmp_path, state_dict={"encoder.output_norm.weight": torch.full((64,), 2.0)})

    class Permissive(models.ConceptEncoderForMaskedLM):
        new_head_keys = ("",)

    loaded = Permissive.from_pretrained(tmp_path)
    initial_facts(loaded)
    assert (loaded.encoder.output_norm.weight == 2).all()
    assert (loaded.encoder.token_weights.weights == 1).all()


def test_fresh_concepts_depend_on_the_input():
    """At the design's size: before training, the default network's concepts are about the input."""
    from trainers.evaluation.metrics import concept_metrics

    sizes = {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 1536, "concept_num": 128,
             "max_sequence_length": 512, "vocab_size": 5000, "num_hidden_layers": 6}  # fmt: skip
    model = models.ConceptEncoder(make_config(**sizes)).eval()
    zipf = 1 / torch.arange(1, 4901.0)
    ids = torch.multinomial(zipf.expand(4, -1), 512, replacement=True) + 5
    with torch.no_grad():
        metrics = concept_metrics(model(ids).last_hidden_state)
    assert metrics["content_fraction"] > 0.7  # measured: 0.73
    assert metrics["content_erank"] > 100
    assert metrics["duplicate_share"] == 0


def test_loaded_values_are_not_drawn_again(tmp_path):
    model = language_model(decoder="diffusion")
    with torch.no_grad():
        model.decoder.layers[0].modulation.linear.weight.add_(1)
        model.encoder.concept_queries.concept_embeddings.mul_(3)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
