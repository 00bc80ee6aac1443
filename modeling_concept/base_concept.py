# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Base class of all models: initialisation, loading without silent random weights, and saving with the modelling code,
so that a checkpoint loads where this package is not installed."""

import copy
import json
import re
import shutil
from contextlib import suppress
from pathlib import Path

import torch
import torch.nn as nn
from safetensors.torch import load_file
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import cached_file

from .configuration_concept import AUTO_CLASSES, POOLING_CLASSIFIERS, ConceptEncoderConfig
from .text_concept import ConceptTextMixin


# The file that imports all others and that `auto_map` names.
ENTRY_FILE = "modeling_concept"

# Weights by which a later layer of an encoder makes keys and values of the tokens.
OWN_KEY_VALUES = re.compile(r"(encoder\.)?layers\.\d+\.(token_norm|cross_attn\.[kv]_proj)\.")

# The two files that make a checkpoint a SentenceTransformer whose embedding is `pooler_output`.
SENTENCE_TRANSFORMER_FILES = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}
    ],
    "sentence_bert_config.json": {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "get_sentence_features", "method_output_name": "pooler_output"}},
        "module_output_name": "sentence_embedding",
    },
}


class ConceptPreTrainedModel(ConceptTextMixin, PreTrainedModel):
    """
    Base of all concept models. Class attributes of a subclass:

    part_choices: configuration values that define the class. Another value is an error; the first of a tuple is the
        one for a configuration that leaves the choice open.
    part_defaults: further values for a configuration that leaves the choice open.
    auto_class: name of the Auto class that loads the class.
    new_head_keys: prefixes of weights that a checkpoint of another class need not have.
    """

    config: ConceptEncoderConfig
    base_model_prefix = "encoder"
    main_input_name = "input_ids"
    _input_embed_layer = "token_embeddings"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    # Modules that must not be split between devices; keys and values of a decoder layer come from outside its forward.
    _no_split_modules = ["ConceptEncoderLayer", "BiXTEncoderLayer", "SlotEncoderLayer", "ContentEncoderLayer"]

    part_choices: dict = {}
    part_defaults: dict = {}
    auto_class: str | None = None
    new_head_keys: tuple[str, ...] = ()

    def __init__(self, config, *args, **kwargs):
        super().__init__(self.choose_parts(config), *args, **kwargs)
        self.add_model_tags("concept-encoder")

    @classmethod
    def choose_parts(cls, config):
        """
        `config` with the open choices of this class filled in; a copy if there are any.

        Raises:
            ValueError: the configuration belongs to a model with another kind of encoder or with other parts, or has
                invalid values, set after it was made.
        """
        # By name: a configuration loaded with remote code is an instance of its own copy of the class, and one that
        # `from_pretrained` read keeps the model type of the checkpoint.
        if config.model_type != cls.config_class.model_type:
            raise ValueError(
                f"{cls.__name__} is a {cls.config_class.model_type}, but the checkpoint or configuration is a "
                f"{config.model_type}; load it with {cls.auto_class}, which finds its class."
            )
        config.validate_architecture()
        choices = dict(cls.part_defaults)
        for name, values in cls.part_choices.items():
            values = values if isinstance(values, tuple) else (values,)
            choices[name] = values[0]
            if getattr(config, name) not in (None, *values):
                raise ValueError(
                    f"{cls.__name__} has {name}={values[0]!r}, but the configuration has {getattr(config, name)!r}; "
                    "load it with the class that made it, or start from its encoder alone (`ConceptEncoder."
                    "from_pretrained`; in pretraining --init_encoder_from)."
                )
        open_choices = {name: value for name, value in choices.items() if getattr(config, name) is None}
        if config.tie_word_embeddings and config.token_embedding_dim != config.hidden_size:
            open_choices["tie_word_embeddings"] = False
        if open_choices:
            config = copy.deepcopy(config)
            for name, value in open_choices.items():
                setattr(config, name, value)
        return config

    def _init_weights(self, module):
        """Initialise by [`make_linear`] and [`initial_std`]. A module with parameters of its own has
        `init_own_parameters()`."""
        super()._init_weights(module)
        if hasattr(module, "init_own_parameters"):
            module.init_own_parameters()
        elif isinstance(module, nn.Linear):
            scale = getattr(module, "init_scale", 1.0)
            if getattr(module, "init_identity", False):
                init.eye_(module.weight)
            elif scale == 0:
                init.zeros_(module.weight)
            else:
                init.normal_(module.weight, std=scale * self.initial_std(module.in_features))
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.initial_std(module.embedding_dim))
            if module.padding_idx is not None and not getattr(module.weight, "_is_hf_initialized", False):
                init.zeros_(module.weight[module.padding_idx])

    def initial_std(self, fan_in: int) -> float:
        """Standard deviation of initial weights with `fan_in` inputs each."""
        return fan_in**-0.5

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, output_loading_info=False, **kwargs):
        """
        As in transformers, but weights that the checkpoint lacks are an error instead of random, unless they belong to
        a new classification head.

        Raises:
            ValueError: the checkpoint has another kind of encoder, or lacks weights of this class, which the message
                names.
        """
        model, info = super().from_pretrained(
            pretrained_model_name_or_path, *model_args, output_loading_info=True, **kwargs
        )
        cls.check_weights(pretrained_model_name_or_path, model.config, info)
        names = ("subfolder", "cache_dir", "token", "revision", "local_files_only", "proxies")
        options = {name: kwargs[name] for name in names if kwargs.get(name)}
        for module in model.modules():
            if isinstance(module, ConceptTextMixin):
                module._tokenizer_options = options
        return (model, info) if output_loading_info else model

    @classmethod
    def check_weights(cls, path, config, info: dict) -> None:
        """ValueError if the checkpoint lacks weights, except those of a new head, or has layers that make keys and
        values of the tokens where this network's do not; `info` as in transformers."""
        missing = sorted(key for key in info["missing_keys"] if not key.startswith(cls.new_head_keys))
        if missing:
            shown = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
            raise ValueError(
                f"{path} does not hold the weights of {cls.__name__}: {shown} would be random (its configuration "
                f"names {config.architectures}). Load it with the class that saved it, or take only its encoder with "
                "`ConceptEncoder.from_pretrained` and assign it."
            )
        if own := sorted(filter(OWN_KEY_VALUES.match, info["unexpected_keys"])):
            raise ValueError(
                f"{path} was saved by an earlier version of this package, whose layers all made their own keys and "
                f"values of the tokens ({own[0]}): train it again, or load it with the code beside it, by "
                f"{cls.auto_class} with trust_remote_code=True in a program that does not import this package."
            )

    @classmethod
    def auto_map(cls, config) -> dict[str, str]:
        """For each Auto class the class in the entry file that loads a checkpoint of this class."""
        names = {**AUTO_CLASSES[config.model_type], "AutoConfig": type(config).__name__}
        if cls.__name__ in POOLING_CLASSIFIERS:
            names["AutoModelForSequenceClassification"] = POOLING_CLASSIFIERS[cls.__name__]
        if cls.auto_class is not None:
            names[cls.auto_class] = cls.__name__
        return {auto_class: f"{ENTRY_FILE}.{name}" for auto_class, name in names.items()}

    @classmethod
    def register_for_auto_class(cls, auto_class="AutoModel"):
        """Nothing: for a class loaded as remote code, transformers would save an `auto_map` that names the file which
        defines the class; that of [`save_pretrained`] names the entry file."""

    def save_pretrained(self, save_directory, *args, is_main_process=True, push_to_hub=False, **kwargs):
        """As in transformers. Beside the weights it writes the modelling code, the `auto_map` through which
        `trust_remote_code=True` finds it, the two files of a SentenceTransformer, and the tokenizer if the model has
        one. With `push_to_hub=True` it then calls [`push_to_hub`]."""
        names = ("repo_id", "private", "commit_message", "commit_description", "revision", "create_pr", "tags")
        hub_options = {name: kwargs.pop(name) for name in names if name in kwargs}
        self.config.auto_map = self.auto_map(self.config)
        super().save_pretrained(save_directory, *args, is_main_process=is_main_process, **kwargs)
        if is_main_process:
            write_code(save_directory)
            if self._tokenizer is not None:
                self._tokenizer.save_pretrained(save_directory)
        if push_to_hub and is_main_process:
            hub_options.setdefault("repo_id", Path(save_directory).resolve().name)
            self.push_to_hub(token=kwargs.get("token"), **hub_options)

    def push_to_hub(self, repo_id: str, *, private: bool | None = True, **options):
        """As in transformers, but a new repository is private by default, and the tokenizer is pushed too. A card that
        is on the Hub stays."""
        with suppress(ValueError):  # there is none
            self.tokenizer  # noqa: B018 (loaded, so that it is saved with the weights)
        return super().push_to_hub(repo_id, private=private, **options)


class RecursiveStartMixin:
    """For models that are, or have, a recursive encoder: they may start from a standard checkpoint."""

    def load_from_standard_checkpoint(self, path: str) -> dict[str, list[str]]:
        """
        Start from a standard concept encoder: its embeddings, queries and norms, its first layer as the shared one,
        and each other part of this model (decoder, head) whose weights are all there, of the same shapes.

        Args:
            path: folder or Hub id of a checkpoint of this package with a standard encoder.

        Returns:
            Names under "loaded" (of this model), "skipped" (of the checkpoint: its other layers, and parts that this
            model does not have or has in another form) and "new" (of this model: they keep the values they have).

        Raises:
            ValueError: the checkpoint is recursive itself, or no layer of its encoder fits.
            RuntimeError: a weight of the same name in its encoder has another shape.
        """
        state = load_state_dict(path)
        prefix = "" if self.base_model is self else f"{self.base_model_prefix}."
        # Named parameters leave out the head that is the token table under another name.
        own = dict([*self.named_parameters(), *self.named_buffers()])
        if any("shared_layer." in key for key in state):
            raise ValueError(f"{path} is a checkpoint of a recursive encoder already: load it with from_pretrained.")
        sources = {}  # own name -> name in the checkpoint
        for key in state:
            name = key.removeprefix("encoder.")  # a checkpoint of an encoder alone has no such prefix
            name = re.sub(r"^layers\.0\.", "shared_layer.", name)
            name = prefix + name if prefix + name in own else key
            if name in own:
                sources[name] = key
        if not any(name.startswith(f"{prefix}shared_layer.") for name in sources):
            raise ValueError(f"{path} has no encoder layer 0 that fits this recursive encoder.")
        # A decoder or head is taken as a whole.
        fits = {name for name, key in sources.items() if own[name].shape == state[key].shape}
        other = {name.split(".")[0] for name in own if name not in fits and not name.startswith(prefix)}
        sources = {name: key for name, key in sources.items() if name.split(".")[0] not in other}
        self.load_state_dict({name: state[key] for name, key in sources.items()}, strict=False)
        return {
            "loaded": sorted(sources),
            "skipped": sorted(set(state) - set(sources.values())),
            "new": sorted(set(own) - set(sources)),
        }


def load_state_dict(path: str) -> dict[str, torch.Tensor]:
    """
    Weights of a local folder or Hub id: `model.safetensors` (one file or sharded), or the older `pytorch_model.bin`.

    Raises:
        OSError: there is no such folder or repository, or it holds none of these files.
    """
    find = {"_raise_exceptions_for_missing_entries": False}
    if file := cached_file(path, "model.safetensors", **find):
        return load_file(file)
    if index := cached_file(path, "model.safetensors.index.json", **find):
        names = sorted(set(json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].values()))
        return {key: value for name in names for key, value in load_file(cached_file(path, name)).items()}
    if file := cached_file(path, "pytorch_model.bin", **find):
        return torch.load(file, map_location="cpu", weights_only=True)
    raise OSError(f"{path} holds neither model.safetensors nor pytorch_model.bin.")


def write_code(directory) -> None:
    """Copy the modelling code and the SentenceTransformer files into a checkpoint folder."""
    source, target = Path(__file__).resolve().parent, Path(directory).resolve()
    if source != target:
        for file in sorted(source.glob("*_concept.py")):
            shutil.copyfile(file, target / file.name)
    for name, content in SENTENCE_TRANSFORMER_FILES.items():
        (target / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
