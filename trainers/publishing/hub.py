# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Push a run while it trains, or a folder with results, to the Hub. New repositories are private by default."""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard, RepoUrl, constants, get_token
from transformers.trainer_utils import HubStrategy
from transformers.utils import logging
from transformers.utils.hub import PushInProgress

import modeling_concept
from modeling_concept.base_concept import ENTRY_FILE, SENTENCE_TRANSFORMER_FILES

from ..data.tokenizers import load_tokenizer
from ..evaluation.results import is_measured, measured_model, read_report
from ..models.loading import load_weights, read_config
from ..utils.errors import first_line
from ..utils.script import share_text


logger = logging.get_logger(__name__)

# Larger files are weights and states of optimizers, which are not searched for the token.
SCANNED_BYTES = 10_000_000

# The last line of a pushed card.
PUSHED = re.compile(r"\n*<!-- pushed: (\w+) -->\n?")

# The files of a folder that belong to its model: none of the optimizer, of logs, of checkpoints.
WEIGHTS = "model*.safetensors*"
HUB_FILES = (
    "*_concept.py", "config.json", WEIGHTS, "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json",
    "added_tokens.json", "*.jinja", *SENTENCE_TRANSFORMER_FILES, "README.md", "*.png", "*.svg",
)  # fmt: skip


def open_repo(repo_id: str, private: bool | None = True, token: str | None = None) -> str:
    """The full id of a model repository, which is created if there is none, private unless `private` is False. An
    existing one keeps its visibility; a warning is logged where that differs from `private`."""
    api, private = HfApi(token=token), private is not False
    repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    if api.model_info(repo_id).private != private:
        seen = "public: everyone can read what is pushed" if private else "private: only you can read what is pushed"
        logger.warning("%s exists and stays %s; its settings on the Hub change that.", repo_id, seen)
    return repo_id


def open_card(repo_id: str, private: bool | None, token: str | None, revision=None, overwrite=False) -> str:
    """The full id of a repository, opened before a long training whose model will be pushed to it. ValueError where
    somebody has edited the card."""
    repo_id = open_repo(repo_id, private, token)
    card_to_push(repo_id, b"", token, revision, overwrite)
    return repo_id


def card_to_push(repo_id: str, card: bytes | Path, token=None, revision=None, overwrite: bool = False) -> bytes:
    """
    A card for a repository: its code loads from there, and its last line holds a digest by which edits are noticed.

    Raises:
        ValueError: the card in the repository is not as it was pushed, and `overwrite` is false.
    """
    text = (card if isinstance(card, bytes) else card.read_bytes()).decode()
    new = ModelCard(PUSHED.sub("\n", named_card(text, repo_id)), ignore_metadata_errors=True)
    digest, api = card_digest(new), HfApi(token=token)
    if not overwrite and api.file_exists(repo_id, "README.md", revision=revision):
        path = api.hf_hub_download(repo_id, "README.md", revision=revision)
        old = ModelCard(Path(path).read_text(encoding="utf-8"), ignore_metadata_errors=True)
        pushed = PUSHED.search(old.text)
        if old.text.strip() and card_digest(old) not in (digest, pushed and pushed[1]):
            raise ValueError(
                f"The card of {repo_id} is not the one that was pushed from here: --overwrite_card replaces it, and "
                "examples/push_to_hub.py --create_pr proposes the new one instead."
            )
    return f"{str(new).rstrip()}\n\n<!-- pushed: {digest} -->\n".encode()


def named_card(text: str, repo_id: str) -> str:
    """A card whose code loads from `repo_id` in place of the first name from which it loads."""
    own = re.search(r'(?:from_pretrained\(|SentenceTransformer\(|model=)\s*("[^"]+")', text)
    return text.replace(own[1], f'"{repo_id}"') if own else text


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
    return model


def push_folder(
    folder: str | Path,
    repo_id: str,
    private: bool = True,
    token: str | None = None,
    message: str = "Upload model",
    revision: str | None = None,
    card: ModelCard | None = None,
    files: Iterable[str | Path] = (),
    **options,
) -> RepoUrl:
    """
    Upload the model of a folder in one commit: code, weights, configuration, tokenizer, the files of a
    SentenceTransformer, the card and its pictures.

    Args:
        repo_id: `owner/name`, or a name in one's own account.
        private: whether a new repository is private; an existing one keeps its visibility.
        card: in place of the folder's README.md.
        files: of results, as in [`result_files`].
        options: `overwrite_card`, `create_pr`, as in [`upload`].

    Returns:
        URL of the repository, with its full `repo_id`.

    Raises:
        ValueError: as in [`upload`], or a picture of the card is missing.
    """
    found = model_files(Path(folder), card) | result_files(files)
    repo_id = open_repo(repo_id, private, token)
    upload(repo_id, found, token, commit_message=message, revision=revision, **options)
    return RepoUrl(f"{constants.ENDPOINT}/{repo_id}")


def model_files(folder: Path, card: ModelCard | None = None) -> dict[str, Path | bytes]:
    """The files of a folder that `HUB_FILES` names, by path, with `card` in place of the folder's own, and the
    pictures that it shows."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    files = {name: folder / name for name in names if any(fnmatch(name, pattern) for pattern in HUB_FILES)}
    if card is not None:
        files["README.md"] = str(card).encode()
    shown = files.get("README.md", b"")
    text = (shown if isinstance(shown, bytes) else shown.read_bytes()).decode()
    for picture in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", picture):  # of another site
            if not (folder / picture).is_file():
                raise ValueError(f"The card shows {picture}, which {folder} does not have.")
            files[picture] = folder / picture
    return files


def upload(
    repo_id: str, files: dict[str, Path | bytes], token=None, revision=None, overwrite_card: bool = False,
    **options,
):  # fmt: skip
    """
    Commit files, by their paths in a repository, to it. Weights in the repository that are not among the files are
    deleted: loaders would prefer one old file to several new ones.

    Args:
        overwrite_card: whether a card that somebody has edited on the Hub may be replaced, as a pull request may.
        options: those of `HfApi.create_commit`.

    Raises:
        ValueError: as in [`card_to_push`]; a file holds the access token.
    """
    if secret := token or get_token():
        for path, source in files.items():
            if isinstance(source, bytes) or source.stat().st_size <= SCANNED_BYTES:
                content = source if isinstance(source, bytes) else source.read_bytes()
                if secret.encode() in content:
                    raise ValueError(f"{path} holds your access token; remove it before pushing.")
    api, files = HfApi(token=token), dict(files)
    if card := files.get("README.md"):
        overwrite = overwrite_card or bool(options.get("create_pr"))
        files["README.md"] = card_to_push(repo_id, card, token, revision, overwrite)
    operations = [CommitOperationAdd(path, source) for path, source in files.items()]
    if any(fnmatch(path, WEIGHTS) for path in files):
        old = {path for path in api.list_repo_files(repo_id, revision=revision) if fnmatch(path, WEIGHTS)}
        operations += [CommitOperationDelete(path) for path in sorted(old - set(files))]
    return api.create_commit(repo_id, operations, revision=revision, **options)


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
    them. A model that a fine-tuning saved beside its results gets those of its own task.

    Raises:
        ValueError: as in [`read_report`]; the results are not those of the checkpoint.
    """
    path, folder, content = Path(path), Path(checkpoint).resolve(), read_report(path)
    (model, weights), results = measured_model(content), content["results"]
    if model is None or not is_measured(model, weights, checkpoint):
        results = [result for result in results if model and result.task == folder.name and "runs" in content]
        if folder.parent != path.resolve().parent or not results:
            raise ValueError(
                f"{path} was measured on {model or 'several models'}, not on the weights of {checkpoint}."
            )
    return {"results": results} | {name: content[name] for name in ("task_type", "datasets") if name in content}


# Runs


def link_files(files: dict[str, Path | bytes], folder: str) -> dict[str, Path | bytes]:
    """The files as links in a folder, which outlast the originals."""
    linked = dict(files)
    for number, (path, source) in enumerate(files.items()):
        if isinstance(source, Path):
            linked[path] = Path(folder, str(number))
            os.link(source, linked[path])
    return linked


class HubPushMixin:
    """
    For subclasses of [`transformers.Trainer`], before it among the bases: each push is one commit of everything that
    loads without this package, and the card, but no state of the optimizer unless `hub_strategy` requests checkpoints.
    """

    card: ModelCard | None = None
    push_in_progress: PushInProgress | None = None

    def init_hf_repo(self, token=None, private=None):
        """As in [`Trainer`]; private by default, and ValueError where a push would be refused."""
        if self.is_world_process_zero():
            name = self.args.hub_model_id or Path(self.args.output_dir).absolute().name
            private = self.args.hub_private_repo if private is None else private
            overwrite = getattr(self.args, "overwrite_card", False)
            token = token or self.args.hub_token
            self.hub_model_id = open_card(name, private, token, self.args.hub_revision, overwrite)

    def draft_card(self) -> ModelCard | None:
        """The card until `self.card` is set; None for that of transformers."""

    def create_model_card(self, *args, **kwargs):
        """Write `self.card`, or a draft of it, into the folder of the run."""
        if self.is_world_process_zero():
            if card := self.card or self.draft_card():
                card.save(Path(self.args.output_dir) / "README.md")
            else:
                super().create_model_card(*args, **kwargs)

    def push_to_hub(
        self, commit_message="End of training", blocking=True, token=None, revision=None, private=None, **kwargs
    ):
        """As in [`Trainer`], always blocking. Returns the URL of the repository, on the first process."""
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if self.hub_model_id is None:
            self.init_hf_repo(token, private)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        self.create_model_card(**kwargs)
        self._finish_current_push()
        self._push(model_files(Path(self.args.output_dir)), commit_message, token, revision)
        return RepoUrl(f"{constants.ENDPOINT}/{self.hub_model_id}")

    def _push_from_checkpoint(self, checkpoint_folder):
        """Push the model of a complete checkpoint, with its training state if requested, in the background; a failure
        is a warning."""
        args, strategy = self.args, HubStrategy(self.args.hub_strategy)
        busy = self.push_in_progress is not None and not self.push_in_progress.is_done()
        if not self.is_world_process_zero() or strategy == HubStrategy.END or (busy and not args.hub_always_push):
            return
        self._finish_current_push()
        self.callback_handler.on_push_begin(args, self.state, self.control)
        self.create_model_card()
        folder, message = Path(checkpoint_folder), f"Training in progress, step {self.state.global_step}"
        files = model_files(folder, ModelCard.load(Path(args.output_dir) / "README.md"))
        if strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            place = "last-checkpoint" if strategy == HubStrategy.CHECKPOINT else folder.name
            paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            files |= {f"{place}/{path.relative_to(folder).as_posix()}": path for path in paths}
        staging = TemporaryDirectory(prefix=".hub-", dir=args.output_dir)

        def finish(error):
            staging.cleanup()
            if error is not None:
                logger.warning("%r was not pushed to %s: %s", message, self.hub_model_id, first_line(error))

        try:
            job = self._push(link_files(files, staging.name), message, run_as_future=True)
        except Exception as error:
            finish(error)
        else:
            job.add_done_callback(lambda job: finish(job.exception()))
            self.push_in_progress = PushInProgress([job])

    def _push(self, files: dict[str, Path | bytes], message: str, token=None, revision=None, **options):
        args = self.args
        return upload(
            self.hub_model_id, files, token or args.hub_token, revision or args.hub_revision,
            getattr(args, "overwrite_card", False), commit_message=message, **options,
        )  # fmt: skip

    def _save(self, *args, **kwargs):
        """As in [`Trainer`], without the token in the saved arguments."""
        token, self.args.hub_token = self.args.hub_token, None
        try:
            super()._save(*args, **kwargs)
        finally:
            self.args.hub_token = token
