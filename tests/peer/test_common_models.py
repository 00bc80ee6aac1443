# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Every model class under transformers' own common tests, eager and SDPA."""

import copy
import re
import unittest
from unittest import mock

import pytest
import torch
from transformers.models.auto import modeling_auto

import modeling_concept as models
from modeling_concept.base_concept import ConceptPreTrainedModel

from ..modeling.zoo import MODEL_CLASSES, READER
from .suite import model_tester_mixin


ModelTesterMixin = model_tester_mixin()
pytestmark = pytest.mark.peer

# The common tests make labels by the class names that transformers knows, and none for base models.
for _class in MODEL_CLASSES:
    _names = {
        "AutoModel": modeling_auto.MODEL_MAPPING_NAMES,
        "AutoModelForMaskedLM": modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        "AutoModelForSeq2SeqLM": modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        "AutoModelForSequenceClassification": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    }[_class.auto_class]
    _names[_class.__name__] = _class.__name__


class ConceptModelTester:
    """What the common tests ask of a model: a small configuration and inputs for it."""

    config_class = models.ConceptEncoderConfig
    options = {}

    def __init__(self, parent, batch_size=3, seq_length=7, concept_num=5):
        self.parent, self.batch_size, self.seq_length = parent, batch_size, seq_length
        self.is_training = True
        self.hidden_size, self.num_hidden_layers, self.num_attention_heads = 32, 2, 4
        # Self-attention is of concepts to concepts.
        self.encoder_seq_length = self.key_length = concept_num

    def get_config(self):
        return self.config_class(
            vocab_size=99,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=37,
            concept_num=self.encoder_seq_length,
            max_sequence_length=64,
            pad_token_id=0,
            mask_token_id=3,
            **self.options,
        )

    def prepare_config_and_inputs_for_common(self):
        ids = torch.randint(4, 99, (self.batch_size, self.seq_length))
        mask = torch.ones_like(ids)
        mask[0, -2:] = 0
        return self.get_config(), {"input_ids": ids, "attention_mask": mask}


class PairModelTester(ConceptModelTester):
    """Two sentences instead of one."""

    def prepare_config_and_inputs_for_common(self):
        config, inputs = super().prepare_config_and_inputs_for_common()
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        return config, {
            "input_ids_a": ids, "attention_mask_a": mask, "input_ids_b": ids.flip(0), "attention_mask_b": mask.flip(0),
        }  # fmt: skip


class CommonTests(ModelTesterMixin):
    """Base of the test classes below; a class of tests for each kind of input."""

    options: dict = {}
    config_class = models.ConceptEncoderConfig
    test_resize_embeddings = True

    def setUp(self):
        self.model_tester = ConceptModelTester(self)
        self.model_tester.options, self.model_tester.config_class = self.options, self.config_class

    def one_class_at_a_time(self, test):
        """The configuration that a test hands on carries the parts that the class before chose."""
        for model_class in type(self).all_model_classes:
            self.all_model_classes = (model_class,)
            test()

    def test_attention_outputs(self):
        self.one_class_at_a_time(super().test_attention_outputs)

    def test_load_with_mismatched_shapes(self):
        self.one_class_at_a_time(super().test_load_with_mismatched_shapes)

    def run(self, result=None):
        """The suite loads checkpoints without some weights on purpose, which this package refuses to users."""
        with mock.patch.object(ConceptPreTrainedModel, "check_weights"):
            return super().run(result)


def classes_of(config_class):
    """The model classes of a configuration class that take the usual inputs."""
    return tuple(
        model_class
        for model_class in MODEL_CLASSES
        if model_class.config_class is config_class and not re.search("Pair|Prefix|Conditional", model_class.__name__)
    )


class TestStandardModels(CommonTests, unittest.TestCase):
    all_model_classes = classes_of(models.ConceptEncoderConfig)


class TestBiXTModels(CommonTests, unittest.TestCase):
    options = {"encoder_type": "bixt"}
    all_model_classes = (models.ConceptEncoder, models.ConceptEncoderForMaskedLMPerceiverPosOnly)


class TestSlotModels(CommonTests, unittest.TestCase):
    options = {"encoder_type": "slot"}
    all_model_classes = (models.ConceptEncoder, models.ConceptEncoderForMaskedLMPerceiverPosOnly)


class TestContentModels(CommonTests, unittest.TestCase):
    options = {"encoder_type": "content"}
    all_model_classes = (models.ConceptEncoder, models.ConceptEncoderForMaskedLMPerceiverPosOnly)


class TestRecursiveModels(CommonTests, unittest.TestCase):
    config_class = models.RecursiveConceptEncoderConfig
    all_model_classes = classes_of(config_class)


class OriginalTests:
    """Before a class of tests: `nn.MultiheadAttention` gives weights, but no gradient flows through those it gives."""

    def test_retain_grad_hidden_states_attentions(self):
        self.has_attentions = False
        super().test_retain_grad_hidden_states_attentions()


class TestOriginalModels(OriginalTests, CommonTests, unittest.TestCase):
    config_class = models.OriginalConceptEncoderConfig
    all_model_classes = classes_of(config_class)


class TestOriginalBiXTModels(TestOriginalModels):
    options = {"encoder_type": "bixt", "decoder_type": "position"}
    all_model_classes = (models.OriginalConceptEncoder, models.OriginalConceptEncoderForMaskedLM)


class TestRecursiveOriginalModels(TestOriginalModels):
    config_class = models.RecursiveOriginalConceptEncoderConfig
    all_model_classes = classes_of(config_class)


class TestPrefixDiffusion(CommonTests, unittest.TestCase):
    all_model_classes = (models.ConceptEncoderForPrefixDiffusion,)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = copy.deepcopy(inputs_dict)
        ids = inputs["input_ids"] if "input_ids" in inputs else torch.full((3, 7), 5)
        inputs["decoder_input_ids"] = ids.masked_fill(torch.arange(ids.shape[1]) % 2 == 0, 3)
        if return_labels:
            inputs["labels"] = ids.clone()
        return inputs


class TestReaders(TestPrefixDiffusion):
    options = {"reader_config": {**READER, "vocab_size": 99, "tie_word_embeddings": True}}
    all_model_classes = (models.ConceptEncoderForConditionalGeneration,)
    # Tests of generation lie in no distribution; tests/modeling/test_reader.py has some.
    all_generative_model_classes = ()

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        """The vocabulary of the reader stays when that of the encoder is resized."""
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        return inputs | {
            name: inputs[name].clamp(max=98) for name in ("decoder_input_ids", "labels") if name in inputs
        }


class TestRecursiveReaders(TestReaders):
    config_class = models.RecursiveConceptEncoderConfig
    all_model_classes = (models.RecursiveConceptEncoderForConditionalGeneration,)


class TestPairModels(CommonTests, unittest.TestCase):
    all_model_classes = (models.ConceptEncoderForSentencePairClassification,)

    def setUp(self):
        super().setUp()
        self.model_tester = PairModelTester(self)
        self.model_tester.config_class = self.config_class


def _one_sentence(self):
    self.skipTest("the test itself builds or edits `input_ids`; tests/modeling does the same for sentence pairs")


for _name in dir(ModelTesterMixin):
    if _name.startswith("test_eager_matches_sdpa_inference") or _name == "test_resize_tokens_embeddings":
        setattr(TestPairModels, _name, _one_sentence)


class TestRecursivePairModels(TestPairModels):
    config_class = models.RecursiveConceptEncoderConfig
    all_model_classes = (models.RecursiveConceptEncoderForSentencePairClassification,)


class TestOriginalPairModels(OriginalTests, TestPairModels):
    config_class = models.OriginalConceptEncoderConfig
    all_model_classes = (models.OriginalConceptEncoderForSentencePairClassification,)


class TestRecursiveOriginalPairModels(OriginalTests, TestPairModels):
    config_class = models.RecursiveOriginalConceptEncoderConfig
    all_model_classes = (models.RecursiveOriginalConceptEncoderForSentencePairClassification,)
