# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Pushing to the Hub: of a run while it trains, of a folder, of results. New repositories are private unless told
otherwise; what goes there is what `modeling_concept.backbone_concept.hub_files` chooses.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import ModelCard, RepoUrl, constants, get_token
from huggingface_hub.errors import HTTPError, RemoteEntryNotFoundError, RepositoryNotFoundError
from safetensors import SafetensorError
from transformers import AutoTokenizer
from transformers.dynamic_module_utils import get_relative_import_files
from transformers.trainer_utils import HubStrategy
from transformers.utils import logging
from transformers.utils.hub import PushInProgress

import modeling_concept
from modeling_concept.backbone_concept import (
    ENTRY_FILE,
    WEIGHTS,
    check_card,
    hub_files,
    open_repo,
    upload_files,
    write_code,
)

from .data import first_line
from .model_card import add_results
from .results import Result, read_report
from .script import CONCEPT_MODEL_TYPES


logger = logging.get_logger(__name__)

# Larger files are weights and states, in which no token is looked for.
SCANNED_BYTES = 10_000_000


@contextmanager
def hub_errors(repo_id: str):
    """What the Hub, or the way to it, refuses becomes a ValueError of one sentence."""
    try:
        yield
    except HTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        way_out = {
            401: "log in by `hf auth login`, or set HF_TOKEN to a token that may write there",
            403: "use a token that may write there, or a name of your own",
            404: "give a repository that exists, and a token that may read it",
        }.get(status, "try again later")
        reason = getattr(error, "server_message", None) or first_line(error)
        raise ValueError(
            f"The Hub gives no access to {repo_id} ({status or 'no answer'}: {reason}); {way_out}."
        ) from error


def repo_url(repo_id: str) -> RepoUrl:
    return RepoUrl(f"{constants.ENDPOINT}/{repo_id}")


# Folders


def check_folder(folder: str | Path):
    """
    The model of a folder that is to be pushed, loaded by the class that its configuration names.

    Raises:
        ValueError: the folder holds no concept model, not all of its weights, or no tokenizer that fits.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder} is not the folder of a checkpoint (config.json: {getattr(error, 'strerror', None) or error}); "
            "give one that run_pretraining.py or save_pretrained wrote."
        ) from error
    if config.get("model_type") not in CONCEPT_MODEL_TYPES:
        raise ValueError(f"{folder} holds a model of the type {config.get('model_type')!r}, not a concept encoder.")
    name = (config.get("architectures") or [None])[0]
    model_class = getattr(modeling_concept, str(name), None)
    if model_class is None:
        raise ValueError(f"The configuration of {folder} names {name}, which is no class of this package.")
    if not any(folder.glob(WEIGHTS)):
        raise ValueError(f"{folder} has no safetensors weights; load the model and save it there by save_pretrained.")
    try:
        model, info = model_class.from_pretrained(folder, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"The weights of {folder} cannot be loaded: {first_line(error)}") from error
    if info["missing_keys"]:
        raise ValueError(f"{folder} lacks weights of {name}: {', '.join(sorted(info['missing_keys']))}.")
    if not any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json")):
        raise ValueError(
            f"{folder} has no tokenizer; save the one that the model was trained with there by "
            "tokenizer.save_pretrained."
        )
    model.tokenizer = AutoTokenizer.from_pretrained(folder, config=model.config)
    for token in ("pad_token_id", "mask_token_id"):
        known, found = getattr(model.config, token), getattr(model.tokenizer, token)
        if known is not None and known != found:
            raise ValueError(
                f"The tokenizer of {folder} is not the model's: {token} is {found}, in the configuration {known}."
            )
    return model


def complete_code(folder: str | Path, model) -> bool:
    """Write this package's modelling code into a folder that has none, or not all of it; whether that was so."""
    folder = Path(folder)
    mapped = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("auto_map")
    try:
        get_relative_import_files(folder / f"{ENTRY_FILE}.py")
        if mapped and (folder / "modules.json").is_file():
            return False
    except OSError:
        pass
    write_code(folder)
    model.config.auto_map = model.auto_map(model.config)
    model.config.save_pretrained(folder)
    return True


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
    Upload the model of a folder: code, weights, configuration, tokenizer, the files of a SentenceTransformer, the card
    and its pictures, in one commit.

    Args:
        repo_id: `owner/name`, or a name of one's own.
        private: whether a new repository is; one that exists stays as it is.
        card: in place of the folder's README.md.
        files: results to lie beside it, as [`result_files`] names them.
        options: `overwrite_card`, `create_pr`, as in [`upload_files`].

    Returns:
        URL of the repository, which has its full `repo_id`.

    Raises:
        ValueError: the Hub refuses; a picture of the card is missing; a file holds the token; somebody has edited the
            card on the Hub.
    """
    found = model_files(Path(folder), card) | result_files(files)
    with hub_errors(repo_id):
        repo_id = open_repo(repo_id, private, token)
        upload(repo_id, found, token, commit_message=message, revision=revision, **options)
    return repo_url(repo_id)


def model_files(folder: Path, card: ModelCard | None = None) -> dict[str, Path | bytes]:
    """[`hub_files`], with `card` in place of the folder's own, and the pictures that it shows."""
    files = hub_files(folder)
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


def upload(repo_id: str, files: dict[str, Path | bytes], token: str | None = None, **options):
    """[`upload_files`], unless one of the files holds the token by which they are uploaded."""
    if secret := token or get_token():
        for path, source in files.items():
            if isinstance(source, bytes) or source.stat().st_size <= SCANNED_BYTES:
                content = source if isinstance(source, bytes) else source.read_bytes()
                if secret.encode() in content:
                    raise ValueError(f"{path} holds your access token; remove it before pushing.")
    return upload_files(repo_id, files, token, **options)


# Results


def result_files(files: Iterable[str | Path]) -> dict[str, Path]:
    """Where files of results lie in a repository: in `results`, under the name of their folder."""
    found = {}
    for file in map(Path, files):
        if not file.is_file():
            raise ValueError(f"There is no file {file}; give the results or reports that an evaluation wrote.")
        place = f"results/{file.resolve().parent.name}/{file.name}"
        if place in found:
            raise ValueError(f"{found[place]} and {file} would both lie at {place}; rename one of their folders.")
        found[place] = file
    return found


def card_results(path: str | Path) -> dict:
    """A file of results as arguments of [`add_results`]: `results`, and the facts `task_type` and `datasets` where the
    evaluation told them. ValueError as in [`read_report`]."""
    return {name: value for name, value in read_report(path).items() if name in ("results", "task_type", "datasets")}


def push_results(
    repo_id: str,
    results: Iterable[Result],
    task_type: str = "text-classification",
    datasets: dict[str, tuple[str, str]] | None = None,
    files: Iterable[str | Path] = (),
    token: str | None = None,
) -> RepoUrl:
    """
    Add results to the card of a model on the Hub, as model-index and as a table with all baselines, and files that
    tell more beside it. What was pushed before under the same tasks is replaced.

    Args:
        repo_id: `owner/name` of a model that was pushed.
        task_type, datasets: as in [`eval_results`].
        files: such as `results.json` and `report.html`.

    Returns:
        URL of the repository.

    Raises:
        ValueError: there is no such model, or it has no card; the Hub refuses; a file holds the token.
    """
    found = result_files(files)
    with hub_errors(repo_id):
        try:
            card = ModelCard.load(repo_id, token=token)
        except (RepositoryNotFoundError, RemoteEntryNotFoundError) as error:
            raise ValueError(
                f"{repo_id} is no model with a card on the Hub, or cannot be read by you; push the checkpoint first: "
                f"python examples/push_to_hub.py --model_name_or_path … --hub_model_id {repo_id}."
            ) from error
        add_results(card, results, task_type, datasets, found)
        content = {"README.md": str(card).encode(), **found}
        upload(repo_id, content, token, commit_message="Add evaluation results", overwrite_card=None)
    return repo_url(repo_id)


# Runs


def overwrites_card(args) -> bool:
    """Of training arguments, transformers' own among them."""
    return getattr(args, "overwrite_card", False)


class HubPushMixin:
    """
    For subclasses of [`transformers.Trainer`], before it among the bases: pushes carry what loads without this
    package, and the card, and nothing of the optimizer unless `hub_strategy` asks for checkpoints.
    """

    card: ModelCard | None = None

    def init_hf_repo(self, token=None, private=None):
        if not self.is_world_process_zero():
            return
        name = self.args.hub_model_id or Path(self.args.output_dir).absolute().name
        with hub_errors(name):
            private = self.args.hub_private_repo if private is None else private
            token = token or self.args.hub_token
            self.hub_model_id = open_repo(name, private, token)
            # Before anything is trained, whatever the card will be.
            check_card(self.hub_model_id, b"", token, self.args.hub_revision, overwrites_card(self.args))
        self.push_in_progress = None
        self._uploads = ThreadPoolExecutor(max_workers=1)  # one after the other, as commits follow each other

    def draft_card(self) -> ModelCard | None:
        """A card until `self.card` is there; None leaves it to transformers."""

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
        """As in [`Trainer`]; `blocking` is always true. Returns the URL of the repository, on the first process."""
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if self.hub_model_id is None:
            self.init_hf_repo(token, private)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        self.create_model_card(**kwargs)
        self._finish_current_push()
        with hub_errors(self.hub_model_id):
            upload(
                self.hub_model_id, model_files(Path(self.args.output_dir)),
                token or self.args.hub_token, revision=revision or self.args.hub_revision,
                commit_message=commit_message, overwrite_card=overwrites_card(self.args),
            )  # fmt: skip
        return repo_url(self.hub_model_id)

    def _push_from_checkpoint(self, checkpoint_folder):
        """Push the model of a complete checkpoint, and the checkpoint itself where asked for, in the background."""
        args, strategy = self.args, HubStrategy(self.args.hub_strategy)
        if not self.is_world_process_zero() or strategy == HubStrategy.END:
            return
        busy = self.push_in_progress is not None and not self.push_in_progress.is_done()
        if busy and not args.hub_always_push:
            return
        self.callback_handler.on_push_begin(args, self.state, self.control)
        self.create_model_card()
        message, folder = f"Training in progress, step {self.state.global_step}", Path(checkpoint_folder)
        card = ModelCard.load(Path(args.output_dir) / "README.md")
        jobs = [self._push_later(model_files(folder, card), message)]
        if strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            place = "last-checkpoint" if strategy == HubStrategy.CHECKPOINT else folder.name
            paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            state = {f"{place}/{path.relative_to(folder).as_posix()}": path for path in paths}
            jobs.append(self._push_later(state, f"{message}, checkpoint"))
        if busy:
            self.push_in_progress.jobs.extend(jobs)
        else:
            self.push_in_progress = PushInProgress(jobs)

    def _push_later(self, files, message):
        """Upload files of a checkpoint in the background, from links that stay when the checkpoint goes away."""
        staging = TemporaryDirectory(prefix=".hub-", dir=self.args.output_dir)
        linked = {}
        for number, (path, source) in enumerate(files.items()):
            linked[path] = source
            if isinstance(source, Path):
                linked[path] = Path(staging.name) / str(number)
                try:
                    os.link(source, linked[path])
                except OSError:  # a file system without links
                    shutil.copyfile(source, linked[path])

        def finish(job):
            staging.cleanup()
            if error := job.exception():
                logger.warning("%r was not pushed to %s: %s", message, self.hub_model_id, first_line(error))

        options = {"commit_message": message, "revision": self.args.hub_revision}
        options["overwrite_card"] = overwrites_card(self.args)
        job = self._uploads.submit(upload, self.hub_model_id, linked, self.args.hub_token, **options)
        job.add_done_callback(finish)
        return job

    def _save(self, *args, **kwargs):
        """As in [`Trainer`], which writes its arguments with all they hold: the token is left out."""
        token, self.args.hub_token = self.args.hub_token, None
        try:
            super()._save(*args, **kwargs)
        finally:
            self.args.hub_token = token
