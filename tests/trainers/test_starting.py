# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""How models start: from every kind of checkpoint as every model type, with other values, or not at all."""

import json
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoTokenizer, BertConfig, BertModel

import modeling_concept as models
from trainers import ConceptTrainingArguments
from trainers.checkpoints import write_manifest
from trainers.data.tokenizers import load_tokenizer, read_tokenizer, train_tokenizer
from trainers.fine_tuning import select_tasks
from trainers.fine_tuning.classifiers import Checkpoint
from trainers.model_arguments import MAX_SEQ_LENGTH, SIZES, ModelArguments, read_overrides
from trainers.model_types import MODEL_TYPES
from trainers.models.loading import load_model
from trainers.resuming import resume_options, start_record
from trainers.starting import names_of, plan_start

from ..conftest import TEXTS
from .kit import make_model


def arguments(**options):
    return ConceptTrainingArguments(use_cpu=True, report_to="none", **options)


def start(tokenizer=None, max_seq_length=None, objective=None, **options):
    """The model that options give, and the sentence on it."""
    planned = plan_start(ModelArguments(**options), arguments(objective=objective), max_seq_length)
    return planned.make_model(planned.make_tokenizer(TEXTS) if tokenizer is None else tokenizer)


@pytest.fixture(scope="module")
def checkpoints(tokenizer, tmp_path_factory):
    """Folders of a trained model of each type, of a classifier and of an encoder alone."""
    root, found = tmp_path_factory.mktemp("starts"), {}
    kinds = {name: make_model(name, tokenizer, seed=5) for name in MODEL_TYPES}
    kinds["classifier"] = models.ConceptEncoderForSequenceClassificationPerceiver(kinds["perceiver_mlm"].config)
    kinds["encoder"] = models.ConceptEncoder(kinds["perceiver_mlm"].config)
    for name, model in kinds.items():
        for parameter in model.parameters():  # as after training: what is new differs from what is loaded
            parameter.data.add_(torch.randn_like(parameter), alpha=0.01)
        model.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
        (root / name / "training_run.json").write_text(json.dumps({"vocab_size": 320, "backbone": "org/llm"}))
        found[name] = str(root / name)
    return found


def is_recursive(name):
    return "recursive" in name


def is_other(name, source):
    """Whether one is of the original's network and the other is not."""
    return ("original" in name) != ("original" in source)


def auto_class_of(name):
    return AutoModelForSeq2SeqLM if MODEL_TYPES[name].has_reader else AutoModelForMaskedLM


def shared_layer_of(state):
    return {n.replace("encoder.layers.0.", "encoder.shared_layer."): value for n, value in state.items()}


# -- from a whole checkpoint


@pytest.mark.parametrize("name", MODEL_TYPES)
@pytest.mark.parametrize("source", MODEL_TYPES)
def test_every_type_from_a_checkpoint_of_every_type(source, name, checkpoints, tmp_path):
    saved = MODEL_TYPES[source].model_class.from_pretrained(checkpoints[source]).state_dict()
    without_decoder = MODEL_TYPES[source].has_reader
    repeated = is_recursive(name) and not is_recursive(source) and not without_decoder
    if source != name and (is_other(name, source) or not repeated):
        with pytest.raises(ValueError, match=f"--model_type {name} .*{source}"):
            start(model_type=name, model_name_or_path=checkpoints[source])
        return
    model, sentence = start(model_type=name, model_name_or_path=checkpoints[source])
    assert type(model) is MODEL_TYPES[name].model_class
    if source == name:
        assert "left nothing; new nothing" in sentence
    else:
        saved = shared_layer_of(saved)
        assert "left encoder.layers" in sentence
        assert ("new encoder.state_norm" in sentence) == ("original" not in name)
        assert "encoder.shared_layer" in sentence
    state = model.state_dict()
    common = state.keys() & saved.keys()
    assert set(state.keys() - common) <= {"encoder.state_norm.weight"}
    assert all(torch.equal(state[key], saved[key]) for key in common)
    model.save_pretrained(tmp_path)
    again = auto_class_of(name).from_pretrained(tmp_path)
    assert type(again) is type(model)
    assert all(torch.equal(value, state[key]) for key, value in again.state_dict().items())
    if without_decoder:
        return
    AutoTokenizer.from_pretrained(checkpoints[source]).save_pretrained(tmp_path)
    classifier, new = Checkpoint(str(tmp_path)).load(select_tasks(["mrpc"])[0], seed=0)  # as run_glue.py does
    assert all(
        torch.equal(value, state[key]) for key, value in classifier.encoder.state_dict(prefix="encoder.").items()
    )
    assert new and not any(key.startswith("encoder.") for key in new)


def test_the_type_of_a_checkpoint_is_the_default(checkpoints):
    for name, path in checkpoints.items():
        if name in MODEL_TYPES:
            assert type(start(model_name_or_path=path)[0]) is MODEL_TYPES[name].model_class
        else:
            with pytest.raises(ValueError, match=f"cannot start from .*--init_encoder_from {path}"):
                start(model_name_or_path=path)


def test_iterations_of_a_recursive_start(checkpoints):
    path = checkpoints["perceiver_mlm"]
    model, _ = start(model_type="recursive_mlm", model_name_or_path=path)
    assert model.config.num_iterations == model.config.num_hidden_layers == 2
    model, _ = start(model_type="recursive_mlm", model_name_or_path=path, num_hidden_layers=5)
    assert model.config.num_iterations == 5
    model, _ = start(model_type="recursive_mlm", model_name_or_path=path, config_overrides="num_iterations=3")
    assert model.config.num_iterations == 3


# -- from an encoder


@pytest.mark.parametrize("name", MODEL_TYPES)
@pytest.mark.parametrize("source", [*MODEL_TYPES, "classifier", "encoder"])
def test_the_encoder_of_every_checkpoint_below_every_decoder(source, name, checkpoints, tmp_path):
    path = checkpoints[source]
    if is_other(name, source) or is_recursive(source) != is_recursive(name):
        with pytest.raises(ValueError, match=f"--model_type {name} cannot start from the checkpoint .*{source}"):
            start(model_type=name, init_encoder_from=path)
        return
    options = {"num_decoder_layers": 3}
    if "original" in name:
        options["config_overrides"] = "decoder_type=diffusion,tie_word_embeddings=true"
    model, sentence = start(model_type=name, init_encoder_from=path, **options)
    assert type(model) is MODEL_TYPES[name].model_class
    assert len(model.reader.lm.model.layers if MODEL_TYPES[name].has_reader else model.decoder.layers) == 3
    encoder = AutoModel.from_pretrained(path)
    saved = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    state = model.state_dict()
    assert {key for key in state if key.startswith("encoder.")} == saved.keys()
    assert all(torch.equal(state[key], saved[key]) for key in saved)
    if not MODEL_TYPES[name].has_reader:
        assert model.lm_head.weight is model.get_input_embeddings().weight
    assert ("new reader" if MODEL_TYPES[name].has_reader else "new decoder.layers") in sentence
    model.save_pretrained(tmp_path)
    assert type(auto_class_of(name).from_pretrained(tmp_path)) is type(model)


def test_the_objective_chooses_the_decoder_above_an_encoder(checkpoints):
    path = checkpoints["perceiver_posonly_mlm"]
    for objective, name in (("masked_diffusion", "diffusion_mlm"), ("prefix_diffusion", "prefix_diffusion")):
        assert type(start(init_encoder_from=path, objective=objective)[0]) is MODEL_TYPES[name].model_class
    model, _ = start(
        model_type="recursive_mlm", init_encoder_from=checkpoints["recursive_mlm"], objective="masked_diffusion",
        config_overrides="decoder_type=diffusion",
    )  # fmt: skip
    assert type(model.decoder).__name__ == "DiffusionDecoder"


# -- options beside a checkpoint


@pytest.mark.parametrize("option", ["model_name_or_path", "init_encoder_from"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hidden_size": 64}, "--hidden_size 64 is not what the checkpoint .* has, 32"),
        ({"encoder_type": "bixt"}, "--encoder_type bixt is not what the checkpoint .* has, perceiver"),
        ({"vocab_size": 999}, "--vocab_size 999 is not what the checkpoint .* has, 320"),
        ({"lower_case": True}, "--lower_case True is not what the checkpoint .* has, None"),
        ({"backbone": "other/llm"}, "--backbone other/llm is not what the checkpoint .* has, org/llm"),
        ({"backbone_training": "random"}, "random is for a new model"),
        ({"config_overrides": "hidden_dropout_prob=0.1,concept_num=9"}, "cannot be read as .*queries"),
        ({"config_overrides": "num_hidden_layers=3"}, "would be random"),
        ({"config_overrides": "nothing=3"}, "'nothing' is no name=value"),
    ],
)
def test_options_that_a_checkpoint_contradicts(option, given, message, checkpoints):
    with pytest.raises(ValueError, match=message):
        start(**{option: checkpoints["perceiver_posonly_mlm"]}, **given)


def test_options_that_a_checkpoint_has_are_accepted(checkpoints):
    path, options = checkpoints["perceiver_posonly_mlm"], ModelArguments(vocab_size=320, backbone="org/llm")
    config = AutoModelForMaskedLM.from_pretrained(path).config
    for name in SIZES:
        setattr(options, name, getattr(config, name))
    options.model_name_or_path = path
    planned = plan_start(options, arguments())
    assert planned.max_seq_length == config.max_sequence_length
    assert options.model_type == "perceiver_posonly_mlm"


@pytest.mark.parametrize("option", ["model_name_or_path", "init_encoder_from"])
def test_values_that_leave_the_weights_alone_take_effect_on_a_checkpoint(option, checkpoints):
    path = checkpoints["recursive_mlm"]
    text = "hidden_dropout_prob=0.25,concept_mean=free,num_iterations=7"
    model, _ = start(model_type="recursive_mlm", config_overrides=text, **{option: path})
    assert model.config.num_iterations == 7 and model.config.concept_mean == "free"
    assert model.encoder.embeddings.dropout.p == 0.25
    path = checkpoints["perceiver_posonly_mlm"]
    model, _ = start(**{option: path}, max_seq_length=90, config_overrides="max_sequence_length=90")
    assert model.config.max_sequence_length == 90


def test_two_dropout_views_of_a_checkpoint(checkpoints):
    """As the message of the objective advises."""
    path = checkpoints["perceiver_posonly_mlm"]

    def plan(**options):
        return plan_start(ModelArguments(model_name_or_path=path, **options), arguments(**views))

    views = {"objective": "denoising:1,+contrastive:0.1", "views": "dropout"}
    with pytest.raises(ValueError, match="set hidden_dropout_prob in --config_overrides"):
        plan()
    plan(config_overrides="hidden_dropout_prob=0.1")
    views["objective"] = "contrastive"
    with pytest.raises(ValueError, match="concept_mean=free"):
        plan(config_overrides="hidden_dropout_prob=0.1")
    plan(config_overrides="hidden_dropout_prob=0.1,concept_mean=free")


def test_a_checkpoint_of_low_precision_is_trained_in_float32(checkpoints, tmp_path, tokenizer):
    path = checkpoints["perceiver_posonly_mlm"]
    AutoModelForMaskedLM.from_pretrained(path, dtype=torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for option in ("model_name_or_path", "init_encoder_from"):
        model, _ = start(**{option: str(tmp_path)})
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_tokenizer_whose_file_is_no_tokenizer_ends_in_a_sentence(tokenizer, tmp_path):
    make_model("perceiver_mlm", tokenizer).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    for read in (load_tokenizer, load_model):
        with pytest.raises(ValueError, match=r"(tokenizer|checkpoint) .* cannot be read"):
            read(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_name_or_path": "nowhere"}, "The checkpoint 'nowhere' cannot be read"),
        ({"model_name_or_path": "a", "init_encoder_from": "b"}, "not both"),
        ({"model_type": "perceiver_posonly_mlm", "objective": "masked_diffusion"}, "--init_encoder_from"),
        ({"num_attention_heads": 5}, "not divisible by num_attention_heads 5"),
    ],
)
def test_impossible_starts(options, message):
    with pytest.raises((ValueError, StrictDataclassError)) as raised:
        start(**options)
    assert message in f"{raised.value} {raised.value.__cause__}"


def test_a_model_of_another_library_is_no_checkpoint(tmp_path):
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a model of the type 'bert', not a concept encoder"):
        start(model_name_or_path=str(tmp_path))


# -- values of the configuration


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("decoder_conv_width=none, concept_mean=free", {"decoder_conv_width": None, "concept_mean": "free"}),
        ('decoder_target="both",decoder_type=null', {"decoder_target": "both", "decoder_type": None}),
        ("decoder_target=null,decoder_conv_width=None", {"decoder_target": None, "decoder_conv_width": None}),
        ("classifier_reads_tokens=False,tie_word_embeddings=TRUE,norm_eps=2e-2",
         {"classifier_reads_tokens": False, "tie_word_embeddings": True, "norm_eps": 0.02}),
        ('backbone_config={"a": 1, "b": [2, 3]},concept_num=3',
         {"backbone_config": {"a": 1, "b": [2, 3]}, "concept_num": 3}),
        ('{"backbone_config": {"a": 1, "b": "none"}, "decoder_target": "both", "classifier_reads_tokens": false}',
         {"backbone_config": {"a": 1, "b": "none"}, "decoder_target": "both", "classifier_reads_tokens": False}),
        ("rope_theta=1000,hidden_act=gelu", {"rope_theta": 1000, "hidden_act": "gelu"}),
        (None, {}),
    ],
)  # fmt: skip
def test_values_are_read_by_the_type_of_their_field(text, values):
    found = read_overrides(text, models.ConceptEncoderConfig)
    assert found == values and {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in values.items()
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hidden_size=two", "'hidden_size' expected int, got str"),
        ("hidden_size=none", "'hidden_size' expected int, got NoneType"),
        ("classifier_reads_tokens=yes", "'classifier_reads_tokens' expected bool, got str"),
        ("classifier_reads_tokens=1", "'classifier_reads_tokens' expected bool"),
        ("decoder_target=net", "'decoder_target' .*'both'.*"),
        ("decoder_conv=7", "'decoder_conv' is no name=value of the configuration"),
        ("classifier_reads_tokens", "'classifier_reads_tokens' is no name=value"),
        ("classifier_reads_tokens=", "'classifier_reads_tokens' is no name=value"),
        ('{"classifier_reads_tokens": "no"}', "'classifier_reads_tokens' expected bool"),
        ('{"classifier_reads_tokens": ', "Expecting value"),
    ],
)
def test_values_of_another_type_are_refused_by_name(text, message):
    with pytest.raises((ValueError, StrictDataclassError), match=message):
        models.ConceptEncoderConfig(**read_overrides(text, models.ConceptEncoderConfig))


# -- new models


def test_a_new_model_has_the_usual_sizes_where_none_is_given(tokenizer):
    planned = plan_start(ModelArguments(concept_num=5), arguments())
    model, sentence = planned.make_model(tokenizer)
    sizes = {name: getattr(model.config, name) for name in SIZES}
    assert sizes == {**SIZES, "concept_num": 5} and sentence is None
    assert model.config.max_sequence_length == planned.max_seq_length == MAX_SEQ_LENGTH


@pytest.fixture(scope="module")
def backbone(tokenizer, tmp_path_factory):
    """A small BERT with long rows in its token table, all of them in one direction."""
    folder = tmp_path_factory.mktemp("backbone")
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = BertModel(config)
    table = model.get_input_embeddings().weight.data
    table += torch.randn(32) * (1 + torch.randn(len(table), 1))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


SMALL = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32, "concept_num": 4}


def test_a_random_control_of_a_backbone(backbone):
    """The same architecture and tokenizer, nothing of the weights, all of them trained, and known to be random."""
    found = {how: start(backbone=backbone, backbone_layers=1, backbone_training=how, **SMALL)[0]
             for how in ("full", "frozen", "random")}  # fmt: skip
    shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in found.values()]
    assert shapes[0] == shapes[1] == shapes[2]
    pretrained, random = found["full"].encoder.embeddings, found["random"].encoder.embeddings
    differing = [name for name, value in pretrained.state_dict().items()
                 if value.ndim > 1 and torch.equal(value, random.state_dict()[name])]  # fmt: skip
    assert not differing
    assert all(parameter.requires_grad for parameter in random.parameters())
    assert not pretrained.token_embeddings.weight.equal(random.token_embeddings.weight)
    assert not found["frozen"].encoder.embeddings.token_embeddings.weight.requires_grad
    assert found["random"].config.backbone_source == {} and found["full"].config.backbone_source


def test_a_checkpoint_on_a_backbone_goes_on_with_it(backbone, tmp_path):
    options = ModelArguments(backbone=backbone, backbone_layers=1, **SMALL)
    planned = plan_start(options, arguments())
    tokenizer = planned.make_tokenizer([])
    model, _ = planned.make_model(tokenizer)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    record = start_record(options, SimpleNamespace(max_seq_length=64), arguments())
    (tmp_path / "training_run.json").write_text(json.dumps(record))
    for option in ("model_name_or_path", "init_encoder_from"):
        again = ModelArguments(**{option: str(tmp_path)}, backbone_training="frozen")
        frozen, _ = plan_start(again, arguments()).make_model(tokenizer)
        assert (again.backbone, again.backbone_layers) == (backbone, 1)  # recorded in turn
        parts = frozen.encoder.embeddings
        assert not any(p.requires_grad for p in [*parts.backbone.parameters(), parts.token_embeddings.weight])
        assert frozen.decoder.output_norm.weight.equal(model.decoder.output_norm.weight)


# -- tokenizers


def test_the_tokenizer_of_a_checkpoint_and_others(checkpoints, tokenizer, tmp_path):
    path = checkpoints["perceiver_posonly_mlm"]
    config = AutoModelForMaskedLM.from_pretrained(path).config
    tokenizer.save_pretrained(tmp_path / "same")
    assert read_tokenizer(path, config, str(tmp_path / "same")).get_vocab() == tokenizer.get_vocab()
    short = AutoTokenizer.from_pretrained(path, model_max_length=4)
    short.save_pretrained(tmp_path / "short")
    assert not read_tokenizer(path, config, str(tmp_path / "short")).deprecation_warnings  # of a length
    train_tokenizer([text.upper() for text in TEXTS], 300, 64).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="'.*other' is not that of the checkpoint .*another vocabulary"):
        start(model_name_or_path=path, tokenizer_name=str(tmp_path / "other"))
    small = AutoTokenizer.from_pretrained(path)
    normalizer = json.loads(small.backend_tokenizer.to_str())
    normalizer["normalizer"] = {"type": "Lowercase"}
    small.save_pretrained(tmp_path / "lower")
    (tmp_path / "lower" / "tokenizer.json").write_text(json.dumps(normalizer))
    with pytest.raises(ValueError, match="divides text into other tokens"):
        start(model_name_or_path=path, tokenizer_name=str(tmp_path / "lower"))


# -- resumed runs


@pytest.fixture
def resumable(checkpoints, tmp_path):
    """The last checkpoint of a run."""
    folder = tmp_path / "run" / "checkpoint-4"
    AutoModelForMaskedLM.from_pretrained(checkpoints["perceiver_posonly_mlm"]).save_pretrained(folder)
    for name in ("trainer_state.json", "optimizer.pt"):
        (folder / name).write_text("{}")
    options, training_args = ModelArguments(hidden_size=16, vocab_size=320), arguments(seed=3)
    plan_start(options, training_args)
    record = start_record(options, SimpleNamespace(max_seq_length=64), training_args)
    record |= {"objective": "denoising:0.5,masked_lm:0.5", "objectives": {"denoising": {"deletion_rate": [0.4]}}}
    (folder / "training_run.json").write_text(json.dumps(record))
    write_manifest(folder)
    return folder


def test_a_resumed_run_has_the_options_of_its_checkpoint(resumable):
    options, data_args = ModelArguments(hidden_size=16), SimpleNamespace(max_seq_length=None)
    training_args = arguments(seed=3, output_dir=str(resumable.parent), resume_from_checkpoint="last")
    assert resume_options(options, data_args, training_args) == str(resumable)
    assert (options.vocab_size, options.num_hidden_layers, data_args.max_seq_length) == (320, 2, 64)
    assert options.model_type == "perceiver_posonly_mlm"
    assert training_args.objective == "denoising:0.5,masked_lm:0.5" and training_args.deletion_rate == [0.4]
    training_args = arguments(seed=3, resume_from_checkpoint=str(resumable))
    resume_options(ModelArguments(), data_args, training_args)
    assert training_args.output_dir == str(resumable.parent)
    assert resume_options(ModelArguments(), data_args, arguments()) is None


@pytest.mark.parametrize(
    ("model_options", "length", "seed", "message"),
    [
        ({"hidden_size": 32}, None, 3, "hidden_size 16, not 32"),
        ({"vocab_size": 400}, None, 3, "vocab_size 320, not 400"),
        ({"lower_case": True}, None, 3, "lower_case false, not true"),
        ({"model_type": "weighted_mlm"}, None, 3, 'model_type "perceiver_posonly_mlm", not "weighted_mlm"'),
        ({"model_name_or_path": "other"}, None, 3, 'model_name_or_path null, not "other"'),
        (
            {"config_overrides": "classifier_reads_tokens=false"},
            None,
            3,
            'config_overrides null, not "classifier_reads_tokens=false"',
        ),
        ({}, 32, 3, "max_seq_length 64, not 32"),
        ({}, None, 4, "seed 3, not 4"),
    ],
)
def test_a_resumed_run_refuses_other_options(model_options, length, seed, message, resumable):
    training_args = arguments(seed=seed, resume_from_checkpoint=str(resumable))
    with pytest.raises(ValueError, match=f"checkpoint-4 was made with {message}"):
        resume_options(ModelArguments(**model_options), SimpleNamespace(max_seq_length=length), training_args)


def test_weights_are_named_once(tokenizer):
    model = make_model("perceiver_mlm", tokenizer)
    assert "lm_head.weight" not in names_of(model)  # it is the token table
