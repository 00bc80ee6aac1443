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

from huggingface_hub import HfApi, ModelCard, RepoUrl, constants, get_token
from huggingface_hub.errors import (
    HTTPError,
    LocalTokenNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id
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

from .data import UNREADABLE, first_line
from .model_card import add_results
from .results import Result, is_measured, measured_model, model_name, read_report
from .script import CONCEPT_MODEL_TYPES, share_text


logger = logging.get_logger(__name__)

# Larger files are weights and states, in which no token is looked for.
SCANNED_BYTES = 10_000_000


@contextmanager
def hub_errors(repo_id: str):
    """What the Hub, or the way to it, refuses becomes a ValueError of one sentence; so does what can be no id."""
    check_repo_id(repo_id)
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


def check_repo_id(repo_id: str) -> None:
    """ValueError for what can be no id of a repository."""
    try:
        validate_repo_id(repo_id)
    except ValueError as error:
        raise ValueError(f"--hub_model_id {repo_id!r} is no id on the Hub: {first_line(error)}") from error


def open_card(repo_id: str, private: bool | None, token: str | None, revision=None, overwrite=False) -> str:
    """The full id of a repository that can be pushed to, before anything is trained for it, whatever the card will be.
    ValueError where the Hub refuses, or somebody has edited the card."""
    with hub_errors(repo_id):
        repo_id = open_repo(repo_id, private, token)
        check_card(repo_id, b"", token, revision, overwrite)
    return repo_id


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
    except UNREADABLE as error:
        raise ValueError(f"The weights of {folder} cannot be loaded: {first_line(error)}") from error
    if info["missing_keys"]:
        raise ValueError(f"{folder} lacks weights of {name}: {', '.join(sorted(info['missing_keys']))}.")
    if not any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json")):
        raise ValueError(
            f"{folder} has no tokenizer; save the one that the model was trained with there by "
            "tokenizer.save_pretrained."
        )
    tokenizer = AutoTokenizer.from_pretrained(folder, config=model.config)
    if flaw := tokenizer_flaw(tokenizer, model.config):
        raise ValueError(f"The tokenizer of {folder} is not the model's: {flaw}.")
    model.tokenizer = tokenizer
    return model


def tokenizer_flaw(tokenizer, config) -> str | None:
    """In what a tokenizer cannot be that of a model with this configuration."""
    for name in ("pad_token_id", "mask_token_id"):
        known, found = getattr(config, name), getattr(tokenizer, name)
        if known is not None and known != found:
            return f"{name} is {found}, in the configuration {known}"
    if len(tokenizer) > config.vocab_size:
        return f"it has {len(tokenizer):,} tokens, the model {config.vocab_size:,}"
    return None


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


def result_files(files: Iterable[str | Path]) -> dict[str, Path | bytes]:
    """Files of results by their place in a repository, which is in `results`, under the name of their folder. What
    they say of folders of this machine goes there as names."""
    found = {}
    for file in map(Path, files):
        if not file.is_file():
            raise ValueError(f"There is no file {file}; give the results or reports that an evaluation wrote.")
        place = f"results/{file.resolve().parent.name}/{file.name}"
        if place in found:
            raise ValueError(f"Two files would lie at {place}, one of them {file}; rename one of their folders.")
        found[place] = share_file(file)
    return found


def share_file(file: Path) -> Path | bytes:
    """The file, or what it says without the folders of this machine."""
    if file.suffix not in (".json", ".html"):
        return file
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".html":
            return share_text(text).encode()
        return (json.dumps(share_values(json.loads(text)), indent=2) + "\n").encode()
    except ValueError:  # no JSON, or no text
        return file


def share_values(value):
    """What JSON holds, with texts by [`share_text`]."""
    if isinstance(value, dict):
        return {share_values(name): share_values(held) for name, held in value.items()}
    if isinstance(value, list):
        return list(map(share_values, value))
    return share_text(value) if isinstance(value, str) else value


def card_results(path: str | Path, checkpoint: str | Path) -> dict:
    """
    A file of results as arguments of [`add_results`]: `results`, and the facts `task_type` and `datasets` where the
    evaluation told them. Of the results of a fine-tuning, the model that it left beside them gets those of its task.

    Raises:
        ValueError: as in [`read_report`]; the results are not those of the checkpoint.
    """
    path, folder, content = Path(path), Path(checkpoint).resolve(), read_report(path)
    (model, weights), results = measured_model(content), content["results"]
    if model is None:
        raise ValueError(f"{path} does not tell of which one model it is; give results of {checkpoint} alone.")
    if not is_measured(model, weights, checkpoint):
        results = [result for result in results if result.task == folder.name and "cells" in content]
        if folder.parent != path.resolve().parent or not results:
            other = "other weights of " if model_name(model) == folder.name else ""
            raise ValueError(
                f"{path} was measured on {other}{model}, but {checkpoint} is pushed: give results of that checkpoint, "
                "or push the one that was measured."
            )
    return {"results": results} | {name: content[name] for name in ("task_type", "datasets") if name in content}


def results_card(repo_id: str, token: str | None = None) -> ModelCard:
    """The card of a model on the Hub, to which results can be added. ValueError: there is no such model, it has no
    card, or there is no token that the Hub knows."""
    with hub_errors(repo_id):
        try:
            HfApi(token=token).whoami()
            return ModelCard.load(repo_id, token=token)
        except LocalTokenNotFoundError as error:
            raise ValueError("The Hub takes results from who is known to it: log in by `hf auth login`.") from error
        except (RepositoryNotFoundError, RemoteEntryNotFoundError) as error:
            raise ValueError(
                f"{repo_id} is no model with a card on the Hub, or cannot be read by you; push the checkpoint first: "
                f"python examples/push_to_hub.py --model_name_or_path … --hub_model_id {repo_id}."
            ) from error


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
        task_type, datasets: as in [`add_results`].
        files: such as `results.json` and `report.html`.

    Returns:
        URL of the repository.

    Raises:
        ValueError: as in [`results_card`]; the Hub refuses; a file holds the token.
    """
    found, card = result_files(files), results_card(repo_id, token)
    add_results(card, results, task_type, datasets, found)
    with hub_errors(repo_id):
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
        private = self.args.hub_private_repo if private is None else private
        token, overwrite = token or self.args.hub_token, overwrites_card(self.args)
        self.hub_model_id = open_card(name, private, token, self.args.hub_revision, overwrite)
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
