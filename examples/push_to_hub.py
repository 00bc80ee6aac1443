# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Push a checkpoint to the Hub with its code, tokenizer, card and results; a new repository is private by default.

    python examples/push_to_hub.py --model_name_or_path outputs/… --hub_model_id concept-encoder-small
    python examples/push_to_hub.py --model_name_or_path outputs/… --hub_model_id me/concept-encoder-small \
        --hub_private_repo false --results outputs/glue/results.json --files outputs/analysis/report.md

The folder must hold all weights, a tokenizer that fits and the code. Results are added to its card, too. `--dry_run`
shows the card and the files, and pushes nothing. A card that somebody has edited on the Hub is not replaced without
`--overwrite_card`. Log in by `hf auth login`, or set HF_TOKEN.
"""

from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import ModelCard

from trainers.evaluation.results import results_folder
from trainers.publishing.hub import card_results, check_folder, model_files, named_card, push_folder, result_files
from trainers.publishing.model_card import CardArguments, add_results, language_codes, undescribed_card, usage
from trainers.utils.plain_text import screen
from trainers.utils.runs import check_output_dir
from trainers.utils.script import newest_checkpoint, parse_arguments, run_script


@dataclass
class PushArguments(CardArguments):
    """The checkpoint, its repository, and what is pushed with it."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Folder of the checkpoint; the one saved last in outputs/ by default."}
    )
    hub_model_id: str | None = field(
        default=None, metadata={"help": "owner/name, or a name in your account; the name of the folder by default."}
    )
    hub_private_repo: bool = field(
        default=True, metadata={"help": "Whether a new repository is private; false lets everyone read it."}
    )
    hub_token: str | None = field(default=None, metadata={"help": "Token for it; that of `hf auth login` by default."})
    results: list[str] = field(
        default_factory=list,
        metadata={"help": "results.json of evaluations, for the card's model-index and tables; uploaded too."},
    )
    files: list[str] = field(default_factory=list, metadata={"help": "Further files, such as report.md."})
    commit_message: str = field(default="Upload model", metadata={"help": "Message of the commit."})
    create_pr: bool = field(default=False, metadata={"help": "Propose the files as a pull request."})
    dry_run: bool = field(default=False, metadata={"help": "Write the card and the list of files, and push nothing."})
    output_dir: str | None = field(
        default=None, metadata={"help": "Where --dry_run writes; outputs/push_<model>_<time> by default."}
    )


def make_card(args: PushArguments, folder: Path, model, repo_id: str, console) -> ModelCard:
    """The folder's card with the given results and language."""
    if (folder / "README.md").is_file():
        card = ModelCard.load(folder / "README.md")
    else:
        console.print(f"{folder} has no README.md; the card describes only the architecture.")
        card = undescribed_card(model, folder.resolve().name, repo_id)
    if args.language:
        card.data.language = language_codes(args.language)
    sources: dict[tuple, str] = {}
    for path in args.results:
        found = card_results(path, folder)
        for task in {result.task for result in found["results"]}:
            if sources.setdefault((found.get("task_type"), task), path) != path:
                raise ValueError(f"Two files hold results of {task}, of which a card shows one; give one of them.")
        add_results(card, **found, files=result_files([path]))
    return card


def show(args: PushArguments, folder: Path, repo_id: str, files: dict[str, Path | bytes], console) -> None:
    """Print the card and the list of files that would be pushed, and write both into a folder."""
    output = Path(args.output_dir or results_folder("push", str(folder)))
    check_output_dir(output, ("README.md", "files.txt"))
    sizes = {path: len(file) if isinstance(file, bytes) else file.stat().st_size for path, file in files.items()}
    text = named_card(files["README.md"].decode(), repo_id)
    listed = "".join(f"{size:>14,}  {path}\n" for path, size in sizes.items())
    (output / "README.md").write_text(text, encoding="utf-8")
    (output / "files.txt").write_text(listed, encoding="utf-8")
    visibility = "private" if args.hub_private_repo else "public"
    console.print(f"{text}\n{listed}", soft_wrap=True)
    console.print(f"Not pushed to {repo_id} ({visibility} if new): {output}/README.md and files.txt", soft_wrap=True)


def main():
    (args,) = parse_arguments(PushArguments)
    console = screen(110)
    folder = Path(args.model_name_or_path or newest_checkpoint())
    repo_id = args.hub_model_id or folder.resolve().name
    files = [*args.results, *args.files]
    result_files(files)  # refuses missing files before the model is loaded
    model = check_folder(folder)
    card = make_card(args, folder, model, repo_id, console)
    if args.dry_run:
        show(args, folder, repo_id, model_files(folder, card) | result_files(files), console)
        return
    url = push_folder(
        folder, repo_id, args.hub_private_repo, args.hub_token, args.commit_message, card=card, files=files,
        overwrite_card=args.overwrite_card, create_pr=args.create_pr,
    )  # fmt: skip
    card.save(folder / "README.md")
    console.print(f"{url}\n")
    print(usage(model, url.repo_id))


if __name__ == "__main__":
    run_script(main)
