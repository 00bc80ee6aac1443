# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Push a run while it trains, or a folder with results, to the Hub. New repositories are private by default."""

import hashlib
import json
import re
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard, RepoUrl, constants, get_token
from transformers.trainer_utils import HubStrategy
from transformers.utils import logging

import modeling_concept
from modeling_concept.base_concept import ENTRY_FILE, SENTENCE_TRANSFORMER_FILES
from modeling_concept.heads_generation_concept import READER_FOLDER

from ..data.tokenizers import load_tokenizer
from ..evaluation.results import is_measured, measured_model, read_report
from ..models.loading import load_weights, read_config
from ..utils.errors import first_line
from ..utils.script import share_text
from .model_card import keep_results


logger = logging.get_logger(__name__)

# Larger files are weights and states of optimizers, which are not searched for the token.
SCANNED_BYTES = 10_000_000

# The last line of a pushed card.
PUSHED = re.compile(r"\n*<!-- pushed: (\w+) -->\n?")

# The files of a folder that belong to its model: none of the optimizer, of logs, of checkpoints.
WEIGHTS = "model*.safetensors*"
HUB_FILES = (
    "*_concept.py", "config.json", WEIGHTS, "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json",
    "added_tokens.json", "generation_config.json", "*.jinja", *SENTENCE_TRANSFORMER_FILES, "*.png", "*.svg",
)  # fmt: skip


def open_repo(repo_id: str, private: bool | None = True, token: str | None = None) -> str:
    """The full id of a model repository, which is created if there is none, private unless `private` is False. An
    existing one keeps its visibility; a warning is logged where that differs from `private`."""
    api, private = HfApi(token=token), private is not False
    repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    if api.model_info(repo_id).private != private:
        seen = "public" if private else "private"
        logger.warning("%s exists and stays %s; its settings on the Hub change that.", repo_id, seen)
    return repo_id


def pushed_card(repo_id: str, token=None, revision=None, overwrite: bool = False) -> ModelCard:
    """
    The card in a repository, an empty one if there is none.

    Raises:
        ValueError: it is not as it was pushed, and `overwrite` is false.
    """
    api, card = HfApi(token=token), ModelCard("")
    if api.file_exists(repo_id, "README.md", revision=revision):
        path = api.hf_hub_download(repo_id, "README.md", revision=revision)
        card = ModelCard.load(path, ignore_metadata_errors=True)
    mark = PUSHED.search(card.text)
    if card.text.strip() and not overwrite and (mark is None or mark[1] != card_digest(card)):
        raise ValueError(
            f"The card of {repo_id} is not the one that was pushed from here: push with --overwrite_card by "
            "examples/push_to_hub.py to replace it, but for its results."
        )
    return card


def card_to_push(card: str, old: ModelCard, repo_id: str) -> str:
    """A card that replaces `old` in a repository: its examples load that repository instead of the name that the first
    of them loads, it keeps the results that only `old` has, and it ends with a digest by which edits are noticed."""
    own = re.search(r'(?:from_pretrained\(|SentenceTransformer\(|model=)\s*("[^"]+")', card)
    named = card.replace(own[1], f'"{repo_id}"') if own else card
    new = ModelCard(PUSHED.sub("\n", named), ignore_metadata_errors=True)
    if kept := keep_results(new, old):
        logger.warning("The card of %s keeps results that only it has: %s.", repo_id, ", ".join(kept))
    return f"{str(new).rstrip()}\n\n<!-- pushed: {card_digest(new)} -->\n"


def card_digest(card: ModelCard) -> str:
    """Of metadata and text, without regard to white space."""
    content = [card.data.to_dict(), PUSHED.sub("", card.text).split()]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


# Folders


def check_folder(folder: str | Path):
    """
    The model of a folder that is to be pushed, with its tokenizer, loaded by the class that its configuration names.

    Raises:
        ValueError: the folder holds no concept model, not all of its weights, or no tokenizer that fits.
    """
    config = read_config(str(folder))
    model_class = getattr(modeling_concept, (config.architectures or ["PreTrainedModel"])[0])
    if not (Path(folder, f"{ENTRY_FILE}.py").exists() and Path(folder, "modules.json").exists()):
        raise ValueError(f"{folder} has no code; load the model and save it there by save_pretrained.")
    model, info = load_weights(model_class, str(folder), "auto")
    if info["missing_keys"]:
        raise ValueError(f"{folder} lacks the weights {sorted(info['missing_keys'])}.")
    model.tokenizer = load_tokenizer(str(folder))
    if getattr(config, "own_reader_tokenizer", False):
        model.reader_tokenizer = load_tokenizer(str(Path(folder, READER_FOLDER)))
    return model


def model_files(folder: Path, card: ModelCard) -> dict[str, Path | bytes]:
    """The files of a folder that `HUB_FILES` names, by path, with the card and the pictures that it shows; ValueError
    if one of these is missing."""
    paths = sorted(path for path in (*folder.iterdir(), *(folder / READER_FOLDER).glob("*")) if path.is_file())
    files = {
        path.relative_to(folder).as_posix(): path
        for path in paths
        if any(fnmatch(path.name, pattern) for pattern in HUB_FILES)
    }
    for picture in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", card.text):
        if not re.match(r"[a-z]+:", picture):  # of another site
            if not (folder / picture).is_file():
                raise ValueError(f"The card shows {picture}, which {folder} does not have.")
            files[picture] = folder / picture
    return {**files, "README.md": str(card).encode()}


def upload(
    repo_id: str, files: dict[str, Path | bytes], message: str, token: str | None = None,
    revision: str | None = None, overwrite_card: bool = False,
) -> RepoUrl:  # fmt: skip
    """
    Commit files, by their paths in a repository, to it. Weights in the repository that are not among the files are
    deleted: loaders would prefer one old file to several new ones.

    Args:
        overwrite_card: whether a card that somebody has edited on the Hub may be replaced.

    Raises:
        ValueError: as in [`pushed_card`]; a file holds the access token.
    """
    if secret := token or get_token():
        for path, source in files.items():
            if isinstance(source, bytes) or source.stat().st_size <= SCANNED_BYTES:
                content = source if isinstance(source, bytes) else source.read_bytes()
                if secret.encode() in content:
                    raise ValueError(f"{path} holds your access token; remove it before pushing.")
    api, old = HfApi(token=token), pushed_card(repo_id, token, revision, overwrite_card)
    files = files | {"README.md": card_to_push(files["README.md"].decode(), old, repo_id).encode()}
    weights = {path for path in api.list_repo_files(repo_id, revision=revision) if fnmatch(path, WEIGHTS)}
    operations = [CommitOperationAdd(path, source) for path, source in files.items()]
    operations += [CommitOperationDelete(path) for path in sorted(weights - set(files))]
    api.create_commit(repo_id, operations, commit_message=message, revision=revision)
    return RepoUrl(f"{constants.ENDPOINT}/{repo_id}")


# Results


def result_files(files: Iterable[str | Path]) -> dict[str, Path | bytes]:
    """Files of results by their path in a repository, `results/<folder>/<name>`. JSON and Markdown lose the paths of
    folders on this machine except for the last part."""
    found = {}
    for file in map(Path, files):
        path = f"results/{file.resolve().parent.name}/{file.name}"
        if path in found:
            raise ValueError(f"Two files would have the path {path}; rename one of their folders.")
        is_text = file.suffix in (".json", ".md")
        found[path] = share_text(file.read_text(encoding="utf-8")).encode() if is_text else file
    return found


def card_results(path: str | Path, checkpoint: str | Path) -> dict:
    """
    A file of results as arguments of [`add_results`]: `results`, and `task_type` and `datasets` where the file has
    them.

    Raises:
        ValueError: as in [`read_report`]; the results are not those of the checkpoint.
    """
    content = read_report(path)
    model, weights = measured_model(content)
    if model is None or not is_measured(model, weights, checkpoint):
        raise ValueError(f"{path} was measured on {model or 'several models'}, not on the weights of {checkpoint}.")
    return {name: content[name] for name in ("results", "task_type", "datasets") if name in content}


# Runs


class HubPushMixin:
    """
    For subclasses of [`transformers.Trainer`], before it among the bases: each push is one commit of everything that
    loads without this package, and the card, but no state of the optimizer unless `hub_strategy` requests checkpoints.
    The training waits for each push. Until `card` is set, the method `draft_card` of the subclass makes one.
    """

    card: ModelCard | None = None

    def init_hf_repo(self, token=None, private=None):
        """As in [`Trainer`]; private by default, and ValueError where a push would be refused."""
        if self.is_world_process_zero():
            name = self.args.hub_model_id or Path(self.args.output_dir).absolute().name
            private = self.args.hub_private_repo if private is None else private
            token = token or self.args.hub_token
            self.hub_model_id = open_repo(name, private, token)
            pushed_card(self.hub_model_id, token, self.args.hub_revision)

    def create_model_card(self, *args, **kwargs):
        """Write `self.card`, or a draft of it, into the folder of the run."""
        if self.is_world_process_zero():
            (self.card or self.draft_card()).save(Path(self.args.output_dir) / "README.md")

    def push_to_hub(
        self, commit_message="End of training", blocking=True, token=None, revision=None, private=None, **kwargs
    ):
        """As in [`Trainer`], always blocking. Returns the URL of the repository, on the first process."""
        if self.hub_model_id is None:
            self.init_hf_repo(token, private)
        self.save_model(_internal_call=True)
        if self.is_world_process_zero():
            return self._push(self.args.output_dir, commit_message, token, revision)

    def _push_from_checkpoint(self, checkpoint_folder):
        """Push the model of a complete checkpoint, with its training state if requested; a failure is a warning."""
        strategy, folder = HubStrategy(self.args.hub_strategy), Path(checkpoint_folder)
        if not self.is_world_process_zero() or strategy == HubStrategy.END:
            return
        states = {}
        if strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            place = "last-checkpoint" if strategy == HubStrategy.CHECKPOINT else folder.name
            paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            states = {f"{place}/{path.relative_to(folder).as_posix()}": path for path in paths}
        message = f"Training in progress, step {self.state.global_step}"
        try:
            self._push(folder, message, more=states)
        except Exception as error:
            logger.warning("%r was not pushed to %s: %s", message, self.hub_model_id, first_line(error))

    def _push(self, folder: str | Path, message: str, token=None, revision=None, more=()) -> RepoUrl:
        args = self.args
        self.callback_handler.on_push_begin(args, self.state, self.control)
        self.create_model_card()
        files = model_files(Path(folder), ModelCard.load(Path(args.output_dir) / "README.md")) | dict(more)
        return upload(self.hub_model_id, files, message, token or args.hub_token, revision or args.hub_revision)

    def _save(self, *args, **kwargs):
        """As in [`Trainer`], without the token in the saved arguments."""
        token, self.args.hub_token = self.args.hub_token, None
        try:
            super()._save(*args, **kwargs)
        finally:
            self.args.hub_token = token
