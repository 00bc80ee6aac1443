# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What every model of the package shares: initialisation, loading without silent random weights, and saving with the
code, so that a checkpoint loads where this package is not installed."""

import copy
import json
import re
import shutil
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

import torch.nn as nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import logging

from .card_concept import card_to_push
from .configuration_concept import (
    AUTO_CLASSES,
    FIRST_WEIGHTS,
    POOLING_CLASSIFIERS,
    ConceptEncoderConfig,
    wrong_kind,
)
from .loading_concept import CONVERT_FIRST, ORIGINAL_WEIGHT
from .text_concept import ConceptTextMixin, tokenizer_source


logger = logging.get_logger(__name__)

# The folder's entry file: it imports all others directly, as loaders before transformers 5.10 need.
ENTRY_FILE = "modeling_concept"

# The two files that make a checkpoint a SentenceTransformer whose embedding is `pooler_output`.
SENTENCE_TRANSFORMER_FILES = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}
    ],
    "sentence_bert_config.json": {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}},
        "module_output_name": "sentence_embedding",
    },
}

# Of the files in a folder, those that make the model on the Hub: nothing of the optimizer, of logs, of other steps.
WEIGHTS = "model*.safetensors*"
HUB_FILES = (
    "*_concept.py", "config.json", WEIGHTS, "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json",
    "added_tokens.json", "*.jinja", *SENTENCE_TRANSFORMER_FILES, "README.md", "*.png", "*.svg",
)  # fmt: skip

# What a model has on the Hub before somebody describes it.
DRAFT_CARD = """---
library_name: transformers
pipeline_tag: {task}
tags:
{tags}
---

# {name}

`{model_class}`: a text becomes {config.concept_num} concept vectors of width {config.hidden_size}. What it was trained
on, and how well it does, is not described yet.

```python
from transformers import {auto_class}

model = {auto_class}.from_pretrained("{repo_id}", trust_remote_code=True)
tokenizer = model.tokenizer
```
"""


class ConceptPreTrainedModel(ConceptTextMixin, PreTrainedModel):
    """
    Base of all concept models.

    A subclass may choose parts: `part_choices` holds configuration values that make the class what it is (another
    value in the configuration is an error; the first of a tuple is the usual one), `part_defaults` those used where
    the configuration leaves a choice open.
    `auto_class` names the Auto class that loads it, `new_head_keys` the prefixes of weights that a checkpoint of
    another class need not have.
    """

    config: ConceptEncoderConfig
    base_model_prefix = "encoder"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    # What may be sharded on its own; a decoder layer's keys and values are made outside its forward.
    _no_split_modules = ["ConceptEncoderLayer", "BiXTEncoderLayer", "SlotEncoderLayer"]

    part_choices: dict = {}
    part_defaults: dict = {}
    auto_class: str | None = None
    new_head_keys: tuple[str, ...] = ()
    raises_for_missing_weights = True

    def __init__(self, config, *args, **kwargs):
        super().__init__(self.choose_parts(config), *args, **kwargs)

    @classmethod
    def choose_parts(cls, config):
        """
        A copy of `config` with the choices of this class filled in, or `config` itself where there is nothing to
        fill in.

        Raises:
            ValueError: the configuration belongs to a model with another kind of encoder or with other parts, or has
                values, changed since it was made, that make no network.
        """
        # By name: a configuration loaded with remote code is an instance of its own copy of the class, and one that
        # `from_pretrained` read keeps the model type of the checkpoint.
        if config.model_type != cls.config_class.model_type:
            raise ValueError(cls.wrong_kind(config.model_type))
        config.validate_architecture()
        choices = dict(cls.part_defaults)
        for name, values in cls.part_choices.items():
            values = values if isinstance(values, tuple) else (values,)
            choices[name] = values[0]
            if getattr(config, name) not in (None, *values):
                raise ValueError(
                    f"{cls.__name__} has {name}={values[0]!r}, but the configuration says {getattr(config, name)!r}; "
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

    @classmethod
    def wrong_kind(cls, model_type: str) -> str:
        """The sentence on a checkpoint or configuration whose encoder is of the kind `model_type`, not of this one."""
        return wrong_kind(cls.__name__, cls.config_class.model_type, model_type, cls.auto_class or "AutoModel")

    def _init_weights(self, module):
        """Fan-in initialisation, or N(0, `initializer_range`). A module with parameters of its own brings
        `init_own_parameters(constant_std)`."""
        super()._init_weights(module)
        constant_std = self.config.initializer_range
        if hasattr(module, "init_own_parameters"):
            module.init_own_parameters(constant_std)
        elif isinstance(module, nn.Linear):
            gain = getattr(module, "init_gain", 1.0)
            if gain == 0:
                init.zeros_(module.weight)
            elif getattr(module, "init_identity", False):
                init.eye_(module.weight)
            else:
                init.normal_(module.weight, std=constant_std or gain * module.in_features**-0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=constant_std or module.embedding_dim**-0.5)
            if module.padding_idx is not None and not getattr(module.weight, "_is_hf_initialized", False):
                init.zeros_(module.weight[module.padding_idx])

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, output_loading_info=False, **kwargs):
        """
        As in transformers, but weights that the checkpoint lacks are an error, not random numbers, unless they belong
        to a new classification head.

        Raises:
            ValueError: the checkpoint has another kind of encoder, is of the original implementation, or lacks weights
                of this class, which the message names.
        """
        model, info = super().from_pretrained(
            pretrained_model_name_or_path, *model_args, output_loading_info=True, **kwargs
        )
        missing = sorted(key for key in info["missing_keys"] if not key.startswith(cls.new_head_keys or ("\0",)))
        if missing and cls.raises_for_missing_weights:
            own = cls.config_class.model_type
            unexpected = [key.removeprefix("encoder.") for key in info["unexpected_keys"]]
            if any(ORIGINAL_WEIGHT in key for key in unexpected) and "original" not in own:
                raise ValueError(CONVERT_FIRST.format(pretrained_model_name_or_path))
            for model_type, name in FIRST_WEIGHTS.items():  # a configuration of another kind was given
                if model_type != own and any(key.startswith(name) for key in unexpected):
                    raise ValueError(cls.wrong_kind(model_type))
            shown = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
            saved = model.config.architectures
            raise ValueError(
                f"{pretrained_model_name_or_path} does not hold the weights of {cls.__name__}: {shown} would be random"
                f" (its configuration names {saved}). Load it with the class that saved it, or take only its encoder "
                "with `ConceptEncoder.from_pretrained` and assign it."
            )
        source = tokenizer_source(pretrained_model_name_or_path, model.config, kwargs)
        for module in model.modules():
            if isinstance(module, ConceptTextMixin):
                module._tokenizer_source = source
        return (model, info) if output_loading_info else model

    @classmethod
    def auto_map(cls, config) -> dict[str, str]:
        """What the Auto classes find for a checkpoint of this class, each in the entry file."""
        names = {**AUTO_CLASSES[config.model_type], "AutoConfig": type(config).__name__}
        if cls.__name__ in POOLING_CLASSIFIERS:
            names["AutoModelForSequenceClassification"] = POOLING_CLASSIFIERS[cls.__name__]
        if cls.auto_class is not None:
            names[cls.auto_class] = cls.__name__
        return {auto_class: f"{ENTRY_FILE}.{name}" for auto_class, name in names.items()}

    def save_pretrained(self, save_directory, *args, is_main_process=True, push_to_hub=False, **kwargs):
        """As in transformers, and beside the weights: this package's modelling code, the `auto_map` through which
        `trust_remote_code=True` finds it, and the two files of a SentenceTransformer. With `push_to_hub` this model's
        files of the folder go to the Hub as by [`push_to_hub`], whose options are taken."""
        names = (
            "repo_id", "commit_message", "commit_description", "private", "revision", "create_pr", "overwrite_card",
        )  # fmt: skip
        hub_options = {name: kwargs.pop(name) for name in names if name in kwargs}
        self.config.auto_map = self.auto_map(self.config)
        with own_auto_map(type(self), type(self.config)):
            super().save_pretrained(save_directory, *args, is_main_process=is_main_process, **kwargs)
        if is_main_process:
            write_code(save_directory)
        if push_to_hub and is_main_process:
            self._push_folder(Path(save_directory), token=kwargs.get("token"), **hub_options)

    def push_to_hub(self, repo_id: str, *, private: bool | None = True, token=None, max_shard_size="50GB", **options):
        """
        As in transformers, but a new repository is private unless told otherwise, and code, tokenizer and the files of
        a SentenceTransformer go with the weights.

        Args:
            repo_id: `owner/name`, or a name of one's own; a repository that exists keeps its visibility, which is
                told where it is not the one asked for.
            private: False for a model that everyone may read.
            options: `commit_message`, `commit_description`, `revision`, `create_pr`; `overwrite_card` for a card that
                somebody has edited on the Hub.

        Returns:
            `huggingface_hub.CommitInfo`.

        Raises:
            ValueError: the card on the Hub is not the one that was pushed; nothing is changed.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, max_shard_size=max_shard_size)
            return self._push_folder(Path(folder), repo_id, private, token, **options)

    def _push_folder(self, folder, repo_id=None, private=True, token=None, commit_message=None, **options):
        from huggingface_hub import HfApi

        repo_id = open_repo(repo_id or folder.resolve().name, private, token)
        if not (folder / "tokenizer_config.json").is_file():
            try:
                self.tokenizer.save_pretrained(folder)
            except ValueError as error:
                logger.warning("%s gets no tokenizer. %s", repo_id, error)
        files = hub_files(folder)
        if "README.md" not in files and not HfApi(token=token).file_exists(repo_id, "README.md"):
            files["README.md"] = self._draft_card(repo_id).encode()
        message = commit_message or f"Upload {type(self).__name__}"
        return upload_files(repo_id, files, token, commit_message=message, **options)

    def _draft_card(self, repo_id: str) -> str:
        auto_class = self.auto_class or "AutoModel"
        task = "text-classification" if "Classification" in auto_class else "feature-extraction"
        tags = "- concept-encoder\n- sentence-transformers" if task == "feature-extraction" else "- concept-encoder"
        return DRAFT_CARD.format(
            task=task, tags=tags, auto_class=auto_class, repo_id=repo_id, name=repo_id.split("/")[-1],
            config=self.config, model_class=type(self).__name__,
        )  # fmt: skip


def open_repo(repo_id: str, private: bool | None = True, token: str | None = None) -> str:
    """
    The full id of a model repository, which is made where there is none; private unless `private` is False.

    One that exists keeps its visibility, which is told where it is not the one asked for.
    """
    from huggingface_hub import HfApi

    api, private = HfApi(token=token), private is not False
    repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    if api.model_info(repo_id).private != private:
        seen = "public: everyone can read what is pushed" if private else "private: only you can read what is pushed"
        logger.warning("%s exists and stays %s; its settings on the Hub change that.", repo_id, seen)
    return repo_id


def hub_files(folder: Path) -> dict[str, Path | bytes]:
    """What of a folder goes to the Hub, by its path there."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return {name: folder / name for name in names if any(fnmatch(name, pattern) for pattern in HUB_FILES)}


def named_card(text: str, repo_id: str) -> str:
    """A card whose code loads from `repo_id`, in place of what it loads from."""
    own = re.search(r'(?:from_pretrained\(|SentenceTransformer\(|model=)\s*("[^"]+")', text)
    return text.replace(own[1], f'"{repo_id}"') if own else text


def check_card(repo_id: str, card: bytes | Path, token=None, revision=None, overwrite: bool = False) -> bytes:
    """What goes to a repository as its card: [`named_card`] and [`card_to_push`], whose ValueError it raises."""
    from huggingface_hub import HfApi

    text = named_card((card if isinstance(card, bytes) else card.read_bytes()).decode(), repo_id)
    api, there = HfApi(token=token), None
    if api.file_exists(repo_id, "README.md", revision=revision):
        there = Path(api.hf_hub_download(repo_id, "README.md", revision=revision)).read_text(encoding="utf-8")
    text, kept = card_to_push(text, there, repo_id, overwrite)
    if kept:
        logger.warning("The card of %s keeps results that it alone has: %s.", repo_id, ", ".join(kept))
    return text.encode()


def upload_files(
    repo_id: str, files: dict[str, Path | bytes], token=None, revision=None, overwrite_card: bool | None = False,
    **options,
):  # fmt: skip
    """
    Commit files, by their paths in a repository, to it.

    The card is that of [`check_card`], and weights that lie there and are not among the files go away: loaders would
    prefer one old file to several new ones. A pull request may change a card that somebody has edited; with
    `overwrite_card=None` the card goes up as it is, as one does that came from there.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api, files = HfApi(token=token), dict(files)
    if overwrite_card is not None and (card := files.get("README.md")):
        overwrite = overwrite_card or bool(options.get("create_pr"))
        files["README.md"] = check_card(repo_id, card, token, revision, overwrite)
    operations = [CommitOperationAdd(path, source) for path, source in files.items()]
    if any(fnmatch(path, WEIGHTS) for path in files):
        old = {path for path in api.list_repo_files(repo_id, revision=revision) if fnmatch(path, WEIGHTS)}
        operations += [CommitOperationDelete(path) for path in sorted(old - set(files))]
    return api.create_commit(repo_id, operations, revision=revision, **options)


@contextmanager
def own_auto_map(*classes):
    """Within, transformers does not write its own `auto_map` for classes loaded as remote code: it would point at the
    file that defines the class, ours points at the entry file."""
    marks = [(cls, cls._auto_class) for cls in classes]
    try:
        for cls in classes:
            cls._auto_class = None
        yield
    finally:
        for cls, mark in marks:
            cls._auto_class = mark


def write_code(directory) -> None:
    """Copy the modelling code and the SentenceTransformer files into a checkpoint folder."""
    source, target = Path(__file__).resolve().parent, Path(directory).resolve()
    if source != target:
        for file in sorted(source.glob("*_concept.py")):
            shutil.copyfile(file, target / file.name)
    for name, content in SENTENCE_TRANSFORMER_FILES.items():
        (target / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
