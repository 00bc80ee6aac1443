# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
A MultiVectorEncoder whose documents are C concepts and whose queries are the vectors of all of their tokens.

B texts, N tokens of a text, C concepts, E width of vectors.
"""

import copy
import json
import re
from functools import partial
from pathlib import Path

from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling, MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from sentence_transformers.util.file_io import load_file_path

from modeling_concept.base_concept import SENTENCE_TRANSFORMER_FILES

from ..utils.errors import UNREADABLE, first_line
from .concept_pooling import ConceptPooling


# How `modules.json` names the class, so that the file beside it is found; and how Python names it.
REFERENCE = f"concept_pooling.{ConceptPooling.__name__}"
FULL_NAME = f"{ConceptPooling.__module__}.{ConceptPooling.__name__}"

# Which method of a concept model makes the vectors, as its checkpoints have it.
CONCEPT_MODALITY = SENTENCE_TRANSFORMER_FILES["sentence_bert_config.json"]["modality_config"]["text"]

# How the configurations of models of several vectors name their kind: sentence-transformers, PyLate and ColBERT.
MULTI_VECTOR = {"MultiVectorEncoder", "ColBERT", "HF_ColBERT"}


def token_modules(model: SentenceTransformer | MultiVectorEncoder) -> list:
    """
    The modules that give the vectors of all tokens, of length 1: those of a MultiVectorEncoder but for its poolings,
    or the transformer of a SentenceTransformer, without any training for it. Of a concept checkpoint these are the
    token states, whose mean is the sentence vector.

    Raises:
        ValueError: the model gives no vectors of tokens, as a concept checkpoint with a free mean does not.
    """
    if isinstance(model, MultiVectorEncoder):
        return [module for module in model if not isinstance(module, BaseTokenPooling)]
    transformer = model[0]
    if getattr(config_of(model), "concept_mean", "free") != "free":
        transformer = with_output(transformer, "last_hidden_state", "token_embeddings")
    if not isinstance(transformer, Transformer) or transformer.module_output_name != "token_embeddings":
        raise ValueError(
            "The model gives no vectors of tokens; choose a SentenceTransformer of a transformer, or a concept "
            "checkpoint whose concept_mean is not free."
        )
    return [transformer, MultiVectorMask(), Normalize(module_input_name="token_embeddings")]


def config_of(model: SentenceTransformer | MultiVectorEncoder):
    """The configuration of the transformer of a model; None if it has none, as one of static vectors."""
    return model[0].config if isinstance(model[0], Transformer) else None


def made_of(modules: list, model: SentenceTransformer | MultiVectorEncoder, kind: type = MultiVectorEncoder):
    """A model of a `kind` with other modules, and with the device and the prompts of `model`, whose texts it gets."""
    options = {"device": str(model.device), "prompts": model.prompts, "default_prompt_name": model.default_prompt_name}
    if isinstance(model, MultiVectorEncoder) and issubclass(kind, MultiVectorEncoder):
        options["similarity_fn_name"] = model.similarity_fn_name
    return kind(modules=modules, **options)


def token_encoder(model: SentenceTransformer | MultiVectorEncoder) -> MultiVectorEncoder:
    """The model that gives the vectors of all tokens; ValueError as [`token_modules`]."""
    return made_of(token_modules(model), model)


def with_output(transformer: Transformer, output: str, name: str) -> Transformer:
    """The transformer of a concept checkpoint, which gives `output` of its sentence features under a `name`."""
    transformer = copy.copy(transformer)
    transformer.modality_config = {"text": {**CONCEPT_MODALITY, "method_output_name": output}}
    transformer.module_output_name = name
    return transformer


def sentence_model(model: SentenceTransformer | MultiVectorEncoder) -> SentenceTransformer:
    """The model of one vector: itself, or the sentence vector of a MultiVectorEncoder's transformer, which is the mean
    of its states but in a concept checkpoint with weights."""
    if isinstance(model, SentenceTransformer):
        return model
    if hasattr(config_of(model), "concept_mean"):
        modules = [with_output(model[0], "pooler_output", "sentence_embedding")]
    else:
        modules = [model[0], Pooling(model[0].get_embedding_dimension(), "mean")]
    return made_of(modules, model, SentenceTransformer)


def load_retriever(path: str) -> "ConceptRetriever":
    """The retriever of a folder or Hub id, or one on another model that gives token vectors. ValueError as
    [`load_token_model`] and [`token_modules`]."""
    model = load_token_model(path)
    return model if isinstance(model[-1], ConceptPooling) else ConceptRetriever.from_model(model)


def load_token_model(path: str, num_layers: int | None = None) -> SentenceTransformer | MultiVectorEncoder:
    """
    A MultiVectorEncoder, or any other model of sentence-transformers as a SentenceTransformer.

    Args:
        path: folder or Hub id.
        num_layers: of the transformer, the first ones; all by default.

    Raises:
        ValueError: the model cannot be read, or has fewer layers.
    """

    def value(file: str, name: str):
        found = load_file_path(path, file)
        return json.loads(Path(found).read_text(encoding="utf-8")).get(name) if found else None

    try:
        kind = value("config_sentence_transformers.json", "model_type")
        classes = value("config.json", "architectures") or ()
        several = MULTI_VECTOR & {kind, *classes}
        load = (
            partial(ConceptRetriever._load_with_module_classes, path, {})
            if several
            else partial(SentenceTransformer, path)
        )
        model = load()
        if num_layers is None:
            return model
        config = config_of(model)
        if hasattr(config, "concept_mean"):
            raise ValueError("it is a concept checkpoint, whose layers cannot be cut; leave the number of layers out")
        depth = getattr(config, "num_hidden_layers", 0)
        if num_layers > depth:
            raise ValueError(f"it has {depth} layers, not {num_layers}")
        return load(config_kwargs={"num_hidden_layers": num_layers})
    except UNREADABLE as error:
        raise ValueError(f"The model {path!r} cannot be read: {first_line(error)}") from error


class ConceptRetriever(MultiVectorEncoder):
    """
    `encode_document` gives C concepts of each text, `encode_query` one vector a token, `similarity` their MaxSim.

        retriever = ConceptRetriever.from_model(SentenceTransformer("sentence-transformers/all-MiniLM-L6-v2"))
        documents = retriever.encode_document(texts, num_vectors=16)  # or tokens_per_concept=16
        retriever.similarity(retriever.encode_query(questions), documents)

    A saved model carries the code of its pooling: `MultiVectorEncoder(path, trust_remote_code=True)` loads it without
    this package.
    """

    @classmethod
    def from_model(cls, model: SentenceTransformer | MultiVectorEncoder, **options) -> "ConceptRetriever":
        """A retriever on the token vectors of `model`, with its prompts; `options` of [`ConceptPooling`], without
        which the pooling of a retriever stays. ValueError as [`token_modules`]."""
        own = isinstance(model[-1], ConceptPooling) and not options
        return made_of([*token_modules(model), model[-1] if own else ConceptPooling(**options)], model, cls)

    def save(self, path: str, *args, **kwargs) -> None:
        """As in MultiVectorEncoder; `modules.json` names the file of the pooling that stands beside it, and the card
        says that it is run."""
        super().save(path, *args, **kwargs)
        card = Path(path, "README.md")
        if card.is_file():
            call = re.compile(r'(MultiVectorEncoder\("[^"]*")\)')
            card.write_text(
                call.sub(r"\1, trust_remote_code=True)", card.read_text(encoding="utf-8")), encoding="utf-8"
            )
        file = Path(path, "modules.json")
        modules = json.loads(file.read_text(encoding="utf-8"))
        for module in modules:
            module["type"] = REFERENCE if module["type"] == FULL_NAME else module["type"]
        file.write_text(json.dumps(modules, indent=2), encoding="utf-8")

    @classmethod
    def _load_with_module_classes(cls, path, module_classes, **kwargs):
        """A model whose poolings are of this package's class, whatever code lies beside it. The Trainer loads its own
        checkpoints so."""
        return super()._load_with_module_classes(path, {**module_classes, REFERENCE: ConceptPooling}, **kwargs)
