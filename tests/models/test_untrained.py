# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The network before training: fresh weights, and everything that training did not make."""

import json
import shutil

import pytest
import torch
import transformers

from modeling_concept import ConceptEncoderForSequenceClassificationViaDecoder
from trainers.models.backbone import read_backbone
from trainers.models.untrained import UntrainedError, untrained_like

from ..modeling.zoo import stir
from .test_backbone import make_model, save_source


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_source(tmp_path_factory.mktemp("sources") / "bert", "BertModel")


def saved(model, folder, source):
    """As an evaluation meets it: written and read, with the record of its run."""
    model.save_pretrained(folder)
    (folder / "training_run.json").write_text(json.dumps({"backbone": str(source)}))
    return type(model).from_pretrained(folder)


@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
@pytest.mark.parametrize("layers", [0, 2])
def test_a_backbone_starts_with_the_weights_of_its_source(layers, trained, source, tmp_path):
    start = make_model(read_backbone(source, layers))
    expected = {name: value.clone() for name, value in start.encoder.embeddings.state_dict().items()}
    model = make_model(read_backbone(source, layers))
    if trained:
        stir(model, 0.1)
    else:
        for name, parameter in model.named_parameters():
            if not name.startswith(("encoder.embeddings.token_embeddings", "encoder.embeddings.backbone")):
                parameter.data.add_(0.1)
    model = saved(model, tmp_path, source if trained else "nowhere")  # which is read only where it must be
    untrained = untrained_like(model, seed=3)
    found = untrained.encoder.embeddings.state_dict()
    kept = [name for name in expected if name.startswith(("token_embeddings", "backbone"))]
    assert len(kept) > 10 if layers else len(kept) == 1
    for name in kept:
        assert torch.equal(found[name], expected[name]), name
    query = "encoder.concept_queries.concept_embeddings"
    assert not torch.equal(untrained.state_dict()[query], model.state_dict()[query])
    assert torch.equal(untrained.state_dict()[query], untrained_like(model, seed=3).state_dict()[query])


def test_classifiers_on_a_backbone_start_with_it(source, tmp_path):
    make_model(read_backbone(source, 1)).save_pretrained(tmp_path)
    model_class = ConceptEncoderForSequenceClassificationViaDecoder
    for model in (model_class.from_pretrained(tmp_path), stir(model_class.from_pretrained(tmp_path), 0.1)):
        model.config.backbone_source["name_or_path"] = source  # as that of a model of the Hub is recorded
        found = untrained_like(model, 0).encoder.embeddings.backbone.state_dict()
        expected = read_backbone(source, 1).layers
        assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def test_a_backbone_whose_start_is_not_known_has_no_untrained_network(source, tmp_path):
    copied = shutil.copytree(source, tmp_path / "source")
    model = saved(stir(make_model(read_backbone(str(copied), 1)), 0.1), tmp_path / "model", copied)
    assert untrained_like(model, 0) is not None
    stir(transformers.BertModel.from_pretrained(copied), 0.1).save_pretrained(copied)
    with pytest.raises(UntrainedError, match="the weights of .*source' are not those"):
        untrained_like(model, 0)
    shutil.rmtree(copied)
    with pytest.raises(UntrainedError, match="compare with: The checkpoint .*source' cannot be read"):
        untrained_like(model, 0)
    (tmp_path / "model" / "training_run.json").unlink()
    with pytest.raises(UntrainedError, match="is not recorded beside the checkpoint"):
        untrained_like(model, 0)
    model.config.backbone_source = None
    with pytest.raises(UntrainedError, match="does not say which model its pretrained layers were taken from"):
        untrained_like(model, 0)
    model.config.backbone_source = {}  # of layers that started at random
    weight = "encoder.embeddings.token_embeddings.weight"
    assert not torch.equal(untrained_like(model, 0).state_dict()[weight], model.state_dict()[weight])


def test_any_other_model_has_fresh_weights_throughout(source):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(source, num_labels=2)
    state, untrained = model.state_dict(), untrained_like(model, 0)
    drawn = [name for name, value in untrained.state_dict().items() if value.ndim == 2]
    assert drawn and not any(torch.equal(untrained.state_dict()[name], state[name]) for name in drawn)
